//! What the values of keys look like: switches, numbers, durations, addresses.

use notify::KeyKind;
use tidings_notify as notify;

use super::subsystem::Key;

/// Checks a value against the kind of its key. An empty value always passes: it unsets the key.
///
/// # Errors
///
/// A clause that goes on after the key's name. It never repeats the value, which may be a secret.
pub(super) fn check(key: &Key, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Ok(());
    }
    let fits = match key.kind {
        KeyKind::Text | KeyKind::Csv | KeyKind::Sentence => true,
        KeyKind::Switch => switch(value).is_some(),
        KeyKind::Number => value.parse::<u64>().is_ok(),
        KeyKind::Duration => duration_ms(value).is_some(),
        KeyKind::Url => {
            value.split_once("://").is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty())
        }
        KeyKind::Path => value.starts_with('/'),
    };
    match (fits, key.kind) {
        (true, _) => Ok(()),
        (false, KeyKind::Switch) => Err("takes on or off".to_owned()),
        (false, KeyKind::Number) => Err("takes a whole number".to_owned()),
        (false, KeyKind::Duration) => Err("takes a duration such as 500ms, 10s or 2h45m".to_owned()),
        (false, KeyKind::Url) => {
            Err("takes an address with its scheme, such as http://host:8080/path".to_owned())
        }
        (false, _) => Err("takes an absolute path".to_owned()),
    }
}

/// What a switch says; `None` for anything that is not one of its words.
pub(super) fn switch(value: &str) -> Option<bool> {
    let word = value.to_ascii_lowercase();
    match word.as_str() {
        "on" | "true" | "enable" | "enabled" | "yes" | "1" => Some(true),
        "off" | "false" | "disable" | "disabled" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// How clients name a kind in help.
pub(super) fn kind_name(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Text => "string",
        KeyKind::Switch => "on|off",
        KeyKind::Number => "number",
        KeyKind::Duration => "duration",
        KeyKind::Url => "url",
        KeyKind::Csv => "csv",
        KeyKind::Path => "path",
        KeyKind::Sentence => "sentence",
    }
}

/// Milliseconds of a duration in Go's spelling: numbers with units in a row. `0` needs no unit.
pub(super) fn duration_ms(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total_ms = 0.0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..number_end].parse().ok()?;
        rest = &rest[number_end..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total_ms += number * unit_ms(&rest[..unit_end])?;
        rest = &rest[unit_end..];
    }
    // A sum of non-negative terms; what exceeds the range is cut to it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never negative, and cut to the range"
    )]
    (!text.is_empty()).then_some(total_ms as u64)
}

fn unit_ms(unit: &str) -> Option<f64> {
    match unit {
        "ns" => Some(1e-6),
        "us" | "µs" => Some(1e-3),
        "ms" => Some(1.0),
        "s" => Some(1e3),
        "m" => Some(60e3),
        "h" => Some(3600e3),
        _ => None,
    }
}

fn is_scheme(scheme: &str) -> bool {
    !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::{duration_ms, switch};

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let read = ["0", "0s", "500ms", "10s", "2h45m", "1.5s", "1us"].map(duration_ms);
        assert_eq!(read, [Some(0), Some(0), Some(500), Some(10_000), Some(9_900_000), Some(1500), Some(0)]);
        assert_eq!(["", "10", "s", "-1s", "1 s", "1x", "1.2.3s"].map(duration_ms), [None; 7]);
    }

    #[test]
    fn a_switch_takes_the_words_that_people_type() {
        assert_eq!(["on", "TRUE", "enable"].map(switch), [Some(true); 3]);
        assert_eq!(["off", "False", "disable"].map(switch), [Some(false); 3]);
        assert_eq!(["", "perhaps"].map(switch), [None; 2]);
    }
}
