//! Folders into blobs: moved in, when a build made them; copied, when they belong to somebody.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use ashlar_object::{Digest, Hasher, Meta, Tree};
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::blobs::{Blobs, hash};
use super::keys::{BlobName, Form};
use super::lay::{make_fifo, may_be_linked, time};
use super::parallel::in_parallel;
use super::stage::{Sound, adopt, remove_at};
use crate::capture::{self, Content, Item, Kind, Scan};
use crate::facts::{Facts, times};
use crate::failed::{failed, failing};
use crate::pour::{Buffer, CHUNK, Descriptor, Poured};
use crate::stat_cache::{Stamp, StatCache};
use crate::xattrs::{self, Xattrs};
use crate::{Capture, StoreError};

/// See [`crate::Store::keep_folder`]. The folder becomes the staged tree.
pub(super) fn keep_folder(
    blobs: &Blobs,
    sound: &Sound,
    folder: &Path,
    how: Capture,
) -> Result<(Digest, Tree), StoreError> {
    blobs.scratch()?;
    let root = capture::open_folder(folder)?;
    let scan = capture::scan(root.as_fd(), folder, how)?;
    let store_dev = Facts::of(&blobs.dir).map_err(failing("look at", &*blobs.path))?.dev;
    if !scan.one_device || scan.items[0].facts.dev != store_dev {
        let kept = copy_in(blobs, &root, folder, &scan, how, None)?;
        empty(&root, folder)?;
        return Ok(kept);
    }
    let keeper = Keeper { blobs, root: root.as_fd(), folder, how, linked: Mutex::default() };
    let contents = in_files(&scan, |buffer, item| keeper.keep(item, scan.names(item), buffer))?;
    keeper.unite(&scan)?;
    let tree = capture::tree(&scan, how, &blobs.owners, &contents);
    let digest = blobs.put_bytes(&tree.encode())?;
    for path in &scan.dropped {
        remove_at(keeper.root, path).map_err(failing("remove", capture::shown(folder, path)))?;
    }
    keeper.settle(&scan)?;
    if !adopt(blobs, sound, folder, &digest) {
        empty(&root, folder)?;
    }
    Ok((digest, tree))
}

/// See [`crate::LocalStore::import_folder`].
pub(super) fn import_folder(
    blobs: &Blobs,
    cache: &StatCache,
    folder: &Path,
    how: Capture,
) -> Result<(Digest, Tree), StoreError> {
    import_parts(blobs, cache, folder, how, &|_| false)
}

/// See [`crate::LocalStore::import_parts`].
pub(super) fn import_parts(
    blobs: &Blobs,
    cache: &StatCache,
    folder: &Path,
    how: Capture,
    without: &dyn Fn(&[u8]) -> bool,
) -> Result<(Digest, Tree), StoreError> {
    blobs.scratch()?;
    let root = capture::open_folder(folder)?;
    let scan = capture::scan_without(root.as_fd(), folder, how, without)?;
    copy_in(blobs, &root, folder, &scan, how, Some(cache))
}

fn copy_in(
    blobs: &Blobs,
    root: &OwnedFd,
    folder: &Path,
    scan: &Scan,
    how: Capture,
    cache: Option<&StatCache>,
) -> Result<(Digest, Tree), StoreError> {
    let keeper = Keeper { blobs, root: root.as_fd(), folder, how, linked: Mutex::default() };
    let contents = in_files(scan, |buffer, item| keeper.copy(item, cache, buffer))?;
    let tree = capture::tree(scan, how, &blobs.owners, &contents);
    let digest = blobs.put_bytes(&tree.encode())?;
    Ok((digest, tree))
}

/// Reads all files of a scan, each once whatever names it has, the largest first so that no thread is left with one at the end.
fn in_files(
    scan: &Scan,
    each: impl Fn(&mut Buffer, &Item) -> Result<Content, StoreError> + Sync,
) -> Result<Vec<Content>, StoreError> {
    let mut files: Vec<usize> =
        (0..scan.items.len()).filter(|index| scan.is_first_name(*index)).collect();
    files.sort_by_key(|index| std::cmp::Reverse(scan.items[*index].facts.size));
    let contents = Mutex::new(vec![Content::default(); scan.items.len()]);
    in_parallel(&files, Buffer::new, |buffer, index| {
        let content = each(buffer, &scan.items[*index])?;
        contents.lock().unwrap_or_else(PoisonError::into_inner)[*index] = content;
        Ok::<_, StoreError>(())
    })?;
    let mut contents = contents.into_inner().unwrap_or_else(PoisonError::into_inner);
    for group in &scan.groups {
        if let Some((first, others)) = group.split_first() {
            others.iter().for_each(|other| contents[*other] = contents[*first].clone());
        }
    }
    Ok(contents)
}

fn empty(root: &OwnedFd, folder: &Path) -> Result<(), StoreError> {
    crate::removal::empty(root.as_fd()).map_err(failing("empty", folder))?;
    use std::io::ErrorKind;
    match std::fs::remove_dir(folder) {
        Ok(()) => Ok(()),
        // A mount point, a link, a path that ends in a dot, or a place where we may not remove:
        // empty is enough.
        Err(e)
            if matches!(
                e.kind(),
                ErrorKind::ResourceBusy
                    | ErrorKind::NotADirectory
                    | ErrorKind::InvalidInput
                    | ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        Err(e) => Err(failed("remove", folder, e)),
    }
}

struct Keeper<'a> {
    blobs: &'a Blobs,
    root: BorrowedFd<'a>,
    folder: &'a Path,
    how: Capture,
    linked: Mutex<HashSet<(Digest, Form)>>,
}

impl Keeper<'_> {
    /// Whether no file of the folder is a link to this blob yet: see [`super::lay::How::Staged`].
    fn is_first(&self, digest: &Digest, form: Form) -> bool {
        let mut linked = self.linked.lock().unwrap_or_else(PoisonError::into_inner);
        linked.insert((*digest, form))
    }

    fn shown(&self, item: &Item) -> PathBuf {
        capture::shown(self.folder, &item.path)
    }

    /// The attributes of a file, as they are and as they are kept.
    fn attributes(
        &self,
        fd: &OwnedFd,
        item: &Item,
    ) -> Result<(Xattrs, BTreeMap<String, Vec<u8>>), StoreError> {
        let all = Xattrs::of(fd)
            .map_err(|e| failed("read the attributes of", &self.shown(item), e.into()))?;
        if self.how.is_layer() && all.redirects() {
            let what = "a file whose content an overlay has elsewhere";
            return Err(StoreError::Unkeepable { path: self.shown(item), what });
        }
        let kept =
            if self.how.keeps_owners() { all.kept(&self.blobs.owners) } else { BTreeMap::new() };
        Ok((all, kept))
    }

    /// Moves a file in: it becomes the file of its blob, or is replaced by it. One that has several
    /// `names` in the folder stays a file of its own, whose names are those of the tree alone.
    fn keep(&self, item: &Item, names: u64, buffer: &mut Buffer) -> Result<Content, StoreError> {
        let blobs = self.blobs;
        let fd = capture::open_file(self.root, &item.path, true)
            .map_err(|e| failed("open", &self.shown(item), e.into()))?;
        let (all, xattrs) = self.attributes(&fd, item)?;
        let digest = hash(&fd, buffer).map_err(|e| failed("read", &self.shown(item), e))?;
        let meta = capture::meta(item, self.how, &blobs.owners, &xattrs);
        // A file with a name elsewhere may be written to through it: only a copy is ours.
        let private = item.facts.links == names;
        let put_right = |fd: &OwnedFd| {
            all.strip(fd, &xattrs)?;
            finish(blobs, fd, &meta)
        };
        let form = Form::of(&meta)
            .filter(|form| names == 1 && may_be_linked(&digest) && self.is_first(&digest, *form));
        match form {
            Some(form) => {
                let linked = private && {
                    put_right(&fd)
                        .map_err(|e| failed("set the mode of", &self.shown(item), e.into()))?;
                    self.move_in(item, &digest, form)?
                };
                if !linked {
                    self.replace(item, &fd, &digest, form)?;
                }
            }
            // An odd mode or owner, or a file equal to an earlier one: it stays a file of its own.
            None => {
                if !blobs.has_for_long_inside(&digest)? {
                    self.copy_content(item, &fd, &digest, Form::Plain)?;
                }
                if private {
                    put_right(&fd)
                        .map_err(|e| failed("set the mode of", &self.shown(item), e.into()))?;
                } else {
                    self.separate(item, &digest, &meta)?;
                }
            }
        }
        Ok(Content { digest: Some(digest), xattrs })
    }

    /// Gives a file that is as it should be a second name among the blobs. `false` when the blob
    /// has a file already.
    fn move_in(&self, item: &Item, digest: &Digest, form: Form) -> Result<bool, StoreError> {
        let name = BlobName::new(&digest.hash, form);
        let _inside = self.blobs.gate.enter()?;
        for _ in 0..3 {
            let path = item.path.as_slice();
            let to = (&self.blobs.dir, name.path());
            match rustix::fs::linkat(self.root, path, to.0, to.1, AtFlags::empty()) {
                Ok(()) => return Ok(true),
                Err(Errno::EXIST) if self.blobs.probe(digest, form)?.is_some() => return Ok(false),
                // It was damaged, and is in quarantine now.
                Err(Errno::EXIST) => {}
                Err(e) => return Err(failed("keep", &self.shown(item), e.into())),
            }
        }
        Ok(false)
    }

    /// Puts a link to a blob in place of a file, making the blob if it must be.
    fn replace(
        &self,
        item: &Item,
        fd: &OwnedFd,
        digest: &Digest,
        form: Form,
    ) -> Result<(), StoreError> {
        let _inside = self.blobs.gate.enter()?;
        if !self.blobs.ensure(digest, form)? {
            self.copy_content(item, fd, digest, form)?;
        }
        let failing = |e: Errno| failed("replace", &self.shown(item), e.into());
        rustix::fs::unlinkat(self.root, item.path.as_slice(), AtFlags::empty()).map_err(failing)?;
        match self.blobs.link(digest, form, self.root, &item.path)?.map_err(failing)? {
            true => Ok(()),
            false => Err(StoreError::Missing(*digest)),
        }
    }

    /// Copies what was just read of a file, to be the blob; what changed in between is found out.
    fn copy_content(
        &self,
        item: &Item,
        fd: &OwnedFd,
        digest: &Digest,
        form: Form,
    ) -> Result<(), StoreError> {
        rustix::fs::seek(fd, rustix::fs::SeekFrom::Start(0))
            .map_err(|e| failed("read", &self.shown(item), e.into()))?;
        let (found, temporary) = self.read_into_temporary(item, fd, &mut Buffer::new())?;
        if found != *digest {
            let what = "a file that is being written to";
            return Err(StoreError::Unkeepable { path: self.shown(item), what });
        }
        self.blobs.enter(temporary, digest, form)
    }

    /// Gives a file with several names and an odd mode an inode of its own.
    fn separate(&self, item: &Item, digest: &Digest, meta: &Meta) -> Result<(), StoreError> {
        let temporary = self.blobs.temporary()?;
        let path = temporary.path();
        if !self.blobs.copy_out(digest, &temporary.file, &path, &mut Buffer::new())? {
            return Err(StoreError::Missing(*digest));
        }
        let done = || {
            if let Some(extra) = &meta.extra {
                if let Some((uid, gid)) = self.blobs.owners.outside(meta.owner()) {
                    rustix::fs::fchown(&temporary.file, Some(uid), Some(gid))?;
                }
                xattrs::set(&temporary.file, &extra.xattrs, &self.blobs.owners)?;
            }
            finish(self.blobs, &temporary.file, meta)?;
            temporary.move_to(self.root, &item.path)
        };
        done().map_err(|e| failed("replace", &self.shown(item), e.into()))
    }

    /// Makes the other names of files that were copied, because they have names outside of the
    /// folder, names of the copy.
    fn unite(&self, scan: &Scan) -> Result<(), StoreError> {
        for group in &scan.groups {
            let Some((first, others)) = group.split_first() else { continue };
            let first = &scan.items[*first];
            if first.facts.links == group.len() as u64 {
                continue;
            }
            for other in others {
                let other = &scan.items[*other];
                let (from, to) = (first.path.as_slice(), other.path.as_slice());
                rustix::fs::unlinkat(self.root, to, AtFlags::empty())
                    .and_then(|()| {
                        rustix::fs::linkat(self.root, from, self.root, to, AtFlags::empty())
                    })
                    .map_err(failing("replace", self.shown(other)))?;
            }
        }
        Ok(())
    }

    /// Gives folders and links the owners, attributes and times that a staged tree has.
    fn settle(&self, scan: &Scan) -> Result<(), StoreError> {
        let blobs = self.blobs;
        for item in scan.items.iter().rev() {
            let path = if item.path.is_empty() { &b"."[..] } else { &item.path };
            let done = || -> rustix::io::Result<()> {
                match item.kind {
                    Kind::File | Kind::Whiteout => Ok(()),
                    Kind::Symlink(_) => {
                        let meta = capture::meta(item, self.how, &blobs.owners, &BTreeMap::new());
                        if !blobs.owners.matches(&item.facts, meta.owner())
                            && let Some((uid, gid)) = blobs.owners.outside(meta.owner())
                        {
                            let flags = AtFlags::SYMLINK_NOFOLLOW;
                            rustix::fs::chownat(self.root, path, Some(uid), Some(gid), flags)?;
                        }
                        let time = times(time(&meta));
                        let flags = AtFlags::SYMLINK_NOFOLLOW;
                        rustix::fs::utimensat(self.root, path, &time, flags)
                    }
                    // Made anew: one with several names is several, as it is where it is staged.
                    Kind::Fifo => {
                        let meta = capture::meta(item, self.how, &blobs.owners, &BTreeMap::new());
                        rustix::fs::unlinkat(self.root, path, AtFlags::empty())?;
                        make_fifo(self.root, path, &meta, Some(&blobs.owners))
                    }
                    Kind::Dir { opaque } => {
                        let kept = if self.how.keeps_owners() {
                            item.xattrs.kept(&blobs.owners)
                        } else {
                            BTreeMap::new()
                        };
                        let meta = capture::meta(item, self.how, &blobs.owners, &kept);
                        let fd = open_dir(self.root, path)?;
                        item.xattrs.strip(&fd, &kept)?;
                        if opaque {
                            xattrs::set_opaque(&fd)?;
                        }
                        finish(blobs, &fd, &meta)
                    }
                }
            };
            done().map_err(|e| failed("set the mode of", &self.shown(item), e.into()))?;
        }
        Ok(())
    }

    /// Copies a file in, unless the cache knows it and the blob is there.
    fn copy(
        &self,
        item: &Item,
        cache: Option<&StatCache>,
        buffer: &mut Buffer,
    ) -> Result<Content, StoreError> {
        let blobs = self.blobs;
        let path = self.shown(item);
        let stamp = Stamp::from(&item.facts);
        if let Some(cache) = cache
            && let Some(digest) = cache.find(&path, &stamp)
            && blobs.has_for_long_inside(&digest)?
        {
            let xattrs = if self.how.keeps_owners() {
                let all = Xattrs::at(&path).map_err(failing("read the attributes of", &*path))?;
                all.kept(&blobs.owners)
            } else {
                BTreeMap::new()
            };
            return Ok(Content { digest: Some(digest), xattrs });
        }
        let begun = StatCache::now();
        let fd = capture::open_file(self.root, &item.path, false)
            .map_err(|e| failed("open", &path, e.into()))?;
        let (_, xattrs) = self.attributes(&fd, item)?;
        let meta = capture::meta(item, self.how, &blobs.owners, &xattrs);
        let form = Form::of(&meta).unwrap_or(Form::Plain);
        let digest = if item.facts.size < CHUNK as u64 {
            self.copy_small(item, &fd, form, buffer)?
        } else {
            let (digest, temporary) = self.read_into_temporary(item, &fd, buffer)?;
            blobs.enter(temporary, &digest, form)?;
            digest
        };
        if let Some(cache) = cache {
            let after = Facts::of(&fd).map_err(failing("look at", &*path))?;
            if Stamp::from(&after) == stamp && digest.size == stamp.size {
                cache.note(&path, &stamp, &digest, begun);
            }
        }
        Ok(Content { digest: Some(digest), xattrs })
    }

    /// Reads a file that fits the buffer; nothing is written when the blob is there.
    fn copy_small(
        &self,
        item: &Item,
        fd: &OwnedFd,
        form: Form,
        buffer: &mut Buffer,
    ) -> Result<Digest, StoreError> {
        let filled = self.fill(item, fd, buffer)?;
        if filled == CHUNK {
            let what = "a file that is being written to";
            return Err(StoreError::Unkeepable { path: self.shown(item), what });
        }
        let bytes = &buffer.bytes()[..filled];
        let digest = Digest::of(bytes);
        if !self.blobs.has_for_long_inside(&digest)? {
            let mut temporary = self.blobs.temporary()?;
            temporary.write(bytes)?;
            self.blobs.enter(temporary, &digest, form)?;
        }
        Ok(digest)
    }

    fn read_into_temporary(
        &self,
        item: &Item,
        fd: &OwnedFd,
        buffer: &mut Buffer,
    ) -> Result<(Digest, super::temporary::Temporary<'_>), StoreError> {
        let temporary = self.blobs.temporary()?;
        let mut hasher = Hasher::new();
        let full = |e| failed("write", &temporary.path(), e);
        let mut poured = Poured::new(&temporary.file, item.facts.size);
        loop {
            let filled = self.fill(item, fd, buffer)?;
            hasher.update(&buffer.bytes()[..filled]);
            poured.write(buffer, filled).map_err(full)?;
            if filled < CHUNK {
                break;
            }
        }
        poured.end().map_err(full)?;
        Ok((hasher.finish(), temporary))
    }

    fn fill(&self, item: &Item, fd: &OwnedFd, buffer: &mut Buffer) -> Result<usize, StoreError> {
        buffer.fill(&mut Descriptor(fd.as_fd())).map_err(|e| failed("read", &self.shown(item), e))
    }
}

impl Blobs {
    /// As [`Blobs::has_for_long`], going through the gate by itself.
    pub fn has_for_long_inside(&self, digest: &Digest) -> Result<bool, StoreError> {
        self.used.store(true, Ordering::Relaxed);
        let _inside = self.gate.enter()?;
        self.has_for_long(digest)
    }

    /// Which of these are not there; the others are safe from collection from now on.
    pub fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        /// So few that collection never waits long for the gate, and from which on a second
        /// thread is worth its while.
        const AT_ONCE: usize = 256;
        self.used.store(true, Ordering::Relaxed);
        let part = |digests: &[Digest]| -> Result<Vec<Digest>, StoreError> {
            let _inside = self.gate.enter()?;
            let mut missing = Vec::new();
            for digest in digests {
                if !self.has_for_long(digest)? {
                    missing.push(*digest);
                }
            }
            Ok(missing)
        };
        if digests.len() <= AT_ONCE {
            return part(digests);
        }
        let parts: Vec<(usize, &[Digest])> = digests.chunks(AT_ONCE).enumerate().collect();
        let missing = Mutex::new(vec![Vec::new(); parts.len()]);
        in_parallel(
            &parts,
            || (),
            |(), (number, digests)| {
                let found = part(digests)?;
                missing.lock().unwrap_or_else(PoisonError::into_inner)[*number] = found;
                Ok::<_, StoreError>(())
            },
        )?;
        Ok(missing.into_inner().unwrap_or_else(PoisonError::into_inner).concat())
    }
}

fn open_dir(root: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::OFlags;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(root, path, flags, Mode::empty())
}

/// Gives an open file or folder the owner, mode and time it has in the tree.
fn finish(blobs: &Blobs, fd: impl AsFd, meta: &Meta) -> rustix::io::Result<()> {
    let facts = Facts::of(&fd)?;
    if !blobs.owners.matches(&facts, meta.owner())
        && let Some((uid, gid)) = blobs.owners.outside(meta.owner())
    {
        rustix::fs::fchown(&fd, Some(uid), Some(gid))?;
    }
    // Giving a file away takes its set-uid bit, so the mode comes after.
    if Facts::of(&fd)?.mode != meta.mode {
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(meta.mode))?;
    }
    rustix::fs::futimens(&fd, &times(time(meta)))
}
