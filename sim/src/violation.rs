//! What a simulation finds.

/// A rule that was broken, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

/// What is fine, or breaks a rule.
pub type Checked<T = ()> = Result<T, Violation>;

/// Returns a [`Violation`] with these words unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err($crate::Violation(format!($($words)+)));
        }
    };
}
