//! Where a name leads: links followed one by one, as the kernel is about to do.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::FileType;

use super::ptrace::Tid;

/// What lies at the end of a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum There {
    /// Nothing; `parent` says whether the folder is there that it would be in.
    Nothing {
        /// Whether only the last name is missing.
        parent: bool,
    },
    /// A regular file.
    File,
    /// A link, when the last one was not to be followed.
    Link,
    /// A folder.
    Folder,
    /// A device, a pipe, a socket, or a name that is none of a file (`pipe:[1]`).
    #[default]
    Other,
}

/// Where a name led.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The absolute path, without links in it, as far as there are files.
    pub(super) path: Vec<u8>,
    /// What is there.
    pub(super) there: There,
    /// The links that were followed, in order; each path without links before its last name.
    pub(super) links: Vec<Vec<u8>>,
}

impl Found {
    /// Whether the same name leads every process here, and later too.
    pub(super) fn lasting(&self) -> bool {
        !of_a_process(&self.path) && !self.links.iter().any(|link| of_a_process(link))
    }
}

/// How many links the kernel follows before it gives up.
const LINKS: usize = 40;

/// Finds where names lead, and remembers folders that it has seen.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    /// Paths known to be folders and no links.
    folders: HashSet<Box<[u8]>>,
}

impl Resolver {
    /// Where an absolute path leads. `root` is put before every path that is looked at: where the
    /// caller's `/` is, when it is not ours. `last` says whether a link at the end is followed.
    pub(super) fn find(&mut self, caller: Tid, root: &[u8], path: &[u8], last: bool) -> Found {
        let mut found = Found { there: There::Folder, ..Found::default() };
        let mut rest = path.to_vec();
        let mut at = 0;
        loop {
            while rest.get(at) == Some(&b'/') {
                at += 1;
            }
            if at >= rest.len() {
                break;
            }
            let end = rest.iter().skip(at).position(|b| *b == b'/').map_or(rest.len(), |n| at + n);
            let name = rest.get(at..end).unwrap_or_default();
            let is_last = end == rest.len();
            at = end;
            match name {
                b"." => continue,
                b".." => {
                    pop(&mut found.path);
                    continue;
                }
                name => {
                    found.path.push(b'/');
                    found.path.extend_from_slice(name);
                }
            }
            if self.folders.contains(found.path.as_slice()) && root.is_empty() {
                continue;
            }
            match look(root, &found.path) {
                None => return absent(found, rest.get(at..).unwrap_or_default()),
                Some(FileType::Directory) => {
                    // What is below /proc comes and goes with processes.
                    if root.is_empty() && !found.path.starts_with(b"/proc/") {
                        self.folders.insert(found.path.as_slice().into());
                    }
                }
                Some(FileType::Symlink) if is_last && !last => {
                    found.there = There::Link;
                    return found;
                }
                Some(FileType::Symlink) => {
                    let target = if matches!(&*found.path, b"/proc/self" | b"/proc/thread-self") {
                        // It would lead us to ourselves.
                        Some(caller.to_string().into_bytes())
                    } else {
                        found.links.push(found.path.clone());
                        target(root, &found.path)
                    };
                    let Some(mut target) = target else { return absent(found, b"") };
                    if found.links.len() > LINKS {
                        return absent(found, b"");
                    }
                    if !target.starts_with(b"/") && of_a_process(&found.path) {
                        found.there = There::Other;
                        return found;
                    }
                    target.push(b'/');
                    if is_last {
                        target.pop();
                    } else {
                        target.extend_from_slice(rest.get(at..).unwrap_or_default());
                    }
                    if target.starts_with(b"/") {
                        found.path.clear();
                    } else {
                        pop(&mut found.path);
                    }
                    rest = target;
                    at = 0;
                }
                Some(kind) => {
                    let left = rest.get(at..).unwrap_or_default();
                    if left.iter().any(|byte| *byte != b'/') {
                        return absent(found, left);
                    }
                    found.there =
                        if kind == FileType::RegularFile { There::File } else { There::Other };
                    return found;
                }
            }
        }
        if found.path.is_empty() {
            found.path.push(b'/');
        }
        found
    }

    /// Forgets all folders.
    pub(super) fn forget(&mut self) {
        self.folders.clear();
    }

    /// Forgets the folders, if this was one: it is about to become something else.
    pub(super) fn changes(&mut self, path: &[u8]) {
        if self.folders.contains(path) {
            self.folders.clear();
        }
    }
}

/// Whether this is something in a process's folder of /proc. The links there lead also to what
/// has no path (`pipe:[1]`), and the same name leads every process elsewhere.
fn of_a_process(path: &[u8]) -> bool {
    path.strip_prefix(b"/proc/").is_some_and(|rest| rest.contains(&b'/'))
}

fn absent(mut found: Found, rest: &[u8]) -> Found {
    let mut parent = true;
    for name in rest.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => pop(&mut found.path),
            name => {
                parent = false;
                found.path.push(b'/');
                found.path.extend_from_slice(name);
            }
        }
    }
    found.there = There::Nothing { parent };
    found
}

/// Removes the last name.
fn pop(path: &mut Vec<u8>) {
    path.truncate(path.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
}

fn look(root: &[u8], path: &[u8]) -> Option<FileType> {
    let stat = if root.is_empty() {
        rustix::fs::lstat(as_path(path))
    } else {
        rustix::fs::lstat(as_path(&[root, path].concat()))
    };
    // What cannot be looked at from here cannot be looked at by the command, which has the same
    // rights.
    stat.ok().map(|stat| FileType::from_raw_mode(stat.st_mode))
}

fn target(root: &[u8], path: &[u8]) -> Option<Vec<u8>> {
    let whole = [root, path].concat();
    rustix::fs::readlink(as_path(&whole), Vec::new()).ok().map(std::ffi::CString::into_bytes)
}

/// Bytes as a path.
pub(super) fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn text(found: &Found, folder: &Path) -> String {
        let path = as_path(&found.path);
        path.strip_prefix(folder).unwrap_or(path).to_str().unwrap().to_owned()
    }

    #[test]
    fn links_are_followed_as_the_kernel_does() {
        let folder = tempfile::tempdir().unwrap();
        let folder = &fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(folder.join("real/deep")).unwrap();
        fs::write(folder.join("real/file"), "").unwrap();
        symlink("real/deep", folder.join("link")).unwrap();
        symlink(folder.join("link"), folder.join("again")).unwrap();
        symlink("loop", folder.join("loop")).unwrap();
        symlink("nowhere", folder.join("dangling")).unwrap();
        let mut resolver = Resolver::default();
        let pid = Tid::try_from(std::process::id()).unwrap();
        let mut find = |path: &str, last| {
            resolver.find(pid, b"", folder.join(path).as_os_str().as_bytes(), last)
        };
        // Twice, because folders are remembered.
        for _ in 0..2 {
            // `..` goes up from where the link leads.
            let found = find("again/../file", true);
            assert_eq!((text(&found, folder).as_str(), found.there), ("real/file", There::File));
            assert_eq!(found.links.len(), 2);
            let found = find("./link/", false);
            assert_eq!((text(&found, folder).as_str(), found.there), ("real/deep", There::Folder));
            let found = find("link", false);
            assert_eq!((text(&found, folder).as_str(), found.there), ("link", There::Link));
            let found = find("dangling", true);
            let nothing = There::Nothing { parent: true };
            assert_eq!((text(&found, folder).as_str(), found.there), ("nowhere", nothing));
            let found = find("no/thing/../x", true);
            let nothing = There::Nothing { parent: false };
            assert_eq!((text(&found, folder).as_str(), found.there), ("no/x", nothing));
            let found = find("real/file/x", true);
            assert_eq!(found.there, There::Nothing { parent: false });
            assert!(matches!(find("loop", true).there, There::Nothing { .. }));
        }
        assert_eq!(resolver.find(pid, b"", b"/", true).there, There::Folder);
        assert_eq!(resolver.find(pid, b"", b"/../..", true).path, b"/");
        let here = resolver.find(pid, b"", b"/proc/self/cwd/", true);
        assert_eq!(as_path(&here.path), fs::canonicalize(".").unwrap());
    }
}
