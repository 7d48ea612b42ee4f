//! `tidings events`: how targets are doing, and what an operator does with them.
//!
//! | call | answers |
//! |---|---|
//! | `GET /events/targets` | every target with its lag |
//! | `POST /events/pause?target=` | nothing |
//! | `POST /events/resume?target=` | nothing |
//! | `POST /events/replay?target=&rules=&sequencer=` or `&time_ms=` | where it begins |
//! | `POST /events/resync?target=&bucket=` | lines: how far it is, at the end how many objects it was told of |
//! | `GET /events/dead?target=&after=&limit=` | dead letters |
//! | `GET /events/dead/letter?target=&sequencer=` | one of them with its record |
//! | `POST /events/dead/resend?target=&sequencer=` | whether it was taken |
//! | `POST /events/dead/drop?target=&sequencer=` | nothing |
//!
//! A target is named as `id:type` or by its ARN.

pub(super) mod course;
pub(super) mod dead;
pub(super) mod resync;
pub(super) mod targets;

use notify::{Arn, ControlError};
use s3::{ErrorCode, Refusal};
use store::Sequence;
use tidings_notify as notify;
use tidings_s3 as s3;
use tidings_store as store;

use super::AdminRequest;

/// The target that a request names, as `id:type`.
fn target(request: &AdminRequest) -> Result<String, Refusal> {
    match request.query("target") {
        "" => Err(Refusal::with(ErrorCode::InvalidArgument, "The parameter target is missing.")),
        text => Ok(Arn::parse(text).map_or_else(|| text.to_owned(), |arn| arn.target())),
    }
}

/// The sequence that a request names, if it does.
fn sequence(request: &AdminRequest, name: &str) -> Result<Option<Sequence>, Refusal> {
    match request.query(name) {
        "" => Ok(None),
        text => Sequence::from_sequencer(text).map(Some).ok_or_else(|| {
            let reason = format!("'{text}' is no sequencer: that has 1 to 16 hexadecimal digits.");
            Refusal::with(ErrorCode::InvalidArgument, reason)
        }),
    }
}

/// The sequence that a request has to name.
fn sequencer(request: &AdminRequest) -> Result<Sequence, Refusal> {
    sequence(request, "sequencer")?
        .ok_or_else(|| Refusal::with(ErrorCode::InvalidArgument, "The parameter sequencer is missing."))
}

/// The answer to a wish that was not granted. None of them is a status that clients repeat by themselves.
fn refusal(error: &ControlError) -> Refusal {
    let code = match error {
        ControlError::NoSuchTarget { .. } => ErrorCode::XMinioAdminNoSuchConfigTarget,
        ControlError::NoSuchDeadLetter { .. }
        | ControlError::NotTold { .. }
        | ControlError::Unusable { .. } => ErrorCode::InvalidArgument,
        ControlError::Resyncing { .. } => ErrorCode::OperationAborted,
        ControlError::Store(store::Error::NoSuchBucket { .. }) => ErrorCode::NoSuchBucket,
        ControlError::Stopped { .. } | ControlError::Closed | ControlError::Store(_) => {
            ErrorCode::InternalError
        }
    };
    let mut reason = error.to_string();
    reason.get_mut(..1).map(str::make_ascii_uppercase);
    Refusal::with(code, format!("{reason}."))
}
