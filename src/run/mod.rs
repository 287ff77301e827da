//! A run on disk: its directory, its checkpoints, its event files and the signals that end it.

pub mod checkpoints;
pub mod directory;
pub mod events;
pub mod files;
pub mod manifest;
pub mod signals;
pub mod space;
pub mod tensorboard;
