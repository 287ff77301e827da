//! Whether a file holds the tensors that a model needs: every difference is named, with the nearest
//! name that the other side has.

use std::collections::BTreeMap;

use safetensors::tensor::Dtype;

/// Shapes by name.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// More problems of one kind than this are counted, not listed.
const LISTED: usize = 12;

/// What a file has under one of the model's names, or under a name that the model does not know.
#[derive(Debug, Clone, PartialEq)]
pub struct Offered {
    /// Its name in the file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its type.
    pub dtype: Dtype,
}

/// Every way in which `offered` differs from `needed` (both under the model's own names): tensors
/// that are missing, unexpected, misshapen or of a type that holds no weights. `naming` gives the
/// name that the file's layout has for a missing one. Empty: the file fits.
pub fn problems(
    needed: &Shapes,
    offered: &BTreeMap<String, Offered>,
    naming: impl Fn(&str) -> String,
) -> Vec<String> {
    let missing: Vec<String> = needed
        .keys()
        .filter(|name| !offered.contains_key(*name))
        .map(|name| naming(name))
        .collect();
    let unexpected: Vec<&str> = offered
        .iter()
        .filter(|(name, _)| !needed.contains_key(*name))
        .map(|(_, found)| found.name.as_str())
        .collect();
    let near = |name: &str, others: &[&str], words: &str| {
        nearest(name, others).map_or(String::new(), |near| format!("; {words} {near:?}"))
    };
    let missing_names: Vec<&str> = missing.iter().map(String::as_str).collect();
    let both: Vec<(&Vec<usize>, &Offered)> = offered
        .iter()
        .filter_map(|(name, found)| needed.get(name).map(|needed| (needed, found)))
        .collect();
    let misshapen: Vec<_> = both
        .iter()
        .filter(|(needed, found)| **needed != found.shape)
        .collect();
    let mistyped: Vec<_> = both
        .iter()
        .filter(|(_, found)| {
            !matches!(
                found.dtype,
                Dtype::F64 | Dtype::F32 | Dtype::BF16 | Dtype::F16
            )
        })
        .collect();
    let mut problems = Vec::new();
    list(&mut problems, &missing, |name| {
        format!(
            "tensor {name:?} is missing{}",
            near(name, &unexpected, "the nearest one there is")
        )
    });
    list(&mut problems, &unexpected, |name| {
        format!(
            "tensor {name:?} is unexpected{}",
            near(name, &missing_names, "the nearest missing one is")
        )
    });
    list(&mut problems, &misshapen, |(needed, found)| {
        let turned = needed.len() > 1 && needed.iter().rev().eq(found.shape.iter());
        let hint = if turned { ": it is transposed" } else { "" };
        format!(
            "tensor {:?} has shape {:?}, expected {needed:?}{hint}",
            found.name, found.shape
        )
    });
    list(&mut problems, &mistyped, |(_, found)| {
        format!(
            "tensor {:?} has type {}, expected F64, F32, BF16 or F16",
            found.name, found.dtype
        )
    });
    problems
}

/// Describes the first few of one kind and counts the rest.
fn list<T>(problems: &mut Vec<String>, of_one_kind: &[T], describe: impl Fn(&T) -> String) {
    problems.extend(of_one_kind.iter().take(LISTED).map(describe));
    if of_one_kind.len() > LISTED {
        problems.push(format!("and {} more like this", of_one_kind.len() - LISTED));
    }
}

/// The first few problems; the rest are counted.
pub fn few(mut problems: Vec<String>) -> Vec<String> {
    if problems.len() > LISTED {
        let more = problems.len() - LISTED;
        problems.truncate(LISTED);
        problems.push(format!("and {more} more"));
    }
    problems
}

/// The most similar of `names`, if it is similar at all.
pub fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let similarity = |other: &str| strsim::normalized_damerau_levenshtein(name, other);
    let best = names
        .iter()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(best) > 0.7).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_is_named_with_the_nearest_match() {
        let needed: Shapes = [
            ("a.norm.weight", vec![4]),
            ("a.q.weight", vec![4, 2]),
            ("a.k.weight", vec![4, 2]),
            ("a.bias", vec![4]),
        ]
        .map(|(name, shape)| (name.to_string(), shape))
        .into();
        let offer = |name: &str, shape: &[usize], dtype| {
            (
                name.to_string(),
                Offered {
                    name: format!("m.{name}"),
                    shape: shape.to_vec(),
                    dtype,
                },
            )
        };
        let fits: BTreeMap<_, _> = needed
            .iter()
            .map(|(name, shape)| offer(name, shape, Dtype::BF16))
            .collect();
        assert_eq!(
            problems(&needed, &fits, str::to_string),
            Vec::<String>::new()
        );
        let offered = [
            offer("a.norm.wieght", &[4], Dtype::F32),
            offer("a.q.weight", &[2, 4], Dtype::F32),
            offer("a.k.weight", &[4, 3], Dtype::F32),
            offer("a.bias", &[4], Dtype::I64),
        ];
        assert_eq!(
            problems(&needed, &offered.into(), |name| format!("m.{name}")),
            [
                "tensor \"m.a.norm.weight\" is missing; the nearest one there is \
                    \"m.a.norm.wieght\"",
                "tensor \"m.a.norm.wieght\" is unexpected; the nearest missing one is \
                    \"m.a.norm.weight\"",
                "tensor \"m.a.k.weight\" has shape [4, 3], expected [4, 2]",
                "tensor \"m.a.q.weight\" has shape [2, 4], expected [4, 2]: it is transposed",
                "tensor \"m.a.bias\" has type I64, expected F64, F32, BF16 or F16",
            ]
        );
    }

    #[test]
    fn many_problems_of_one_kind_are_counted() {
        let needed: Shapes = (0..40)
            .map(|number| (format!("tensor{number:02}"), vec![1]))
            .collect();
        let problems = problems(&needed, &BTreeMap::new(), str::to_string);
        assert_eq!(
            (problems.len(), problems[12].as_str()),
            (13, "and 28 more like this")
        );
    }
}
