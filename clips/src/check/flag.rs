//! What makes a clip suspicious.

/// What makes a clip suspicious. It may be exactly what is wanted; so a flag is a warning unless a
/// recipe says otherwise.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// Black bars on two opposite sides, each at least 3 % of the picture, sharply bounded.
    Letterbox,
    /// No 8 x 8th of the picture ever changes by more than 2 of 255 levels.
    Static,
    /// No 8 x 8th of the picture is ever brighter than 20 of 255 levels.
    Black,
    /// The same pixels as an earlier clip, or at four moments nowhere (of 8 x 8 parts) more than 6
    /// levels from it.
    Duplicate,
    /// Edges that never move in a picture that otherwise does, in the same place in at least 80 %
    /// of (at least 8) such clips.
    Watermark,
}

impl std::fmt::Display for Flag {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Letterbox => "letterbox",
            Self::Static => "static",
            Self::Black => "black",
            Self::Duplicate => "duplicate",
            Self::Watermark => "watermark",
        })
    }
}

/// A suspicious clip.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Flagged {
    /// The clip.
    pub file: String,
    /// What about it.
    pub flag: Flag,
    /// Where, how much, or like which.
    pub detail: String,
}
