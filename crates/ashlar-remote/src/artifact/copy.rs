//! An artifact to another place, with all that it consists of and all that is said of it.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ashlar_object::{Digest, Hasher};
use ashlar_store::{Moved, RemoteError, Watch};

use super::address::{Reference, Repository, Target};
use super::found::{Found, find};
use super::layers::{in_parallel, put};
use super::manifest::{EMPTY_CONFIG, ImageManifest, Index, digest_of, trusted};
use super::{Access, ArtifactError, place};
use crate::depot::{self, Body, Depot, Made, Manifest};

/// Whatever was just put is older than in a day.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Copies an artifact and its signatures to another place, and gives its reference there. What is
/// there is not moved; inside one registry nothing is moved at all if the registry can mount.
///
/// # Errors
/// When something is missing or damaged, or one of the places fails.
pub fn copy(
    from: &Reference,
    to: &Target,
    access: &Access,
    watch: &Watch<'_>,
) -> Result<Reference, ArtifactError> {
    let source = place::open(&from.repository, access)?;
    let target = place::open(&to.repository, access)?;
    let copying = Copying {
        from: source,
        to: target,
        mount: mountable(&from.repository, &to.repository),
        watch,
    };
    let found = find(&*copying.from, from)?;
    let tags = |digest: &Digest| {
        let mut tags = vec![format!("artifact-{}", digest.hex())];
        tags.extend(to.tag.clone());
        tags
    };
    let digest = match found {
        Found::Archive(digest) => {
            copying.blob(&digest)?;
            let empty = Body::Bytes(Arc::from(EMPTY_CONFIG));
            put(&*copying.to, &Digest::of(EMPTY_CONFIG), &empty, watch)?;
            let manifest = trusted(&[("artifact".to_owned(), digest)], None);
            copying.said_of(&digest)?;
            copying.to.put_manifest(&manifest, &tags(&manifest.digest()))?;
            digest
        }
        Found::Image(manifest) => {
            copying.manifest(&manifest)?;
            copying.said_of(&manifest.digest())?;
            copying.to.put_manifest(&manifest, &tags(&manifest.digest()))?;
            manifest.digest()
        }
        Found::Composite(composite) => {
            for (_, part) in &composite.parts {
                let manifest = copying.read(part)?;
                copying.manifest(&manifest)?;
                copying.to.put_manifest(&manifest, &[])?;
            }
            copying.to.put_manifest(&composite.index, &[])?;
            copying.said_of(&composite.index.digest())?;
            let digest = composite.index.digest();
            copying.to.put_manifest(&composite.index, &tags(&digest))?;
            digest
        }
    };
    copying.to.flush()?;
    Ok(Reference { repository: to.repository.clone(), hash: digest.hash })
}

/// The name that blobs can be mounted from, when both are in one registry.
fn mountable(from: &Repository, to: &Repository) -> Option<String> {
    let (Repository::Registry(from), Repository::Registry(to)) = (from, to) else { return None };
    let ((from_host, name), (to_host, _)) = (from.split_once('/')?, to.split_once('/')?);
    (from_host == to_host).then(|| name.to_owned())
}

struct Copying<'a> {
    from: Arc<dyn Depot>,
    to: Arc<dyn Depot>,
    mount: Option<String>,
    watch: &'a Watch<'a>,
}

impl Copying<'_> {
    fn read(&self, digest: &Digest) -> Result<Manifest, ArtifactError> {
        let found = self.from.manifest(&depot::Reference::Hash(digest.hash))?;
        found.ok_or_else(|| ArtifactError::Lost {
            place: self.from.place().to_owned(),
            what: format!("manifest sha256:{}", digest.hex()),
        })
    }

    /// Everything that a manifest consists of, not itself.
    fn manifest(&self, manifest: &Manifest) -> Result<(), ArtifactError> {
        let Some(image) = ImageManifest::decode(manifest) else { return Ok(()) };
        let blobs = image.layers.iter().chain([&image.config]).filter_map(digest_of);
        let blobs: std::collections::BTreeSet<Digest> = blobs.collect();
        let blobs: Vec<Digest> = blobs.into_iter().collect();
        in_parallel(&blobs, 4, |blob| self.blob(blob))?;
        Ok(())
    }

    fn blob(&self, digest: &Digest) -> Result<(), ArtifactError> {
        if let Some(name) = &self.mount
            && !self.to.has_blob(digest)?
            && self.to.mount_blob(digest, name)?
        {
            (self.watch.moved)(Moved { already: digest.size, ..Moved::default() });
            return Ok(());
        }
        let far = Arc::new(Far {
            depot: Arc::clone(&self.from),
            digest: *digest,
            at: Mutex::default(),
            jumped: AtomicBool::new(false),
        });
        let body = Body::Made(Arc::clone(&far) as Arc<dyn Made>);
        put(&*self.to, digest, &body, self.watch)?;
        if far.jumped.load(Ordering::Relaxed) { self.arrived(digest) } else { Ok(()) }
    }

    /// Reads a blob back whose bytes were not read in one go, so that no digest was made of them on
    /// their way: not every place does that itself.
    fn arrived(&self, digest: &Digest) -> Result<(), ArtifactError> {
        let place = self.to.place();
        let failed = |error| crate::http::remote_error(error, place);
        let mut hasher = Hasher::new();
        if let Some(mut reader) = self.to.open_blob(digest, 0..digest.size)? {
            let mut piece = vec![0; 256 << 10];
            loop {
                if !(self.watch.go_on)() {
                    return Err(RemoteError::Stopped.into());
                }
                match reader.read(&mut piece) {
                    Ok(0) => break,
                    Ok(count) => hasher.update(&piece[..count]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(failed(error).into()),
                }
            }
        }
        if hasher.finish() == *digest {
            return Ok(());
        }
        // It would pass for the right one. Places that cannot remove it look at digests themselves.
        let removed = self.to.remove_blob(digest, SystemTime::now() + DAY);
        let left = if matches!(removed, Ok(true)) { "" } else { "; remove it there" };
        Err(RemoteError::Wrong {
            place: place.to_owned(),
            what: format!("the blob sha256:{}", digest.hex()),
            why: format!("other bytes arrived than were to be sent{left}, and copy again"),
        }
        .into())
    }

    /// Signatures and whatever else refers to a manifest.
    fn said_of(&self, digest: &Digest) -> Result<(), ArtifactError> {
        let referrers = match self.from.referrers(digest) {
            Ok(referrers) => referrers,
            Err(RemoteError::Unsupported { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let mut copied = std::collections::HashSet::new();
        for descriptor in referrers.iter().filter_map(digest_of) {
            let manifest = self.read(&descriptor)?;
            self.manifest(&manifest)?;
            self.to.put_manifest(&manifest, &[])?;
            copied.insert(manifest.digest());
        }
        // Where other tools look for them.
        for kind in ["sig", "att"] {
            let tag = format!("sha256-{}.{kind}", digest.hex());
            let Some(manifest) = self.from.manifest(&depot::Reference::Tag(tag.clone()))? else {
                continue;
            };
            if Index::decode(&manifest).is_some_and(|index| !index.manifests.is_empty()) {
                continue;
            }
            if !copied.contains(&manifest.digest()) {
                self.manifest(&manifest)?;
            }
            self.to.put_manifest(&manifest, &[tag])?;
        }
        Ok(())
    }
}

/// A blob of another place, read while it is written here and compared with its digest.
struct Far {
    depot: Arc<dyn Depot>,
    digest: Digest,
    at: Mutex<Option<Position>>,
    /// Whether it was read again from somewhere in the middle.
    jumped: AtomicBool,
}

impl std::fmt::Debug for Far {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Far({:?})", self.digest)
    }
}

struct Position {
    offset: u64,
    reader: Box<dyn Read + Send>,
    /// While everything from the beginning on has passed.
    hasher: Option<Hasher>,
}

impl Made for Far {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        if at >= self.digest.size {
            return Ok(0);
        }
        let mut place = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let mut position = match place.take() {
            Some(position) if position.offset == at => position,
            _ => {
                let opened = self.depot.open_blob(&self.digest, at..self.digest.size);
                let reader = opened.map_err(io::Error::other)?;
                let reader = reader.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
                self.jumped.fetch_or(at > 0, Ordering::Relaxed);
                Position { offset: at, reader, hasher: (at == 0).then(Hasher::new) }
            }
        };
        let count = position.reader.read(buffer)?;
        position.offset += count as u64;
        if let Some(hasher) = &mut position.hasher {
            hasher.update(&buffer[..count]);
            // The last bytes are not given away before all are known to be right.
            if position.offset == self.digest.size && hasher.clone().finish() != self.digest {
                let why = format!("the blob sha256:{} is damaged there", self.digest.hex());
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
        }
        *place = Some(position);
        Ok(count)
    }
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;
