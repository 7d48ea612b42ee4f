//! A topic as a target: one that clients make by themselves, of the kind that its endpoint names.
//!
//! Changes call it `<name>:topic` whatever its endpoint is, so that it goes on where it stood when that changes. Its
//! settings are those of the kind, with that kind under [`ENDPOINT_KIND`], and what no kind has a key for:
//! [`CA_LOCATION`], those of [`retries`](crate::retries), and [`SKIP_VERIFY`], for which some kinds have one.

use std::path::Path;

use crate::certificates::named_by_topic;
use crate::target::{MadeTarget, Surroundings, TargetId, TargetKind, TargetSettings, target_kind};

/// The kind of target that topics are.
pub const KIND: &str = "topic";

/// The value of a topic's settings that says of which kind its endpoint is: `kafka`.
pub const ENDPOINT_KIND: &str = "endpoint_kind";

/// The value of a topic's settings that names a file of roots; mostly empty.
pub const CA_LOCATION: &str = "ca_location";

/// The value of a topic's settings that says whether any certificate of the endpoint will do, a switch.
pub const SKIP_VERIFY: &str = "tls_skip_verify";

/// Longest name, in characters; Amazon SNS's bound.
pub const NAME_CHARS_MAX: usize = 256;

/// Whether a topic can be called so: letters, digits, `-`, `_` and `.`.
pub fn is_name(text: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_legal)
}

/// Checks the settings of a topic without contacting anything.
///
/// # Errors
///
/// A clause that names the key at fault, of the kind of the endpoint.
pub(crate) fn check(settings: &TargetSettings, ca_directory: Option<&Path>) -> Result<(), String> {
    let (kind, settings) = endpoint(settings)?;
    named_by_topic(settings.value(CA_LOCATION), ca_directory)?;
    (kind.check)(&settings)
}

/// Makes the target of a topic's settings.
pub(crate) fn connect(settings: &TargetSettings, surroundings: &Surroundings) -> MadeTarget {
    let (kind, settings) = endpoint(settings)?;
    (kind.check)(&settings)?;
    let roots = named_by_topic(settings.value(CA_LOCATION), surroundings.ca_directory.as_deref())?;
    (kind.connect)(&settings, &Surroundings { roots, ..surroundings.clone() })
}

/// The kind of a topic's endpoint, and its settings as that kind reads them.
fn endpoint(settings: &TargetSettings) -> Result<(&'static TargetKind, TargetSettings), String> {
    let name = settings.value(ENDPOINT_KIND);
    let kind = target_kind(name).ok_or_else(|| format!("this build has no targets of kind {name}"))?;
    let target = TargetId { id: settings.target.id.clone(), kind: kind.kind };
    Ok((kind, TargetSettings { target, values: settings.values.clone() }))
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn a_name_has_letters_digits_dashes_and_dots() {
        assert!(is_name("uploads-1_a.b") && is_name(&"a".repeat(256)));
        assert!(!is_name("") && !is_name("a b") && !is_name("a:b") && !is_name(&"a".repeat(257)));
    }
}
