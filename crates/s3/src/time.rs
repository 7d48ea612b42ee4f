//! The four ways S3 writes a moment, each with its parser.
//!
//! A moment is a count since 1970-01-01T00:00:00Z: of seconds in headers and signatures, of
//! milliseconds in XML. Formatting writes digits by hand, because a listing of a thousand keys
//! formats a thousand of them.
//!
//! Bounds: years 1 to 9999; a moment outside is clamped to the nearest one that can be written.

use time::{Date, Month, OffsetDateTime, Time};

/// First second that can be written: 0001-01-01T00:00:00Z.
const UNIX_SECONDS_MIN: i64 = -62_135_596_800;
/// Last second that can be written: 9999-12-31T23:59:59Z.
const UNIX_SECONDS_MAX: i64 = 253_402_300_799;

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Writes a header date: `Thu, 15 Jan 2026 12:00:00 GMT`. RFC 9110 §5.6.7, IMF-fixdate.
pub fn http_date(unix_s: i64) -> String {
    let moment = moment(unix_s);
    let (date, clock) = (moment.date(), moment.time());
    let mut out = String::with_capacity(29);
    out.push_str(WEEKDAYS[usize::from(date.weekday().number_days_from_monday())]);
    out.push_str(", ");
    digits(&mut out, u32::from(date.day()), 2);
    out.push(' ');
    out.push_str(MONTHS[usize::from(u8::from(date.month())) - 1]);
    out.push(' ');
    digits(&mut out, date.year().unsigned_abs(), 4);
    out.push(' ');
    colons(&mut out, clock);
    out.push_str(" GMT");
    out
}

/// Writes the time of an XML document, to the millisecond: `2026-01-15T12:00:00.000Z`.
pub fn iso8601_ms(unix_ms: i64) -> String {
    let moment = moment(unix_ms.div_euclid(1000));
    let date = moment.date();
    let mut out = String::with_capacity(24);
    digits(&mut out, date.year().unsigned_abs(), 4);
    out.push('-');
    digits(&mut out, u32::from(u8::from(date.month())), 2);
    out.push('-');
    digits(&mut out, u32::from(date.day()), 2);
    out.push('T');
    colons(&mut out, moment.time());
    out.push('.');
    digits(&mut out, u32::try_from(unix_ms.rem_euclid(1000)).expect("a remainder of 1000 fits"), 3);
    out.push('Z');
    out
}

/// Writes the time of a signature, basic ISO 8601: `20260115T120000Z`.
pub fn amz_date(unix_s: i64) -> String {
    let moment = moment(unix_s);
    let (date, clock) = (moment.date(), moment.time());
    let mut out = String::with_capacity(16);
    digits(&mut out, date.year().unsigned_abs(), 4);
    digits(&mut out, u32::from(u8::from(date.month())), 2);
    digits(&mut out, u32::from(date.day()), 2);
    out.push('T');
    for part in [clock.hour(), clock.minute(), clock.second()] {
        digits(&mut out, u32::from(part), 2);
    }
    out.push('Z');
    out
}

/// Reads a header date in any of the three forms of RFC 9110 §5.6.7; seconds since 1970.
///
/// The day's name is not compared with the date, and `UTC`, `+0000` and `-0000` are accepted for `GMT`:
/// clients send all of them (botocore the last one, when it signs a `Date`).
pub fn parse_http_date(text: &str) -> Option<i64> {
    let words: Vec<&str> = text.split([' ', ',', '-']).filter(|word| !word.is_empty()).take(7).collect();
    match words.as_slice() {
        // Sun, 06 Nov 1994 08:49:37 GMT and Sunday, 06-Nov-94 08:49:37 GMT
        [_, day, month, year, clock, "GMT" | "UTC" | "+0000" | "0000"] => {
            let year = match number(year)? {
                // RFC 9110: two digits more than 50 years ahead mean the past century.
                short if year.len() == 2 && short < 70 => short + 2000,
                short if year.len() == 2 => short + 1900,
                full if year.len() == 4 => full,
                _ => return None,
            };
            seconds(year, month_number(month)?, number(day)?, parse_clock(clock)?)
        }
        // Sun Nov  6 08:49:37 1994
        [_, month, day, clock, year] if year.len() == 4 => {
            seconds(number(year)?, month_number(month)?, number(day)?, parse_clock(clock)?)
        }
        _ => None,
    }
}

/// Reads the extended ISO 8601 form in UTC, `2026-01-15T12:00:00[.fraction]Z`; milliseconds since
/// 1970, what is finer cut off.
pub fn parse_iso8601_ms(text: &str) -> Option<i64> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 || month.len() != 2 || day.len() != 2 {
        return None;
    }
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let ms = fraction.bytes().chain([b'0'; 2]).take(3).fold(0, |ms, digit| ms * 10 + i64::from(digit - b'0'));
    let s = seconds(number(year)?, number(month)?, number(day)?, parse_clock(clock)?)?;
    Some(s * 1000 + ms)
}

/// Reads the time of a signature, `20260115T120000Z`; seconds since 1970.
pub fn parse_amz_date(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || !text.is_ascii() || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let clock = Time::from_hms(small(&text[9..11])?, small(&text[11..13])?, small(&text[13..15])?).ok()?;
    seconds(number(&text[..4])?, number(&text[4..6])?, number(&text[6..8])?, clock)
}

fn moment(unix_s: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix_s.clamp(UNIX_SECONDS_MIN, UNIX_SECONDS_MAX))
        .expect("the bounds are the bounds of the type")
}

fn seconds(year: u32, month: u32, day: u32, clock: Time) -> Option<i64> {
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok()?;
    Some(date.with_time(clock).assume_utc().unix_timestamp())
}

fn parse_clock(text: &str) -> Option<Time> {
    let mut parts = text.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || [hour, minute, second].iter().any(|part| part.len() != 2) {
        return None;
    }
    Time::from_hms(small(hour)?, small(minute)?, small(second)?).ok()
}

fn month_number(name: &str) -> Option<u32> {
    let index = MONTHS.iter().position(|month| *month == name)?;
    u32::try_from(index + 1).ok()
}

fn number(text: &str) -> Option<u32> {
    let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits_only { text.parse().ok() } else { None }
}

fn small(text: &str) -> Option<u8> {
    number(text).and_then(|value| u8::try_from(value).ok())
}

fn colons(out: &mut String, clock: Time) {
    digits(out, u32::from(clock.hour()), 2);
    out.push(':');
    digits(out, u32::from(clock.minute()), 2);
    out.push(':');
    digits(out, u32::from(clock.second()), 2);
}

fn digits(out: &mut String, value: u32, width: u32) {
    for place in (0..width).rev() {
        let digit = value / 10_u32.pow(place) % 10;
        out.push(char::from_digit(digit, 10).expect("a remainder of ten is a digit"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::{
        UNIX_SECONDS_MAX, UNIX_SECONDS_MIN, amz_date, http_date, iso8601_ms, parse_amz_date, parse_http_date,
        parse_iso8601_ms,
    };

    /// 2026-01-15T12:00:00Z.
    const NOON_S: i64 = 1_768_478_400;

    #[test]
    fn each_form_is_written_as_its_standard_says() {
        assert_eq!(http_date(NOON_S), "Thu, 15 Jan 2026 12:00:00 GMT");
        assert_eq!(amz_date(NOON_S), "20260115T120000Z");
        assert_eq!(iso8601_ms(NOON_S * 1000 + 7), "2026-01-15T12:00:00.007Z");
        assert_eq!(iso8601_ms(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn all_three_header_forms_name_the_same_second() {
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(parse_http_date(text), Some(784_111_777), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_date_is_none() {
        for text in ["", "now", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT", "ä"] {
            assert_eq!(parse_http_date(text), None, "{text}");
        }
        for text in ["20260115T120000", "20260115T126000Z", "2026ä115T12000Z", "+0260115T120000Z"] {
            assert_eq!(parse_amz_date(text), None, "{text}");
        }
        for text in ["2026-01-15T12:00:00", "2026-1-15T12:00:00Z", "2026-01-15T12:00:00.Z", "2026-01-15"] {
            assert_eq!(parse_iso8601_ms(text), None, "{text}");
        }
    }

    #[test]
    fn an_iso_time_may_have_any_fraction() {
        assert_eq!(parse_iso8601_ms("2026-01-15T12:00:00Z"), Some(NOON_S * 1000));
        assert_eq!(parse_iso8601_ms("2026-01-15T12:00:00.5Z"), Some(NOON_S * 1000 + 500));
        assert_eq!(parse_iso8601_ms("2026-01-15T12:00:00.123456Z"), Some(NOON_S * 1000 + 123));
    }

    #[test]
    fn a_moment_outside_the_years_is_clamped() {
        assert_eq!(http_date(i64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(http_date(i64::MIN), "Mon, 01 Jan 0001 00:00:00 GMT");
    }

    proptest! {
        /// Every second that can be written is read back from each of its forms.
        #[test]
        fn a_written_moment_is_read_back(s in UNIX_SECONDS_MIN..=UNIX_SECONDS_MAX) {
            prop_assert_eq!(parse_http_date(&http_date(s)), Some(s));
            prop_assert_eq!(parse_amz_date(&amz_date(s)), Some(s));
            prop_assert_eq!(parse_iso8601_ms(&iso8601_ms(s * 1000)), Some(s * 1000));
        }

        /// No text makes a parser panic.
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = (parse_http_date(&text), parse_amz_date(&text), parse_iso8601_ms(&text));
        }
    }
}
