//! Which test holds which rule of etcd's observable behaviour.
//!
//! The rules themselves are written down elsewhere; `rules.txt` has their numbers. A test says
//! which rules it holds by its name: `rule_2_9_more_is_set` holds rule 2.9,
//! `rule_2_9_and_2_10_limits` and `rule_2_9_2_10_limits` hold two. A rule that waits for a part of
//! the program that is not built yet counts as without a test, even if a test shows some of it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::ParseIntError;
use std::path::Path;

use crate::Outcome;
use crate::tidy::workspace::Workspace;

const LIST: &str = include_str!("../rules.txt");

/// Groups whose gaps are listed one by one: what a single member already promises.
const LISTED_GROUPS: u32 = 4;

/// A rule by group and number.
type Rule = (u32, u32);

/// Prints each rule with its tests, then what has none.
pub(crate) fn run(root: &Path) -> Outcome {
    let list = List::parse(LIST).map_err(|error| format!("xtask/rules.txt: {error}"))?;
    let workspace = Workspace::load(root)?;
    let mut tests: BTreeMap<Rule, Vec<String>> = BTreeMap::new();
    let mut strangers = Vec::new();
    for source in workspace.sources() {
        for (line, name) in functions_with_rules(&source.text) {
            let place = format!("{}:{line} {name}", source.path.display());
            match rules_of(name).filter(|rules| rules.iter().all(|rule| list.has(*rule))) {
                Some(rules) => {
                    rules.into_iter().for_each(|rule| {
                        tests.entry(rule).or_default().push(place.clone());
                    });
                }
                None => strangers.push(place),
            }
        }
    }
    print(&list, &tests);
    for place in strangers {
        println!("names no rule that there is: {place}");
    }
    Ok(true)
}

fn print(list: &List, tests: &BTreeMap<Rule, Vec<String>>) {
    for ((group, number), places) in tests {
        for place in places {
            println!("{group}.{number}\t{place}");
        }
    }
    println!();
    for (group, (count, subject)) in &list.groups {
        let Split { tested, open, waiting } = list.split(*group, *count, tests);
        let waiting_count: usize = waiting.values().map(Vec::len).sum();
        let all = tested + open.len() + waiting_count;
        println!("{group} {subject}: {tested} of {all} rules have a test");
        if *group <= LISTED_GROUPS && !open.is_empty() {
            println!("  without: {}", open.join(" "));
        }
        for (what, rules) in waiting {
            println!("  {} waiting for {what}: {}", rules.len(), rules.join(", "));
        }
    }
}

/// The contents of `rules.txt`.
#[derive(Debug, Default)]
struct List {
    /// Number of rules and subject of each group.
    groups: BTreeMap<u32, (u32, String)>,
    /// Rules that need no test.
    free: BTreeSet<Rule>,
    /// Rules that cannot be seen whole yet, with what they wait for.
    waiting: BTreeMap<Rule, String>,
}

/// The rules of a group by whether they have a test.
#[derive(Debug, Default, PartialEq)]
struct Split {
    /// How many have one.
    tested: usize,
    /// Those that have none but should.
    open: Vec<String>,
    /// Those that wait, by what for.
    waiting: BTreeMap<String, Vec<String>>,
}

impl List {
    fn parse(text: &str) -> Result<Self, ParseIntError> {
        let mut list = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (second, last) = rest.split_once(' ').unwrap_or((rest, ""));
            match first {
                "free" => drop(list.free.insert(rule(second)?)),
                "waits" => drop(list.waiting.insert(rule(second)?, last.to_owned())),
                group => {
                    list.groups.insert(group.parse()?, (second.parse()?, last.to_owned()));
                }
            }
        }
        Ok(list)
    }

    fn has(&self, (group, number): Rule) -> bool {
        self.groups.get(&group).is_some_and(|(count, _)| (1..=*count).contains(&number))
    }

    fn split(&self, group: u32, count: u32, tests: &BTreeMap<Rule, Vec<String>>) -> Split {
        let mut split = Split::default();
        for rule in (1..=count).map(|number| (group, number)) {
            let name = format!("{}.{}", rule.0, rule.1);
            let has_test = tests.contains_key(&rule);
            if let Some(what) = self.waiting.get(&rule) {
                let name = if has_test { format!("{name} (in part tested)") } else { name };
                split.waiting.entry(what.clone()).or_default().push(name);
            } else if has_test {
                split.tested += 1;
            } else if !self.free.contains(&rule) {
                split.open.push(name);
            }
        }
        split
    }
}

/// A rule as it is written.
fn rule(text: &str) -> Result<Rule, ParseIntError> {
    let (group, number) = text.split_once('.').unwrap_or((text, ""));
    Ok((group.parse()?, number.parse()?))
}

/// Line and name of each function that is named after a rule. The text is searched, not the
/// syntax: tests also stand inside of macros.
fn functions_with_rules(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).filter_map(|(line, text)| {
        let text = text.trim_start();
        let text = text.strip_prefix("async ").unwrap_or(text);
        let rest = text.strip_prefix("fn ")?;
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = &rest[..end];
        (name.starts_with("rule_") || name.contains("_rule_")).then_some((line, name))
    })
}

/// The rules in the name of a test; `None` where numbers do not come in pairs.
fn rules_of(name: &str) -> Option<Vec<Rule>> {
    let mut rules = Vec::new();
    for after in name.split("rule_").skip(1) {
        let parts = after.split('_').filter(|part| *part != "and");
        let numbers: Vec<u32> = parts.map_while(|part| part.parse().ok()).collect();
        let (pairs, rest) = numbers.as_chunks::<2>();
        if pairs.is_empty() || !rest.is_empty() {
            return None;
        }
        rules.extend(pairs.iter().map(|[group, number]| (*group, *number)));
    }
    Some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_pairs() {
        assert_eq!(rules_of("rule_2_9_more_is_set"), Some(vec![(2, 9)]));
        assert_eq!(rules_of("rule_2_9_2_10_limit"), Some(vec![(2, 9), (2, 10)]));
        assert_eq!(rules_of("rule_2_9_and_2_10_limit"), Some(vec![(2, 9), (2, 10)]));
        assert_eq!(rules_of("put_rule_3_1"), Some(vec![(3, 1)]));
        assert_eq!(rules_of("rule_2_9_3_keys"), None);
        assert_eq!(rules_of("rule_of_thumb"), None);
    }

    #[test]
    fn functions_are_found_inside_of_macros() {
        let text = "proptest! {\n    fn rule_1_2_x(a in 0..3) {}\n}\n// fn rule_1_3_no\n";
        assert_eq!(functions_with_rules(text).collect::<Vec<_>>(), [(2, "rule_1_2_x")]);
    }

    #[test]
    fn the_list_is_readable_and_complete() {
        let list = List::parse(LIST).unwrap();
        assert_eq!(list.groups.len(), 12);
        assert!(list.has((1, 1)) && list.has((12, 20)));
        assert!(!list.has((12, 21)) && !list.has((1, 0)));
        assert!(list.free.iter().chain(list.waiting.keys()).all(|rule| list.has(*rule)));
    }

    #[test]
    fn free_rules_are_no_gap() {
        let list = List::parse("1 3 history\nfree 1.2\n").unwrap();
        let tests = BTreeMap::from([((1, 1), vec!["here".to_owned()])]);
        let open = vec!["1.3".to_owned()];
        assert_eq!(list.split(1, 3, &tests), Split { tested: 1, open, ..Split::default() });
    }

    #[test]
    fn rules_that_wait_count_neither_way() {
        let list = List::parse("1 3 history\nwaits 1.1 two words\nwaits 1.3 two words\n").unwrap();
        let tests = BTreeMap::from([((1, 1), vec!["a part".to_owned()])]);
        let rules = ["1.1 (in part tested)", "1.3"].map(str::to_owned).to_vec();
        let waiting = BTreeMap::from([("two words".to_owned(), rules)]);
        assert_eq!(
            list.split(1, 3, &tests),
            Split { tested: 0, open: vec!["1.2".to_owned()], waiting }
        );
    }
}
