//! Medians, percentiles, and what counts as level.

/// Differences of no more than this share count as level.
pub(crate) const LEVEL: f64 = 0.07;

/// The middle one, or the mean of the two in the middle. None without values.
#[must_use]
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { *upper } else { (sorted[middle - 1] + upper) / 2.0 })
}

/// The value that a share of all stays at or below. Sorts the values; None without any.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.max(1) - 1).copied()
}

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    /// As rates are.
    Higher,
    /// As times and bytes are.
    Lower,
}

/// How one figure stands to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Better by more than [`LEVEL`].
    Ahead,
    /// Within [`LEVEL`].
    Level,
    /// Worse by more than [`LEVEL`].
    Behind,
}

impl Better {
    /// How `value` stands to `other`.
    #[must_use]
    pub(crate) fn standing(self, value: f64, other: f64) -> Standing {
        let (good, bad) = match self {
            Better::Higher => (value, other),
            Better::Lower => (other, value),
        };
        if good > bad * (1.0 + LEVEL) {
            Standing::Ahead
        } else if good < bad / (1.0 + LEVEL) {
            Standing::Behind
        } else {
            Standing::Level
        }
    }

    /// Whether `value` is at least as good as `bar`.
    #[must_use]
    pub(crate) fn reaches(self, value: f64, bar: f64) -> bool {
        match self {
            Better::Higher => value >= bar,
            Better::Lower => value <= bar,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_percentiles() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        let mut values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&mut values, 0.99), Some(198.0));
        assert_eq!(percentile(&mut values, 0.0), Some(1.0));
        assert_eq!(percentile(&mut [], 0.5), None);
    }

    #[test]
    fn seven_percent_count_as_level() {
        assert_eq!(Better::Higher.standing(1.06, 1.0), Standing::Level);
        assert_eq!(Better::Higher.standing(1.08, 1.0), Standing::Ahead);
        assert_eq!(Better::Lower.standing(1.08, 1.0), Standing::Behind);
        assert_eq!(Better::Lower.standing(0.9, 1.0), Standing::Ahead);
        assert!(Better::Lower.reaches(0.5, 0.5) && !Better::Higher.reaches(0.49, 0.5));
    }
}
