//! What the errors of the library below stand for.

use std::error::Error;
use std::sync::{Mutex, PoisonError};

use ashlar_store::RemoteError;

use crate::http::innermost;
use crate::http::retry::Failure;

/// A failure of the room's own client on its way through the library below.
#[derive(Debug, thiserror::Error)]
#[error("the request failed")]
pub(super) struct Carried(Mutex<Option<Failure>>);

impl Carried {
    /// Sends it on its way.
    pub fn new(failure: Failure) -> Self {
        Self(Mutex::new(Some(failure)))
    }
}

/// What to make of an error: ours as it was, others by their kind.
pub(super) fn of(error: object_store::Error, place: &str, what: &str) -> Failure {
    if let Some(failure) = carried(&error) {
        return failure;
    }
    let place = place.to_owned();
    let what = what.to_owned();
    Failure::Lasting(match error {
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } => {
            RemoteError::Refused { place, what, why: "it is not allowed".to_owned() }
        }
        object_store::Error::NotImplemented { operation, .. } => {
            RemoteError::Unsupported { place, what: format!("do {operation}") }
        }
        other => RemoteError::Wrong { place, what, why: innermost(&other) },
    })
}

fn carried(error: &object_store::Error) -> Option<Failure> {
    let mut at: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = at {
        if let Some(carried) = error.downcast_ref::<Carried>() {
            return carried.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        at = error.source();
    }
    None
}
