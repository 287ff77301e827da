//! Who imports whom, and whether that goes round.

use std::collections::{BTreeMap, BTreeSet};

/// Edges by what they start from.
pub type Graph = BTreeMap<String, BTreeSet<String>>;

/// Every set of nodes that reach each other, and so import each other in a circle.
pub fn circles(graph: &Graph) -> Vec<BTreeSet<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> = graph
        .keys()
        .map(|start| (start, reached_from(graph, start)))
        .collect();
    let reaches = |from: &String, to: &String| {
        reached
            .get(from)
            .is_some_and(|reached| reached.contains(to))
    };
    let mut circles = BTreeSet::new();
    for start in graph.keys().filter(|start| reaches(start, start)) {
        let circle: BTreeSet<String> = graph
            .keys()
            .filter(|other| reaches(start, other) && reaches(other, start))
            .cloned()
            .collect();
        circles.insert(circle);
    }
    circles.into_iter().collect()
}

fn reached_from<'a>(graph: &'a Graph, start: &'a String) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(node) = open.pop() {
        for next in graph.get(node).into_iter().flatten() {
            if reached.insert(next) {
                open.push(next);
            }
        }
    }
    reached
}
