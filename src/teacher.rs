//! The black box: prompts in, finished videos out, and nothing else.

pub use afd_clips::teacher::{Source, Teacher, TeacherError, folder};
pub use afd_world as world;
