//! `mc admin heal -r`: a sequence is begun, followed and stopped.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::testing::Server;

const SETTINGS: &str = concat!(
    r#"{"recursive":true,"dryRun":false,"remove":false,"recreate":false,"scanMode":1,"#,
    r#""updateParity":false,"nolock":false}"#
);

/// Posts to the heal of a path; what it answers.
async fn post(server: &Server, target: &str, body: &str, status: u16) -> Value {
    let answer = server.post(&format!("/minio/admin/v3/heal/{target}")).body(body).send().await;
    serde_json::from_slice(&answer.expect(status).body).unwrap()
}

async fn begin(server: &Server, path: &str, settings: &str) -> String {
    let begun = post(server, path, settings, 200).await;
    assert_eq!(begun["clientAddress"], json!("127.0.0.1"));
    assert_eq!(begun["startTime"], json!("2026-01-15T12:00:00.000Z"));
    begun["clientToken"].as_str().unwrap().to_owned()
}

/// Asks until a sequence is over: its last answer, and the items of all answers.
async fn follow(server: &Server, path: &str, token: &str) -> (Value, Vec<Value>) {
    let mut items = Vec::new();
    loop {
        // As `mc` asks that began one by force.
        let target = format!("{path}?clientToken={token}&forceStart=true");
        let mut status = post(server, &target, "", 200).await;
        if let Some(found) = status.as_object_mut().unwrap().remove("Items") {
            items.extend(found.as_array().unwrap().iter().cloned());
        }
        if status["Summary"] != json!("running") {
            return (status, items);
        }
        tokio::task::yield_now().await;
    }
}

fn names(items: &[Value]) -> Vec<String> {
    let name =
        |item: &Value| ["type", "bucket", "object"].map(|field| item[field].as_str().unwrap()).join(" ");
    items.iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_tells_its_bucket_and_every_object_below_its_path_once() {
    let server = Server::with_album().await;
    for key in ["red/a", "red/b c", "tulip"] {
        server.put(&format!("/album/{}", key.replace(' ', "%20"))).body("rose").send().await.expect(200);
    }
    let token = begin(&server, "album/red/", SETTINGS).await;
    let (status, items) = follow(&server, "album/red/", &token).await;
    let settings: Value = serde_json::from_str(SETTINGS).unwrap();
    let start = "2026-01-15T12:00:00.000Z";
    assert_eq!(status, json!({ "Summary": "finished", "StartTime": start, "Settings": settings }));
    assert_eq!(names(&items), ["bucket album ", "object album red/a", "object album red/b c"]);
    let told = (&items[1]["resultId"], &items[1]["objectSize"], &items[1]["versionId"]);
    assert_eq!(told, (&json!(2), &json!(4), &json!("null")));
    let (_, again) = follow(&server, "album/red/", &token).await;
    assert_eq!(again, [0; 0].map(Value::from));

    for (path, settings, wanted) in [
        ("album/tulip", r#"{"recursive":false}"#, vec!["bucket album ", "object album tulip"]),
        ("album/red/", r#"{"recursive":false}"#, vec!["bucket album "]),
        ("", r#"{"recursive":true,"pool":0,"set":0}"#, vec!["bucket album ", "object album red/a"]),
        ("", r#"{"recursive":true,"pool":1}"#, vec![]),
    ] {
        let token = begin(&server, path, settings).await;
        let (_, items) = follow(&server, path, &token).await;
        assert_eq!(names(&items)[..wanted.len()], wanted, "{path} {settings}");
        assert_eq!(items.is_empty(), wanted.is_empty(), "{path} {settings}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_runs_is_told_of_stopped_and_replaced() {
    let server = Server::healed_by(Arc::new(|_, told| {
        while told(None) {
            std::thread::yield_now();
        }
        Err("it was ended".to_owned())
    }))
    .await;
    server.put("/album").send().await.expect(200);
    let first = begin(&server, "album", SETTINGS).await;
    let refused = post(&server, "album", SETTINGS, 400).await;
    assert_eq!(refused["Code"], json!("XMinioHealAlreadyRunning"));
    assert!(refused["Message"].as_str().unwrap().contains(&first), "{refused}");
    let refused = post(&server, "album/red", SETTINGS, 400).await;
    assert_eq!(refused["Code"], json!("XMinioHealOverlappingPaths"));

    let second = begin(&server, "album?forceStart=true", SETTINGS).await;
    let refused = post(&server, &format!("album?clientToken={first}"), "", 400).await;
    assert_eq!(refused["Code"], json!("XMinioHealInvalidClientToken"));

    let stopped = post(&server, "album?forceStop=true", "{}", 200).await;
    assert_eq!(stopped["clientToken"], json!(second));
    let (status, _) = follow(&server, "album", &second).await;
    assert_eq!(status["Summary"], json!("stopped"));
    assert_eq!(status["Detail"], json!("an administrator stopped it"));
    let stopped = post(&server, "album?forceStop=true", "{}", 200).await;
    assert_eq!(stopped["clientToken"], json!("unknown"));

    let third = begin(&server, "album", SETTINGS).await;
    server.gateway.close_streams();
    let (status, _) = follow(&server, "album", &third).await;
    assert_eq!(status["Detail"], json!("the server is shutting down"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_and_what_fails_is_told() {
    let server = Server::healed_by(Arc::new(|_, _| Err("the index could not be read".to_owned()))).await;
    server.put("/album").send().await.expect(200);
    for (target, body, status, code) in [
        ("attic", SETTINGS, 404, "NoSuchBucket"),
        ("a%00b", SETTINGS, 400, "InvalidBucketName"),
        ("album", "", 400, "XMinioMalformedJSON"),
        ("album", r#"{"scanMode":9}"#, 400, "XMinioAdminInvalidArgument"),
        ("album?forceStart=true&forceStop=true", SETTINGS, 400, "XMinioAdminInvalidArgument"),
        ("album?clientToken=1", "", 400, "XMinioHealNoSuchProcess"),
    ] {
        assert_eq!(post(&server, target, body, status).await["Code"], json!(code), "{target} {body}");
    }
    let answer = server.post("/minio/admin/v3/heal/album").anonymous().body(SETTINGS).send().await;
    assert_eq!(answer.status.as_u16(), 403);

    let token = begin(&server, "album", SETTINGS).await;
    let (status, items) = follow(&server, "album", &token).await;
    assert_eq!((&status["Summary"], names(&items)), (&json!("stopped"), vec!["bucket album ".to_owned()]));
    assert_eq!(status["Detail"], json!("the index could not be read"));
}
