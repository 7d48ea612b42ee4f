//! The server under test.

use std::process::Stdio;
use std::time::Duration;

use crate::machine::Machine;
use crate::options::Foreign;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::server::Server;

/// How long a command that restarts a server may take.
const RESTARTS_WITHIN: Duration = Duration::from_secs(120);

/// See the module header.
pub(crate) enum Subject {
    /// A process over four directories.
    Process(Server),
    /// A server in this process.
    Machine(Box<Machine>, String),
    /// One that ran already.
    Foreign(Foreign),
}

impl Subject {
    pub(crate) fn client(&self) -> Client {
        match self {
            Subject::Process(server) => server.client(),
            Subject::Machine(_, endpoint) => Client::new(endpoint),
            Subject::Foreign(foreign) => {
                Client::with_keys(&foreign.endpoint, &foreign.access_key, &foreign.secret_key)
            }
        }
    }

    /// Ends it without a word: SIGKILL, or a cut of the power.
    pub(crate) async fn kill(&mut self) {
        match self {
            Subject::Process(server) => server.kill(),
            Subject::Machine(machine, _) => machine.cut().await,
            Subject::Foreign(foreign) => {
                let command = foreign.restart_command.as_ref().expect("rows that kill it have a command");
                let run =
                    tokio::process::Command::new("sh").args(["-c", command]).stdin(Stdio::null()).status();
                let status = tokio::time::timeout(RESTARTS_WITHIN, run).await.unwrap().unwrap();
                assert!(status.success(), "{command}: {status}");
            }
        }
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(&mut self) {
        match self {
            Subject::Process(server) => {
                let status = server.stop().await;
                assert!(status.success(), "the server ended with {status}");
            }
            Subject::Machine(machine, _) => machine.stop().await,
            Subject::Foreign(_) => self.kill().await,
        }
    }

    /// Starts it again and waits until it answers.
    pub(crate) async fn start(&mut self) {
        match self {
            Subject::Process(server) => server.start().await,
            Subject::Machine(machine, _) => machine.start().await,
            Subject::Foreign(foreign) => {
                let client = Client::with_keys(&foreign.endpoint, &foreign.access_key, &foreign.secret_key);
                eventually("the server to answer", || async {
                    let answer = client.try_send(reqwest::Method::GET, "/", &[], "").await;
                    answer.is_ok_and(|answer| answer.status.is_success()).then_some(())
                })
                .await;
            }
        }
    }
}
