//! How soon a server answers, and what it takes while nobody asks.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::options::Options;
use crate::server::Server;
use crate::table::Report;

/// Starts of which the median counts.
const STARTS: usize = 7;

/// How long an idle server is left to itself before it is looked at: what starting leaves behind is done then.
const SETTLE: Duration = Duration::from_secs(3);

/// How long it is looked at, in seconds.
const IDLE_S: u64 = 20;

/// Measures starts and an idle server.
///
/// # Errors
///
/// A server that does not start.
pub(crate) async fn measure(options: &Options, report: &mut Report) -> Outcome<()> {
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let began = Instant::now();
        let server = Server::start(options).await?;
        starts.push(began.elapsed().as_secs_f64() * 1000.0);
        server.stop()?;
    }
    starts.sort_by(f64::total_cmp);
    report.figure("start to the first signed answer, fresh drives, median of 7", starts[STARTS / 2], "ms");

    let server = Server::start(options).await?;
    let process = server.process.ok_or("a server of our own has a process")?;
    tokio::time::sleep(SETTLE).await;
    let before = process.cpu_seconds()?;
    tokio::time::sleep(Duration::from_secs(IDLE_S)).await;
    let used = process.cpu_seconds()? - before;
    report.figure("processor of an idle, empty server", used * 100.0 / IDLE_S as f64, "%");
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    report.figure("resident memory of an idle, empty server", mib(process.resident_bytes()?), "MiB");
    report.figure("disk of an empty server", mib(server.disk_bytes().unwrap_or(0)), "MiB");
    server.stop()
}
