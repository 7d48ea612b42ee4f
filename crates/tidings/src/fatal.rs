//! Why a server does not start, told so that the operator can act on it.
//!
//! Printed in the form tools that watch MinIO's output know: `FATAL what: reason`, then an indented remedy,
//! then a hint. The process leaves with status 1.

use std::fmt;

/// A start that cannot go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct Fatal {
    /// What could not be done: `Unable to validate the root credentials`.
    pub what: String,
    /// Why, with names and numbers.
    pub reason: String,
    /// What to do about it, a sentence; empty when the reason says it.
    pub remedy: String,
    /// More to know, lines; empty when there is no more.
    pub hint: String,
}

impl Fatal {
    /// A failure without a remedy of its own.
    pub fn new(what: impl Into<String>, reason: impl fmt::Display) -> Fatal {
        Fatal { what: what.into(), reason: reason.to_string(), ..Fatal::default() }
    }

    /// The same failure with a sentence that says what to do.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Fatal {
        Fatal { remedy: remedy.into(), ..self }
    }

    /// The same failure with more to know.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Fatal {
        Fatal { hint: hint.into(), ..self }
    }

    /// The lines for standard error, without a final line feed.
    pub fn lines(&self) -> String {
        let mut text = format!("FATAL {self}");
        if !self.remedy.is_empty() {
            text.push_str("\n      > ");
            text.push_str(&self.remedy);
        }
        if !self.hint.is_empty() {
            text.push_str("\n      HINT:");
            for line in self.hint.lines() {
                text.push_str("\n        ");
                text.push_str(line);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_with_its_remedy_and_hint() {
        let fatal = Fatal::new("Unable to start", "no key").remedy("Give one.").hint("one\ntwo");
        assert_eq!(
            fatal.lines(),
            "FATAL Unable to start: no key\n      > Give one.\n      HINT:\n        one\n        two"
        );
        assert_eq!(Fatal::new("Unable to start", "no key").lines(), "FATAL Unable to start: no key");
    }
}
