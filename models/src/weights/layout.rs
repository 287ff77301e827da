//! What others call the tensors of a Wan transformer (docs/method.md B.3): one table, and the
//! prefixes that wrappers leave behind.
//!
//! Names inside this crate's files are Wan's own. Shapes and values are the same in every layout,
//! so that a conversion is a renaming.

use std::collections::{BTreeMap, BTreeSet};

use super::WeightsError;

/// Who named the tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The original Wan repository, Self-Forcing and Causal-Forcing.
    Wan,
    /// diffusers' `WanTransformer3DModel`.
    Diffusers,
}

/// Wan's and diffusers' names outside the blocks, without `.weight` and `.bias`.
const OUTSIDE: [(&str, &str); 8] = [
    ("patch_embedding", "patch_embedding"),
    (
        "text_embedding.0",
        "condition_embedder.text_embedder.linear_1",
    ),
    (
        "text_embedding.2",
        "condition_embedder.text_embedder.linear_2",
    ),
    (
        "time_embedding.0",
        "condition_embedder.time_embedder.linear_1",
    ),
    (
        "time_embedding.2",
        "condition_embedder.time_embedder.linear_2",
    ),
    ("time_projection.1", "condition_embedder.time_proj"),
    ("head.head", "proj_out"),
    ("head.modulation", "scale_shift_table"),
];

/// The same inside `blocks.N.`.
const INSIDE: [(&str, &str); 16] = [
    ("modulation", "scale_shift_table"),
    ("self_attn.q", "attn1.to_q"),
    ("self_attn.k", "attn1.to_k"),
    ("self_attn.v", "attn1.to_v"),
    ("self_attn.o", "attn1.to_out.0"),
    ("self_attn.norm_q", "attn1.norm_q"),
    ("self_attn.norm_k", "attn1.norm_k"),
    ("norm3", "norm2"),
    ("cross_attn.q", "attn2.to_q"),
    ("cross_attn.k", "attn2.to_k"),
    ("cross_attn.v", "attn2.to_v"),
    ("cross_attn.o", "attn2.to_out.0"),
    ("cross_attn.norm_q", "attn2.norm_q"),
    ("cross_attn.norm_k", "attn2.norm_k"),
    ("ffn.0", "ffn.net.0.proj"),
    ("ffn.2", "ffn.net.2"),
];

/// Path segments that data-parallel, checkpointing and compiling wrappers put between a module and
/// its parts.
const WRAPPERS: [&str; 4] = [
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_orig_mod",
    "module",
];
/// Path segments that a whole transformer is found below, from the outside in: parts of a training
/// checkpoint, then of a pipeline.
const HOLDERS: [&str; 6] = [
    "generator_ema",
    "generator",
    "critic",
    "state_dict",
    "model",
    "diffusion_model",
];
/// Parts of a training checkpoint, the one to take first.
const PARTS: [&str; 3] = ["generator_ema", "generator", "critic"];

impl Layout {
    /// The layout's name for Wan's `name`; a name that the table lacks stays as it is.
    pub fn name(self, name: &str) -> String {
        match self {
            Self::Wan => name.to_string(),
            Self::Diffusers => translated(name, |(wan, _)| wan, |(_, diffusers)| diffusers)
                .unwrap_or_else(|| name.to_string()),
        }
    }

    /// Wan's name for the layout's `name`; `None` for a name that the table lacks.
    pub fn wan_name(self, name: &str) -> Option<String> {
        match self {
            Self::Wan => translated(name, |(wan, _)| wan, |(wan, _)| wan),
            Self::Diffusers => translated(name, |(_, diffusers)| diffusers, |(wan, _)| wan),
        }
    }

    /// The word for it in commands and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Wan => "wan",
            Self::Diffusers => "diffusers",
        }
    }
}

/// The transformer found in a file's list of names.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Who named the tensors.
    pub layout: Layout,
    /// The part of a training checkpoint that was taken, if the file is one.
    pub part: Option<String>,
    /// Wan's name (or the bare name, where the table lacks it) and the file's.
    pub names: BTreeMap<String, String>,
    /// How many tensors belong to other parts and were left alone.
    pub left_alone: usize,
}

/// Finds the transformer in a file's names: strips wrappers and holders, picks the part
/// (`generator_ema` before `generator`, unless `part` says otherwise) and recognises the layout by
/// the majority of the names.
///
/// # Errors
/// A `part` that is not there; two names that become one.
pub fn find<'a>(
    names: impl Iterator<Item = &'a str>,
    part: Option<&str>,
    origin: &str,
) -> Result<Found, WeightsError> {
    let mismatch = |problem: String| WeightsError::Mismatch {
        origin: origin.to_string(),
        problems: vec![problem],
    };
    let stripped: Vec<(Option<&str>, String, &str)> = names.map(|name| stripped(name)).collect();
    let parts: BTreeSet<&str> = stripped.iter().filter_map(|(part, ..)| *part).collect();
    let chosen = match part {
        Some(part) if parts.contains(part) => Some(part),
        Some(part) => {
            return Err(mismatch(format!(
                "it has no part {part:?}, only {:?}",
                parts.iter().collect::<Vec<_>>()
            )));
        }
        None => PARTS.into_iter().find(|part| parts.contains(part)),
    };
    let (of_part, others): (Vec<_>, Vec<_>) =
        stripped.into_iter().partition(|(part, ..)| *part == chosen);
    let known = |layout: Layout| {
        of_part
            .iter()
            .filter(|(_, bare, _)| layout.wan_name(bare).is_some())
            .count()
    };
    let layout = if known(Layout::Diffusers) > known(Layout::Wan) {
        Layout::Diffusers
    } else {
        Layout::Wan
    };
    let mut found = BTreeMap::new();
    for (_, bare, name) in &of_part {
        let wan = layout.wan_name(bare).unwrap_or_else(|| bare.clone());
        if let Some(other) = found.insert(wan, name.to_string()) {
            return Err(mismatch(format!(
                "tensors {other:?} and {name:?} are the same one"
            )));
        }
    }
    Ok(Found {
        layout,
        part: chosen.map(str::to_string),
        names: found,
        left_alone: others.len(),
    })
}

/// (part, name without wrappers and holders, name).
fn stripped(name: &str) -> (Option<&str>, String, &str) {
    let mut segments: Vec<&str> = name
        .split('.')
        .filter(|segment| !WRAPPERS.contains(segment))
        .collect();
    let held = segments
        .iter()
        .take_while(|segment| HOLDERS.contains(segment))
        .count();
    let part = segments
        .drain(..held)
        .find(|segment| PARTS.contains(segment));
    (part, segments.join("."), name)
}

/// Renames `[blocks.N.]piece[.weight|.bias]` by the tables.
fn translated(
    name: &str,
    from: impl Fn((&'static str, &'static str)) -> &'static str,
    to: impl Fn((&'static str, &'static str)) -> &'static str,
) -> Option<String> {
    let (block, rest, table): (String, &str, &[(&str, &str)]) = match name.strip_prefix("blocks.") {
        Some(rest) => {
            let (number, rest) = rest.split_once('.')?;
            number.parse::<usize>().ok()?;
            (format!("blocks.{number}."), rest, &INSIDE)
        }
        None => (String::new(), name, &OUTSIDE),
    };
    let suffix = [".weight", ".bias"]
        .into_iter()
        .find(|suffix| rest.ends_with(suffix))
        .unwrap_or("");
    let piece = &rest[..rest.len() - suffix.len()];
    let pair = table.iter().find(|pair| from(**pair) == piece)?;
    Some(format!("{block}{}{suffix}", to(*pair)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_table_in_both_directions() {
        for (wan, diffusers) in [
            (
                "blocks.12.self_attn.o.bias",
                "blocks.12.attn1.to_out.0.bias",
            ),
            ("blocks.0.modulation", "blocks.0.scale_shift_table"),
            ("blocks.3.norm3.weight", "blocks.3.norm2.weight"),
            ("head.modulation", "scale_shift_table"),
            (
                "time_projection.1.weight",
                "condition_embedder.time_proj.weight",
            ),
        ] {
            assert_eq!(Layout::Diffusers.name(wan), diffusers);
            assert_eq!(Layout::Diffusers.wan_name(diffusers).as_deref(), Some(wan));
            assert_eq!(Layout::Wan.wan_name(wan).as_deref(), Some(wan));
        }
        assert_eq!(
            Layout::Diffusers.wan_name("blocks.0.attn1.to_x.weight"),
            None
        );
        assert_eq!(Layout::Wan.wan_name("blocks.x.ffn.0.weight"), None);
    }

    #[test]
    fn the_averaged_generator_is_found_below_its_wrappers() {
        let names = [
            concat!(
                "generator_ema.model._fsdp_wrapped_module.",
                "blocks.0._checkpoint_wrapped_module.ffn.0.weight"
            ),
            "generator_ema.model._fsdp_wrapped_module.patch_embedding.weight",
            "generator.model.patch_embedding.weight",
            "critic.model.patch_embedding.weight",
        ];
        let found = find(names.into_iter(), None, "file").unwrap();
        assert_eq!(
            (found.layout, found.part.as_deref(), found.left_alone),
            (Layout::Wan, Some("generator_ema"), 2)
        );
        assert_eq!(found.names["blocks.0.ffn.0.weight"], names[0]);
        let found = find(names.into_iter(), Some("generator"), "file").unwrap();
        assert_eq!(
            found.names.into_iter().collect::<Vec<_>>(),
            [("patch_embedding.weight".to_string(), names[2].to_string())]
        );
        let error = find(names.into_iter(), Some("ema"), "file")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no part \"ema\"") && error.contains("generator_ema"),
            "{error}"
        );
    }

    #[test]
    fn the_layout_is_the_one_that_most_names_follow_and_clashes_are_errors() {
        let names = [
            "model.diffusion_model.blocks.0.attn1.to_q.weight",
            "blocks.1.attn1.to_k.bias",
            "patch_embedding.bias",
            "mystery",
        ];
        let found = find(names.into_iter(), None, "file").unwrap();
        assert_eq!(found.layout, Layout::Diffusers);
        assert_eq!(found.names["blocks.0.self_attn.q.weight"], names[0]);
        assert_eq!(found.names["mystery"], "mystery");
        let error = find(
            ["model.patch_embedding.bias", "patch_embedding.bias"].into_iter(),
            None,
            "file",
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("are the same one"), "{error}");
    }
}
