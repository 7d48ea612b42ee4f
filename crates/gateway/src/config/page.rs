//! The page of the manual on configuration, rendered from the tables.

use std::fmt::Write as _;

use super::subsystem::{self, Key, Subsystem, TARGET_DEFAULT};
use super::value;

/// What stands before the tables.
const INTRODUCTION: &str = include_str!("page.md");

/// The text of `docs/configuration.md`.
pub fn configuration_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for subsystem in subsystem::all() {
        section(&mut page, subsystem).expect("writing to a string succeeds");
    }
    page
}

fn section(page: &mut String, subsystem: &Subsystem) -> std::fmt::Result {
    writeln!(page, "\n### `{}`\n", subsystem.name)?;
    let mut remarks = vec![capitalized(subsystem.help)];
    if subsystem.has_targets {
        remarks.push(format!("Has named targets: `{}:<name>`", subsystem.name));
    }
    remarks.push(if subsystem.is_dynamic { "Applied at once" } else { "Needs a restart" }.to_owned());
    if !subsystem.is_acted_upon {
        remarks.push("**Kept and given back; this build does not act on it**".to_owned());
    }
    writeln!(page, "{}.\n", remarks.join(". "))?;
    writeln!(page, "| key | environment | takes | default | meaning |")?;
    writeln!(page, "|---|---|---|---|---|")?;
    for key in &subsystem.keys {
        row(page, subsystem, key)?;
    }
    Ok(())
}

fn row(page: &mut String, subsystem: &Subsystem, key: &Key) -> std::fmt::Result {
    let required = if key.is_required { " (required)" } else { "" };
    let secret = if key.is_secret { " (secret)" } else { "" };
    let variables: Vec<String> =
        subsystem.env_names(key, TARGET_DEFAULT).iter().map(|name| format!("`MINIO_{name}`")).collect();
    let default = match key.default {
        "" => String::new(),
        default => format!("`{default}`"),
    };
    writeln!(
        page,
        "| `{}`{required} | {} | {}{secret} | {default} | {} |",
        key.name,
        variables.join(", "),
        value::kind_name(key.kind).replace('|', " or "),
        key.help.replace('|', "\\|")
    )
}

fn capitalized(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::configuration_page;

    #[test]
    fn every_key_of_the_table_has_its_row() {
        let page = configuration_page();
        assert!(page.starts_with("# Configuration\n"), "{}", &page[..40]);
        for subsystem in super::subsystem::all() {
            assert!(page.contains(&format!("\n### `{}`\n", subsystem.name)), "{} is missing", subsystem.name);
        }
        assert!(page.contains(
            "| `csp_policy` | `MINIO_BROWSER_CONTENT_SECURITY_POLICY`, `MINIO_BROWSER_CSP_POLICY` | string |"
        ));
    }
}
