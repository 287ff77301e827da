//! What a reader of a run's numbers has to know: said before training, beside the table and in the
//! report, a sentence each.

use std::collections::BTreeSet;

use afd_models::kernels::Kernels;

use super::evaluate::{PromptClips, filmed_by};
use crate::data::batch::Batches;
use crate::eval::estimate::FEWEST_PROMPTS;
use crate::eval::table::FilmedBy;
use crate::methods;
use crate::recipe::Recipe;
use crate::recipe::tables::TeacherKind;

/// Prompts that a sentence names; the rest is counted.
const SHOWN: usize = 3;

/// What can be said of the prompts alone; `trained` are those that the student was trained on.
pub fn of_prompts(recipe: &Recipe, trained: &[String]) -> Vec<String> {
    let held_out = recipe.compared_prompts();
    let words = |prompt: &String| {
        let words: Vec<String> = prompt.split_whitespace().map(str::to_lowercase).collect();
        words.join(" ")
    };
    let known: BTreeSet<String> = trained.iter().map(words).collect();
    let mut seen = BTreeSet::new();
    let (once, again): (Vec<&String>, Vec<&String>) =
        held_out.iter().partition(|prompt| seen.insert(*prompt));
    let trained_on: Vec<&String> = once
        .iter()
        .copied()
        .filter(|prompt| known.contains(&words(prompt)))
        .collect();
    let mut remarks = Vec::new();
    if !trained_on.is_empty() {
        remarks.push(format!(
            "{} of {} prompts of prompts.held_out are trained on ({}): numbers on them say nothing \
             about new prompts",
            trained_on.len(),
            once.len(),
            shown(&trained_on)
        ));
    }
    if !again.is_empty() {
        remarks.push(format!(
            "prompts.held_out lists {} of its prompts again ({}); each is compared once",
            again.len(),
            shown(&again)
        ));
    }
    remarks
}

/// What can be said before training: of prompts, and of clips that are too few.
pub fn before_training<B: Kernels>(recipe: &Recipe, batches: &Batches<B>) -> Vec<String> {
    let mut remarks = of_prompts(recipe, &recipe.train_prompts);
    let count = recipe.settings.afd.teacher_clips_per_prompt as u64;
    let repeated: Vec<&String> = recipe
        .train_prompts
        .iter()
        .filter(|prompt| batches.repeats(prompt, count))
        .collect();
    if methods::entry(&recipe.settings).adversarial && !repeated.is_empty() {
        remarks.push(format!(
            "afd.teacher_clips_per_prompt is {count}, and the clips to draw from of {} of {} \
             prompts of prompts.train are fewer or no multiple of it ({}): a batch of the \
             discriminator can show one of their clips several times",
            repeated.len(),
            recipe.train_prompts.len(),
            shown(&repeated)
        ));
    }
    let clips = |prompt: &String| batches.clips_of(prompt);
    remarks.extend(too_few(
        recipe,
        &mut recipe
            .compared_prompts()
            .iter()
            .filter_map(|prompt| Some((prompt, clips(prompt)?))),
    ));
    remarks
}

/// What belongs beside a table of these clips; `trained` are the prompts that the students were
/// trained on.
pub fn beside_table(recipe: &Recipe, trained: &[String], clips: &[PromptClips]) -> Vec<String> {
    let mut remarks = vec![format!(
        "below each number: its 95 % interval, bootstrapped over the {} prompts, and n, the \
         teacher's clips + the column's that it rests on{}",
        clips.len(),
        if clips.len() < FEWEST_PROMPTS {
            format!("; fewer than {FEWEST_PROMPTS} prompts call nothing better or worse")
        } else {
            String::new()
        }
    )];
    if filmed_by(recipe) == FilmedBy::Others {
        remarks.push(format!(
            "the clips of teacher.kind = {:?} are not known to be the built-in world's, so what \
             follows its balls (trajectory energy distance, gravity error, object permanence) is \
             left out",
            match recipe.settings.teacher.kind {
                TeacherKind::World => "world",
                TeacherKind::Folder => "folder",
                TeacherKind::Api => "api",
            }
        ));
    }
    remarks.extend(too_few(
        recipe,
        &mut clips
            .iter()
            .map(|clips| (&clips.prompt, clips.teacher.len() as u64)),
    ));
    remarks.extend(of_prompts(recipe, trained));
    remarks
}

/// Held-out prompts with fewer different clips than are asked for.
fn too_few(recipe: &Recipe, clips: &mut dyn Iterator<Item = (&String, u64)>) -> Option<String> {
    let asked = recipe.settings.evaluation.clips_per_prompt;
    let mut few: Vec<(u64, &String)> = clips
        .filter(|(_, there)| *there < asked)
        .map(|(prompt, there)| (there, prompt))
        .collect();
    few.sort_by_key(|(there, _)| *there);
    let (fewest, _) = few.first()?;
    let prompts: Vec<&String> = few.iter().map(|(_, prompt)| *prompt).collect();
    Some(format!(
        "evaluation.clips_per_prompt is {asked}, and the teacher has fewer different clips of {} \
         held-out prompts, {fewest} at the least ({}): each is used once, and what would take a \
         second use is left empty (distances take 2 clips on either side, the teacher's own 4)",
        prompts.len(),
        shown(&prompts)
    ))
}

fn shown(prompts: &[&String]) -> String {
    let mut shown: Vec<String> = prompts
        .iter()
        .take(SHOWN)
        .map(|prompt| format!("{prompt:?}"))
        .collect();
    if prompts.len() > SHOWN {
        shown.push(format!("and {} more", prompts.len() - SHOWN));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn recipe(held_out: &str) -> Recipe {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/recipe.toml");
        Recipe::load(&path, &[format!("prompts.held_out={held_out}")]).unwrap()
    }

    #[test]
    fn held_out_prompts_that_are_trained_on_are_named() {
        let earth = "a small red ball is dropped on earth";
        let recipe = recipe(&format!(
            "[{earth:?}, \"a small blue ball is dropped on jupiter\"]"
        ));
        let [remark] = &of_prompts(&recipe, &recipe.train_prompts)[..] else {
            panic!("one remark")
        };
        assert!(
            remark.starts_with("1 of 2 prompts of prompts.held_out are trained on")
                && remark.contains(earth),
            "{remark}"
        );
        // However it is written.
        let trained = ["A small  red ball is dropped on Earth ".to_string()];
        assert_eq!(of_prompts(&recipe, &trained).len(), 1);
        assert!(of_prompts(&recipe, &[]).is_empty());
    }

    #[test]
    fn a_held_out_prompt_that_is_listed_twice_is_named() {
        let blue = "a small blue ball is dropped on jupiter";
        let recipe = recipe(&format!("[{blue:?}, {blue:?}]"));
        let [remark] = &of_prompts(&recipe, &recipe.train_prompts)[..] else {
            panic!("one remark")
        };
        assert!(remark.contains("lists 1 of its prompts again"), "{remark}");
    }
}
