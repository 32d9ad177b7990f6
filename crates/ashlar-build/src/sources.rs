//! Trees of sources and of bases that come from the project.

use std::path::Path;

use ashlar_execute::Kept;
use ashlar_object::{Digest, Dir, Tree};
use ashlar_plan::BaseFact;
use ashlar_recipe::{Base, Module, Origin};
use ashlar_source::{Keep, digest_file, find_patches, keep_path, path_tree, unpack};
use ashlar_store::{Capture, put};

use crate::engine::Engine;
use crate::event::{ErrorKind, Failure};

/// One source of a module, fetched, unpacked and patched.
pub(crate) fn source_tree(
    engine: &Engine<'_>,
    module: &Module,
    number: usize,
) -> Result<Kept, Failure> {
    let source = &module.sources[number];
    let facts = engine.facts.sources.get(&module.name).and_then(|all| all.get(number));
    let patches = find_patches(engine.folder, &source.patches, source.strip)?;
    let expected = facts.map_or(&[][..], |fact| &fact.patches);
    let same = patches.len() == expected.len()
        && patches
            .iter()
            .zip(expected)
            .all(|(patch, (_, digest, _))| Digest::of(&patch.bytes) == *digest);
    if !same {
        return Err(changed(&format!("the patches of {}", module.name)));
    }
    let (digest, tree) = match &source.origin {
        Origin::Path { path } => {
            let tree = folder(engine, path, facts.and_then(|fact| fact.tree))?;
            if patches.is_empty() {
                return Ok(tree);
            }
            engine.fetcher.patched(&tree.tree, &patches)?
        }
        Origin::Url { url, sha256, mirrors, unpack } => {
            engine.fetcher.url_tree(url, mirrors, sha256, *unpack, &patches)?
        }
        Origin::Git { url, commit, submodules } => {
            engine.fetcher.git_tree(url, commit, *submodules, &patches)?
        }
        Origin::Deb { package } => {
            let locked = engine.facts.lock.source.get(package).ok_or_else(|| {
                Failure::project(format!("the lock file has no source package `{package}`"))
            })?;
            engine.fetcher.deb_tree(locked, &patches)?
        }
    };
    Ok(Kept { digest, tree })
}

/// A folder of the project as it was when the key was computed, with its files in the store.
fn folder(engine: &Engine<'_>, path: &Path, expected: Option<Digest>) -> Result<Kept, Failure> {
    let tree = path_tree(engine.folder, path, &digest_file)?;
    if Some(tree.digest()) != expected {
        return Err(changed(&path.display().to_string()));
    }
    let digest = keep_path(engine.store, engine.folder, path, &tree)?;
    Ok(Kept { digest, tree })
}

/// A base that is a folder of the project.
pub(crate) fn folder_base(engine: &Engine<'_>, path: &Path) -> Result<Kept, Failure> {
    let expected = engine.project.bases.iter().find_map(|(name, base)| {
        match (base, engine.facts.bases.get(name)) {
            (Base::Path(of), Some(BaseFact::Tree(digest))) if of == path => Some(*digest),
            _ => None,
        }
    });
    let kept = folder(engine, path, expected)?;
    without_dev(engine, &kept.tree)
}

/// A base that is an archive of the project, or a folder that images begin with.
pub(crate) fn base(engine: &Engine<'_>, name: &str) -> Result<Kept, Failure> {
    let path = match engine.project.bases.get(name) {
        Some(Base::Archive(path)) => path,
        Some(Base::Path(path)) => return folder_base(engine, path),
        _ => return Err(Failure::project(format!("the base `{name}` is no archive"))),
    };
    let archive = engine.folder.join(path);
    let io = |e: std::io::Error| Failure::project(format!("cannot read {}: {e}", path.display()));
    let bytes = std::fs::File::open(&archive).map_err(io)?;
    let mut reader = std::io::BufReader::new(bytes);
    let digest = engine.store.put(&mut reader)?;
    if !matches!(engine.facts.bases.get(name), Some(BaseFact::Archive(fact)) if *fact == digest) {
        return Err(changed(&path.display().to_string()));
    }
    // Beside the store where there is one on disk, so that what is unpacked is moved into it.
    let beside = engine.local.map_or_else(std::env::temp_dir, |local| local.path().join("work"));
    let work = tempfile::tempdir_in(beside).map_err(io)?;
    let into = work.path().join("root");
    std::fs::create_dir(&into).map_err(io)?;
    let owner_base = engine.owner_base;
    let mut reader = std::io::BufReader::new(std::fs::File::open(&archive).map_err(io)?);
    unpack(&mut reader, &into, Keep::Root { owner_base }).map_err(|e| {
        Failure::from(ashlar_source::SourceError::Unpack(path.display().to_string(), e))
    })?;
    let (_, tree) = engine.store.keep_folder(&into, Capture::Root)?;
    without_dev(engine, &tree)
}

/// A base's `dev/` is left out: the sandbox has one of its own.
fn without_dev(engine: &Engine<'_>, tree: &Tree) -> Result<Kept, Failure> {
    let mut entries = tree.root().entries().clone();
    entries.remove(&b"dev"[..]);
    let root = tree.root();
    let tree = Tree::from(Dir::new(entries, root.meta().clone(), false));
    Ok(Kept { digest: put(engine.store, &tree.encode())?, tree })
}

fn changed(what: &str) -> Failure {
    Failure::Error {
        message: format!("{what} changed while the build was going on"),
        advice: Some("build again when nobody writes to it".to_owned()),
        kind: ErrorKind::Build,
    }
}
