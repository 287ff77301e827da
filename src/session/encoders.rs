//! The codec and the text encoder that a student was trained with, by what is in their files.

use std::path::{Path, PathBuf};

use afd_models::weights::Pickles;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SessionError;
use crate::data::text::{identity, identity_of_cached};
use crate::exit::ExitStatus;
use crate::recipe::Recipe;
use crate::recipe::codec::CodecPlan;
use crate::recipe::tables::{CodecKind, CodecTable, TextKind, TextTable};

/// Files that are others now.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} is not the {what} that the student was trained with: its files hold something else \
        now (the weights, or umT5's tokenizer); put the old ones back, or name them", path.display()
)]
pub struct OtherEncoder {
    path: PathBuf,
    what: &'static str,
}

impl ExitStatus for OtherEncoder {}

/// What identifies them; `None` where there are no files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoders {
    /// The Wan VAE's weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    codec: Option<Value>,
    /// umT5's weights and tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<Value>,
}

impl Encoders {
    /// Those of a recipe; `None` if neither is in files.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn of(recipe: &Recipe) -> Result<Option<Self>, SessionError> {
        let settings = &recipe.settings;
        let mut encoders = Self::default();
        if settings.codec.kind != CodecKind::Pixel {
            encoders.codec = Some(recipe.codec.identity()?);
        }
        if settings.text.kind == TextKind::Umt5 {
            let (table, pickles) = (&settings.text, settings.pickles());
            encoders.text = Some(identity_of_cached(table, pickles, recipe.data())?);
        }
        Ok((encoders != Self::default()).then_some(encoders))
    }

    /// Refuses files that are others now; those that are not here are not asked for here.
    ///
    /// # Errors
    /// [`OtherEncoder`]; files that cannot be read.
    pub fn verify(&self, codec: &CodecTable, text: &TextTable) -> Result<(), SessionError> {
        let is_there = |file: &Option<PathBuf>| file.as_deref().is_some_and(Path::exists);
        let other = |file: &Option<PathBuf>, what| OtherEncoder {
            path: file.clone().unwrap_or_default(),
            what,
        };
        // Whether files may be pickles was settled when the recipe was read.
        let pickles = Pickles::Allowed;
        if let (Some(trained), true) = (&self.codec, is_there(&codec.checkpoint))
            && CodecPlan::of(codec, pickles)?.identity()? != *trained
        {
            return Err(other(&codec.checkpoint, "codec").into());
        }
        let (weights, tokenizer) = (&text.checkpoint, &text.tokenizer);
        if let (Some(trained), true, true) = (&self.text, is_there(weights), is_there(tokenizer))
            && identity(text, pickles)? != *trained
        {
            return Err(other(weights, "text encoder").into());
        }
        Ok(())
    }
}
