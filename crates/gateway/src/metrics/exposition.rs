//! The text that scrapers read: families of series in the Prometheus exposition format 0.0.4.

use std::fmt::{Display, Write as _};

/// What a family's numbers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Grows until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A page under way. Every series carries the label `server`.
pub(super) struct Page {
    text: String,
    server: String,
}

impl Page {
    /// An empty page of the server with this address.
    pub(super) fn new(server: &str) -> Page {
        Page { text: String::new(), server: server.to_owned() }
    }

    /// A family with one series.
    pub(super) fn one(&mut self, kind: Kind, name: &str, help: &str, value: impl Display) {
        self.family(kind, name, help, [(Vec::new(), value)]);
    }

    /// A family of series, each with labels beside `server`. Nothing is written when there is no series.
    pub(super) fn family<V: Display>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Vec<(&'static str, String)>, V)>,
    ) {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return;
        }
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
        for (labels, value) in series {
            let server = ("server", self.server.clone());
            let labels: Vec<String> = labels
                .iter()
                .chain([&server])
                .map(|(label, text)| format!("{label}=\"{}\"", escaped(text)))
                .collect();
            self.line(format_args!("{name}{{{}}} {value}", labels.join(",")));
        }
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a string succeeds");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::{Kind, Page};

    #[test]
    fn a_family_has_its_help_its_kind_and_a_line_for_each_series() {
        let mut page = Page::new("127.0.0.1:9000");
        page.one(Kind::Gauge, "up", "whether it is up", 1);
        page.family(Kind::Counter, "sent", "bytes", [(vec![("bucket", "a\"b".to_owned())], 2.5)]);
        page.family(Kind::Counter, "none", "no series", Vec::<(Vec<_>, u64)>::new());
        assert_eq!(
            page.finish(),
            "# HELP up whether it is up\n# TYPE up gauge\nup{server=\"127.0.0.1:9000\"} 1\n\
             # HELP sent bytes\n# TYPE sent counter\nsent{bucket=\"a\\\"b\",server=\"127.0.0.1:9000\"} 2.5\n"
        );
    }
}
