//! The files of the build context.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ashlar_dockerfile::Ignore;
use ashlar_object::{Digest, Dir, Meta, Name, Node, PathError, RelPath, Symlink, Tree};
use ashlar_source::DigestFile;
use ashlar_store::{Store, StoreError, in_parallel, reading_in_parallel};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// Why the files of a context cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The context is no folder.
    #[error(
        "the build context {} is no folder: give the folder that COPY and ADD read from",
        .0.display()
    )]
    NoFolder(PathBuf),
    /// Something in it cannot be read.
    #[error("cannot read {}: make it readable, or leave it out with .dockerignore", path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not a file, folder, symbolic link or FIFO.
    #[error(
        "{} is {what}, which no image can have: leave it out with .dockerignore",
        path.display()
    )]
    Kind {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Changed between hashing and keeping.
    #[error(
        "{} changed while it was being read: build again when nobody writes to it",
        .0.display()
    )]
    Changed(PathBuf),
    /// Whoever asked wants no more of it.
    #[error("the build context was not read to its end")]
    Stopped,
    /// Folders within folders without end.
    #[error("{} is nested too deep: leave it out with .dockerignore", .0.display())]
    TooDeep(PathBuf),
    /// A name that no tree can have.
    #[error("a file of the build context cannot be in an image")]
    Name(#[from] PathError),
    /// The store cannot take a content.
    #[error("cannot keep {}", path.display())]
    Keep {
        /// Of which file.
        path: PathBuf,
        /// Why not.
        source: Box<StoreError>,
    },
}

/// How deep folders may be nested.
const DEEPEST: usize = 500;

/// So few files are done before other threads have begun.
const FEW: usize = 64;

/// The files of the context: everything below `folder` but what `ignore` leaves out, owned by 0:0,
/// with the modes they have and no times. Files with several names in it are that in the tree, too.
/// Sockets are left out. The folder itself has the usual mode. Contents are not put into the store:
/// see [`keep_contents`]. The digest of a file comes from `digest`, which several threads ask.
///
/// # Errors
/// When something cannot be read, or is a device.
pub(crate) fn context(
    folder: &Path,
    ignore: &Ignore,
    digest: DigestFile<'_>,
) -> Result<Tree, ContextError> {
    match folder.metadata() {
        Ok(meta) if meta.is_dir() => {}
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(ContextError::Read { path: folder.to_owned(), source });
        }
        _ => return Err(ContextError::NoFolder(folder.to_owned())),
    }
    let mut files = Vec::new();
    let top = walk(folder, "", 0, ignore, &mut files)?;
    let digests = digests(&files, digest)?;
    let mut links = HashMap::new();
    let root = dir(top, Meta::EXECUTABLE, &files, &digests, &mut links);
    Ok(Tree::from(root).with_canonical_links())
}

/// Puts the contents that a part of the context has (its paths are those below `folder`) into the
/// store, where they are not there yet, as long as `go_on` says so.
///
/// # Errors
/// When a file cannot be read, or has another content than in `part`: it changed since.
pub(crate) fn keep_contents(
    folder: &Path,
    part: &Tree,
    store: &dyn Store,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<(), ContextError> {
    let mut paths: BTreeMap<Digest, RelPath> = BTreeMap::new();
    part.walk(|entry| {
        if let Node::File(file) = entry.node {
            paths.entry(file.digest).or_insert_with(|| entry.path.clone());
        }
    });
    let keep = |path: &Path| {
        let path = path.to_owned();
        move |source: StoreError| ContextError::Keep { path, source: Box::new(source) }
    };
    let all: Vec<Digest> = paths.keys().copied().collect();
    let top = folder.canonicalize().map_err(|source| {
        let path = folder.to_owned();
        ContextError::Read { path, source }
    })?;
    let missing = store.missing(&all).map_err(keep(folder))?;
    let mut missing: Vec<(&RelPath, Digest)> = (missing.into_iter())
        .filter_map(|digest| paths.get(&digest).map(|path| (path, digest)))
        .collect();
    // Files of one folder lie near each other on disk.
    missing.sort_unstable();
    in_parallel(&missing, Inside::default, |inside, (path, digest)| {
        if !go_on() {
            return Err(ContextError::Stopped);
        }
        let path = path.under(folder);
        let mut file = match inside.open(&top, &path) {
            Ok(file) => WhileWanted { file, go_on },
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(ContextError::Changed(path));
            }
            Err(source) => return Err(ContextError::Read { path, source }),
        };
        match store.put(&mut file) {
            Ok(kept) if kept == *digest => Ok(()),
            Ok(_) => Err(ContextError::Changed(path)),
            Err(_) if !go_on() => Err(ContextError::Stopped),
            Err(error) => Err(keep(&path)(error)),
        }
    })?;
    Ok(())
}

/// A file that ends with an error when nobody wants it any more: one may be of any size.
struct WhileWanted<'a> {
    file: File,
    go_on: &'a (dyn Fn() -> bool + Sync),
}

impl Read for WhileWanted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match (self.go_on)() {
            true => self.file.read(buffer),
            false => Err(io::Error::other("nobody wants it any more")),
        }
    }
}

/// Opens files of a context.
#[derive(Default)]
struct Inside {
    /// A folder, and where it really is: mostly the one of the next file too.
    folder: Option<(PathBuf, PathBuf)>,
}

impl Inside {
    /// Opens a file. A part may lie behind a link, but never outside of `top`; and something else
    /// in its place is not waited for. Both count as not found.
    fn open(&mut self, top: &Path, path: &Path) -> io::Result<File> {
        let elsewhere = || io::Error::from(io::ErrorKind::NotFound);
        let (above, name) = path.parent().zip(path.file_name()).ok_or_else(elsewhere)?;
        let real = match &self.folder {
            Some((folder, real)) if folder == above => real,
            _ => &self.folder.insert((above.to_owned(), above.canonicalize()?)).1,
        };
        if !real.starts_with(top) {
            return Err(elsewhere());
        }
        let file = match open_itself(&real.join(name)) {
            // A socket.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NXIO) => {
                return Err(elsewhere());
            }
            // A link.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => {
                let real = path.canonicalize()?;
                if !real.starts_with(top) {
                    return Err(elsewhere());
                }
                open_itself(&real)?
            }
            opened => opened?,
        };
        if file.metadata()?.is_file() { Ok(file) } else { Err(elsewhere()) }
    }
}

/// Opens what a path is, and nothing that it leads to, without waiting.
fn open_itself(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// What the walk found in a folder.
enum Found {
    Folder(Meta, BTreeMap<Name, Found>),
    /// A file, by its place in the list of all.
    File(usize),
    Symlink(Box<[u8]>),
    Fifo(Meta),
}

fn walk(
    folder: &Path,
    below: &str,
    depth: usize,
    ignore: &Ignore,
    files: &mut Vec<(PathBuf, Metadata)>,
) -> Result<BTreeMap<Name, Found>, ContextError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ContextError::Read { path, source }
    };
    if depth > DEEPEST {
        return Err(ContextError::TooDeep(folder.to_owned()));
    }
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        let entry = entry.map_err(failed(folder))?;
        let name = Name::new(entry.file_name().as_bytes())?;
        let path = entry.path();
        // Patterns are text; what a name has that is none is matched by `?` and `*`.
        let text = match below {
            "" => name.to_string(),
            below => format!("{below}/{name}"),
        };
        let ignored = ignore.is_ignored(&text);
        let kind = entry.file_type().map_err(failed(&path))?;
        if ignored && !(kind.is_dir() && ignore.may_hold(&text)) || kind.is_socket() {
            continue;
        }
        // `DirEntry::metadata` does not follow links.
        let meta = entry.metadata().map_err(failed(&path))?;
        let node = if kind.is_dir() {
            let entries = walk(&path, &text, depth + 1, ignore, files)?;
            // A folder that is left out is there for what is wanted in it.
            if ignored && entries.is_empty() {
                continue;
            }
            Found::Folder(Meta { mode: meta.mode() & 0o7777, extra: None }, entries)
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&path).map_err(failed(&path))?;
            Found::Symlink(target.as_os_str().as_bytes().into())
        } else if kind.is_fifo() {
            Found::Fifo(Meta { mode: meta.mode() & 0o7777, extra: None })
        } else if kind.is_file() {
            files.push((path, meta));
            Found::File(files.len() - 1)
        } else {
            return Err(ContextError::Kind { path, what: "a device" });
        };
        found.insert(name, node);
    }
    Ok(found)
}

/// The digests of all files, taken by several threads.
fn digests(
    files: &[(PathBuf, Metadata)],
    digest: DigestFile<'_>,
) -> Result<Vec<Digest>, ContextError> {
    let one = |(path, meta): &(PathBuf, Metadata)| {
        digest(path, meta).map_err(|source| ContextError::Read { path: path.clone(), source })
    };
    if files.len() < FEW {
        return files.iter().map(one).collect();
    }
    let places: Vec<usize> = (0..files.len()).collect();
    let parts = reading_in_parallel(&places, Vec::new, |done, place| {
        done.push((*place, one(&files[*place])?));
        Ok::<(), ContextError>(())
    })?;
    let mut all = vec![Digest::EMPTY; files.len()];
    for (place, digest) in parts.into_iter().flatten() {
        all[place] = digest;
    }
    Ok(all)
}

fn dir(
    found: BTreeMap<Name, Found>,
    meta: Meta,
    files: &[(PathBuf, Metadata)],
    digests: &[Digest],
    links: &mut HashMap<(u64, u64), NonZeroU32>,
) -> Dir {
    let entries = found.into_iter().map(|(name, found)| {
        let node = match found {
            Found::Folder(meta, entries) => {
                Node::Dir(Arc::new(dir(entries, meta, files, digests, links)))
            }
            Found::File(index) => {
                let meta = &files[index].1;
                let link = (meta.nlink() > 1).then(|| {
                    let next = u32::try_from(links.len() + 1).unwrap_or(u32::MAX);
                    let next = NonZeroU32::new(next).unwrap_or(NonZeroU32::MAX);
                    *links.entry((meta.dev(), meta.ino())).or_insert(next)
                });
                let mode = Meta { mode: meta.mode() & 0o7777, extra: None };
                Node::File(ashlar_object::File {
                    link,
                    ..ashlar_object::File::new(digests[index], mode)
                })
            }
            Found::Fifo(meta) => Node::Fifo(meta),
            Found::Symlink(target) => {
                Node::Symlink(Symlink { target, meta: Meta { mode: 0o777, extra: None } })
            }
        };
        (name, node)
    });
    let entries = entries.collect();
    Dir::new(entries, meta, false)
}
