//! Every path of an image that is mounted, with all that is kept of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use ashlar_object::Digest;

/// The files of an image by their paths, without a slash in front; the root is `.`.
pub type Files = BTreeMap<String, File>;

/// One path. Times are not compared: Ashlar has one moment for all.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    kind: Kind,
    /// With set-uid, set-gid and sticky.
    mode: u32,
    owner: (u32, u32),
    /// The first of its names, where it has several.
    same_as: Option<String>,
    xattrs: BTreeMap<String, String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Folder,
    File(Digest),
    Link(String),
    /// Fifos, sockets and devices, with their numbers.
    Special(char, u64),
}

/// Reads what is mounted at `root`.
pub fn read(root: &Path) -> Files {
    let mut files = Files::new();
    let mut inodes: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    walk(root, ".", &mut files, &mut inodes);
    for mut names in inodes.into_values().filter(|names| names.len() > 1) {
        names.sort();
        for name in &names {
            if let Some(file) = files.get_mut(name) {
                file.same_as = Some(names[0].clone());
            }
        }
    }
    files
}

fn walk(path: &Path, name: &str, files: &mut Files, inodes: &mut BTreeMap<u64, Vec<String>>) {
    let meta = path.symlink_metadata().unwrap();
    let kind = meta.file_type();
    let kind = if kind.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let below = readable(&entry.file_name());
            let below = if name == "." { below } else { format!("{name}/{below}") };
            walk(&entry.path(), &below, files, inodes);
        }
        Kind::Folder
    } else {
        inodes.entry(meta.ino()).or_default().push(name.to_owned());
        if kind.is_file() {
            Kind::File(Digest::of(&std::fs::read(path).unwrap()))
        } else if kind.is_symlink() {
            Kind::Link(readable(std::fs::read_link(path).unwrap().as_os_str()))
        } else if kind.is_fifo() {
            Kind::Special('p', 0)
        } else if kind.is_socket() {
            Kind::Special('s', 0)
        } else {
            Kind::Special(if kind.is_block_device() { 'b' } else { 'c' }, meta.rdev())
        }
    };
    let file = File {
        kind,
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        same_as: None,
        xattrs: xattrs(path),
    };
    files.insert(name.to_owned(), file);
}

/// Bytes as a person reads them, so that no two are the same.
fn readable(name: &OsStr) -> String {
    name.to_str().map_or_else(|| name.as_bytes().escape_ascii().to_string(), str::to_owned)
}

fn xattrs(path: &Path) -> BTreeMap<String, String> {
    let mut names = vec![0; 1 << 12];
    let size = rustix::fs::llistxattr(path, &mut names).unwrap();
    let names = names[..size].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 1 << 12];
        let size = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        value[..size].escape_ascii().to_string()
    };
    names.map(|name| (name.escape_ascii().to_string(), value(name))).collect()
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Folder => write!(f, "folder")?,
            Kind::File(digest) => write!(f, "file of {} bytes ({})", digest.size, digest.short())?,
            Kind::Link(target) => write!(f, "link to {target:?}")?,
            Kind::Special(kind, device) => write!(f, "{kind} {device}")?,
        }
        write!(f, " {:04o} {}:{}", self.mode, self.owner.0, self.owner.1)?;
        if let Some(first) = &self.same_as {
            write!(f, " the same file as {first:?}")?;
        }
        self.xattrs.iter().try_for_each(|(name, value)| write!(f, " {name}={value:?}"))
    }
}

/// What differs: `PATH: buildah … | ashlar …`.
pub fn differences(theirs: &Files, ours: &Files) -> Vec<String> {
    let mut names: Vec<&String> = theirs.keys().chain(ours.keys()).collect();
    names.sort();
    names.dedup();
    let shown = |file: Option<&File>| file.map_or_else(|| "nothing".to_owned(), File::to_string);
    names
        .into_iter()
        .map(|name| (name, theirs.get(name), ours.get(name)))
        .filter(|(_, theirs, ours)| theirs != ours)
        .map(|(name, theirs, ours)| {
            format!("{name}: buildah {} | ashlar {}", shown(theirs), shown(ours))
        })
        .collect()
}
