//! From the name of a repository to the depot that it is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::ArtifactError;
use super::address::Repository;
use crate::depot::Depot;
use crate::depot::objects::{Directory, ObjectDepot};

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
}

impl Default for Access {
    fn default() -> Self {
        Self {
            insecure: false,
            ca: None,
            certificate: None,
            key: None,
            timeout: Duration::from_secs(60),
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
        Repository::Registry(name) => Err(ashlar_store::RemoteError::Unsupported {
            place: format!("oci:{name}"),
            what: format!("be reached yet ({:?})", access.timeout),
        }
        .into()),
    }
}
