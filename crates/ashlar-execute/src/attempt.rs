//! One helper process, from its start until nothing of it is left.

use std::path::Path;
use std::time::Duration;

use crate::log::Log;
use crate::spec::Spec;
use crate::{Cancel, ExecuteError, Jobs};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exited(i32),
    TimedOut(Duration),
    Cancelled,
}

/// One command about to run.
pub(crate) struct Attempt<'a> {
    pub(crate) helper: &'a Path,
    pub(crate) spec: &'a Spec,
    pub(crate) jobs: Option<&'a Jobs>,
}

impl Attempt<'_> {
    pub(crate) fn run(
        &self,
        timeout: Option<Duration>,
        cancel: &Cancel,
        log: &mut Log,
        stream: &mut dyn FnMut(&[u8]),
    ) -> Result<End, ExecuteError> {
        let _ = (timeout, cancel, log, stream, self.helper, self.spec, self.jobs);
        Err(ExecuteError::Sandbox("not yet".into()))
    }
    pub(crate) fn run_on_terminal(&self) -> Result<i32, ExecuteError> {
        Err(ExecuteError::Sandbox("not yet".into()))
    }
}
