//! The log on standard error: sentences for an operator, or one JSON object per line.
//!
//! Standard output stays empty. `TIDINGS_LOG` takes the filters of `RUST_LOG`
//! (`info,tidings_notify=debug`); without it everything from `info` on is told, with `--quiet` from `warn`
//! on. The JSON form is MinIO's: `{"level":"INFO","time":"…","message":"…"}`, fields beside the message.

use std::fmt::{self, Write as _};

use tidings_s3::time::iso8601_ms;
use tidings_store::{Clock, SystemClock};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::Output;
use crate::environment::{Variables, first};

/// Libraries whose own news is no news to an operator.
const LIBRARIES: &str =
    "rdkafka=error,librdkafka=error,rumqttc=error,hyper=warn,h2=warn,rustls=warn,sled=warn";

/// Begins to log. Once per process; a second call changes nothing.
pub fn install(output: Output, environment: &Variables) {
    let level = if output.quiet { "warn" } else { "info" };
    let directives = match first(environment, &["TIDINGS_LOG"]) {
        Some(wanted) => wanted.to_owned(),
        None => format!("{level},{LIBRARIES}"),
    };
    let is_installed = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(EnvFilter::builder().parse_lossy(directives))
        .event_format(Lines { json: output.json })
        .try_init();
    if is_installed.is_err() {
        tracing::debug!("The log goes on as it was begun.");
    }
}

/// One line in the form of the log, for what is told before and beside it: a failed start, the banner.
pub fn json_line(level: &str, message: &str) -> String {
    json(level, message, &[])
}

fn json(level: &str, message: &str, fields: &[(&'static str, String)]) -> String {
    let now = i64::try_from(SystemClock.now_ms()).unwrap_or(i64::MAX);
    let mut line = serde_json::Map::new();
    line.insert("level".to_owned(), level.into());
    line.insert("time".to_owned(), iso8601_ms(now).into());
    line.insert("message".to_owned(), message.into());
    for (name, value) in fields {
        line.insert((*name).to_owned(), value.as_str().into());
    }
    serde_json::Value::Object(line).to_string()
}

/// How an event becomes a line.
struct Lines {
    json: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut told = Told::default();
        event.record(&mut told);
        writeln!(writer, "{}", line(self.json, *event.metadata().level(), &told))
    }
}

fn line(is_json: bool, level: Level, told: &Told) -> String {
    if is_json {
        let level = match level {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "INFO",
            Level::DEBUG | Level::TRACE => "DEBUG",
        };
        return json(level, &told.message, &told.fields);
    }
    let mut line = format!("{level}: {}", told.message);
    for (at, (name, value)) in told.fields.iter().enumerate() {
        let before = if at == 0 { " (" } else { ", " };
        write!(line, "{before}{name}: {value}").expect("writing to a string cannot fail");
    }
    if !told.fields.is_empty() {
        line.push(')');
    }
    line
}

/// Message and fields of an event.
#[derive(Default)]
struct Told {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Told {
    fn tell(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            // What the bridge from the `log` crate adds for its own use.
            name if name.starts_with("log.") => {}
            name => self.fields.push((name, value)),
        }
    }
}

impl Visit for Told {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.tell(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.tell(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told {
        Told {
            message: "A drive is out.".to_owned(),
            fields: vec![("drive", "/d1".to_owned()), ("n", "2".to_owned())],
        }
    }

    #[test]
    fn a_line_is_a_sentence_with_its_values_behind() {
        assert_eq!(line(false, Level::WARN, &told()), "WARN: A drive is out. (drive: /d1, n: 2)");
    }

    #[test]
    fn a_json_line_has_minios_keys_and_the_fields_beside() {
        let line: serde_json::Value = serde_json::from_str(&line(true, Level::WARN, &told())).unwrap();
        let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["level", "time", "message", "drive", "n"]);
        assert_eq!(line["level"], "WARNING");
        assert_eq!(line["message"], "A drive is out.");
    }
}
