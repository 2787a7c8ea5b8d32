//! The last events of a run.

use std::collections::VecDeque;

/// Lines about what happened, the last so many of them; none as long as nobody wants them.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    lines: VecDeque<String>,
    most: usize,
}

impl Trace {
    /// A trace that keeps so many lines.
    pub fn of(most: usize) -> Trace {
        Trace { lines: VecDeque::new(), most }
    }

    /// Whether lines are wanted.
    pub fn is_on(&self) -> bool {
        self.most > 0
    }

    /// Something has happened.
    pub fn push(&mut self, line: String) {
        if self.lines.len() == self.most {
            self.lines.pop_front();
        }
        if self.is_on() {
            self.lines.push_back(line);
        }
    }

    /// What there is, the oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_if_they_are_wanted() {
        for (most, kept) in [(0, &[][..]), (2, &["b", "c"])] {
            let mut trace = Trace::of(most);
            for line in ["a", "b", "c"] {
                trace.push(line.to_owned());
            }
            assert_eq!(trace.lines().collect::<Vec<_>>(), kept);
        }
    }
}
