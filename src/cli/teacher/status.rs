//! `afd teacher status`: how far an API's clips are.

use std::process::ExitCode;

use afd_api::ledger::End;
use afd_api::survey::{Standing, Survey};
use afd_api::teacher::samples_of;
use clap::Args;

use crate::cli::{CliError, RecipeArgs};
use crate::out::say;
use crate::recipe::Recipe;

/// Which recipe.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// List at most this many samples that will not come.
    #[arg(long, default_value_t = 20)]
    list: usize,
}

/// Looks at the store; another process may be filling it meanwhile.
pub fn run(args: &StatusArgs) -> Result<ExitCode, CliError> {
    let recipe = Recipe::load(&args.recipe.recipe, &args.recipe.overrides)?;
    let service = recipe.service()?;
    let survey = Survey::of(&service, &samples_of(&recipe.announced_samples()))?;
    let (counts, budget) = (survey.counts, service.settings.budget);
    say!(
        "store     {}, {} clips in all",
        service.store.display(),
        survey.clips.len()
    );
    say!(
        "wanted    {}: {} there, {} under way, {} to submit",
        counts.wanted,
        counts.there,
        counts.open,
        counts.missing
    );
    say!(
        "gone      {} refused, {} failed, {} overdue, {} unknown",
        counts.refused,
        counts.failed,
        counts.overdue,
        counts.unknown
    );
    say!(
        "spent     {} of {budget} spent or reserved, the rest may cost {}",
        survey.spent,
        survey.bill
    );
    for ((prompt, sample), standing) in survey.troubles.iter().take(args.list) {
        let (state, reason) = match standing {
            Standing::Gone(End::Refused, reason) => ("refused", reason.as_str()),
            Standing::Gone(End::Failed | End::FailedRetry, reason) => ("failed", reason.as_str()),
            Standing::Gone(End::Overdue, reason) => ("overdue", reason.as_str()),
            _ => (
                "unknown",
                "its answer was lost or named another sample's job, and the provider cannot be \
                 asked",
            ),
        };
        // The ledger may be somebody else's.
        let reason = afd_api::clean::shown(reason);
        say!("  {state:<8} sample {sample} of {prompt:?}: {reason}");
    }
    if survey.troubles.len() > args.list {
        say!(
            "  and {} more; --list {} lists them",
            survey.troubles.len() - args.list,
            survey.troubles.len()
        );
    }
    if counts.unknown > 0 {
        say!(
            "unknown: look at the provider's own list of jobs. If it has none of these, `afd \
                teacher fetch --again not-accepted` gives back what was reserved and submits them \
                again. Otherwise clips that it made and nobody fetched are lost to this store, and \
                `--again unknown` submits these samples again and counts them twice in the budget."
        );
    }
    Ok(ExitCode::SUCCESS)
}
