//! What enters as a value must not be reached for: time, threads, files, sockets, chance.

use syn::visit::Visit;
use syn::{Ident, ItemUse, Macro, Path, UseTree};

use super::Finding;
use super::source::{Source, arguments};

/// Part of the standard library that a room must not name, the rooms, and what to do instead.
struct Seam {
    path: &'static str,
    rooms: &'static [&'static str],
    instead: &'static str,
}

const SEAMS: [Seam; 10] = [
    Seam {
        path: "std::thread",
        rooms: &BELOW_NODE,
        instead: "return the work as a job and let the driver place it",
    },
    Seam {
        path: "std::time::Instant",
        rooms: &BELOW_NODE,
        instead: "take the time as an argument",
    },
    Seam {
        path: "std::time::SystemTime",
        rooms: &BELOW_NODE,
        instead: "take the time as an argument",
    },
    Seam {
        path: "std::time::UNIX_EPOCH",
        rooms: &BELOW_NODE,
        instead: "take the time as an argument",
    },
    Seam {
        path: "std::net",
        rooms: &BELOW_NODE,
        instead: "messages are values; sockets are node's",
    },
    Seam { path: "std::env", rooms: &BELOW_NODE, instead: "take it as an option" },
    Seam { path: "std::fs", rooms: &ABOVE_DISK, instead: "go through revd_disk::Disk" },
    Seam {
        path: "std::collections::HashMap",
        rooms: &DETERMINISTIC,
        instead: "its order differs from run to run: use BTreeMap",
    },
    Seam {
        path: "std::collections::HashSet",
        rooms: &DETERMINISTIC,
        instead: "its order differs from run to run: use BTreeSet",
    },
    Seam {
        path: "std::hash::RandomState",
        rooms: &BELOW_NODE,
        instead: "take a seed as an argument",
    },
];

const BELOW_NODE: [&str; 8] = ["disk", "wal", "btree", "raft", "mvcc", "replica", "api", "bolt"];

/// Below node, but for the one door to the file system.
const ABOVE_DISK: [&str; 7] = ["wal", "btree", "raft", "mvcc", "replica", "api", "bolt"];

/// Rooms in which the same inputs must give the same outputs.
const DETERMINISTIC: [&str; 3] = ["raft", "mvcc", "replica"];

pub(crate) fn inspect(source: &Source) -> Vec<Finding> {
    let mut reader = Reader { source, findings: Vec::new() };
    if source.is_delivered() && BELOW_NODE.contains(&source.room.as_str()) {
        reader.visit_file(&source.syntax);
    }
    reader.findings
}

struct Reader<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    /// `names` is a path as it is written, or what a `use` brings in.
    fn inspect(&mut self, names: &[String], place: &Ident) {
        let line = place.span().start().line;
        let path = names.join("::");
        let applies = |seam: &&Seam| seam.rooms.contains(&self.source.room.as_str());
        let hit = SEAMS.iter().filter(applies).find(|seam| reaches(&path, seam.path));
        if let Some(seam) = hit
            && !self.source.is_test(line)
        {
            let advice =
                format!("{} does without {}: {}", self.source.room, seam.path, seam.instead);
            self.findings.push(self.source.finding(line, advice));
        }
    }

    fn inspect_use(&mut self, tree: &UseTree, before: &mut Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.inspect_use(&path.tree, before);
                before.pop();
            }
            UseTree::Name(name) => self.inspect_last(&name.ident, before),
            UseTree::Rename(rename) => self.inspect_last(&rename.ident, before),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.inspect_use(tree, before));
            }
            _ => {}
        }
    }

    fn inspect_last(&mut self, name: &Ident, before: &mut Vec<String>) {
        // `use std::thread::{self}` names what stands before it.
        let is_itself = name == "self";
        if !is_itself {
            before.push(name.to_string());
        }
        self.inspect(before, name);
        if !is_itself {
            before.pop();
        }
    }
}

/// Whether a path names the forbidden one, something within it, or a module through which it can
/// be reached unseen: `use std::time;` opens the way to `time::Instant`.
fn reaches(path: &str, forbidden: &str) -> bool {
    let is_within = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    is_within(path, forbidden) || path == "std::time" && forbidden.starts_with("std::time::")
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.inspect_use(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let names: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if let Some(first) = path.segments.first() {
            self.inspect(&names, &first.ident);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        for argument in arguments(call).iter().flatten() {
            Visit::visit_expr(self, argument);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(room: &str, text: &str) -> usize {
        inspect(&Source::of(room, text)).len()
    }

    #[test]
    fn threads_and_clocks_are_found_however_they_are_named() {
        for text in [
            "use std::thread;",
            "use std::{io, thread::{self, JoinHandle as J}};",
            "use std::time::{Duration, Instant};",
            "use std::time;",
            "fn f() { std::thread::spawn(g); }",
            "fn f() -> std::time::SystemTime { g() }",
            "fn f() { assert!(std::time::Instant::now() > g); }",
        ] {
            assert_ne!(found("raft", text), 0, "{text}");
            assert_eq!(found("node", text), 0, "{text}");
        }
        assert_eq!(found("raft", "use std::time::Duration;"), 0);
    }

    #[test]
    fn tests_may_use_them() {
        assert_eq!(found("mvcc", "#[cfg(test)]\nmod tests {\n    use std::thread;\n}\n"), 0);
    }

    #[test]
    fn files_are_the_business_of_disk() {
        assert_eq!(found("disk", "use std::fs::File;"), 0);
        assert_eq!(found("wal", "use std::fs::File;"), 1);
    }

    #[test]
    fn maps_without_an_order_are_kept_out_of_the_deterministic_rooms() {
        assert_eq!(found("replica", "use std::collections::{BTreeMap, HashMap};"), 1);
        assert_eq!(found("disk", "use std::collections::HashMap;"), 0);
    }
}
