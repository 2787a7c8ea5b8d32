//! The table: a row for each case, a column for each engine.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};

use crate::engines::{FLOOR, REVD_BTREE, REVD_WAL};
use crate::raft::{OPENRAFT, RAFT_RS, REVD_RAFT};
use crate::statistics::{Better, LEVEL, Standing, median};

/// One case of one workload, measured several times with several engines.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What was measured, and in what unit.
    pub what: String,
    /// Which way is good.
    pub better: Better,
    /// The engine that the others are shown as multiples of; none if plain figures are shown.
    pub base: Option<&'static str>,
    /// What the project wants of its own engine: a ratio if there is a base, else a figure.
    pub wanted: Option<f64>,
    /// A rival that is ahead is a miss too.
    pub foremost: bool,
    /// By engine, a figure for each run; None where it failed.
    pub figures: BTreeMap<String, Vec<Option<f64>>>,
}

/// The project's own engines. A row has at most one of them.
const OURS: &[&str] = &[REVD_WAL, REVD_BTREE, REVD_RAFT];

/// Not an engine: in each run, the better one of the rivals.
pub(crate) const BETTER_RIVAL: &str = "better rival";

/// The engines in the order of the columns; the project's own share one.
const COLUMNS: &[&[&str]] = &[
    &[BETTER_RIVAL],
    &[FLOOR],
    OURS,
    &[RAFT_RS],
    &[OPENRAFT],
    &["okaywal"],
    &["raft-engine"],
    &["lmdb"],
    &["lmdb-append"],
    &["redb"],
    &["fjall"],
];

impl Row {
    /// A row without figures.
    #[must_use]
    pub(crate) fn new(what: String, better: Better) -> Row {
        Row { what, better, base: None, wanted: None, foremost: false, figures: BTreeMap::new() }
    }

    /// Adds the next run of an engine.
    pub(crate) fn add(&mut self, engine: &str, figure: Option<f64>) {
        self.figures.entry(engine.to_owned()).or_default().push(figure);
    }

    /// The median of an engine: of its ratios to the base in the same run, or of its figures.
    fn score(&self, engine: &str) -> Option<f64> {
        let own = self.figures.get(engine)?;
        let Some(base) = self.base else { return plain(own) };
        let base = self.figures.get(base)?;
        let ratios: Vec<f64> =
            own.iter().zip(base).filter_map(|(own, base)| Some((*own)? / (*base)?)).collect();
        median(&ratios)
    }

    fn ours(&self) -> Option<f64> {
        OURS.iter().find_map(|engine| self.score(engine))
    }

    /// What the column of these engines shows.
    fn cell(&self, engines: &[&str]) -> String {
        let Some(engine) = engines.iter().find(|engine| self.figures.contains_key(**engine)) else {
            return String::new();
        };
        let Some(figure) = self.figures.get(*engine).and_then(|figures| plain(figures)) else {
            return "failed".to_owned();
        };
        if self.base == Some(*engine) {
            return short(figure);
        }
        let Some(score) = self.score(engine) else { return short(figure) };
        let is_ours = OURS.contains(engine);
        let mark = match self.ours().filter(|_| !is_ours && *engine != FLOOR) {
            None => "",
            Some(ours) => match self.better.standing(score, ours) {
                Standing::Ahead => " >",
                Standing::Level => " =",
                Standing::Behind => "",
            },
        };
        let shown = if self.base.is_some() { format!("{score:.2}x") } else { short(figure) };
        format!("{shown}{mark}")
    }

    fn wanted(&self) -> String {
        let Some(wanted) = self.wanted else { return String::new() };
        let sign = if self.better == Better::Higher { ">=" } else { "<=" };
        let unit = if self.base.is_some() { "x" } else { "" };
        format!("{sign} {wanted}{unit}")
    }

    /// Whether the project has what it wants.
    fn verdict(&self) -> String {
        let Some(ours) = self.ours() else { return String::new() };
        let mut parts = Vec::new();
        if let Some(wanted) = self.wanted {
            let is_level = self.better.standing(ours, wanted) == Standing::Level;
            parts.push(match (self.better.reaches(ours, wanted), is_level) {
                (true, _) => "yes".to_owned(),
                (false, true) => "level".to_owned(),
                (false, false) => "MISSED".to_owned(),
            });
        }
        let rivals = self.figures.keys().map(String::as_str);
        let is_rival = |name: &&str| ![FLOOR, BETTER_RIVAL].contains(name) && !OURS.contains(name);
        let ahead = rivals.filter(is_rival).filter(|name| {
            let score = self.score(name);
            score.is_some_and(|score| self.better.standing(score, ours) == Standing::Ahead)
        });
        if self.foremost {
            parts.extend(ahead.map(|name| format!("BEHIND {name}")));
        }
        parts.join(", ")
    }
}

/// The table of these rows; columns without figures are left out.
#[must_use]
pub(crate) fn render(rows: &[Row], markdown: bool) -> String {
    let is_used = |engines: &&&[&str]| {
        rows.iter().any(|row| engines.iter().any(|engine| row.figures.contains_key(*engine)))
    };
    let columns: Vec<&[&str]> = COLUMNS.iter().filter(is_used).copied().collect();
    let mut table = Table::new();
    table.load_style(if markdown {
        presets::ASCII_MARKDOWN
    } else {
        presets::UTF8_HORIZONTAL_ONLY
    });
    let name = |engines: &&[&str]| if engines.len() > 1 { "revd" } else { engines[0] }.to_owned();
    let mut header = vec!["workload".to_owned()];
    header.extend(columns.iter().map(name));
    header.extend(["wanted".to_owned(), "reached".to_owned()]);
    table.set_header(header);
    for row in rows {
        let mut cells = vec![row.what.clone()];
        cells.extend(columns.iter().map(|engines| row.cell(engines)));
        cells.extend([row.wanted(), row.verdict()]);
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(1).take(columns.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!(
        "{table}\nMedians; `x` is a multiple of the first engine with a plain figure, in the same \
         run. Beside a rival: `=` level with revd (within {:.0} %), `>` ahead of it.",
        LEVEL * 100.0
    )
}

fn plain(figures: &[Option<f64>]) -> Option<f64> {
    median(&figures.iter().copied().flatten().collect::<Vec<_>>())
}

/// A number in few characters.
fn short(number: f64) -> String {
    match number.abs() {
        n if n >= 1e9 => format!("{:.2}G", number / 1e9),
        n if n >= 1e6 => format!("{:.2}M", number / 1e6),
        n if n >= 1e4 => format!("{:.1}k", number / 1e3),
        n if n >= 100.0 => format!("{number:.0}"),
        n if n >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let mut row = Row::new("x".to_owned(), Better::Higher);
        row.base = Some(FLOOR);
        row.wanted = Some(1.1);
        row.foremost = true;
        for (floor, ours, rival) in [(10.0, 12.0, 12.5), (20.0, 22.0, 26.0), (10.0, 11.5, 14.0)] {
            row.add(FLOOR, Some(floor));
            row.add(REVD_WAL, Some(ours));
            row.add("okaywal", Some(rival));
        }
        row
    }

    #[test]
    fn ratios_are_of_the_same_run() {
        assert_eq!(row().score(REVD_WAL), Some(1.15));
        assert_eq!(row().cell(&["okaywal"]), "1.30x >");
        assert_eq!(row().cell(&[FLOOR]), "10.0");
        assert_eq!(row().verdict(), "yes, BEHIND okaywal");
    }

    #[test]
    fn what_failed_is_said() {
        let mut row = row();
        row.figures.insert("okaywal".to_owned(), vec![None, None, None]);
        assert_eq!(row.cell(&["okaywal"]), "failed");
        assert_eq!(row.verdict(), "yes");
    }
}
