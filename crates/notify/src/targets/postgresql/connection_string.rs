//! Where a PostgreSQL server is and how to log in: libpq's `word=value …` or a `postgres://` URL.
//!
//! The client library reads all but the words about TLS, which mean here what they mean to libpq:
//!
//! | `sslmode` | encrypted | the server's certificate |
//! |---|---|---|
//! | `disable` | no | |
//! | `allow`, `prefer` | if the server can | not checked |
//! | `require`, also when nothing is said | yes | not checked; with `sslrootcert` as `verify-ca` |
//! | `verify-ca` | yes | signed by somebody trusted |
//! | `verify-full` | yes | and for this host |
//!
//! `sslrootcert` names the roots to trust instead of the others, `system` those that every target trusts, which asks
//! for `verify-full`; `sslcert` and `sslkey` name our own certificate.
//! That nothing said means `require` is the Go client's reading, which MinIO uses, and not libpq's `prefer`.
//!
//! As with the Go client the words of [`OF_THE_SESSION`] are parameters of each session; others are set by `options`.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use crate::tls::{Check, Tls};

/// What a connection string says.
pub(super) struct Connection {
    pub(super) config: Config,
    /// Absent for a connection in the clear.
    pub(super) tls: Option<Tls>,
}

impl Connection {
    /// Reads a connection string.
    ///
    /// # Errors
    ///
    /// A sentence that names the key and quotes no value, since one is the password.
    pub(super) fn parse(text: &str) -> Result<Connection, String> {
        let (words, config) = if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            let (words, rest) = of_url(text);
            (words, rest.parse::<Config>())
        } else {
            let (words, rest): (Vec<_>, Vec<_>) =
                words(text)?.into_iter().partition(|(word, _)| is_ours(word));
            (words, rest.iter().map(quoted).collect::<String>().parse::<Config>())
        };
        let mut config = config.map_err(|error| format!("connection_string cannot be read: {error}"))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host("localhost");
        }
        begin_sessions(&mut config, &words);
        let (mode, tls) = tls(&words)?;
        config.ssl_mode(mode);
        Ok(Connection { config, tls })
    }
}

type Word = (String, String);

/// Parameters of the server that stand as words of their own.
const OF_THE_SESSION: [&str; 10] = [
    "DateStyle",
    "TimeZone",
    "datestyle",
    "idle_in_transaction_session_timeout",
    "lock_timeout",
    "role",
    "search_path",
    "synchronous_commit",
    "timezone",
    "work_mem",
];

/// What the session is called where `application_name` does not say.
const FALLBACK_NAME: &str = "fallback_application_name";

/// Whether a word is read here and not by the client library.
fn is_ours(word: &str) -> bool {
    let is_of_tls = matches!(word, "sslmode" | "sslrootcert" | "sslcert" | "sslkey");
    is_of_tls || word == FALLBACK_NAME || OF_THE_SESSION.contains(&word)
}

/// Adds what each session begins with.
fn begin_sessions(config: &mut Config, words: &[Word]) {
    let mut options = config.get_options().unwrap_or_default().to_owned();
    for (word, value) in words {
        if OF_THE_SESSION.contains(&word.as_str()) {
            let value = value.replace('\\', "\\\\").replace(' ', "\\ ");
            options += &format!(" -c {word}={value}");
        }
    }
    if !options.is_empty() {
        config.options(options.trim_start());
    }
    if let Some((_, name)) = words.iter().rfind(|(word, _)| word == FALLBACK_NAME)
        && config.get_application_name().is_none()
    {
        config.application_name(name);
    }
}

/// The words of a URL's query that are read here, and the URL without them.
fn of_url(url: &str) -> (Vec<Word>, String) {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let (ours, rest): (Vec<&str>, Vec<&str>) =
        pairs.partition(|pair| is_ours(pair.split('=').next().unwrap_or("")));
    let decoded = |pair: &str| {
        let (word, value) = pair.split_once('=').unwrap_or((pair, ""));
        (word.to_owned(), percent_decode_str(value).decode_utf8_lossy().into_owned())
    };
    (ours.into_iter().map(decoded).collect(), format!("{base}?{}", rest.join("&")))
}

/// `word=value …`: a value may stand in single quotes, and a backslash takes the next character as it is.
fn words(text: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = rest
            .split_once('=')
            .ok_or("connection_string has a word without a value, words are word=value")?;
        let mut value = String::new();
        let after = after.trim_start();
        let is_quoted = after.starts_with('\'');
        let mut characters = after[usize::from(is_quoted)..].chars();
        loop {
            match characters.next() {
                Some('\'') if is_quoted => break,
                None if is_quoted => {
                    return Err("connection_string has a quote that is not closed".to_owned());
                }
                Some('\\') => value.extend(characters.next()),
                Some(character) if is_quoted || !character.is_whitespace() => value.push(character),
                _ => break,
            }
        }
        words.push((word.trim().to_owned(), value));
        rest = characters.as_str().trim_start();
    }
    Ok(words)
}

fn quoted((word, value): &Word) -> String {
    format!("{word}='{}' ", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn tls(words: &[Word]) -> Result<(SslMode, Option<Tls>), String> {
    let value = |word: &str| words.iter().rfind(|(name, _)| name == word).map_or("", |(_, value)| value);
    let path = |word: &str| Some(value(word)).filter(|path| !path.is_empty()).map(PathBuf::from);
    let is_system = value("sslrootcert") == "system";
    let authority = path("sslrootcert").filter(|_| !is_system);
    let (mode, check) = match value("sslmode") {
        "" | "verify-full" if is_system => (SslMode::Require, Check::All),
        _ if is_system => {
            return Err(
                "connection_string has sslrootcert=system, which takes sslmode=verify-full".to_owned()
            );
        }
        "disable" => return Ok((SslMode::Disable, None)),
        "allow" | "prefer" => (SslMode::Prefer, Check::Nothing),
        "" | "require" if authority.is_none() => (SslMode::Require, Check::Nothing),
        "" | "require" | "verify-ca" => (SslMode::Require, Check::Signature),
        "verify-full" => (SslMode::Require, Check::All),
        other => {
            return Err(format!(
                "connection_string has sslmode={other}, known are disable, allow, prefer, require, verify-ca and verify-full"
            ));
        }
    };
    let own = match (path("sslcert"), path("sslkey")) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => return Err("connection_string must have both sslcert and sslkey or neither".to_owned()),
    };
    Ok((mode, Some(Tls { check, authority, own })))
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::{Host, SslMode};

    use super::Connection;
    use crate::tls::{Check, Tls};

    fn read(text: &str) -> Connection {
        Connection::parse(text).unwrap()
    }

    #[test]
    fn words_and_urls_say_the_same() {
        let texts = [
            r"host=db port=5433 user=u password='it\'s \\ geheim' dbname=events sslmode = disable",
            "postgres://u:it%27s%20%5C%20geheim@db:5433/events?sslmode=disable&connect_timeout=3",
        ];
        for config in texts.map(|text| read(text).config) {
            assert_eq!(config.get_hosts(), [Host::Tcp("db".to_owned())]);
            assert_eq!((config.get_ports(), config.get_dbname()), (&[5433][..], Some("events")));
            assert_eq!(config.get_password(), Some(&br"it's \ geheim"[..]));
            assert_eq!(config.get_ssl_mode(), SslMode::Disable);
        }
    }

    #[test]
    fn sslmode_means_what_it_means_to_libpq() {
        let checked = |words: &str| read(words).tls.map(|tls| tls.check);
        assert_eq!(checked("host=db sslmode=disable"), None);
        assert_eq!(checked("host=db sslmode=prefer"), Some(Check::Nothing));
        assert_eq!(checked("host=db"), Some(Check::Nothing));
        assert_eq!(checked("host=db sslmode=require sslrootcert=/ca"), Some(Check::Signature));
        assert_eq!(checked("host=db sslmode=verify-ca"), Some(Check::Signature));
        let own = Some(("/c".into(), "/k".into()));
        assert_eq!(
            read("sslmode=verify-full sslrootcert=/ca sslcert=/c sslkey=/k").tls,
            Some(Tls { check: Check::All, authority: Some("/ca".into()), own })
        );
        assert_eq!(read("sslmode=verify-full").config.get_ssl_mode(), SslMode::Require);
        assert_eq!(
            read("sslrootcert=system").tls,
            Some(Tls { check: Check::All, authority: None, own: None })
        );
    }

    #[test]
    fn parameters_of_the_session_are_options_of_its_beginning() {
        let texts = [
            r"search_path='a b,c' options='-c work_mem=1MB' role=writer fallback_application_name=store",
            "postgres://db?options=-c%20work_mem%3D1MB&search_path=a%20b,c&role=writer&fallback_application_name=store",
        ];
        for config in texts.map(|text| read(text).config) {
            assert_eq!(config.get_options(), Some(r"-c work_mem=1MB -c search_path=a\ b,c -c role=writer"));
            assert_eq!(config.get_application_name(), Some("store"));
        }
        let named = read("application_name=own fallback_application_name=store").config;
        assert_eq!((named.get_application_name(), named.get_options()), (Some("own"), None));
    }

    #[test]
    fn what_cannot_be_read_is_told_without_a_secret() {
        let told = |text: &str| Connection::parse(text).err().unwrap();
        let all = [
            told("host=db password='geheim"),
            told("host=db geheim"),
            told("password=geheim port=x"),
            told("password=geheim colour=red"),
            told("postgres://u:geheim@db:x/events"),
            told("password=geheim sslmode=maybe"),
            told("password=geheim sslcert=/c"),
            told("password=geheim sslrootcert=system sslmode=require"),
        ];
        assert!(all.iter().all(|text| text.starts_with("connection_string ")), "{all:?}");
        assert!(!all.iter().any(|text| text.contains("geheim")), "{all:?}");
    }
}
