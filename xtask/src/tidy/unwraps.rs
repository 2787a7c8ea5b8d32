//! A failure is an error or cannot happen; in the second case `expect` says why.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{ExprMethodCall, Macro};

use super::Finding;
use super::source::{Source, arguments};

const METHODS: [&str; 2] = ["unwrap", "unwrap_err"];

pub(crate) fn inspect(source: &Source) -> Vec<Finding> {
    let mut reader = Reader { source, findings: Vec::new() };
    reader.visit_file(&source.syntax);
    reader.findings
}

struct Reader<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn inspect(&mut self, method: &Ident) {
        let line = method.span().start().line;
        if METHODS.iter().any(|name| method == name) && !self.source.is_test(line) {
            let advice = format!(
                "no {method} outside of tests: return the error, or say by `expect` why there can \
                 be none"
            );
            self.findings.push(self.source.finding(line, advice));
        }
    }

    /// The bodies of macros that do not look like calls.
    fn inspect_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for triple in tokens.windows(3) {
            if let [TokenTree::Punct(dot), TokenTree::Ident(method), TokenTree::Group(arguments)] =
                triple
                && dot.as_char() == '.'
                && arguments.stream().is_empty()
            {
                self.inspect(method);
            }
        }
        for token in tokens {
            if let TokenTree::Group(group) = token {
                self.inspect_tokens(group.stream());
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        if call.args.is_empty() {
            self.inspect(&call.method);
        }
        syn::visit::visit_expr_method_call(self, call);
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

    fn found(text: &str) -> usize {
        inspect(&Source::of("wal", text)).len()
    }

    #[test]
    fn unwraps_are_found_outside_of_tests() {
        assert_eq!(found("fn f() { a().unwrap(); }"), 1);
        assert_eq!(found("fn f() { println!(\"{}\", a().unwrap()); }"), 1);
        assert_eq!(found("macro_rules! m { () => { a().unwrap() }; }"), 1);
        assert_eq!(found("#[cfg(test)]\nmod tests {\n    fn f() { a().unwrap(); }\n}\n"), 0);
        assert_eq!(found("#[test]\nfn f() { a().unwrap(); }"), 0);
    }

    #[test]
    fn what_cannot_fail_silently_is_fine() {
        assert_eq!(
            found("fn f() { a().expect(\"b\"); c.unwrap_or(1); d.unwrap_or_default(); }"),
            0
        );
    }
}
