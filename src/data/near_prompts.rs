//! Which prompts are close to each other, for mismatched pairs: those that differ in few words.

use std::collections::BTreeMap;

/// How many neighbours a prompt has at most.
pub const NEIGHBOURS: usize = 8;

/// The [`NEIGHBOURS`] prompts of a list that share most words with another one (fewest words in
/// only one of the two; ties go to the earlier prompt in the list). Empty where there is no other.
///
/// One prompt at a time: all pairs of ten thousand prompts would take minutes.
pub fn near_prompts(prompt: &str, prompts: &[String]) -> Vec<String> {
    let mut others: Vec<(usize, &String)> = prompts
        .iter()
        .filter(|other| *other != prompt)
        .map(|other| (differing_words(prompt, other), other))
        .collect();
    others.sort_by_key(|&(words, _)| words);
    others
        .into_iter()
        .take(NEIGHBOURS)
        .map(|(_, other)| other.clone())
        .collect()
}

/// Words in only one of two prompts; a word that stands twice counts twice.
fn differing_words(first: &str, second: &str) -> usize {
    let mut counts = BTreeMap::<&str, i64>::new();
    first
        .split_whitespace()
        .for_each(|word| *counts.entry(word).or_default() += 1);
    second
        .split_whitespace()
        .for_each(|word| *counts.entry(word).or_default() -= 1);
    counts
        .values()
        .map(|count| count.unsigned_abs() as usize)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_prompts_differ_in_the_fewest_words_and_come_first() {
        let prompts = [
            "a red ball on earth",
            "two red cubes on mars",
            "a red ball on mars",
            "a blue ball on earth",
        ]
        .map(String::from);
        assert_eq!(
            near_prompts(&prompts[0], &prompts),
            [&prompts[2], &prompts[3], &prompts[1]].map(String::clone)
        );
        assert_eq!(near_prompts(&prompts[1], &prompts)[0], prompts[2]);
    }

    #[test]
    fn a_prompt_is_never_its_own_neighbour_and_neighbours_are_few() {
        let prompts: Vec<String> = (0..20)
            .map(|index| format!("ball {}", index % 15))
            .collect();
        for prompt in &prompts {
            let near = near_prompts(prompt, &prompts);
            assert_eq!(near.len(), NEIGHBOURS);
            assert!(!near.contains(prompt));
        }
        assert!(near_prompts("alone", &["alone".to_string()]).is_empty());
    }
}
