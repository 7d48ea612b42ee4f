//! Account info: who asks, what their policy is, and which buckets they see with how much in each.

use http::Method;
use serde_json::{Value, json};

use s3::time;
use tidings_s3 as s3;

use super::usage::{BucketUsage, Count};
use super::{Answer, Call};

pub(super) const CALL: Call = Call {
    method: Method::GET,
    path: "/accountinfo",
    run: |gateway, _request| {
        Box::pin(async move {
            let count = gateway.admin.usage.count(&gateway.setup.store).await;
            let buckets = match count.as_deref() {
                Some(Count { buckets, .. }) => buckets.iter().map(bucket).collect(),
                None => Vec::new(),
            };
            // Only the root identity reaches the admin API yet.
            let account = &gateway.setup.directory.root().access_key;
            Ok(Answer::Json(document(account, buckets)))
        })
    },
};

fn document(account: &str, buckets: Vec<Value>) -> Value {
    json!({
        "AccountName": account,
        "Server": { "Type": 2 },
        "Policy": {
            "Version": "2012-10-17",
            "Statement": [
                { "Effect": "Allow", "Action": ["admin:*"] },
                { "Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"] },
            ],
        },
        "Buckets": buckets,
    })
}

fn bucket(usage: &BucketUsage) -> Value {
    json!({
        "name": usage.name,
        "size": usage.size_bytes,
        "objects": usage.objects,
        "objectHistogram": usage.size_histogram().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "created": time::iso8601_ms(i64::try_from(usage.created_ms).unwrap_or(i64::MAX)),
        "access": { "read": true, "write": true },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{BucketUsage, bucket, document};

    #[test]
    fn a_bucket_is_told_with_its_size_and_what_may_be_done() {
        let usage = BucketUsage { name: "a".to_owned(), objects: 2, size_bytes: 7, ..BucketUsage::default() };
        let document = document("minioadmin", vec![bucket(&usage)]);
        assert_eq!(document["AccountName"], json!("minioadmin"));
        assert_eq!(document["Buckets"][0]["size"], json!(7));
        assert_eq!(document["Buckets"][0]["access"], json!({ "read": true, "write": true }));
        assert_eq!(document["Buckets"][0]["created"], json!("1970-01-01T00:00:00.000Z"));
    }
}
