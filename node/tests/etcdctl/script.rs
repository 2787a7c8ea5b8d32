//! The language of the scripts.
//!
//! ```text
//! # A comment, and a heading under which the following commands are reported:
//! == put and get
//! put a 1                          a command for etcdctl, run to its end on both servers
//! put b                            what belongs to a command is indented:
//!   < some text                      a line of its standard input
//!   << some text                     the same, without the line's end
//!   bytes 1000                       so many bytes of standard input
//!   exit 1                           how it ends on both (else 0; `signal 15` is possible)
//!   has some text                    a text that both must print
//!   lease L                          from here on $L is the lease that the answer names
//!   only revd                        etcd is not asked; such a command needs `exit` and `has`
//!   at last                          the command is repeated until it succeeds
//!   in any order                     the order of the lines is not compared
//!   or late                          how often it prints depends on time: order and number of
//!                                    equal lines are not compared
//! revision NEXT + 1                from here on $NEXT is the store's revision, plus 1
//! start W watch a --rev=$NEXT      a command that goes on in the background
//! await W 3                        until it has printed three lines
//! await W 3 6                      until etcd's has printed three lines, and revd's six
//! tell W progress                  a line for its standard input
//! stop W                           ends it by a signal; compares all that it printed
//! join W                           waits for its own end; compares all that it printed
//! alarm                            raises the alarm NOSPACE; `etcdctl` itself cannot
//! kill                             ends both servers as a power failure would, starts them again
//! lead 0                           has the member m0 of each cluster lead
//! enter 3                          starts the member m3, which was added to each cluster
//! ```
//!
//! `$ENDPOINT` is where the server listens, `$DIR` a directory of its own. Of a cluster, `$m0` is
//! the id of member m0, `$PEER0` its peer URL, and `$ENDPOINT0` where it listens for clients.
//! Words are quoted as in a shell: `'literal'` and `"with \n \" \\ \x00 escapes"`.

/// One file.
pub struct Script {
    /// Its name, for reports.
    pub name: String,
    /// What to do, in order.
    pub steps: Vec<Step>,
}

/// One thing to do.
pub struct Step {
    /// The line of the file.
    pub line: usize,
    /// What is done.
    pub action: Action,
    /// What the answers must be like.
    pub expect: Expect,
}

/// What a step does.
pub enum Action {
    /// A new heading.
    Heading(String),
    /// A command, to its end.
    Run(Call),
    /// A command in the background.
    Start(String, Call),
    /// Waits for a number of lines from each.
    Await { name: String, etcd: usize, revd: usize },
    /// A line for a background command.
    Tell(String, String),
    /// Ends a background command.
    Stop(String),
    /// Waits for the end of a background command.
    Join(String),
    /// Names the present revision plus a number.
    Revision(String, i64),
    /// Raises the alarm NOSPACE, for which `etcdctl` has no command.
    Alarm,
    /// Kills and restarts both servers.
    Kill,
    /// Has a member of each cluster lead.
    Lead(usize),
    /// Starts a member that was added to each cluster.
    Enter(usize),
}

/// A command line and its input.
#[derive(Clone, Default)]
pub struct Call {
    /// The arguments.
    pub words: Vec<Vec<u8>>,
    /// The whole of standard input.
    pub input: Vec<u8>,
}

impl Call {
    /// The command as a person would write it.
    pub fn shown(&self) -> String {
        let shown: Vec<String> = self.words.iter().map(|word| crate::process::text(word)).collect();
        shown.join(" ")
    }
}

/// What both answers must be like, beside being equal.
#[derive(Default)]
pub struct Expect {
    /// The exit code, if the script gives one.
    pub exit: Option<String>,
    /// Texts on either stream.
    pub has: Vec<String>,
    /// The name for the lease in the answer.
    pub lease: Option<String>,
    /// Whether etcd is left out.
    pub is_for_revd_only: bool,
    /// Whether order and number of equal lines are left out.
    pub is_untimed: bool,
    /// Whether it may have to be repeated.
    pub is_at_last: bool,
}

impl Script {
    /// Reads a script; a slip in one is a panic that names the line.
    pub fn parse(name: &str, text: &str) -> Self {
        let mut steps: Vec<Step> = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let place = format!("{name}:{}", i + 1);
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            match line.strip_prefix("  ") {
                Some(detail) => {
                    let step = steps.last_mut().unwrap_or_else(|| panic!("{place}: nothing above"));
                    refine(step, detail, &place);
                }
                None => {
                    let action = action(line, &place);
                    steps.push(Step { line: i + 1, action, expect: Expect::default() });
                }
            }
        }
        for step in &steps {
            let expect = &step.expect;
            let is_stated = expect.exit.is_some() && !expect.has.is_empty();
            assert!(
                !expect.is_for_revd_only || is_stated,
                "{name}:{}: for revd alone, and without `exit` and `has`",
                step.line
            );
        }
        Self { name: name.to_owned(), steps }
    }
}

fn action(line: &str, place: &str) -> Action {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (name, tail) = rest.split_once(' ').unwrap_or((rest, ""));
    match verb {
        "==" => Action::Heading(rest.to_owned()),
        "start" => Action::Start(name.to_owned(), call(tail, place)),
        "await" => {
            let (etcd, revd) = tail.split_once(' ').unwrap_or((tail, tail));
            let (etcd, revd) = (number(etcd, place), number(revd, place));
            Action::Await { name: name.to_owned(), etcd, revd }
        }
        "tell" => Action::Tell(name.to_owned(), tail.to_owned()),
        "stop" => Action::Stop(name.to_owned()),
        "join" => Action::Join(name.to_owned()),
        "alarm" if rest.is_empty() => Action::Alarm,
        "kill" => Action::Kill,
        "lead" => Action::Lead(number(rest, place)),
        "enter" => Action::Enter(number(rest, place)),
        "revision" => {
            let plus = tail.strip_prefix("+ ").map_or(0, |plus| number(plus, place));
            Action::Revision(name.to_owned(), plus as i64)
        }
        _ => Action::Run(call(line, place)),
    }
}

/// Adds an indented line to the step above it.
fn refine(step: &mut Step, detail: &str, place: &str) {
    let (verb, rest) = detail.split_once(' ').unwrap_or((detail, ""));
    match (verb, &mut step.action) {
        ("<", Action::Run(call) | Action::Start(_, call)) => {
            call.input.extend_from_slice(rest.as_bytes());
            call.input.push(b'\n');
        }
        ("<<", Action::Run(call) | Action::Start(_, call)) => {
            call.input.extend_from_slice(rest.as_bytes());
        }
        ("bytes", Action::Run(call)) => call.input.resize(number(rest, place), b'e'),
        ("exit", _) => step.expect.exit = Some(rest.to_owned()),
        ("has", _) => step.expect.has.push(rest.to_owned()),
        ("lease", _) => step.expect.lease = Some(rest.to_owned()),
        ("only", _) if rest == "revd" => step.expect.is_for_revd_only = true,
        ("or", _) if rest == "late" => step.expect.is_untimed = true,
        ("in", _) if rest == "any order" => step.expect.is_untimed = true,
        ("at", Action::Run(_)) if rest == "last" => step.expect.is_at_last = true,
        _ => panic!("{place}: what is `{detail}`?"),
    }
}

fn number(text: &str, place: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("{place}: `{text}` is not a number"))
}

fn call(line: &str, place: &str) -> Call {
    Call { words: words(line, place), input: Vec::new() }
}

/// The words of a line, without their quotes.
fn words(line: &str, place: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote: Option<u8> = None;
    let mut bytes = line.bytes();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (None, b' ') => words.extend(word.take()),
            (None, b'\'' | b'"') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == byte => quote = None,
            (Some(b'"'), b'\\') => word.get_or_insert_default().push(escape(&mut bytes, place)),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    assert!(quote.is_none(), "{place}: a quote is open");
    words.extend(word);
    words
}

fn escape(bytes: &mut std::str::Bytes<'_>, place: &str) -> u8 {
    match bytes.next() {
        Some(b'n') => b'\n',
        Some(b'x') => {
            let digits: Vec<u8> = bytes.take(2).collect();
            let digits = String::from_utf8_lossy(&digits);
            u8::from_str_radix(&digits, 16).unwrap_or_else(|_| panic!("{place}: \\x{digits}"))
        }
        Some(byte @ (b'"' | b'\\' | b'$')) => byte,
        other => panic!("{place}: unknown escape {other:?}"),
    }
}
