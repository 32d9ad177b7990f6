//! Blobs on their way from one place to another.

use std::ops::Range;

use super::*;
use crate::depot::memory::MemoryDepot;
use crate::depot::{Depot, Descriptor};

/// A place that reads what it gets in two goes, and looks at no digests.
struct Careless {
    kept: MemoryDepot,
    /// The other place, and what its bytes have become by the second go.
    spoils: Option<(MemoryDepot, Arc<[u8]>)>,
}

impl Depot for Careless {
    fn place(&self) -> &str {
        "careless"
    }

    fn has_blob(&self, digest: &Digest) -> Result<bool, RemoteError> {
        self.kept.has_blob(digest)
    }

    fn blob_size(&self, hash: &[u8; 32]) -> Result<Option<u64>, RemoteError> {
        self.kept.blob_size(hash)
    }

    fn open_blob(
        &self,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Option<Box<dyn Read + Send>>, RemoteError> {
        self.kept.open_blob(digest, range)
    }

    fn put_blob(&self, digest: &Digest, body: &Body, _: &Watch<'_>) -> Result<(), RemoteError> {
        let mut bytes = vec![0; digest.size as usize];
        // A part that was cut is read again from where it began.
        assert!(body.read_at(&mut bytes, 0).expect("read") > 0);
        if let Some((from, spoilt)) = &self.spoils {
            from.state().blobs.insert(digest.hash, Arc::clone(spoilt));
        }
        let mut at = bytes.len() / 2;
        while at < bytes.len() {
            let count = body.read_at(&mut bytes[at..], at as u64).expect("read");
            assert!(count > 0);
            at += count;
        }
        self.kept.state().blobs.insert(digest.hash, bytes.into());
        Ok(())
    }

    fn manifest(&self, reference: &depot::Reference) -> Result<Option<Manifest>, RemoteError> {
        self.kept.manifest(reference)
    }

    fn put_manifest(&self, manifest: &Manifest, tags: &[String]) -> Result<(), RemoteError> {
        self.kept.put_manifest(manifest, tags)
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RemoteError> {
        self.kept.referrers(subject)
    }

    fn tags(&self) -> Result<Vec<(String, Option<SystemTime>)>, RemoteError> {
        self.kept.tags()
    }

    fn remove_tag(&self, tag: &str, before: Option<SystemTime>) -> Result<bool, RemoteError> {
        self.kept.remove_tag(tag, before)
    }

    fn blobs(&self) -> Result<Vec<(Digest, SystemTime)>, RemoteError> {
        self.kept.blobs()
    }

    fn remove_blob(&self, digest: &Digest, before: SystemTime) -> Result<bool, RemoteError> {
        self.kept.remove_blob(digest, before)
    }

    fn may_write(&self) -> Result<Result<(), String>, RemoteError> {
        self.kept.may_write()
    }

    fn facts(&self) -> Result<Vec<(String, String)>, RemoteError> {
        self.kept.facts()
    }
}

#[test]
fn what_was_read_again_in_the_middle_is_looked_at_where_it_arrived() {
    let content: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    let digest = Digest::of(&content);
    for spoilt in [false, true] {
        let (from, kept) = (MemoryDepot::default(), MemoryDepot::default());
        from.state().blobs.insert(digest.hash, content.clone().into());
        let mut other = content.clone();
        other[99_000] ^= 1;
        let spoils = spoilt.then(|| (from.clone(), other.into()));
        let to = Careless { kept: kept.clone(), spoils };
        let copying =
            Copying { from: Arc::new(from), to: Arc::new(to), mount: None, watch: &Watch::NOBODY };
        let copied = copying.blob(&digest);
        assert_eq!(copied.is_err(), spoilt, "{copied:?}");
        if let Err(error) = copied {
            assert!(error.to_string().contains("other bytes arrived"), "{error}");
        }
        assert_eq!(kept.has_blob(&digest).expect("asked"), !spoilt, "it is not left there");
    }
}
