//! Settings of one server: the command line over the environment over defaults, checked.
//!
//! Made before anything is opened; what cannot be right ends the start here, with a remedy. Settings that
//! are stored (`mc admin config set`) are no part of this: they live in the store and come after it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidings_drives::{Io, Retention};
use tidings_iam as iam;
use tidings_notify::bounds::parse_bytes;
use tidings_notify::target::parse_duration;

use crate::cli::Flags;
use crate::ellipses;
use crate::environment::{Variables, first, is_on};
use crate::fatal::Fatal;

/// Root access key and secret of a server nobody configured, as MinIO's.
pub const DEFAULT_KEY: &str = "minioadmin";

/// Port of the API when none is given.
const DEFAULT_PORT: u16 = 9000;

/// How long requests may go on after SIGTERM: container engines kill ten seconds after it.
const DEFAULT_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a connection may be silent between requests, and how long the head of one may take.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Directory of drives a development server takes when it is there, relative to the working directory.
const DEVELOPMENT_DRIVES: (&str, &str) = ("disks", "disks/d{1...8}");

/// Everything a server is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directories of each set, in order.
    pub sets: Vec<Vec<PathBuf>>,
    /// Parity of new sets when the operator chose it; otherwise it follows the number of drives.
    pub parity: Option<usize>,
    /// How the journals are written.
    pub io: Io,
    /// Changes that are kept for replays when every target has been told.
    pub retention: Retention,
    /// Where to listen.
    pub address: Address,
    /// Who exists: root, with the keys of the environment.
    pub directory: iam::Directory,
    /// Domains for virtual-host style, lower case.
    pub domains: Vec<String>,
    /// The region of the environment; without it the stored one counts.
    pub region: Option<String>,
    /// Where certificates are looked for.
    pub certs_dir: PathBuf,
    /// Bounds of the listener.
    pub timeouts: Timeouts,
    /// Flags that were given and have no effect, for one line of the log.
    pub without_effect: Vec<&'static str>,
    /// The environment as it counts, see `environment.rs`.
    pub environment: Arc<Variables>,
}

/// How a server speaks to its operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// One JSON object per line.
    pub json: bool,
    /// Warnings only.
    pub quiet: bool,
    /// No addresses and users in the banner.
    pub anonymous: bool,
}

/// How long the listener waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For requests under way after a signal; then they are cut.
    pub shutdown: Duration,
    /// For the next request on a connection, and for the rest of a body that stopped coming.
    pub idle: Duration,
    /// For the whole head of a request, and for a TLS handshake.
    pub read_header: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            shutdown: DEFAULT_SHUTDOWN_TIMEOUT,
            idle: DEFAULT_IDLE_TIMEOUT,
            read_header: DEFAULT_IDLE_TIMEOUT,
        }
    }
}

/// `host:port`; the host is empty for every interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address, empty for every interface. An IPv6 address without its brackets.
    pub host: String,
    /// Port; 0 lets the system choose, for tests.
    pub port: u16,
}

impl Address {
    /// Reads `host:port`, `:port` or `[v6]:port`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, a clause.
    pub fn parse(text: &str) -> Result<Address, String> {
        let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("'{text}' has no port"))?;
        let port = port.parse().map_err(|_| format!("'{port}' is no port number"))?;
        let host = match host.strip_prefix('[') {
            Some(v6) => v6.strip_suffix(']').ok_or_else(|| format!("'{host}' has no closing bracket"))?,
            None if host.contains(':') => return Err(format!("'{host}' needs brackets around it")),
            None => host,
        };
        Ok(Address { host: host.to_owned(), port })
    }

    /// Whether it stands for every interface.
    pub fn is_wildcard(&self) -> bool {
        self.host.is_empty() || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }

    /// The socket addresses to bind, in order of preference. For every interface the IPv6 wildcard comes
    /// first and covers IPv4 too; the IPv4 one is the fallback where there is no IPv6.
    ///
    /// # Errors
    ///
    /// A name that does not resolve.
    pub fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        if self.host.is_empty() {
            let wildcards = [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
            return Ok(wildcards.map(|ip| SocketAddr::new(ip, self.port)).to_vec());
        }
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

impl Output {
    /// How to speak, known before anything else so that every later failure is told in this way.
    pub fn new(flags: &Flags, environment: &Variables) -> Output {
        Output {
            json: flags.json || is_on(environment, "MINIO_JSON"),
            quiet: flags.quiet || is_on(environment, "MINIO_QUIET"),
            anonymous: flags.anonymous || is_on(environment, "MINIO_ANONYMOUS"),
        }
    }
}

impl Settings {
    /// Whether root has the keys everybody knows.
    pub fn has_default_keys(&self) -> bool {
        let root = self.directory.root();
        root.access_key == DEFAULT_KEY && root.secret.reveal() == DEFAULT_KEY
    }

    /// Settles command line and environment. `environment` is the effective one of `environment.rs`,
    /// `drives` what stood on the command line.
    ///
    /// `None` when there is nothing to serve: no drive is named anywhere and there is no `./disks`.
    ///
    /// # Errors
    ///
    /// [`Fatal`] with a remedy for whatever cannot be right.
    pub fn new(flags: &Flags, drives: &[String], environment: Variables) -> Result<Option<Settings>, Fatal> {
        if let Some(flag) = flags.refused.given().first() {
            return Err(Fatal::new("Unable to read the command line", format!("{flag} is not supported"))
                .remedy("Start without it; this server has no such feature yet."));
        }
        let set_size = set_size(&environment)?;
        let Some(given) = given_drives(drives, &environment) else {
            return Ok(None);
        };
        let sets = ellipses::sets(&given, set_size).map_err(|error| {
            Fatal::new("Unable to use the drives given", error)
                .remedy("Give the directories of each set: tidings server /mnt/drive{1...8}")
        })?;
        let sets: Vec<Vec<PathBuf>> =
            sets.into_iter().map(|drives| drives.into_iter().map(PathBuf::from).collect()).collect();
        let smallest = sets.iter().map(Vec::len).min().unwrap_or_default();
        let parity = parity(&environment, smallest)?;
        Ok(Some(Settings {
            parity,
            io: io(&environment)?,
            retention: retention(&environment)?,
            sets,
            address: address(flags, &environment)?,
            directory: root_keys(&environment)?,
            domains: domains(&environment),
            region: first(&environment, &["MINIO_SITE_REGION", "MINIO_REGION", "MINIO_REGION_NAME"])
                .map(str::to_owned),
            certs_dir: certs_dir(flags, &environment),
            timeouts: timeouts(flags)?,
            without_effect: flags.without_effect.given(),
            environment: Arc::new(environment),
        }))
    }
}

/// The drives of the command line, else of the environment, else those of a development server.
fn given_drives(drives: &[String], environment: &Variables) -> Option<Vec<String>> {
    if !drives.is_empty() {
        return Some(drives.to_vec());
    }
    if let Some(volumes) = first(environment, &["MINIO_VOLUMES", "MINIO_ARGS", "MINIO_ENDPOINTS"]) {
        return Some(volumes.split_whitespace().map(str::to_owned).collect());
    }
    let (directory, volumes) = DEVELOPMENT_DRIVES;
    std::path::Path::new(directory).is_dir().then(|| vec![volumes.to_owned()])
}

fn set_size(environment: &Variables) -> Result<Option<usize>, Fatal> {
    let name = "MINIO_ERASURE_SET_DRIVE_COUNT";
    let Some(text) = first(environment, &[name]) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(0) => Ok(None),
        Ok(size) if size <= ellipses::SET_DRIVES_MAX => Ok(Some(size)),
        _ => Err(Fatal::new(format!("Invalid value in {name}"), format!("'{text}' is no set size")).remedy(
            format!("Give the number of drives, at most {}, or leave it out.", ellipses::SET_DRIVES_MAX),
        )),
    }
}

/// How the journals are written. MinIO has no such name; it stands here as every other does.
fn io(environment: &Variables) -> Result<Io, Fatal> {
    match first(environment, &["MINIO_IO"]) {
        None | Some("auto") => Ok(Io::Auto),
        Some("threads") => Ok(Io::Threads),
        Some("uring") => Ok(Io::Uring),
        Some(text) => {
            let reason = format!("'{text}' is none of auto, threads and uring");
            let fatal = Fatal::new("Invalid value in TIDINGS_IO", reason);
            Err(fatal.remedy("Give one of them, or leave it out."))
        }
    }
}

/// How much of the past is kept: a time, a size, or both with a comma between them.
fn retention(environment: &Variables) -> Result<Retention, Fatal> {
    let Some(text) = first(environment, &["MINIO_EVENTS_RETAIN"]) else {
        return Ok(Retention::default());
    };
    let invalid = |reason: String| {
        let fatal = Fatal::new("Invalid value in TIDINGS_EVENTS_RETAIN", reason);
        fatal.remedy("Give a time such as 24h, a size such as 1GiB, or both: 24h,1GiB.")
    };
    let mut retention = Retention { age: None, bytes: None };
    for bound in text.split(',') {
        let is_new = match (parse_bytes(bound), parse_duration(bound)) {
            (Some(bytes), _) => retention.bytes.replace(bytes).is_none(),
            (None, Some(age)) => retention.age.replace(age).is_none(),
            (None, None) => return Err(invalid(format!("'{bound}' is neither a time nor a size"))),
        };
        if !is_new {
            return Err(invalid(format!("'{text}' has two times or two sizes")));
        }
    }
    Ok(retention)
}

/// `EC:n` with n at most half of the drives of the smallest set.
fn parity(environment: &Variables, drives: usize) -> Result<Option<usize>, Fatal> {
    let standard = storage_class(environment, "MINIO_STORAGE_CLASS_STANDARD", drives)?;
    let reduced = storage_class(environment, "MINIO_STORAGE_CLASS_RRS", drives)?;
    if let (Some(standard), Some(reduced)) = (standard, reduced)
        && standard < reduced
    {
        return Err(Fatal::new(
            "Invalid storage classes",
            format!("the parity of STANDARD, {standard}, is below that of RRS, {reduced}"),
        )
        .remedy("Give MINIO_STORAGE_CLASS_STANDARD the larger number."));
    }
    Ok(standard)
}

fn storage_class(environment: &Variables, name: &str, drives: usize) -> Result<Option<usize>, Fatal> {
    let Some(text) = first(environment, &[name]) else {
        return Ok(None);
    };
    let invalid = |reason: String| {
        Fatal::new(format!("Invalid value in {name}"), reason)
            .remedy(format!("Give EC:n with n between 0 and {}, half of the {drives} drives.", drives / 2))
    };
    let parity = text
        .strip_prefix("EC:")
        .and_then(|number| number.parse::<usize>().ok())
        .ok_or_else(|| invalid(format!("'{text}' is not of the form EC:n")))?;
    if parity > drives / 2 {
        return Err(invalid(format!("parity {parity} is more than half of {drives} drives")));
    }
    Ok(Some(parity))
}

fn address(flags: &Flags, environment: &Variables) -> Result<Address, Fatal> {
    let Some(text) = flags.address.as_deref().or_else(|| first(environment, &["MINIO_ADDRESS"])) else {
        return Ok(Address { host: String::new(), port: DEFAULT_PORT });
    };
    Address::parse(text).map_err(|reason| {
        Fatal::new("Unable to use the address given", reason).remedy("Give --address as HOST:PORT or :PORT.")
    })
}

/// The new pair of variables, else the old one, else the default. Half a pair is a mistake: the other half
/// would be the one everybody knows.
fn root_keys(environment: &Variables) -> Result<iam::Directory, Fatal> {
    let pairs = [("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"), ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY")];
    let value = |name: &str| environment.get(name).cloned().unwrap_or_default();
    let given = pairs.iter().find(|(user, password)| !value(user).is_empty() || !value(password).is_empty());
    let (user_name, password_name) = given.copied().unwrap_or(pairs[0]);
    let (user, password) = match given {
        Some(_) => (value(user_name), value(password_name)),
        None => (DEFAULT_KEY.to_owned(), DEFAULT_KEY.to_owned()),
    };
    iam::Directory::of_root(user, iam::Secret::new(password)).map_err(|error| {
        Fatal::new("Unable to validate the root credentials of the environment", error)
            .remedy(format!("Set both {user_name} and {password_name} and start again."))
            .hint(format!(
                "{user_name} has at least {} characters, {password_name} at least {}",
                iam::ACCESS_KEY_CHARS_MIN,
                iam::SECRET_KEY_CHARS_MIN
            ))
    })
}

fn domains(environment: &Variables) -> Vec<String> {
    let text = first(environment, &["MINIO_DOMAIN"]).unwrap_or_default();
    let domains = text.split(',').map(|domain| domain.trim().trim_matches('.').to_ascii_lowercase());
    domains.filter(|domain| !domain.is_empty()).collect()
}

/// Where certificates are looked for: the flag, else our own directory if it is there, else MinIO's.
pub(crate) fn certs_dir(flags: &Flags, environment: &Variables) -> PathBuf {
    if let Some(directory) = &flags.certs_dir {
        return PathBuf::from(directory);
    }
    let home = PathBuf::from(environment.get("HOME").map_or("/", String::as_str));
    let own = home.join(".tidings/certs");
    if own.is_dir() { own } else { home.join(".minio/certs") }
}

fn timeouts(flags: &Flags) -> Result<Timeouts, Fatal> {
    let default = Timeouts::default();
    Ok(Timeouts {
        shutdown: duration("--shutdown-timeout", flags.shutdown_timeout.as_deref(), default.shutdown)?,
        idle: duration("--idle-timeout", flags.idle_timeout.as_deref(), default.idle)?,
        read_header: duration(
            "--read-header-timeout",
            flags.read_header_timeout.as_deref(),
            default.read_header,
        )?,
    })
}

/// `10s`, `1m30s`, `500ms`: Go's form without fractions.
fn duration(flag: &str, text: Option<&str>, default: Duration) -> Result<Duration, Fatal> {
    let Some(text) = text else { return Ok(default) };
    let invalid = || {
        Fatal::new("Unable to read the command line", format!("{flag} '{text}' is no duration"))
            .remedy("Give it as 500ms, 10s or 1m30s.")
    };
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u32 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match &rest[..letters] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return Err(invalid()),
        };
        total += unit * number;
        rest = &rest[letters..];
    }
    if total.is_zero() { Err(invalid()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn settings(flags: &Flags, pairs: &[(&str, &str)]) -> Result<Settings, Fatal> {
        let drives = ["/d{1...4}".to_owned()];
        Settings::new(flags, &drives, environment(pairs)).map(|settings| settings.expect("drives are given"))
    }

    #[test]
    fn without_anything_it_is_minioadmin_on_port_9000() {
        let settings = settings(&Flags::default(), &[("HOME", "/nowhere")]).unwrap();
        assert!(settings.has_default_keys());
        assert_eq!(settings.address, Address { host: String::new(), port: 9000 });
        assert_eq!(settings.sets, [["/d1", "/d2", "/d3", "/d4"].map(PathBuf::from)]);
        assert_eq!(settings.certs_dir, PathBuf::from("/nowhere/.minio/certs"));
        assert_eq!(settings.parity, None);
        assert_eq!(settings.region, None);
        assert_eq!(settings.timeouts, Timeouts::default());
    }

    #[test]
    fn the_directory_of_our_own_name_wins_over_minios_for_certificates() {
        let home = tempfile::tempdir().unwrap();
        let own = home.path().join(".tidings/certs");
        std::fs::create_dir_all(&own).unwrap();
        let pairs = [("HOME", home.path().to_str().unwrap())];
        assert_eq!(settings(&Flags::default(), &pairs).unwrap().certs_dir, own);
        let flags = Flags { certs_dir: Some("/certs".to_owned()), ..Flags::default() };
        assert_eq!(settings(&flags, &pairs).unwrap().certs_dir, PathBuf::from("/certs"));
    }

    #[test]
    fn a_flag_wins_over_its_variable() {
        let flags = Flags { address: Some("127.0.0.1:9010".to_owned()), ..Flags::default() };
        let pairs = [("MINIO_ADDRESS", ":9020")];
        assert_eq!(settings(&flags, &pairs).unwrap().address.port, 9010);
        assert_eq!(settings(&Flags::default(), &pairs).unwrap().address.port, 9020);
        let output =
            Output::new(&Flags::default(), &environment(&[("MINIO_JSON", "on"), ("MINIO_QUIET", "off")]));
        assert_eq!(output, Output { json: true, ..Output::default() });
    }

    #[test]
    fn the_new_root_pair_wins_over_the_old_one_which_still_counts() {
        let old = [("MINIO_ACCESS_KEY", "oldkey"), ("MINIO_SECRET_KEY", "oldsecret")];
        let root = |pairs: &[(&str, &str)]| {
            let settings = settings(&Flags::default(), pairs).unwrap();
            assert!(!settings.has_default_keys());
            let root = settings.directory.root();
            (root.access_key.clone(), root.secret.reveal().to_owned())
        };
        assert_eq!(root(&old), ("oldkey".to_owned(), "oldsecret".to_owned()));
        let both =
            [&old[..], &[("MINIO_ROOT_USER", "newkey"), ("MINIO_ROOT_PASSWORD", "newsecret")]].concat();
        assert_eq!(root(&both), ("newkey".to_owned(), "newsecret".to_owned()));
    }

    #[test]
    fn a_key_too_short_is_refused_with_a_hint_that_names_both_variables() {
        for pairs in [
            [("MINIO_ROOT_USER", "ab"), ("MINIO_ROOT_PASSWORD", "longenough")],
            [("MINIO_ROOT_USER", "abc"), ("MINIO_ROOT_PASSWORD", "short")],
            [("MINIO_ROOT_USER", "abc"), ("MINIO_ROOT_PASSWORD", "")],
        ] {
            let fatal = settings(&Flags::default(), &pairs).unwrap_err();
            assert_eq!(
                fatal.hint,
                "MINIO_ROOT_USER has at least 3 characters, MINIO_ROOT_PASSWORD at least 8"
            );
            assert!(!fatal.lines().contains("short"), "a secret is not printed");
        }
    }

    #[test]
    fn parity_is_at_most_half_of_the_drives() {
        let with = |value| settings(&Flags::default(), &[("MINIO_STORAGE_CLASS_STANDARD", value)]);
        assert_eq!(with("EC:1").unwrap().parity, Some(1));
        assert_eq!(with("EC:0").unwrap().parity, Some(0));
        assert_eq!(with("EC:3").unwrap_err().reason, "parity 3 is more than half of 4 drives");
        assert_eq!(with("4").unwrap_err().reason, "'4' is not of the form EC:n");
    }

    #[test]
    fn the_journal_is_written_through_a_ring_where_there_is_one_unless_the_environment_says_otherwise() {
        let with = |pairs: &[(&str, &str)]| settings(&Flags::default(), pairs);
        for (value, io) in [("auto", Io::Auto), ("threads", Io::Threads), ("uring", Io::Uring)] {
            assert_eq!(with(&[("MINIO_IO", value)]).unwrap().io, io);
        }
        assert_eq!(with(&[]).unwrap().io, Io::Auto);
        let reason = "'sqpoll' is none of auto, threads and uring";
        assert_eq!(with(&[("MINIO_IO", "sqpoll")]).unwrap_err().reason, reason);
    }

    #[test]
    fn the_past_is_kept_for_a_time_or_a_size_or_both() {
        let with = |value: &str| {
            let settings = settings(&Flags::default(), &[("MINIO_EVENTS_RETAIN", value)]);
            settings.map(|settings| settings.retention).map_err(|fatal| fatal.reason)
        };
        let (age, bytes) = (Some(Duration::from_secs(90 * 60)), Some(2 << 30));
        assert_eq!(with("1h30m"), Ok(Retention { age, bytes: None }));
        assert_eq!(with("2GiB"), Ok(Retention { age: None, bytes }));
        assert_eq!(with("2GiB,1h30m"), Ok(Retention { age, bytes }));
        assert_eq!(settings(&Flags::default(), &[]).unwrap().retention, Retention::default());
        assert_eq!(with("a day"), Err("'a day' is neither a time nor a size".to_owned()));
        assert_eq!(with("24h,"), Err("'' is neither a time nor a size".to_owned()));
        assert_eq!(with("24h,48h"), Err("'24h,48h' has two times or two sizes".to_owned()));
    }

    #[test]
    fn drives_come_from_the_first_variable_that_names_some() {
        let of = |pairs: &[(&str, &str)]| {
            let settings = Settings::new(&Flags::default(), &[], environment(pairs)).unwrap().unwrap();
            settings.sets
        };
        assert_eq!(
            of(&[("MINIO_VOLUMES", "/a /b"), ("MINIO_ARGS", "/c")]),
            [["/a", "/b"].map(PathBuf::from)]
        );
        assert_eq!(of(&[("MINIO_ENDPOINTS", "/e{1...2}")]), [["/e1", "/e2"].map(PathBuf::from)]);
        let two = of(&[("MINIO_VOLUMES", "/e{1...2} /f{1...2}")]);
        assert_eq!(two, [["/e1", "/e2"], ["/f1", "/f2"]].map(|set| set.map(PathBuf::from)));
    }

    #[test]
    fn domains_are_a_lower_case_list_and_regions_have_three_names() {
        let pairs =
            [("MINIO_DOMAIN", "S3.Example.com, .b.c,"), ("MINIO_REGION", "eu"), ("MINIO_REGION_NAME", "us")];
        let settings = settings(&Flags::default(), &pairs).unwrap();
        assert_eq!(settings.domains, ["s3.example.com", "b.c"]);
        assert_eq!(settings.region.as_deref(), Some("eu"));
    }

    #[test]
    fn addresses_have_a_port_and_ipv6_has_brackets() {
        let address = |text| Address::parse(text).unwrap();
        assert_eq!(address(":9000"), Address { host: String::new(), port: 9000 });
        assert_eq!(address("[::1]:80"), Address { host: "::1".to_owned(), port: 80 });
        assert!(address("0.0.0.0:80").is_wildcard());
        assert_eq!(Address::parse("9000"), Err("'9000' has no port".to_owned()));
        assert_eq!(Address::parse("a:x"), Err("'x' is no port number".to_owned()));
        assert_eq!(Address::parse("::1:80"), Err("'::1' needs brackets around it".to_owned()));
    }

    #[test]
    fn durations_are_gos() {
        let of = |text| duration("--idle-timeout", Some(text), Duration::ZERO);
        assert_eq!(of("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(of("500ms").unwrap(), Duration::from_millis(500));
        assert!(of("10").is_err() && of("0s").is_err() && of("x").is_err());
    }

    #[test]
    fn a_flag_for_a_feature_that_is_absent_is_refused_by_name() {
        let mut flags = Flags::default();
        flags.refused.sftp = vec!["address=:8022".to_owned()];
        assert_eq!(settings(&flags, &[]).unwrap_err().reason, "--sftp is not supported");
    }
}
