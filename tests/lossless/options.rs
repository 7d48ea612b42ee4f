//! What a run does, from its command line. The flags are told in `tests/lossless/run`.

use std::path::PathBuf;
use std::time::Duration;

use crate::rows;

/// The seed unless one is given: a run that is repeated asks for the same operations.
const SEED: u64 = 20_261_121;

/// Flags of a server that runs already.
const OF_FOREIGN: [&str; 6] =
    ["--endpoint", "--access-key", "--secret-key", "--sink", "--arn", "--restart-command"];

/// What a run does.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    /// The figures that are recorded, instead of those of CI.
    pub(crate) long: bool,
    /// The one row to run.
    pub(crate) row: Option<String>,
    /// Writers at once; `None` for what the row says.
    pub(crate) writers: Option<usize>,
    /// How long nothing may come before what is missing counts as lost.
    pub(crate) patience: Duration,
    /// A file to which everything is added that was seen of each row.
    pub(crate) notes: Option<PathBuf>,
    /// A server that runs already.
    pub(crate) foreign: Option<Foreign>,
}

/// A server that runs already, with a webhook target that is configured.
#[derive(Clone, Debug)]
pub(crate) struct Foreign {
    /// `http://host:port`.
    pub(crate) endpoint: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    /// Where the consumer listens: `host:port`, which the target's endpoint names.
    pub(crate) sink: String,
    pub(crate) arn: String,
    /// Ends the server with the signal in `SIGNAL`, `KILL` or `TERM`, and starts it again in the background.
    pub(crate) restart_command: Option<String>,
}

impl Options {
    /// Reads the flags.
    ///
    /// # Errors
    ///
    /// A sentence: a flag or row there is none of, a number that is none, a flag without what belongs to it.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            seed: SEED,
            long: false,
            row: None,
            writers: None,
            patience: Duration::from_secs(60),
            notes: None,
            foreign: None,
        };
        let mut foreign = Foreign {
            endpoint: String::new(),
            access_key: "minioadmin".to_owned(),
            secret_key: "minioadmin".to_owned(),
            sink: String::new(),
            arn: String::new(),
            restart_command: None,
        };
        let mut arguments = arguments;
        let mut asks_for_foreign = false;
        while let Some(flag) = arguments.next() {
            if flag == "--long" {
                options.long = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
            asks_for_foreign |= OF_FOREIGN.contains(&flag.as_str());
            match flag.as_str() {
                "--seed" => options.seed = number(&flag, &value)?,
                "--row" => options.row = Some(value),
                "--writers" => options.writers = Some(number(&flag, &value)?),
                "--patience" => options.patience = Duration::from_secs(number(&flag, &value)?),
                "--notes" => {
                    options.notes = Some(std::path::absolute(value).map_err(|error| error.to_string())?)
                }
                "--endpoint" => foreign.endpoint = value.trim_end_matches('/').to_owned(),
                "--access-key" => foreign.access_key = value,
                "--secret-key" => foreign.secret_key = value,
                "--sink" => foreign.sink = value,
                "--arn" => foreign.arn = value,
                "--restart-command" => foreign.restart_command = Some(value),
                _ => return Err(format!("there is no flag {flag}; try --help")),
            }
        }
        options.foreign = foreign.complete(asks_for_foreign)?;
        if let Some(row) = options.row.take() {
            let names: Vec<&str> = rows::wanted(&options).into_iter().map(|row| row.name).collect();
            if !names.contains(&row.as_str()) {
                return Err(format!("there is no row {row} with these flags, but {}", names.join(", ")));
            }
            options.row = Some(row);
        }
        Ok(options)
    }
}

impl Foreign {
    /// Itself, if it was asked for and all of it was given.
    fn complete(self, is_asked_for: bool) -> Result<Option<Foreign>, String> {
        if !is_asked_for {
            return Ok(None);
        }
        for (flag, value) in [("--endpoint", &self.endpoint), ("--sink", &self.sink), ("--arn", &self.arn)] {
            if value.is_empty() {
                return Err(format!("a server that runs already needs {flag} too; try --help"));
            }
        }
        if !self.endpoint.starts_with("http://") {
            return Err(format!("--endpoint takes http://HOST:PORT, not {}", self.endpoint));
        }
        if self.sink.contains("://") {
            return Err(format!("--sink takes HOST:PORT, not {}", self.sink));
        }
        Ok(Some(self))
    }
}

fn number<T: std::str::FromStr>(flag: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{flag} takes a number, not {value}"))
}
