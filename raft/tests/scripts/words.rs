//! The words of a command or a claim, taken one after another.

use revd_raft::{NodeId, Term};

use crate::support::id;

/// What is left of a line.
#[derive(Clone, Debug)]
pub(crate) struct Words<'a>(std::iter::Peekable<std::str::SplitWhitespace<'a>>);

impl<'a> Words<'a> {
    pub(crate) fn of(text: &'a str) -> Words<'a> {
        Words(text.split_whitespace().peekable())
    }

    pub(crate) fn peek(&mut self) -> Option<&'a str> {
        self.0.peek().copied()
    }

    /// The next word, which is there: `what` says what it ought to be.
    pub(crate) fn next(&mut self, what: &str) -> Result<&'a str, String> {
        self.0.next().ok_or_else(|| format!("{what} is missing"))
    }

    pub(crate) fn number(&mut self, what: &str) -> Result<u64, String> {
        let word = self.next(what)?;
        word.parse().map_err(|_| format!("{word} is no {what}"))
    }

    pub(crate) fn node(&mut self) -> Result<NodeId, String> {
        self.number("member").map(id)
    }

    pub(crate) fn term(&mut self) -> Result<Term, String> {
        self.number("term").map(Term)
    }

    /// As many numbers as follow; at least one.
    pub(crate) fn nodes(&mut self) -> Result<Vec<NodeId>, String> {
        let mut nodes = vec![self.node()?];
        while self.peek().is_some_and(|word| word.parse::<u64>().is_ok()) {
            nodes.push(self.node()?);
        }
        Ok(nodes)
    }

    /// Passes by `word`, which must come.
    pub(crate) fn skip(&mut self, word: &str) -> Result<(), String> {
        match self.next(word)? {
            found if found == word => Ok(()),
            found => Err(format!("{word} must stand where {found} does")),
        }
    }

    /// Passes by `word` if it comes: whether it did.
    pub(crate) fn comes(&mut self, word: &str) -> bool {
        self.0.next_if(|found| *found == word).is_some()
    }

    pub(crate) fn rest(self) -> Vec<&'a str> {
        self.0.collect()
    }

    /// Nothing may follow.
    pub(crate) fn end(mut self) -> Result<(), String> {
        self.0.next().map_or(Ok(()), |word| Err(format!("{word} is too much")))
    }
}
