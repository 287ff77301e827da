//! The sentences this teacher understands, parsed strictly: a [`ScenePrompt`] that exists is one of
//! them.

use std::fmt;

use afd_clips::teacher::TeacherError;

/// A sentence of every kind, for error messages.
const EXAMPLES: [&str; 3] = [
    "a small red ball is dropped on the moon",
    "a large blue ball is thrown to the left on earth",
    "a small green ball and a large yellow ball are thrown at each other on jupiter",
];

/// How large a ball is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Radius 0.35 m.
    Small,
    /// Radius 0.55 m.
    Large,
}

impl Size {
    /// Radius in metres.
    pub fn radius(self) -> f32 {
        match self {
            Self::Small => 0.35,
            Self::Large => 0.55,
        }
    }
}

/// The colour of a ball.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// (230, 60, 50)
    Red,
    /// (60, 200, 80)
    Green,
    /// (70, 110, 240)
    Blue,
    /// (240, 210, 60)
    Yellow,
}

impl Colour {
    /// 8-bit RGB.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [230, 60, 50],
            Self::Green => [60, 200, 80],
            Self::Blue => [70, 110, 240],
            Self::Yellow => [240, 210, 60],
        }
    }
}

/// The 8-bit RGB colour that a word of the prompt stands for; `None` where the word is no colour.
pub fn colour_of(word: &str) -> Option<[u8; 3]> {
    COLOURS
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, colour)| colour.rgb())
}

/// Where a scene plays, which fixes its gravity and what is behind the balls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// 1.62 m/s^2
    Moon,
    /// 9.81 m/s^2
    Earth,
    /// 24.79 m/s^2
    Jupiter,
}

impl Place {
    /// Downward acceleration in m/s^2.
    pub fn gravity(self) -> f32 {
        match self {
            Self::Moon => 1.62,
            Self::Earth => 9.81,
            Self::Jupiter => 24.79,
        }
    }

    /// The mean 8-bit RGB colour behind the balls: black rock, a dusky sky, brown clouds. Dark and
    /// dull, so that every ball stands out.
    pub fn backdrop(self) -> [u8; 3] {
        match self {
            Self::Moon => [16, 16, 18],
            Self::Earth => [34, 50, 70],
            Self::Jupiter => [92, 66, 46],
        }
    }
}

/// Where a thrown ball flies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It starts at the right wall.
    Left,
    /// It starts at the left wall.
    Right,
}

/// What can be seen of a ball.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BallLook {
    /// Radius of the ball.
    pub size: Size,
    /// Colour of the ball.
    pub colour: Colour,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A ball starts at rest, high up.
    Dropped {
        /// The ball.
        ball: BallLook,
    },
    /// A ball starts at one side with a speed towards the other.
    Thrown {
        /// The ball.
        ball: BallLook,
        /// Where it flies to.
        direction: Direction,
    },
    /// Two balls of different colours fly at each other.
    Collide {
        /// Starts at the left.
        first: BallLook,
        /// Starts at the right.
        second: BallLook,
    },
}

/// A sentence this teacher understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScenePrompt {
    /// What happens to which balls.
    pub action: Action,
    /// Where.
    pub place: Place,
}

const SIZES: [(&str, Size); 2] = [("small", Size::Small), ("large", Size::Large)];
const COLOURS: [(&str, Colour); 4] = [
    ("red", Colour::Red),
    ("green", Colour::Green),
    ("blue", Colour::Blue),
    ("yellow", Colour::Yellow),
];
const DIRECTIONS: [(&str, Direction); 2] = [("left", Direction::Left), ("right", Direction::Right)];

impl ScenePrompt {
    /// Reads a sentence: lower-case words with single spaces between them, nothing before or after.
    ///
    /// # Errors
    /// [`TeacherError::Prompt`] names the first offending word, what was expected there and an
    /// example sentence.
    pub fn parse(prompt: &str) -> Result<Self, TeacherError> {
        let mut words = Words {
            prompt,
            rest: prompt.split(' ').collect(),
            at: 0,
        };
        words.skip("a")?;
        let first = words.ball()?;
        let action = match words.one_of(&[("is", false), ("and", true)])? {
            false if words.one_of(&[("dropped", true), ("thrown", false)])? => {
                Action::Dropped { ball: first }
            }
            false => {
                words.skip("to the")?;
                Action::Thrown {
                    ball: first,
                    direction: words.one_of(&DIRECTIONS)?,
                }
            }
            true => {
                words.skip("a")?;
                let second = words.ball_other_than(first.colour)?;
                words.skip("are thrown at each other")?;
                Action::Collide { first, second }
            }
        };
        words.skip("on")?;
        let place = words.one_of(&[
            ("the", Place::Moon),
            ("earth", Place::Earth),
            ("jupiter", Place::Jupiter),
        ])?;
        if place == Place::Moon {
            words.skip("moon")?;
        }
        words.end()?;
        Ok(Self { action, place })
    }
}

/// Writes the sentence back, exactly as it was read.
impl fmt::Display for ScenePrompt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.action {
            Action::Dropped { ball } => write!(out, "a {ball} is dropped")?,
            Action::Thrown { ball, direction } => write!(
                out,
                "a {ball} is thrown to the {}",
                name(&DIRECTIONS, direction)
            )?,
            Action::Collide { first, second } => {
                write!(out, "a {first} and a {second} are thrown at each other")?
            }
        }
        out.write_str(match self.place {
            Place::Moon => " on the moon",
            Place::Earth => " on earth",
            Place::Jupiter => " on jupiter",
        })
    }
}

impl fmt::Display for BallLook {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} {} ball",
            name(&SIZES, self.size),
            name(&COLOURS, self.colour)
        )
    }
}

fn name<T: PartialEq>(table: &[(&'static str, T)], value: T) -> &'static str {
    table
        .iter()
        .find(|(_, entry)| *entry == value)
        .map_or("", |(word, _)| word)
}

/// The words of a prompt, read from the left.
struct Words<'a> {
    prompt: &'a str,
    rest: Vec<&'a str>,
    at: usize,
}

impl Words<'_> {
    /// Reads one word of a table and gives what it stands for.
    fn one_of<T: Copy>(&mut self, table: &[(&str, T)]) -> Result<T, TeacherError> {
        let found = self
            .rest
            .get(self.at)
            .and_then(|found| table.iter().find(|(word, _)| word == found));
        let Some((_, value)) = found else {
            let expected: Vec<String> = table.iter().map(|(word, _)| format!("{word:?}")).collect();
            return Err(self.error(&expected.join(" or ")));
        };
        self.at += 1;
        Ok(*value)
    }

    /// Reads exactly these words.
    fn skip(&mut self, words: &str) -> Result<(), TeacherError> {
        words
            .split(' ')
            .try_for_each(|word| self.one_of(&[(word, ())]))
    }

    /// Reads "{size} {colour} ball".
    fn ball(&mut self) -> Result<BallLook, TeacherError> {
        let ball = BallLook {
            size: self.one_of(&SIZES)?,
            colour: self.one_of(&COLOURS)?,
        };
        self.skip("ball")?;
        Ok(ball)
    }

    /// As [`Self::ball`], but of another colour: two balls of one colour could not be told apart.
    fn ball_other_than(&mut self, taken: Colour) -> Result<BallLook, TeacherError> {
        let others: Vec<(&str, Colour)> = COLOURS
            .into_iter()
            .filter(|(_, colour)| *colour != taken)
            .collect();
        let ball = BallLook {
            size: self.one_of(&SIZES)?,
            colour: self.one_of(&others)?,
        };
        self.skip("ball")?;
        Ok(ball)
    }

    fn end(&self) -> Result<(), TeacherError> {
        if self.at == self.rest.len() {
            Ok(())
        } else {
            Err(self.error("the end of the sentence"))
        }
    }

    fn error(&self, expected: &str) -> TeacherError {
        let found = match self.rest.get(self.at) {
            Some(&"") => format!(
                "word {} is empty (words are separated by single spaces)",
                self.at + 1
            ),
            Some(word) => format!("word {} is {word:?}", self.at + 1),
            None => format!("the sentence ends after word {}", self.at),
        };
        let reason = format!(
            "{found}, expected {expected}; sentences it understands look like {:?}",
            EXAMPLES
        );
        TeacherError::Prompt {
            teacher: "world".to_owned(),
            prompt: self.prompt.to_owned(),
            reason,
        }
    }
}

#[cfg(test)]
mod tests;
