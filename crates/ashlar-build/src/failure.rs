//! From the errors of other rooms to why a step failed.

use ashlar_execute::ExecuteError;
use ashlar_source::SourceError;
use ashlar_store::StoreError;

use crate::event::{ErrorKind, Failure};

impl Failure {
    pub(crate) fn project(message: String) -> Self {
        Self::Error { message, advice: None, kind: ErrorKind::Project }
    }

    pub(crate) fn store(message: String) -> Self {
        Self::Error { message, advice: None, kind: ErrorKind::Store }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let advice = store_advice(&error).map(ToOwned::to_owned);
        Self::Error { message: chain(&error), advice, kind: ErrorKind::Store }
    }
}

impl From<ExecuteError> for Failure {
    fn from(error: ExecuteError) -> Self {
        let (kind, advice) = match &error {
            ExecuteError::Lacks { advice, .. } => (ErrorKind::Machine, Some(advice.clone())),
            ExecuteError::Request { advice, .. } => (ErrorKind::Project, Some(advice.clone())),
            ExecuteError::Sandbox(_) => (ErrorKind::Machine, None),
            ExecuteError::Workspace { .. } => (ErrorKind::Store, None),
            ExecuteError::Store(error) => {
                (ErrorKind::Store, store_advice(error).map(ToOwned::to_owned))
            }
        };
        Self::Error { message: chain(&error), advice, kind }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        let kind = match &error {
            SourceError::Stopped => return Self::Stopped,
            SourceError::Lacks { .. } => ErrorKind::Machine,
            SourceError::Store(_) => ErrorKind::Store,
            _ => ErrorKind::Build,
        };
        Self::Error { message: chain(&error), advice: error.advice(), kind }
    }
}

/// What to do when a store fails.
#[must_use]
pub fn store_advice(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::Full { .. } => {
            Some("make room: `ashlar store gc --max-size SIZE`, or use another --store")
        }
        StoreError::ReadOnly { .. } => Some("use another store: --store DIR or ASHLAR_STORE"),
        StoreError::Newer { .. } => Some("use the newer program, or another --store"),
        StoreError::Missing(_) => Some("`ashlar build` makes it again"),
        StoreError::Io { .. }
        | StoreError::Occupied { .. }
        | StoreError::Index { .. }
        | StoreError::Read(..)
        | StoreError::Tree(..)
        | StoreError::Unkeepable { .. } => None,
    }
}

/// An error with its causes, as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
