//! Recipes: what a run does, read from TOML and checked before anything starts.

pub mod document;
