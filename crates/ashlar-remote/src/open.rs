//! From what a project says of a remote to the remote.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ashlar_store::{Remote, RemoteError};

use crate::cas::{BazelHttp, CasRemote, Reapi};
use crate::depot::Depot;
use crate::depot::objects::{self, Directory, ObjectDepot};
use crate::depot::registry::{Credentials, Registry};
use crate::http::Options;
use crate::image::{ImageRemote, PublicKey, Signer, Trust};

/// What is said of a remote, with what the environment and the command line change of it.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// `dir:PATH`, `http://…`, `https://…`, `s3://BUCKET/PREFIX`, `oci://HOST[:PORT]/REPOSITORY`,
    /// `reapi://HOST:PORT[/INSTANCE]` or `reapis://…` for one with TLS.
    pub url: String,
    /// The layout behind HTTP.
    pub layout: Layout,
    /// The address of the S3 service, when it is not the one that the region names.
    pub endpoint: Option<String>,
    /// The region of the bucket.
    pub region: Option<String>,
    /// Who signs the requests to a bucket; nobody: it is asked as anybody may.
    pub keys: Option<BucketKeys>,
    /// Whether plain HTTP is allowed to hosts that are not loopback.
    pub insecure: bool,
    /// A file with certificates to trust besides those of the machine, PEM.
    pub ca: Option<PathBuf>,
    /// A client certificate, PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// A bearer token, from the environment variable or file that the project names.
    pub token: Option<Secret>,
    /// Public keys, PEM: a result that none of them signed is a miss. Empty: anything is taken.
    pub require_signature: Vec<PathBuf>,
    /// A private key, PEM, to sign what is pushed with.
    pub sign: Option<PathBuf>,
    /// Where credentials for a registry are looked for.
    pub credentials: Credentials,
    /// For how long nothing may come or go before a transfer counts as stalled. The first contact
    /// is bounded by it as well.
    pub timeout: Duration,
}

impl Definition {
    /// A remote of which nothing is said but where it is, and for how long it may keep silent:
    /// nobody's credentials, no keys, no signatures.
    #[must_use]
    pub fn new(name: &str, url: &str, timeout: Duration) -> Self {
        Self {
            name: name.to_owned(),
            url: url.to_owned(),
            layout: Layout::default(),
            endpoint: None,
            region: None,
            keys: None,
            insecure: false,
            ca: None,
            certificate: None,
            key: None,
            token: None,
            require_signature: Vec::new(),
            sign: None,
            credentials: Credentials::default(),
            timeout,
        }
    }
}

/// The keys of a bucket, as the environment has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketKeys {
    /// The access key.
    pub id: String,
    /// The secret key.
    pub secret: Secret,
    /// The session token of temporary keys.
    pub session: Option<Secret>,
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// How results lie behind an HTTP server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// The OCI image layout, with one object for each tag.
    #[default]
    Oci,
    /// `/ac/` and `/cas/`, as bazel-remote and ccache use them.
    Bazel,
}

/// Opens a remote. Nothing is contacted yet.
///
/// # Errors
/// [`RemoteError::Address`] when the address makes no sense or a key cannot be read.
pub fn open(definition: &Definition) -> Result<Box<dyn Remote>, RemoteError> {
    let scheme = definition.url.split_once(':').map_or("", |(scheme, _)| scheme);
    let bazel = definition.layout == Layout::Bazel;
    match scheme {
        "reapi" | "reapis" => {
            unsigned(definition, "a server of the Remote Execution API")?;
            return Ok(Box::new(CasRemote::new(&definition.name, Reapi::new(definition)?)));
        }
        "http" | "https" if bazel => {
            unsigned(definition, "the layout `bazel`")?;
            return Ok(Box::new(CasRemote::new(&definition.name, BazelHttp::new(definition)?)));
        }
        _ => {}
    }
    let trust = trust(definition)?;
    let remote = |depot| -> Result<Box<dyn Remote>, RemoteError> {
        Ok(Box::new(ImageRemote::new(&definition.name, depot, trust)))
    };
    match scheme {
        "dir" => remote(directory(definition)?),
        "oci" => remote(registry(definition)?),
        "http" | "https" if definition.layout == Layout::Oci => {
            remote(objects::open_web(definition)?)
        }
        "s3" => remote(objects::open_bucket(definition)?),
        _ => Err(wrong(
            definition,
            "its kind is not known: an address begins with `dir:`, `http://`, `https://`, \
             `s3://`, `oci://`, `reapi://` or `reapis://`",
        )),
    }
}

/// Signatures have no place beside entries of an action cache, and what was to be checked is not
/// taken unchecked.
fn unsigned(definition: &Definition, kind: &str) -> Result<(), RemoteError> {
    if definition.require_signature.is_empty() && definition.sign.is_none() {
        return Ok(());
    }
    Err(wrong(definition, &format!("{kind} keeps no signatures; leave out its keys")))
}

/// The keys that the project names, read now: a wrong one is no reason for a miss later.
fn trust(definition: &Definition) -> Result<Trust, RemoteError> {
    let place = &definition.name;
    let keys = definition.require_signature.iter().map(|path| PublicKey::read(place, path));
    let signer = definition.sign.as_deref().map(|path| Signer::read(place, path)).transpose()?;
    Ok(Trust { keys: keys.collect::<Result<_, _>>()?, signer })
}

fn wrong(definition: &Definition, why: &str) -> RemoteError {
    RemoteError::Address { place: definition.name.clone(), why: why.to_owned() }
}

fn directory(definition: &Definition) -> Result<Box<dyn Depot>, RemoteError> {
    let path = definition.url.strip_prefix("dir:").unwrap_or_default();
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() {
        return Err(wrong(definition, "`dir:` needs the path of a folder, as `dir:/srv/cache`"));
    }
    Ok(Box::new(ObjectDepot::new(Directory::new(Path::new(path)))))
}

fn registry(definition: &Definition) -> Result<Box<dyn Depot>, RemoteError> {
    let token = definition.token.as_ref();
    let (url, credentials) = (&definition.url, &definition.credentials);
    Ok(Box::new(Registry::open(url, &options(definition), credentials, token)?))
}

/// How its server is spoken to.
pub(crate) fn options(definition: &Definition) -> Options {
    Options {
        insecure: definition.insecure,
        ca: definition.ca.clone(),
        certificate: definition.certificate.clone(),
        key: definition.key.clone(),
        timeout: definition.timeout,
    }
}
