//! The project above a context: it is read when the Dockerfile names something of it.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use ashlar_build::{ImageModule, find_project, image_configuration, named_configuration};
use ashlar_dockerfile::{Base, Configuration};
use ashlar_plan::image_module;
use ashlar_remote::ImagePlaces;

use crate::args::Globals;
use crate::exit::Failed;
use crate::images::gather;
use crate::wiring::{Ground, Session};
use crate::workspace::Workspace;

/// The project above a context, as far as anybody asked for it.
pub struct Above<'a> {
    globals: &'a Globals,
    space: &'a Workspace,
    places: &'a ImagePlaces,
    registry: Option<&'a str>,
    session: OnceCell<Session>,
    /// The modules that were named and are images.
    images: RefCell<Vec<ImageModule>>,
    /// Why the project cannot be used.
    failed: RefCell<Option<Failed>>,
}

impl<'a> Above<'a> {
    pub fn new(
        globals: &'a Globals,
        space: &'a Workspace,
        places: &'a ImagePlaces,
        registry: Option<&'a str>,
    ) -> Self {
        let (session, images) = (OnceCell::new(), RefCell::default());
        Self { globals, space, places, registry, session, images, failed: RefCell::default() }
    }

    /// The configuration of something that a Dockerfile names, or why it cannot be used.
    pub fn named(&self, base: &Base) -> Result<Configuration, String> {
        if let Some(session) = self.session.get() {
            return self.known(session, base);
        }
        let folder = find_project(&self.space.root).map_err(|_| {
            "there is no project whose it could be: no folder from the context upwards has an \
             `ashlar.toml`"
                .to_owned()
        })?;
        let store = Arc::clone(&self.space.store);
        match Ground::of(self.globals, store, folder).and_then(Session::load) {
            Ok(session) => self.known(self.session.get_or_init(|| session), base),
            Err(failed) => {
                self.failed.borrow_mut().get_or_insert(failed);
                Err("the project cannot be read".to_owned())
            }
        }
    }

    fn known(&self, session: &Session, base: &Base) -> Result<Configuration, String> {
        if let Base::Module(name) = base
            && let Ok(module) = image_module(&session.project, name)
        {
            let mut images = self.images.borrow_mut();
            let targets = std::slice::from_ref(&module.name);
            match gather(session, targets, &images, self.places, self.registry) {
                Ok(more) => images.extend(more),
                Err(failed) => {
                    self.failed.borrow_mut().get_or_insert(failed);
                    return Err("it cannot be used itself".to_owned());
                }
            }
        }
        let images = self.images.borrow();
        named_configuration(&session.project, &|name| image_configuration(name, &images), base)
    }

    /// The project, when something of it was asked for, and the modules that are images.
    ///
    /// # Errors
    /// When it cannot be read, which says more than what came of that.
    pub fn end(self) -> Result<(Option<Session>, Vec<ImageModule>), Failed> {
        match self.failed.into_inner() {
            Some(failed) => Err(failed),
            None => Ok((self.session.into_inner(), self.images.into_inner())),
        }
    }
}
