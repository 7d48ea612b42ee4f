//! Bounds of what may wait for a target: how many records, how many bytes, how long, and what happens beyond.

use crate::health::Wait;
use crate::target::{KeySpec, TargetSettings};

/// Without `wait_bytes` this part of a drive set's bytes, parity included, may be records that wait: a tenth.
const SET_SHARE: u64 = 10;

/// What happens when more waits than may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// The oldest go, and the target is told.
    #[default]
    Gap,
    /// Writes that it would have to be told of are refused.
    Refuse,
}

/// See the module header. What is `None` is not bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    changes: Option<u64>,
    bytes: Option<u64>,
    age_ms: Option<u64>,
    pub(crate) overflow: Overflow,
}

impl Bounds {
    /// What the settings say. Bytes that they leave open are those of [`Bounds::in_set_of`].
    ///
    /// # Errors
    ///
    /// A sentence that names the key.
    pub(crate) fn of(settings: &TargetSettings) -> Result<Bounds, String> {
        settings.check_keys(KeySpec::OF_EVERY_KIND)?;
        let bytes = settings.value("wait_bytes");
        let overflow = match settings.value("overflow") {
            "" | "gap" => Overflow::Gap,
            "refuse" => Overflow::Refuse,
            other => return Err(format!("overflow is {other}, known are gap and refuse")),
        };
        let some = |number: u64| Some(number).filter(|&number| number > 0);
        let age_ms = u64::try_from(settings.duration("wait_age").as_millis()).unwrap_or(u64::MAX);
        Ok(Bounds {
            changes: some(settings.number("queue_limit")),
            bytes: match bytes {
                "" => None,
                text => some(parse_bytes(text).ok_or_else(|| {
                    format!("wait_bytes is {text}, a size looks like 1048576, 500MiB or 2GB")
                })?),
            },
            age_ms: some(age_ms),
            overflow,
        })
    }

    /// The same with the bytes of a drive set, for what the settings leave open. A set of unknown size bounds nothing.
    pub(crate) fn in_set_of(self, total_bytes: u64) -> Bounds {
        let share = Some(total_bytes / SET_SHARE).filter(|&bytes| bytes > 0);
        Bounds { bytes: self.bytes.or(share), ..self }
    }

    /// Whether more waits than may.
    pub(crate) fn are_exceeded(&self, wait: &Wait, now_ms: u64) -> bool {
        self.changes.is_some_and(|max| wait.changes > max)
            || self.bytes.is_some_and(|max| wait.bytes > max)
            || self.age_left_ms(wait, now_ms) == Some(0)
    }

    /// Whether nothing more may wait.
    pub(crate) fn are_reached(&self, wait: &Wait, now_ms: u64) -> bool {
        self.changes.is_some_and(|max| wait.changes >= max)
            || self.bytes.is_some_and(|max| wait.bytes >= max)
            || self.age_left_ms(wait, now_ms) == Some(0)
    }

    /// How long the oldest may still wait, in milliseconds; `None` when it may without end, or nothing waits.
    pub(crate) fn age_left_ms(&self, wait: &Wait, now_ms: u64) -> Option<u64> {
        let (_, oldest_ms) = wait.oldest?;
        Some(oldest_ms.saturating_add(self.age_ms?).saturating_sub(now_ms))
    }
}

/// Units of a size, the longest names first.
const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// Reads a size in bytes: a whole number with or without a unit, `500MiB`, `2GB`. `None` for anything else.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let with_unit = UNITS.iter().find_map(|&(unit, bytes)| Some((text.strip_suffix(unit)?, bytes)));
    let (number, bytes) = with_unit.unwrap_or((text, 1));
    let is_number = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| number.parse::<u64>().ok()?.checked_mul(bytes)).flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Bounds, Overflow, parse_bytes};
    use crate::target::{TargetId, TargetSettings};

    fn bounds(values: &[(&'static str, &str)]) -> Result<Bounds, String> {
        let values = values.iter().map(|&(name, value)| (name, value.to_owned())).collect::<BTreeMap<_, _>>();
        Bounds::of(&TargetSettings { target: TargetId { id: "1".to_owned(), kind: "kafka" }, values })
    }

    #[test]
    fn sizes_are_read_with_and_without_units() {
        let sizes = ["0", "1048576", "500MiB", "2GB", "7B", "1TiB"].map(parse_bytes);
        assert_eq!(sizes, [0, 1 << 20, 500 << 20, 2_000_000_000, 7, 1 << 40].map(Some));
        assert_eq!(["", "MiB", "-1", "1.5GiB", "1 GiB", "1mib", "99999999TiB"].map(parse_bytes), [None; 7]);
    }

    #[test]
    fn bounds_are_those_of_the_keys_and_a_tenth_of_the_set_where_bytes_are_left_open() {
        let set = [("queue_limit", "5"), ("wait_bytes", "1KiB"), ("wait_age", "2s"), ("overflow", "refuse")];
        let expected =
            Bounds { changes: Some(5), bytes: Some(1024), age_ms: Some(2000), overflow: Overflow::Refuse };
        assert_eq!(bounds(&set), Ok(expected.clone()));
        assert_eq!(expected.clone().in_set_of(1 << 40), expected);
        let open = bounds(&[("queue_limit", "0"), ("wait_bytes", "0"), ("wait_age", "0s")]).unwrap();
        assert_eq!(open, Bounds::default());
        assert_eq!(open.in_set_of(1000), Bounds { bytes: Some(100), ..Bounds::default() });
    }

    #[test]
    fn a_fault_is_told_with_the_name_of_its_key() {
        let faults = [("wait_bytes", "much"), ("wait_age", "a week"), ("overflow", "drop")];
        assert_eq!(
            faults.map(|fault| bounds(&[fault]).unwrap_err()),
            [
                "wait_bytes is much, a size looks like 1048576, 500MiB or 2GB",
                "wait_age is a week, a duration looks like 10s or 500ms",
                "overflow is drop, known are gap and refuse",
            ]
        );
    }
}
