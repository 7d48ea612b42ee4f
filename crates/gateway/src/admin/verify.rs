//! `tidings verify --endpoint`: every copy of everything is read back while the server serves, and the answer
//! tells what is short as it is found.
//!
//! The answer is one JSON object a line, a [`Line`]: how far it is at once and every second, what is not whole
//! when it is found, the sum at the end. An answer without a sum is not a whole one.
//!
//! # Bounds
//!
//! One verification at a time; another is refused with 409. Where too many lines wait for the client (see `lines`) the
//! reading waits too, and ends when none was taken for [`PATIENCE`]. It ends as well when the client goes away, within
//! a mebibyte of reading, and when the server stops.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use s3::{ErrorCode, Refusal};
use store::{Progress, Seen, Verification, Verify};
use tidings_s3 as s3;
use tidings_store as store;

use super::lines::{self, LINES_WAITING_MAX, line};
use super::{Answer, Call};
use crate::Gateway;

pub(super) const CALL: Call = Call {
    method: Method::POST,
    path: "/verify",
    run: |gateway, _request| Box::pin(async move { begin(gateway) }),
};

/// How long a client may leave lines untaken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// What there is in all: the last line.
    Sum(Verification),
    /// Why not everything was looked at, a clause: the last line.
    Failed(String),
    /// What is seen meanwhile.
    #[serde(untagged)]
    Seen(Seen),
}

fn begin(gateway: &Gateway) -> Result<Answer, Refusal> {
    let turn = Arc::clone(&gateway.admin.verifying).try_acquire_owned().map_err(|_| {
        Refusal::with(
            ErrorCode::OperationAborted,
            "A verification is running already, and one at a time is enough.",
        )
    })?;
    let (lines, waiting) = mpsc::channel(LINES_WAITING_MAX);
    let progress = Arc::new(Mutex::new(Progress::default()));
    let (verify, seen) = (Arc::clone(&gateway.setup.verify), Arc::clone(&progress));
    tokio::task::spawn_blocking(move || look(&*verify, turn, &lines, &seen));
    Ok(lines::answer(gateway, waiting, move || line(&Line::Seen(Seen::Progress(*progress.lock())))))
}

/// Looks at everything, until nobody listens any more; blocks.
fn look(
    verify: &Verify,
    turn: OwnedSemaphorePermit,
    lines: &mpsc::Sender<Bytes>,
    progress: &Mutex<Progress>,
) {
    let runtime = Handle::current();
    let send = |told: Line| -> bool {
        let sent = runtime.block_on(timeout(PATIENCE, lines.send(line(&told))));
        sent.is_ok_and(|taken| taken.is_ok())
    };
    let found = verify(&mut |seen| match seen {
        Seen::Progress(now) => {
            *progress.lock() = now;
            !lines.is_closed()
        }
        seen => send(Line::Seen(seen)),
    });
    // Who is told the sum may begin another at once.
    drop(turn);
    send(match found {
        Ok(found) => Line::Sum(found),
        Err(reason) => Line::Failed(reason),
    });
}
