//! Sources, patches and common files that lie in the project.

mod globs;
mod index;
mod inputs;

use std::collections::{BTreeMap, HashSet};
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ashlar_object::{Digest, Dir, File, Hasher, Meta, Name, Node, PathError, Symlink, Tree};
use ashlar_store::{Store, in_parallel};
use rustix::io::Errno;

use crate::SourceError;

pub use globs::{files_matching, find_patches};
pub use inputs::{Globs, Inputs, inputs};

/// So few files are done before other threads have begun.
const FEW: usize = 64;

/// Digests the content of a file, given its path and what `lstat` says; a cache can answer.
pub type DigestFile<'a> = &'a (dyn Fn(&Path, &Metadata) -> io::Result<Digest> + Sync);

/// Why something in the project cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// Not there.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// Git ignores it.
    #[error("{} is ignored by git, or has nothing in it that is not", .0.display())]
    Ignored(PathBuf),
    /// A path that leaves the project.
    #[error("`{0}` is not inside the project")]
    Outside(String),
    /// Not a file, folder or link.
    #[error("{} is {what}, which cannot be part of a source", path.display())]
    Kind {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Changed between hashing and keeping.
    #[error("{} changed while it was being read", .0.display())]
    Changed(PathBuf),
    /// A glob that is none.
    #[error("`{glob}` is not a glob: {reason}")]
    Glob {
        /// The glob.
        glob: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A glob that matches nothing.
    #[error("nothing in the project matches `{0}`")]
    NoMatch(String),
    /// A series names a patch that is not there.
    #[error("{} names `{patch}`, which is not there", series.display())]
    NoPatch {
        /// The series file.
        series: PathBuf,
        /// The patch.
        patch: String,
    },
    /// A line of a series that cannot be read.
    #[error("{}:{line}: {what}", series.display())]
    Series {
        /// The series file.
        series: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A name that no tree can have.
    #[error("a file of the project cannot be part of a source")]
    Name(#[from] PathError),
}

impl ProjectError {
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Changed(_) => Some("build again when nobody writes to it".to_owned()),
            Self::Ignored(_) => Some("see .gitignore and .git/info/exclude".to_owned()),
            _ => None,
        }
    }
}

/// The digest of a file's content, without any cache.
///
/// # Errors
/// When the file cannot be read.
pub fn digest_file(path: &Path, _: &Metadata) -> io::Result<Digest> {
    digest_path(path)
}

pub(crate) fn digest_path(path: &Path) -> io::Result<Digest> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// The tree of a file or folder of the project: names, contents, executable bits and link
/// targets of everything that git does not ignore, tracked or not. Folders without files are
/// left out, as git does; so is `.git`. A file is a tree with that one entry.
///
/// A folder that is itself named by an ignore rule is read all the same: the module asks for it.
/// Outside of a repository, `.gitignore` files of the project hold as they would inside.
///
/// # Errors
/// When something cannot be read, is neither file nor folder nor link, or nothing is left.
pub fn path_tree(project: &Path, path: &Path, digest: DigestFile<'_>) -> Result<Tree, SourceError> {
    let (project, top) = locate(project, path)?;
    let metadata = top.symlink_metadata().map_err(unreadable(&top))?;
    let mut found = Vec::new();
    if metadata.is_dir() {
        walk(&project, &top, &mut found)?;
        if found.is_empty() {
            return Err(ProjectError::Ignored(path.to_owned()).into());
        }
    } else {
        let name = PathBuf::from(top.file_name().unwrap_or_default());
        found.push(Found { below: name, path: top, metadata });
    }
    let nodes = nodes(&found, digest)?;
    let mut root = Folder::default();
    for (found, node) in found.iter().zip(nodes) {
        root.insert(&found.below, node)?;
    }
    Ok(Tree::from(root.into_dir()))
}

/// Keeps what [`path_tree`] saw: the files the store lacks, and the tree, whose digest is
/// returned.
///
/// # Errors
/// When a file changed since, cannot be read, or the store fails.
pub fn keep_path(
    store: &dyn Store,
    project: &Path,
    path: &Path,
    tree: &Tree,
) -> Result<Digest, SourceError> {
    let (_, top) = locate(project, path)?;
    let is_dir = top.is_dir();
    let mut files = Vec::new();
    let mut todo = vec![(tree.root().clone(), PathBuf::new())];
    while let Some((dir, at)) = todo.pop() {
        for (name, node) in dir.entries() {
            let below = at.join(name.as_os_str());
            match node {
                Node::Dir(child) => todo.push((child.clone(), below)),
                Node::File(file) => files.push((file.digest, below)),
                Node::Symlink(_) | Node::Fifo(_) | Node::Whiteout => {}
            }
        }
    }
    files.sort();
    files.dedup_by_key(|(digest, _)| *digest);
    let digests: Vec<_> = files.iter().map(|(digest, _)| *digest).collect();
    let missing: HashSet<Digest> = store.missing(&digests)?.into_iter().collect();
    files.retain(|(digest, _)| missing.contains(digest));
    // Files of one folder lie near each other on disk.
    files.sort_unstable_by(|(_, a), (_, b)| a.cmp(b));
    in_parallel(
        &files,
        || (),
        |(), (digest, below)| {
            let path = if is_dir { top.join(below) } else { top.clone() };
            let mut options = std::fs::OpenOptions::new();
            let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
            let opened = options.read(true).custom_flags(flags.bits().cast_signed()).open(&path);
            let mut file = opened.map_err(|source| match Errno::from_io_error(&source) {
                // Gone, or a link now.
                Some(Errno::NOENT | Errno::LOOP) => ProjectError::Changed(path.clone()),
                _ => ProjectError::Read { path: path.clone(), source },
            })?;
            if store.put(&mut file)? != *digest {
                return Err(ProjectError::Changed(path).into());
            }
            Ok::<(), SourceError>(())
        },
    )?;
    Ok(ashlar_store::put(store, &tree.encode())?)
}

/// The real paths of the project and of something in it.
fn locate(project: &Path, path: &Path) -> Result<(PathBuf, PathBuf), ProjectError> {
    let root = project.canonicalize().map_err(unreadable(project))?;
    let asked = root.join(path);
    let real = asked.canonicalize().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ProjectError::Missing(asked.clone()),
        _ => ProjectError::Read { path: asked.clone(), source },
    })?;
    if !real.starts_with(&root) {
        return Err(ProjectError::Outside(path.display().to_string()));
    }
    Ok((root, real))
}

/// A file or link of a source.
struct Found {
    /// Its path below the source.
    below: PathBuf,
    path: PathBuf,
    metadata: Metadata,
}

fn walk(project: &Path, top: &Path, found: &mut Vec<Found>) -> Result<(), ProjectError> {
    let repository = top.ancestors().find(|folder| folder.join(".git").exists());
    let above = if repository.is_some() { Vec::new() } else { rules_above(project, top) };
    let walk = ignore::WalkBuilder::new(top)
        .standard_filters(false)
        .git_ignore(true)
        .git_exclude(true)
        .require_git(repository.is_some())
        .parents(repository.is_some())
        .filter_entry(move |entry| {
            entry.file_name() != ".git"
                && !(entry.depth() > 0 && is_ignored(&above, entry.path(), entry.file_type()))
        })
        .build();
    for entry in walk {
        let entry = entry.map_err(|e| walk_error(top, e))?;
        let path = entry.path();
        let metadata = path.symlink_metadata().map_err(unreadable(path))?;
        if !metadata.is_dir() {
            let below = path.strip_prefix(top).unwrap_or(path).to_owned();
            found.push(Found { below, path: entry.into_path(), metadata });
        }
    }
    match repository {
        Some(repository) => add_tracked(repository, top, found),
        None => Ok(()),
    }
}

/// The files below a folder that git tracks, by their paths below it, sorted: those of the
/// repository that the folder is in, and those of repositories (submodules) that hold one of
/// `starts`, paths below the folder. None where there is no repository.
#[must_use]
pub fn tracked(folder: &Path, starts: &[PathBuf]) -> Vec<PathBuf> {
    // Where the folder cannot be found there are no files.
    let Ok(folder) = folder.canonicalize() else { return Vec::new() };
    let tops = starts.iter().map(|start| folder.join(start)).chain([folder.clone()]);
    let repository = |top: PathBuf| {
        top.ancestors().find(|above| above.join(".git").exists()).map(Path::to_owned)
    };
    let repositories: std::collections::BTreeSet<PathBuf> = tops.filter_map(repository).collect();
    let mut all = Vec::new();
    for repository in repositories {
        let below = folder.strip_prefix(&repository).map(|below| below.as_os_str().as_bytes());
        let names = index::tracked(&repository, below.unwrap_or_default());
        let inside = repository.strip_prefix(&folder).unwrap_or(Path::new(""));
        all.extend(names.iter().map(|name| inside.join(std::ffi::OsStr::from_bytes(name))));
    }
    all.sort();
    all
}

/// Adds files that git tracks although a rule would ignore them: for git they are not ignored.
fn add_tracked(repository: &Path, top: &Path, found: &mut Vec<Found>) -> Result<(), ProjectError> {
    let Ok(below) = top.strip_prefix(repository) else { return Ok(()) };
    let tracked = index::tracked(repository, below.as_os_str().as_bytes());
    let known: HashSet<&[u8]> = found.iter().map(|f| f.below.as_os_str().as_bytes()).collect();
    let mut more = Vec::new();
    for name in tracked.iter().filter(|name| !known.contains(name.as_slice())) {
        let below = PathBuf::from(std::ffi::OsStr::from_bytes(name));
        // A file of the index that is gone, or behind a link now, is deleted for git.
        let mut way = below.ancestors().skip(1).filter(|a| !a.as_os_str().is_empty());
        let plain = |a: &Path| top.join(a).symlink_metadata().is_ok_and(|m| m.is_dir());
        let path = top.join(&below);
        if way.all(plain)
            && let Ok(metadata) = path.symlink_metadata()
            && !metadata.is_dir()
        {
            more.push(Found { below, path, metadata });
        }
    }
    found.extend(more);
    Ok(())
}

/// The rules of the folders from the project down to the one above the source.
fn rules_above(project: &Path, top: &Path) -> Vec<ignore::gitignore::Gitignore> {
    let above = top.ancestors().skip(1).take_while(|folder| folder.starts_with(project));
    above
        .map(|folder| folder.join(".gitignore"))
        .filter(|file| file.is_file())
        // Lines that are no globs are passed over, as git does.
        .map(|file| ignore::gitignore::Gitignore::new(file).0)
        .collect()
}

fn is_ignored(
    rules: &[ignore::gitignore::Gitignore],
    path: &Path,
    kind: Option<std::fs::FileType>,
) -> bool {
    let is_dir = kind.is_some_and(|kind| kind.is_dir());
    let decided = rules.iter().map(|rules| rules.matched(path, is_dir)).find(|m| !m.is_none());
    decided.is_some_and(|decision| decision.is_ignore())
}

fn walk_error(top: &Path, error: ignore::Error) -> ProjectError {
    let text = error.to_string();
    let source = error.into_io_error().unwrap_or_else(|| io::Error::other(text));
    ProjectError::Read { path: top.to_owned(), source }
}

/// Makes nodes of files and links; digests are computed by several threads.
fn nodes(found: &[Found], digest: DigestFile<'_>) -> Result<Vec<Node>, ProjectError> {
    if found.len() < FEW {
        return found.iter().map(|found| node(found, digest)).collect();
    }
    let places: Vec<usize> = (0..found.len()).collect();
    let parts = in_parallel(&places, Vec::new, |done, place| {
        done.push((*place, node(&found[*place], digest)?));
        Ok::<(), ProjectError>(())
    })?;
    let mut all: Vec<(usize, Node)> = parts.into_iter().flatten().collect();
    all.sort_unstable_by_key(|(place, _)| *place);
    Ok(all.into_iter().map(|(_, node)| node).collect())
}

fn node(found: &Found, digest: DigestFile<'_>) -> Result<Node, ProjectError> {
    let kind = found.metadata.file_type();
    if kind.is_symlink() {
        let target = std::fs::read_link(&found.path).map_err(unreadable(&found.path))?;
        let target = target.as_os_str().as_bytes().into();
        return Ok(Node::Symlink(Symlink { target, meta: Meta { mode: 0o777, extra: None } }));
    }
    if !kind.is_file() {
        let what = match kind {
            kind if kind.is_socket() => "a socket",
            kind if kind.is_fifo() => "a FIFO",
            _ => "a device",
        };
        return Err(ProjectError::Kind { path: found.path.clone(), what });
    }
    let executable = found.metadata.permissions().mode() & 0o111 != 0;
    Ok(Node::File(File::new(
        digest(&found.path, &found.metadata).map_err(unreadable(&found.path))?,
        if executable { Meta::EXECUTABLE } else { Meta::FILE },
    )))
}

/// A folder of a tree that is being made.
#[derive(Default)]
struct Folder {
    folders: BTreeMap<Name, Folder>,
    nodes: BTreeMap<Name, Node>,
}

impl Folder {
    fn insert(&mut self, path: &Path, node: Node) -> Result<(), ProjectError> {
        let mut folder = self;
        let mut names = path.iter().peekable();
        while let Some(name) = names.next() {
            let name = Name::new(name.as_bytes())?;
            if names.peek().is_none() {
                folder.nodes.insert(name, node);
                return Ok(());
            }
            folder = folder.folders.entry(name).or_default();
        }
        Ok(())
    }

    fn into_dir(self) -> Dir {
        let mut entries = self.nodes;
        for (name, folder) in self.folders {
            entries.insert(name, Node::Dir(Arc::new(folder.into_dir())));
        }
        Dir::new(entries, Meta::EXECUTABLE, false)
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> ProjectError {
    let path = path.to_owned();
    move |source| ProjectError::Read { path, source }
}

#[cfg(test)]
#[path = "project_tests.rs"]
mod tests;
