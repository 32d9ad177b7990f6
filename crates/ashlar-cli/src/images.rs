//! The modules of a project that are images, and where their bases come from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ashlar_build::{
    Building, Elsewhere, ImageModule, Keeping, gather_modules, number_images, numbered_images,
};
use ashlar_plan::Facts;
use ashlar_recipe::{Kind, ModuleName};
use ashlar_remote::artifact::Access;
use ashlar_remote::{Credentials, ImageOptions, ImagePlaces};
use ashlar_store::{LocalStore, Watch};

use crate::exit::Failed;
use crate::wiring::Session;

/// How long a command in an image has to end when it is stopped, in seconds.
const GRACE: Duration = Duration::from_secs(5);

/// The modules that are images, each after those it depends on.
pub struct Images {
    pub modules: Vec<ImageModule>,
    facts: Facts,
    places: Option<ImagePlaces>,
}

impl Images {
    /// Those that some modules reach. Of their bases only configurations are fetched.
    pub fn of(session: &Session, targets: &[ModuleName]) -> Result<Self, Failed> {
        let mut images = Self { modules: Vec::new(), facts: Facts::default(), places: None };
        let project = &session.project;
        if !project.modules.values().any(|module| module.build.kind == Kind::Image) {
            return Ok(images);
        }
        let places = places(&session.store, session.globals.offline, false);
        let registry = std::env::var("ASHLAR_IMAGE_REGISTRY").ok();
        images.modules = gather(session, targets, &[], &places, registry.as_deref())?;
        number_images(&mut images.modules, None, &mut images.facts);
        images.places = Some(places);
        Ok(images)
    }

    /// Puts what is known of them among the facts of a plan.
    pub fn add_to(&self, facts: &mut Facts) {
        facts.images.clone_from(&self.facts.images);
        facts.contexts.clone_from(&self.facts.contexts);
    }

    /// What their steps are made with.
    pub fn building(&self, store: &LocalStore) -> Option<Building<'_>> {
        let (bases, contexts) = numbered_images(&self.modules);
        Some(Building {
            images: self.places.as_ref()?,
            bases,
            contexts,
            secrets: std::collections::BTreeMap::new(),
            caches: caches(store),
            grace: GRACE,
            pinning: None,
            keeping: Keeping::default(),
        })
    }
}

/// Where a store has the caches of commands in images.
pub fn caches(store: &LocalStore) -> PathBuf {
    store.path().join("caches")
}

/// Where images come from.
pub fn places(store: &Arc<LocalStore>, offline: bool, insecure: bool) -> ImagePlaces {
    ImagePlaces::new(ImageOptions {
        access: Access {
            insecure,
            credentials: Credentials::from_environment(),
            ..Access::default()
        },
        offline,
        store: Some(Arc::clone(store)),
    })
}

/// The modules that are images among those that some reach, without those that are known.
/// `registry` is that of references that name none.
pub fn gather(
    session: &Session,
    targets: &[ModuleName],
    known: &[ImageModule],
    places: &ImagePlaces,
    registry: Option<&str>,
) -> Result<Vec<ImageModule>, Failed> {
    let digest = |path: &Path, meta: &std::fs::Metadata| session.stat.digest_file(path, meta);
    let warn = |text: String| eprintln!("warning: {text}");
    let watch = Watch { warn: &warn, ..Watch::NOBODY };
    let registry = registry.filter(|host| !host.is_empty());
    let elsewhere = Elsewhere { images: places, digest: &digest, watch: &watch, registry };
    Ok(gather_modules(&session.project, &session.folder, targets, known, &elsewhere)?)
}
