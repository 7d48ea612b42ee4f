//! `tidings events lag`: how each target is doing, as a table.

use http::Method;
use serde_json::Value;

use super::{ask, say};
use crate::client::Client;

const COLUMNS: [&str; 9] =
    ["TARGET", "STATE", "WAITING", "LAG", "DELIVERED", "FAILED", "DEAD", "DROPPED", "REASON"];

/// Prints a line for each target, or with `json` the server's document of each.
pub(super) async fn tell(client: &Client, json: bool) -> Result<(), String> {
    let said = ask(client, Method::GET, "targets", &[]).await?;
    let targets = said["targets"].as_array().ok_or("the answer names no targets")?;
    if json {
        targets.iter().for_each(say);
    } else if targets.is_empty() {
        say(format_args!("No target is configured."));
    } else {
        say(table(targets).trim_end());
    }
    Ok(())
}

fn table(targets: &[Value]) -> String {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(targets.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

fn row(target: &Value) -> [String; COLUMNS.len()] {
    let text = |name: &str| target[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| target[name].as_u64().unwrap_or(0).to_string();
    let state = match (target["paused"].as_bool(), target["online"].as_bool()) {
        (Some(true), _) => "paused",
        (_, Some(true)) => "online",
        _ => "offline",
    };
    [
        text("target"),
        state.to_owned(),
        number("waiting"),
        duration(target["lag_ms"].as_u64().unwrap_or(0)),
        number("delivered"),
        number("failed"),
        number("dead_letters"),
        number("dropped"),
        text("reason"),
    ]
}

/// `0s`, `12s`, `3m04s`, `2h05m`, `3d04h`.
fn duration(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86_400, s / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{duration, table};

    #[test]
    fn durations_are_told_in_two_units() {
        assert_eq!(
            [999, 12_000, 184_000, 7_500_000, 273_600_000].map(duration),
            ["0s", "12s", "3m04s", "2h05m", "3d04h"]
        );
    }

    #[test]
    fn each_target_has_a_line_and_columns_are_as_wide_as_they_must_be() {
        let away = json!({ "target": "backup:webhook", "online": false, "waiting": 12345, "lag_ms": 61_000,
            "failed": 7, "reason": "connection refused" });
        let paused = json!({ "target": "1:kafka", "online": true, "paused": true, "delivered": 9 });
        assert_eq!(
            table(&[away, paused]),
            "TARGET          STATE    WAITING  LAG    DELIVERED  FAILED  DEAD  DROPPED  REASON\n\
             backup:webhook  offline  12345    1m01s  0          7       0     0        connection refused\n\
             1:kafka         paused   0        0s     9          0       0     0\n"
        );
    }
}
