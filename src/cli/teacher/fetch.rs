//! `afd teacher fetch`: clips from an API.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Instant;

use afd_api::ApiError;
use afd_api::engine::{self, Progress};
use afd_api::ledger::{End, Ledger, State};
use afd_api::service::Service;
use afd_api::survey::Survey;
use afd_api::teacher::samples_of;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{CliError, RecipeArgs};
use crate::data::store::ClipStore;
use crate::out::{note, say};
use crate::recipe::Recipe;
use crate::run::signals::{self, STOPPED};

/// A fetch.
#[derive(Debug, Args)]
pub struct FetchArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Print what is missing and what it may cost; ask nobody, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Submit such samples again, in addition; what they may have cost stays spent. Not between a
    /// run and its --resume.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "STATES",
        conflicts_with = "dry_run"
    )]
    again: Vec<Again>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Again {
    /// Perhaps submitted; the answer was lost, and the provider cannot be asked. Counted twice.
    Unknown,
    /// The same, where the provider's own list of jobs shows that it accepted none of them: what
    /// was reserved comes back.
    NotAccepted,
    /// Refused by the provider.
    Refused,
    /// Failed there.
    Failed,
    /// Not there after teacher.api.deadline_secs of asking.
    Overdue,
}

impl Again {
    fn fits(self, service: &Service, state: &State) -> bool {
        match (self, state) {
            (Self::Unknown, State::Unanswered) => {
                service.adapter.handle == afd_api::adapter::Handle::None
            }
            (Self::Refused, State::Ended(end, _)) => *end == End::Refused,
            (Self::Failed, State::Ended(end, _)) => matches!(end, End::Failed | End::FailedRetry),
            (Self::Overdue, State::Ended(end, _)) => *end == End::Overdue,
            _ => false,
        }
    }
}

/// Fetches, or says what that would cost.
pub fn run(args: &FetchArgs) -> Result<ExitCode, CliError> {
    let recipe = Recipe::load(&args.recipe.recipe, &args.recipe.overrides)?;
    let service = recipe.service()?;
    let wanted = samples_of(&recipe.announced_samples());
    if args.dry_run {
        bill(&service, &Survey::of(&service, &wanted)?);
        return Ok(ExitCode::SUCCESS);
    }
    signals::install()?;
    if !args.again.is_empty() {
        let released = release(&service, &args.again)?;
        say!("released  {released} samples to be submitted again");
    }
    say!(
        "terms     {}: check that they allow training on the clips",
        service.adapter.terms
    );
    let mut shown = Shown::new(wanted.len());
    let fetch = engine::fetch(
        &service,
        &wanted,
        &signals::stop_requested,
        &mut |progress| shown.show(progress),
    )?;
    shown.end();
    let counts = fetch.progress.counts;
    say!(
        "clips     {} of {} are in {}",
        counts.there,
        counts.wanted,
        service.store.display()
    );
    say!(
        "spent     {} of {} may be spent",
        fetch.progress.spent,
        service.settings.budget
    );
    let gone = counts.refused + counts.failed + counts.overdue + counts.unknown;
    if gone > 0 {
        say!("not there {gone} will not come by themselves; `afd teacher status` lists them");
    }
    if counts.unknown > 0 {
        say!(
            "unknown   {} were perhaps submitted, and count as spent",
            counts.unknown
        );
    }
    if let Some(reason) = fetch.halted {
        return Err(CliError::Failed(reason));
    }
    if fetch.stopped {
        note!("stopped; run the same command again to go on");
        return Ok(ExitCode::from(STOPPED));
    }
    if counts.there < counts.wanted {
        return Err(CliError::Failed(format!(
            "{} of {} clips are not there: {} refused, {} failed, {} overdue, {} unknown; `afd \
                teacher status` says why, and training puts up with a share of {:?} \
                (teacher.api.refused_share)",
            counts.wanted - counts.there,
            counts.wanted,
            counts.refused,
            counts.failed,
            counts.overdue,
            counts.unknown,
            service.settings.refused_share
        )));
    }
    Ok(ExitCode::SUCCESS)
}

fn release(service: &Service, again: &[Again]) -> Result<usize, ApiError> {
    // For its lock.
    let _store = ClipStore::open(&service.store, &service.origin())?;
    let mut ledger = Ledger::open(&service.store, service.settings.budget)?;
    let cannot_tell = service.adapter.handle == afd_api::adapter::Handle::None;
    let given_back = match again.contains(&Again::NotAccepted) && cannot_tell {
        true => ledger.give_back()?,
        false => 0,
    };
    let released = ledger.release(&|state| again.iter().any(|again| again.fits(service, state)))?;
    Ok(given_back + released)
}

fn bill(service: &Service, survey: &Survey) {
    let (counts, budget) = (survey.counts, service.settings.budget);
    let left = budget.minus(survey.spent);
    say!("adapter   {} at {}", service.adapter.name, service.base_url);
    say!(
        "terms     {}: check that they allow training on the clips",
        service.adapter.terms
    );
    say!(
        "clips     {} wanted, {} there, {} under way, {} to submit",
        counts.wanted,
        counts.there,
        counts.open,
        counts.missing
    );
    say!("price     {} a clip", service.price);
    say!(
        "bill      {} for {} clips, if each succeeds at once",
        survey.bill,
        counts.missing
    );
    say!(
        "budget    {budget}, {} of it spent or reserved, {left} left",
        survey.spent
    );
    match survey.bill > left {
        true => say!("the budget does not cover the bill: the fetch will stop at {budget}"),
        false => say!("the budget covers the bill"),
    }
}

/// A bar on a terminal, a line now and then elsewhere.
struct Shown {
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Shown {
    fn new(wanted: usize) -> Self {
        let style = ProgressStyle::with_template("clips {wide_bar} {pos}/{len} {msg} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = std::io::stderr()
            .is_terminal()
            .then(|| ProgressBar::new(wanted as u64).with_style(style));
        Self {
            bar,
            said: Instant::now(),
        }
    }

    fn show(&mut self, progress: &Progress) {
        let counts = progress.counts;
        let mut message = format!(
            "{} under way, {} gone, {} spent",
            counts.open,
            counts.refused + counts.failed + counts.overdue + counts.unknown,
            progress.spent
        );
        if let Some(trouble) = &progress.trouble {
            message.push_str(&format!(", lately: {trouble}"));
        }
        match &self.bar {
            Some(bar) => {
                bar.set_message(message);
                bar.set_position(counts.there as u64);
            }
            None if self.said.elapsed().as_secs() >= 10 => {
                note!("clips {} of {}, {message}", counts.there, counts.wanted);
                self.said = Instant::now();
            }
            None => {}
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
