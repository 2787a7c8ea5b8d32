//! How much of what has happened, to show that it was enough.

/// Declares `Totals`, counters with the words that they are printed with, so that none is forgotten
/// in a sum or a print.
#[macro_export]
macro_rules! totals {
    ($($name:ident: $words:literal,)+) => {
        /// How often each kind of event was met.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct Totals {
            $(pub(crate) $name: u64,)+
        }

        impl std::ops::AddAssign for Totals {
            fn add_assign(&mut self, other: Totals) {
                $(self.$name += other.$name;)+
            }
        }

        impl std::fmt::Display for Totals {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $(writeln!(f, "  {:>12} {}", self.$name, $words)?;)+
                Ok(())
            }
        }
    };
}

/// Each kind of event must be met often enough for its checks to mean something: a count, the least
/// that it may be, and of what.
///
/// # Panics
///
/// With all counts that are too small.
pub fn check_minima(minima: &[(u64, u64, &str)]) {
    let short = minima.iter().filter(|(count, minimum, _)| count < minimum);
    let short: Vec<_> = short
        .map(|(count, minimum, what)| format!("{count} {what}, at least {minimum} are needed"))
        .collect();
    assert!(short.is_empty(), "{}", short.join("\n"));
}

#[cfg(test)]
mod tests {
    totals! {
        lost: "messages lost",
        sent: "messages sent",
    }

    #[test]
    fn totals_add_up_and_are_printed_with_their_words() {
        let mut totals = Totals { lost: 1, sent: 2 };
        totals += Totals { lost: 10, sent: 20 };
        assert_eq!(
            totals.to_string(),
            "            11 messages lost\n            22 messages sent\n"
        );
    }

    #[test]
    #[should_panic(expected = "2 cuts, at least 3 are needed")]
    fn what_was_met_too_seldom_is_named() {
        super::check_minima(&[(5, 5, "losses"), (2, 3, "cuts")]);
    }
}
