//! Places in the change log, as people name them.

use tidings_notify::listen::Position;
use tidings_s3::time::parse_iso8601_ms;
use tidings_store::Sequence;

const FORMS: &str = "a time looks like 2026-11-21T07:46:15Z, a while ago like 10m, 2h or 1d, \
    a sequencer has 1 to 16 hexadecimal digits";

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// With what happened then or later, milliseconds since 1970.
    Time(u64),
    /// As records tell it; one for each drive set, with commas between, where a stream told so.
    Sequencer(String),
}

impl Place {
    /// Reads a time, a while before `now_ms` (milliseconds since 1970), or a sequencer.
    ///
    /// What is all digits and a unit is a while, also where it could be a sequencer: those that servers tell have
    /// sixteen digits.
    ///
    /// # Errors
    ///
    /// A sentence without its end that shows the forms.
    pub(super) fn parse(text: &str, now_ms: u64) -> Result<Place, String> {
        if let Some(ago_ms) = ago_ms(text) {
            return Ok(Place::Time(now_ms.saturating_sub(ago_ms)));
        }
        if let Some(time_ms) = parse_iso8601_ms(text) {
            return Ok(Place::Time(u64::try_from(time_ms).unwrap_or(0)));
        }
        let is_sequencer = text.split(',').all(|one| Sequence::from_sequencer(one).is_some());
        let sequencer = is_sequencer.then(|| Place::Sequencer(text.to_owned()));
        sequencer.ok_or_else(|| format!("'{text}' is no place to begin at: {FORMS}"))
    }

    /// The `from` of a listener that begins there.
    pub(super) fn position(self) -> String {
        match self {
            Place::Time(time_ms) => Position::at(time_ms).to_string(),
            Place::Sequencer(text) => text,
        }
    }
}

/// `90s`, `10m`, `2h`, `1d` in milliseconds.
fn ago_ms(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let unit_ms = match unit {
        's' => 1000,
        'm' => 60 * 1000,
        'h' => 60 * 60 * 1000,
        'd' if text.len() < 16 => 24 * 60 * 60 * 1000,
        _ => return None,
    };
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    number.checked_mul(unit_ms)
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn a_time_a_while_and_a_sequencer_are_places() {
        let place = |text: &str| Place::parse(text, 1_000_000_000);
        for sequencer in ["18E9FFCB5B1B2AD0", "18E9FFCB5B1B2AD0,18E9FFCB5B1B2AD1"] {
            assert_eq!(place(sequencer), Ok(Place::Sequencer(sequencer.to_owned())));
            assert_eq!(place(sequencer).unwrap().position(), sequencer);
        }
        assert_eq!(place("1970-01-01T00:00:00.001Z"), Ok(Place::Time(1)));
        assert_eq!(place("1970-01-01T00:00:00.001Z").unwrap().position(), "00000000000F423F");
        for (text, ago_ms) in [("90s", 90_000), ("10m", 600_000), ("2h", 7_200_000), ("1d", 86_400_000)] {
            assert_eq!(place(text), Ok(Place::Time(1_000_000_000 - ago_ms)), "{text}");
        }
        for wrong in ["yesterday", "10 m", "2026-11-21", ""] {
            assert!(place(wrong).unwrap_err().contains("a while ago like 10m"), "{wrong}");
        }
    }
}
