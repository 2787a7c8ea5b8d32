//! How long a function and a file may be.

use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Arm, Block, Expr, ImplItemFn, ItemFn, Signature, Stmt, TraitItemFn};

use super::Finding;
use super::source::Source;

/// From the line of `fn` to that of the closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Tests not counted.
const FILE_LINES_MAX: usize = 800;

/// An arm of a dispatch, pattern included.
const ARM_LINES_MAX: usize = 8;

pub(crate) fn inspect(source: &Source) -> Vec<Finding> {
    let mut functions = Functions { source, findings: Vec::new() };
    functions.visit_file(&source.syntax);
    let mut findings = functions.findings;
    findings.extend(inspect_file(source));
    findings
}

fn inspect_file(source: &Source) -> Option<Finding> {
    let lines = source.text.lines().count();
    let lines = (1..=lines).filter(|line| !source.is_test(*line)).count();
    (lines > FILE_LINES_MAX).then(|| {
        let advice = format!(
            "a file of {lines} lines without its tests: look for the second noun and give it a \
             file (at most {FILE_LINES_MAX})"
        );
        source.finding(1, advice)
    })
}

struct Functions<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
}

impl Functions<'_> {
    fn inspect(&mut self, signature: &Signature, body: &Block) {
        let first = signature.fn_token.span.start().line;
        let lines = body.brace_token.span.close().end().line + 1 - first;
        if lines > FUNCTION_LINES_MAX && !self.source.is_test(first) && !is_dispatch(body) {
            let advice = format!(
                "function {} has {lines} lines: split it (at most {FUNCTION_LINES_MAX}; more only \
                 if its body is one match whose arms have at most {ARM_LINES_MAX} lines, with \
                 neither loops nor matches in them)",
                signature.ident,
            );
            self.findings.push(self.source.finding(first, advice));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.inspect(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.inspect(&function.sig, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(body) = &function.default {
            self.inspect(&function.sig, body);
        }
        syn::visit::visit_trait_item_fn(self, function);
    }
}

/// Whether all that a function does is to tell cases apart and to pass each on: its body is a
/// single match, as it stands or as the one argument of a call such as `Ok(…)`, and its arms are
/// short and straight.
fn is_dispatch(body: &Block) -> bool {
    let [Stmt::Expr(expression, _)] = &body.stmts[..] else { return false };
    let expression = match expression {
        Expr::Call(call) if call.args.len() == 1 => &call.args[0],
        other => other,
    };
    matches!(expression, Expr::Match(dispatch) if dispatch.arms.iter().all(is_short))
}

fn is_short(arm: &Arm) -> bool {
    let span = arm.span();
    let lines = span.end().line + 1 - span.start().line;
    let mut turns = Turns::default();
    turns.visit_expr(&arm.body);
    lines <= ARM_LINES_MAX && turns.found == 0
}

/// Counts loops and matches.
#[derive(Default)]
struct Turns {
    found: usize,
}

impl<'ast> Visit<'ast> for Turns {
    fn visit_expr(&mut self, expression: &'ast Expr) {
        let is_turn = matches!(
            expression,
            Expr::ForLoop(_) | Expr::Loop(_) | Expr::Match(_) | Expr::While(_)
        );
        self.found += usize::from(is_turn);
        syn::visit::visit_expr(self, expression);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        inspect(&Source::of("wal", text)).len()
    }

    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_ends_before_the_limit() {
        assert_eq!(found(&function(FUNCTION_LINES_MAX)), 0);
        assert_eq!(found(&function(FUNCTION_LINES_MAX + 1)), 1);
        assert_eq!(found(&format!("impl A {{\n{}}}\n", function(FUNCTION_LINES_MAX + 1))), 1);
    }

    #[test]
    fn tests_may_be_longer() {
        assert_eq!(found(&format!("#[test]\n{}", function(200))), 0);
        assert_eq!(found(&format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(200))), 0);
        assert_eq!(found(&format!("#[cfg(not(test))]\n{}", function(200))), 1);
        assert_eq!(found(&format!("#[cfg(any(test, unix))]\n{}", function(200))), 1);
        assert_eq!(found(&format!("#[cfg(all(test, unix))]\n{}", function(200))), 0);
    }

    #[test]
    fn pure_dispatch_may_be_longer() {
        let arms = "        A { b } => one(b),\n".repeat(90);
        assert_eq!(found(&format!("fn f() {{\n    match x {{\n{arms}    }}\n}}\n")), 0);
        assert_eq!(found(&format!("fn f() {{\n    Ok(match x {{\n{arms}    }})\n}}\n")), 0);
        let work = "        B => {\n            for a in b { c(a); }\n        }\n";
        assert_eq!(found(&format!("fn f() {{\n    match x {{\n{arms}{work}    }}\n}}\n")), 1);
        assert_eq!(found(&format!("fn f() {{\n    a();\n    match x {{\n{arms}    }}\n}}\n")), 1);
    }

    #[test]
    fn a_file_ends_before_the_limit_but_for_its_tests() {
        let code = "const A: u8 = 1;\n".repeat(FILE_LINES_MAX);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// a\n".repeat(500));
        assert_eq!(found(&format!("{code}{tests}")), 0);
        assert_eq!(found(&format!("{code}const B: u8 = 2;\n{tests}")), 1);
    }
}
