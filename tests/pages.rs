//! Pages of the documentation that are rendered from tables of the code, and the test that they are fresh.
//!
//! `cargo render` writes them anew.

use std::fs;
use std::path::Path;

/// A page, and what stands in it between the marks of each rendered part. A page without marks is rendered
/// whole.
fn pages() -> Vec<(&'static str, Option<&'static str>, String)> {
    vec![
        ("docs/configuration.md", None, tidings_gateway::configuration_page()),
        ("docs/compatibility.md", Some("operations"), tidings_gateway::operations_table()),
        ("docs/events.md", Some("keys"), tidings_notify::render_keys()),
        ("docs/events.md", Some("events"), tidings_notify::render_events()),
    ]
}

fn rendered(name: &str, part: Option<&str>, text: &str) -> (std::path::PathBuf, String, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root").join(name);
    let before = fs::read_to_string(&path).unwrap_or_default();
    let after = match part {
        None => text.to_owned(),
        Some(part) => {
            let (begin, end) = (format!("<!-- {part}:begin -->\n"), format!("<!-- {part}:end -->"));
            let (head, rest) =
                before.split_once(&begin).unwrap_or_else(|| panic!("{name} has no mark {begin}"));
            let (_, tail) = rest.split_once(&end).unwrap_or_else(|| panic!("{name} has no mark {end}"));
            format!("{head}{begin}{}\n{end}{tail}", text.trim_end())
        }
    };
    (path, before, after)
}

#[test]
fn rendered_pages_are_what_the_tables_say() {
    for (name, part, text) in pages() {
        let (_, before, after) = rendered(name, part, &text);
        assert!(before == after, "{name} is stale: cargo render writes it anew");
    }
}

#[test]
#[ignore = "writes the rendered pages anew: cargo render"]
fn render_the_pages() {
    for (name, part, text) in pages() {
        let (path, _, after) = rendered(name, part, &text);
        fs::write(path, after).unwrap();
    }
}
