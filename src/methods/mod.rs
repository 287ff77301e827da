//! The methods, and the only list of them.
//!
//! A method is what the student learns from and how: [`forward_process`] is Adversarial Flow
//! Distillation's own update, the others are what one would use instead (docs/method.md H).
//! [`alternation`] is the loop that the adversarial ones share.

pub mod alternation;
pub mod direct_adversarial;
pub mod feedback;
pub mod forward_process;
pub mod reverse_chain;
pub mod rollouts;
pub mod samples;
pub mod setup;
pub mod supervised;
pub mod supervised_start;
pub mod trajectories;
pub mod update;

use std::sync::Arc;

use afd_models::kernels::Trainable;

use crate::data::batch::Batches;
use crate::engine::model::TrainedDiscriminator;
use crate::engine::rounds::TrainingMethod;
use crate::recipe::Recipe;
use crate::recipe::tables::{Method, Settings};
use alternation::{Alternation, Variant};
use direct_adversarial::DirectAdversarial;
use forward_process::ForwardProcess;
use reverse_chain::ReverseChain;
use setup::Setup;
use supervised::Supervised;
use supervised_start::SupervisedStart;
use update::RolloutUpdate;

/// What a method needs and how it differs from the others; the code of each is in its own file.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Name of the student's loss in the log.
    pub loss: &'static str,
    /// Whether there is a discriminator, and an old policy that draws rollouts.
    pub adversarial: bool,
    /// Weight of the reference policy; 0 keeps none.
    pub reference_weight: fn(&Settings) -> f64,
    /// Where it departs from the alternation besides the student's update.
    pub variant: Variant,
}

const AFD: Entry = Entry {
    loss: forward_process::LOSS,
    adversarial: true,
    reference_weight: |settings| settings.afd.reference_weight,
    variant: Variant {
        frozen_after_warm_up: false,
        offline: false,
    },
};

/// The entry of the settings' method.
pub fn entry(settings: &Settings) -> Entry {
    if settings.is_supervised() {
        return Entry {
            loss: supervised::LOSS,
            adversarial: false,
            reference_weight: |_| 0.0,
            ..AFD
        };
    }
    match settings.method {
        Method::Afd | Method::Supervised | Method::ScoreDistillation => AFD,
        Method::FrozenDiscriminator => Entry {
            variant: Variant {
                frozen_after_warm_up: true,
                offline: false,
            },
            ..AFD
        },
        Method::Offline => Entry {
            variant: Variant {
                frozen_after_warm_up: true,
                offline: true,
            },
            ..AFD
        },
        Method::DirectAdversarial => Entry {
            loss: direct_adversarial::LOSS,
            reference_weight: |_| 0.0,
            ..AFD
        },
        Method::ReverseChain => Entry {
            loss: reverse_chain::LOSS,
            reference_weight: |settings| settings.reverse_chain.divergence_weight,
            ..AFD
        },
    }
}

/// The student's update of the recipe's method.
fn rollout_update<B: Trainable, D: TrainedDiscriminator<B>>(
    recipe: &Recipe,
    setup: &Arc<Setup<B::InnerBackend>>,
) -> Box<dyn RolloutUpdate<B, D>> {
    let setup = setup.clone();
    match recipe.settings.method {
        Method::DirectAdversarial => Box::new(DirectAdversarial::new(setup)),
        Method::ReverseChain => {
            let table = recipe.settings.reverse_chain.clone();
            Box::new(ReverseChain::new(setup, table))
        }
        _ => Box::new(ForwardProcess::new(setup)),
    }
}

/// The recipe's method on its prompts and teacher.
pub fn of_recipe<B: Trainable, D: TrainedDiscriminator<B>>(
    recipe: &Recipe,
    batches: Arc<Batches<B::InnerBackend>>,
    device: B::Device,
) -> Box<dyn TrainingMethod<B, D>> {
    let settings = &recipe.settings;
    if settings.is_supervised() {
        let table = settings.supervised.clone();
        return Box::new(Supervised::new(recipe, table, batches, device));
    }
    let alternation = Alternation::new(
        recipe,
        batches.clone(),
        device.clone(),
        entry(settings).variant,
        |setup| rollout_update(recipe, setup),
    );
    if settings.afd.supervised_rounds == 0 {
        return Box::new(alternation);
    }
    Box::new(SupervisedStart::new(recipe, batches, device, alternation))
}
