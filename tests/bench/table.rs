//! What a run found: rows as they come, in Markdown, and at the end beside the limits of the same run.

use serde_json::{Value, json};

use crate::Outcome;
use crate::events;
use crate::load::Measured;
use crate::options::{LARGE, Options, SIZES};

/// One cell.
pub(crate) struct Row {
    operation: &'static str,
    size_bytes: usize,
    clients: usize,
    measured: Measured,
    /// How many things one operation does: 1,000 keys of a bulk delete.
    pub(crate) each: usize,
    /// Processor time of the server over the cell, in seconds.
    pub(crate) cpu_s: Option<f64>,
    /// Resident memory of the server after it, in bytes.
    pub(crate) resident_bytes: Option<u64>,
    /// What the drives grew by for each operation, in bytes.
    pub(crate) disk_bytes: Option<u64>,
}

impl Row {
    /// A row without the server's costs.
    pub(crate) fn new(
        operation: &'static str,
        size_bytes: usize,
        clients: usize,
        measured: &Measured,
    ) -> Row {
        let measured = measured.clone();
        let (each, cpu_s, resident_bytes, disk_bytes) = (1, None, None, None);
        Row { operation, size_bytes, clients, measured, each, cpu_s, resident_bytes, disk_bytes }
    }

    /// Things done in a second: operations, keys of bulk deletes.
    fn rate(&self) -> f64 {
        self.measured.per_second() * self.each as f64
    }

    /// Microseconds of the server's processor time an operation took.
    fn cpu_us(&self) -> Option<f64> {
        let operations = self.measured.operations.max(1) as f64;
        self.cpu_s.map(|seconds| seconds * 1e6 / operations)
    }

    fn line(&self) -> String {
        let shown = |number: Option<f64>| number.map_or(String::new(), significant);
        let mib_per_second = self.measured.per_second() * self.size_bytes as f64 / f64::from(1 << 20);
        let bandwidth = Some(mib_per_second).filter(|_| self.size_bytes > 0);
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            self.operation,
            size_name(self.size_bytes),
            self.clients,
            significant(self.measured.per_second()),
            shown(bandwidth),
            significant(self.measured.percentile_ms(0.50)),
            significant(self.measured.percentile_ms(0.99)),
            // Microseconds for one are hundredths of a second for 10,000.
            shown(self.cpu_us().map(|us| us / 100.0)),
            shown(self.resident_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20))),
            shown(self.disk_bytes.map(|bytes| bytes as f64)),
        )
    }

    fn to_json(&self) -> Value {
        json!({
            "operation": self.operation,
            "size_bytes": self.size_bytes,
            "clients": self.clients,
            "operations": self.measured.operations,
            "failures": self.measured.failures,
            "seconds": self.measured.seconds,
            "per_second": self.measured.per_second(),
            "p50_ms": self.measured.percentile_ms(0.50),
            "p99_ms": self.measured.percentile_ms(0.99),
            "server_cpu_us": self.cpu_us(),
            "resident_bytes": self.resident_bytes,
            "disk_bytes": self.disk_bytes,
        })
    }
}

/// Everything a run found.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    figures: Vec<(&'static str, f64, &'static str)>,
}

impl Report {
    /// Takes a row and prints it, under a head when it is the first.
    pub(crate) fn add(&mut self, row: Row) {
        if self.rows.is_empty() {
            println!();
            println!(
                "| operation | size | clients | a second | MiB/s | p50 ms | p99 ms | server CPU s per 10,000 | \
                 resident MiB | disk B each |"
            );
            println!("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|");
        }
        println!("{}", row.line());
        self.rows.push(row);
    }

    /// Takes a figure that is no cell and prints it.
    pub(crate) fn figure(&mut self, what: &'static str, value: f64, unit: &'static str) {
        if self.figures.is_empty() {
            println!("\n| what | figure |\n|---|--:|");
        }
        println!("| {what} | {} {unit} |", significant(value));
        self.figures.push((what, value, unit));
    }

    /// Requests that failed.
    pub(crate) fn failures(&self) -> usize {
        self.rows.iter().map(|row| row.measured.failures).sum()
    }

    /// Everything, for another program.
    pub(crate) fn to_json(&self) -> Value {
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|(what, value, unit)| json!({ "what": what, "value": value, "unit": unit }))
            .collect();
        json!({ "figures": figures, "rows": self.rows.iter().map(Row::to_json).collect::<Vec<_>>() })
    }

    /// The fastest cell of an operation at a size.
    fn best(&self, operation: &str, size_bytes: usize) -> Option<&Row> {
        let rows = self.rows.iter().filter(|row| row.operation == operation && row.size_bytes == size_bytes);
        rows.max_by(|left, right| left.rate().total_cmp(&right.rate()))
    }

    fn at(&self, operation: &str, size_bytes: usize, clients: usize) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.operation == operation && row.size_bytes == size_bytes && row.clients == clients)
    }

    fn value(&self, what: &str) -> Option<f64> {
        self.figures.iter().find(|(have, _, _)| *have == what).map(|(_, value, _)| *value)
    }
}

/// The figure that large PUTs are held against.
pub(crate) const LARGE_PUT_LIMIT: &str = "MD5, encode and raw write of 64 MiB bodies, 4 at once";

/// Prints what was reached beside the floors, as far as this run measured both.
pub(crate) fn print_against_limits(report: &Report) {
    let small = SIZES[0].1;
    let rate = |row: Option<&Row>| row.map(Row::rate);
    let ratio =
        |figure: Option<f64>, limit: Option<f64>| figure.zip(limit).map(|(figure, limit)| figure / limit);
    let put = report.at("PUT", small, 64);
    let large_put = report.at("PUT", LARGE, 4).map(|row| row.rate() * LARGE as f64 / f64::from(1 << 20));
    let large_get = rate(report.at("GET", LARGE, 4));
    let rows = [
        ("PUT 1 KiB, 64 clients, a second", rate(put), "≥", 12_000.0),
        ("PUT 1 KiB, 64 clients, server CPU µs each", put.and_then(Row::cpu_us), "≤", 45.0),
        ("GET 1 KiB, a second", rate(report.best("GET", small)), "≥", 20_000.0),
        ("DELETE, a second", rate(report.best("DELETE", 0)), "≥", 12_000.0),
        ("bulk delete, keys a second", rate(report.best("bulk delete", 0)), "≥", 100_000.0),
        ("LIST, pages of 1,000 a second", rate(report.best("LIST", 0)), "≥", 800.0),
        ("PUT 64 MiB, 4 clients, of its limit", ratio(large_put, report.value(LARGE_PUT_LIMIT)), "≥", 0.6),
        (
            "GET 64 MiB, 4 clients, of the echo",
            ratio(large_get, rate(report.at("echo GET", LARGE, 4))),
            "≥",
            0.7,
        ),
        ("records a second to a webhook", report.value(events::TO_WEBHOOK), "≥", 10_000.0),
        ("records a second to Kafka", report.value(events::TO_KAFKA), "≥", 20_000.0),
        ("PUT with a rule, of one without, webhook up", report.value(events::UP), "≥", 0.85),
        ("… slow", report.value(events::SLOW), "≥", 0.85),
        ("… away", report.value(events::AWAY), "≥", 0.85),
    ];
    let mut is_first = true;
    for (what, figure, sense, floor) in rows {
        let Some(figure) = figure else {
            continue;
        };
        if std::mem::take(&mut is_first) {
            println!("\n| held against its floor | figure | floor | |\n|---|--:|--:|---|");
        }
        let is_met = if sense == "≥" { figure >= floor } else { figure <= floor };
        let verdict = if is_met { "met" } else { "missed" };
        println!("| {what} | {} | {sense} {} | {verdict} |", significant(figure), significant(floor));
    }
}

/// Prints what the figures were taken on.
///
/// # Errors
///
/// What the system says.
pub(crate) fn machine(options: &Options) -> Outcome<()> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let file_system = rustix::fs::statfs(&options.folder)?.f_type;
    println!(
        "{} × {}, Linux {}, drives in {} (file system {file_system:#x}), load before the run {}.",
        std::thread::available_parallelism()?,
        model.trim_start_matches([':', '\t', ' ']),
        kernel.trim(),
        options.folder.display(),
        load.split_whitespace().next().unwrap_or("unknown"),
    );
    Ok(())
}

/// A number with three digits that matter, thousands apart.
fn significant(number: f64) -> String {
    let text = match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        size if size >= 1.0 => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    };
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 && digit.is_ascii_digit() {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

fn size_name(size_bytes: usize) -> String {
    let name = SIZES.iter().find(|(_, size)| *size == size_bytes).map(|(name, _)| *name);
    name.map_or(String::new(), |name| name.replace("KiB", " KiB").replace("MiB", " MiB"))
}
