//! What is reached from tags.

use std::collections::{HashMap, HashSet};

use ashlar_store::RemoteError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::depot::objects::{hash_of, hashes};
use crate::depot::{Depot, Reference};

/// The SHA-256 of a blob or a manifest.
pub(super) type Hash = [u8; 32];

/// Everything that stays, with its bytes.
pub(super) struct Reach<'a> {
    depot: &'a dyn Depot,
    sizes: HashMap<Hash, u64>,
    /// Whether sizes are learned from manifests, because the place lists none.
    learns: bool,
    reached: HashSet<Hash>,
    bytes: u64,
    /// What others say something about, with those that are tagged as such: they stay with it.
    about: HashMap<Hash, Vec<Hash>>,
    /// What each manifest that was read refers to.
    known: HashMap<Hash, Links>,
}

/// What a manifest refers to.
#[derive(Clone, Debug, Default)]
pub(super) struct Links {
    links: Vec<Link>,
    /// How many bytes the manifest itself has; 0 when there is none.
    size: u64,
}

/// Something that a manifest refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link {
    to: Hash,
    /// Whether it may be a manifest itself.
    manifest: bool,
    /// How many bytes it is said to have.
    size: Option<u64>,
}

impl<'a> Reach<'a> {
    /// Nothing is reached yet. `sizes`: of all blobs that there are; `about`: what has a list of
    /// referrers, with what is tagged as being about it; `known`: the manifests that were read already.
    pub fn new(
        depot: &'a dyn Depot,
        sizes: HashMap<Hash, u64>,
        about: HashMap<Hash, Vec<Hash>>,
        known: HashMap<Hash, Links>,
    ) -> Self {
        Self { depot, sizes, learns: false, reached: HashSet::new(), bytes: 0, about, known }
    }

    /// As [`Reach::new`], where the sizes are what manifests say.
    pub fn learning(
        depot: &'a dyn Depot,
        about: HashMap<Hash, Vec<Hash>>,
        known: HashMap<Hash, Links>,
    ) -> Self {
        let mut new = Self::new(depot, HashMap::new(), about, HashMap::new());
        new.learns = true;
        new.learn(known);
        new
    }

    /// Takes in manifests that were read.
    pub fn learn(&mut self, manifests: HashMap<Hash, Links>) {
        for (hash, links) in manifests {
            self.note(hash, links);
        }
    }

    /// Takes in what is tagged as being about something.
    pub fn learn_about(&mut self, about: HashMap<Hash, Vec<Hash>>) {
        for (subject, referrers) in about {
            self.about.entry(subject).or_default().extend(referrers);
        }
    }

    fn note(&mut self, hash: Hash, links: Links) {
        if self.learns {
            self.sizes.insert(hash, links.size);
            for link in &links.links {
                if let Some(size) = link.size {
                    self.sizes.entry(link.to).or_insert(size);
                }
            }
        }
        self.known.insert(hash, links);
    }

    /// Whether something was read and is a manifest.
    pub fn is_manifest(&self, hash: &Hash) -> bool {
        self.known.get(hash).is_some_and(|links| links.size > 0)
    }

    /// Whether something is reached.
    pub fn has(&self, hash: &Hash) -> bool {
        self.reached.contains(hash)
    }

    /// How many bytes are reached.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many bytes more would be reached with this manifest.
    pub fn with(&mut self, manifest: Hash) -> Result<u64, RemoteError> {
        let more = self.closure(manifest)?;
        Ok(more.iter().map(|hash| self.size(hash)).sum())
    }

    /// Adds a manifest and all that it needs.
    pub fn add(&mut self, manifest: Hash) -> Result<(), RemoteError> {
        for hash in self.closure(manifest)? {
            self.bytes += self.size(&hash);
            self.reached.insert(hash);
        }
        Ok(())
    }

    /// Adds what a tag points to now.
    pub fn add_tag(&mut self, tag: &str) -> Result<(), RemoteError> {
        match self.depot.manifest(&Reference::Tag(tag.to_owned())) {
            Ok(Some(manifest)) => self.add(manifest.digest().hash),
            Ok(None) | Err(RemoteError::Wrong { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Adds what refers to something.
    pub fn add_referrers(&mut self, subject: &Hash) -> Result<(), RemoteError> {
        self.referrers(subject)?.into_iter().try_for_each(|hash| self.add(hash))
    }

    /// What refers to something.
    pub fn referrers(&self, subject: &Hash) -> Result<Vec<Hash>, RemoteError> {
        let size = self.size(subject);
        match self.depot.referrers(&ashlar_object::Digest { hash: *subject, size }) {
            Ok(referrers) => Ok(referrers.iter().filter_map(|one| hash_of(&one.digest)).collect()),
            Err(RemoteError::Wrong { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// How many bytes something has, as far as that is known.
    pub fn size(&self, hash: &Hash) -> u64 {
        self.sizes.get(hash).copied().unwrap_or(0)
    }

    /// A manifest, all that it needs and what refers to any of it, as far as not reached yet.
    pub fn closure(&mut self, manifest: Hash) -> Result<Vec<Hash>, RemoteError> {
        let mut found = HashSet::new();
        let mut to_do = vec![Link { to: manifest, manifest: true, size: None }];
        while let Some(link) = to_do.pop() {
            if self.reached.contains(&link.to) || !found.insert(link.to) {
                continue;
            }
            if let Some(tagged) = self.about.get(&link.to) {
                let referrers = self.referrers(&link.to)?.into_iter().chain(tagged.iter().copied());
                to_do.extend(referrers.map(|to| Link { to, manifest: true, size: None }));
            }
            if link.manifest {
                to_do.extend_from_slice(self.links(link.to)?);
            }
        }
        Ok(found.into_iter().collect())
    }

    fn links(&mut self, hash: Hash) -> Result<&[Link], RemoteError> {
        if !self.known.contains_key(&hash) {
            // What is no manifest, not there or damaged leads nowhere.
            let links = match self.depot.manifest(&Reference::Hash(hash)) {
                Ok(Some(manifest)) => Links::of(&manifest.bytes),
                Ok(None) | Err(RemoteError::Wrong { .. }) => Links::default(),
                Err(error) => return Err(error),
            };
            self.note(hash, links);
        }
        Ok(self.known.get(&hash).map_or(&[], |links| links.links.as_slice()))
    }
}

impl Links {
    /// What a manifest refers to. In configs and annotations anything that looks like a digest counts:
    /// rather something stays too long than that something goes that is needed.
    pub fn of(bytes: &[u8]) -> Self {
        let size = bytes.len() as u64;
        let Ok(parsed) = serde_json::from_slice::<Value>(bytes) else {
            return Self { links: Vec::new(), size };
        };
        let mut links = Vec::new();
        let mut add = |descriptor: &Value, manifest: bool| {
            if let Some(to) = descriptor["digest"].as_str().and_then(hash_of) {
                links.push(Link { to, manifest, size: descriptor["size"].as_u64() });
            }
        };
        add(&parsed["config"], false);
        for (list, manifest) in [("layers", false), ("blobs", false), ("manifests", true)] {
            for descriptor in parsed[list].as_array().into_iter().flatten() {
                add(descriptor, manifest);
            }
        }
        add(&parsed["subject"], true);
        let mut named = Vec::new();
        hashes(&parsed["annotations"], &mut named);
        let config = parsed["config"]["data"].as_str().and_then(|data| STANDARD.decode(data).ok());
        if let Some(config) = config.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        {
            hashes(&config, &mut named);
        }
        links.extend(named.into_iter().map(|to| Link { to, manifest: true, size: None }));
        Self { links, size }
    }
}
