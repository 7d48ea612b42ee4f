//! The server under test.

use crate::commanded::Commanded;
use crate::machine::Machine;
use crate::options::Foreign;
use crate::support::client::Client;
use crate::support::server::Server;

/// See the module header.
pub(crate) enum Subject {
    /// A process over four directories.
    Process(Server),
    /// A server in this process.
    Machine(Box<Machine>, String),
    /// One that ran already.
    Foreign(Foreign),
    /// One that the checker started, and then knows as little of as of one that ran already.
    Commanded(Commanded),
}

impl Subject {
    pub(crate) fn client(&self) -> Client {
        match self {
            Subject::Process(server) => server.client(),
            Subject::Machine(_, endpoint) => Client::new(endpoint),
            Subject::Foreign(_) | Subject::Commanded(_) => self.stranger().expect("it is one").client(),
        }
    }

    /// What is known of a server that a command restarts.
    pub(crate) fn stranger(&self) -> Option<&Foreign> {
        match self {
            Subject::Process(_) | Subject::Machine(..) => None,
            Subject::Foreign(foreign) => Some(foreign),
            Subject::Commanded(commanded) => Some(commanded.foreign()),
        }
    }

    /// Ends it without a word: SIGKILL, or a cut of the power. A command has started it again, too.
    pub(crate) async fn kill(&mut self) {
        match self {
            Subject::Process(server) => server.kill(),
            Subject::Machine(machine, _) => machine.cut().await,
            Subject::Foreign(foreign) => foreign.restart("KILL").await,
            Subject::Commanded(commanded) => commanded.foreign().restart("KILL").await,
        }
    }

    /// Asks it to stop and waits until it has. A command has started it again, too.
    pub(crate) async fn stop(&mut self) {
        match self {
            Subject::Process(server) => {
                let status = server.stop().await;
                assert!(status.success(), "the server ended with {status}");
            }
            Subject::Machine(machine, _) => machine.stop().await,
            Subject::Foreign(foreign) => foreign.restart("TERM").await,
            Subject::Commanded(commanded) => commanded.foreign().restart("TERM").await,
        }
    }

    /// Starts it again, if no command has, and waits until it answers.
    pub(crate) async fn start(&mut self) {
        match self {
            Subject::Process(server) => server.start().await,
            Subject::Machine(machine, _) => machine.start().await,
            Subject::Foreign(foreign) => foreign.answers().await,
            Subject::Commanded(commanded) => commanded.foreign().answers().await,
        }
    }
}
