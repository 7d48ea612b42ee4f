//! What a run measures, from its command line. The flags are told in `tests/bench/run`.

use std::path::PathBuf;

use crate::Outcome;

/// Sizes of objects, in bytes, by the names the flags take.
pub(crate) const SIZES: [(&str, usize); 7] = [
    ("1KiB", 1 << 10),
    ("16KiB", 16 << 10),
    ("128KiB", 128 << 10),
    ("256KiB", 256 << 10),
    ("512KiB", 512 << 10),
    ("1MiB", 1 << 20),
    ("64MiB", LARGE),
];

/// The large size, in bytes: 64 MiB.
pub(crate) const LARGE: usize = 64 << 20;

/// What there is to measure.
const SUBJECTS: [&str; 13] = [
    "start",
    "million",
    "events",
    "backlog",
    "limits",
    "put",
    "head",
    "get",
    "cold",
    "list",
    "delete",
    "bulk",
    "multipart",
];

/// What a run measures.
pub(crate) struct Options {
    /// Only what has a floor, and shorter.
    pub(crate) quick: bool,
    /// How long a cell takes new requests, in seconds.
    pub(crate) seconds: f64,
    /// Where drives lie.
    pub(crate) folder: PathBuf,
    /// The server's binary; `None` for the release build of this checkout.
    pub(crate) server: Option<PathBuf>,
    /// A server that runs already, as `host:port`.
    pub(crate) endpoint: Option<String>,
    /// Its process.
    pub(crate) pid: Option<u32>,
    /// Where to write the figures as JSON.
    pub(crate) json: Option<PathBuf>,
    /// A Kafka broker, as `host:port`.
    pub(crate) kafka: Option<String>,
    /// Kinds of target to which a backlog drains, described by the environment.
    pub(crate) backlogs: Vec<String>,
    only: Option<Vec<String>>,
    sizes: Option<Vec<String>>,
    clients: Option<Vec<String>>,
}

impl Options {
    /// Reads the flags.
    ///
    /// # Errors
    ///
    /// A flag, subject or size there is none of, a number that is none.
    pub(crate) fn parse(arguments: &[String]) -> Outcome<Options> {
        let mut options = Options {
            quick: false,
            seconds: 0.0,
            folder: std::env::temp_dir(),
            server: None,
            endpoint: None,
            pid: None,
            json: None,
            kafka: None,
            backlogs: Vec::new(),
            only: None,
            sizes: None,
            clients: None,
        };
        let mut arguments = arguments.iter();
        while let Some(flag) = arguments.next() {
            if flag == "--quick" {
                options.quick = true;
                continue;
            }
            // Cargo passes it to every bench.
            if flag == "--bench" {
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?.clone();
            match flag.as_str() {
                "--only" => options.only = Some(list(&value, &SUBJECTS)?),
                "--sizes" => options.sizes = Some(list(&value, &SIZES.map(|(name, _)| name))?),
                "--clients" => options.clients = Some(list(&value, &["1", "4", "16", "64"])?),
                "--seconds" => options.seconds = value.parse()?,
                "--folder" => options.folder = value.into(),
                "--server" => options.server = Some(value.into()),
                "--endpoint" => {
                    let authority = value.strip_prefix("http://").ok_or("an endpoint begins with http://")?;
                    options.endpoint = Some(authority.trim_end_matches('/').to_owned());
                }
                "--pid" => options.pid = Some(value.parse()?),
                "--kafka" => options.kafka = Some(value),
                "--backlog" => {
                    options.backlogs = list(&value, &crate::events::BACKLOGS.map(|(kind, _)| kind))?
                }
                "--json" => options.json = Some(value.into()),
                _ => return Err(format!("there is no flag {flag}; try --help").into()),
            }
        }
        if options.seconds == 0.0 {
            options.seconds = if options.quick { 2.0 } else { 3.0 };
        }
        Ok(options)
    }

    /// Whether a subject is measured.
    pub(crate) fn wants(&self, subject: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|wanted| wanted == subject))
    }

    /// Whether any of some subjects is measured.
    pub(crate) fn wants_any(&self, subjects: &[&str]) -> bool {
        subjects.iter().any(|subject| self.wants(subject))
    }

    /// The sizes to measure, in bytes.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        let wanted = |name: &str| match &self.sizes {
            Some(sizes) => sizes.iter().any(|size| size == name),
            None => !self.quick || name == "1KiB" || name == "64MiB",
        };
        SIZES.iter().filter(|(name, _)| wanted(name)).map(|(_, size)| *size).collect()
    }

    /// The numbers of connections to measure at a size.
    pub(crate) fn clients(&self, size_bytes: usize) -> Vec<usize> {
        let is_large = size_bytes >= LARGE;
        let usual: &[usize] = match (self.quick, is_large) {
            (true, true) => &[4],
            (true, false) => &[64],
            (false, true) => &[1, 4, 16, 64],
            (false, false) => &[1, 16, 64],
        };
        match &self.clients {
            Some(clients) => clients.iter().filter_map(|clients| clients.parse().ok()).collect(),
            None => usual.to_vec(),
        }
    }

    /// How many requests a cell has at most: 1 GiB of them, and what a fast server answers in its seconds.
    pub(crate) fn requests_max(&self, size_bytes: usize, clients: usize) -> usize {
        let by_time = if clients == 1 { 10_000.0 } else { 40_000.0 } * self.seconds;
        let by_bytes = (1 << 30) / size_bytes;
        (by_time as usize).min(by_bytes).max(clients)
    }
}

fn list(value: &str, known: &[&str]) -> Outcome<Vec<String>> {
    let items: Vec<String> = value.split(',').map(str::to_owned).collect();
    match items.iter().find(|item| !known.contains(&item.as_str())) {
        Some(unknown) => Err(format!("{unknown} is none of {}", known.join(", ")).into()),
        None => Ok(items),
    }
}
