//! What a run makes: found, kept, opened again.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ashlar_object::{Digest, Dir, Meta, Name, Node, Tree};
use ashlar_source::Globs;
use ashlar_store::{Capture, LocalStore, StatCache, Store as _};

use super::RunError;
use super::child::Streams;
use super::gather::is_ours;

/// Where outputs are in the tree of a result, and what says which part of the log went where.
const OUTPUTS: &str = "outputs";
const STREAMS: &str = "streams";
/// There when the command was traced, and touched nothing that was not declared.
const TRACED: &str = "traced";

/// The outermost paths below a folder that globs match, sorted.
///
/// # Errors
/// When a folder cannot be listed.
pub fn matching(root: &Path, globs: &Globs) -> Result<Vec<PathBuf>, RunError> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(below) = todo.pop() {
        let at = root.join(&below);
        let entries = match std::fs::read_dir(&at) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(RunError::io("list", &at)(e)),
        };
        for entry in entries {
            let entry = entry.map_err(RunError::io("list", &at))?;
            let path = below.join(entry.file_name());
            if is_ours(&path) || path.as_os_str() == ".git" {
                continue;
            }
            if globs.is_match(&path) {
                found.push(path);
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) && globs.lead_into(&path) {
                todo.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The globs that nothing below a folder matches.
///
/// # Errors
/// When a folder cannot be listed.
pub fn unmatched(root: &Path, globs: &Globs) -> Result<Vec<String>, RunError> {
    let mut paths = Vec::new();
    let mut todo = matching(root, globs)?;
    while let Some(path) = todo.pop() {
        let at = root.join(&path);
        if at.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            for entry in std::fs::read_dir(&at).map_err(RunError::io("list", &at))? {
                todo.push(path.join(entry.map_err(RunError::io("list", &at))?.file_name()));
            }
        }
        paths.push(path);
    }
    let missing = globs.each(&paths).filter(|(_, matches)| !matches);
    Ok(missing.map(|(glob, _)| glob.to_owned()).collect())
}

/// What was kept of a run.
pub struct Kept {
    /// The tree of the result.
    pub digest: Digest,
    /// Its root directory.
    pub root: Digest,
    /// The outputs below the root of the project.
    pub outputs: Tree,
}

/// Keeps what the globs match. Each has to match something.
///
/// # Errors
/// [`RunError::NotMade`] with the globs that match nothing; when something cannot be kept.
pub fn keep(
    store: &LocalStore,
    root: &Path,
    globs: &Globs,
    stat: &StatCache,
    streams: &Streams,
    traced: bool,
) -> Result<Kept, RunError> {
    let without = |path: &[u8]| {
        let path = Path::new(OsStr::from_bytes(path));
        is_ours(path) || !(globs.is_match(path) || globs.lead_into(path))
    };
    let (_, tree) = store.import_parts(root, Capture::Outputs, stat, &without)?;
    let outputs = Tree::from(only(tree.root(), &mut PathBuf::new(), globs));
    let mut paths = Vec::new();
    outputs.walk(|entry| paths.push(entry.path.under(Path::new(""))));
    let missing: Vec<String> = (globs.each(&paths))
        .filter(|(_, matches)| !matches)
        .map(|(glob, _)| glob.to_owned())
        .collect();
    if !missing.is_empty() {
        return Err(RunError::NotMade { patterns: missing });
    }
    let mut entries = BTreeMap::new();
    let name =
        |text: &str| Name::new(text.as_bytes()).map_err(|e| RunError::Damaged(e.to_string()));
    entries.insert(name(OUTPUTS)?, Node::Dir(outputs.root().clone()));
    if !streams.is_plain() {
        let digest = ashlar_store::put(store, &streams.encode())?;
        entries.insert(name(STREAMS)?, Node::File(ashlar_object::File::new(digest, Meta::FILE)));
    }
    if traced {
        let file = ashlar_object::File::new(Digest::EMPTY, Meta::FILE);
        entries.insert(name(TRACED)?, Node::File(file));
    }
    let whole = Tree::from(Dir::new(entries, Meta::EXECUTABLE, false));
    let root = whole.root_digest();
    let digest = store.put(&mut &whole.encode()[..])?;
    Ok(Kept { digest, root, outputs })
}

/// Only what globs match, and the folders on the way to it.
fn only(dir: &Dir, at: &mut PathBuf, globs: &Globs) -> Dir {
    let mut entries = BTreeMap::new();
    for (name, node) in dir.entries() {
        at.push(name.as_os_str());
        if globs.is_match(at) {
            entries.insert(name.clone(), node.clone());
        } else if let Node::Dir(child) = node {
            let child = only(child, at, globs);
            if !child.entries().is_empty() {
                entries.insert(name.clone(), Node::Dir(child.into()));
            }
        }
        at.pop();
    }
    Dir::new(entries, dir.meta().clone(), false)
}

/// What is in the tree of a result.
pub struct Opened {
    /// The outputs below the root of the project.
    pub outputs: Tree,
    /// Which part of the log went where, when not all of it to standard output.
    pub streams: Option<Streams>,
    /// Whether it is known that nothing undeclared was touched.
    pub traced: bool,
}

/// Reads the tree of a result.
///
/// # Errors
/// [`RunError::Damaged`] when it is the tree of something else.
pub fn open(store: &LocalStore, tree: &Tree) -> Result<Opened, RunError> {
    let entry = |name: &str| {
        tree.root().entries().iter().find(|(n, _)| n.as_bytes() == name.as_bytes()).map(|(_, n)| n)
    };
    let Some(Node::Dir(outputs)) = entry(OUTPUTS) else {
        return Err(RunError::Damaged("it has no outputs".to_owned()));
    };
    let streams = match entry(STREAMS) {
        Some(Node::File(file)) => {
            let bytes = ashlar_store::read(store, &file.digest)?
                .ok_or(ashlar_store::StoreError::Missing(file.digest))?;
            let streams = Streams::decode(&bytes);
            Some(streams.ok_or_else(|| RunError::Damaged("its streams make no sense".to_owned()))?)
        }
        _ => None,
    };
    let traced = entry(TRACED).is_some();
    Ok(Opened { outputs: Tree::from(outputs.clone()), streams, traced })
}
