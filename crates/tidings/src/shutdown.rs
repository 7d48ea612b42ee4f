//! The end of a server: what asks for it, in which order things stop, and the restart in place.
//!
//! The first signal begins an orderly end, the second ends at once. A restart replaces the program inside
//! the process: same process id, arguments and environment, so that no supervisor notices.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use tidings_gateway::ServiceAction;

use crate::server::Server;

/// How long threads that still run blocking work are waited for when everything else has ended.
pub const THREADS_PATIENCE: Duration = Duration::from_secs(2);

/// Exit status after a second signal.
const IMPATIENT_STATUS: i32 = 1;

/// Why a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// SIGTERM or SIGINT.
    Signal,
    /// `mc admin service stop`.
    Stop,
    /// `mc admin service restart`.
    Restart,
}

/// Serves until a signal or an admin call, then drains.
pub async fn serve_until_told(mut server: Server) -> Reason {
    let mut signals = Signals::new();
    let reason = tokio::select! {
        name = signals.next() => {
            tracing::info!("Exiting on signal: {name}");
            Reason::Signal
        }
        action = server.wait() => match action {
            ServiceAction::Restart => {
                tracing::info!("Restarting on service signal");
                Reason::Restart
            }
            ServiceAction::Stop => {
                tracing::info!("Stopping on service signal");
                Reason::Stop
            }
        },
    };
    tokio::select! {
        () = server.stop() => reason,
        name = signals.next() => {
            tracing::warn!("A second signal ends the server at once: {name}");
            std::process::exit(IMPATIENT_STATUS);
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Signals {
        let catch = |kind| signal(kind).expect("SIGTERM and SIGINT can be caught");
        Signals { terminate: catch(SignalKind::terminate()), interrupt: catch(SignalKind::interrupt()) }
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "TERMINATED",
            _ = self.interrupt.recv() => "INTERRUPT",
        }
    }
}

/// Replaces this program by itself, or by what has been installed in its place. Returns only if that fails,
/// and then why.
pub fn reexecute() -> io::Error {
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program());
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).exec()
}

/// The file this process was started from, if there is one by that name; else the kernel's link to what runs.
fn program() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    let Ok(started) = std::fs::read_link(&running) else {
        return running;
    };
    // The kernel marks a file that was replaced, as an upgrade does.
    let path = match started.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
        Some(path) => PathBuf::from(path),
        None => started,
    };
    if path.is_file() { path } else { running }
}
