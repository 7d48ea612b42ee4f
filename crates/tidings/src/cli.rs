//! The command line: MinIO's, flag for flag, for a server on one machine.
//!
//! Global flags stand before or after `server`, before or after the drives; one dash does for two, as in
//! Go programs. The binary behaves the same under the name `minio`, and a first argument `minio` or
//! `tidings` is passed over, so that `docker run IMAGE minio server /data` works without a script.
//!
//! Nothing here reads the environment or prints: what a flag means together with a variable is decided in
//! `config.rs`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

/// What the command line asks for.
#[derive(Debug, Parser)]
#[command(
    name = "tidings",
    version,
    about = "S3-compatible object storage that tells what changed",
    after_help = ENVIRONMENT_HELP,
    disable_help_subcommand = true
)]
pub struct CommandLine {
    /// Flags of every command.
    #[command(flatten)]
    pub flags: Flags,
    /// What to do; without it, `server` over the drives of the environment.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Serve objects from one or more drives
    Server {
        /// Directories, one per drive: /data{1...8} stands for eight. Created when missing. Each argument with
        /// {...} is a set of its own; a further one is added behind those that are there
        #[arg(value_name = "DRIVE")]
        drives: Vec<String>,
    },
    /// Read every copy of everything, on drives that no server has open or on those of a running server, and say
    /// what is short: exit status 0 if nothing is, 1 if parity makes up for it, 2 if something is lost, 3 if the
    /// drives cannot be looked at
    Verify {
        /// The drives, as for `server`; none with --endpoint
        #[arg(value_name = "DRIVE")]
        drives: Vec<String>,
        /// The running server, instead of drives.
        #[command(flatten)]
        remote: Remote,
    },
    /// Follow what happens in a running server, and look after what its notification targets are told
    Events {
        /// The running server.
        #[command(flatten)]
        remote: Remote,
        /// What to do.
        #[command(subcommand)]
        command: EventsCommand,
    },
    /// Ask a running server whether it lives: exit status 0 if it does, 1 if not
    Health,
}

/// What `events` does.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum EventsCommand {
    /// Print each event as it happens, also those of a while ago; goes on by itself where it was when the connection
    /// is lost
    Tail(Tail),
    /// Show how each target is doing: what waits for it, since when, and what it refused
    Lag,
    /// Let a target wait, also over a restart
    Pause(OfTarget),
    /// Let a paused target go on with what waits
    Resume(OfTarget),
    /// Send a target again what it was sent from a place on, in order per key
    Replay {
        /// The target.
        #[command(flatten)]
        of: OfTarget,
        /// Begin here: a time (2026-11-21T07:46:15Z), a while ago (10m, 2h, 1d), the sequencer of an event
        #[arg(long, value_name = "PLACE")]
        from: String,
        /// Send what named the target then, or what names it by the rules of now
        #[arg(long, value_name = "then|now", value_parser = ["then", "now"], default_value = "then")]
        rules: String,
    },
    /// Have a target that keeps an entry per object rebuild its entries from a bucket as it is now
    Resync {
        /// The target.
        #[command(flatten)]
        of: OfTarget,
        /// The bucket
        #[arg(long)]
        bucket: String,
    },
    /// Look after records that a target refuses for what they hold
    Dead {
        /// What to do with them.
        #[command(subcommand)]
        command: DeadCommand,
    },
}

/// What `events dead` does.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum DeadCommand {
    /// List the dead letters of a target, the oldest first
    List(OfTarget),
    /// Show one with its record
    Show(Letters),
    /// Send them again, now and out of turn; those that the target takes are gone
    Resend(Letters),
    /// Give them up
    Drop(Letters),
}

/// A target.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct OfTarget {
    /// The target, ID:KIND as in `1:kafka`, or its ARN
    #[arg(long, value_name = "TARGET")]
    pub target: String,
}

/// Dead letters of a target.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Letters {
    /// The target.
    #[command(flatten)]
    pub of: OfTarget,
    /// Their sequencers
    #[arg(value_name = "SEQUENCER", required_unless_present = "all")]
    pub sequencers: Vec<String>,
    /// All of them
    #[arg(long, conflicts_with = "sequencers")]
    pub all: bool,
}

/// Which events are followed.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Of this bucket alone
    #[arg(long)]
    pub bucket: Option<String>,
    /// Of keys that begin so
    #[arg(long)]
    pub prefix: Option<String>,
    /// Of keys that end so
    #[arg(long)]
    pub suffix: Option<String>,
    /// Of this kind, as often as wanted: s3:ObjectCreated:*, or put, delete, get as mc calls them [default: put,
    /// delete]
    #[arg(long = "event", value_name = "EVENT")]
    pub events: Vec<String>,
    /// Begin here: a time (2026-11-21T07:46:15Z), a while ago (10m, 2h, 1d), the sequencer of an event [default: now]
    #[arg(long, value_name = "PLACE")]
    pub from: Option<String>,
}

/// The running server that a command asks, and as whom.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// Ask the running server at this URL, http://HOST:PORT [env: TIDINGS_ENDPOINT]
    #[arg(long, global = true, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Access key of an administrator [env: TIDINGS_ACCESS_KEY]
    #[arg(long, global = true, value_name = "KEY")]
    pub access_key: Option<String>,
    /// Its secret key; in the variable no other user of this machine sees it [env: TIDINGS_SECRET_KEY]
    #[arg(long, global = true, value_name = "KEY")]
    pub secret_key: Option<String>,
    /// Believe any certificate of the server
    #[arg(long, global = true, conflicts_with = "ca")]
    pub insecure: bool,
    /// PEM file with the authorities that the server's certificate is checked against [default: the system's]
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// Flags, all of them global.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Address to listen on, HOST:PORT or :PORT [env: MINIO_ADDRESS; default: :9000]. For `health`: the URL to ask
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// Address of the web console; accepted, the console comes in a later release [env: MINIO_CONSOLE_ADDRESS]
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub console_address: Option<String>,
    /// Directory with public.crt, private.key and CAs/ [default: ~/.tidings/certs, else ~/.minio/certs]
    #[arg(short = 'S', long, global = true, value_name = "DIRECTORY")]
    pub certs_dir: Option<String>,
    /// Print no banner and no information, only warnings [env: MINIO_QUIET]
    #[arg(long, global = true)]
    pub quiet: bool,
    /// Leave addresses and users out of the banner [env: MINIO_ANONYMOUS]
    #[arg(long, global = true)]
    pub anonymous: bool,
    /// Log one JSON object per line [env: MINIO_JSON]
    #[arg(long, global = true)]
    pub json: bool,
    /// How long requests may go on after SIGTERM [default: 8s]
    #[arg(long, global = true, value_name = "DURATION", hide = true)]
    pub shutdown_timeout: Option<String>,
    /// How long a connection may be silent between requests [default: 30s]
    #[arg(long, global = true, value_name = "DURATION", hide = true)]
    pub idle_timeout: Option<String>,
    /// How long the head of a request may take [default: 30s]
    #[arg(long, global = true, value_name = "DURATION", hide = true)]
    pub read_header_timeout: Option<String>,
    /// What MinIO has and this server does without.
    #[command(flatten)]
    pub without_effect: WithoutEffect,
    /// What this server does not have and does not pretend to.
    #[command(flatten)]
    pub refused: Refused,
}

macro_rules! hidden_flags {
    ($(#[$doc:meta])* $name:ident, $list:ident, $($field:ident: $kind:ty => $flag:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $(
                #[doc = concat!("`--", $flag, "`")]
                #[arg(long = $flag, global = true, hide = true, value_name = "VALUE")]
                pub $field: $kind,
            )+
        }

        impl $name {
            /// The flags that were given, as a user types them.
            pub fn $list(&self) -> Vec<&'static str> {
                let mut given = Vec::new();
                $(if self.$field != <$kind>::default() { given.push(concat!("--", $flag)); })+
                given
            }
        }
    };
}

hidden_flags! {
    /// Flags that are accepted and change nothing here: a start script for MinIO keeps working.
    WithoutEffect, given,
    interface: Vec<String> => "interface",
    listeners: Option<String> => "listeners",
    conn_user_timeout: Option<String> => "conn-user-timeout",
    max_idle_conns_per_host: Option<String> => "max-idle-conns-per-host",
    dns_cache_ttl: Option<String> => "dns-cache-ttl",
    crossdomain_xml: Option<String> => "crossdomain-xml",
    memlimit: Option<String> => "memlimit",
    send_buf_size: Option<String> => "send-buf-size",
    recv_buf_size: Option<String> => "recv-buf-size",
    log_dir: Option<String> => "log-dir",
    log_size: Option<String> => "log-size",
    log_compress: bool => "log-compress",
    log_prefix: Option<String> => "log-prefix",
}

hidden_flags! {
    /// Flags whose absence a user would notice only later: refused at start.
    Refused, given,
    config: Option<String> => "config",
    ftp: Vec<String> => "ftp",
    sftp: Vec<String> => "sftp",
}

/// Parses a command line, the name of the program first.
///
/// # Errors
///
/// clap's, which also carries the answers to `--help` and `--version`: print it and leave with its status.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<CommandLine, clap::Error> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.get(1).is_some_and(|first| first == "minio" || first == "tidings") {
        arguments.remove(1);
    }
    let mut command = CommandLine::command();
    let names: Vec<String> =
        command.get_arguments().filter_map(|argument| argument.get_long().map(str::to_owned)).collect();
    for argument in arguments.iter_mut().skip(1) {
        if argument == "--" {
            break;
        }
        double_the_dash(argument, &names);
    }
    let matches = command.try_get_matches_from_mut(arguments)?;
    CommandLine::from_arg_matches(&matches)
}

/// Whether a command line, also one that makes no sense, is of `verify`.
pub fn is_verify(arguments: &[OsString]) -> bool {
    let is_name = |argument: &OsString| argument == "minio" || argument == "tidings";
    let mut words = arguments.iter().skip(1).filter(|argument| !is_name(argument));
    words.find(|word| !word.to_string_lossy().starts_with('-')).is_some_and(|word| word == "verify")
}

/// `-address` becomes `--address`; `-S` and values stay.
fn double_the_dash(argument: &mut OsString, names: &[String]) {
    let Some(text) = argument.to_str() else { return };
    let Some(flag) = text.strip_prefix('-') else {
        return;
    };
    let name = flag.split('=').next().unwrap_or(flag);
    if name.len() > 1 && (names.iter().any(|known| known == name) || name == "version" || name == "help") {
        *argument = OsString::from(format!("--{flag}"));
    }
}

/// The help text, for a start without any drive.
pub fn help() -> String {
    CommandLine::command().render_help().to_string()
}

const ENVIRONMENT_HELP: &str = "\
Every MINIO_… variable has a TIDINGS_… twin that wins.
  MINIO_VOLUMES            drives, when none are given; without it disks/d{1...8} if ./disks exists
  MINIO_ROOT_USER          root access key, at least 3 characters [default: minioadmin]
  MINIO_ROOT_PASSWORD      root secret key, at least 8 characters [default: minioadmin]
  MINIO_DOMAIN             domains for bucket.domain requests, separated by commas
  MINIO_SITE_REGION        region of this server
  MINIO_STORAGE_CLASS_STANDARD  parity of new sets: EC:4
  MINIO_NOTIFY_…           notification targets, see docs/configuration.md

Examples:
  tidings server /data
  tidings server --address :9000 /mnt/drive{1...8}
  tidings server /mnt/drive{1...8} /mnt/more{1...8}
  tidings verify /mnt/drive{1...8}
  tidings verify --endpoint http://127.0.0.1:9000
  tidings events --endpoint http://127.0.0.1:9000 tail --bucket photos --from 10m";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> CommandLine {
        parse(line.split_whitespace().map(OsString::from)).unwrap()
    }

    fn server(drives: &[&str]) -> Option<Command> {
        Some(Command::Server { drives: drives.iter().map(|drive| (*drive).to_owned()).collect() })
    }

    #[test]
    fn flags_stand_before_and_after_server_and_drives() {
        let wanted = Flags {
            address: Some(":9010".to_owned()),
            console_address: Some(":9011".to_owned()),
            certs_dir: Some("/certs".to_owned()),
            json: true,
            quiet: true,
            ..Flags::default()
        };
        for line in [
            "tidings --address :9010 --console-address :9011 -S /certs --json --quiet server /a /b",
            "tidings server --address :9010 --console-address=:9011 --certs-dir /certs --json --quiet /a /b",
            "tidings server /a /b --address :9010 --console-address :9011 -S /certs --json --quiet",
            "minio --quiet server /a --address :9010 --console-address :9011 /b --json -S /certs",
            "tidings minio server -address :9010 -console-address=:9011 -certs-dir /certs -json -quiet /a /b",
        ] {
            let line_parsed = parsed(line);
            assert_eq!(line_parsed.flags, wanted, "{line}");
            assert_eq!(line_parsed.command, server(&["/a", "/b"]), "{line}");
        }
    }

    #[test]
    fn no_command_is_a_server_without_drives() {
        assert_eq!(parsed("tidings").command, None);
        assert_eq!(parsed("tidings server").command, server(&[]));
        assert_eq!(parsed("tidings --json").command, None);
    }

    #[test]
    fn the_hidden_flags_of_minio_are_accepted_and_named() {
        let line = "tidings server /a --interface eth0 --listeners 2 --conn-user-timeout 10m \
            --max-idle-conns-per-host 9 --dns-cache-ttl 1m --crossdomain-xml x --memlimit 1GB \
            --send-buf-size 4194304 --recv-buf-size 4194304 --log-dir /l --log-size 1 --log-compress \
            --log-prefix p --shutdown-timeout 5s --idle-timeout 1m --read-header-timeout 3s";
        let parsed = parsed(line);
        assert_eq!(parsed.command, server(&["/a"]));
        assert_eq!(parsed.flags.without_effect.given().len(), 13);
        assert_eq!(parsed.flags.shutdown_timeout.as_deref(), Some("5s"));
    }

    #[test]
    fn version_and_help_are_answers_and_an_unknown_flag_is_an_error() {
        let outcome = |line: &str| parse(line.split_whitespace().map(OsString::from)).unwrap_err();
        assert_eq!(outcome("tidings --version").exit_code(), 0);
        assert_eq!(outcome("tidings server --help").exit_code(), 0);
        assert_ne!(outcome("tidings server --no-such-flag /a").exit_code(), 0);
    }

    #[test]
    fn verify_takes_drives_as_the_server_does_or_a_running_server() {
        let drives = vec!["/d{1...4}".to_owned(), "/e{1...4}".to_owned()];
        let wanted = Command::Verify { drives, remote: Remote::default() };
        assert_eq!(parsed("tidings verify --json /d{1...4} /e{1...4}").command, Some(wanted));

        let remote = Remote {
            endpoint: Some("https://a:9000".to_owned()),
            access_key: Some("k".to_owned()),
            secret_key: Some("s".to_owned()),
            insecure: false,
            ca: Some("/ca.pem".into()),
        };
        let line = "tidings verify --endpoint https://a:9000 --access-key k --secret-key s --ca /ca.pem";
        assert_eq!(parsed(line).command, Some(Command::Verify { drives: Vec::new(), remote }));
        let both = ["tidings", "verify", "--endpoint", "https://a", "--insecure", "--ca", "/ca.pem"];
        assert!(parse(both.map(OsString::from)).is_err());
    }

    #[test]
    fn the_command_of_a_line_that_makes_no_sense_is_known() {
        let verifies =
            |line: &str| is_verify(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>());
        assert!(verifies("tidings verify --no-such"));
        assert!(verifies("minio tidings --json verify --no-such"));
        assert!(!verifies("tidings server verify"));
    }

    #[test]
    fn health_takes_the_address_to_ask() {
        let parsed = parsed("tidings health --address https://127.0.0.1:9000");
        assert_eq!(parsed.command, Some(Command::Health));
        assert_eq!(parsed.flags.address.as_deref(), Some("https://127.0.0.1:9000"));
    }
}
