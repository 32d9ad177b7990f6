//! A context on disk out of a few lines, and the root that a Dockerfile makes of it, in lines again.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ashlar_dockerfile::{Base, Copy, From, Ignore, Platform, Request, Work};
use ashlar_object::{Digest, Node, RelPath, Tree};
use ashlar_source::digest_file;
use ashlar_store::{MemoryStore, Store as _, read};
use rustix::fs::{CWD, FileType, Mode};

use crate::image::context::{context, keep_contents};
use crate::image::copy::{Downloaded, copy};
use crate::image::select::select;
use crate::image::workdir::workdir;

/// A context: `PATH MODE CONTENT`, `PATH/ MODE`, `PATH | MODE` (a FIFO), `PATH -> TARGET`,
/// `PATH = OTHER` (a hard link), `PATH.tar < ENTRY; ENTRY` (see [`archive`]).
pub fn write(lines: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for line in lines {
        let (path, what) = line.split_once(' ').unwrap_or((line, ""));
        let at = folder.path().join(path.trim_end_matches('/'));
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        let set = |mode: &str| {
            let mode = u32::from_str_radix(mode, 8).unwrap();
            std::fs::set_permissions(&at, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        match what.split_once(' ').unwrap_or((what, "")) {
            ("->", target) => std::os::unix::fs::symlink(target, &at).unwrap(),
            ("=", other) => std::fs::hard_link(folder.path().join(other), &at).unwrap(),
            ("|", mode) => {
                let kind = FileType::Fifo;
                rustix::fs::mknodat(CWD, &at, kind, Mode::RUSR, 0).unwrap();
                set(mode);
            }
            ("<", entries) => std::fs::write(&at, archive(entries)).unwrap(),
            (mode, "") if path.ends_with('/') => {
                std::fs::create_dir_all(&at).unwrap();
                set(mode);
            }
            (mode, content) => {
                std::fs::write(&at, content).unwrap();
                set(mode);
            }
        }
    }
    folder
}

/// A tar archive: `PATH MODE OWNER CONTENT`, `PATH/ MODE OWNER`, `PATH -> TARGET`,
/// `PATH = OTHER MODE OWNER`.
pub fn archive(entries: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
        let words: Vec<&str> = entry.split(' ').collect();
        let path = words[0];
        let (kind, link, mode, owner, content) = match words[1] {
            "->" => (b'2', words[2], "777", "0", ""),
            "=" => (b'1', words[2], words[3], words[4], ""),
            mode if path.ends_with('/') => (b'5', "", mode, words[2], ""),
            mode => (b'0', "", mode, words[2], words[3]),
        };
        let mut block = [0; 512];
        let mut put = |at: usize, text: &str| {
            block[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        let owner: u32 = owner.parse().unwrap();
        put(0, path);
        put(100, &format!("{:07o}", u32::from_str_radix(mode, 8).unwrap()));
        put(108, &format!("{owner:07o}"));
        put(116, &format!("{owner:07o}"));
        put(124, &format!("{:011o}", content.len()));
        put(136, "00000000000");
        put(157, link);
        put(257, "ustar\u{0}00");
        block[156] = kind;
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend(block);
        out.extend(content.as_bytes());
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// What a Dockerfile is built in.
pub struct World {
    pub store: MemoryStore,
    pub context: Tree,
    folder: tempfile::TempDir,
}

impl World {
    pub fn new(lines: &[&str]) -> Self {
        let folder = write(lines);
        let store = MemoryStore::new();
        let context = context(folder.path(), &ignore(folder.path()), &digest_file).unwrap();
        Self { store, context, folder }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The root that the last stage makes.
    pub fn build(&self, text: &str) -> Result<Tree, String> {
        let file = ashlar_dockerfile::parse("Dockerfile", text).map_err(|p| p.render_plain())?;
        let platform = Platform::linux("amd64");
        let args = BTreeMap::new();
        let request = Request {
            target: None,
            args: &args,
            platform: platform.clone(),
            build_platform: platform,
        };
        let image = ashlar_dockerfile::evaluate(&file, &request, &mut |_| Err("no base".into()))
            .map_err(|p| p.render_plain())?;
        let mut roots: Vec<Tree> = Vec::new();
        for stage in &image.stages {
            let mut root = match stage.base {
                Base::Stage(stage) => roots[stage].clone(),
                _ => Tree::default(),
            };
            for instruction in &stage.instructions {
                let layer = match &instruction.work {
                    Work::Copy(copy) => {
                        let from = match copy.from {
                            From::Stage(stage) => &roots[stage],
                            _ => &self.context,
                        };
                        self.copy(copy, from, &root)?
                    }
                    Work::Workdir(work) => workdir(&work.path, (0, 0), &root).map_err(chain)?,
                    Work::Run(_) => panic!("RUN in a test of files"),
                };
                root = root.overlaid(&layer);
            }
            roots.push(root);
        }
        Ok(roots.swap_remove(image.target))
    }

    /// The layer of one instruction; of what it selects, the same comes out as of everything.
    pub fn copy(&self, one: &Copy, from: &Tree, below: &Tree) -> Result<Tree, String> {
        let selected = select(one, from).map_err(chain)?;
        if one.from == From::Context {
            keep_contents(self.folder(), &selected, &self.store, &|| true).map_err(chain)?;
        }
        let downloads = BTreeMap::new();
        let layer = copy(one, &selected, &downloads, below, &self.store).map_err(chain)?;
        assert_eq!(select(one, &selected).unwrap().root_digest(), selected.root_digest());
        let again = copy(one, from, &downloads, below, &self.store).unwrap();
        assert_eq!(layer, again, "of the selected, and of all");
        let missing = self.store.missing(&layer.blobs()).unwrap();
        assert!(one.from != From::Context || missing.is_empty(), "contents that nobody keeps");
        Ok(layer)
    }

    /// The lines of a root: `PATH MODE CONTENT`, `PATH/ MODE`, `PATH -> TARGET`, with `OWNER` behind
    /// the mode or target where it is not root, and `#N` at the end of each name of a file that has
    /// N others.
    pub fn lines(&self, tree: &Tree) -> Vec<String> {
        let links = tree.links();
        let others = |path: &RelPath| {
            links.iter().find(|group| group.contains(path)).map_or(0, |group| group.len() - 1)
        };
        let mut lines = Vec::new();
        tree.walk(|entry| {
            let path = entry.path;
            let mut line = match entry.node {
                Node::Dir(dir) => format!("{path}/ {:o}{}", dir.meta().mode, owner(dir.meta())),
                Node::File(file) => {
                    let content = read(&self.store, &file.digest).unwrap().unwrap();
                    let content = one_line(&content);
                    format!("{path} {:o}{} {content}", file.meta.mode, owner(&file.meta))
                }
                Node::Symlink(link) => {
                    let target = String::from_utf8_lossy(&link.target);
                    format!("{path} -> {target}{}", owner(&link.meta))
                }
                Node::Fifo(meta) => format!("{path} | {:o}{}", meta.mode, owner(meta)),
                Node::Whiteout => format!("{path} is deleted"),
            };
            match others(path) {
                0 => {}
                count => line += &format!(" #{count}"),
            }
            lines.push(line);
        });
        lines
    }
}

/// A content in one line.
fn one_line(content: &[u8]) -> String {
    match content.contains(&0) {
        true => format!("{} bytes", content.len()),
        false => String::from_utf8_lossy(content).replace('\n', "|"),
    }
}

fn owner(meta: &ashlar_object::Meta) -> String {
    match meta.owner() {
        (0, 0) => String::new(),
        (uid, gid) => format!(" {uid}:{gid}"),
    }
}

pub fn ignore(folder: &Path) -> Ignore {
    match std::fs::read_to_string(folder.join(".dockerignore")) {
        Ok(text) => ashlar_dockerfile::ignore(".dockerignore", &text).unwrap(),
        Err(_) => Ignore::default(),
    }
}

pub fn chain(error: impl std::error::Error) -> String {
    crate::failure::chain(&error)
}

/// The only instruction of a Dockerfile that copies from the context.
pub fn instruction(text: &str) -> Copy {
    let file = ashlar_dockerfile::parse("Dockerfile", &format!("FROM scratch\n{text}\n")).unwrap();
    let platform = Platform::linux("amd64");
    let args = BTreeMap::new();
    let request =
        Request { target: None, args: &args, platform: platform.clone(), build_platform: platform };
    let mut image =
        ashlar_dockerfile::evaluate(&file, &request, &mut |_| Err("no base".into())).unwrap();
    match image.stages.remove(0).instructions.remove(0).work {
        Work::Copy(copy) => copy,
        other => panic!("{other:?}"),
    }
}

/// What comes out of buildah, in the same lines; an error is its last line.
pub fn buildah(case: &str, folder: &Path, text: &str) -> Result<Vec<String>, String> {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("Dockerfile");
    std::fs::write(&file, text).unwrap();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new("buildah")
            .arg("--root")
            .arg(place.path().join("root"))
            .arg("--runroot")
            .arg(place.path().join("run"))
            .args(["--storage-driver", "vfs"])
            .args(arguments)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let out = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() { Ok(out) } else { Err(format!("{case}: {error}")) }
    };
    let arguments = ["bud", "-q", "--layers=false", "--isolation", "chroot", "-t", "t", "-f"];
    let (file, folder) = (file.to_string_lossy(), folder.to_string_lossy());
    run(&[&arguments[..], &[&*file, &*folder]].concat())?;
    let container = run(&["from", "t"])?;
    let root = PathBuf::from(run(&["mount", &container])?);
    let mut lines = Vec::new();
    listed(&root, &root, &mut lines);
    run(&["umount", &container])?;
    run(&["rm", &container])?;
    Ok(lines)
}

fn listed(root: &Path, folder: &Path, lines: &mut Vec<String>) {
    use std::os::unix::fs::MetadataExt as _;
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let meta = entry.metadata().unwrap();
        let path = entry.path();
        let shown = path.strip_prefix(root).unwrap().display();
        let owner = match (meta.uid(), meta.gid()) {
            (0, 0) => String::new(),
            (uid, gid) => format!(" {uid}:{gid}"),
        };
        let mode = meta.mode() & 0o7777;
        if meta.is_dir() {
            lines.push(format!("{shown}/ {mode:o}{owner}"));
            listed(root, &path, lines);
        } else if meta.is_symlink() {
            let target = std::fs::read_link(&path).unwrap();
            lines.push(format!("{shown} -> {}{owner}", target.display()));
        } else {
            let content = std::fs::read(&path).unwrap();
            let content = one_line(&content);
            let others = match meta.nlink() {
                1 => String::new(),
                names => format!(" #{}", names - 1),
            };
            lines.push(format!("{shown} {mode:o}{owner} {content}{others}"));
        }
    }
}

/// The downloads of an instruction.
pub fn downloads(all: &[(usize, Downloaded)]) -> BTreeMap<usize, Downloaded> {
    all.iter().cloned().collect()
}

/// The digest of a text that the store has.
pub fn kept(store: &MemoryStore, content: &str) -> Digest {
    ashlar_store::put(store, content.as_bytes()).unwrap()
}
