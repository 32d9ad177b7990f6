//! One request: how long it may take, and what its failure means.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use ashlar_store::{RemoteError, Watch};
use tonic::{Code, Status};

use crate::Secret;
use crate::http::retry::Failure;
use crate::runtime::block_on;

/// How often a wait looks whether it is to be ended.
const TICK: Duration = Duration::from_millis(100);

/// Runs a future until it ends or `watch` says stop.
pub(super) fn drive<F: Future>(future: F, watch: &Watch<'_>) -> Result<F::Output, RemoteError> {
    let driven = block_on(async {
        let mut future = std::pin::pin!(future);
        loop {
            match tokio::time::timeout(TICK, &mut future).await {
                Ok(done) => return Ok(done),
                Err(_) if (watch.go_on)() => {}
                Err(_) => return Err(RemoteError::Stopped),
            }
        }
    });
    driven.unwrap_or_else(|source| {
        Err(RemoteError::Unreachable { place: "the network".to_owned(), source: Box::new(source) })
    })
}

/// Waits for an answer for so long.
pub(super) async fn patient<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| {
        Err(Status::deadline_exceeded(format!("nothing came for {} s", patience.as_secs_f32())))
    })
}

/// What a status means. `what` fits "refuses …" and "answers wrongly to …".
pub(super) fn failure(place: &str, what: &str, why: &str, status: &Status) -> Failure {
    let why = why.to_owned();
    let lasting = match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => {
            RemoteError::Refused { place: place.to_owned(), what: what.to_owned(), why }
        }
        Code::Unimplemented => RemoteError::Unsupported {
            place: place.to_owned(),
            what: format!("take {what}: {why}"),
        },
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Aborted => {
            return Failure::transient(why);
        }
        // A connection that is cut shows as one of these, with what cut it as its source.
        Code::Internal | Code::Unknown | Code::Cancelled if cut(status) => {
            return Failure::transient(why);
        }
        _ => RemoteError::Wrong { place: place.to_owned(), what: what.to_owned(), why },
    };
    Failure::Lasting(lasting)
}

/// Whether the transport failed, not the server.
fn cut(status: &Status) -> bool {
    status.source().is_some()
        || [
            "h2 protocol error",
            "transport error",
            "stream closed",
            "error reading a body",
            "GOAWAY",
        ]
        .iter()
        .any(|sign| status.message().contains(sign))
}

/// A status as a fragment for people: what is known of the cause, else the code.
pub(super) fn explain(status: &Status, secret: Option<&Secret>) -> String {
    let mut text = status.message().trim().to_owned();
    if text.is_empty() {
        text = status.code().description().to_owned();
    }
    let mut cause = status.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    if let Some(secret) = secret.map(|secret| secret.0.trim()).filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "…");
    }
    // What a server says may be a whole page.
    if let Some((end, _)) = text.char_indices().nth(400) {
        text.truncate(end);
        text.push('…');
    }
    text
}
