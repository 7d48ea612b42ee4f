//! `Content-Encoding` without `aws-chunked`, which names the framing of an upload and is no property
//! of the object.

/// The encoding to store: the value sent, without every `aws-chunked` token in any case, place and
/// spacing; `None` when nothing is left.
///
/// The token is taken out whether or not the body really came in chunks, since clients also send it
/// as a mere label.
pub fn stored(value: &str) -> Option<String> {
    let is_framing = |token: &&str| token.eq_ignore_ascii_case("aws-chunked");
    let tokens: Vec<&str> = value
        .split(',')
        .map(str::trim)
        .filter(|token| !token.is_empty())
        .collect();
    if !tokens.iter().any(is_framing) {
        return Some(value.trim().to_owned()).filter(|value| !value.is_empty());
    }
    let kept: Vec<&str> = tokens.into_iter().filter(|token| !is_framing(token)).collect();
    Some(kept.join(", ")).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::stored;

    #[test]
    fn the_framing_is_left_out_wherever_it_stands() {
        for (sent, kept) in [
            ("gzip, aws-chunked", Some("gzip")),
            ("aws-chunked,gzip", Some("gzip")),
            ("AWS-Chunked", None),
            ("aws-chunked, aws-chunked", None),
            ("deflate,  gzip", Some("deflate,  gzip")),
            ("gzip,aws-chunked,br", Some("gzip, br")),
            (" ", None),
        ] {
            assert_eq!(stored(sent).as_deref(), kept, "{sent}");
        }
    }
}
