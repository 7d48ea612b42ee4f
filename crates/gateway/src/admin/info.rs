//! `mc admin info ALIAS`: the server, its drives, its targets, and how much it holds.
//!
//! `mc` prints nothing but "unable to get service info" unless `servers` is there and the backend is called
//! `Erasure`, and it reads the arrays of the backend at each drive's `pool_index`: both are part of the form.
//! How much the buckets hold is a count that may be older than the last change ([`super::usage`]).

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use notify::TargetReport;
use store::SetReport;
use tidings_notify as notify;
use tidings_store as store;

use super::usage::{BucketUsage, Count};
use super::{Answer, Call, drives};
use crate::Gateway;

pub(super) const CALL: Call = Call {
    method: Method::GET,
    path: "/info",
    run: |gateway, _request| {
        Box::pin(async move {
            let count = gateway.admin.usage.count(&gateway.setup.store).await;
            let targets = gateway.setup.notifier.reports().await;
            let sets = (gateway.setup.reports)();
            Ok(Answer::Json(document(&Server::of(gateway), &sets, count.as_deref(), &targets)))
        })
    },
};

/// What clients take for the number of a server's pool when it has several: they look at the list then.
const POOLS_SEVERAL: i64 = i64::MAX;

/// What the answer tells of the process.
struct Server<'a> {
    endpoint: &'a str,
    region: &'a str,
    uptime_s: u64,
    environment: &'a BTreeMap<String, String>,
}

impl Server<'_> {
    fn of(gateway: &Gateway) -> Server<'_> {
        let now_ms = gateway.setup.store.clock().now_ms();
        Server {
            endpoint: &gateway.setup.endpoint,
            region: &gateway.setup.region,
            uptime_s: now_ms.saturating_sub(gateway.admin.started_ms) / 1000,
            environment: &gateway.setup.environment,
        }
    }
}

fn document(
    server: &Server<'_>,
    sets: &[SetReport],
    count: Option<&Count>,
    targets: &[TargetReport],
) -> Value {
    let (online, offline) = drives::count(sets);
    let first = sets.first();
    let parity = first.map_or(0, |set| set.parity);
    let arns: Vec<&str> = targets.iter().map(|target| target.arn.as_str()).collect();
    let mut document = json!({
        "mode": "online",
        "region": server.region,
        "sqsARN": arns,
        "deploymentID": first.map(|set| set.id.as_str()).unwrap_or_default(),
    });
    let amounts = match count {
        Some(count) => {
            let total = count.total();
            json!({
                "buckets": { "count": count.buckets.len() },
                "objects": { "count": total.objects },
                "versions": { "count": total.versions },
                "deletemarkers": { "count": total.delete_markers },
                "usage": { "size": total.size_bytes },
            })
        }
        None => {
            let unknown = json!({ "count": 0, "error": "the objects are being counted for the first time" });
            json!({ "buckets": unknown, "objects": unknown, "versions": unknown, "deletemarkers": unknown,
                    "usage": { "size": 0, "error": "the objects are being counted for the first time" } })
        }
    };
    let rest = json!({
        "services": { "kms": {}, "ldap": {}, "notifications": notifications(targets) },
        "backend": {
            "backendType": "Erasure",
            "onlineDisks": online,
            "offlineDisks": offline,
            "standardSCParity": parity,
            "rrSCParity": parity,
            "totalSets": vec![1; sets.len()],
            "totalDrivesPerSet": sets.iter().map(|set| set.drives.len()).collect::<Vec<_>>(),
        },
        "servers": [server_document(server, sets)],
        "pools": pools(sets, count),
    });
    for part in [amounts, rest] {
        let (Value::Object(document), Value::Object(part)) = (&mut document, part) else {
            unreachable!("both are written as objects above")
        };
        document.extend(part);
    }
    document
}

fn server_document(server: &Server<'_>, sets: &[SetReport]) -> Value {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let names = server.environment.keys();
    let ours = names.filter(|name| name.starts_with("MINIO_") || name.starts_with("TIDINGS_"));
    // Which of the values are secrets is not for this place to decide: it tells none.
    let variables: BTreeMap<&str, &str> =
        ours.map(|name| (name.as_str(), "*** EXISTS, REDACTED ***")).collect();
    json!({
        "state": "online",
        "endpoint": server.endpoint,
        "scheme": "",
        "uptime": server.uptime_s,
        "version": env!("CARGO_PKG_VERSION"),
        "commitID": "",
        "network": { (server.endpoint): "online" },
        "drives": drives::documents(sets),
        "poolNumber": if sets.len() == 1 { 1 } else { POOLS_SEVERAL },
        "poolNumbers": (1..=sets.len()).collect::<Vec<_>>(),
        "num_cpu": processors,
        "runtime_version": concat!("tidings ", env!("CARGO_PKG_VERSION")),
        "minio_env_vars": variables,
        "edition": "",
    })
}

/// Every set is a pool of one set: `{"0": {"0": …}, "1": {"0": …}}`.
fn pools(sets: &[SetReport], count: Option<&Count>) -> Value {
    let pools = sets.iter().enumerate().map(|(pool, set)| {
        let total = count.map(|count| count.total_in(pool)).unwrap_or_default();
        (pool.to_string(), json!({ "0": of_set(set, &total) }))
    });
    Value::Object(pools.collect())
}

fn of_set(set: &SetReport, total: &BucketUsage) -> Value {
    let (capacity, free) = drives::capacity(std::slice::from_ref(set));
    json!({
        "id": 0,
        "rawUsage": capacity.saturating_sub(free),
        "rawCapacity": capacity,
        "usage": total.size_bytes,
        "objectsCount": total.objects,
        "versionsCount": total.versions,
        "deleteMarkersCount": total.delete_markers,
        "healDisks": drives::healing(std::slice::from_ref(set)),
    })
}

/// Targets by kind: `[{"kafka": [{"1": {"status": "online"}}]}]`.
fn notifications(targets: &[TargetReport]) -> Value {
    let mut kinds: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for report in targets {
        let status = if report.is_online { "online" } else { "offline" };
        kinds
            .entry(report.target.kind)
            .or_default()
            .push(json!({ (report.target.id.as_str()): { "status": status } }));
    }
    kinds.into_iter().map(|(kind, targets)| json!({ (kind): targets })).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::{Server, SetReport, document, drives};
    use crate::admin::usage::{BucketUsage, Count};
    use tidings_notify::{TargetId, TargetReport};

    fn target(id: &str, kind: &'static str, is_online: bool) -> TargetReport {
        TargetReport {
            target: TargetId { id: id.to_owned(), kind },
            arn: format!("arn:minio:sqs::{id}:{kind}"),
            is_online,
            ..TargetReport::default()
        }
    }

    fn answer(count: Option<&Count>) -> Value {
        answer_of(&[drives::sample()], count)
    }

    fn answer_of(sets: &[SetReport], count: Option<&Count>) -> Value {
        let environment = BTreeMap::from([
            ("MINIO_ROOT_PASSWORD".to_owned(), "hidden".to_owned()),
            ("HOME".to_owned(), "/root".to_owned()),
        ]);
        let server =
            Server { endpoint: "127.0.0.1:9000", region: "", uptime_s: 469, environment: &environment };
        let targets = [target("1", "kafka", true), target("2", "kafka", false), target("a", "webhook", true)];
        document(&server, sets, count, &targets)
    }

    #[test]
    fn the_fields_that_mc_prints_are_there() {
        let bucket = BucketUsage { objects: 12, versions: 13, size_bytes: 40, ..BucketUsage::default() };
        let answer = answer(Some(&Count::of(vec![bucket])));

        assert_eq!(
            answer["backend"],
            json!({
                "backendType": "Erasure", "onlineDisks": 7, "offlineDisks": 1, "standardSCParity": 4,
                "rrSCParity": 4, "totalSets": [1], "totalDrivesPerSet": [8],
            })
        );
        let amounts = ["buckets", "objects", "versions", "usage"].map(|name| answer[name].to_string());
        assert_eq!(amounts, [r#"{"count":1}"#, r#"{"count":12}"#, r#"{"count":13}"#, r#"{"size":40}"#]);
        let server = &answer["servers"][0];
        assert_eq!((&server["state"], &server["uptime"]), (&json!("online"), &json!(469)));
        assert_eq!(server["network"], json!({ "127.0.0.1:9000": "online" }));
        let states: Vec<&Value> =
            server["drives"].as_array().unwrap().iter().map(|drive| &drive["state"]).collect();
        assert_eq!(states, [vec!["ok"; 7], vec!["offline"]].concat());
        assert_eq!(server["drives"][7]["disk_index"], json!(7));
    }

    #[test]
    fn every_set_is_a_pool_with_its_own_drives_and_buckets() {
        let bucket = |place: u32, objects| BucketUsage { place, objects, ..BucketUsage::default() };
        let count = Count::of(vec![bucket(0, 1), bucket(1, 2), bucket(1, 3)]);
        let answer = answer_of(&drives::samples(), Some(&count));

        assert_eq!(answer["backend"]["totalSets"], json!([1, 1]));
        assert_eq!(answer["backend"]["totalDrivesPerSet"], json!([8, 2]));
        assert_eq!(answer["deploymentID"], json!(drives::sample().id));
        let indexes: Vec<&Value> = answer["servers"][0]["drives"]
            .as_array()
            .unwrap()
            .iter()
            .map(|drive| &drive["pool_index"])
            .collect();
        assert_eq!(indexes, [vec![0; 8], vec![1; 2]].concat());
        assert_eq!(answer["servers"][0]["poolNumbers"], json!([1, 2]));
        let pool = |number: &str| {
            let pool = &answer["pools"][number]["0"];
            (pool["rawCapacity"].clone(), pool["objectsCount"].clone())
        };
        assert_eq!([pool("0"), pool("1")], [(json!(8000), json!(1)), (json!(2000), json!(5))]);
        assert_eq!(answer["objects"], json!({ "count": 6 }));
    }

    #[test]
    fn targets_stand_by_kind_with_their_status_and_their_arns() {
        let answer = answer(None);
        assert_eq!(
            answer["services"]["notifications"],
            json!([
                { "kafka": [{ "1": { "status": "online" } }, { "2": { "status": "offline" } }] },
                { "webhook": [{ "a": { "status": "online" } }] },
            ])
        );
        assert_eq!(answer["sqsARN"][2], json!("arn:minio:sqs::a:webhook"));
    }

    #[test]
    fn variables_are_named_and_their_values_are_not() {
        let answer = answer(None);
        let variables = &answer["servers"][0]["minio_env_vars"];
        assert_eq!(variables, &json!({ "MINIO_ROOT_PASSWORD": "*** EXISTS, REDACTED ***" }));
    }

    #[test]
    fn a_count_that_is_not_there_yet_is_said_and_not_made_up() {
        assert_eq!(
            answer(None)["objects"],
            json!({ "count": 0, "error": "the objects are being counted for the first time" })
        );
    }
}
