use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Attribute, Expr, ImplItemFn, Item, ItemMod, Macro, Token};

use super::Finding;

/// A Rust file, parsed, with its tests told apart.
pub(crate) struct Source {
    /// The room that it belongs to.
    pub(crate) room: String,
    /// Relative to the workspace.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    pub(crate) syntax: syn::File,
    /// Nothing in it is part of what the crate delivers.
    is_test_file: bool,
    /// Items that exist for tests only, in a file that does not.
    test_lines: Vec<RangeInclusive<usize>>,
}

impl Source {
    /// Parses one file of a room.
    ///
    /// # Errors
    ///
    /// A finding, when the text is not Rust.
    pub(crate) fn parse(room: &str, path: &Path, text: String) -> Result<Self, Finding> {
        let syntax = syn::parse_file(&text).map_err(|error| Finding {
            path: path.to_owned(),
            line: error.span().start().line,
            advice: format!("cannot be parsed: {error}"),
        })?;
        let mut items = TestItems::default();
        items.visit_file(&syntax);
        Ok(Self {
            room: room.to_owned(),
            is_test_file: path.starts_with(Path::new(room).join("tests")),
            path: path.to_owned(),
            text,
            syntax,
            test_lines: items.lines,
        })
    }

    /// Marks the files that a `#[cfg(test)] mod name;` brings in, and all files below them.
    pub(crate) fn mark_test_files(sources: &mut [Self]) {
        let roots: Vec<PathBuf> = sources.iter().flat_map(Self::test_modules).collect();
        for source in sources {
            let module = source.path.with_extension("");
            source.is_test_file |= roots.iter().any(|root| module.starts_with(root));
        }
    }

    /// Where the test modules of this file lie that have files of their own, without `.rs`.
    fn test_modules(&self) -> Vec<PathBuf> {
        let mut items = TestItems::default();
        items.visit_file(&self.syntax);
        let stem = self.path.file_stem().and_then(|stem| stem.to_str());
        let folder = match stem {
            Some("lib" | "main" | "mod") => self.path.with_file_name(""),
            _ => self.path.with_extension(""),
        };
        items.modules.iter().map(|name| folder.join(name)).collect()
    }

    /// Whether the line belongs to a test.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.is_test_file || self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// Whether the file is part of the library or the binary, not an example or a bench.
    pub(crate) fn is_delivered(&self) -> bool {
        self.path.starts_with(Path::new(&self.room).join("src"))
    }

    pub(crate) fn finding(&self, line: usize, advice: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, advice: advice.into() }
    }

    /// A source of the room's library, for the tests of the rules.
    #[cfg(test)]
    pub(crate) fn of(room: &str, text: &str) -> Self {
        let path = Path::new(room).join("src/snippet.rs");
        Self::parse(room, &path, text.to_owned()).expect("the snippet is Rust")
    }
}

/// Collects the items that exist for tests only.
#[derive(Default)]
struct TestItems {
    lines: Vec<RangeInclusive<usize>>,
    /// Names of modules without a body.
    modules: Vec<String>,
}

impl TestItems {
    fn note(&mut self, node: &impl Spanned) {
        let span = node.span();
        self.lines.push(span.start().line..=span.end().line);
    }
}

impl<'ast> Visit<'ast> for TestItems {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes_of(item).iter().any(is_for_tests) {
            self.note(item);
            if let Item::Mod(ItemMod { ident, content: None, .. }) = item {
                self.modules.push(ident.to_string());
            }
        } else {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if function.attrs.iter().any(is_for_tests) {
            self.note(function);
        }
    }
}

fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[test]`, `#[tokio::test]`, `#[cfg(test)]`, `#[cfg(all(test, …))]`; but not a `cfg` that also
/// holds without tests.
fn is_for_tests(attribute: &Attribute) -> bool {
    let last = attribute.path().segments.last();
    if last.is_some_and(|segment| segment.ident == "test") {
        return true;
    }
    match attribute.meta.require_list() {
        Ok(list) if attribute.path().is_ident("cfg") => requires_test(list.tokens.clone()),
        _ => false,
    }
}

fn requires_test(condition: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = condition.into_iter().collect();
    tokens.split(|token| matches!(token, TokenTree::Punct(_))).any(|part| match part {
        [TokenTree::Ident(word)] => word == "test",
        [TokenTree::Ident(word), TokenTree::Group(inner)] => {
            word == "all" && requires_test(inner.stream())
        }
        _ => false,
    })
}

/// The arguments of a macro that looks like a call, such as `assert!`, `format!` and `vec!`.
pub(crate) fn arguments(call: &Macro) -> Option<Punctuated<Expr, Token![,]>> {
    call.parse_body_with(Punctuated::parse_terminated).ok()
}
