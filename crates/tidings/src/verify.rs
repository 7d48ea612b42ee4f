//! `tidings verify DRIVE…`: reads every copy of everything on drives that no server has open, changes nothing, and says
//! what is short.
//!
//! Progress goes to standard error, findings and the sum to standard output, with `--json` as one object a line.
//!
//! | exit status | says |
//! |---|---|
//! | 0 | every drive holds all that it should |
//! | 1 | something is short and parity makes up for it; a drive is absent |
//! | 2 | something is lost: more drives lack it than parity makes up for |
//! | 3 | the drives could not be looked at |

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;
use tidings_drives::{OpenError, Progress, verify_directories};
use tidings_store::{Finding, Verification};

use crate::ellipses;

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

const SHORT: u8 = 1;
const LOST: u8 = 2;
const UNUSABLE: u8 = 3;

/// Verifies the sets on these drives, written as for `server`, one after the other; the worst exit status of them.
pub fn run(drives: &[String], json: bool, quiet: bool) -> ExitCode {
    let sets = match ellipses::sets(drives, None) {
        Ok(sets) => sets,
        Err(error) => {
            eprintln!(
                "Unable to verify: {error}. Give the drives as for the server: tidings verify /mnt/drive{{1...4}}"
            );
            return ExitCode::from(UNUSABLE);
        }
    };
    let statuses = sets.iter().map(|set| verify_set(set, json, quiet));
    ExitCode::from(statuses.max().unwrap_or(UNUSABLE))
}

fn verify_set(set: &[String], json: bool, quiet: bool) -> u8 {
    let directories: Vec<PathBuf> = set.iter().map(PathBuf::from).collect();
    let mut meter = Meter::new(!quiet && !json);
    let found = verify_directories(&directories, &mut |progress| {
        meter.tell(progress);
        true
    });
    meter.clear();
    match found {
        Ok(found) => {
            print(&found, json);
            status(&found)
        }
        Err(error) => {
            eprintln!("Unable to verify {}: {error}", set.join(" "));
            if matches!(error, OpenError::InUse { .. }) {
                eprintln!("A server has these drives open: stop it first.");
            }
            UNUSABLE
        }
    }
}

fn status(found: &Verification) -> u8 {
    match found {
        Verification { lost: 1.., .. } => LOST,
        found if found.is_whole() => 0,
        _ => SHORT,
    }
}

fn print(found: &Verification, json: bool) {
    let lines = if json { json_lines(found) } else { lines(found) };
    let mut output = std::io::stdout().lock();
    for line in lines {
        if writeln!(output, "{line}").is_err() {
            // Whoever read the output has seen enough.
            return;
        }
    }
}

fn lines(found: &Verification) -> Vec<String> {
    let mut lines: Vec<String> =
        found.absent.iter().map(|(path, reason)| format!("absent  {path}: {reason}")).collect();
    for Finding { what, names, drives, is_lost } in &found.findings {
        let word = if *is_lost { "lost " } else { "short" };
        let objects = if names.is_empty() { "no current object".to_owned() } else { names.join(", ") };
        lines.push(format!("{word}   {what} on {}: {objects}", drives.join(", ")));
    }
    let told = found.findings.len() as u64;
    if found.short + found.lost > told {
        lines.push(format!("… and {} more", found.short + found.lost - told));
    }
    lines.push(format!(
        "Verified {} keys: {} frames and {} bodies, {} MiB read.",
        found.keys,
        found.frames,
        found.bodies,
        found.bytes >> 20
    ));
    lines.push(match (found.lost, found.short, found.absent.len()) {
        (0, 0, 0) => "Everything is whole on every drive.".to_owned(),
        (0, short, 0) => format!("{short} are short; parity makes up for them, and a running server heals them."),
        (0, short, absent) => {
            format!("{absent} drives are absent, so everything is short of its part there; {short} more are short.")
        }
        (lost, short, _) => format!("{lost} are lost: parity does not make up for them. {short} are short."),
    });
    lines
}

fn json_lines(found: &Verification) -> Vec<String> {
    let findings = found.findings.iter().map(|finding| {
        json!({
            "state": if finding.is_lost { "lost" } else { "short" },
            "what": finding.what,
            "names": finding.names,
            "drives": finding.drives,
        })
    });
    let absent = found.absent.iter().map(|(path, reason)| json!({ "drive": path, "reason": reason }));
    let sum = json!({
        "whole": found.is_whole(),
        "keys": found.keys,
        "frames": found.frames,
        "bodies": found.bodies,
        "bytes": found.bytes,
        "short": found.short,
        "lost": found.lost,
        "absent": absent.collect::<Vec<_>>(),
    });
    findings.chain([sum]).map(|line| line.to_string()).collect()
}

/// A line of progress on a terminal; nothing elsewhere.
struct Meter {
    is_on: bool,
    told: Instant,
}

impl Meter {
    fn new(is_wanted: bool) -> Meter {
        Meter { is_on: is_wanted && std::io::stderr().is_terminal(), told: Instant::now() }
    }

    fn tell(&mut self, progress: &Progress) {
        if !self.is_on || self.told.elapsed() < PROGRESS_EVERY {
            return;
        }
        self.told = Instant::now();
        let Progress { bytes, keys, keys_total, findings } = progress;
        eprint!("\r\x1b[K{} MiB read, {keys} of {keys_total} keys, {findings} not whole", bytes >> 20);
    }

    fn clear(&self) {
        if self.is_on {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(is_lost: bool) -> Verification {
        let mut found =
            Verification { keys: 3, frames: 9, bodies: 1, bytes: 5 << 20, ..Verification::default() };
        let (names, drives) = (vec!["album/rose".to_owned()], vec!["/d2".to_owned(), "/d3".to_owned()]);
        found.find(Finding { what: "batch 7".to_owned(), names, drives, is_lost });
        found
    }

    #[test]
    fn what_is_short_is_named_and_the_exit_status_tells_short_from_lost() {
        assert_eq!(
            lines(&found(false)),
            [
                "short   batch 7 on /d2, /d3: album/rose",
                "Verified 3 keys: 9 frames and 1 bodies, 5 MiB read.",
                "1 are short; parity makes up for them, and a running server heals them.",
            ]
        );
        assert_eq!(
            (status(&Verification::default()), status(&found(false)), status(&found(true))),
            (0, 1, 2)
        );
        let away = Verification { absent: vec![("/d4".into(), "gone".into())], ..Verification::default() };
        assert_eq!(status(&away), 1);
    }

    #[test]
    fn in_json_every_finding_is_an_object_and_the_sum_comes_last() {
        let lines = json_lines(&found(true));
        assert_eq!(
            lines[0],
            r#"{"state":"lost","what":"batch 7","names":["album/rose"],"drives":["/d2","/d3"]}"#
        );
        assert!(lines[1].starts_with(r#"{"whole":false,"keys":3,"#), "{}", lines[1]);
    }
}
