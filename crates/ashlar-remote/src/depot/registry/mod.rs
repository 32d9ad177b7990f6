//! A repository of a registry that speaks the OCI distribution protocol.
//!
//! | file | what lives there |
//! |---|---|
//! | `address.rs` | [`Address`]: `oci://HOST[:PORT]/REPOSITORY` |
//! | `credentials.rs`, `helper.rs` | [`Credentials`]: auth files, helper programs |
//! | `challenge.rs`, `access.rs` | what a registry asks for with 401, and what it gets |
//! | `push.rs` | blobs on their way there: whole, or in parts that are resumed |
//! | `manifests.rs` | manifests by tag and digest; deletion |
//! | `referrers.rs` | what refers to a manifest: by the registry's own list, or by one that we keep |

mod access;
mod address;
mod challenge;
mod credentials;
mod helper;
mod manifests;
mod push;
mod referrers;

#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use reqwest::{Method, header};
use url::Url;

use ashlar_object::Digest;
use ashlar_store::{RemoteError, Watch};

use super::{Body, Depot, Descriptor, Manifest, Reference};
use crate::http::{Answer, Authorize, Client, Options, Request, without_user};
use crate::open::Secret;
use access::Access;
pub(crate) use address::{Address, HUB};
use credentials::Credential;
pub use credentials::Credentials;
pub(crate) use manifests::Named;
use push::Sizes;
use referrers::Lists;

/// A repository of a registry. Nothing is contacted before something is asked.
pub(crate) struct Registry {
    address: Address,
    place: String,
    client: Client,
    access: Arc<Access>,
    sizes: Sizes,
    lists: Lists,
}

impl Registry {
    /// The repository behind an `oci://` address. `token` is sent as it is, when there is one; a
    /// user and a password in the address come before the credentials of auth files.
    ///
    /// # Errors
    /// [`RemoteError::Address`] when the address makes no sense or a certificate cannot be read.
    pub fn open(
        url: &str,
        options: &Options,
        credentials: &Credentials,
        token: Option<&Secret>,
    ) -> Result<Self, RemoteError> {
        let tls = options.ca.is_some() || options.certificate.is_some();
        let address = Address::parse(url, options.insecure, tls)?;
        let place = address.place();
        let client = Client::named(&place, &without_user(&address.base), options)?;
        let known = match token {
            Some(token) => Some(Credential::Token(token.0.trim().to_owned())),
            None => Credential::of_address(&address.base),
        };
        let (host, repository) = (&address.host, &address.repository);
        let access = Access::new(&place, host, repository, credentials, known, options);
        Ok(Self {
            address,
            place,
            client,
            access,
            sizes: Sizes::default(),
            lists: Lists::default(),
        })
    }

    /// With other sizes of what is sent at a time.
    #[cfg(test)]
    fn with_sizes(mut self, sizes: Sizes) -> Self {
        self.sizes = sizes;
        self
    }

    /// A request for something of this repository, with the right to read.
    fn reads(&self, method: Method, rest: &str) -> Result<Request, RemoteError> {
        let with = self.access.grant("pull", None);
        Ok(Request::new(method, self.address.of(rest)?).authorize(Some(with)))
    }

    /// A request for something of this repository, with the right to write.
    fn writes(&self, method: Method, rest: &str) -> Result<Request, RemoteError> {
        Ok(Request::new(method, self.address.of(rest)?).authorize(Some(self.writer())))
    }

    fn writer(&self) -> Arc<dyn Authorize> {
        self.access.grant("pull,push", None)
    }

    /// The right to write to an address that an answer named. Uploads may go on elsewhere, as at a
    /// store behind the registry: what lets us into the registry is not for that place to know.
    fn writer_of(&self, to: &Url) -> Option<Arc<dyn Authorize>> {
        (to.origin() == self.address.base.origin()).then(|| self.writer())
    }

    /// The error that an answer stands for, with what can be done about it.
    fn error(&self, answer: &Answer) -> RemoteError {
        match answer.error() {
            RemoteError::Refused { place, what, why } if answer.status.as_u16() == 401 => {
                let why = format!("{why}; {}", self.access.advice());
                RemoteError::Refused { place, what, why }
            }
            other => other,
        }
    }

    fn expect_success(&self, answer: Answer) -> Result<Answer, RemoteError> {
        if answer.status.is_success() { Ok(answer) } else { Err(self.error(&answer)) }
    }

    /// Where an answer says that something goes on.
    fn location(&self, answer: &Answer, asked: &Url) -> Result<Url, RemoteError> {
        let to = answer.header(header::LOCATION).and_then(|to| asked.join(to).ok());
        to.ok_or_else(|| answer.wrong("it does not say where to go on (no proper Location)"))
    }

    fn unsupported(&self, what: &str) -> RemoteError {
        RemoteError::Unsupported { place: self.place.clone(), what: what.to_owned() }
    }
}

/// A blob within a repository.
fn blob(digest: &Digest) -> String {
    format!("blobs/sha256:{}", digest.hex())
}

impl Depot for Registry {
    fn place(&self) -> &str {
        &self.place
    }

    fn has_blob(&self, digest: &Digest) -> Result<bool, RemoteError> {
        let answer = self.client.send(&self.reads(Method::HEAD, &blob(digest))?, None)?;
        if answer.is_missing() {
            return Ok(false);
        }
        let answer = self.expect_success(answer)?;
        // One of another length is damaged, and of no use.
        Ok(answer.length().is_none_or(|length| length == digest.size))
    }

    fn blob_size(&self, hash: &[u8; 32]) -> Result<Option<u64>, RemoteError> {
        let name = blob(&Digest { hash: *hash, size: 0 });
        let answer = self.client.send(&self.reads(Method::HEAD, &name)?, None)?;
        if answer.is_missing() {
            return Ok(None);
        }
        let answer = self.expect_success(answer)?;
        let size = answer.length();
        size.map(Some).ok_or_else(|| answer.wrong("it does not say how long the blob is"))
    }

    fn open_blob(
        &self,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Option<Box<dyn Read + Send>>, RemoteError> {
        if range.end > digest.size || range.start > range.end {
            return Err(RemoteError::Wrong {
                place: self.place.clone(),
                what: format!("a request for a part of {}", blob(digest)),
                why: format!("bytes {}–{} are not in it", range.start, range.end),
            });
        }
        if digest.size == 0 {
            return Ok(self
                .has_blob(digest)?
                .then(|| -> Box<dyn Read + Send> { Box::new(io::empty()) }));
        }
        let request = self.reads(Method::GET, &blob(digest))?;
        match self.client.open(request, range, Some(digest.size)) {
            Ok(download) => {
                Ok(download.map(|download| -> Box<dyn Read + Send> { Box::new(download) }))
            }
            Err(error) => Err(self.advised(error)),
        }
    }

    fn put_blob(&self, digest: &Digest, body: &Body, watch: &Watch<'_>) -> Result<(), RemoteError> {
        self.push(digest, body, watch)
    }

    fn mount_blob(&self, digest: &Digest, from: &str) -> Result<bool, RemoteError> {
        self.mount(digest, from)
    }

    fn manifest(&self, reference: &Reference) -> Result<Option<Manifest>, RemoteError> {
        self.read_manifest(reference)
    }

    fn put_manifest(&self, manifest: &Manifest, tags: &[String]) -> Result<(), RemoteError> {
        self.write_manifest(manifest, tags)
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RemoteError> {
        self.list_referrers(subject)
    }

    fn flush(&self) -> Result<(), RemoteError> {
        self.settle()
    }

    fn tags(&self) -> Result<Vec<(String, Option<SystemTime>)>, RemoteError> {
        Ok(self.list_tags()?.into_iter().map(|tag| (tag, None)).collect())
    }

    // Registries do not tell when a tag was used, so there is nothing to compare with.
    fn remove_tag(&self, tag: &str, _before: Option<SystemTime>) -> Result<bool, RemoteError> {
        self.delete_tag(tag)
    }

    fn blobs(&self) -> Result<Vec<(Digest, SystemTime)>, RemoteError> {
        Err(self.unsupported("list its blobs: registries have no request for that"))
    }

    fn forgets(&self) -> bool {
        false
    }

    fn may_remove(&self) -> Result<(), RemoteError> {
        self.may_delete()
    }

    fn remove_manifest(&self, hash: &[u8; 32]) -> Result<bool, RemoteError> {
        self.delete(&Reference::Hash(*hash))
    }

    fn remove_blob(&self, _digest: &Digest, _before: SystemTime) -> Result<bool, RemoteError> {
        Err(self.unsupported(
            "remove blobs by age: registries do not tell when something was used; remove tags, and \
             let the registry collect its own garbage",
        ))
    }

    fn may_write(&self) -> Result<Result<(), String>, RemoteError> {
        self.try_writing()
    }

    fn facts(&self) -> Result<Vec<(String, String)>, RemoteError> {
        let url = self.address.join("/v2/")?;
        let request = Request::get(url).authorize(Some(self.access.grant("pull", None)));
        let answer = self.expect_success(self.client.send(&request, None)?)?;
        let version = answer.header("docker-distribution-api-version").unwrap_or("unknown");
        let mut facts = vec![("protocol".to_owned(), version.to_owned())];
        let listing = if self.keeps_lists()? { "by the registry" } else { "by a tag" };
        facts.push(("referrers".to_owned(), listing.to_owned()));
        let deletion = match self.may_delete() {
            Ok(()) => "enabled".to_owned(),
            Err(RemoteError::Unsupported { .. }) => "disabled".to_owned(),
            Err(RemoteError::Refused { .. }) => "refused".to_owned(),
            Err(other) => return Err(other),
        };
        facts.push(("deletion".to_owned(), deletion));
        Ok(facts)
    }
}

impl Registry {
    /// An error of a download, with what can be done about it.
    fn advised(&self, error: RemoteError) -> RemoteError {
        match error {
            RemoteError::Refused { place, what, why } if why.starts_with("401") => {
                RemoteError::Refused {
                    place,
                    what,
                    why: format!("{why}; {}", self.access.advice()),
                }
            }
            other => other,
        }
    }
}
