//! Which test holds which rule of etcd's observable behaviour.
//!
//! The rules themselves are written down elsewhere; `rules.txt` has their numbers and a few words
//! for each. A test says which rules it holds by its name: `rule_2_9_more_is_set` holds rule 2.9,
//! `rule_2_9_and_2_10_limits` and `rule_2_9_2_10_limits` hold two. A script, whose answers are
//! compared with etcd's, says so in a comment: `# rule 6.15 6.16`. A rule that waits for a part of
//! the program that is not built yet counts as without a test, even if a test shows some of it.
//!
//! The groups of the key space have to be complete: there a rule has a test, waits, or does not
//! bind, for a reason that the list gives. A gap is a failure.

use std::collections::BTreeMap;
use std::num::ParseIntError;
use std::path::Path;
use std::{fs, io};

use crate::Outcome;
use crate::tidy::workspace::Workspace;

const LIST: &str = include_str!("../rules.txt");

/// Where the scripts are that are run against etcd as well.
const SCRIPTS: &str = "node/tests/etcdctl/scripts";

/// Groups that have to be complete, from the first on: the key space.
const COMPLETE_GROUPS: u32 = 7;

/// A rule by group and number.
type Rule = (u32, u32);

/// Prints each rule with its tests, then what has none. False if there is a gap.
pub(crate) fn run(root: &Path) -> Outcome {
    let list = List::parse(LIST).map_err(|error| format!("xtask/rules.txt: {error}"))?;
    let workspace = Workspace::load(root)?;
    let mut tests: BTreeMap<Rule, Vec<String>> = BTreeMap::new();
    let mut strangers = Vec::new();
    let mut claim = |place: String, rules: Option<Vec<Rule>>| match rules
        .filter(|rules| rules.iter().all(|rule| list.has(*rule)))
    {
        Some(rules) => rules.into_iter().for_each(|rule| {
            tests.entry(rule).or_default().push(place.clone());
        }),
        None => strangers.push(place),
    };
    for source in workspace.sources() {
        for (line, name) in functions_with_rules(&source.text) {
            claim(format!("{}:{line} {name}", source.path.display()), rules_of(name));
        }
    }
    for (path, text) in scripts(root)? {
        for (line, rules) in comments_with_rules(&text) {
            claim(format!("{path}:{line}"), rules);
        }
    }
    let is_complete = print(&list, &tests);
    for place in &strangers {
        println!("names no rule that there is: {place}");
    }
    Ok(is_complete && strangers.is_empty())
}

/// Path and text of each script.
fn scripts(root: &Path) -> io::Result<Vec<(String, String)>> {
    let mut scripts = Vec::new();
    for entry in fs::read_dir(root.join(SCRIPTS))? {
        let entry = entry?;
        let path = format!("{SCRIPTS}/{}", entry.file_name().to_string_lossy());
        scripts.push((path, fs::read_to_string(entry.path())?));
    }
    scripts.sort();
    Ok(scripts)
}

/// True if no group that has to be complete has a gap.
fn print(list: &List, tests: &BTreeMap<Rule, Vec<String>>) -> bool {
    for ((group, number), words) in &list.words {
        println!("{group}.{number} {words}");
        for place in tests.get(&(*group, *number)).into_iter().flatten() {
            println!("    {place}");
        }
    }
    let mut is_complete = true;
    println!();
    for (group, (count, subject)) in &list.groups {
        let Split { tested, open, waiting, free } = list.split(*group, *count, tests);
        let all = *count as usize - free.len();
        println!("{group} {subject}: {tested} of {all} rules have a test");
        if *group <= COMPLETE_GROUPS && !open.is_empty() {
            println!("  without, and that is a failure: {}", open.join(" "));
            is_complete = false;
        }
        for (what, rules) in waiting {
            println!("  {} waiting for {what}: {}", rules.len(), rules.join(", "));
        }
        for (rule, why) in free {
            println!("  {rule} does not bind: {why}");
        }
    }
    is_complete
}

/// The contents of `rules.txt`.
#[derive(Debug, Default)]
struct List {
    /// Number of rules and subject of each group.
    groups: BTreeMap<u32, (u32, String)>,
    /// What rules are about, in a few words.
    words: BTreeMap<Rule, String>,
    /// Rules that do not bind, with the reason.
    free: BTreeMap<Rule, String>,
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
    /// Those that do not bind, and why.
    free: Vec<(String, String)>,
}

impl List {
    fn parse(text: &str) -> Result<Self, ParseIntError> {
        let mut list = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (second, last) = rest.split_once(' ').unwrap_or((rest, ""));
            match first {
                "free" => drop(list.free.insert(rule(second)?, last.to_owned())),
                "waits" => drop(list.waiting.insert(rule(second)?, last.to_owned())),
                number if number.contains('.') => {
                    list.words.insert(rule(number)?, rest.to_owned());
                }
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
            } else if let Some(why) = self.free.get(&rule) {
                split.free.push((name, why.clone()));
            } else if has_test {
                split.tested += 1;
            } else {
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
        let mut claims = name.split("rule_").skip(1);
        let is_claim = claims.any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        is_claim.then_some((line, name))
    })
}

/// Line and rules of each comment of a script that names rules.
fn comments_with_rules(text: &str) -> impl Iterator<Item = (usize, Option<Vec<Rule>>)> {
    (1..).zip(text.lines()).filter_map(|(line, text)| {
        let names = text.strip_prefix("# rule ")?;
        let rules: Result<Vec<Rule>, _> = names.split_whitespace().map(rule).collect();
        Some((line, rules.ok()))
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
    fn scripts_name_rules_in_comments() {
        let text = "# a comment\n# rule 6.15 6.16\nlease list\n# rule of thumb\n";
        let found: Vec<_> = comments_with_rules(text).collect();
        assert_eq!(found, [(2, Some(vec![(6, 15), (6, 16)])), (4, None)]);
    }

    #[test]
    fn the_list_is_readable_and_complete() {
        let list = List::parse(LIST).unwrap();
        assert_eq!(list.groups.len(), 12);
        assert!(list.has((1, 1)) && list.has((12, 20)));
        assert!(!list.has((12, 21)) && !list.has((1, 0)));
        let named = list.words.keys().chain(list.free.keys()).chain(list.waiting.keys());
        assert!(named.into_iter().all(|rule| list.has(*rule)));
        for (group, (count, _)) in list.groups.range(..=COMPLETE_GROUPS) {
            for rule in (1..=*count).map(|number| (*group, number)) {
                let words = list.words.get(&rule).or_else(|| list.free.get(&rule));
                assert!(words.is_some_and(|words| !words.is_empty()), "{rule:?}");
            }
        }
        assert!(list.waiting.values().all(|what| !what.is_empty()));
    }

    #[test]
    fn rules_that_do_not_bind_are_no_gap_and_say_why() {
        let list = List::parse("1 3 history\n1.1 words\nfree 1.2 no files\n").unwrap();
        let tests = BTreeMap::from([((1, 1), vec!["here".to_owned()])]);
        let open = vec!["1.3".to_owned()];
        let free = vec![("1.2".to_owned(), "no files".to_owned())];
        let expected = Split { tested: 1, open, free, ..Split::default() };
        assert_eq!(list.split(1, 3, &tests), expected);
        assert!(!print(&list, &tests));
    }

    #[test]
    fn rules_that_wait_count_neither_way() {
        let list = List::parse("1 3 history\nwaits 1.1 two words\nwaits 1.3 two words\n").unwrap();
        let tests = BTreeMap::from([((1, 1), vec!["a part".to_owned()])]);
        let rules = ["1.1 (in part tested)", "1.3"].map(str::to_owned).to_vec();
        let waiting = BTreeMap::from([("two words".to_owned(), rules)]);
        let open = vec!["1.2".to_owned()];
        let expected = Split { open, waiting, ..Split::default() };
        assert_eq!(list.split(1, 3, &tests), expected);
    }
}
