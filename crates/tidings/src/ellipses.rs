//! Drives as they are written on the command line: `/data{1...8}` stands for eight directories.
//!
//! Three dots between two numbers in braces. A leading zero pads to the width of the last number
//! (`{01...16}`), letters `a` to `f` make it hexadecimal (`{00...1f}`), several braces multiply. What a
//! shell expanded itself (`{1..8}`) arrives as plain arguments and means the same.
//!
//! Each argument with a range is a set; arguments without one are one set together. Sets are in the order given.
//! A mixture of both, drives of other machines, and more drives in an argument than a set holds are refused by a
//! sentence, never ignored.

/// Most drives one erasure set may have.
pub const SET_DRIVES_MAX: usize = 16;

/// Most drives an argument may stand for. More than any server has: a slip such as `{1...100000}` is
/// refused before it is written out.
const EXPANDED_DRIVES_MAX: u64 = 1024;

/// Why the drives given do not make a server. Each message is a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Nothing was given, or nothing but blanks.
    #[error("no drive is given")]
    NoDrives,
    /// Braces that are no range.
    #[error("'{argument}' has a range that cannot be read: {reason}")]
    BadRange {
        /// The argument as given.
        argument: String,
        /// What is wrong with it, a clause.
        reason: String,
    },
    /// A URL: drives of other machines.
    #[error("'{argument}' is on another machine; servers that span machines come in a later release")]
    Distributed {
        /// The argument as given.
        argument: String,
    },
    /// Arguments with a range beside arguments without one.
    #[error(
        "'{with}' has a range and '{without}' has none; either each argument is a set, each with a range \
         (a single drive as /mnt/drive{{1...1}}), or all of them are the drives of one set, written out"
    )]
    Mixed {
        /// The first with a range.
        with: String,
        /// The first without one.
        without: String,
    },
    /// More drives in an argument than a set holds.
    #[error(
        "'{argument}' stands for {drives} drives, a set has at most {SET_DRIVES_MAX}; \
         give each set as an argument of its own"
    )]
    TooManyDrives {
        /// The argument, or the first of those that stand for one set.
        argument: String,
        /// Drives given.
        drives: usize,
    },
    /// Another number of drives than the size of sets that was asked for.
    #[error(
        "'{argument}' stands for {drives} drives, and sets of {size} were asked for; \
         give each set as an argument of its own"
    )]
    OtherSize {
        /// The argument, or the first of those that stand for one set.
        argument: String,
        /// Drives given.
        drives: usize,
        /// Drives asked for.
        size: usize,
    },
    /// The same directory twice.
    #[error("'{drive}' is given twice")]
    Twice {
        /// The directory.
        drive: String,
    },
}

/// Turns the arguments (or the words of `MINIO_VOLUMES`) into the directories of each set, in the order given.
///
/// `set_size` is `MINIO_ERASURE_SET_DRIVE_COUNT`: with it set, every set has that size.
///
/// # Errors
///
/// [`LayoutError`], in words for the operator.
///
/// # Source
///
/// MinIO's command line, where each argument with a range is a pool; the order of several ranges is MinIO's
/// too, the first range changes fastest.
///
/// ```
/// # use tidings::ellipses::sets;
/// let given = ["/data{09...11}".to_owned()];
/// assert_eq!(sets(&given, None).unwrap(), [["/data09", "/data10", "/data11"]]);
/// ```
pub fn sets(arguments: &[String], set_size: Option<usize>) -> Result<Vec<Vec<String>>, LayoutError> {
    if let Some(argument) = arguments.iter().find(|argument| is_url(argument)) {
        return Err(LayoutError::Distributed { argument: argument.clone() });
    }
    let (with, without): (Vec<&String>, Vec<&String>) =
        arguments.iter().partition(|argument| argument.contains("..."));
    let sets: Vec<Vec<String>> = match (with.first(), without.first()) {
        (None, None) => return Err(LayoutError::NoDrives),
        (Some(&with), Some(&without)) => {
            return Err(LayoutError::Mixed { with: with.clone(), without: without.clone() });
        }
        (Some(_), None) => arguments.iter().map(|argument| expand(argument)).collect::<Result<_, _>>()?,
        (None, Some(_)) => vec![arguments.to_vec()],
    };
    for (set, argument) in sets.iter().zip(arguments) {
        check_count(argument, set.len(), set_size)?;
    }
    let drives: Vec<&String> = sets.iter().flatten().collect();
    for (at, drive) in drives.iter().enumerate() {
        if drives[..at].iter().any(|before| before.trim_end_matches('/') == drive.trim_end_matches('/')) {
            return Err(LayoutError::Twice { drive: (*drive).clone() });
        }
    }
    Ok(sets)
}

fn is_url(argument: &str) -> bool {
    argument.starts_with("http://") || argument.starts_with("https://")
}

fn check_count(argument: &str, drives: usize, set_size: Option<usize>) -> Result<(), LayoutError> {
    let argument = || argument.to_owned();
    match set_size {
        Some(size) if size != drives => Err(LayoutError::OtherSize { argument: argument(), drives, size }),
        _ if drives > SET_DRIVES_MAX => Err(LayoutError::TooManyDrives { argument: argument(), drives }),
        _ => Ok(()),
    }
}

/// Writes out one argument. One without a range stands for itself.
fn expand(argument: &str) -> Result<Vec<String>, LayoutError> {
    let bad = |reason: String| LayoutError::BadRange { argument: argument.to_owned(), reason };
    let mut expanded = vec![String::new()];
    let mut rest = argument;
    while let Some(dots) = rest.find("...") {
        let open = rest[..dots].rfind('{').ok_or_else(|| bad("'...' stands outside of braces".to_owned()))?;
        let close = rest[dots..].find('}').ok_or_else(|| bad("a brace is not closed".to_owned()))? + dots;
        let labels = range(&rest[open + 1..dots], &rest[dots + 3..close]).map_err(bad)?;
        if (expanded.len() * labels.len()) as u64 > EXPANDED_DRIVES_MAX {
            return Err(bad(format!("it stands for more than {EXPANDED_DRIVES_MAX} drives")));
        }
        let literal = &rest[..open];
        // The first range changes fastest, so that drives of one controller spread over the sets.
        expanded = labels
            .iter()
            .flat_map(|label| expanded.iter().map(move |before| format!("{before}{literal}{label}")))
            .collect();
        rest = &rest[close + 1..];
    }
    if rest.contains(['{', '}']) && rest.len() < argument.len() {
        return Err(bad("a brace is left over".to_owned()));
    }
    Ok(expanded.into_iter().map(|before| before + rest).collect())
}

/// The labels from `first` to `last`, both included.
fn range(first: &str, last: &str) -> Result<Vec<String>, String> {
    let is_decimal = [first, last].iter().all(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let radix = if is_decimal { 10 } else { 16 };
    let parse = |number: &str| {
        u64::from_str_radix(number, radix)
            .ok()
            .filter(|_| !number.starts_with('+'))
            .ok_or_else(|| format!("'{number}' is neither a decimal nor a hexadecimal number"))
    };
    let (from, to) = (parse(first)?, parse(last)?);
    if from > to {
        return Err(format!("it runs backwards, from {first} to {last}"));
    }
    if to - from >= EXPANDED_DRIVES_MAX {
        return Err(format!("it stands for more than {EXPANDED_DRIVES_MAX} drives"));
    }
    let is_padded = [first, last].iter().any(|number| number.len() > 1 && number.starts_with('0'));
    let width = if is_padded { last.len() } else { 0 };
    let label = |number| match is_decimal {
        true => format!("{number:0width$}"),
        false => format!("{number:0width$x}"),
    };
    Ok((from..=to).map(label).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(arguments: &[&str]) -> Result<Vec<Vec<String>>, LayoutError> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        sets(&arguments, None)
    }

    /// The drives of the one set that arguments make.
    fn given(arguments: &[&str]) -> Result<Vec<String>, LayoutError> {
        let mut sets = all(arguments)?;
        assert_eq!(sets.len(), 1, "{arguments:?}");
        Ok(sets.remove(0))
    }

    #[test]
    fn a_range_stands_for_its_drives_in_order() {
        assert_eq!(given(&["d{1...4}"]).unwrap(), ["d1", "d2", "d3", "d4"]);
        assert_eq!(given(&["/m{8...11}/x"]).unwrap(), ["/m8/x", "/m9/x", "/m10/x", "/m11/x"]);
    }

    #[test]
    fn zero_padding_and_hexadecimal_are_kept() {
        assert_eq!(given(&["/d{08...10}"]).unwrap(), ["/d08", "/d09", "/d10"]);
        assert_eq!(given(&["/d{0e...11}"]).unwrap(), ["/d0e", "/d0f", "/d10", "/d11"]);
        assert_eq!(given(&["/d{a...c}"]).unwrap(), ["/da", "/db", "/dc"]);
        assert_eq!(given(&["/d{0...2}"]).unwrap(), ["/d0", "/d1", "/d2"]);
    }

    #[test]
    fn several_ranges_multiply_and_the_first_changes_fastest() {
        assert_eq!(given(&["/{a...b}/d{1...2}"]).unwrap(), ["/a/d1", "/b/d1", "/a/d2", "/b/d2"]);
    }

    #[test]
    fn plain_arguments_form_one_set() {
        assert_eq!(given(&["/a", "/b", "/c{x}"]).unwrap(), ["/a", "/b", "/c{x}"]);
        assert_eq!(given(&["/data"]).unwrap(), ["/data"]);
    }

    #[test]
    fn each_argument_with_a_range_is_a_set_in_the_order_given() {
        let sets = all(&["/b{1...2}", "/a{1...3}", "/c{1...1}"]).unwrap();
        assert_eq!(sets, [vec!["/b1", "/b2"], vec!["/a1", "/a2", "/a3"], vec!["/c1"]]);
        assert_eq!(all(&["/a{1...2}", "/a{2...3}"]), Err(LayoutError::Twice { drive: "/a2".to_owned() }));
    }

    #[test]
    fn what_makes_no_sets_is_refused_by_name() {
        assert_eq!(
            given(&["http://node{1...4}/data"]),
            Err(LayoutError::Distributed { argument: "http://node{1...4}/data".to_owned() })
        );
        let mixed = all(&["/a", "/b{1...4}"]).unwrap_err();
        assert_eq!(mixed, LayoutError::Mixed { with: "/b{1...4}".to_owned(), without: "/a".to_owned() });
        assert!(mixed.to_string().contains("/mnt/drive{1...1}"), "{mixed}");
        let argument = "/a{1...18}".to_owned();
        assert_eq!(given(&["/a{1...18}"]), Err(LayoutError::TooManyDrives { argument, drives: 18 }));
        let argument = "/a{1...8}".to_owned();
        assert_eq!(
            sets(std::slice::from_ref(&argument), Some(4)),
            Err(LayoutError::OtherSize { argument, drives: 8, size: 4 })
        );
    }

    #[test]
    fn a_slip_of_the_pen_is_refused_and_says_where() {
        let reason = |argument: &str| match given(&[argument]) {
            Err(LayoutError::BadRange { reason, .. }) => reason,
            other => panic!("{argument} gave {other:?}"),
        };
        assert_eq!(reason("/d1...4"), "'...' stands outside of braces");
        assert_eq!(reason("/d{1...4"), "a brace is not closed");
        assert_eq!(reason("/d{4...1}"), "it runs backwards, from 4 to 1");
        assert_eq!(reason("/d{1...4}}"), "a brace is left over");
        assert_eq!(reason("/d{1...z}"), "'z' is neither a decimal nor a hexadecimal number");
        assert_eq!(reason("/d{...4}"), "'' is neither a decimal nor a hexadecimal number");
        assert_eq!(reason("/d{1...100000}"), "it stands for more than 1024 drives");
        assert_eq!(given(&[]), Err(LayoutError::NoDrives));
        assert_eq!(given(&["/d", "/d/"]), Err(LayoutError::Twice { drive: "/d/".to_owned() }));
    }
}
