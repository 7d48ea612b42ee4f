//! Health: whether the process answers, and whether every set takes writes and reads.
//!
//! The port opens only when everything is loaded, so `live` and `ready` are true whenever they can be asked.
//! The quorums in the headers are ours: one drive more than MinIO's for writes of a set with
//! parity. With several sets the largest is told, as MinIO tells it of its pools.

use http::header::{HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, request};

use store::SetReport;
use tidings_store as store;

use crate::admin::drives;
use crate::{Gateway, ResponseBody, respond as replies};

const WRITE_QUORUM: HeaderName = HeaderName::from_static("x-minio-write-quorum");
const READ_QUORUM: HeaderName = HeaderName::from_static("x-minio-read-quorum");
const HEALING_DRIVES: HeaderName = HeaderName::from_static("x-minio-healing-drives");
const CLASS_DEFAULTS: HeaderName = HeaderName::from_static("x-minio-storage-class-defaults");

/// Answers what is below `/minio/health/`, to GET and HEAD and without a signature.
pub(crate) fn respond(gateway: &Gateway, head: &request::Parts) -> Response<ResponseBody> {
    if head.method != Method::GET && head.method != Method::HEAD {
        return replies::empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    let wants_maintenance =
        head.uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "maintenance=true"));
    let answer = answer(head.uri.path(), wants_maintenance, gateway.setup.reports.as_ref());
    let mut reply = replies::empty(answer.status);
    if let Some((name, number)) = answer.quorum {
        reply.headers_mut().insert(name, HeaderValue::from(number));
        reply.headers_mut().insert(CLASS_DEFAULTS, HeaderValue::from_static("false"));
    }
    if answer.healing > 0 {
        reply.headers_mut().insert(HEALING_DRIVES, HeaderValue::from(answer.healing));
    }
    reply
}

struct Answer {
    status: StatusCode,
    quorum: Option<(HeaderName, usize)>,
    /// Drives that are being healed.
    healing: usize,
}

fn answer(path: &str, wants_maintenance: bool, reports: &dyn Fn() -> Vec<SetReport>) -> Answer {
    let quorum = |name: HeaderName, is_met: fn(&SetReport) -> bool, needed: fn(&SetReport) -> usize| {
        let sets = reports();
        let status = match sets.iter().all(is_met) {
            false => StatusCode::SERVICE_UNAVAILABLE,
            // Taking this server away takes every drive away.
            true if wants_maintenance && drives::count(&sets).0 > 0 => StatusCode::PRECONDITION_FAILED,
            true => StatusCode::OK,
        };
        let needed = sets.iter().map(needed).max().unwrap_or_default();
        Answer { status, quorum: Some((name, needed)), healing: drives::healing(&sets) }
    };
    let bare = |status| Answer { status, quorum: None, healing: 0 };
    match path {
        "/minio/health/live" | "/minio/health/ready" => bare(StatusCode::OK),
        "/minio/health/cluster" => quorum(WRITE_QUORUM, |set| set.writable, |set| set.write_quorum),
        "/minio/health/cluster/read" => quorum(READ_QUORUM, |set| set.readable, |set| set.read_quorum),
        _ => bare(StatusCode::NOT_FOUND),
    }
}

#[cfg(test)]
mod tests {
    use super::{READ_QUORUM, SetReport, WRITE_QUORUM, answer};
    use crate::admin::drives::{healing_sample, sample, samples};

    #[test]
    fn the_cluster_is_healthy_while_it_takes_writes() {
        let status = |path, writable, maintenance| {
            let sets = move || vec![tidings_store::SetReport { writable, ..sample() }];
            answer(path, maintenance, &sets).status.as_u16()
        };
        assert_eq!(status("/minio/health/cluster", true, false), 200);
        assert_eq!(status("/minio/health/cluster", false, false), 503);
        assert_eq!(status("/minio/health/cluster", true, true), 412);
        assert_eq!(status("/minio/health/cluster/read", false, false), 200);
        assert_eq!(status("/minio/health/live", false, false), 200);
        assert_eq!(status("/minio/health/ready", false, false), 200);
        assert_eq!(status("/minio/health/other", true, false), 404);
    }

    #[test]
    fn the_cluster_is_healthy_only_while_every_set_is() {
        let status = |path| answer(path, false, &samples).status.as_u16();
        assert_eq!(status("/minio/health/cluster"), 503);
        assert_eq!(status("/minio/health/cluster/read"), 200);
    }

    #[test]
    fn the_headers_tell_the_largest_quorums_of_this_engine() {
        let quorum = |path| answer(path, false, &samples).quorum;
        assert_eq!(quorum("/minio/health/cluster"), Some((WRITE_QUORUM, 5)));
        assert_eq!(quorum("/minio/health/cluster/read"), Some((READ_QUORUM, 4)));
        assert_eq!(quorum("/minio/health/live"), None);
    }

    #[test]
    fn the_drives_that_are_being_healed_are_counted() {
        let healing = |sets: fn() -> Vec<SetReport>| answer("/minio/health/cluster", false, &sets).healing;
        assert_eq!((healing(|| vec![healing_sample()]), healing(samples)), (1, 0));
    }
}
