//! The attributes of a topic: their names, which are Ceph's, and what each takes.

/// What an attribute takes.
enum Takes {
    Text,
    Switch,
    Number,
    Policy,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// How a number that is not set is shown, as Ceph does.
pub(super) const UNSET: &str = "None";

/// Longest value, in bytes.
const VALUE_BYTES_MAX: usize = 8 * 1024;

/// The attributes. `record_format` is this server's own.
const ATTRIBUTES: [(&str, Takes); 17] = [
    ("push-endpoint", Takes::Text),
    ("persistent", Takes::Switch),
    ("time_to_live", Takes::Number),
    ("max_retries", Takes::Number),
    ("retry_sleep_duration", Takes::Number),
    ("OpaqueData", Takes::Text),
    ("Policy", Takes::Policy),
    ("verify-ssl", Takes::Switch),
    ("cloudevents", Takes::Switch),
    ("amqp-exchange", Takes::Text),
    ("amqp-ack-level", Takes::Word(&["none", "broker", "routable"])),
    ("kafka-ack-level", Takes::Word(&["none", "broker"])),
    ("use-ssl", Takes::Switch),
    ("ca-location", Takes::Text),
    ("mechanism", Takes::Word(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])),
    ("mqtt-qos", Takes::Word(&["0", "1", "2"])),
    ("record_format", Takes::Word(&["minio", "aws", "ceph", "cloudevents", "cloudevents-binary"])),
];

/// Whether a parameter's name is that of an attribute.
pub(super) fn is_one(name: &str) -> bool {
    ATTRIBUTES.iter().any(|(known, _)| *known == name)
}

/// Whether a value says that an attribute is not set: the empty one does, and that by which numbers are shown then.
pub(super) fn is_unset(name: &str, value: &str) -> bool {
    let is_number = |(known, takes): &(&str, Takes)| *known == name && matches!(takes, Takes::Number);
    value.is_empty() || value == UNSET && ATTRIBUTES.iter().any(is_number)
}

/// Checks one attribute by itself.
///
/// # Errors
///
/// A sentence that names the attribute.
pub(super) fn check(name: &str, value: &str) -> Result<(), String> {
    let Some((_, takes)) = ATTRIBUTES.iter().find(|(known, _)| *known == name) else {
        return Err(format!("Topics have no attribute {name}."));
    };
    if value.len() > VALUE_BYTES_MAX {
        return Err(format!("{name} is longer than {VALUE_BYTES_MAX} bytes."));
    }
    let fits = match takes {
        _ if value.is_empty() => true,
        Takes::Text => true,
        Takes::Switch => matches!(value.to_ascii_lowercase().as_str(), "true" | "false"),
        Takes::Number => value == UNSET || value.parse::<u32>().is_ok(),
        Takes::Policy => {
            serde_json::from_str::<serde_json::Value>(value).is_ok_and(|policy| policy.is_object())
        }
        Takes::Word(words) => words.contains(&value),
    };
    let what = match takes {
        _ if fits => return Ok(()),
        Takes::Text | Takes::Policy => "a JSON document".to_owned(),
        Takes::Switch => "true or false".to_owned(),
        Takes::Number => format!("a whole number or {UNSET}"),
        Takes::Word(words) => format!("one of {}", words.join(", ")),
    };
    Err(format!("{name} takes {what}."))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_value_that_an_attribute_does_not_take_is_told_by_its_name() {
        let told = |name, value| check(name, value).err().unwrap_or_default();
        assert_eq!(told("persistent", "TRUE"), "");
        assert_eq!(told("persistent", "yes"), "persistent takes true or false.");
        assert_eq!(told("max_retries", "-1"), "max_retries takes a whole number or None.");
        assert_eq!(told("amqp-ack-level", "all"), "amqp-ack-level takes one of none, broker, routable.");
        assert_eq!(told("Policy", "{"), "Policy takes a JSON document.");
        assert_eq!(told("Policy", "") + &told("Policy", "{}"), "");
        assert_eq!(told("DisplayName", "x"), "Topics have no attribute DisplayName.");
    }
}
