//! Metrics: what Prometheus scrapes, under the paths and names that dashboards for MinIO ask for.
//!
//! | path | series |
//! |---|---|
//! | `/minio/v2/metrics/cluster` | capacity, drives, healing, usage, requests, notification targets |
//! | `/minio/v2/metrics/node`, `/resource` | drives, healing and this process |
//! | `/minio/v2/metrics/bucket` | usage by bucket |
//! | `/minio/metrics/v3/` `notification`, `cluster/…`, `api/requests` | the newer names, also by prefix |
//! | `/minio/prometheus/metrics` | the oldest names |
//!
//! A scraper shows a token ([`token`]), unless `MINIO_PROMETHEUS_AUTH_TYPE=public`. Usage is a count that may
//! be older than the last change; its families are missing until the first count is done.
//!
//! What is not here: series of what this build does not have (replication, key servers), and requests
//! by bucket.

mod counters;
mod exposition;
mod families;
mod healing;
mod process;
mod token;

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{Method, Response, StatusCode, request};

use s3::{ErrorBody, ErrorCode, Refusal};
use tidings_notify as notify;
use tidings_s3 as s3;
use tidings_store as store;

use crate::admin::usage::Count;
use crate::{Gateway, ResponseBody, respond as replies};
use exposition::Page;
use process::Process;

pub(crate) use counters::Counters;

/// What a page of the exposition format says it is.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Beginning of the paths of the newer names.
const V3: &str = "/minio/metrics/v3";

/// Everything that pages are made of, at one moment.
struct Snapshot {
    sets: Vec<store::SetReport>,
    count: Option<Arc<Count>>,
    targets: Vec<notify::TargetReport>,
    calls: Vec<(&'static str, counters::CallCounts)>,
    /// Accesses that no record could be committed for, since start.
    accesses_lost: u64,
    process: Process,
    started_ms: u64,
    now_ms: u64,
}

/// Writes the families of a page.
type Write = fn(&mut Page, &Snapshot);

/// The newer paths, below [`V3`].
const V3_PAGES: [(&str, Write); 6] = [
    ("/api/requests", families::v3_requests),
    ("/cluster/erasure-set", healing::v3_erasure_set),
    ("/cluster/health", families::v3_health),
    ("/cluster/usage/buckets", families::v3_usage_buckets),
    ("/cluster/usage/objects", families::v3_usage_objects),
    ("/notification", families::v3_notification),
];

/// Answers what is below the metrics paths.
pub(crate) async fn respond(gateway: &Gateway, head: &request::Parts) -> Response<ResponseBody> {
    if head.method != Method::GET {
        return refused(gateway, head, ErrorCode::MethodNotAllowed);
    }
    if !is_allowed(gateway, head) {
        return refused(gateway, head, ErrorCode::AccessDenied);
    }
    let pages = pages(head.uri.path());
    if pages.is_empty() {
        return replies::empty(StatusCode::NOT_FOUND);
    }
    let snapshot = Snapshot {
        sets: (gateway.setup.reports)(),
        count: gateway.admin.usage.count(&gateway.setup.store).await,
        targets: gateway.setup.notifier.reports().await,
        calls: gateway.counters.read(),
        accesses_lost: gateway.accesses.lost(),
        process: Process::read(),
        started_ms: gateway.admin.started_ms,
        now_ms: gateway.setup.store.clock().now_ms(),
    };
    let mut page = Page::new(&gateway.setup.endpoint);
    for write in pages {
        write(&mut page, &snapshot);
    }
    replies::whole(StatusCode::OK, CONTENT_TYPE, page.finish().into())
}

/// The pages of a path, none for a path that is not there.
fn pages(path: &str) -> Vec<Write> {
    match path.trim_end_matches('/') {
        "/minio/v2/metrics/cluster" => vec![families::cluster],
        "/minio/v2/metrics/node" | "/minio/v2/metrics/resource" => vec![families::node],
        "/minio/v2/metrics/bucket" => vec![families::bucket],
        "/minio/prometheus/metrics" => vec![families::oldest],
        path => {
            let Some(wanted) = path.strip_prefix(V3) else {
                return Vec::new();
            };
            let below = |page: &str| {
                page.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            V3_PAGES.iter().filter(|(page, _)| below(page)).map(|(_, write)| *write).collect()
        }
    }
}

fn is_allowed(gateway: &Gateway, head: &request::Parts) -> bool {
    let kinds = ["TIDINGS_PROMETHEUS_AUTH_TYPE", "MINIO_PROMETHEUS_AUTH_TYPE"];
    let kind =
        kinds.iter().find_map(|name| gateway.setup.environment.get(*name).filter(|value| !value.is_empty()));
    if kind.is_some_and(|kind| kind == "public") {
        return true;
    }
    let authorization = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
    token.is_some_and(|token| {
        token::is_valid(token.trim(), gateway.now_s(), |access_key| {
            let identity = gateway.setup.directory.find(access_key)?;
            Some(identity.secret.reveal().to_owned())
        })
    })
}

fn refused(gateway: &Gateway, head: &request::Parts, code: ErrorCode) -> Response<ResponseBody> {
    let refusal = Refusal::new(code);
    let body = ErrorBody {
        refusal: &refusal,
        key: None,
        bucket: None,
        resource: head.uri.path(),
        region: &gateway.setup.region,
        request_id: "",
        host_id: &gateway.setup.node_id,
    };
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN);
    replies::whole(status, "application/json", body.to_json().into())
}

#[cfg(test)]
mod tests {
    use super::pages;

    #[test]
    fn a_prefix_of_the_newer_paths_gives_all_below_it_and_another_path_nothing() {
        let count = |path| pages(path).len();
        assert_eq!(count("/minio/metrics/v3"), 6);
        assert_eq!(count("/minio/metrics/v3/cluster"), 4);
        assert_eq!(count("/minio/metrics/v3/cluster/usage/buckets"), 1);
        assert_eq!(count("/minio/metrics/v3/clu"), 0);
        assert_eq!(count("/minio/metrics/v3/other"), 0);
        assert_eq!(count("/minio/v2/metrics/cluster"), 1);
        assert_eq!(count("/minio/v2/metrics/other"), 0);
        assert_eq!(count("/minio/prometheus/metrics"), 1);
    }
}
