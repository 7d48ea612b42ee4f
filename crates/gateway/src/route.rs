//! Which operation a request means: one row of a closed table, or none.
//!
//! A query key that S3 knows as a selector decides; a selector without a row is 501 and never falls through
//! to the base operation. `DELETE /bucket?metrics` must not delete the bucket.
//!
//! What is not here: the rows, which stand with their operations (`ops`).

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;

use iam::Permit;
use s3::{ErrorCode, Refusal};
use store::ChangeKind;
use tidings_iam as iam;
use tidings_s3 as s3;
use tidings_store as store;

use crate::Gateway;
use crate::context::Request;
use crate::error::Failure;
use crate::ops::OPERATIONS;
use crate::respond::Reply;

/// What an operation gives back.
pub(crate) type Outcome = Result<Reply, Failure>;

/// An operation under way.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// Runs an operation on a request that was allowed.
pub(crate) type Run = for<'a> fn(&'a mut Request, Permit, &'a Arc<Gateway>) -> Running<'a>;

/// One S3 operation.
pub(crate) struct Operation {
    /// As the S3 API reference calls it.
    pub(crate) name: &'static str,
    /// How it is recognised.
    pub(crate) route: Route,
    /// The permission it needs.
    pub(crate) action: &'static str,
    /// The change it causes, if any.
    pub(crate) change: Option<ChangeKind>,
    /// What it does.
    pub(crate) run: Run,
}

/// How an operation is recognised.
pub(crate) struct Route {
    scope: Scope,
    method: &'static str,
    selector: Option<&'static str>,
    header: Option<&'static str>,
}

/// What the path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// `/`.
    Service,
    /// `/bucket`.
    Bucket,
    /// `/bucket/key`.
    Object,
}

impl Route {
    /// An operation on the service.
    pub(crate) const fn service(method: &'static str) -> Route {
        Route { scope: Scope::Service, method, selector: None, header: None }
    }

    /// An operation on a bucket.
    pub(crate) const fn bucket(method: &'static str) -> Route {
        Route { scope: Scope::Bucket, method, selector: None, header: None }
    }

    /// An operation on an object.
    pub(crate) const fn object(method: &'static str) -> Route {
        Route { scope: Scope::Object, method, selector: None, header: None }
    }

    /// … that a query key selects, one of [`selectors`].
    pub(crate) const fn query(self, selector: &'static str) -> Route {
        Route { selector: Some(selector), ..self }
    }

    /// … that a header selects beside that; its row stands before the one without.
    pub(crate) const fn header(self, header: &'static str) -> Route {
        Route { header: Some(header), ..self }
    }

    /// `PUT /bucket/key?uploadId` and the like, for documentation.
    fn wire_form(&self) -> String {
        let path = match self.scope {
            Scope::Service => "/",
            Scope::Bucket => "/bucket",
            Scope::Object => "/bucket/key",
        };
        let selector = self.selector.map(|selector| format!("?{selector}")).unwrap_or_default();
        let header = self.header.map(|header| format!(" with `{header}`")).unwrap_or_default();
        format!("`{} {path}{selector}`{header}", self.method)
    }
}

/// What a request means.
pub(crate) enum Routed {
    /// This operation.
    Operation(&'static Operation),
    /// Something S3 knows and this server does not: 501, once it is known who asks.
    NotImplemented {
        /// The selector or header that says so.
        what: &'static str,
    },
    /// Nothing.
    NoOperation,
}

/// Selectors of the service, in the order tested.
const SERVICE_SELECTORS: [&str; 1] = ["events"];

/// Selectors of buckets, in the order tested; `list-type` counts with the value 2 only.
const BUCKET_SELECTORS: [&str; 38] = [
    "location",
    "policy",
    "policyStatus",
    "lifecycle",
    "encryption",
    "object-lock",
    "replication",
    "versioning",
    "notification",
    "events",
    "tagging",
    "acl",
    "cors",
    "website",
    "accelerate",
    "requestPayment",
    "logging",
    "uploads",
    "list-type",
    "versions",
    "delete",
    "publicAccessBlock",
    "ownershipControls",
    "analytics",
    "inventory",
    "metrics",
    "intelligent-tiering",
    "session",
    "abac",
    "metadataConfiguration",
    "metadataTable",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataAnnotationTable",
    "replication-reset",
    "replication-reset-status",
    "replication-metrics",
    "replication-check",
];

/// Selectors of objects, in the order tested.
const OBJECT_SELECTORS: [&str; 14] = [
    "attributes",
    "uploadId",
    "uploads",
    "acl",
    "tagging",
    "retention",
    "legal-hold",
    "select",
    "restore",
    "torrent",
    "lambdaArn",
    "annotation",
    "encryption",
    "renameObject",
];

/// Headers that make another operation of a base one, with the value that does; empty for any value.
const FOREIGN_HEADERS: [(Scope, &str, &str, &str); 6] = [
    (Scope::Object, "PUT", "x-amz-write-offset-bytes", ""),
    (Scope::Object, "PUT", "x-amz-meta-snowball-auto-extract", "true"),
    (Scope::Object, "DELETE", "x-minio-force-delete", "true"),
    (Scope::Object, "GET", "x-minio-extract", "true"),
    (Scope::Object, "HEAD", "x-minio-extract", "true"),
    (Scope::Bucket, "GET", "x-minio-extract", "true"),
];

const fn selectors(scope: Scope) -> &'static [&'static str] {
    match scope {
        Scope::Service => &SERVICE_SELECTORS,
        Scope::Bucket => &BUCKET_SELECTORS,
        Scope::Object => &OBJECT_SELECTORS,
    }
}

/// Tells what a request means.
pub(crate) fn route(request: &Request) -> Routed {
    let scope = match (request.bucket_text(), request.key_text()) {
        (None, _) => Scope::Service,
        (Some(_), None) => Scope::Bucket,
        (Some(_), Some(_)) => Scope::Object,
    };
    let method = request.head.method.as_str();
    let selector = selectors(scope).iter().copied().find(|selector| match request.query(selector) {
        None => false,
        Some(value) => *selector != "list-type" || value == "2",
    });
    let foreign = FOREIGN_HEADERS.iter().find(|(in_scope, of_method, header, value)| {
        *in_scope == scope
            && *of_method == method
            && request.header(header).is_some_and(|sent| value.is_empty() || sent == *value)
    });
    if let Some((_, _, header, _)) = foreign {
        return Routed::NotImplemented { what: header };
    }
    let found = OPERATIONS.iter().copied().find(|operation| {
        let route = &operation.route;
        route.scope == scope
            && route.method == method
            && route.selector == selector
            && route.header.is_none_or(|header| request.header(header).is_some())
    });
    match (found, selector) {
        (Some(operation), _) => Routed::Operation(operation),
        (None, Some(what)) => Routed::NotImplemented { what },
        (None, None) => Routed::NoOperation,
    }
}

/// The answer to a request that means nothing here.
pub(crate) fn no_operation(request: &Request) -> Failure {
    Refusal::new(ErrorCode::MethodNotAllowed).element("Method", request.head.method.as_str()).into()
}

/// The answer to something S3 knows and this server does not.
pub(crate) fn not_implemented(what: &str) -> Failure {
    let message =
        format!("A header or parameter you provided implies functionality that is not implemented: {what}.");
    Failure::not_implemented(message)
}

/// The operations as a table for `docs/compatibility.md`, in Markdown.
pub fn operations_table() -> String {
    let mut table = String::from("| operation | request | permission | change |\n|---|---|---|---|\n");
    for operation in OPERATIONS {
        let change = operation.change.map(|change| format!("`{change:?}`")).unwrap_or_default();
        let form = operation.route.wire_form();
        writeln!(table, "| {} | {form} | `{}` | {change} |", operation.name, operation.action)
            .expect("writing to a string succeeds");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{OPERATIONS, operations_table, selectors};

    #[test]
    fn every_selector_of_an_operation_is_one_the_router_tests() {
        for operation in OPERATIONS {
            let route = &operation.route;
            let known = route.selector.is_none_or(|selector| selectors(route.scope).contains(&selector));
            assert!(known, "{} is selected by {:?}", operation.name, route.selector);
        }
    }

    #[test]
    fn no_two_operations_are_recognised_alike_and_one_with_a_header_comes_first() {
        for (at, operation) in OPERATIONS.iter().enumerate() {
            let (this, earlier) = (&operation.route, &OPERATIONS[..at]);
            let shadowed = earlier.iter().find(|other| {
                let other = &other.route;
                let alike =
                    (other.scope, other.method, other.selector) == (this.scope, this.method, this.selector);
                alike && (other.header.is_none() || other.header == this.header)
            });
            assert!(shadowed.is_none(), "{} is never reached", operation.name);
        }
    }

    #[test]
    fn the_table_has_a_row_for_every_operation() {
        assert_eq!(operations_table().lines().count(), OPERATIONS.len() + 2);
    }
}
