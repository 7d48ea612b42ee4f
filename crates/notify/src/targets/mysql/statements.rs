//! What is said to MySQL and MariaDB.
//!
//! Values stand in a statement as hexadecimal digits, which nothing can break out of, whatever the server's `sql_mode`;
//! a prepared statement would be for one number of rows only.
//!
//! Source of tables and statements: MinIO's MySQL target.

use time::macros::format_description;

use crate::format::{Entry, Format};
use crate::link::FORGET_PAGE;
use crate::target::Delivery;

/// What is said to the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statements {
    pub(super) create: String,
    /// The same where a generated column can be no primary key.
    pub(super) create_in_mariadb: String,
    /// What stands before the rows that are inserted, and behind them.
    insert: [String; 2],
    /// What stands before the hashes of keys whose rows are removed.
    remove: Option<String>,
    table: String,
}

impl Statements {
    pub(super) fn of(format: Format, table: &str) -> Statements {
        let create = |columns: &str| format!("CREATE TABLE IF NOT EXISTS {table} ({columns})");
        match format {
            Format::Namespace => {
                let create_with = |key: &str| {
                    let columns = format!(
                        "key_name VARCHAR(3072) NOT NULL, key_hash CHAR(64) GENERATED ALWAYS AS (SHA2(key_name, 256)) STORED {key}, value JSON"
                    );
                    create(&columns) + " CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin ROW_FORMAT = Dynamic"
                };
                Statements {
                    create: create_with("NOT NULL PRIMARY KEY"),
                    create_in_mariadb: create_with("UNIQUE"),
                    insert: [
                        format!("INSERT INTO {table} (key_name, value) VALUES "),
                        " ON DUPLICATE KEY UPDATE value = VALUES(value)".to_owned(),
                    ],
                    remove: Some(format!("DELETE FROM {table} WHERE key_hash IN ")),
                    table: table.to_owned(),
                }
            }
            Format::Access => {
                let create = create("event_time DATETIME NOT NULL, event_data JSON");
                Statements {
                    create_in_mariadb: create.clone(),
                    create,
                    insert: [format!("INSERT INTO {table} (event_time, event_data) VALUES "), String::new()],
                    remove: None,
                    table: table.to_owned(),
                }
            }
        }
    }

    /// Inserts these rows, each in parentheses.
    pub(super) fn set(&self, rows: &[String]) -> String {
        let [before, behind] = &self.insert;
        format!("{before}{}{behind}", rows.join(","))
    }

    /// Removes the rows of these keys, each a value.
    pub(super) fn remove(&self, keys: &[String]) -> Option<String> {
        let hashes: Vec<String> = keys.iter().map(|key| format!("SHA2({key}, 256)")).collect();
        self.remove.as_ref().map(|before| format!("{before}({})", hashes.join(",")))
    }

    /// Gives the hash that ends the page of rows behind a hash, if rows follow it.
    pub(super) fn page_end(&self, after: &str) -> String {
        let (table, after) = (&self.table, text(after.as_bytes()));
        format!(
            "SELECT key_hash FROM {table} WHERE key_hash > {after} ORDER BY key_hash LIMIT 1 OFFSET {FORGET_PAGE}"
        )
    }

    /// Removes the rows between two hashes, or behind one, whose keys begin so, byte for byte.
    pub(super) fn forget(&self, after: &str, to: Option<&str>, prefix: &str) -> String {
        let (table, after) = (&self.table, text(after.as_bytes()));
        let to = to.map_or_else(String::new, |to| format!(" AND key_hash <= {}", text(to.as_bytes())));
        let (length, prefix) = (prefix.chars().count(), text(prefix.as_bytes()));
        format!(
            "DELETE FROM {table} WHERE key_hash > {after}{to} \
             AND LEFT(CONVERT(key_name USING utf8mb4), {length}) COLLATE utf8mb4_bin = {prefix}"
        )
    }

    /// What keeps records of different keys: all of them set rows, or all remove them.
    pub(super) fn keep(&self, entry: Entry, records: &[Delivery]) -> String {
        let keys = || records.iter().map(|record| text(record.key.as_bytes()));
        if let Some(remove) = self.remove(&keys().collect::<Vec<_>>()).filter(|_| entry == Entry::Remove) {
            return remove;
        }
        let bodies = records.iter().map(|record| text(&record.body));
        let rows: Vec<String> = match self.remove {
            Some(_) => keys().zip(bodies).map(|(key, body)| format!("({key},{body})")).collect(),
            None => records
                .iter()
                .zip(bodies)
                .map(|(record, body)| format!("('{}',{body})", time_of(record)))
                .collect(),
        };
        self.set(&rows)
    }
}

/// A text as a value that can stand in a statement.
fn text(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.map(|digit| char::from(DIGITS[usize::from(digit)]));
    ["_utf8mb4 x'", &digits.collect::<String>(), "'"].concat()
}

/// The record's time as MySQL reads it.
fn time_of(delivery: &Delivery) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]");
    delivery.time().format(format).expect("a time of these centuries can be written")
}

#[cfg(test)]
mod tests {
    use tidings_store::ChangeKind;

    use super::{Statements, time_of};
    use crate::event::Event;
    use crate::format::{Entry, Format};
    use crate::target::Delivery;

    #[test]
    fn tables_are_made_as_minio_makes_them() {
        let of = |format| Statements::of(format, "events").create;
        assert_eq!(
            [of(Format::Namespace), of(Format::Access)],
            [
                "CREATE TABLE IF NOT EXISTS events (key_name VARCHAR(3072) NOT NULL, key_hash CHAR(64) GENERATED ALWAYS AS (SHA2(key_name, 256)) STORED NOT NULL PRIMARY KEY, value JSON) CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin ROW_FORMAT = Dynamic",
                "CREATE TABLE IF NOT EXISTS events (event_time DATETIME NOT NULL, event_data JSON)"
            ]
        );
    }

    fn delivery(key: &str) -> Delivery {
        Delivery {
            key: key.to_owned(),
            event: Event::of(ChangeKind::Put),
            time_ms: 1_795_247_175_358,
            body: "{}".into(),
            attributes: vec![],
        }
    }

    #[test]
    fn a_time_is_told_in_utc() {
        assert_eq!(time_of(&delivery("")), "2026-11-21 07:46:15.358");
    }

    #[test]
    fn a_batch_is_one_statement() {
        let said =
            |format, entry| Statements::of(format, "e").keep(entry, &[delivery("a/'"), delivery("b/ü")]);
        assert_eq!(
            [
                said(Format::Namespace, Entry::Set),
                said(Format::Namespace, Entry::Remove),
                said(Format::Access, Entry::Set)
            ],
            [
                "INSERT INTO e (key_name, value) VALUES (_utf8mb4 x'612F27',_utf8mb4 x'7B7D'),(_utf8mb4 x'622FC3BC',_utf8mb4 x'7B7D') ON DUPLICATE KEY UPDATE value = VALUES(value)",
                "DELETE FROM e WHERE key_hash IN (SHA2(_utf8mb4 x'612F27', 256),SHA2(_utf8mb4 x'622FC3BC', 256))",
                "INSERT INTO e (event_time, event_data) VALUES ('2026-11-21 07:46:15.358',_utf8mb4 x'7B7D'),('2026-11-21 07:46:15.358',_utf8mb4 x'7B7D')",
            ]
        );
    }
}
