//! Drives as they are written on the command line: `/data{1...8}` stands for eight directories.
//!
//! Three dots between two numbers in braces. A leading zero pads to the width of the last number
//! (`{01...16}`), letters `a` to `f` make it hexadecimal (`{00...1f}`), several braces multiply. What a
//! shell expanded itself (`{1..8}`) arrives as plain arguments and means the same.
//!
//! One erasure set on one machine is what a server can be today: a second pool, a second set and drives
//! of other machines are refused by a sentence, never ignored.

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
    /// Several arguments of which at least one has a range.
    #[error(
        "{count} pools are given (each argument with {{...}} is one); more than one pool comes in a later release"
    )]
    SeveralPools {
        /// How many.
        count: usize,
    },
    /// More drives than a set holds, in a number that divides into sets.
    #[error(
        "{drives} drives make {sets} sets of {size}; more than one set comes in a later release, \
         give at most {SET_DRIVES_MAX} drives"
    )]
    SeveralSets {
        /// Drives given.
        drives: usize,
        /// Sets they would make.
        sets: usize,
        /// Drives of each set.
        size: usize,
    },
    /// More drives than a set holds, in a number that no set size divides.
    #[error("{drives} drives cannot be divided into sets of 2 to {SET_DRIVES_MAX} drives")]
    Indivisible {
        /// Drives given.
        drives: usize,
    },
    /// The same directory twice.
    #[error("'{drive}' is given twice")]
    Twice {
        /// The directory.
        drive: String,
    },
}

/// Turns the arguments (or the words of `MINIO_VOLUMES`) into the directories of one set, in set order.
///
/// `set_size` is `MINIO_ERASURE_SET_DRIVE_COUNT`: with it set, only a set of that size is one set.
///
/// # Errors
///
/// [`LayoutError`], in words for the operator.
///
/// # Source
///
/// MinIO's command line; the order of several ranges is MinIO's too, the first range changes fastest.
///
/// ```
/// # use tidings::ellipses::drives;
/// let given = ["/data{09...11}".to_owned()];
/// assert_eq!(drives(&given, None).unwrap(), ["/data09", "/data10", "/data11"]);
/// ```
pub fn drives(arguments: &[String], set_size: Option<usize>) -> Result<Vec<String>, LayoutError> {
    if let Some(argument) = arguments.iter().find(|argument| is_url(argument)) {
        return Err(LayoutError::Distributed { argument: argument.clone() });
    }
    let ranged = arguments.iter().filter(|argument| argument.contains("...")).count();
    let pools = ranged + usize::from(ranged < arguments.len());
    if pools > 1 {
        return Err(LayoutError::SeveralPools { count: pools });
    }
    let mut drives = Vec::new();
    for argument in arguments {
        drives.extend(expand(argument)?);
    }
    if drives.is_empty() {
        return Err(LayoutError::NoDrives);
    }
    check_count(drives.len(), set_size)?;
    for (at, drive) in drives.iter().enumerate() {
        if drives[..at].iter().any(|before| before.trim_end_matches('/') == drive.trim_end_matches('/')) {
            return Err(LayoutError::Twice { drive: drive.clone() });
        }
    }
    Ok(drives)
}

fn is_url(argument: &str) -> bool {
    argument.starts_with("http://") || argument.starts_with("https://")
}

/// One set has 1 drive, or as many as the largest divisor of the count between 2 and 16.
fn check_count(drives: usize, set_size: Option<usize>) -> Result<(), LayoutError> {
    let size = match set_size {
        Some(size) if size > 0 && drives.is_multiple_of(size) && size <= SET_DRIVES_MAX => size,
        Some(_) => return Err(LayoutError::Indivisible { drives }),
        None if drives <= SET_DRIVES_MAX => drives,
        None => (2..=SET_DRIVES_MAX)
            .rev()
            .find(|size| drives.is_multiple_of(*size))
            .ok_or(LayoutError::Indivisible { drives })?,
    };
    match drives / size {
        1 => Ok(()),
        sets => Err(LayoutError::SeveralSets { drives, sets, size }),
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

    fn given(arguments: &[&str]) -> Result<Vec<String>, LayoutError> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        drives(&arguments, None)
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
    fn what_comes_later_is_refused_by_name() {
        assert_eq!(
            given(&["http://node{1...4}/data"]),
            Err(LayoutError::Distributed { argument: "http://node{1...4}/data".to_owned() })
        );
        assert_eq!(given(&["/a{1...4}", "/b{1...4}"]), Err(LayoutError::SeveralPools { count: 2 }));
        assert_eq!(given(&["/a{1...4}", "/b"]), Err(LayoutError::SeveralPools { count: 2 }));
        assert_eq!(given(&["/a{1...18}"]), Err(LayoutError::SeveralSets { drives: 18, sets: 2, size: 9 }));
        assert_eq!(given(&["/a{1...17}"]), Err(LayoutError::Indivisible { drives: 17 }));
        assert_eq!(
            drives(&["/a{1...8}".to_owned()], Some(4)),
            Err(LayoutError::SeveralSets { drives: 8, sets: 2, size: 4 })
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
