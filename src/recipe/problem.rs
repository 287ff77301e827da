//! What is wrong with a recipe's values.

/// One sentence: the field, the value found, what is needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(String);

/// Found after a recipe was accepted, such as in what a student carries away.
impl crate::exit::ExitStatus for Problem {}

impl Problem {
    /// The sentence.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    /// What another error says.
    pub fn from_error(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }

    /// The same about a field or file that the sentence does not name.
    pub fn about(self, subject: impl std::fmt::Display) -> Self {
        Self(format!("{subject}: {}", self.0))
    }
}
