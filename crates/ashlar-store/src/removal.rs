//! Removing folders whatever their modes and depth.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, StatxFlags, statx};
use rustix::io::Errno;

/// How deep folders are followed before the rest is moved up: each level holds a descriptor.
const DEEPEST: usize = 64;

/// Removes what is at a path, whatever its modes and depth; links are not followed, and nothing
/// of another file system that is mounted below is removed. Nothing there is no error.
///
/// # Errors
/// When something of it cannot be removed.
pub fn remove_all(path: &std::path::Path) -> std::io::Result<()> {
    let Some(name) = path.file_name() else {
        return Err(std::io::ErrorKind::InvalidInput.into());
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => std::path::Path::new("."),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::open(parent, flags, Mode::empty())?;
    Ok(remove(parent.as_fd(), name.as_encoded_bytes())?)
}

/// Removes what is at `name`, whatever it is. Nothing there is no error.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e),
    }
    same_mount(parent, open_path(parent, name)?.as_fd())?;
    let dir = open_writable(parent, name)?;
    empty(dir.as_fd())?;
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Removes everything in a folder.
pub(crate) fn empty(top: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mut moved = 0;
    // What was moved up is met in the next round.
    loop {
        let before = moved;
        below(top, top, 0, &mut moved)?;
        if moved == before {
            return Ok(());
        }
    }
}

fn below(
    top: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    depth: usize,
    moved: &mut u64,
) -> rustix::io::Result<()> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    for (name, kind) in names {
        if kind != rustix::fs::FileType::Directory {
            match rustix::fs::unlinkat(dir, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(Errno::ACCESS) => {
                    make_writable(dir)?;
                    rustix::fs::unlinkat(dir, &name, AtFlags::empty())?;
                    continue;
                }
                Err(e) => return Err(e),
            }
        }
        same_mount(dir, open_path(dir, name.to_bytes())?.as_fd())?;
        let child = open_writable(dir, name.to_bytes())?;
        if depth >= DEEPEST {
            drop(child);
            *moved += 1;
            let up = format!(".ashlar-deep-{moved}");
            rustix::fs::renameat(dir, &name, top, up.as_str())?;
            continue;
        }
        below(top, child.as_fd(), depth + 1, moved)?;
        drop(child);
        match rustix::fs::unlinkat(dir, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn open_path(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Refuses (`EXDEV`) a folder of another mount: what is mounted somewhere is not part of it.
fn same_mount(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let look = |fd| {
        let found = statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
        let knows = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID);
        let mount = knows.then_some(found.stx_mnt_id);
        Ok::<_, Errno>((found.stx_dev_major, found.stx_dev_minor, mount))
    };
    if look(one)? == look(other)? { Ok(()) } else { Err(Errno::XDEV) }
}

/// Opens a folder so that things in it can be removed; only the superuser need not ask.
fn open_writable(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            rustix::fs::openat(parent, name, flags, Mode::empty())?
        }
        other => other?,
    };
    if rustix::fs::fstat(&fd)?.st_mode & 0o300 != 0o300 && !rustix::process::geteuid().is_root() {
        make_writable(fd.as_fd())?;
    }
    Ok(fd)
}

fn make_writable(dir: BorrowedFd<'_>) -> rustix::io::Result<()> {
    rustix::fs::fchmod(dir, Mode::RWXU)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_what_is_deep_or_closed() {
        let dir = tempfile::tempdir().unwrap();
        let at = rustix::fs::open(dir.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        rustix::fs::mkdirat(&at, "x", Mode::RWXU).unwrap();
        let mut deep = open_writable(at.as_fd(), b"x").unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&deep, "a", Mode::RWXU).unwrap();
            deep = open_writable(deep.as_fd(), b"a").unwrap();
        }
        rustix::fs::mkdirat(&at, "x/closed", Mode::empty()).unwrap();
        remove(at.as_fd(), b"x").unwrap();
        assert!(!dir.path().join("x").exists());
        remove(at.as_fd(), b"x").unwrap();
    }

    /// Needs a mount namespace of its own; where there can be none, nothing is tested.
    #[test]
    fn leaves_what_is_mounted_below() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"mkdir -p "$1/x/m" "$1/other" && touch "$1/other/kept" && \
            mount --bind "$1/other" "$1/x/m" && "$2" --ignored --exact --nocapture \
            removal::tests::inner_removes_x"#;
        let this = std::env::current_exe().unwrap();
        let can = std::process::Command::new("unshare").args(["-m", "true"]).output();
        if !can.is_ok_and(|done| done.status.success()) {
            return;
        }
        let mut command = std::process::Command::new("unshare");
        command.args(["-m", "sh", "-c", script, "sh"]).arg(dir.path()).arg(this);
        let done = command.env("ASHLAR_TEST_REMOVES", dir.path().join("x")).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        if !done.status.success() && !said.contains("inner_removes_x") {
            return;
        }
        assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
        assert!(dir.path().join("other/kept").exists());
    }

    #[test]
    #[ignore = "run by the one before, in a mount namespace"]
    fn inner_removes_x() {
        let Some(path) = std::env::var_os("ASHLAR_TEST_REMOVES") else { return };
        let error = remove_all(std::path::Path::new(&path)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::XDEV.raw_os_error()));
    }
}
