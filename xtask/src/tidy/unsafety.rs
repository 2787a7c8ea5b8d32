//! Where `unsafe` may stand, and what must stand beside it.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{ExprUnsafe, ItemImpl, ItemTrait, Macro, Safety, Signature, Stmt};

use super::Finding;
use super::source::{Source, arguments};

/// Where a measurement paid for it: a room as a whole, or one file, which holds the argument.
const PLACES: [&str; 3] = ["disk", "btree/src/pages.rs", "wal/src/sealed.rs"];

pub(crate) fn inspect(source: &Source) -> Vec<Finding> {
    let mut reader = Reader { source, statements: Vec::new(), findings: Vec::new() };
    reader.visit_file(&source.syntax);
    reader.findings
}

struct Reader<'a> {
    source: &'a Source,
    /// First lines of the statements that enclose the place being read.
    statements: Vec<usize>,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn inspect(&mut self, keyword: Span) {
        let line = keyword.start().line;
        if !PLACES.iter().any(|place| self.source.path.starts_with(place)) {
            let places = PLACES.join(", ");
            let advice = format!("no unsafe code outside of {places}: find a safe way");
            self.findings.push(self.source.finding(line, advice));
        } else if !self.is_noted(line) {
            let advice = "say in a `SAFETY:` comment above which condition holds, and who upholds \
                          it (for a function: in a section `# Safety`)";
            self.findings.push(self.source.finding(line, advice));
        }
    }

    /// Whether a note stands above the line, or above the statement that it is part of.
    fn is_noted(&self, line: usize) -> bool {
        let lines: Vec<&str> = self.source.text.lines().map(str::trim_start).collect();
        let is_above = |line: &usize| {
            let above = lines[..line - 1].iter().rev();
            let mut notes =
                above.take_while(|text| text.starts_with("//") || text.starts_with("#["));
            notes.any(|text| text.contains("SAFETY:") || text.contains("# Safety"))
        };
        is_above(&line) || self.statements.last().is_some_and(is_above)
    }

    /// The bodies of macros that do not look like calls.
    fn inspect_tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Ident(word) if word == "unsafe" => self.inspect(word.span()),
                TokenTree::Group(group) => self.inspect_tokens(group.stream()),
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        self.statements.push(statement.span().start().line);
        syn::visit::visit_stmt(self, statement);
        self.statements.pop();
    }

    fn visit_expr_unsafe(&mut self, block: &'ast ExprUnsafe) {
        self.inspect(block.unsafe_token.span);
        syn::visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        if let Some(keyword) = item.unsafety {
            self.inspect(keyword.span);
        }
        syn::visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        if let Some(keyword) = item.unsafety {
            self.inspect(keyword.span);
        }
        syn::visit::visit_item_trait(self, item);
    }

    fn visit_signature(&mut self, signature: &'ast Signature) {
        if let Safety::Unsafe(keyword) = signature.safety {
            self.inspect(keyword.span);
        }
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        match arguments(call) {
            Some(arguments) => arguments.iter().for_each(|a| Visit::visit_expr(self, a)),
            None => self.inspect_tokens(call.tokens.clone()),
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
    fn each_unsafe_place_needs_a_note() {
        for (bare, noted) in [
            (
                "fn f() {\n    unsafe { g() }\n}",
                "fn f() {\n    // SAFETY: a\n    unsafe { g() }\n}",
            ),
            (
                "fn f() {\n    let a =\n        unsafe { g() };\n}",
                "fn f() {\n    // SAFETY: a\n    // b\n    let a =\n        unsafe { g() };\n}",
            ),
            ("unsafe impl Send for A {}", "// SAFETY: a\nunsafe impl Send for A {}"),
            ("unsafe fn f() {}", "/// # Safety\n///\n/// a\n#[inline]\nunsafe fn f() {}"),
            (
                "fn f() {\n    assert!(unsafe { g() });\n}",
                "fn f() {\n    // SAFETY: a\n    assert!(unsafe { g() });\n}",
            ),
        ] {
            assert_eq!(found("disk", bare), 1, "{bare}");
            assert_eq!(found("disk", noted), 0, "{noted}");
        }
    }

    #[test]
    fn other_rooms_do_without_even_with_a_note() {
        for room in ["mvcc", "btree"] {
            assert_eq!(found(room, "// SAFETY: a\nunsafe impl Send for A {}"), 1);
        }
    }

    #[test]
    fn the_word_alone_is_no_finding() {
        assert_eq!(found("wal", "// unsafe\nconst A: &str = \"unsafe {\";\n"), 0);
    }
}
