//! One script: its opening, its commands, and the playing of it.

use crate::claim;
use crate::command;
use crate::stage::Stage;

/// Chapters of the dissertation that a section may be of; `own` is a rule that goes beyond it.
const SECTIONS: [&str; 7] = ["3.", "4.", "5.", "6.", "9.", "10.", "own"];

pub(crate) struct Script {
    /// The lines before the first command.
    opening: String,
    claims: Vec<Claim>,
    /// Each command, and the comments above it.
    commands: Vec<(Vec<String>, String)>,
}

/// Something that must hold at a moment, or at the end, or (`never`) all the time.
struct Claim {
    at: Option<String>,
    text: String,
}

/// What came of playing a script.
pub(crate) struct Played {
    /// The script as it would be with this transcript.
    pub(crate) text: String,
    /// What the outcome should have been and was not.
    pub(crate) broken: Option<String>,
}

impl Script {
    pub(crate) fn parse(text: &str) -> Result<Script, String> {
        let mut script = Script { opening: String::new(), claims: vec![], commands: vec![] };
        let (mut section, mut comments) = (None, Vec::new());
        for line in text.lines() {
            if let Some(command) = line.strip_prefix("> ") {
                script.commands.push((std::mem::take(&mut comments), command.trim().to_owned()));
            } else if !script.commands.is_empty() {
                if line.starts_with('#') {
                    comments.push(line.to_owned());
                }
            } else {
                script.opening += &format!("{line}\n");
                if let Some(text) = line.strip_prefix("section: ") {
                    section = Some(text);
                } else if let Some(claim) = line.strip_prefix("must") {
                    script.claims.push(Claim::parse(claim)?);
                } else if !line.is_empty() && !line.starts_with("# ") {
                    return Err(format!("the opening holds {line:?}"));
                }
            }
        }
        let known = |text: &str| SECTIONS.iter().any(|section| text.starts_with(section));
        if !script.opening.starts_with("# ") || !section.is_some_and(known) {
            return Err("a script opens with a line of what it shows, and its section".to_owned());
        }
        if script.claims.is_empty() || !comments.is_empty() {
            return Err("no outcome, or a comment at the end".to_owned());
        }
        Ok(script)
    }

    /// Plays the script from beginning to end.
    pub(crate) fn play(&self) -> Result<Played, String> {
        let mut stage = Stage::default();
        let mut text = format!("{}\n", self.opening.trim_end());
        let mut broken = Vec::new();
        let mut moments = Vec::new();
        for (comments, line) in &self.commands {
            text += "\n";
            for comment in comments {
                text += &format!("{comment}\n");
            }
            text += &format!("> {line}\n");
            if let Some(moment) = line.strip_prefix("moment ") {
                moments.push(moment);
                broken.extend(self.check(&stage, Some(moment)));
            } else {
                command::execute(&mut stage, line).map_err(|what| format!("> {line}: {what}"))?;
            }
            for line in stage.told.drain(..) {
                text += &format!("{line}\n");
            }
        }
        broken.extend(self.check(&stage, None));
        let passed = |claim: &&Claim| claim.at.as_deref().is_some_and(|at| !moments.contains(&at));
        let missing = self.claims.iter().filter(passed);
        broken.extend(missing.map(|claim| format!("the moment of {:?} never comes", claim.text)));
        let broken = (!broken.is_empty()).then(|| broken.join("\n  "));
        Ok(Played { text, broken })
    }

    /// The claims of a moment that do not hold.
    fn check(&self, stage: &Stage, moment: Option<&str>) -> Vec<String> {
        let due = self.claims.iter().filter(|claim| claim.at.as_deref() == moment);
        due.filter_map(|claim| {
            let found = claim::check(stage, &claim.text);
            found.err().map(|found| format!("must {}: but {found}", claim.text))
        })
        .collect()
    }
}

impl Claim {
    /// `: claim`, or ` at moment: claim`.
    fn parse(text: &str) -> Result<Claim, String> {
        let (at, text) = text.split_once(": ").ok_or(format!("must{text} has no colon"))?;
        let at = match at.strip_prefix(" at ") {
            Some(at) => Some(at.to_owned()),
            None if at.is_empty() => None,
            None => return Err(format!("must{at} is not understood")),
        };
        Ok(Claim { at, text: text.trim().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORY: &str = "> cluster 1 2 3\n> campaign 1\n> run\n> propose 1 a\n> run\n\
        > read 1 7\n> run\n> transfer 2 1\n";

    /// Pairs of which the first holds at the end of the story and the second does not.
    const CLAIMS: [(&str, &str); 24] = [
        ("leader 1", "leader 2"),
        ("leader 1 in term 1", "leader 1 in term 2"),
        ("never leader 2", "no leader"),
        ("never leader 1 in term 2", "never leader 1"),
        ("follower 2 of 1 in term 1", "follower 2 of 3 in term 1"),
        ("term 1 2 3: 1", "term 1 2 3: 2"),
        ("role 2: follower", "role 2: candidate"),
        ("log 1 2 3: 1 1", "log 1 2 3: 1"),
        ("configuration 1 2: voters 1 2 3", "configuration 1: voters 1 2"),
        ("recovering 1 2: no", "recovering 1: yes"),
        ("transferring 1: to nobody", "transferring 1: to 2"),
        ("committed 1 2 3 through 2", "committed 1 2 3 through 1"),
        ("durable 1 2 3 through 2", "durable 3 through 3"),
        ("applied 1 2 3: a", "applied 1: nothing"),
        ("vote 2 in term 1: 1", "vote 2 in term 1: nobody"),
        ("read 7 answered at 2", "read 7 open"),
        ("read 8 open", "read 8 failed"),
        ("refused NotLeader 1 times", "never refused"),
        ("sent 1 2 vote: 1", "never sent 1 2 vote"),
        ("waiting 1 2 append: 0", "waiting: 1"),
        ("memory 1 at most 200", "memory 1 at most 20"),
        ("feed 1 2: replicate", "feed 1 2: probe"),
        ("holds 1 2 through 2", "holds 1 4 through 2"),
        ("installed 2 through 0", "such a thing"),
    ];

    fn broken(must: &str) -> Option<String> {
        let text = format!("# A story.\nsection: 3.4\nmust{must}\n\n{STORY}");
        Script::parse(&text).unwrap().play().unwrap().broken
    }

    #[test]
    fn an_outcome_is_judged_apart_from_the_transcript() {
        for (holds, fails) in CLAIMS {
            assert_eq!(broken(&format!(": {holds}")), None, "{holds}");
            assert!(broken(&format!(": {fails}")).is_some(), "{fails}");
        }
        assert!(broken(" at noon: leader 1").is_some(), "the moment never comes");
    }

    #[test]
    fn a_script_needs_a_section_and_an_outcome() {
        assert!(Script::parse(&format!("# A story.\nsection: 3.4\n\n{STORY}")).is_err());
        assert!(Script::parse(&format!("# A story.\nmust: leader 1\n\n{STORY}")).is_err());
        assert!(Script::parse(&format!("section: 3.4\nmust: leader 1\n\n{STORY}")).is_err());
        assert!(Script::parse(&format!("# A story.\nsection: 8.1\nmust: x\n{STORY}")).is_err());
    }
}
