//! The files of an image as a folder, with their owners.

use std::collections::HashMap;
use std::fs::{self, File as OsFile};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use ashlar_object::{Dir, File, Meta, Node, Tree};
use ashlar_store::{FolderBeside, GoOn, LocalStore, Store as _};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use super::export::{ExportError, Until};

/// Writes a tree into a folder that is not there or is empty, whole or not at all: beside it first.
/// All times are `time`, in seconds since the Unix epoch. `go_on` is asked from time to time.
///
/// # Errors
/// When the folder holds something, or cannot be written; [`ExportError::Stopped`].
pub fn write_rootfs(
    store: &LocalStore,
    tree: &Tree,
    folder: &Path,
    time: i64,
    go_on: GoOn<'_>,
) -> Result<(), ExportError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ExportError::Folder { path, source }
    };
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(failed(folder)(io::ErrorKind::DirectoryNotEmpty.into()));
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(folder)(e)),
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed(parent))?;
    // Nobody else looks into it before it is whole.
    let beside = FolderBeside::new(parent, ".ashlar-rootfs.", 0o700).map_err(failed(parent))?;
    let mut writer = Writer { store, time, names: HashMap::new(), go_on };
    let top = beside.path().join("root");
    writer.dir(&top, tree.root()).map_err(|error| match go_on() {
        true => error,
        false => ExportError::Stopped,
    })?;
    // An empty folder is replaced.
    fs::rename(&top, folder).map_err(failed(folder))
}

struct Writer<'a> {
    store: &'a LocalStore,
    time: i64,
    /// The first name of each file that has several.
    names: HashMap<File, PathBuf>,
    go_on: GoOn<'a>,
}

impl Writer<'_> {
    fn dir(&mut self, path: &Path, dir: &Dir) -> Result<(), ExportError> {
        fs::create_dir(path).map_err(at(path))?;
        for (name, node) in dir.entries() {
            if !(self.go_on)() {
                return Err(ExportError::Stopped);
            }
            let path = path.join(name.as_os_str());
            match node {
                Node::Dir(child) => self.dir(&path, child)?,
                Node::File(file) => self.file(&path, file)?,
                Node::Symlink(link) => {
                    use std::os::unix::ffi::OsStrExt as _;
                    symlink(std::ffi::OsStr::from_bytes(&link.target), &path).map_err(at(&path))?;
                    self.owned(&path, &link.meta).map_err(at(&path))?;
                    self.date(&path).map_err(at(&path))?;
                }
                Node::Fifo(meta) => {
                    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0)
                        .map_err(|e| at(&path)(e.into()))?;
                    self.owned(&path, meta).map_err(at(&path))?;
                    let mode = fs::Permissions::from_mode(meta.mode);
                    fs::set_permissions(&path, mode).map_err(at(&path))?;
                    self.date(&path).map_err(at(&path))?;
                }
                Node::Whiteout => {}
            }
        }
        let meta = dir.meta();
        self.owned(path, meta).map_err(at(path))?;
        fs::set_permissions(path, fs::Permissions::from_mode(meta.mode)).map_err(at(path))?;
        self.date(path).map_err(at(path))
    }

    fn file(&mut self, path: &Path, file: &File) -> Result<(), ExportError> {
        if file.link.is_some() {
            if let Some(first) = self.names.get(file) {
                return fs::hard_link(first, path).map_err(at(path));
            }
            self.names.insert(file.clone(), path.to_owned());
        }
        let mut to = OsFile::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(at(path))?;
        let from = self
            .store
            .open(&file.digest)?
            .ok_or_else(|| ExportError::Missing(path.display().to_string()))?;
        let mut from = Until { inner: from, go_on: self.go_on };
        io::copy(&mut from, &mut to).map_err(at(path))?;
        drop(to);
        // The owner first: changing it takes set-uid bits and capabilities.
        self.owned(path, &file.meta).map_err(at(path))?;
        fs::set_permissions(path, fs::Permissions::from_mode(file.meta.mode)).map_err(at(path))?;
        self.date(path).map_err(at(path))
    }

    /// Gives something its owner and extended attributes.
    fn owned(&self, path: &Path, meta: &Meta) -> io::Result<()> {
        let (uid, gid) = meta.owner();
        lchown(path, Some(uid), Some(gid))?;
        for (name, value) in meta.extra.iter().flat_map(|extra| &extra.xattrs) {
            rustix::fs::lsetxattr(path, name.as_str(), value, XattrFlags::empty())?;
        }
        Ok(())
    }

    fn date(&self, path: &Path) -> io::Result<()> {
        let moment = Timespec { tv_sec: self.time, tv_nsec: 0 };
        let times = Timestamps { last_access: moment, last_modification: moment };
        Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    let path = path.to_owned();
    move |source| ExportError::Folder { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashlar_store::{Capture, OpenOptions};

    #[test]
    fn a_folder_gets_everything_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&dir.path().join("store"), OpenOptions::default()).unwrap();
        let from = dir.path().join("from");
        let script = "mkdir -p from/a/b && cd from && echo 1 >a/one && ln a/one a/two && \
            chmod 4755 a/one && ln -s a/one link && mkfifo -m 620 fifo && mkdir -m 1777 tmp";
        let mut shell = std::process::Command::new("sh");
        assert!(shell.args(["-ec", script]).current_dir(dir.path()).status().unwrap().success());
        let (_, tree) = store.keep_folder(&from, Capture::ImageLayer).unwrap();
        let to = dir.path().join("to");
        write_rootfs(&store, &tree, &to, 1_000_000, &|| true).unwrap();
        use std::os::unix::fs::MetadataExt as _;
        let meta = |path: &str| to.join(path).symlink_metadata().unwrap();
        assert_eq!(meta("a/one").ino(), meta("a/two").ino());
        assert_eq!(meta("a/one").mode() & 0o7777, 0o4755);
        assert_eq!(meta("tmp").mode() & 0o7777, 0o1777);
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("a/one"));
        assert_eq!(meta("fifo").mode(), 0o010_620);
        assert!(["a", "a/one", "fifo", "link"].iter().all(|path| meta(path).mtime() == 1_000_000));
        // Nothing is put among what is there.
        let again = write_rootfs(&store, &tree, &to, 0, &|| true);
        assert!(matches!(again, Err(ExportError::Folder { .. })), "{again:?}");
        // What is not all there leaves nothing.
        let lost = tree.with(
            &"lost".parse().unwrap(),
            Node::File(File::new(ashlar_object::Digest::of(b"lost"), Meta::FILE)),
        );
        let other = dir.path().join("other");
        let stopped = write_rootfs(&store, &tree, &other, 0, &|| false);
        assert!(matches!(stopped, Err(ExportError::Stopped)), "{stopped:?}");
        assert!(write_rootfs(&store, &lost, &other, 0, &|| true).is_err());
        assert!(!other.exists());
        let left = fs::read_dir(dir.path()).unwrap().flatten();
        assert!(!left.map(|e| e.file_name()).any(|n| n.to_string_lossy().starts_with(".ashlar")));
    }
}
