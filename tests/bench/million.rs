//! A server that holds a million objects: how it starts, and what requests cost whose keys are not in memory.

use std::io;
use std::path::Path;

use hyper::Method;
use rustix::process::Signal;

use crate::Outcome;
use crate::connection::Connection;
use crate::load::{Measured, Prepared, drive};
use crate::options::Options;
use crate::requests::Body;
use crate::server::Server;
use crate::table::Report;

/// Objects written before anything is measured.
const OBJECTS: usize = 1_000_000;

/// Their size in bytes.
const SIZE_BYTES: usize = 128;

/// Requests built and signed before they are sent.
const PREPARED: usize = 50_000;

/// Connections.
const CLIENTS: usize = 64;

/// How long the requests of one step may take, in seconds.
const PATIENCE_S: f64 = 120.0;

/// Spreads numbers below [`OBJECTS`] over all of them: it has no factor in common with their number.
const STRIDE: usize = 611_953;

fn target(number: usize) -> String {
    format!("/million/{:03}/{number:08}", number % 997)
}

/// Writes the objects, then measures.
///
/// # Errors
///
/// A server that does not start or does not take them.
pub(crate) async fn measure(options: &Options, report: &mut Report) -> Outcome<()> {
    let mut server = Server::start(options).await?;
    let bucket = server.signer.request(Method::PUT, "/million", &Body::none())?;
    Connection::open(&server.authority).await?.exchange(bucket).await?;
    let mut seconds = 0.0;
    for first in (0..OBJECTS).step_by(PREPARED) {
        seconds += step(&server, Method::PUT, first..first + PREPARED).await?.seconds;
    }
    report.figure("PUT of a million objects of 128 bytes, 64 clients", OBJECTS as f64 / seconds, "a second");
    let resident = server.process.map(|process| process.resident_bytes()).transpose()?.unwrap_or(0);
    report.figure("resident memory then", resident as f64 / f64::from(1 << 20), "MiB");
    let nothing: fn(&Path) -> io::Result<()> = |_| Ok(());
    for (name, signal, meanwhile) in [
        (
            "start to the first signed answer with a million objects, after a clean stop",
            Signal::TERM,
            nothing,
        ),
        ("… after it was killed", Signal::KILL, nothing),
        ("… after every copy of its index was removed", Signal::TERM, remove_indexes),
    ] {
        let took = server.restart(options, signal, meanwhile).await?;
        report.figure(name, took.as_secs_f64() * 1000.0, "ms");
        // What the next start finds was written since this one.
        step(&server, Method::PUT, OBJECTS..OBJECTS + PREPARED).await?;
    }
    for (name, method) in [
        ("PUT over objects that are not in memory, 64 clients", Method::PUT),
        ("GET of such, 64 clients", Method::GET),
    ] {
        let numbers = (0..PREPARED).map(|nth| nth * STRIDE % OBJECTS);
        let cpu = |server: &Server| server.process.map(|process| process.cpu_seconds()).transpose();
        let before = cpu(&server)?;
        let measured = step(&server, method, numbers).await?;
        report.figure(name, measured.per_second(), "a second");
        if let Some((after, before)) = cpu(&server)?.zip(before) {
            report.figure("… and the processor time of one", (after - before) * 1e6 / PREPARED as f64, "µs");
        }
    }
    server.stop()
}

/// Removes the index from every drive: it is made anew of the journal.
fn remove_indexes(folder: &Path) -> io::Result<()> {
    for drive in 1..=4 {
        match std::fs::remove_dir_all(folder.join(format!("d{drive}/ckpt"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// One request for each number; all must succeed.
async fn step(
    server: &Server,
    method: Method,
    numbers: impl IntoIterator<Item = usize>,
) -> Outcome<Measured> {
    let body = if method == Method::PUT { Body::noise(SIZE_BYTES) } else { Body::none() };
    let requests: Outcome<Vec<_>> = numbers
        .into_iter()
        .map(|number| server.signer.request(method.clone(), &target(number), &body))
        .collect();
    let measured = drive(&server.authority, CLIENTS, PATIENCE_S, Prepared::new(requests?)).await?;
    if measured.failures > 0 || measured.operations < PREPARED {
        return Err(format!("{} of {PREPARED} {method} requests were answered", measured.operations).into());
    }
    Ok(measured)
}
