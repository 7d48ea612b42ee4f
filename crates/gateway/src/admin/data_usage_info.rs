//! Data usage: how much each bucket holds, by ranges of size and of versions. `mc stat ALIAS/BUCKET` asks it.

use http::Method;
use serde_json::{Map, Value, json};

use s3::{ErrorCode, Refusal, time};
use store::SetReport;
use tidings_s3 as s3;
use tidings_store as store;

use super::usage::{BucketUsage, Count};
use super::{Answer, Call, drives};

pub(super) const CALL: Call = Call {
    method: Method::GET,
    path: "/datausageinfo",
    run: |gateway, request| {
        Box::pin(async move {
            let count = gateway.admin.usage.count(&gateway.setup.store).await;
            let message = "the objects are being counted for the first time";
            let count = count.ok_or_else(|| Refusal::with(ErrorCode::InvalidRequest, message))?;
            let sets = (request.query("capacity") == "true").then(|| (gateway.setup.reports)());
            Ok(Answer::Json(document(&count, sets.as_deref())))
        })
    },
};

fn document(count: &Count, sets: Option<&[SetReport]>) -> Value {
    let total = count.total();
    let buckets: Map<String, Value> =
        count.buckets.iter().map(|bucket| (bucket.name.clone(), of_bucket(bucket))).collect();
    let sizes: Map<String, Value> =
        count.buckets.iter().map(|bucket| (bucket.name.clone(), bucket.size_bytes.into())).collect();
    let mut document = json!({
        "lastUpdate": time::iso8601_ms(i64::try_from(count.counted_ms).unwrap_or(i64::MAX)),
        "objectsCount": total.objects,
        "versionsCount": total.versions,
        "deleteMarkersCount": total.delete_markers,
        "objectsTotalSize": total.size_bytes,
        "objectsReplicationInfo": null,
        "bucketsCount": count.buckets.len(),
        "bucketsUsageInfo": buckets,
        "bucketsSizes": sizes,
    });
    if let Some(sets) = sets {
        let (capacity, free) = drives::capacity(sets);
        document["capacity"] = capacity.into();
        document["freeCapacity"] = free.into();
        document["usedCapacity"] = capacity.saturating_sub(free).into();
    }
    document
}

fn of_bucket(bucket: &BucketUsage) -> Value {
    let histogram = |rows: Vec<(&'static str, u64)>| -> Map<String, Value> {
        rows.into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect()
    };
    json!({
        "size": bucket.size_bytes,
        "objectsCount": bucket.objects,
        "versionsCount": bucket.versions,
        "deleteMarkersCount": bucket.delete_markers,
        "objectsSizesHistogram": histogram(bucket.size_histogram()),
        "objectsVersionsHistogram": histogram(bucket.version_histogram()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::document;
    use crate::admin::drives;
    use crate::admin::usage::{BucketUsage, Count};

    #[test]
    fn each_bucket_and_the_capacity_are_told() {
        let bucket =
            BucketUsage { name: "a".to_owned(), objects: 2, size_bytes: 7, ..BucketUsage::default() };
        let document = document(&Count::of(vec![bucket]), Some(&drives::samples()));

        assert_eq!(document["bucketsSizes"], json!({ "a": 7 }));
        assert_eq!(document["bucketsUsageInfo"]["a"]["objectsCount"], json!(2));
        assert_eq!(document["bucketsUsageInfo"]["a"]["objectsSizesHistogram"].as_object().unwrap().len(), 11);
        assert_eq!(
            document["bucketsUsageInfo"]["a"]["objectsVersionsHistogram"].as_object().unwrap().len(),
            7
        );
        assert_eq!((&document["capacity"], &document["freeCapacity"]), (&json!(10_000), &json!(7000)));
        assert_eq!(document["lastUpdate"], json!("2027-01-15T08:00:00.000Z"));
    }
}
