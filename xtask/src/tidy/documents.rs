//! The documents that each crate owes its reader, and the lint that keeps its items documented.

use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Attribute, ItemMod};

use super::Finding;
use super::source::Source;
use super::workspace::{Crate, Workspace};

/// Rooms that someone would use without the rest: each shows how in an example.
const REUSABLE: [&str; 5] = ["disk", "wal", "btree", "raft", "mvcc"];

/// Rooms that write files.
const WITH_FORMAT: [&str; 2] = ["wal", "btree"];

const EXAMPLE_LINES_MAX: usize = 100;

pub(crate) fn inspect(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    if setting(&workspace.manifest, "[workspace.lints.rust]", "missing_docs") != Some("\"deny\"") {
        findings.push(Finding {
            path: "Cargo.toml".into(),
            line: 1,
            advice: "[workspace.lints.rust] needs missing_docs = \"deny\"".to_owned(),
        });
    }
    for member in &workspace.crates {
        let exists = |name: &str| workspace.root.join(&member.room).join(name).exists();
        findings.extend(missing_files(member, exists));
        findings.extend(inspect_lint(member));
        findings.extend(inspect_examples(member));
    }
    findings
}

fn missing_files(member: &Crate, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    // A crate that is the front door may show the workspace's own page.
    let readme = setting(&member.manifest, "[package]", "readme").unwrap_or("README.md");
    let owed = [
        (
            readme.trim_matches('"'),
            member.is_published,
            "what it is, how to use it, guarantees and limits",
        ),
        ("FORMAT.md", WITH_FORMAT.contains(&member.room.as_str()), "the bytes that it writes"),
    ];
    owed.into_iter()
        .filter(|(name, is_owed, _)| *is_owed && !exists(name))
        .map(|(name, _, contents)| Finding {
            path: Path::new(&member.room).join(name),
            line: 1,
            advice: format!("missing: {contents}"),
        })
        .collect()
}

fn inspect_lint(member: &Crate) -> Vec<Finding> {
    let mut findings = Vec::new();
    if member.has_library && setting(&member.manifest, "[lints]", "workspace") != Some("true") {
        let advice = "add [lints] with workspace = true, so that missing_docs is denied here too";
        findings.push(member.finding_in_manifest("[lints]", advice.to_owned()));
    }
    let sources = member.sources.iter().filter(|source| source.is_delivered());
    findings.extend(sources.flat_map(inspect_exceptions));
    findings
}

/// The value of `key` in a table of a manifest.
fn setting<'a>(manifest: &'a str, table: &str, key: &str) -> Option<&'a str> {
    let lines = manifest.lines().skip_while(|line| line.trim() != table).skip(1);
    let mut lines = lines.take_while(|line| !line.starts_with('['));
    lines.find_map(|line| Some(line.strip_prefix(key)?.trim().strip_prefix('=')?.trim()))
}

/// Documentation may be missing in generated code, and nowhere else.
fn inspect_exceptions(source: &Source) -> Vec<Finding> {
    let mut exceptions = Exceptions { source, findings: Vec::new() };
    exceptions.visit_file(&source.syntax);
    exceptions.findings
}

struct Exceptions<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
}

impl<'ast> Visit<'ast> for Exceptions<'_> {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        let items = module.content.iter().flat_map(|(_, items)| items);
        let is_generated = items.into_iter().any(
            |item| matches!(item, syn::Item::Macro(item) if item.mac.path.is_ident("include")),
        );
        if !is_generated {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        let line = attribute.span().start().line;
        let relaxes = attribute.path().is_ident("allow") || attribute.path().is_ident("expect");
        let names_lint = attribute.meta.require_list().is_ok_and(|list| {
            list.tokens.clone().into_iter().any(|token| token.to_string() == "missing_docs")
        });
        if relaxes && names_lint && !self.source.is_test(line) {
            let advice = "write the missing documentation; only generated code goes without";
            self.findings.push(self.source.finding(line, advice));
        }
    }
}

fn inspect_examples(member: &Crate) -> Vec<Finding> {
    let folder: PathBuf = Path::new(&member.room).join("examples");
    let examples = || member.sources.iter().filter(|source| source.path.starts_with(&folder));
    let mut findings = Vec::new();
    if REUSABLE.contains(&member.room.as_str()) && examples().next().is_none() {
        let advice = "missing: a runnable example that shows one idea".to_owned();
        findings.push(Finding { path: folder.clone(), line: 1, advice });
    }
    for example in examples() {
        let lines = example.text.lines().count();
        if lines > EXAMPLE_LINES_MAX {
            let advice = format!(
                "an example of {lines} lines: show one idea in at most {EXAMPLE_LINES_MAX}"
            );
            findings.push(example.finding(EXAMPLE_LINES_MAX + 1, advice));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owed_documents_are_asked_for() {
        let member = |room: &str, is_published| Crate {
            room: room.to_owned(),
            is_published,
            ..Crate::default()
        };
        let missing = |member: &Crate| missing_files(member, |_| false).len();
        assert_eq!(missing(&member("wal", true)), 2);
        assert_eq!(missing(&member("disk", true)), 1);
        assert_eq!(missing(&member("xtask", false)), 0);
        assert_eq!(missing_files(&member("wal", true), |_| true), []);

        let manifest = "[package]\nreadme = \"../README.md\"\n".to_owned();
        let front = Crate { manifest, ..member("node", true) };
        assert_eq!(missing_files(&front, |name| name == "../README.md"), []);
    }

    #[test]
    fn a_library_without_the_lint_is_found() {
        let member = |manifest: &str| Crate {
            has_library: true,
            manifest: manifest.to_owned(),
            ..Crate::default()
        };
        assert_eq!(inspect_lint(&member("[package]\n")).len(), 1);
        assert_eq!(inspect_lint(&member("[lints]\nworkspace = true\n")), []);
    }

    #[test]
    fn only_generated_modules_go_without_documentation() {
        let by_hand = "#[allow(missing_docs)]\nmod a {\n    pub struct B;\n}\n";
        let generated = "#[allow(missing_docs)]\nmod a {\n    include!(\"a.rs\");\n}\n";
        let whole_file = "#![allow(missing_docs)]\n";
        assert_eq!(inspect_exceptions(&Source::of("wal", by_hand)).len(), 1);
        assert_eq!(inspect_exceptions(&Source::of("wal", generated)), []);
        assert_eq!(inspect_exceptions(&Source::of("wal", whole_file)).len(), 1);
    }

    #[test]
    fn a_reusable_room_without_an_example_is_found() {
        let member = Crate { room: "raft".to_owned(), ..Crate::default() };
        assert_eq!(inspect_examples(&member).len(), 1);
        let member = Crate { room: "node".to_owned(), ..Crate::default() };
        assert_eq!(inspect_examples(&member), []);
    }
}
