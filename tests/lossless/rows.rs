//! The rows: what is done to the server, its drives and its consumer.

use crate::options::Options;

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) fault: Fault,
    pub(crate) place: Place,
    /// How often the fault happens, in CI and in a long run.
    pub(crate) times: (usize, usize),
    /// Operations that are acknowledged, between faults where there are several, in CI and in a long run.
    pub(crate) operations: (usize, usize),
    pub(crate) writers: usize,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    /// SIGKILL, or a cut of the power.
    Kill,
    /// SIGTERM.
    Stop,
    /// The consumer is away for the first third.
    Away,
    /// It takes 50 ms to answer.
    Slow,
    /// It answers 500, 429 and not at all by turns.
    Fails,
    /// It takes records and cuts the connection before it says so.
    Cuts,
    /// The drives fill up and are cleared, again and again.
    Full,
    /// The clock is set back and ahead, while the server runs and while it does not.
    Clock,
}

/// What the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A process of its own; where one is given, the one that runs already.
    Process,
    /// The same, but restarted by a command, as one that is given is.
    Command,
    /// In this process, over drives in memory.
    Machine,
    /// A process of its own that tells Kafka.
    Kafka,
}

pub(crate) const ROWS: [Row; 12] = [
    Row {
        name: "calm",
        fault: Fault::Nothing,
        place: Place::Process,
        times: (1, 1),
        operations: (3_000, 50_000),
        writers: 16,
    },
    Row {
        name: "killed",
        fault: Fault::Kill,
        place: Place::Process,
        times: (6, 20),
        operations: (300, 1_000),
        writers: 16,
    },
    Row {
        name: "stopped",
        fault: Fault::Stop,
        place: Place::Process,
        times: (4, 20),
        operations: (300, 1_000),
        writers: 16,
    },
    Row {
        name: "by-command",
        fault: Fault::Kill,
        place: Place::Command,
        times: (3, 20),
        operations: (300, 1_000),
        writers: 16,
    },
    Row {
        name: "target-away",
        fault: Fault::Away,
        place: Place::Process,
        times: (1, 1),
        operations: (3_000, 30_000),
        writers: 16,
    },
    Row {
        name: "target-slow",
        fault: Fault::Slow,
        place: Place::Process,
        times: (1, 1),
        operations: (2_000, 10_000),
        writers: 16,
    },
    Row {
        name: "target-fails",
        fault: Fault::Fails,
        place: Place::Process,
        times: (1, 1),
        operations: (1_500, 10_000),
        writers: 16,
    },
    Row {
        name: "target-cuts",
        fault: Fault::Cuts,
        place: Place::Process,
        times: (1, 1),
        operations: (1_500, 10_000),
        writers: 16,
    },
    Row {
        name: "disk-full",
        fault: Fault::Full,
        place: Place::Machine,
        times: (2, 10),
        operations: (100, 300),
        writers: 16,
    },
    Row {
        name: "clock",
        fault: Fault::Clock,
        place: Place::Machine,
        times: (4, 20),
        operations: (150, 500),
        writers: 16,
    },
    Row {
        name: "power",
        fault: Fault::Kill,
        place: Place::Machine,
        times: (20, 200),
        operations: (60, 100),
        writers: 16,
    },
    Row {
        name: "kafka-away",
        fault: Fault::Away,
        place: Place::Kafka,
        times: (1, 1),
        operations: (3_000, 30_000),
        writers: 16,
    },
];

impl Row {
    /// How often the fault happens.
    pub(crate) fn times(&self, options: &Options) -> usize {
        if options.long { self.times.1 } else { self.times.0 }
    }

    /// Operations that are acknowledged.
    pub(crate) fn operations(&self, options: &Options) -> usize {
        if options.long { self.operations.1 } else { self.operations.0 }
    }

    /// Whether a run has it.
    fn is_wanted(&self, options: &Options) -> bool {
        let can_be_done = match (&options.foreign, self.place) {
            (None, Place::Kafka) => std::env::var_os("KAFKA_PORT").is_some(),
            (None, _) => true,
            (Some(foreign), Place::Process) => match self.fault {
                Fault::Kill => foreign.restart_command.is_some(),
                // A command that does not ask for the signal always ends the server in the same way.
                Fault::Stop => foreign.restart_command.as_ref().is_some_and(|it| it.contains("SIGNAL")),
                _ => true,
            },
            (Some(_), _) => false,
        };
        can_be_done && options.row.as_ref().is_none_or(|row| row == self.name)
    }
}

/// The rows of a run.
pub(crate) fn wanted(options: &Options) -> Vec<&'static Row> {
    ROWS.iter().filter(|row| row.is_wanted(options)).collect()
}
