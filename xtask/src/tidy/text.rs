//! What shows in the text alone.

use std::path::Path;

use super::Finding;

const COLUMNS_MAX: usize = 100;

/// Marks of unfinished work. Written in pieces, so that they are not found here.
const UNFINISHED: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
];

pub(crate) fn inspect(path: &Path, text: &str) -> Vec<Finding> {
    let advices = (1..).zip(text.lines()).flat_map(|(line, text)| {
        [too_wide(text), unfinished(text)].into_iter().flatten().map(move |advice| (line, advice))
    });
    advices.map(|(line, advice)| Finding { path: path.to_owned(), line, advice }).collect()
}

/// Addresses and the rows of a table in the documentation cannot be broken into lines.
fn too_wide(line: &str) -> Option<String> {
    let columns = line.chars().count();
    let start = line.trim_start();
    let is_whole = line.contains("://") || start.starts_with("//! |") || start.starts_with("/// |");
    let is_wide = columns > COLUMNS_MAX && !is_whole;
    is_wide.then(|| format!("{columns} columns: break the line (at most {COLUMNS_MAX})"))
}

fn unfinished(line: &str) -> Option<String> {
    let mark = UNFINISHED.iter().find(|mark| {
        line.match_indices(**mark).any(|(start, _)| {
            let before = line[..start].chars().next_back();
            let after = line[start + mark.len()..].chars().next();
            let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            !is_word(before) && (mark.ends_with('(') || !is_word(after))
        })
    })?;
    Some(format!("{mark}: finish it, or write it into an issue"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        inspect(Path::new("a.rs"), text).len()
    }

    #[test]
    fn lines_end_at_the_limit() {
        assert_eq!(found(&"x".repeat(COLUMNS_MAX)), 0);
        assert_eq!(found(&"x".repeat(COLUMNS_MAX + 1)), 1);
        assert_eq!(found(&"…".repeat(COLUMNS_MAX)), 0);
        assert_eq!(found(&format!("//! | {} |", "x".repeat(COLUMNS_MAX))), 0);
        assert_eq!(found(&format!("// https://{}", "x".repeat(COLUMNS_MAX))), 0);
    }

    #[test]
    fn marks_of_unfinished_work_are_found() {
        for mark in UNFINISHED {
            assert_eq!(found(&format!("    {mark} later")), 1, "{mark}");
            assert_eq!(found(&format!("    A{mark} later")), 0, "{mark}");
        }
    }
}
