//! The [`Fetcher`]: files into the store, trees out of files.

use std::path::{Path, PathBuf};

use ashlar_object::{Digest, Node, Tree};
use ashlar_recipe::Pin;
use ashlar_recipe::lock::{LockedDeb, LockedFile};
use ashlar_store::{Capture, Store, StoreError};

use crate::patch::Patch;
use crate::pin::{PinError, Proxies, Recorder, fetch_again};
use crate::unpack::{is_archive, normalise, without_top};
use crate::{
    Apt, AptError, DscError, Keep, SourceError, ToolRequest, UnpackError, UrlError, control_fields,
    dsc, git, patch, unpack, url,
};

/// Finds the digest of a file that was fetched earlier by its SHA-256.
pub type Recall<'a> = &'a (dyn Fn(&[u8; 32]) -> Option<Digest> + Sync);

/// Remembers the digest of a file that was fetched.
pub type Remember<'a> = &'a (dyn Fn(&[u8; 32], Digest) + Sync);

/// Brings sources into the store. Nothing that the store has is fetched again.
pub struct Fetcher<'a> {
    store: &'a dyn Store,
    scratch: PathBuf,
    offline: bool,
    apt: &'a Apt,
    recall: Recall<'a>,
    remember: Remember<'a>,
    stop: url::Stop<'a>,
}

impl<'a> Fetcher<'a> {
    /// A fetcher. `scratch` is a private folder, best on the file system of the store: half
    /// fetched files and unpacked trees live there for a while, clones of git repositories stay.
    #[must_use]
    pub fn new(
        store: &'a dyn Store,
        scratch: PathBuf,
        offline: bool,
        apt: &'a Apt,
        recall: Recall<'a>,
        remember: Remember<'a>,
    ) -> Self {
        Self { store, scratch, offline, apt, recall, remember, stop: &|| false }
    }

    /// The same, which gives up a transfer when it is told to stop.
    #[must_use]
    pub fn until<'b>(&'b self, stop: url::Stop<'b>) -> Fetcher<'b> {
        Fetcher { scratch: self.scratch.clone(), stop, ..*self }
    }

    /// A file at an address, or at one of its mirrors in order, checked against its SHA-256
    /// (64 hexadecimal digits).
    ///
    /// # Errors
    /// When no address gives the file, or offline when the store does not have it.
    pub fn fetch_url(
        &self,
        url: &str,
        mirrors: &[String],
        sha256: &str,
    ) -> Result<Digest, SourceError> {
        let hash = parse_sha256(sha256).ok_or_else(|| UrlError::Sha256(sha256.to_owned()))?;
        if let Some(known) = (self.recall)(&hash)
            && known.hash == hash
            && self.store.missing(&[known])?.is_empty()
        {
            return Ok(known);
        }
        let urls: Vec<&str> = [url].into_iter().chain(mirrors.iter().map(String::as_str)).collect();
        if self.offline && !urls.iter().any(|u| u.starts_with("file:")) {
            return Err(SourceError::Offline { what: vec![url.to_owned()] });
        }
        let folder = self.temporary()?;
        let file = folder.path().join("file");
        url::download(&urls, &hash, self.offline, &file, self.stop)?;
        let digest = self.put_file(&file)?;
        (self.remember)(&digest.hash, digest);
        Ok(digest)
    }

    /// A file of a Debian archive, from any mirror the machine's apt knows.
    ///
    /// # Errors
    /// As [`Fetcher::fetch_debian_all`].
    pub fn fetch_debian(&self, file: &LockedFile) -> Result<Digest, SourceError> {
        self.fetch_debian_all(std::slice::from_ref(&file)).map(|digests| digests[0])
    }

    /// Several files of Debian archives at once; digests in the order given.
    ///
    /// # Errors
    /// When a file is nowhere to be had, or offline when the store lacks one. What could be
    /// fetched is in the store all the same.
    pub fn fetch_debian_all(&self, files: &[&LockedFile]) -> Result<Vec<Digest>, SourceError> {
        let digests = files
            .iter()
            .map(|file| {
                let hash = parse_sha256(&file.sha256)
                    .ok_or_else(|| DscError::Sha256(file.path.clone(), file.sha256.clone()))?;
                Ok(Digest { hash, size: file.size })
            })
            .collect::<Result<Vec<_>, SourceError>>()?;
        let missing = self.store.missing(&digests)?;
        let mut wanted: Vec<(&LockedFile, Digest)> = files
            .iter()
            .zip(&digests)
            .filter(|(_, digest)| missing.contains(digest))
            .map(|(file, digest)| (*file, *digest))
            .collect();
        wanted.sort_by_key(|(_, digest)| *digest);
        wanted.dedup_by_key(|(_, digest)| *digest);
        if wanted.is_empty() {
            return Ok(digests);
        }
        if self.offline {
            let what = wanted.iter().map(|(file, _)| file.path.clone()).collect();
            return Err(SourceError::Offline { what });
        }
        let folder = self.temporary()?;
        let mut got = |path: &Path, digest: Digest| {
            self.put_file(path)?;
            (self.remember)(&digest.hash, digest);
            Ok(())
        };
        self.apt.download(&wanted, folder.path(), &mut got, self.stop)?;
        Ok(digests)
    }

    /// What has to be added to a base for tools and build dependencies, as
    /// [`Apt::resolve_tools`]. A package of the base that the index no longer has is read itself.
    ///
    /// # Errors
    /// When something cannot be resolved, there is no index, or such a package cannot be had.
    pub fn resolve_tools(
        &self,
        request: &ToolRequest<'_>,
    ) -> Result<Vec<(String, LockedFile)>, SourceError> {
        // Fetched before apt is asked: its state has one user at a time.
        let gone = self.apt.gone(request)?;
        let digests = self.fetch_debian_all(&gone.iter().collect::<Vec<_>>())?;
        let folder = self.temporary()?;
        let mut controls = Vec::new();
        for (index, digest) in digests.iter().enumerate() {
            let deb = folder.path().join(format!("{index}.deb"));
            self.write_blob(digest, &deb, false)?;
            controls.push(control_fields(&deb)?);
        }
        self.apt.resolve_tools(request, &mut |file| {
            let at = gone.iter().position(|gone| gone == file);
            let control = at.and_then(|at| controls.get(at)).cloned();
            Ok(control.ok_or_else(|| AptError::Gone(vec![file.path.clone()]))?)
        })
    }

    /// The tree of a commit, without `.git`.
    ///
    /// # Errors
    /// When the commit cannot be fetched, or offline when no earlier run fetched it.
    pub fn fetch_git(
        &self,
        url: &str,
        commit: &str,
        submodules: bool,
    ) -> Result<(Digest, Tree), SourceError> {
        self.git_tree(url, commit, submodules, &[])
    }

    /// The patched tree of a commit, without `.git`.
    ///
    /// # Errors
    /// As [`Fetcher::fetch_git`], and when a patch does not apply.
    pub fn git_tree(
        &self,
        url: &str,
        commit: &str,
        submodules: bool,
        patches: &[Patch],
    ) -> Result<(Digest, Tree), SourceError> {
        let folder = self.temporary()?;
        let tree = folder.path().join("tree");
        let clones = self.scratch.join("git");
        let wanted = git::Wanted { url, commit, submodules };
        git::export(&wanted, &clones, self.offline, &tree, self.stop)?;
        self.finish(&tree, patches)
    }

    /// The unpacked and patched tree of a Debian source package, with Debian's patches first.
    ///
    /// # Errors
    /// When a file cannot be fetched, is not what the `.dsc` says, or a patch does not apply.
    pub fn deb_tree(
        &self,
        locked: &LockedDeb,
        patches: &[Patch],
    ) -> Result<(Digest, Tree), SourceError> {
        let files: Vec<&LockedFile> = locked.files.iter().collect();
        let digests = self.fetch_debian_all(&files)?;
        let folder = self.temporary()?;
        let parts: Vec<(&LockedFile, Digest)> = files.into_iter().zip(digests).collect();
        let tree = dsc::unpack(self.store, &parts, folder.path())?;
        self.finish(&tree, patches)
    }

    /// The patched tree of a file at an address: what is in it when it is an archive and
    /// `unpack_it`, otherwise the file alone, named as the last part of the address.
    ///
    /// # Errors
    /// As [`Fetcher::fetch_url`], and when the archive or a patch is bad.
    pub fn url_tree(
        &self,
        url: &str,
        mirrors: &[String],
        sha256: &str,
        unpack_it: bool,
        patches: &[Patch],
    ) -> Result<(Digest, Tree), SourceError> {
        let digest = self.fetch_url(url, mirrors, sha256)?;
        let name = url::file_name(url)?;
        self.file_tree(&digest, &name, unpack_it, patches)
    }

    /// The patched tree of a file that is in the store, as [`Fetcher::url_tree`] makes it.
    ///
    /// # Errors
    /// When the blob is not there, or the archive or a patch is bad.
    pub fn file_tree(
        &self,
        digest: &Digest,
        name: &str,
        unpack_it: bool,
        patches: &[Patch],
    ) -> Result<(Digest, Tree), SourceError> {
        let folder = self.temporary()?;
        let raw = folder.path().join("tree");
        std::fs::create_dir(&raw).map_err(SourceError::io("create", &raw))?;
        let bad = |e| SourceError::Unpack(name.to_owned(), e);
        let is_archive = unpack_it && is_archive(&mut *self.open(digest)?).map_err(bad)?;
        if unpack_it && !is_archive && says_archive(name) {
            // A server's error page under the name of an archive, for instance.
            return Err(bad(UnpackError::Unknown));
        }
        let tree = if is_archive {
            unpack(&mut *self.open(digest)?, &raw, Keep::Content).map_err(bad)?;
            without_top(&raw)?
        } else {
            self.write_blob(digest, &raw.join(name), false)?;
            raw
        };
        self.finish(&tree, patches)
    }

    /// A tree of the store with patches applied; the tree itself when there are none.
    ///
    /// # Errors
    /// When a blob of the tree is missing or a patch does not apply.
    pub fn patched(&self, tree: &Tree, patches: &[Patch]) -> Result<(Digest, Tree), SourceError> {
        if patches.is_empty() {
            let digest = ashlar_store::put(self.store, &tree.encode())?;
            return Ok((digest, tree.clone()));
        }
        let folder = self.temporary()?;
        let copy = folder.path().join("tree");
        std::fs::create_dir(&copy).map_err(SourceError::io("create", &copy))?;
        self.write_tree(tree, &copy)?;
        self.finish(&copy, patches)
    }

    /// Applies patches and gives the folder to the store.
    fn finish(&self, folder: &Path, patches: &[Patch]) -> Result<(Digest, Tree), SourceError> {
        if !patches.is_empty() {
            patch::apply(folder, patches, patch::Rules::Project)?;
            normalise(folder)?;
        }
        Ok(self.store.keep_folder(folder, Capture::Outputs)?)
    }

    /// Who records what a command downloads.
    ///
    /// # Errors
    /// Offline, and when there is no place for what comes.
    pub fn recorder(&self, proxies: &Proxies, of: &str) -> Result<Recorder, SourceError> {
        if self.offline {
            return Err(SourceError::Offline { what: vec![format!("the downloads of {of}")] });
        }
        Ok(Recorder::new(proxies.clone(), self.downloads()?))
    }

    /// Brings what was recorded into the store, from where it was recorded, as long as `go_on` says
    /// so.
    ///
    /// # Errors
    /// When something is not what it was, or offline when the store lacks something.
    pub fn fetch_pinned(
        &self,
        gets: &[Pin],
        proxies: &Proxies,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), PinError> {
        let digest = |pin: &Pin| Digest::from_hex(pin.sha256.as_ref()?, pin.size?).ok();
        let all: Vec<Digest> = gets.iter().filter_map(digest).collect();
        let missing = self.store.missing(&all).map_err(SourceError::from)?;
        if missing.is_empty() {
            return Ok(());
        }
        if self.offline {
            let lacks = |pin: &&Pin| digest(pin).is_some_and(|digest| missing.contains(&digest));
            let what = gets.iter().filter(lacks).map(|pin| pin.url.clone()).collect();
            return Err(SourceError::Offline { what }.into());
        }
        fetch_again(gets, proxies, &self.downloads()?, self.store, go_on)
    }

    /// The folder for what is on its way.
    fn downloads(&self) -> Result<PathBuf, SourceError> {
        let folder = self.scratch.join("tmp");
        std::fs::create_dir_all(&folder).map_err(SourceError::io("create", &folder))?;
        Ok(folder)
    }

    fn temporary(&self) -> Result<tempfile::TempDir, SourceError> {
        let folder = self.downloads()?;
        tempfile::tempdir_in(&folder).map_err(SourceError::io("create a folder in", &folder))
    }

    fn put_file(&self, path: &Path) -> Result<Digest, SourceError> {
        let mut file = std::fs::File::open(path).map_err(SourceError::io("open", path))?;
        Ok(self.store.put(&mut file)?)
    }

    fn open(&self, digest: &Digest) -> Result<Box<dyn std::io::Read + Send>, SourceError> {
        open(self.store, digest)
    }

    fn write_blob(&self, digest: &Digest, to: &Path, exec: bool) -> Result<(), SourceError> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut reader = self.open(digest)?;
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(if exec { 0o755 } else { 0o644 })
            .open(to)
            .map_err(SourceError::io("create", to))?;
        std::io::copy(&mut reader, &mut file).map_err(SourceError::io("write", to))?;
        Ok(())
    }

    fn write_tree(&self, tree: &Tree, to: &Path) -> Result<(), SourceError> {
        let mut todo = vec![(tree.root().clone(), to.to_owned())];
        while let Some((dir, at)) = todo.pop() {
            for (name, node) in dir.entries() {
                let path = at.join(name.as_os_str());
                match node {
                    Node::Dir(child) => {
                        std::fs::create_dir(&path).map_err(SourceError::io("create", &path))?;
                        todo.push((child.clone(), path));
                    }
                    Node::File(file) => {
                        self.write_blob(&file.digest, &path, file.meta.mode & 0o111 != 0)?;
                    }
                    Node::Symlink(link) => {
                        let target: &std::ffi::OsStr =
                            std::os::unix::ffi::OsStrExt::from_bytes(&link.target);
                        std::os::unix::fs::symlink(target, &path)
                            .map_err(SourceError::io("create", &path))?;
                    }
                    // Unpacking refuses the one, and the other is of layers only.
                    Node::Fifo(_) | Node::Whiteout => {}
                }
            }
        }
        Ok(())
    }
}

/// Opens a blob that must be there.
pub(crate) fn open(
    store: &dyn Store,
    digest: &Digest,
) -> Result<Box<dyn std::io::Read + Send>, SourceError> {
    Ok(store.open(digest)?.ok_or(StoreError::Missing(*digest))?)
}

/// Whether a file of this name is expected to be an archive.
fn says_archive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".tar", ".tgz", ".tbz2", ".txz", ".tzst", ".zip"].iter().any(|end| name.ends_with(end))
        || name.rsplit_once('.').is_some_and(|(stem, _)| stem.ends_with(".tar"))
}

/// 64 hexadecimal digits of either case.
pub(crate) fn parse_sha256(text: &str) -> Option<[u8; 32]> {
    Digest::from_hex(&text.to_ascii_lowercase(), 0).ok().map(|digest| digest.hash)
}
