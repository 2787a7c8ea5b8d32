//! Whether the comparisons of a transaction hold.

use std::cmp::Ordering;

use super::Reading;
use crate::error::Fatal;
use crate::index::Version;
use crate::request::{Compare, Operand, Range};

const VERSION: i32 = 0;
const CREATE: i32 = 1;
const MOD: i32 = 2;
const VALUE: i32 = 3;
const LEASE: i32 = 4;

/// Rules 4.3 to 4.6: a comparison holds if it holds for every key of its range at revision `at`; an
/// empty range counts as one missing key.
pub(crate) fn holds(reading: &Reading<'_>, compare: &Compare, at: u64) -> Result<bool, Fatal> {
    let range = Range {
        key: compare.key.clone(),
        range_end: compare.range_end.clone(),
        ..Range::default()
    };
    let (mut any, mut all) = (false, true);
    reading.visit(&range, at, &mut |key, version| {
        any = true;
        all = holds_for(reading, compare, key, version)?;
        Ok(all)
    })?;
    Ok(if any { all } else { holds_for_missing(compare) })
}

fn holds_for(
    reading: &Reading<'_>,
    compare: &Compare,
    key: &[u8],
    version: Version,
) -> Result<bool, Fatal> {
    let ordering = match (compare.target, version.known) {
        (VERSION, Some((_, version))) => number(compare, version as i64),
        (CREATE, Some((create, _))) => number(compare, create as i64),
        (MOD, _) => number(compare, version.place.main as i64),
        (VALUE, _) => reading.records.load(key, version.place)?.value.cmp(value(compare)),
        (VERSION | CREATE | LEASE, _) => {
            let meta = reading.records.load_head(key, version.place)?;
            number(
                compare,
                match compare.target {
                    VERSION => meta.version as i64,
                    CREATE => meta.create as i64,
                    _ => meta.lease,
                },
            )
        }
        _ => Ordering::Equal,
    };
    Ok(wanted(compare.result, ordering))
}

/// A missing key counts as zeros; its value compares with nothing (rule 4.4).
fn holds_for_missing(compare: &Compare) -> bool {
    match compare.target {
        VALUE => false,
        VERSION | CREATE | MOD | LEASE => wanted(compare.result, number(compare, 0)),
        _ => wanted(compare.result, Ordering::Equal),
    }
}

fn number(compare: &Compare, found: i64) -> Ordering {
    let operand = match (compare.target, &compare.operand) {
        (VERSION, Operand::Version(number))
        | (CREATE, Operand::Create(number))
        | (MOD, Operand::Mod(number))
        | (LEASE, Operand::Lease(number)) => *number,
        _ => 0,
    };
    found.cmp(&operand)
}

fn value(compare: &Compare) -> &[u8] {
    match &compare.operand {
        Operand::Value(value) => value,
        _ => &[],
    }
}

/// Equal, greater, less, not equal; a number without meaning always holds (rule 4.6).
fn wanted(result: i32, ordering: Ordering) -> bool {
    match result {
        0 => ordering.is_eq(),
        1 => ordering.is_gt(),
        2 => ordering.is_lt(),
        3 => ordering.is_ne(),
        _ => true,
    }
}
