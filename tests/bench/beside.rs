//! This program once more, as a process beside the generator that serves something: so its processor time is
//! told apart.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::connection::Connection;
use crate::server::{Process, free_port};

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// The process, which ends with this value.
pub(crate) struct Beside {
    child: Child,
    /// `host:port`.
    pub(crate) authority: String,
}

impl Beside {
    /// Starts it with a flag, a free port and further arguments, and waits until it answers.
    ///
    /// # Errors
    ///
    /// It does not.
    pub(crate) async fn start(flag: &str, further: &[String]) -> Outcome<Beside> {
        let port = free_port()?;
        let child =
            Command::new(std::env::current_exe()?).args([flag, &port.to_string()]).args(further).spawn()?;
        let beside = Beside { child, authority: format!("127.0.0.1:{port}") };
        let gives_up = Instant::now() + PATIENCE;
        while Connection::open(&beside.authority).await.is_err() {
            if Instant::now() > gives_up {
                return Err(format!("what {flag} starts does not answer").into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(beside)
    }

    pub(crate) fn process(&self) -> Process {
        Process(self.child.id())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
