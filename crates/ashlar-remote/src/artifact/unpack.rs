//! An archive laid out in a folder of our own while it comes.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ashlar_object::{RelPath, Time};
use ashlar_pack::archive::{Entry, Kind};
use rustix::fs::{AtFlags, CWD, Gid, Uid};
use rustix::io::Errno;

use super::lay::{NOFOLLOW, stamps};

/// An archive that is being laid out, as `tar -zxpf` would: modes with set-uid bits, times, and
/// owners if we are the superuser. Unlike there no entry is ever written through a link, whatever
/// order the archive has; that is refused.
pub(super) struct Unpacking {
    root: PathBuf,
    made: BTreeMap<RelPath, Made>,
    gives: bool,
    files: u64,
    bytes: u64,
}

/// What was made at a path.
enum Made {
    /// A folder, with what it gets when all is in it.
    Dir(Option<Look>),
    File,
    Link,
}

/// Mode, owner and time.
#[derive(Clone, Copy)]
struct Look {
    mode: u32,
    owner: (u32, u32),
    time: Time,
}

impl Unpacking {
    /// Into an empty folder.
    pub fn begin(root: &Path) -> Self {
        let gives = rustix::process::geteuid().is_root();
        Self { root: root.to_path_buf(), made: BTreeMap::new(), gives, files: 0, bytes: 0 }
    }

    /// Takes the next entry.
    pub fn take(&mut self, entry: Entry<'_>) -> io::Result<()> {
        let path = entry.path.clone();
        self.entry(entry).map_err(|e| io::Error::new(e.kind(), format!("`{path}`: {e}")))
    }

    fn entry(&mut self, entry: Entry<'_>) -> io::Result<()> {
        let look = Look { mode: entry.mode & 0o7777, owner: entry.owner, time: entry.time };
        let path = entry.path;
        super::destination::allowed(&path)
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        if path.is_root() {
            // The folder itself belongs to whoever asked for the files.
            return match entry.kind {
                Kind::Dir => Ok(()),
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the archive is no folder")),
            };
        }
        let mut above = path.clone();
        above.pop();
        self.folder(&above)?;
        let full = path.under(&self.root);
        if !matches!(entry.kind, Kind::Dir) {
            self.make_room(&path, &full)?;
        }
        match entry.kind {
            Kind::Dir => {
                self.folder(&path)?;
                self.made.insert(path, Made::Dir(Some(look)));
            }
            Kind::File { content, .. } => {
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .custom_flags(NOFOLLOW)
                    .open(&full)?;
                self.bytes += io::copy(content, &mut file)?;
                self.files += 1;
                self.dress(&file, look)?;
                self.made.insert(path, Made::File);
            }
            Kind::Symlink(target) => {
                std::os::unix::fs::symlink(super::staging::path_of(&target), &full)?;
                if self.gives && look.owner != (0, 0) {
                    let (uid, gid) = (Uid::from_raw(look.owner.0), Gid::from_raw(look.owner.1));
                    allowed(rustix::fs::chownat(
                        CWD,
                        &full,
                        Some(uid),
                        Some(gid),
                        AtFlags::SYMLINK_NOFOLLOW,
                    ))?;
                }
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::utimensat(CWD, &full, &stamps(look.time), flags)?;
                self.made.insert(path, Made::Link);
            }
            Kind::Hardlink(target) => {
                let made = match self.made.get(&target) {
                    Some(Made::File) => Made::File,
                    Some(Made::Link) => Made::Link,
                    Some(Made::Dir(_)) => return Err(refused("is a hard link to a folder")),
                    None => {
                        return Err(refused(&format!(
                            "is a hard link to `{target}`, which is not before it"
                        )));
                    }
                };
                rustix::fs::linkat(CWD, target.under(&self.root), CWD, &full, AtFlags::empty())?;
                self.made.insert(path, made);
            }
        }
        Ok(())
    }

    /// Makes a folder and those above it; nothing on the way may be anything else.
    fn folder(&mut self, path: &RelPath) -> io::Result<()> {
        let mut at = RelPath::root();
        for name in path.names() {
            at.push(name.clone());
            match self.made.get(&at) {
                Some(Made::Dir(_)) => {}
                Some(Made::Link) => {
                    return Err(refused(&format!("goes through `{at}`, which is a link")));
                }
                Some(Made::File) => {
                    return Err(refused(&format!("goes through `{at}`, which is a file")));
                }
                None => {
                    let mut builder = std::fs::DirBuilder::new();
                    builder.mode(0o700).create(at.under(&self.root))?;
                    self.made.insert(at.clone(), Made::Dir(None));
                }
            }
        }
        Ok(())
    }

    /// Of two entries with one path the later one counts, as with tar.
    fn make_room(&mut self, path: &RelPath, full: &Path) -> io::Result<()> {
        match self.made.get(path) {
            None => Ok(()),
            Some(Made::Dir(_)) => Err(refused("is a folder before and something else now")),
            Some(Made::File | Made::Link) => std::fs::remove_file(full),
        }
    }

    fn dress(&self, file: &File, look: Look) -> io::Result<()> {
        if self.gives && look.owner != (0, 0) {
            let (uid, gid) = (Uid::from_raw(look.owner.0), Gid::from_raw(look.owner.1));
            allowed(rustix::fs::fchown(file, Some(uid), Some(gid)))?;
        }
        // After the owner: giving a file away takes the set-uid bit from it.
        file.set_permissions(Permissions::from_mode(look.mode))?;
        Ok(rustix::fs::futimens(file, &stamps(look.time))?)
    }

    /// Gives the folders their modes and times. How many files there are, and their bytes.
    pub fn finish(self) -> io::Result<(u64, u64)> {
        // From below, because a folder may become closed to us and its time changes with what is
        // put into it.
        for (path, made) in self.made.iter().rev() {
            let full = path.under(&self.root);
            match made {
                Made::Dir(Some(look)) => self.dress(&File::open(full)?, *look)?,
                // One that the archive does not mention is as any new folder.
                Made::Dir(None) => {
                    std::fs::set_permissions(full, Permissions::from_mode(0o755))?;
                }
                Made::File | Made::Link => {}
            }
        }
        Ok((self.files, self.bytes))
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

/// In a user namespace there may be no such owner: then the file stays ours.
fn allowed(given: rustix::io::Result<()>) -> io::Result<()> {
    match given {
        Ok(()) | Err(Errno::INVAL | Errno::PERM) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
