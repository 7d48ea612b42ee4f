//! A request head is understood or refused: address, signature in header and query, copy source, range.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_s3::sigv4::{Request, Rules, Signed};
use tidings_s3::{address::Address, copy_source::CopySource, range};

fuzz_target!(|input: (&str, &str, &str, u64)| {
    let (path, query, text, size) = input;
    let _ = Address::parse(text, path, &["example.com".to_owned()]);
    let _ = CopySource::parse(text);
    if let Ok(Some(bytes)) = range::resolve(text, size) {
        assert!(bytes.start() <= bytes.end() && *bytes.end() < size);
    }
    let headers = [("authorization", text), ("host", text), ("x-amz-date", "20260115T120000Z")];
    let request = Request { method: "PUT", path, query, headers: &headers };
    let rules = Rules { now_s: 1_768_478_400, region: "", service: "s3" };
    let _ = Signed::from_header(&request, &rules);
    let _ = Signed::from_query(&request, &rules);
});
