//! What a number means.

/// Which way a metric improves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Down to zero, or to what the teacher itself reaches.
    Lower,
    /// Up to the metric's upper end, or to what the teacher itself reaches.
    Higher,
    /// At the teacher's value: neither way is better by itself.
    LikeTeacher,
}

/// Which of the clips that were compared a metric looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestsOn {
    /// The teacher's and the column's.
    Both,
    /// The column's alone.
    Own,
    /// The second half of either side; the first half is trained on.
    SecondHalf,
}

impl RestsOn {
    /// The clips it looks at, of the teacher's and the column's `clips` of a prompt.
    pub fn clips(self, [teacher, own]: [usize; 2]) -> [usize; 2] {
        match self {
            Self::Both => [teacher, own],
            Self::Own => [0, own],
            Self::SecondHalf => [teacher - teacher / 2, own - own / 2],
        }
    }
}

/// One field of the scores `S`.
#[derive(Debug)]
pub struct Metric<S> {
    /// The field's name, as in JSON.
    pub name: &'static str,
    /// What tables and plots call it.
    pub title: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Which way it improves.
    pub better: Better,
    /// Which clips it looks at.
    pub rests_on: RestsOn,
    /// What clips of the teacher's own would score in expectation, where the teacher's column has
    /// no value.
    pub chance: Option<f64>,
    /// Its value; `None` where nobody measured it.
    pub value: fn(&S) -> Option<f64>,
}
