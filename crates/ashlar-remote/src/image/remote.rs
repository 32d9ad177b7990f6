//! A remote made of a depot.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use ashlar_object::{ActionResult, Digest, StepKey, Tree};
use ashlar_store::{
    Abilities, Collected, Found, Limits, Moved, Publication, Remote, RemoteError, RemoteStat,
    Store, StoreError, Watch,
};

use super::lookup::{Known, Sighting, look_up};
use super::manifest::{TreeImage, action_tag, blob_of, inlined, says, step_tag, tree_tag};
use super::publish::publish;
use super::pull::{Flaw, open_tree, pull_into, tree_of};
use super::sign::Trust;
use super::transfer::{SMALL, Tap, Transfer, counted, in_parallel, native};
use super::verify::PublicKey;
use crate::cas::again;
use crate::depot::{self, Depot, Reference};

/// Results brought or left at once.
const AT_ONCE: usize = 8;
/// No log is larger.
const LOG: u64 = 1 << 30;
/// Windows of decompressors are bounded by this power of two, whatever a frame asks for: 8 MiB, as
/// level 19 has it.
const WINDOW: u32 = 23;

/// Results as images on a depot.
pub(crate) struct ImageRemote {
    name: String,
    depot: Box<dyn Depot>,
    trust: Trust,
    limits: ashlar_pack::Limits,
    known: Known,
}

impl ImageRemote {
    /// A remote. Nothing is contacted yet.
    pub fn new(name: &str, depot: Box<dyn Depot>, trust: Trust) -> Self {
        Self {
            name: name.to_owned(),
            depot,
            trust,
            limits: ashlar_pack::Limits::default(),
            known: Known::default(),
        }
    }

    fn transfer<'a>(&'a self, cache: &'a dyn Store, watch: Watch<'a>) -> Transfer<'a> {
        Transfer {
            depot: &*self.depot,
            cache: Some(cache),
            folder: None,
            limits: &self.limits,
            architecture: native(),
            watch,
        }
    }

    fn say_pending(&self, watch: &Watch<'_>) {
        self.known.pending().into_iter().for_each(|text| (watch.warn)(text));
    }

    fn find(
        &self,
        tag: &str,
        fits: impl Fn(&super::manifest::ResultImage) -> bool,
    ) -> Result<Option<Sighting>, RemoteError> {
        let found = look_up(&*self.depot, &self.known, &self.trust.keys, tag, fits)?;
        if let Some(sighting) = &found {
            self.known.note(sighting);
            self.depot.touch(tag);
        }
        Ok(found)
    }

    /// What there is about a result of which only the result is known.
    fn sighting(&self, found: &Found) -> Result<Option<Sighting>, RemoteError> {
        if let Some(sighting) = self.known.sighting(found) {
            return Ok(Some(sighting));
        }
        let tag = action_tag(&found.action);
        self.find(&tag, |image| image.action == found.action && image.result == found.result)
    }

    /// Brings one result. What is already there counts as such.
    fn bring(&self, transfer: &Transfer<'_>, into: &dyn Store, found: &Found) -> Result<u64, Flaw> {
        let store = |error: StoreError| Flaw::Remote(error.into());
        let result = &found.result;
        let kept = match ashlar_store::read_tree(into, &result.outputs) {
            Err(StoreError::Tree(_, error)) => {
                return Err(Flaw::Wrong(format!("its tree is none: {error}")));
            }
            other => other.map_err(store)?,
        };
        let lacks = |tree: &Tree| -> Result<HashSet<Digest>, Flaw> {
            Ok(into.missing(&tree.blobs()).map_err(store)?.into_iter().collect())
        };
        let mut missing = HashSet::new();
        let lacks_log = !into.missing(&[result.log]).map_err(store)?.is_empty();
        let complete = match &kept {
            Some(tree) => {
                missing = lacks(tree)?;
                missing.is_empty()
            }
            None => false,
        };
        let mut tree = kept.clone();
        if !complete || lacks_log {
            let sighting = self
                .sighting(found)?
                .ok_or_else(|| Flaw::Wrong("it is not there any more".to_owned()))?;
            if !complete {
                let image = self.tree_image(&sighting, &result.outputs)?;
                let stack = open_tree(transfer, &image, false)?;
                let mut bytes = None;
                if tree.is_none() {
                    let (made, encoded) = tree_of(&stack, &result.outputs)?;
                    missing = lacks(&made)?;
                    (tree, bytes) = (Some(made), Some(encoded));
                }
                if let Some(tree) = &tree {
                    pull_into(transfer, into, &stack, tree, &missing)?;
                }
                if let Some(bytes) = bytes {
                    ashlar_store::put(into, &bytes).map_err(store)?;
                }
                self.depot.touch(&tree_tag(&result.outputs));
            }
            if lacks_log {
                bring_log(transfer, into, &sighting, &result.log)?;
            }
        }
        let Some(tree) = tree else { return Ok(0) };
        if tree.root_digest() != result.root {
            return Err(Flaw::Wrong("its tree has another root than it says".to_owned()));
        }
        let moved: u64 = missing.iter().map(|digest| digest.size).sum();
        Ok(tree.content_size().saturating_sub(moved))
    }

    fn tree_image(&self, sighting: &Sighting, outputs: &Digest) -> Result<TreeImage, Flaw> {
        let hash = sighting.image.image.hash;
        let manifest = self
            .depot
            .manifest(&Reference::Hash(hash))?
            .ok_or_else(|| Flaw::Wrong("the image of its tree is not there".to_owned()))?;
        if manifest.digest().hash != hash {
            return Err(Flaw::Wrong("the image of its tree is another".to_owned()));
        }
        let image = TreeImage::decode(manifest).map_err(Flaw::Wrong)?;
        if image.tree != *outputs {
            return Err(Flaw::Wrong("the image of its tree is one of another tree".to_owned()));
        }
        Ok(image)
    }
}

/// Brings a log.
fn bring_log(
    transfer: &Transfer<'_>,
    into: &dyn Store,
    sighting: &Sighting,
    log: &Digest,
) -> Result<(), Flaw> {
    let wrong = || Flaw::Wrong("its log is damaged".to_owned());
    if log.size > LOG {
        let size = log.size;
        return Err(Flaw::Wrong(format!("its log has {size} bytes; none has more than {LOG}")));
    }
    let descriptor = &sighting.image.log;
    let reader: Box<dyn Read + Send> = match inlined(descriptor) {
        Some(bytes) => Box::new(io::Cursor::new(bytes)),
        None => {
            let blob = blob_of(descriptor).ok_or_else(wrong)?;
            transfer
                .depot
                .open_blob(&blob, 0..blob.size)?
                .ok_or_else(|| Flaw::Wrong("its log is not there".to_owned()))?
        }
    };
    let mut tap = Tap::new(reader, transfer.watch);
    let mut decoder = zstd::stream::read::Decoder::new(&mut tap).map_err(|_| wrong())?;
    decoder.window_log_max(WINDOW).map_err(|_| wrong())?;
    let kept = into.put(&mut (&mut decoder).take(log.size.saturating_add(1)));
    drop(decoder);
    if let Some(error) = tap.failed {
        return Err(crate::http::remote_error(error, transfer.depot.place()).into());
    }
    match kept {
        Ok(digest) if digest == *log => Ok(()),
        Ok(_) => Err(wrong()),
        // A reader that fails here is one that cannot be decompressed.
        Err(StoreError::Io { doing: "read", .. }) => Err(wrong()),
        Err(error) => Err(Flaw::Remote(error.into())),
    }
}

impl Remote for ImageRemote {
    fn name(&self) -> &str {
        &self.name
    }

    fn place(&self) -> &str {
        self.depot.place()
    }

    fn test(&self) -> Result<Abilities, RemoteError> {
        let mut facts = self.depot.facts()?;
        if !self.trust.keys.is_empty() {
            let keys: Vec<String> = self.trust.keys.iter().map(PublicKey::id).collect();
            facts.push(("signature required of".to_owned(), keys.join(" ")));
        }
        if let Some(signer) = &self.trust.signer {
            facts.push(("signs with".to_owned(), signer.public().id()));
        }
        Ok(Abilities { read: true, write: self.depot.may_write()?, facts })
    }

    fn steps(&self, keys: &[StepKey]) -> Result<Vec<Option<Found>>, RemoteError> {
        in_parallel(keys, SMALL, |key| {
            let found = self.find(&step_tag(key), |image| image.steps.contains(key))?;
            Ok(found.map(|one| Found { action: one.image.action, result: one.image.result }))
        })
    }

    fn results(&self, actions: &[Digest]) -> Result<Vec<Option<ActionResult>>, RemoteError> {
        in_parallel(actions, SMALL, |action| {
            let found = self.find(&action_tag(action), |image| image.action == *action)?;
            Ok(found.map(|one| one.image.result))
        })
    }

    fn pull(
        &self,
        into: &dyn Store,
        wanted: &[Found],
        watch: &Watch<'_>,
    ) -> Result<Vec<Option<Moved>>, RemoteError> {
        let transfer = self.transfer(into, *watch);
        let pulled = in_parallel(wanted, AT_ONCE, |found| {
            let (brought, mut moved) =
                counted(&transfer, |transfer| self.bring(transfer, into, found));
            match brought {
                Ok(already) => {
                    moved.already = already;
                    (watch.moved)(Moved { already, ..Moved::default() });
                    Ok(Some(moved))
                }
                Err(Flaw::Wrong(why)) => {
                    self.known.distrust(&found.result.outputs);
                    (watch.warn)(format!(
                        "{}: the result of {} cannot be used: {why}",
                        self.depot.place(),
                        found.action.short()
                    ));
                    Ok(None)
                }
                Err(Flaw::Remote(error)) => Err(error),
                Err(Flaw::Sink(source)) => {
                    Err(StoreError::Io { doing: "write to", path: transfer.spool(), source }.into())
                }
            }
        });
        self.say_pending(watch);
        pulled
    }

    fn push(
        &self,
        from: &dyn Store,
        results: &[Publication],
        watch: &Watch<'_>,
    ) -> Vec<Result<Moved, RemoteError>> {
        let transfer = self.transfer(from, *watch);
        // What fails for good fails for all: nobody waits for it once more.
        let lasting = Mutex::new(None);
        let pushed = in_parallel(results, AT_ONCE, |publication| {
            if let Some(error) = &*lasting.lock().unwrap_or_else(PoisonError::into_inner) {
                return Ok::<_, std::convert::Infallible>(Err(again(error)));
            }
            let (published, mut moved) = counted(&transfer, |transfer| {
                publish(transfer, &self.known, from, &self.trust, publication)
            });
            if let Err(error) = &published
                && error.is_lasting()
            {
                let mut lasting = lasting.lock().unwrap_or_else(PoisonError::into_inner);
                lasting.get_or_insert_with(|| again(error));
            }
            Ok(published.map(|already| {
                moved.already = already;
                moved
            }))
        });
        let mut pushed = match pushed {
            Ok(pushed) => pushed,
            Err(never) => match never {},
        };
        // What is derived from tags is for other tools: that it is old fails no result unless
        // nothing else tells that the place cannot be written to.
        if let Err(error) = self.depot.flush() {
            match pushed.iter_mut().find(|one| one.is_ok()) {
                Some(one) => *one = Err(error),
                None => (watch.warn)(format!("{}: {error}", self.depot.place())),
            }
        }
        self.say_pending(watch);
        pushed
    }

    fn stat(&self) -> Result<RemoteStat, RemoteError> {
        depot::collect::stat(&*self.depot)
    }

    fn collect(&self, limits: Limits, watch: &Watch<'_>) -> Result<Collected, RemoteError> {
        let grace = depot::collect::GRACE;
        if self.depot.forgets() {
            return depot::collect::collect(&*self.depot, limits, grace, watch);
        }
        depot::collect::dated::collect(&*self.depot, limits, grace, &says, watch)
    }

    fn provenance(&self, found: &Found) -> Result<Option<Vec<u8>>, RemoteError> {
        let Some(sighting) = self.sighting(found)? else { return Ok(None) };
        let about = &sighting.manifest;
        super::provenance::read(&*self.depot, about, &self.trust.keys, &|why| {
            let (place, hex) = (self.depot.place(), about.hex());
            let text =
                format!("{place}: a provenance of the result sha256:{hex} is not shown: {why}");
            self.known.say_once(&text, text.clone());
        })
    }

    fn take_warnings(&self) -> Vec<String> {
        self.known.pending()
    }
}
