//! Which keys a rule is about: a prefix and a suffix, in both of which `*` and `?` are wildcards.
//!
//! The two do not overlap in the key: `ab` with `b` does not match `ab`. Matching is on the raw key, not on
//! its URL-encoded form. Source: MinIO's behaviour, which `mc event add --prefix 'a*/'` relies on.

/// Longest prefix or suffix of a filter in bytes. S3 API reference, "FilterRule".
pub const FILTER_BYTES_MAX: usize = 1024;

/// A prefix and a suffix, ready to match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPattern {
    prefix: String,
    suffix: String,
    /// `prefix*suffix`, where either holds a wildcard.
    glob: Option<Vec<char>>,
}

impl KeyPattern {
    /// Keys that begin with `prefix` and end with `suffix`; an empty one asks for nothing.
    ///
    /// ```
    /// use tidings_notify::KeyPattern;
    /// assert!(KeyPattern::new("images/", ".jpg").matches("images/rose.jpg"));
    /// assert!(!KeyPattern::new("ab", "b").matches("ab"));
    /// assert!(KeyPattern::new("20??/*/raw", "").matches("2026/11/raw/1"));
    /// ```
    pub fn new(prefix: &str, suffix: &str) -> KeyPattern {
        let is_glob = prefix.contains(['*', '?']) || suffix.contains(['*', '?']);
        let glob = is_glob.then(|| format!("{prefix}*{suffix}").chars().collect());
        KeyPattern { prefix: prefix.to_owned(), suffix: suffix.to_owned(), glob }
    }

    /// As [`KeyPattern::new`], where `*` and `?` stand for themselves: so topics mean them.
    pub fn literal(prefix: &str, suffix: &str) -> KeyPattern {
        KeyPattern { prefix: prefix.to_owned(), suffix: suffix.to_owned(), glob: None }
    }

    /// Whether a key is meant.
    pub fn matches(&self, key: &str) -> bool {
        match &self.glob {
            Some(glob) => glob_matches(glob, key),
            None => {
                key.len() >= self.prefix.len() + self.suffix.len()
                    && key.starts_with(&self.prefix)
                    && key.ends_with(&self.suffix)
            }
        }
    }
}

/// Whether a filter's value may stand in a rule: at most [`FILTER_BYTES_MAX`] bytes, no backslash, and no
/// path segment that is `.` or `..`.
pub fn is_filter_value(value: &str) -> bool {
    let has_dots = value.split('/').any(|segment| segment == "." || segment == "..");
    value.len() <= FILTER_BYTES_MAX && !value.contains('\\') && !has_dots
}

/// Matches a glob in which `*` is any run of characters and `?` is one character.
///
/// Where a `*` is followed by something that does not fit, it is tried one character further: at most
/// pattern length × key length steps, both bounded.
fn glob_matches(glob: &[char], key: &str) -> bool {
    let key: Vec<char> = key.chars().collect();
    let (mut at_glob, mut at_key) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while at_key < key.len() {
        match glob.get(at_glob) {
            Some('*') => {
                last_star = Some((at_glob, at_key));
                at_glob += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == key[at_key] => {
                at_glob += 1;
                at_key += 1;
            }
            _ => {
                let Some((star, tried)) = last_star else {
                    return false;
                };
                last_star = Some((star, tried + 1));
                at_glob = star + 1;
                at_key = tried + 1;
            }
        }
    }
    glob[at_glob..].iter().all(|&rest| rest == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{KeyPattern, is_filter_value};

    fn matches(prefix: &str, suffix: &str, key: &str) -> bool {
        KeyPattern::new(prefix, suffix).matches(key)
    }

    #[test]
    fn prefix_and_suffix_do_not_overlap_in_the_key() {
        assert!(!matches("ab", "b", "ab"));
        assert!(matches("ab", "b", "abb"));
        assert!(!matches("a*", "*b", "b"));
    }

    #[test]
    fn stars_and_question_marks_inside_values_are_wildcards() {
        assert!(matches("logs/*/2026", ".gz", "logs/web/2026-11.gz"));
        assert!(!matches("logs/*/2026", ".gz", "logs/2026-11.gz"));
        assert!(matches("", ".jp?g", "rose.jpeg"));
        assert!(!matches("", ".jp?g", "rose.jpg"));
        assert!(matches("?/", "", "ü/rose"));
    }

    #[test]
    fn no_prefix_and_no_suffix_mean_every_key() {
        assert!(matches("", "", "anything"));
        assert!(matches("", "", ""));
    }

    #[test]
    fn a_value_of_1025_bytes_a_backslash_or_a_dot_segment_is_refused() {
        assert!(is_filter_value(&"a".repeat(1024)));
        assert!(!is_filter_value(&"a".repeat(1025)));
        assert!(!is_filter_value("a\\b"));
        assert!(!is_filter_value("../x"));
        assert!(!is_filter_value("a/./b"));
        assert!(is_filter_value(".jpg"));
        assert!(is_filter_value("a..b/.c"));
    }

    proptest! {
        /// Without wildcards a pattern means what `starts_with` and `ends_with` of disjoint parts mean, whichever
        /// way it is computed.
        #[test]
        fn the_quick_way_agrees_with_the_general_one(prefix in "[ab/]{0,3}", suffix in "[ab/]{0,3}", key in "[ab/]{0,6}") {
            let glob: Vec<char> = format!("{prefix}*{suffix}").chars().collect();
            prop_assert_eq!(matches(&prefix, &suffix, &key), super::glob_matches(&glob, &key));
        }

        /// A key matches the pattern made of itself with any of its characters asked for by `?`.
        #[test]
        fn a_key_matches_itself_with_question_marks(key in "[a-cü]{1,8}", at in any::<prop::sample::Index>()) {
            let mut asked: Vec<char> = key.chars().collect();
            let place = at.index(asked.len());
            asked[place] = '?';
            let prefix: String = asked.into_iter().collect();
            prop_assert_eq!(matches(&prefix, "", &key), true);
        }
    }

    use proptest::prelude::prop;
}
