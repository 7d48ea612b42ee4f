//! What a run does, from its command line. The flags are told in `tests/lossless/run`.

use std::time::Duration;

use crate::rows;

/// The seed unless one is given: a run that is repeated asks for the same operations.
const SEED: u64 = 20_261_121;

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
    /// Kills the server and starts it again; returns when it may be asked whether it answers.
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
        while let Some(flag) = arguments.next() {
            if flag == "--long" {
                options.long = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--seed" => options.seed = number(&flag, &value)?,
                "--row" => options.row = Some(value),
                "--writers" => options.writers = Some(number(&flag, &value)?),
                "--patience" => options.patience = Duration::from_secs(number(&flag, &value)?),
                "--endpoint" => foreign.endpoint = value.trim_end_matches('/').to_owned(),
                "--access-key" => foreign.access_key = value,
                "--secret-key" => foreign.secret_key = value,
                "--sink" => foreign.sink = value,
                "--arn" => foreign.arn = value,
                "--restart-command" => foreign.restart_command = Some(value),
                _ => return Err(format!("there is no flag {flag}; try --help")),
            }
        }
        if !foreign.endpoint.is_empty() {
            if !foreign.endpoint.starts_with("http://") || foreign.sink.is_empty() || foreign.arn.is_empty() {
                return Err("--endpoint http://HOST:PORT goes with --sink HOST:PORT and --arn ARN".to_owned());
            }
            options.foreign = Some(foreign);
        }
        if let Some(row) = &options.row
            && rows::wanted(&options).is_empty()
        {
            let names: Vec<&str> = rows::ROWS.iter().map(|row| row.name).collect();
            return Err(format!("there is no row {row} here, of {}", names.join(", ")));
        }
        Ok(options)
    }
}

fn number<T: std::str::FromStr>(flag: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{flag} takes a number, not {value}"))
}
