//! `tidings verify`: every copy of everything is read back, nothing is changed, and what is short is said. Of drives
//! that no server has open (`tidings verify DRIVE…`), or of those of a running server, which reads them itself
//! (`tidings verify --endpoint URL`).
//!
//! Progress goes to standard error, findings as they come and the sum to standard output, with `--json` as one object a
//! line.
//!
//! | exit status | says |
//! |---|---|
//! | 0 | every drive holds all that it should |
//! | 1 | something is short and parity makes up for it; a drive is absent |
//! | 2 | something is lost: more drives lack it than parity makes up for |
//! | 3 | the drives could not be looked at, or not to the end |

mod report;

use std::io::Stdout;
use std::path::PathBuf;
use std::process::ExitCode;

use http::Method;
use tidings_drives::{OpenError, verify_directories};
use tidings_gateway::admin::verify::Line;
use tidings_store::Verification;

use crate::cli::Remote;
use crate::client::{self, Client};
use crate::ellipses;
use crate::environment::Variables;
use report::Report;

const SHORT: u8 = 1;
const LOST: u8 = 2;
/// Also of a command line that makes no sense: nothing that a script takes for a judgement.
pub const UNUSABLE: u8 = 3;

/// What is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Drives,
    Server,
}

/// Verifies these drives, written as for `server`, or those of a running server.
pub fn run(drives: &[String], remote: &Remote, environment: &Variables, json: bool, quiet: bool) -> ExitCode {
    let status = match subject(drives, remote, environment) {
        Ok(Subject::Drives) => verify_drives(drives, json, quiet),
        Ok(Subject::Server) => verify_server(remote, environment, json, quiet),
        Err(reason) => {
            eprintln!("Unable to verify: {reason}.");
            UNUSABLE
        }
    };
    ExitCode::from(status)
}

/// A variable names the server only where no drives are given.
fn subject(drives: &[String], remote: &Remote, environment: &Variables) -> Result<Subject, String> {
    let forms = "tidings verify /mnt/drive{1...4}, or tidings verify --endpoint http://host:9000";
    match (drives.is_empty(), remote.endpoint.is_some()) {
        (false, true) => Err(format!("give drives or the endpoint of a running server, not both: {forms}")),
        (false, false) => Ok(Subject::Drives),
        (true, _) if client::endpoint(remote, environment).is_some() => Ok(Subject::Server),
        (true, _) => Err(format!("give drives, or the endpoint of a running server: {forms}")),
    }
}

/// The worst exit status of the sets on these drives, one after the other.
fn verify_drives(drives: &[String], json: bool, quiet: bool) -> u8 {
    let sets = match ellipses::sets(drives, None) {
        Ok(sets) => sets,
        Err(error) => {
            eprintln!(
                "Unable to verify: {error}. Give the drives as for the server: tidings verify /mnt/drive{{1...4}}"
            );
            return UNUSABLE;
        }
    };
    let statuses = sets.iter().map(|set| verify_set(set, json, quiet));
    statuses.max().unwrap_or(UNUSABLE)
}

fn verify_set(set: &[String], json: bool, quiet: bool) -> u8 {
    let directories: Vec<PathBuf> = set.iter().map(PathBuf::from).collect();
    let mut report = Report::new(json, quiet);
    let found = verify_directories(&directories, &mut |seen| report.tell(&seen));
    report.clear();
    match found {
        Ok(found) => {
            report.end(&found);
            status(&found)
        }
        Err(error) => {
            eprintln!("Unable to verify {}: {error}", set.join(" "));
            if matches!(error, OpenError::InUse { .. }) {
                eprintln!(
                    "A server has these drives open: stop it first, or ask it: tidings verify --endpoint URL"
                );
            }
            UNUSABLE
        }
    }
}

fn verify_server(remote: &Remote, environment: &Variables, json: bool, quiet: bool) -> u8 {
    let mut report = Report::new(json, quiet);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let found = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(ask(remote, environment, &mut report)));
    report.clear();
    match found {
        Ok(found) => {
            report.end(&found);
            status(&found)
        }
        Err(reason) => {
            eprintln!("Unable to verify: {reason}.");
            UNUSABLE
        }
    }
}

/// What the server says in the end. When this ends early, the server does as well.
async fn ask(
    remote: &Remote,
    environment: &Variables,
    report: &mut Report<Stdout>,
) -> Result<Verification, String> {
    let client = Client::new(remote, environment)?;
    let mut lines = client.lines(Method::POST, "/minio/tidings/v1/verify", "").await?;
    while let Some(line) = lines.next().await? {
        match serde_json::from_str(&line) {
            Ok(Line::Sum(found)) => return Ok(found),
            Ok(Line::Failed(reason)) => return Err(reason),
            Ok(Line::Seen(seen)) if report.tell(&seen) => {}
            Ok(Line::Seen(_)) => return Err("nobody reads the output any more".to_owned()),
            Err(error) => return Err(format!("the server says what is not understood here: {error}")),
        }
    }
    Err("the answer ended before everything was looked at".to_owned())
}

fn status(found: &Verification) -> u8 {
    match found {
        Verification { lost: 1.., .. } => LOST,
        found if found.is_whole() => 0,
        _ => SHORT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_store::Absent;

    #[test]
    fn the_exit_status_tells_short_from_lost() {
        let absent = vec![Absent { drive: "/d4".to_owned(), reason: "gone".to_owned() }];
        let of =
            |short, lost, absent| status(&Verification { short, lost, absent, ..Verification::default() });
        assert_eq!((of(0, 0, Vec::new()), of(1, 0, Vec::new()), of(1, 1, Vec::new())), (0, SHORT, LOST));
        assert_eq!(of(0, 0, absent), SHORT);
    }

    #[test]
    fn drives_or_a_server_are_verified_and_both_or_neither_is_refused_with_the_forms() {
        let drives = ["/d{1...4}".to_owned()];
        let url = "http://127.0.0.1:9000".to_owned();
        let named = Remote { endpoint: Some(url.clone()), ..Remote::default() };
        let variable = Variables::from([("TIDINGS_ENDPOINT".to_owned(), url)]);
        let (nothing, none) = (Remote::default(), Variables::new());

        assert_eq!(subject(&drives, &nothing, &none), Ok(Subject::Drives));
        assert_eq!(subject(&drives, &nothing, &variable), Ok(Subject::Drives));
        assert_eq!(subject(&[], &named, &none), Ok(Subject::Server));
        assert_eq!(subject(&[], &nothing, &variable), Ok(Subject::Server));
        for refused in [subject(&drives, &named, &none), subject(&[], &nothing, &none)] {
            let why = refused.unwrap_err();
            assert!(why.contains("tidings verify --endpoint http://host:9000"), "{why}");
        }
    }
}
