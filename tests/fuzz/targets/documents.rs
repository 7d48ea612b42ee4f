//! Every XML document a client may send is read or refused, without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_s3::xml::{CompleteMultipartUpload, CreateBucketConfiguration, Delete, NotificationConfiguration};

fuzz_target!(|body: &[u8]| {
    let _ = CompleteMultipartUpload::parse(body);
    let _ = CreateBucketConfiguration::parse(body);
    let _ = Delete::parse(body);
    let _ = NotificationConfiguration::parse(body);
});
