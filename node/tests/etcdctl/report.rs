//! What has been compared, and what did not agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::expected::{ABSENT, ROWS, Row};
use crate::process::Outcome;
use crate::rules::{Facts, RULES, reduce};
use crate::script::{Call, Expect};

/// Where in a script.
pub struct Place {
    /// The file.
    pub script: String,
    /// Its line.
    pub line: usize,
    /// The heading above it.
    pub heading: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({})", self.script, self.line, self.heading)
    }
}

/// The findings of a run.
#[derive(Default)]
pub struct Report {
    /// By the first two words of the command: commands, and lines of answers.
    compared: BTreeMap<String, (usize, usize)>,
    /// Commands that only revd was given.
    alone: usize,
    forms: BTreeSet<String>,
    failures: Vec<String>,
    rows_used: BTreeSet<usize>,
    rules_used: Vec<bool>,
    /// Whether what revd answers is printed.
    is_shown: bool,
}

impl Report {
    /// An empty report; with `SHOW=1` in the environment each answer of revd is printed.
    pub fn new() -> Self {
        let is_shown = std::env::var("SHOW").is_ok_and(|value| value == "1");
        Self { is_shown, rules_used: vec![false; RULES.len()], ..Self::default() }
    }

    /// Checks one side's answer against what the script says of both.
    pub fn check(
        &mut self,
        place: &Place,
        call: &Call,
        side: &str,
        outcome: &Outcome,
        expect: &Expect,
        exit: &str,
    ) {
        let wanted = expect.exit.as_deref().unwrap_or(exit);
        if outcome.exit != wanted {
            let shown = call.shown();
            self.fail(place, format!("`{shown}`: {side} ended {}: {outcome:?}", outcome.exit));
        }
        for text in &expect.has {
            if !outcome.output.contains(text) && !outcome.errors.contains(text) {
                self.fail(place, format!("{side} does not say `{text}`: {outcome:?}"));
            }
        }
    }

    /// Counts a command that etcd was not given.
    pub fn count_alone(&mut self) {
        self.alone += 1;
    }

    /// Compares two answers line by line.
    pub fn compare(
        &mut self,
        place: &Place,
        etcd: (&Facts<'_>, &Outcome),
        revd: (&Facts<'_>, &Outcome),
        is_untimed: bool,
    ) {
        let command = etcd.0.command;
        let verb = self.note_form(command);
        let mut lines = 0;
        if self.is_shown {
            println!("$ etcdctl {command}\n{}{}[{}]", revd.1.output, revd.1.errors, revd.1.exit);
        }
        if etcd.1.exit != revd.1.exit {
            let (etcd, revd) = (&etcd.1.exit, &revd.1.exit);
            self.fail(place, format!("`{command}` exit: etcd {etcd}, revd {revd}"));
        }
        for (stream, text) in [
            ("stdout", (|outcome| &outcome.output) as fn(&Outcome) -> &String),
            ("stderr", |outcome| &outcome.errors),
        ] {
            let etcd = self.lines(etcd.0, text(etcd.1), is_untimed);
            let revd = self.lines(revd.0, text(revd.1), is_untimed);
            for i in 0..etcd.len().max(revd.len()) {
                let line =
                    |lines: &[String]| lines.get(i).map_or(ABSENT, String::as_str).to_owned();
                let (etcd, revd) = (line(&etcd), line(&revd));
                lines += usize::from(!(etcd.is_empty() && revd.is_empty()));
                self.compare_line(place, command, (stream, i), &etcd, &revd);
            }
        }
        let tally = self.compared.entry(verb).or_default();
        *tally = (tally.0 + 1, tally.1 + lines);
    }

    /// Remembers the flags that a command was used with; returns its name.
    fn note_form(&mut self, command: &str) -> String {
        let words: Vec<&str> = command.split(' ').collect();
        let plain: Vec<&str> =
            words.iter().filter(|word| !word.starts_with('-')).copied().collect();
        let has_two = ["lease", "member", "endpoint", "alarm", "check", "user", "role", "auth"];
        let count = if plain.first().is_some_and(|word| has_two.contains(word)) { 2 } else { 1 };
        let verb = plain[..count.min(plain.len())].join(" ");
        self.forms.insert(verb.clone());
        for (i, flag) in words.iter().enumerate().filter(|(_, word)| word.starts_with('-')) {
            let flag = match *flag {
                "-w" => format!("-w {}", words.get(i + 1).unwrap_or(&"")),
                flag => flag.split('=').next().unwrap_or(flag).to_owned(),
            };
            self.forms.insert(format!("{verb} {flag}"));
        }
        verb
    }

    /// The lines of a stream, reduced to what is compared.
    fn lines(&mut self, facts: &Facts<'_>, text: &str, is_untimed: bool) -> Vec<String> {
        let lines = text.split('\n').map(|line| reduce(facts, line, &mut self.rules_used));
        match is_untimed {
            false => lines.collect(),
            true => lines.collect::<BTreeSet<String>>().into_iter().collect(),
        }
    }

    fn compare_line(
        &mut self,
        place: &Place,
        command: &str,
        (stream, number): (&str, usize),
        etcd: &str,
        revd: &str,
    ) {
        if etcd == revd {
            return;
        }
        match explain(&rows_for(&place.heading, command), etcd, revd) {
            Some(rows) => self.rows_used.extend(rows),
            None => {
                let number = number + 1;
                self.fail(
                    place,
                    format!("`{command}` {stream} {number}:\n   etcd `{etcd}`\n   revd `{revd}`"),
                );
            }
        }
    }

    /// Notes a failure.
    pub fn fail(&mut self, place: &Place, what: String) {
        println!("DIFFERENT {place}: {what}");
        self.failures.push(format!("{place}: {what}"));
    }

    /// Prints the tally, and panics if anything differed that should not, or did not that should,
    /// or if one of `forms` was never used.
    pub fn finish(mut self, forms: &[&str]) {
        let end = Place { script: "end".to_owned(), line: 0, heading: "tally".to_owned() };
        for form in forms {
            if !self.forms.contains(*form) {
                self.fail(&end, format!("no script has used `{form}`"));
            }
        }
        for (i, row) in ROWS.iter().enumerate() {
            if !self.rows_used.contains(&i) {
                self.fail(&end, format!("the expected difference did not show: {row:?}"));
            }
        }
        for (rule, _) in RULES.iter().zip(self.rules_used.clone()).filter(|(_, used)| !used) {
            self.fail(&end, format!("no line needed the rule `{}`", rule.name));
        }
        for (verb, (commands, lines)) in &self.compared {
            println!("{commands:>6} commands {lines:>6} lines  {verb}");
        }
        let sum = |(commands, lines): (usize, usize), next: &(usize, usize)| {
            (commands + next.0, lines + next.1)
        };
        let (commands, lines) = self.compared.values().fold((0, 0), sum);
        println!(
            "{commands:>6} commands {lines:>6} lines compared; {} of {} expected differences seen, \
             {} unexpected; {} rules used; {} commands for revd alone",
            self.rows_used.len(),
            ROWS.len(),
            self.failures.len(),
            self.rules_used.iter().filter(|used| **used).count(),
            self.alone
        );
        let failures = self.failures;
        assert!(failures.is_empty(), "revd differs:\n{}", failures.join("\n"));
    }
}

/// The rows that together make one line out of the other, if there are such.
fn explain(rows: &[(usize, &Row)], etcd: &str, revd: &str) -> Option<Vec<usize>> {
    rows.iter().enumerate().find_map(|(place, (number, row))| {
        let is_there = if row.etcd.is_empty() { etcd.is_empty() } else { etcd.contains(row.etcd) };
        if !is_there {
            return None;
        }
        let line = etcd.replacen(row.etcd, row.revd, 1);
        let mut used = match matches(&line, revd) {
            true => Vec::new(),
            false => explain(&rows[place + 1..], &line, revd)?,
        };
        used.push(*number);
        Some(used)
    })
}

/// The rows that hold for a command.
fn rows_for(heading: &str, command: &str) -> Vec<(usize, &'static Row)> {
    let is_for = |row: &Row| heading.starts_with(row.heading) && command.starts_with(row.command);
    ROWS.iter().enumerate().filter(|(_, row)| is_for(row)).collect()
}

/// Whether a text fits a pattern in which `*` stands for any run of characters.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len()).any(|i| tail.is_char_boundary(i) && matches(rest, &tail[i..]))
        }),
    }
}
