//! Names that say nothing.

use std::collections::BTreeSet;

use proc_macro2::Ident;
use syn::visit::Visit;
use syn::{ItemEnum, ItemMod, ItemStruct, ItemTrait, ItemType};

use super::Finding;
use super::source::Source;

/// As a word in the name of a file, a module or a type.
const BANNED: [&str; 10] = [
    "manager",
    "managers",
    "helper",
    "helpers",
    "util",
    "utils",
    "utility",
    "utilities",
    "common",
    "misc",
];

pub(crate) fn inspect(source: &Source) -> Vec<Finding> {
    let mut names = Names { source, findings: Vec::new() };
    names.visit_file(&source.syntax);
    let file = source.path.components().filter_map(|part| part.as_os_str().to_str());
    for part in file.skip(1) {
        names.inspect(part.trim_end_matches(".rs"), 1);
    }
    names.findings
}

struct Names<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
}

impl Names<'_> {
    fn inspect(&mut self, name: &str, line: usize) {
        let words = words(name);
        if let Some(word) = BANNED.iter().find(|banned| words.contains(**banned)) {
            let advice = format!("`{name}`: \"{word}\" says nothing; name what the thing is");
            self.findings.push(self.source.finding(line, advice));
        }
    }

    fn inspect_ident(&mut self, ident: &Ident) {
        self.inspect(&ident.to_string(), ident.span().start().line);
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        self.inspect_ident(&item.ident);
    }

    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        self.inspect_ident(&item.ident);
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        self.inspect_ident(&item.ident);
        syn::visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast ItemType) {
        self.inspect_ident(&item.ident);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.inspect_ident(&item.ident);
        syn::visit::visit_item_mod(self, item);
    }
}

/// The words of `snake_case` and `CamelCase` names, in lower case.
fn words(name: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut word = String::new();
    for character in name.chars() {
        if !character.is_lowercase() {
            words.insert(std::mem::take(&mut word));
        }
        if character.is_alphanumeric() {
            word.extend(character.to_lowercase());
        }
    }
    words.insert(word);
    words
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn names_that_say_nothing_are_found() {
        for text in [
            "struct LogManager;",
            "enum Misc {}",
            "trait HelperOfAll {}",
            "mod utils {}",
            "mod a { type Common = u8; }",
            "fn f() { struct ManagerOf; }",
        ] {
            assert_eq!(inspect(&Source::of("wal", text)).len(), 1, "{text}");
        }
        let fine = "struct Commonality; enum Management {} fn helper() {}";
        assert_eq!(inspect(&Source::of("wal", fine)), []);
    }

    #[test]
    fn files_and_folders_have_names_too() {
        let at = |path: &str| {
            let source = Source::parse("wal", Path::new(path), String::new()).unwrap();
            inspect(&source).len()
        };
        assert_eq!(at("wal/src/utils.rs"), 1);
        assert_eq!(at("wal/tests/common/mod.rs"), 1);
        assert_eq!(at("wal/src/segment.rs"), 0);
    }
}
