//! Manifests and tags of a registry.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, LINK};
use serde_json::json;

use ashlar_object::Digest;
use ashlar_store::{RemoteError, Watch};

use super::Registry;
use super::referrers::SUBJECT;
use crate::depot::objects::tag::{self, MANIFEST};
use crate::depot::{Body, Depot as _, Manifest, Reference};
use crate::http::{Answer, Payload, Request};

/// How many pages a list of tags may have. Registries put a hundred on one, or a thousand.
const PAGES: usize = 10_000;
/// How many tags there may be in a repository.
const TAGS: usize = 1_000_000;
/// The manifests that are understood: ours, and those that other programs write in their place.
const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
                        application/vnd.oci.image.index.v1+json, \
                        application/vnd.docker.distribution.manifest.v2+json, \
                        application/vnd.docker.distribution.manifest.list.v2+json";
/// What stands in the place of a tag while it is removed.
const REMOVED: &str = "application/vnd.ashlar.removed.v1+json";
/// How often a manifest is put that the registry says it misses blobs of, and how long the first
/// wait is. `docker-registry` notes that a repository has a blob by emptying a file and writing it
/// again: who looks while somebody else puts the same blob once more finds nothing.
const LOOKS: u32 = 4;
const AGAIN: Duration = Duration::from_millis(60);
/// Why nothing can be removed, and what to do.
const DISABLED: &str = "delete: let the registry's administrator enable deletion (docker-registry: \
                        REGISTRY_STORAGE_DELETE_ENABLED=true, or `storage.delete.enabled: true`)";

/// What a registry says of a manifest that is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// It is not there.
    Missing,
    /// It is there, with this hash.
    As([u8; 32]),
    /// Perhaps, and its hash is not said.
    Unsaid,
}

/// A manifest by tag or digest within a repository.
fn name(reference: &Reference) -> String {
    match reference {
        Reference::Tag(tag) => format!("manifests/{tag}"),
        Reference::Hash(hash) => {
            format!("manifests/sha256:{}", Digest { hash: *hash, size: 0 }.hex())
        }
    }
}

impl Registry {
    /// See [`crate::depot::Depot::manifest`].
    pub(super) fn read_manifest(
        &self,
        reference: &Reference,
    ) -> Result<Option<Manifest>, RemoteError> {
        let Some((manifest, answer)) = self.ask_manifest(reference)? else { return Ok(None) };
        let hash = manifest.digest().hash;
        let expected = match reference {
            Reference::Hash(hash) => Some(*hash),
            Reference::Tag(_) => answer.header("docker-content-digest").and_then(tag::hash_of),
        };
        match expected {
            Some(expected) if expected != hash => Err(answer.wrong(format!(
                "its bytes have the digest {} instead of {}",
                Digest { hash, size: 0 }.short(),
                Digest { hash: expected, size: 0 }.short()
            ))),
            _ => Ok(Some(manifest)),
        }
    }

    /// What is sent for a manifest, not compared with its digest.
    pub(crate) fn unchecked_manifest(
        &self,
        reference: &Reference,
    ) -> Result<Option<Manifest>, RemoteError> {
        Ok(self.ask_manifest(reference)?.map(|(manifest, _)| manifest))
    }

    fn ask_manifest(
        &self,
        reference: &Reference,
    ) -> Result<Option<(Manifest, Answer)>, RemoteError> {
        if let Reference::Tag(tag) = reference
            && !tag::is_tag(tag)
        {
            return Ok(None);
        }
        let request = self.reads(Method::GET, &name(reference))?.header(ACCEPT, ACCEPTED);
        let answer = self.client.send(&request, None)?;
        if answer.is_missing() {
            return Ok(None);
        }
        let answer = self.expect_success(answer)?;
        let manifest = Manifest { media_type: media_type(&answer)?, bytes: answer.body.to_vec() };
        Ok(Some((manifest, answer)))
    }

    /// Whether a manifest is there, without reading it, and the hash that it says to have.
    pub(crate) fn named(&self, reference: &Reference) -> Result<Named, RemoteError> {
        if let Reference::Tag(tag) = reference
            && !tag::is_tag(tag)
        {
            return Ok(Named::Missing);
        }
        let request = self.reads(Method::HEAD, &name(reference))?.header(ACCEPT, ACCEPTED);
        let answer = self.client.send(&request, None)?;
        if answer.is_missing() {
            return Ok(Named::Missing);
        }
        // Some do not know the method here: then it is read after all.
        if matches!(answer.status.as_u16(), 405 | 501) {
            return Ok(Named::Unsaid);
        }
        let answer = self.expect_success(answer)?;
        let hash = answer.header("docker-content-digest").and_then(tag::hash_of);
        Ok(hash.map_or(Named::Unsaid, Named::As))
    }

    /// See [`crate::depot::Depot::put_manifest`].
    pub(super) fn write_manifest(
        &self,
        manifest: &Manifest,
        tags: &[String],
    ) -> Result<(), RemoteError> {
        let mut references: Vec<Reference> = tags.iter().cloned().map(Reference::Tag).collect();
        if references.is_empty() {
            references.push(Reference::Hash(manifest.digest().hash));
        }
        let subject = tag::subject(manifest);
        let mut listed = false;
        for (number, reference) in references.iter().enumerate() {
            let answer = self.write_one(manifest, reference)?;
            listed |= answer.headers.contains_key(SUBJECT);
            if number == 0
                && let Some(subject) = &subject
            {
                self.refer(subject, manifest, listed)?;
            }
        }
        Ok(())
    }

    /// Puts a manifest under one name.
    pub(super) fn write_one(
        &self,
        manifest: &Manifest,
        reference: &Reference,
    ) -> Result<Answer, RemoteError> {
        if let Reference::Tag(tag) = reference
            && !tag::is_tag(tag)
        {
            return Err(RemoteError::Wrong {
                place: self.place.clone(),
                what: "a manifest".to_owned(),
                why: format!("`{tag}` cannot be a tag"),
            });
        }
        let payload = Payload::Bytes(manifest.bytes.clone().into());
        let request = self
            .writes(Method::PUT, &name(reference))?
            .header(CONTENT_TYPE, &manifest.media_type)
            .payload(payload);
        let mut looks = 0;
        let answer = loop {
            let answer = self.client.send(&request, None)?;
            looks += 1;
            if looks >= LOOKS || !misses_blobs(&answer) {
                break self.expect_success(answer)?;
            }
            std::thread::sleep(AGAIN * looks);
        };
        let digest = manifest.digest();
        match answer.header("docker-content-digest").and_then(tag::hash_of) {
            Some(hash) if hash != digest.hash => Err(answer.wrong(format!(
                "it kept the manifest {} as {}, changed on its way",
                digest.short(),
                Digest { hash, size: 0 }.short()
            ))),
            _ => Ok(answer),
        }
    }

    /// All tags.
    pub(super) fn list_tags(&self) -> Result<Vec<String>, RemoteError> {
        #[derive(serde::Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let mut request = self.reads(Method::GET, "tags/list?n=1000")?;
        let mut tags = Vec::new();
        let mut seen = HashSet::new();
        loop {
            if seen.len() >= PAGES || tags.len() > TAGS {
                let why =
                    format!("it does not end after {} tags on {} pages", tags.len(), seen.len());
                return Err(self.wrong("a list of tags", &why));
            }
            if !seen.insert(request.url.clone()) {
                return Err(self.wrong("a list of tags", "its pages go round in a circle"));
            }
            let answer = self.client.send(&request, None)?;
            if answer.is_missing() {
                return Ok(tags);
            }
            let answer = self.expect_success(answer)?;
            let page: Page = serde_json::from_slice(&answer.body)
                .map_err(|error| answer.wrong(format!("it is no list of tags: {error}")))?;
            tags.extend(page.tags.unwrap_or_default());
            match next(&answer) {
                None => return Ok(tags),
                Some(link) => {
                    let url = request.url.join(&link).ok();
                    // The rights to this place are for no other.
                    let url = url.filter(|url| url.origin() == request.url.origin());
                    request.url = url.ok_or_else(|| answer.wrong("its next page is elsewhere"))?;
                }
            }
        }
    }

    fn wrong(&self, what: &str, why: &str) -> RemoteError {
        RemoteError::Wrong { place: self.place.clone(), what: what.to_owned(), why: why.to_owned() }
    }

    /// A request that removes, with the right to.
    fn deletes(&self, reference: &Reference) -> Result<Request, RemoteError> {
        let with = self.access.grant("delete", None);
        let url = self.address.of(&name(reference))?;
        Ok(Request::new(Method::DELETE, url).authorize(Some(with)))
    }

    /// Removes a manifest with all its tags. `false` when it was not there.
    pub(super) fn delete(&self, reference: &Reference) -> Result<bool, RemoteError> {
        let request = self.deletes(reference)?;
        let mut looks = 0;
        loop {
            let answer = self.client.send(&request, None)?;
            looks += 1;
            return match answer.status.as_u16() {
                // After another try: that was for the tags alone.
                404 | 410 => Ok(looks > 1),
                405 | 501 => Err(self.unsupported(DISABLED)),
                // `docker-registry` looks through all tags for those that lead there, after it
                // removed the manifest, and stumbles over one that is just being written, whose
                // file is empty for a moment.
                400 if looks < LOOKS && answer.said().contains("DIGEST_INVALID") => {
                    std::thread::sleep(AGAIN * looks);
                    continue;
                }
                _ => self.expect_success(answer).map(|_| true),
            };
        }
    }

    /// Whether manifests may be removed: by removing one that is not there.
    pub(super) fn may_delete(&self) -> Result<(), RemoteError> {
        self.delete(&Reference::Hash(Digest::of(b"there is no manifest like this").hash)).map(drop)
    }

    /// Removes a tag, and not the others of the same manifest.
    pub(super) fn delete_tag(&self, tag: &str) -> Result<bool, RemoteError> {
        let reference = Reference::Tag(tag.to_owned());
        let Some(manifest) = self.read_manifest(&reference)? else { return Ok(false) };
        let answer = self.client.send(&self.deletes(&reference)?, None)?;
        match answer.status.as_u16() {
            // Some say this of a tag, although it is there.
            404 | 410 if self.read_manifest(&reference)?.is_none() => return Ok(false),
            400 | 404 | 405 | 410 | 501 => {}
            _ => return self.expect_success(answer).map(|_| true),
        }
        // Registries of the older kind remove only manifests, with all their tags. So the tag is
        // made to be the only one of a manifest that is good for nothing else.
        self.may_delete()?;
        let empty = b"{}";
        let config = Digest::of(empty);
        if !self.has_blob(&config)? {
            self.put_blob(&config, &Body::Bytes(empty.as_slice().into()), &Watch::NOBODY)?;
        }
        let config = json!({
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": format!("sha256:{}", config.hex()),
            "size": config.size,
        });
        let document = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": REMOVED,
            "config": config.clone(),
            "layers": [config],
            "annotations": {
                "org.ashlar.removed": tag,
                "org.ashlar.was": format!("sha256:{}", manifest.digest().hex()),
            },
        });
        let placeholder =
            Manifest { media_type: MANIFEST.to_owned(), bytes: document.to_string().into_bytes() };
        self.write_one(&placeholder, &reference)?;
        self.delete(&Reference::Hash(placeholder.digest().hash))?;
        Ok(true)
    }
}

/// Whether a registry did not take a manifest because something that it refers to is not there.
fn misses_blobs(answer: &Answer) -> bool {
    let said = String::from_utf8_lossy(&answer.body);
    matches!(answer.status.as_u16(), 400 | 404)
        && ["BLOB_UNKNOWN", "MANIFEST_UNKNOWN"].iter().any(|code| said.contains(code))
}

/// The media type of a manifest: as it was sent, or as it says itself.
fn media_type(answer: &Answer) -> Result<String, RemoteError> {
    let sent = answer.header(CONTENT_TYPE).unwrap_or_default();
    let sent = sent.split(';').next().unwrap_or_default().trim();
    if ACCEPTED.split(", ").any(|accepted| accepted == sent) {
        return Ok(sent.to_owned());
    }
    tag::media_type(&answer.body).map_err(|why| answer.wrong(why))
}

/// The next page: `Link: <ADDRESS>; rel="next"`.
pub(super) fn next(answer: &Answer) -> Option<String> {
    let link = answer.header(LINK)?;
    link.split(',').find_map(|one| {
        let (address, parameters) = one.trim().strip_prefix('<')?.split_once('>')?;
        parameters.replace(['"', ' '], "").contains("rel=next").then(|| address.to_owned())
    })
}
