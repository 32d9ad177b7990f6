//! What is remembered of images at registries: manifests, indices and configurations by digest,
//! which never change, and what tags named last.

use ashlar_object::Digest;
use ashlar_store::{ImageError, ImageReference, LocalStore};

use crate::depot::Manifest;

/// Notes on one repository.
pub(super) struct Notes<'a> {
    store: Option<&'a LocalStore>,
    repository: String,
}

impl<'a> Notes<'a> {
    /// Layouts are looked at each time: they are as near as the notes.
    pub fn on(store: Option<&'a LocalStore>, reference: &ImageReference) -> Self {
        match reference {
            ImageReference::Registry { host, repository, .. } => {
                Self { store, repository: format!("{host}/{repository}") }
            }
            ImageReference::Layout { .. } => Self { store: None, repository: String::new() },
        }
    }

    fn recall(&self, what: &str, name: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let Some(store) = self.store else { return Ok(None) };
        Ok(store.journal().recall(&format!("image {what} {}{name}", self.repository))?)
    }

    fn remember(&self, what: &str, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        let Some(store) = self.store else { return Ok(()) };
        Ok(store.journal().remember(&format!("image {what} {}{name}", self.repository), bytes)?)
    }

    /// A manifest or an index. What is damaged was never noted.
    pub fn manifest(&self, hash: &[u8; 32]) -> Result<Option<Manifest>, ImageError> {
        let Some(noted) = self.recall("manifest", &by(hash))? else { return Ok(None) };
        let Some(line) = noted.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let media_type = String::from_utf8_lossy(&noted[..line]).into_owned();
        let bytes = noted[line + 1..].to_vec();
        let right = Digest::of(&bytes).hash == *hash;
        Ok(right.then_some(Manifest { media_type, bytes }))
    }

    /// Notes a manifest or an index.
    pub fn keep_manifest(&self, manifest: &Manifest) -> Result<(), ImageError> {
        let noted = [manifest.media_type.as_bytes(), b"\n", &manifest.bytes].concat();
        self.remember("manifest", &by(&manifest.digest().hash), &noted)
    }

    /// A configuration.
    pub fn configuration(&self, digest: &Digest) -> Result<Option<Vec<u8>>, ImageError> {
        let noted = self.recall("configuration", &by(&digest.hash))?;
        Ok(noted.filter(|bytes| Digest::of(bytes) == *digest))
    }

    /// Notes a configuration.
    pub fn keep_configuration(&self, bytes: &[u8]) -> Result<(), ImageError> {
        self.remember("configuration", &by(&Digest::of(bytes).hash), bytes)
    }

    /// What a tag named last.
    pub fn tag(&self, tag: &str) -> Result<Option<[u8; 32]>, ImageError> {
        Ok(self.recall("tag", &format!(":{tag}"))?.and_then(|bytes| bytes.try_into().ok()))
    }

    /// Notes what a tag names.
    pub fn keep_tag(&self, tag: &str, hash: &[u8; 32]) -> Result<(), ImageError> {
        if self.tag(tag)?.as_ref() == Some(hash) {
            return Ok(());
        }
        self.remember("tag", &format!(":{tag}"), hash)
    }
}

fn by(hash: &[u8; 32]) -> String {
    format!("@sha256:{}", Digest { hash: *hash, size: 0 }.hex())
}
