//! Everything between video files and student-sized clips.

pub mod batch;
pub mod codec;
pub mod embeddings;
pub mod latents;
pub mod manifest;
pub mod near_prompts;
pub mod prepare;
pub mod record;
mod stage;
pub mod text;
pub mod video;
pub mod video_io;
