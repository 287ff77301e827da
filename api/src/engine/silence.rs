//! Submissions in a row whose answers say nothing: after a few of them nothing more is sent.

/// Lost answers in a row, each of which may have been paid for, before the provider is left alone.
const LOST: u32 = 5;
/// Tries in a row that cost nothing before a provider of which nothing was ever heard is left
/// alone; one that was heard of is waited for until the deadline.
const QUIET: u32 = 12;

/// What was heard of the provider.
#[derive(Debug, Default)]
pub(super) struct Silence {
    lost: u32,
    quiet: u32,
    /// Whether any answer ever said something.
    heard: bool,
    /// Whether the answer to a submission ever did.
    proven: bool,
    given_up: bool,
}

impl Silence {
    /// An answer to a question said something.
    pub fn hear(&mut self) {
        self.heard = true;
    }

    /// The answer to a submission said something.
    pub fn prove(&mut self) {
        (self.heard, self.proven) = (true, true);
        (self.lost, self.quiet) = (0, 0);
    }

    /// An answer was lost that nobody can ask for. Gives how many in a row if that is enough.
    pub fn lose(&mut self) -> Option<u32> {
        self.lost += 1;
        self.given_up |= self.lost >= LOST;
        self.given_up.then_some(self.lost)
    }

    /// A try told nothing, and cost nothing. Gives how many in a row if that is enough.
    pub fn miss(&mut self) -> Option<u32> {
        self.quiet += 1;
        self.given_up |= self.quiet >= QUIET && !self.heard;
        self.given_up.then_some(self.quiet)
    }

    /// Tries in a row that told nothing.
    pub fn in_a_row(&self) -> u32 {
        self.lost.max(self.quiet)
    }

    /// Whether submissions may go side by side; until one is answered they go one by one, so that
    /// little is lost at a provider that answers nothing.
    pub fn is_trusted(&self) -> bool {
        self.proven && self.lost == 0 && self.quiet == 0
    }

    /// Whether nothing more is to be sent.
    pub fn has_given_up(&self) -> bool {
        self.given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_lost_answers_in_a_row_are_enough_and_one_that_says_something_starts_anew() {
        let mut silence = Silence::default();
        assert!(!silence.is_trusted());
        silence.prove();
        assert!(silence.is_trusted());
        assert!((0..4).all(|_| silence.lose().is_none()) && !silence.is_trusted());
        silence.prove();
        assert!((0..4).all(|_| silence.lose().is_none()));
        assert!(silence.lose() == Some(5) && silence.has_given_up());
    }

    #[test]
    fn a_provider_that_was_heard_of_is_waited_for() {
        let mut silence = Silence::default();
        assert!((0..11).all(|_| silence.miss().is_none()));
        assert!(silence.miss() == Some(12) && silence.has_given_up());
        let mut silence = Silence::default();
        silence.hear();
        assert!((0..100).all(|_| silence.miss().is_none()) && !silence.has_given_up());
    }
}
