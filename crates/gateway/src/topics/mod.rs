//! Topics: targets that clients make by themselves, with the calls of Amazon SNS as Ceph has them, on `POST /`.
//!
//! One file for each action, one row for each file in [`ACTIONS`]. Parameters stand in a form in the body or in the
//! query. Requests are signed for the service `sns`, as SNS's clients do, or `s3`. SNS's clients send no hash of the
//! body: it is computed, so that the signature covers the body all the same.
//!
//! # Invariants
//!
//! 1. A topic is durable and its target at work before the answer.
//! 2. What is stored was checked: an endpoint that cannot work is refused, one that is away is not.
//!
//! # Bounds
//!
//! A form has at most [`FORM_BYTES_MAX`] bytes; a server has at most [`TOPICS_MAX`] topics.
//!
//! Source: Ceph's manual, "Bucket Notifications"; Amazon SNS API reference for the form of answers and errors.

mod answer;
mod attribute;
mod create_topic;
mod delete_topic;
mod endpoint;
mod get_topic;
mod get_topic_attributes;
mod list_topics;
mod set_topic_attributes;
mod topic;

use std::pin::Pin;
use std::sync::Arc;

use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};

use iam::{Permit, Resource};
use notify::Arn;
use s3::ErrorCode;
use tidings_iam as iam;
use tidings_notify as notify;
use tidings_s3 as s3;

use crate::context::Request;
use crate::error::Failure;
use crate::respond::Reply;
use crate::{Gateway, authenticate, authorize};

pub(crate) use topic::Topic;

/// Largest form, in bytes: 64 KiB.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// Most topics of a server.
pub(crate) const TOPICS_MAX: usize = 1000;

const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");

type Running<'a> = Pin<Box<dyn Future<Output = Result<Reply, Refused>> + Send + 'a>>;

/// One action.
struct Action {
    /// As SNS calls it; the permission is this behind `sns:`.
    name: &'static str,
    permission: &'static str,
    run: for<'a> fn(&'a Call, Permit, &'a Arc<Gateway>) -> Running<'a>,
}

static ACTIONS: &[Action] = &[
    create_topic::ACTION,
    delete_topic::ACTION,
    get_topic::ACTION,
    get_topic_attributes::ACTION,
    list_topics::ACTION,
    set_topic_attributes::ACTION,
];

/// An authenticated call.
struct Call {
    /// The pairs of the query, then those of the form.
    parameters: Vec<(String, String)>,
    request_id: String,
    /// The access key of who calls.
    caller: String,
}

impl Call {
    /// The first value of a parameter; `None` also when it is empty.
    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(have, _)| have == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A parameter that the action cannot be without.
    fn required(&self, name: &'static str) -> Result<&str, Refused> {
        self.parameter(name).ok_or_else(|| Refused::argument(format!("The parameter {name} is required.")))
    }

    /// The name of the topic that the parameter `TopicArn` names.
    fn topic_name(&self) -> Result<String, Refused> {
        let arn = Arn::parse_topic(self.required("TopicArn")?);
        let malformed = || Refused::argument("TopicArn is no ARN of a topic: arn:aws:sns:<region>::<name>.");
        arn.map(|arn| arn.id).ok_or_else(malformed)
    }
}

/// Why an action was not done: status, code and sentence of the answer.
#[derive(Debug)]
pub(crate) struct Refused {
    status: u16,
    code: &'static str,
    message: String,
}

impl Refused {
    /// `InvalidArgument`, with a sentence.
    pub(crate) fn argument(message: impl Into<String>) -> Refused {
        Refused { status: 400, code: "InvalidArgument", message: message.into() }
    }

    fn no_topic() -> Refused {
        Refused { status: 404, code: "NotFound", message: "The topic does not exist.".to_owned() }
    }

    /// The bound of the module header.
    pub(crate) fn too_many() -> Refused {
        let message = format!("The server has {TOPICS_MAX} topics, which is the most it takes.");
        Refused { status: 403, code: "TopicLimitExceeded", message }
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Refused {
        let refusal = failure.refusal;
        Refused {
            status: refusal.status,
            code: refusal.code.row().name,
            message: refusal.message.to_string(),
        }
    }
}

impl From<tidings_store::Error> for Refused {
    fn from(error: tidings_store::Error) -> Refused {
        Failure::from(error).into()
    }
}

/// Whether a request is for this module: a form to the service, or an action in the query.
pub(crate) fn is_addressed(request: &Request) -> bool {
    let is_form = request.head.headers.get(CONTENT_TYPE).is_some_and(|value| {
        value.as_bytes().to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded")
    });
    let is_service = request.head.method == Method::POST && request.bucket_text().is_none();
    is_service && (is_form || request.query("Action").is_some())
}

/// Answers a call; every failure has its answer too.
pub(crate) async fn respond(gateway: &Arc<Gateway>, request: &mut Request) -> Reply {
    match run(gateway, request).await {
        Ok(reply) => reply,
        Err(refused) => answer::refused(&refused, &request.id),
    }
}

async fn run(gateway: &Arc<Gateway>, request: &mut Request) -> Result<Reply, Refused> {
    let form = read_form(request).await?;
    let service = service_of(request);
    request.caller = authenticate::authenticate(gateway, request, service, &gateway.setup.region)?;
    request.check_address()?;
    let mut parameters = request.query.clone();
    let text = std::str::from_utf8(&form).map_err(|_| Refused::argument("The form is not text."))?;
    let pairs = s3::percent::query_pairs(text).map_err(|_| Refused::argument("The form is malformed."))?;
    parameters.extend(pairs);
    let call =
        Call { parameters, request_id: request.id.clone(), caller: request.caller.principal().to_owned() };
    let name = call.required("Action")?;
    let Some(action) = ACTIONS.iter().find(|action| action.name == name) else {
        // Who has no credentials learns nothing of what there is.
        let _permit = authorize::allow(request, "sns:*", Resource::Service)?;
        let message = format!("There is no action {name} here.");
        return Err(Refused { status: 400, code: "InvalidAction", message });
    };
    request.operation = Some(action.name);
    let permit = authorize::allow(request, action.permission, Resource::Service)?;
    (action.run)(&call, permit, gateway).await
}

/// Reads the form. Its hash is that of the header, or becomes it where there is none: it is signed in either case. A
/// form that the signature does not cover is refused, since the form is what is asked for.
async fn read_form(request: &mut Request) -> Result<bytes::Bytes, Refused> {
    let form = request.body.document(&request.head.headers, FORM_BYTES_MAX).await?.bytes;
    let hash = hex::encode(Sha256::digest(&form));
    match request.header(CONTENT_SHA256.as_str()) {
        None => {
            let hash = HeaderValue::from_str(&hash).expect("hexadecimal digits are a header's value");
            request.head.headers.insert(CONTENT_SHA256, hash);
        }
        Some(told) if told.eq_ignore_ascii_case(&hash) => {}
        Some(_) => return Err(Failure::from(ErrorCode::XAmzContentSHA256Mismatch).into()),
    }
    Ok(form)
}

/// The service that the signature must name: `sns` where it does.
fn service_of(request: &Request) -> &'static str {
    let credential = request.head.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let in_header = credential.windows(SNS_SCOPE.len()).any(|text| text == SNS_SCOPE.as_bytes());
    let in_query = request.query("X-Amz-Credential").is_some_and(|credential| credential.contains(SNS_SCOPE));
    if in_header || in_query { "sns" } else { "s3" }
}

/// The end of a credential for SNS.
const SNS_SCOPE: &str = "/sns/aws4_request";

#[cfg(test)]
mod tests {
    use super::ACTIONS;

    #[test]
    fn actions_stand_in_order_each_with_the_permission_of_its_name() {
        assert!(ACTIONS.is_sorted_by(|a, b| a.name < b.name));
        for action in ACTIONS {
            assert_eq!(action.permission, format!("sns:{}", action.name));
        }
    }
}
