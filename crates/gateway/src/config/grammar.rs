//! The text form of settings: one line for each target of each subsystem.
//!
//! ```text
//! line = [ "# " ] subsystem [ ":" target ] SP pair *( SP pair )
//! pair = key "=" value | key "=" DQUOTE value DQUOTE
//! ```
//!
//! A value goes on, blanks included, until the next word that is a known key and an equals sign; so
//! `comment=my hook` needs no quotes. A quoted value ends at the quote that the line's end or another pair
//! follows; nothing is escaped. A line that begins with `#` says nothing.
//!
//! # Invariants
//!
//! Printing what was parsed and parsing it again gives the same pairs.

use std::fmt::Write as _;

use notify::KeyKind;
use tidings_notify as notify;

use super::error::ConfigError;
use super::subsystem::{self, Key, Named, Subsystem, TARGET_DEFAULT};

/// Longest name of a target, in bytes.
const TARGET_NAME_BYTES_MAX: usize = 128;

/// What a line speaks of: `notify_kafka:1`.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) subsystem: &'static Subsystem,
    pub(super) target: String,
    /// Whether it was called `region`, whose only key is called `name`.
    pub(super) is_region: bool,
}

/// A line: the values it gives to keys, each key once, the last one counts.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) place: Place,
    pub(super) pairs: Vec<(&'static str, String)>,
}

impl Place {
    /// Reads `subsystem[:target]`. `None` for what servers had long ago.
    pub(super) fn parse(word: &str) -> Result<Option<Place>, ConfigError> {
        let (name, target) = word.split_once(':').map_or((word, None), |(name, target)| (name, Some(target)));
        let (subsystem, is_region) = match subsystem::named(name) {
            Named::Subsystem(subsystem) => (subsystem, false),
            Named::Region(site) => (site, true),
            Named::Forgotten => return Ok(None),
            Named::AbsentTarget => {
                return Err(ConfigError::AbsentTarget { name: name.to_owned() });
            }
            Named::Unknown => {
                return Err(ConfigError::UnknownSubsystem { name: name.to_owned() });
            }
        };
        let target = target.unwrap_or(TARGET_DEFAULT);
        let reason = match target {
            "" => "it is empty",
            TARGET_DEFAULT => "",
            _ if !subsystem.has_targets => "there is only one",
            long if long.len() > TARGET_NAME_BYTES_MAX => "it is longer than 128 bytes",
            odd if !odd.chars().all(is_of_target_name) => "it may hold letters, digits, - _ and .",
            _ => "",
        };
        if reason.is_empty() {
            return Ok(Some(Place { subsystem, target: target.to_owned(), is_region }));
        }
        let (subsystem, target) = (subsystem.name.to_owned(), target.to_owned());
        Err(ConfigError::TargetName { subsystem, target, reason })
    }

    /// The key that a word names here.
    pub(super) fn key(&self, word: &str) -> Option<&'static Key> {
        match (self.is_region, word) {
            (true, "name") => self.subsystem.key("region"),
            (true, _) => None,
            (false, word) => self.subsystem.key(word),
        }
    }

    /// How a key is called here.
    fn name_of(&self, key: &Key) -> &'static str {
        if self.is_region { "name" } else { key.name }
    }

    /// `notify_kafka:1`, `notify_kafka` for the default target.
    pub(super) fn title(&self) -> String {
        let name = if self.is_region { "region" } else { self.subsystem.name };
        match self.target.as_str() {
            TARGET_DEFAULT => name.to_owned(),
            target => format!("{name}:{target}"),
        }
    }
}

/// A target's name goes into ARNs, environment names and file names of other servers.
fn is_of_target_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Reads every line that says something.
pub(super) fn parse(text: &str) -> Result<Vec<Line>, ConfigError> {
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        lines.extend(parse_line(line)?);
    }
    Ok(lines)
}

fn parse_line(line: &str) -> Result<Option<Line>, ConfigError> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let Some(place) = Place::parse(word)? else {
        return Ok(None);
    };
    let mut pairs: Vec<(&'static str, String)> = Vec::new();
    let mut rest = rest.trim_start();
    while !rest.is_empty() {
        let unknown = |word: &str| ConfigError::UnknownKey {
            subsystem: place.subsystem.name.to_owned(),
            key: word.split(char::is_whitespace).next().unwrap_or_default().to_owned(),
        };
        let (word, after) = rest.split_once('=').ok_or_else(|| unknown(rest))?;
        let key = place.key(word).ok_or_else(|| unknown(word))?;
        let (value, was_quoted, next) = split_value(&place, after);
        if !was_quoted && let Some(word) = stray_key(key, value) {
            return Err(unknown(word));
        }
        pairs.retain(|(name, _)| *name != key.name);
        pairs.push((key.name, value.to_owned()));
        rest = next;
    }
    Ok(Some(Line { place, pairs }))
}

/// Splits `value key=value …` into the value, whether it was quoted, and what begins with the next pair.
fn split_value<'a>(place: &Place, text: &'a str) -> (&'a str, bool, &'a str) {
    if let Some(quoted) = text.strip_prefix('"') {
        for (at, _) in quoted.match_indices('"') {
            let after = &quoted[at + 1..];
            let next = after.trim_start();
            if next.is_empty() || (next.len() < after.len() && begins_pair(place, next)) {
                return (&quoted[..at], true, next);
            }
        }
    }
    for (at, blank) in text.char_indices().filter(|(_, c)| c.is_whitespace()) {
        let next = &text[at + blank.len_utf8()..];
        if begins_pair(place, next) {
            return (text[..at].trim_end(), false, next);
        }
    }
    (text.trim_end(), false, "")
}

fn begins_pair(place: &Place, text: &str) -> bool {
    text.split_once('=').is_some_and(|(word, _)| place.key(word).is_some())
}

/// The first word in an unquoted value that looks like a mistyped key. Sentences may hold anything.
fn stray_key<'a>(key: &Key, value: &'a str) -> Option<&'a str> {
    if key.kind == KeyKind::Sentence {
        return None;
    }
    let words = value.split_whitespace().skip(1).filter_map(|word| word.split_once('='));
    words
        .map(|(word, _)| word)
        .find(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
}

/// Writes `place pair pair `, with the blank at its end that clients split at.
pub(super) fn print(place: &Place, pairs: &[(&Key, &str)]) -> String {
    let mut line = place.title();
    if !pairs.is_empty() {
        line.push(' ');
    }
    for (key, value) in pairs {
        let name = place.name_of(key);
        let needs_quotes = value.starts_with('"') || value.contains(char::is_whitespace);
        let written = match needs_quotes {
            true => write!(line, "{name}=\"{value}\" "),
            false => write!(line, "{name}={value} "),
        };
        written.expect("writing to a string succeeds");
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::{Line, parse, print};
    use crate::config::error::ConfigError;

    fn one(text: &str) -> Line {
        let mut lines = parse(text).unwrap();
        assert_eq!(lines.len(), 1, "{text}");
        lines.pop().unwrap()
    }

    fn pairs(text: &str) -> Vec<(&'static str, String)> {
        one(text).pairs
    }

    fn expected(pairs: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        pairs.iter().map(|&(key, value)| (key, value.to_owned())).collect()
    }

    #[test]
    fn a_value_goes_on_until_the_next_known_key() {
        let line =
            "audit_webhook:1 comment=my hook, endpoint = odd endpoint=http://a:1/?x=y&z=w batch_size=\"5\"";
        assert_eq!(
            pairs(line),
            expected(&[
                ("comment", "my hook, endpoint = odd"),
                ("endpoint", "http://a:1/?x=y&z=w"),
                ("batch_size", "5"),
            ])
        );
    }

    #[test]
    fn a_quoted_value_keeps_its_blanks_and_what_looks_like_a_key() {
        let line = "audit_webhook:1 comment=\" a endpoint=b \" endpoint=http://a";
        assert_eq!(pairs(line), expected(&[("comment", " a endpoint=b "), ("endpoint", "http://a")]));
    }

    #[test]
    fn the_last_value_of_a_key_counts() {
        assert_eq!(pairs("api requests_max=5 requests_max=7"), expected(&[("requests_max", "7")]));
    }

    #[test]
    fn region_is_another_name_of_the_region_of_the_site() {
        let line = one("region name=us-east-1");
        assert_eq!(line.pairs, expected(&[("region", "us-east-1")]));
        assert_eq!(line.place.subsystem.name, "site");
        assert_eq!(line.place.title(), "region");
    }

    #[test]
    fn comments_empty_lines_and_subsystems_long_gone_say_nothing() {
        let lines =
            parse("# api requests_max=5\n\n  \ncredentials access_key=a\napi requests_max=6\n").unwrap();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].pairs, expected(&[("requests_max", "6")]));
    }

    #[test]
    fn what_is_not_in_the_table_is_refused_by_name() {
        let refused = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(refused("nothing a=b"), "unknown sub-system nothing");
        assert_eq!(refused("api colour=red"), "api has no key colour");
        assert_eq!(refused("api requests_max=5 colour=red"), "api has no key colour");
        assert_eq!(refused("api requests_max"), "api has no key requests_max");
        assert_eq!(refused("api:1 requests_max=5"), "`1` cannot name a target of api: there is only one");
        assert_eq!(
            refused("audit_webhook:a:b endpoint=http://a"),
            "`a:b` cannot name a target of audit_webhook: it may hold letters, digits, - _ and ."
        );
    }

    #[test]
    fn a_kind_of_target_that_this_build_lacks_is_refused_by_name() {
        // A build may leave kinds out; one that has all ten lacks none.
        let absent = super::subsystem::TARGETS_KNOWN
            .iter()
            .find(|name| matches!(super::subsystem::named(name), super::Named::AbsentTarget));
        let Some(name) = absent else { return };
        assert_eq!(
            parse(&format!("{name}:1 url=amqp://a")).unwrap_err(),
            ConfigError::AbsentTarget { name: (*name).to_owned() }
        );
    }

    proptest! {
        /// Whatever the line, what it was understood as survives printing.
        #[test]
        fn a_parsed_line_printed_parses_to_the_same_pairs(
            text in r#"((comment|endpoint|auth_token|batch_size)="?[ a="\\:/é#]{0,9}"?[ \t]?){0,5}"#,
        ) {
            if let Ok(lines) = parse(&format!("audit_webhook:1 {text}")) {
                let line = &lines[0];
                let printed: Vec<_> = line
                    .pairs
                    .iter()
                    .map(|(name, value)| (line.place.key(name).unwrap(), value.as_str()))
                    .collect();
                let printed = print(&line.place, &printed);
                prop_assert_eq!(&one(&printed).pairs, &line.pairs, "printed as {}", printed);
            }
        }
    }
}
