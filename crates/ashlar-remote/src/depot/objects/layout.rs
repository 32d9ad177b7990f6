//! The layout of a depot that is made of named objects.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ashlar_object::Digest;
use ashlar_store::{RemoteError, Watch};

use super::tag::{self, Index};
use super::young::{FRESH, Young};
use super::{BLOBS, LAYOUT, LEASES, MANIFEST_LIMIT, Objects, TAGS, blob_key};
use crate::depot::{Body, Depot, Descriptor, Manifest, Reference};

/// A tag that leads to a result is noted as used once in this time only: looking up a thousand
/// results should not cost a thousand requests that write.
const LAZY: Duration = Duration::from_secs(24 * 60 * 60);

/// Blobs, manifests and tags in a place that keeps named objects.
pub(crate) struct ObjectDepot<O> {
    pub(super) objects: O,
    pub(super) young: Young,
    laid_out: std::sync::OnceLock<()>,
}

impl<O: Objects> ObjectDepot<O> {
    /// A depot made of these objects. Nothing is contacted yet.
    pub fn new(objects: O) -> Self {
        Self { objects, young: Young::default(), laid_out: std::sync::OnceLock::new() }
    }

    /// An answer that makes no sense.
    pub(super) fn wrong(&self, what: impl Into<String>, why: impl Into<String>) -> RemoteError {
        RemoteError::Wrong { place: self.place().to_owned(), what: what.into(), why: why.into() }
    }

    fn tag_key(&self, tag: &str) -> Result<String, RemoteError> {
        if !tag::is_tag(tag) {
            return Err(RemoteError::Address {
                place: self.place().to_owned(),
                why: format!(
                    "`{tag}` cannot be a tag: 1 to 128 letters, digits, `_`, `.` and `-`, the \
                     first a letter, a digit or `_`"
                ),
            });
        }
        Ok(format!("{TAGS}/{tag}"))
    }

    fn small(&self, key: &str, bytes: Vec<u8>) -> Result<(), RemoteError> {
        let size = bytes.len() as u64;
        self.objects.put(key, &Body::Bytes(bytes.into()), size, &Watch::NOBODY)
    }

    /// Writes the file that makes it an OCI layout, once, if it is not there.
    fn lay_out(&self) -> Result<(), RemoteError> {
        if self.laid_out.get().is_none() {
            if self.objects.head(LAYOUT.0)?.is_none() {
                self.small(LAYOUT.0, LAYOUT.1.as_bytes().to_vec())?;
            }
            let _ = self.laid_out.set(()); // Another thread did the same.
        }
        Ok(())
    }

    /// A manifest among the blobs.
    pub(super) fn stored(&self, hash: &[u8; 32]) -> Result<Option<Manifest>, RemoteError> {
        let Some((bytes, _)) = self.objects.read(&blob_key(hash), MANIFEST_LIMIT)? else {
            return Ok(None);
        };
        let what = || tag::shown(&Reference::Hash(*hash));
        if Digest::of(&bytes).hash != *hash {
            return Err(self.wrong(what(), "its bytes have another digest"));
        }
        let media_type = tag::media_type(&bytes).map_err(|why| self.wrong(what(), why))?;
        Ok(Some(Manifest { media_type, bytes }))
    }

    fn tagged(&self, name: &str) -> Result<Option<Manifest>, RemoteError> {
        let Some((bytes, seen)) = self.objects.read(&self.tag_key(name)?, MANIFEST_LIMIT)? else {
            return Ok(None);
        };
        self.young.note_tag(name, seen.modified);
        if tag::referrers_of(name).is_some() {
            return Ok(Some(Manifest { media_type: tag::INDEX.to_owned(), bytes }));
        }
        let what = || format!("the tag {name}");
        let descriptor = tag::pointed(&bytes).map_err(|why| self.wrong(what(), why))?;
        if let Some(manifest) = tag::inlined(&descriptor) {
            return Ok(Some(manifest));
        }
        let hash = tag::hash_of(&descriptor.digest)
            .ok_or_else(|| self.wrong(what(), "it points to no SHA-256 digest"))?;
        let stored = self.stored(&hash)?;
        Ok(stored.map(|manifest| Manifest { media_type: descriptor.media_type, ..manifest }))
    }

    /// Adds a manifest to the referrers of its subject, newest state last.
    fn refer(&self, subject: &Digest, manifest: &Manifest) -> Result<(), RemoteError> {
        let key = format!("{TAGS}/{}", tag::referrers_tag(&subject.hash));
        let descriptor = tag::describe(manifest);
        self.objects.update(&key, &|old| {
            // What cannot be read is begun anew: it helps nobody as it is.
            let mut index = old
                .and_then(|bytes| Index::decode(bytes).ok())
                .unwrap_or_else(|| Index::of(Vec::new()));
            if index.manifests.iter().any(|one| one.digest == descriptor.digest) {
                return Ok(None);
            }
            index.manifests.push(descriptor.clone());
            Ok(Some(index.encode()))
        })
    }

    /// The objects of a folder with the later of their own times and those of their leases.
    fn listed(&self, folder: &str) -> Result<Vec<(String, super::Seen)>, RemoteError> {
        let mut all = self.objects.list(folder)?;
        // Leases are listed after the objects: what became young in between is seen.
        let leases = self.objects.list(&format!("{LEASES}/{folder}"))?;
        if !leases.is_empty() {
            let leases: std::collections::HashMap<_, _> = leases.into_iter().collect();
            for (name, seen) in &mut all {
                if let Some(lease) = leases.get(name) {
                    seen.modified = seen.modified.max(lease.modified);
                }
            }
        }
        Ok(all)
    }
}

impl<O: Objects> Depot for ObjectDepot<O> {
    fn place(&self) -> &str {
        self.objects.place()
    }

    fn has_blob(&self, digest: &Digest) -> Result<bool, RemoteError> {
        let key = blob_key(&digest.hash);
        let Some(seen) = self.objects.head(&key)? else { return Ok(false) };
        if seen.size != digest.size {
            // Half of something that was never verified: it is to be put over.
            return Ok(false);
        }
        self.make_young(&key, Some(digest.hash), seen.modified, FRESH)
    }

    fn blob_size(&self, hash: &[u8; 32]) -> Result<Option<u64>, RemoteError> {
        Ok(self.objects.head(&blob_key(hash))?.map(|seen| seen.size))
    }

    fn open_blob(
        &self,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Option<Box<dyn Read + Send>>, RemoteError> {
        if range.start > range.end || range.end > digest.size {
            return Err(self.wrong(
                format!("a part of the blob {}", digest.hex()),
                format!("bytes {} to {} of {}", range.start, range.end, digest.size),
            ));
        }
        if range.is_empty() && digest.size > 0 {
            return Ok(Some(Box::new(std::io::empty())));
        }
        self.objects.open(&blob_key(&digest.hash), range)
    }

    fn put_blob(&self, digest: &Digest, body: &Body, watch: &Watch<'_>) -> Result<(), RemoteError> {
        self.lay_out()?;
        self.objects.put(&blob_key(&digest.hash), body, digest.size, watch)?;
        self.young.note_blob(digest.hash);
        Ok(())
    }

    fn manifest(&self, reference: &Reference) -> Result<Option<Manifest>, RemoteError> {
        match reference {
            Reference::Hash(hash) => self.stored(hash),
            Reference::Tag(tag) => self.tagged(tag),
        }
    }

    fn put_manifest(&self, manifest: &Manifest, tags: &[String]) -> Result<(), RemoteError> {
        let keys = tags
            .iter()
            .map(|tag| match tag::referrers_of(tag) {
                None => self.tag_key(tag),
                Some(_) => Err(RemoteError::Unsupported {
                    place: self.place().to_owned(),
                    what: format!("take {tag} as a tag: it is where referrers are listed"),
                }),
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.lay_out()?;
        self.ensure(manifest)?;
        let digest = manifest.digest();
        let body = Body::Bytes(Arc::from(manifest.bytes.as_slice()));
        self.objects.put(&blob_key(&digest.hash), &body, digest.size, &Watch::NOBODY)?;
        self.young.note_blob(digest.hash);
        self.objects.settle()?;
        for (tag, key) in tags.iter().zip(keys) {
            self.small(&key, tag::pointer(tag, manifest))?;
            self.young.forget_tag(tag);
        }
        if let Some(subject) = tag::subject(manifest) {
            self.refer(&subject, manifest)?;
        }
        Ok(())
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RemoteError> {
        let name = tag::referrers_tag(&subject.hash);
        match self.objects.read(&format!("{TAGS}/{name}"), MANIFEST_LIMIT)? {
            None => Ok(Vec::new()),
            Some((bytes, _)) => match Index::decode(&bytes) {
                Ok(index) => Ok(index.manifests),
                Err(error) => {
                    Err(self.wrong(format!("the tag {name}"), format!("it is no index: {error}")))
                }
            },
        }
    }

    fn tags(&self) -> Result<Vec<(String, Option<SystemTime>)>, RemoteError> {
        let mut tags: Vec<_> = (self.listed(TAGS)?.into_iter())
            .filter(|(name, _)| tag::is_tag(name))
            .map(|(name, seen)| (name, Some(seen.modified)))
            .collect();
        tags.sort();
        Ok(tags)
    }

    fn touch(&self, tag: &str) {
        let lazy = tag.starts_with("step-") || tag.starts_with("action-");
        let (Ok(key), Some(modified)) = (self.tag_key(tag), self.young.tag(tag)) else { return };
        let old_enough = if lazy { LAZY } else { FRESH };
        if matches!(self.make_young(&key, None, modified, old_enough), Ok(true)) {
            self.young.forget_tag(tag);
        }
    }

    fn remove_tag(&self, tag: &str, before: Option<SystemTime>) -> Result<bool, RemoteError> {
        let key = self.tag_key(tag)?;
        match before {
            Some(before) => self.objects.remove_old(&key, &format!("{LEASES}/{key}"), before),
            None => self.objects.remove(&key),
        }
    }

    fn blobs(&self) -> Result<Vec<(Digest, SystemTime)>, RemoteError> {
        let listed = self.listed(BLOBS)?;
        let blob = |(name, seen): (String, super::Seen)| {
            Some((Digest::from_hex(&name, seen.size).ok()?, seen.modified))
        };
        Ok(listed.into_iter().filter_map(blob).collect())
    }

    fn remove_blob(&self, digest: &Digest, before: SystemTime) -> Result<bool, RemoteError> {
        let key = blob_key(&digest.hash);
        let removed = self.objects.remove_old(&key, &format!("{LEASES}/{key}"), before)?;
        if removed {
            self.young.forget_blob(&digest.hash);
        }
        Ok(removed)
    }

    fn now(&self) -> Result<SystemTime, RemoteError> {
        self.objects.now()
    }

    fn tidy(&self, before: SystemTime) -> Result<u64, RemoteError> {
        let mut removed = self.objects.tidy(before)?;
        for folder in [BLOBS, TAGS] {
            let folder = format!("{LEASES}/{folder}");
            for (name, seen) in self.objects.list(&folder)? {
                // A lease that is as old as this protects nothing any more. For tags it is also
                // what collection goes by, so that it stays as long as the tag does.
                let of = format!("{folder}/{name}");
                let useless = if folder.ends_with(TAGS) {
                    self.objects.head(&format!("{TAGS}/{name}"))?.is_none()
                } else {
                    true
                };
                if seen.modified < before && useless && self.objects.remove(&of)? {
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    fn may_write(&self) -> Result<Result<(), String>, RemoteError> {
        self.objects.may_write()
    }

    fn facts(&self) -> Result<Vec<(String, String)>, RemoteError> {
        self.objects.facts()
    }

    fn flush(&self) -> Result<(), RemoteError> {
        self.objects.flush()
    }
}
