//! What a verification prints: progress on a terminal, findings as they come, the sum.

use std::io::{IsTerminal, Stdout, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidings_store::{Absent, Finding, Progress, Seen, Verification};

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Where it is printed, and how.
pub(super) struct Report<W> {
    output: W,
    json: bool,
    meter: Meter,
}

impl Report<Stdout> {
    /// Findings and the sum on standard output, progress on standard error if that is a terminal.
    pub(super) fn new(json: bool, quiet: bool) -> Report<Stdout> {
        let is_on = !quiet && !json && std::io::stderr().is_terminal();
        Report { output: std::io::stdout(), json, meter: Meter { is_on, told: Instant::now() } }
    }
}

impl<W: Write> Report<W> {
    /// Tells what is seen; `false` when nobody reads it any more.
    pub(super) fn tell(&mut self, seen: &Seen) -> bool {
        let line = match seen {
            Seen::Progress(progress) => {
                self.meter.tell(progress);
                return true;
            }
            // In JSON they stand in the sum.
            Seen::Absent(_) if self.json => return true,
            Seen::Absent(Absent { drive, reason }) => format!("absent  {drive}: {reason}"),
            Seen::Finding(finding) if self.json => json_of(finding).to_string(),
            Seen::Finding(finding) => line_of(finding),
        };
        self.print(&line)
    }

    /// Tells the sum.
    pub(super) fn end(&mut self, found: &Verification) {
        let lines = if self.json { vec![json_sum(found).to_string()] } else { sum(found) };
        for line in lines {
            self.print(&line);
        }
    }

    /// Takes the progress off the terminal.
    pub(super) fn clear(&self) {
        self.meter.clear();
    }

    /// `false` when whoever read the output has seen enough.
    fn print(&mut self, line: &str) -> bool {
        self.meter.clear();
        writeln!(self.output, "{line}").is_ok()
    }
}

fn line_of(Finding { what, names, drives, is_lost }: &Finding) -> String {
    let word = if *is_lost { "lost " } else { "short" };
    let objects = if names.is_empty() { "no current object".to_owned() } else { names.join(", ") };
    format!("{word}   {what} on {}: {objects}", drives.join(", "))
}

fn sum(found: &Verification) -> Vec<String> {
    let Verification { keys, frames, bodies, bytes, .. } = found;
    let counted =
        format!("Verified {keys} keys: {frames} frames and {bodies} bodies, {} MiB read.", bytes >> 20);
    let judged = match (found.lost, found.short, found.absent.len()) {
        (0, 0, 0) => "Everything is whole on every drive.".to_owned(),
        (0, short, 0) => {
            format!("{short} are short; parity makes up for them, and a running server heals them.")
        }
        (0, short, absent) => {
            format!(
                "{absent} drives are absent, so everything is short of its part there; {short} more are short."
            )
        }
        (lost, short, _) => format!("{lost} are lost: parity does not make up for them. {short} are short."),
    };
    vec![counted, judged]
}

fn json_of(finding: &Finding) -> Value {
    json!({
        "state": if finding.is_lost { "lost" } else { "short" },
        "what": finding.what,
        "names": finding.names,
        "drives": finding.drives,
    })
}

fn json_sum(found: &Verification) -> Value {
    json!({
        "whole": found.is_whole(),
        "keys": found.keys,
        "frames": found.frames,
        "bodies": found.bodies,
        "bytes": found.bytes,
        "short": found.short,
        "lost": found.lost,
        "absent": found.absent,
    })
}

/// A line of progress on a terminal; nothing elsewhere.
struct Meter {
    is_on: bool,
    told: Instant,
}

impl Meter {
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

    /// What is printed of one finding and an absent drive, and their sum.
    fn printed(json: bool, is_lost: bool) -> Vec<String> {
        let (names, drives) = (vec!["album/rose".to_owned()], vec!["/d2".to_owned(), "/d3".to_owned()]);
        let finding = Finding { what: "batch 7".to_owned(), names, drives, is_lost };
        let absent = Absent { drive: "/d4".to_owned(), reason: "gone".to_owned() };
        let mut found =
            Verification { keys: 3, frames: 9, bodies: 1, bytes: 5 << 20, ..Verification::default() };
        found.count(&finding);
        found.absent.push(absent.clone());
        let meter = Meter { is_on: false, told: Instant::now() };
        let mut report = Report { output: Vec::new(), json, meter };
        assert!(report.tell(&Seen::Absent(absent)));
        assert!(report.tell(&Seen::Progress(Progress::default())));
        assert!(report.tell(&Seen::Finding(finding)));
        report.end(&found);
        String::from_utf8(report.output).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_short_is_named_as_it_comes_and_the_sum_says_what_it_means() {
        assert_eq!(
            printed(false, false),
            [
                "absent  /d4: gone",
                "short   batch 7 on /d2, /d3: album/rose",
                "Verified 3 keys: 9 frames and 1 bodies, 5 MiB read.",
                "1 drives are absent, so everything is short of its part there; 1 more are short.",
            ]
        );
    }

    #[test]
    fn in_json_every_finding_is_an_object_and_the_sum_comes_last() {
        assert_eq!(
            printed(true, true),
            [
                r#"{"state":"lost","what":"batch 7","names":["album/rose"],"drives":["/d2","/d3"]}"#,
                concat!(
                    r#"{"whole":false,"keys":3,"frames":9,"bodies":1,"bytes":5242880,"short":0,"lost":1,"#,
                    r#""absent":[{"drive":"/d4","reason":"gone"}]}"#
                ),
            ]
        );
    }
}
