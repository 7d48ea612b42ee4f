//! What every start prints: where the server is, how to connect, how its drives are.
//!
//! Some lines are looked for by tools that wait for a MinIO server and are kept letter by letter: `API:`
//! (testcontainers for Rust), `Status:         1 Online, 0 Offline.` (testcontainers for Java before 1.19.4).
//! `--quiet` leaves the warnings, `--json` makes each line an object, `--anonymous` leaves out addresses and
//! users.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use tidings_store::{DriveState, SetReport};

use crate::config::{DEFAULT_KEY, Output};
use crate::telemetry;

/// What there is to tell of a server that has started.
#[derive(Clone, Debug)]
pub struct Summary {
    /// URLs under which the API can be reached, the best for others first.
    pub urls: Vec<String>,
    /// Root access key.
    pub user: String,
    /// Whether root has the keys everybody knows.
    pub has_default_keys: bool,
    /// How the drives are, by set.
    pub sets: Vec<SetReport>,
    /// ARNs of the notification targets.
    pub arns: Vec<String>,
    /// Flags that were given and change nothing.
    pub without_effect: Vec<&'static str>,
}

/// Prints the banner and the warnings that belong to it.
pub fn print(summary: &Summary, output: Output) {
    if !output.quiet {
        for line in lines(summary, output.anonymous) {
            match output.json {
                true => eprintln!("{}", telemetry::json_line("INFO", line.trim_end())),
                false => eprintln!("{line}"),
            }
        }
    }
    if summary.has_default_keys {
        tracing::warn!(
            "Detected default credentials '{DEFAULT_KEY}:{DEFAULT_KEY}', we recommend that you change these values \
             with 'MINIO_ROOT_USER' and 'MINIO_ROOT_PASSWORD' environment variables"
        );
    }
    if !summary.without_effect.is_empty() {
        tracing::info!(flags = %summary.without_effect.join(" "), "These flags are accepted and have no effect.");
    }
}

fn lines(summary: &Summary, is_anonymous: bool) -> Vec<String> {
    let mut lines = vec![format!("tidings {}", env!("CARGO_PKG_VERSION"))];
    let (mut online, mut offline) = (0, 0);
    for (number, set) in (1..).zip(&summary.sets) {
        let name = if summary.sets.len() == 1 { "Drives".to_owned() } else { format!("Set {number}") };
        let (own_online, own_offline) = set_lines(&name, set, &mut lines);
        online += own_online;
        offline += own_offline;
    }
    lines.push(format!("Status:         {online} Online, {offline} Offline."));
    if !is_anonymous {
        lines.push(format!("API: {}", summary.urls.join("  ")));
    }
    if !summary.arns.is_empty() {
        lines.push(format!("SQS ARNs: {}", summary.arns.join(" ")));
    }
    if !is_anonymous {
        let secret = if summary.has_default_keys { DEFAULT_KEY } else { "\"$MINIO_ROOT_PASSWORD\"" };
        let url = summary.urls.last().map_or("", String::as_str);
        lines.push(format!("Connect: mc alias set tidings {url} {} {secret}", summary.user));
    }
    lines
}

/// Tells a set and those of its drives that are not as they should be; gives how many are online and offline.
fn set_lines(name: &str, set: &SetReport, lines: &mut Vec<String>) -> (usize, usize) {
    let online = set.drives.iter().filter(|drive| drive.state == DriveState::Online).count();
    let offline = set.drives.len() - online;
    lines.push(format!(
        "{name}: {online} online, {offline} offline; parity EC:{}; writes need {} drives, reads {}",
        set.parity, set.write_quorum, set.read_quorum
    ));
    for drive in &set.drives {
        let path = &drive.path;
        match drive.state {
            DriveState::Offline | DriveState::Healing => {
                lines.push(format!("  {path}: offline, {}", drive.reason))
            }
            DriveState::Online if !drive.durable => {
                lines.push(format!(
                    "  {path}: online, but a completed write may not survive a power cut there"
                ));
            }
            DriveState::Online => {}
        }
    }
    (online, offline)
}

/// The `host:port` pairs under which a bound address is reached: the address itself, and for a wildcard this
/// machine's own address, if it has one, and the loopback.
pub fn reachable(bound: &[SocketAddr]) -> Vec<String> {
    let mut reachable = Vec::new();
    for address in bound {
        if !address.ip().is_unspecified() {
            reachable.push(address.to_string());
            continue;
        }
        reachable.extend(outward_address().map(|ip| SocketAddr::new(ip, address.port()).to_string()));
        reachable.push(format!("127.0.0.1:{}", address.port()));
    }
    reachable
}

/// The address other machines would see. Asks the routing table only: connecting a datagram socket sends
/// nothing, and 192.0.2.1 is nobody's.
fn outward_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use tidings_store::{DriveReport, HealReport};

    use super::*;

    fn drive(path: &str, state: DriveState, reason: &str) -> DriveReport {
        DriveReport {
            path: path.to_owned(),
            id: String::new(),
            state,
            reason: reason.to_owned(),
            total_bytes: 0,
            free_bytes: 0,
            inodes: (0, 0),
            durable: true,
        }
    }

    fn summary() -> Summary {
        let drives =
            vec![drive("/d1", DriveState::Online, ""), drive("/d2", DriveState::Offline, "it is absent")];
        Summary {
            urls: vec!["http://192.0.2.2:9000".to_owned(), "http://127.0.0.1:9000".to_owned()],
            user: DEFAULT_KEY.to_owned(),
            has_default_keys: true,
            sets: vec![SetReport {
                id: String::new(),
                drives,
                data: 1,
                parity: 1,
                write_quorum: 2,
                read_quorum: 1,
                writable: false,
                readable: true,
                heal: HealReport::default(),
            }],
            arns: vec!["arn:minio:sqs::PRIMARY:webhook".to_owned()],
            without_effect: Vec::new(),
        }
    }

    #[test]
    fn a_start_tells_where_it_is_how_it_is_and_how_to_connect() {
        let wanted = [
            concat!("tidings ", env!("CARGO_PKG_VERSION")),
            "Drives: 1 online, 1 offline; parity EC:1; writes need 2 drives, reads 1",
            "  /d2: offline, it is absent",
            "Status:         1 Online, 1 Offline.",
            "API: http://192.0.2.2:9000  http://127.0.0.1:9000",
            "SQS ARNs: arn:minio:sqs::PRIMARY:webhook",
            "Connect: mc alias set tidings http://127.0.0.1:9000 minioadmin minioadmin",
        ];
        assert_eq!(lines(&summary(), false), wanted);
    }

    #[test]
    fn each_of_several_sets_has_a_line_and_the_drives_of_all_are_counted_together() {
        let mut summary = summary();
        let drives = vec![drive("/e1", DriveState::Online, "")];
        summary.sets.push(SetReport { drives, parity: 0, write_quorum: 1, ..summary.sets[0].clone() });
        let wanted = [
            "Set 1: 1 online, 1 offline; parity EC:1; writes need 2 drives, reads 1",
            "  /d2: offline, it is absent",
            "Set 2: 1 online, 0 offline; parity EC:0; writes need 1 drives, reads 1",
            "Status:         2 Online, 1 Offline.",
        ];
        assert_eq!(lines(&summary, false)[1..5], wanted);
    }

    #[test]
    fn a_secret_that_is_not_the_default_is_not_printed() {
        let summary = Summary { user: "admin".to_owned(), has_default_keys: false, ..summary() };
        let last = lines(&summary, false).pop().unwrap();
        assert_eq!(
            last,
            "Connect: mc alias set tidings http://127.0.0.1:9000 admin \"$MINIO_ROOT_PASSWORD\""
        );
    }

    #[test]
    fn an_anonymous_start_names_no_address_and_no_user() {
        let text = lines(&summary(), true).join("\n");
        assert!(!text.contains("127.0.0.1") && !text.contains(DEFAULT_KEY), "{text}");
    }

    #[test]
    fn a_wildcard_is_reached_on_the_loopback_at_least() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(reachable(&[at("127.0.0.2:80")]), ["127.0.0.2:80"]);
        assert_eq!(reachable(&[at("[::]:80")]).last().unwrap(), "127.0.0.1:80");
    }
}
