//! Who runs this program: the machine's root, root of a name space, or an ordinary user.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ExecuteError;

/// What this process may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// It is root of the whole machine.
    RealRoot,
    /// It is root of a user name space that has this many user ids.
    Namespace {
        /// How many, from 0 on.
        ids: u32,
    },
    /// It is an ordinary user, and has to become root of a name space first.
    Plain,
}

/// What this process may do.
#[must_use]
pub fn rights() -> Rights {
    // Without /proc there is no map to read, and no sandbox either; `probe` says so.
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    judge(&map, rustix::process::geteuid().as_raw())
}

fn judge(map: &str, euid: u32) -> Rights {
    if euid != 0 {
        return Rights::Plain;
    }
    let lines: Vec<Vec<u32>> = map
        .lines()
        .map(|line| line.split_whitespace().filter_map(|n| n.parse().ok()).collect())
        .collect();
    if lines == [[0, 0, u32::MAX]] {
        return Rights::RealRoot;
    }
    // Ids that follow one another from 0 on, whatever they are outside.
    let mut ids = 0_u32;
    for line in &lines {
        if let [inside, _, count] = line[..]
            && inside == ids
        {
            ids = ids.saturating_add(count);
        }
    }
    Rights::Namespace { ids: ids.max(1) }
}

/// The command that runs this program again, with the same arguments, as root of a user name
/// space. The name space has 65,536 further ids when the machine has a range for the user
/// (`/etc/subuid` and `newuidmap`), and only root otherwise.
///
/// # Errors
/// When the machine has no `unshare`, or the path of this program is unknown.
pub fn reexec_command() -> Result<Command, ExecuteError> {
    let unshare = find("unshare").ok_or_else(|| ExecuteError::Lacks {
        what: "`unshare` is not installed, without which an ordinary user cannot build".into(),
        advice: "install the package util-linux".into(),
    })?;
    let program = std::env::current_exe().map_err(|source| ExecuteError::Workspace {
        doing: "find",
        path: PathBuf::from("/proc/self/exe"),
        source,
    })?;
    let mut command = Command::new(unshare);
    command.args(["--user", "--map-root-user"]);
    if has_range() {
        command.arg("--map-auto");
    }
    command.arg("--").arg(program).args(std::env::args_os().skip(1));
    Ok(command)
}

/// What an ordinary user has to have so that packages can be installed.
pub(crate) fn lacks_ids() -> ExecuteError {
    ExecuteError::Lacks {
        what: "installing packages takes a range of user ids, and there is only one".into(),
        advice: "install the package uidmap and give the user ranges: \
                 usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER"
            .into(),
    }
}

/// Whether `unshare --map-auto` can work.
fn has_range() -> bool {
    let uid = rustix::process::getuid().as_raw();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(uid)).then(|| (*fields.first()?).to_owned().into())?
    });
    let listed = |file: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        range_in(&text, name.as_deref(), uid)
    };
    find("newuidmap").is_some()
        && find("newgidmap").is_some()
        && listed("/etc/subuid")
        && listed("/etc/subgid")
}

fn range_in(text: &str, name: Option<&str>, uid: u32) -> bool {
    text.lines().any(|line| {
        let mut fields = line.split(':');
        let owner = fields.next().unwrap_or_default();
        let count: u32 = fields.nth(1).and_then(|n| n.trim().parse().ok()).unwrap_or(0);
        (Some(owner) == name || owner.parse() == Ok(uid)) && count >= 65_535
    })
}

/// A program in `PATH`, or where the system keeps it.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.is_file()
        && rustix::fs::access(file.as_os_str() as &OsStr, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_three_apart() {
        let whole = "         0          0 4294967295\n";
        assert_eq!(judge(whole, 0), Rights::RealRoot);
        assert_eq!(judge(whole, 1000), Rights::Plain);
        assert_eq!(judge("0 1000 1\n", 0), Rights::Namespace { ids: 1 });
        let auto = "0 1000 1\n1 100000 65535\n";
        assert_eq!(judge(auto, 0), Rights::Namespace { ids: 65_536 });
        assert_eq!(judge("0 100000 65536\n", 0), Rights::Namespace { ids: 65_536 });
        assert_eq!(judge("", 0), Rights::Namespace { ids: 1 });
    }

    #[test]
    fn ranges_are_found_by_name_or_number() {
        let text = "one:100000:65536\n1001:165536:65536\nsmall:1:10\n";
        assert!(range_in(text, Some("one"), 1000));
        assert!(range_in(text, None, 1001));
        assert!(!range_in(text, Some("two"), 1000));
        assert!(!range_in(text, Some("small"), 1002));
    }
}
