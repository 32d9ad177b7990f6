//! From the name of a repository to the depot that it is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::ArtifactError;
use super::address::Repository;
use crate::depot::Depot;
use crate::depot::objects::{Directory, ObjectDepot};
use crate::depot::registry::{Credentials, Registry};
use crate::http::Options;

/// How places are reached.
#[derive(Clone, Debug)]
pub struct Access {
    /// Whether plain HTTP is allowed to hosts that are not loopback.
    pub insecure: bool,
    /// A file with certificates to trust besides those of the machine, PEM.
    pub ca: Option<PathBuf>,
    /// A client certificate, PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// For how long nothing may come or go before a transfer counts as stalled.
    pub timeout: Duration,
    /// Who we are to registries.
    pub credentials: Credentials,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            insecure: false,
            ca: None,
            certificate: None,
            key: None,
            timeout: Duration::from_secs(60),
            credentials: Credentials::default(),
        }
    }
}

impl Access {
    /// How servers are spoken to.
    pub(crate) fn options(&self) -> Options {
        Options {
            insecure: self.insecure,
            ca: self.ca.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            timeout: self.timeout,
        }
    }
}

/// Opens a repository. Nothing is contacted yet.
pub(super) fn open(
    repository: &Repository,
    access: &Access,
) -> Result<Arc<dyn Depot>, ArtifactError> {
    match repository {
        Repository::Directory(path) => Ok(Arc::new(ObjectDepot::new(Directory::new(path)))),
        Repository::Registry(_) => {
            let url = repository.url();
            Ok(Arc::new(Registry::open(&url, &access.options(), &access.credentials, None)?))
        }
    }
}
