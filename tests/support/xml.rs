//! Just enough XML for assertions: the texts of an element.

/// The texts of every `<name>…</name>` in document order; elements with attributes are found too.
pub(crate) fn texts(document: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    let mut found = Vec::new();
    let mut rest = document;
    while let Some(at) = rest.find(&open) {
        let after = &rest[at + open.len()..];
        let is_whole_name = after.starts_with(['>', ' ', '/']);
        let Some(begin) = after.find('>') else { break };
        rest = &after[begin + 1..];
        if !is_whole_name || after[..begin].ends_with('/') {
            continue;
        }
        let Some(end) = rest.find(&close) else { break };
        found.push(rest[..end].to_owned());
        rest = &rest[end..];
    }
    found
}

/// The text of the first `<name>`, or nothing.
pub(crate) fn text(document: &str, name: &str) -> String {
    texts(document, name).into_iter().next().unwrap_or_default()
}
