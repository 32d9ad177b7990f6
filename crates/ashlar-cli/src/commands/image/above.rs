//! The project above a context: it is read when the Dockerfile names something of it.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use ashlar_build::{find_project, named_configuration};
use ashlar_dockerfile::{Base, Configuration};

use crate::args::Globals;
use crate::exit::Failed;
use crate::wiring::{Ground, Session};
use crate::workspace::Workspace;

/// The project above a context, as far as anybody asked for it.
pub struct Above<'a> {
    globals: &'a Globals,
    space: &'a Workspace,
    session: OnceCell<Session>,
    /// Why the project cannot be used.
    failed: RefCell<Option<Failed>>,
}

impl<'a> Above<'a> {
    pub fn new(globals: &'a Globals, space: &'a Workspace) -> Self {
        Self { globals, space, session: OnceCell::new(), failed: RefCell::default() }
    }

    /// The configuration of something that a Dockerfile names, or why it cannot be used.
    pub fn named(&self, base: &Base) -> Result<Configuration, String> {
        if let Some(session) = self.session.get() {
            return named_configuration(&session.project, base);
        }
        let folder = find_project(&self.space.root).map_err(|_| {
            "there is no project whose it could be: no folder from the context upwards has an \
             `ashlar.toml`"
                .to_owned()
        })?;
        let store = Arc::clone(&self.space.store);
        match Ground::of(self.globals, store, folder).and_then(Session::load) {
            Ok(session) => named_configuration(&self.session.get_or_init(|| session).project, base),
            Err(failed) => {
                self.failed.borrow_mut().get_or_insert(failed);
                Err("the project cannot be read".to_owned())
            }
        }
    }

    /// The project, when something of it was asked for.
    ///
    /// # Errors
    /// When it cannot be read, which says more than what came of that.
    pub fn session(self) -> Result<Option<Session>, Failed> {
        match self.failed.into_inner() {
            Some(failed) => Err(failed),
            None => Ok(self.session.into_inner()),
        }
    }
}
