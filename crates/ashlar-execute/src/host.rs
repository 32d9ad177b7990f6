//! A root made of the machine's own folders.
//!
//! An overlay over `/` as a whole is impossible, because the store lies inside it. So every
//! folder of the top level is shown on its own, under what the layers have of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};
use rustix::mount::{MountFlags, mount};

use crate::helper::failure;
use crate::mounts::{Inside, bind_all_read_only, bind_read_only, overlay};
use crate::spec::{Failure, Spec};

/// What of the machine is shown; besides these everything whose name begins with `lib`.
const SHOWN: [&str; 8] = ["bin", "etc", "gnu", "nix", "opt", "sbin", "usr", "var"];

/// What the layers have of one name of the top level, the highest first.
#[derive(Default)]
struct Top {
    folders: Vec<PathBuf>,
    /// A link or file, which hides what is below it.
    other: Option<PathBuf>,
    /// Whether nothing of the machine shows through.
    hides: bool,
}

pub(crate) fn assemble(
    spec: &Spec,
    layers: &[PathBuf],
    avoid: &Path,
    point: &Path,
) -> Result<(), Failure> {
    let owner = spec.owner;
    let options = CString::new(format!("mode=0755,uid={owner},gid={owner}"))
        .map_err(|_| failure("make a root", rustix::io::Errno::INVAL))?;
    mount("tmpfs", point, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))
        .map_err(|e| failure("make a root", e))?;
    let root = Inside::open(point, owner)?;
    for folder in ["/build", "/dev", "/proc", "/run", "/sys", "/tmp"] {
        root.point(folder)?;
    }

    let tops = tops(layers)?;
    let avoid = fs::canonicalize(avoid).map_err(|e| failure("find the store", e))?;
    let mut names: BTreeSet<OsString> = tops.keys().cloned().collect();
    for entry in fs::read_dir("/").map_err(|e| failure("read /", e))? {
        let name = entry.map_err(|e| failure("read /", e))?.file_name();
        if name.as_bytes().starts_with(b"lib") || SHOWN.iter().any(|shown| name == *shown) {
            names.insert(name);
        }
    }
    let none = Top::default();
    let mut through_links = Vec::new();
    for name in names {
        let top = tops.get(&name).unwrap_or(&none);
        let ours = SHOWN.iter().any(|shown| name == *shown) || name.as_bytes().starts_with(b"lib");
        let machine = Path::new("/").join(&name);
        // Layers of the store over a folder that contains the store: the kernel refuses that.
        let holds_store = avoid.starts_with(&machine);
        let refused = holds_store && !top.folders.is_empty();
        let shown = ours && !top.hides && !refused;
        let kind = shown.then(|| fs::symlink_metadata(&machine).ok()).flatten();
        let is_link = kind.as_ref().is_some_and(fs::Metadata::is_symlink);
        if let Some(other) = top.other.as_ref().filter(|_| top.folders.is_empty()) {
            copy(other, &point.join(&name), owner)?;
        } else if is_link {
            copy(&machine, &point.join(&name), owner)?;
            if !top.folders.is_empty() {
                through_links.push((name, &top.folders));
            }
        } else {
            let mut folders = top.folders.clone();
            folders.extend(kind.filter(fs::Metadata::is_dir).map(|_| machine.clone()));
            let Some(inside) = name.to_str().map(|name| format!("/{name}")) else { continue };
            if folders.is_empty() {
                continue;
            }
            let target = root.point(&inside)?;
            match &folders[..] {
                [one] if *one == machine => {
                    bind_all_read_only(one, &target)?;
                    if let Some(store) = avoid.strip_prefix("/").ok().filter(|_| holds_store) {
                        let flags = MountFlags::RDONLY;
                        mount("none", point.join(store), "tmpfs", flags, None)
                            .map_err(|e| failure("hide the store", e))?;
                    }
                }
                [one] => bind_read_only(one, &target)?,
                several => overlay(spec, several, None, &target)?,
            }
        }
    }
    // A layer's `lib` where the machine has a link `lib`: it goes where the link leads, so that
    // nothing of the machine disappears.
    for (name, folders) in through_links {
        let Some(name) = name.to_str() else { continue };
        let target = root.point(&format!("/{name}"))?;
        let mut all = folders.clone();
        all.push(target.clone());
        overlay(spec, &all, None, &target)?;
    }
    Ok(())
}

fn tops(layers: &[PathBuf]) -> Result<BTreeMap<OsString, Top>, Failure> {
    let mut tops: BTreeMap<OsString, Top> = BTreeMap::new();
    for layer in layers {
        let read = |e| failure(&format!("read {}", layer.display()), e);
        for entry in fs::read_dir(layer).map_err(read)? {
            let entry = entry.map_err(read)?;
            let top = tops.entry(entry.file_name()).or_default();
            if top.hides {
                continue;
            }
            let kind = entry.file_type().map_err(read)?;
            if kind.is_dir() {
                top.folders.push(entry.path());
            } else {
                top.hides = true;
                if !kind.is_char_device() {
                    top.other = Some(entry.path());
                }
            }
        }
    }
    Ok(tops)
}

/// A link or a file of the top level, anew.
fn copy(from: &Path, to: &Path, owner: u32) -> Result<(), Failure> {
    let doing = |e: std::io::Error| failure(&format!("copy {}", from.display()), e);
    match fs::read_link(from) {
        Ok(target) => std::os::unix::fs::symlink(target, to).map_err(doing)?,
        Err(_) => {
            fs::copy(from, to).map_err(doing)?;
        }
    }
    let owner = (Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)));
    rustix::fs::chownat(
        rustix::fs::CWD,
        to,
        owner.0,
        owner.1,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(|e| doing(e.into()))
}
