//! The system calls that name files, by number, on each architecture that programs here can have.
//!
//! The numbers are those of `asm/unistd.h` of the architecture; a 64-bit machine runs the programs
//! of its 32-bit ancestor too, so their tables stand beside it.

/// Where the file that an argument names is looked for: below the folder in this argument, or the
/// working directory for the calls that take no folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    /// The argument that holds the descriptor of a folder.
    pub(super) folder: Option<u8>,
    /// The argument that points to the name.
    pub(super) name: u8,
}

/// What a call does with the files that it names. Numbers are those of arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Opens; the flags are in this argument.
    Open(At, u8),
    /// `creat`.
    Create(At),
    /// `openat2`; the flags are the first word of what this argument points to.
    OpenHow(At, u8),
    /// Looks at what the name leads to.
    Look(At),
    /// Looks at what lies under the name itself, be it a link.
    LookLink(At),
    /// Looks; this argument says whether at the link itself.
    LookFlags(At, u8),
    /// Runs.
    Run(At),
    /// Lists the folder behind the descriptor in the first argument.
    List,
    /// Gives the first the name of the second; the flags, if it has any.
    Rename(At, At, Option<u8>),
    /// Gives the first another name, the second.
    Link(At, At),
    /// Makes something that has nothing in it: a link, a device.
    Make(At),
    /// Makes a folder.
    MakeFolder(At),
    /// Removes a file.
    Remove(At),
    /// Removes a file, or with a flag in this argument a folder.
    RemoveFlags(At, u8),
    /// Removes a folder.
    RemoveFolder(At),
    /// Cuts a file to the length in this argument.
    Cut(At, u8),
    /// Changes mode, owner or times.
    Change(At),
    /// `chdir`.
    Enter(At),
    /// `fchdir`.
    EnterOpen,
    /// Changes what names mean for the caller: `chroot`, `unshare`, `mount` and the like.
    Elsewhere,
}

use Call::{
    Change, Create, Cut, Elsewhere, Enter, EnterOpen, Link, List, Look, LookFlags, LookLink, Make,
    MakeFolder, Open, OpenHow, Remove, RemoveFlags, RemoveFolder, Rename, Run,
};

/// A name in this argument.
const fn name(name: u8) -> At {
    At { folder: None, name }
}

/// A folder in this argument and a name in the next.
const fn at(folder: u8) -> At {
    At { folder: Some(folder), name: folder + 1 }
}

/// The calls of one architecture.
pub(super) struct Table {
    /// `AUDIT_ARCH_…` of `linux/audit.h`.
    pub(super) architecture: u32,
    /// From this number on calls are of another table that has all of them once more (x32).
    pub(super) other: Option<u32>,
    /// The calls, by number.
    pub(super) calls: &'static [(u32, Call)],
}

impl Table {
    /// What the call of this number does with files.
    pub(super) fn get(&self, number: u64) -> Option<Call> {
        let at = self.calls.binary_search_by_key(&number, |(number, _)| u64::from(*number)).ok()?;
        self.calls.get(at).map(|(_, call)| *call)
    }
}

/// `io_uring_setup`, the same everywhere: what goes through a ring is seen by no filter, so there
/// is none; programs that know rings know kernels without them.
pub(super) const RING: u32 = 425;

/// The tables of the architectures whose programs this machine runs.
#[cfg(target_arch = "x86_64")]
pub(super) const TABLES: &[Table] = &[
    Table { architecture: 0xc000_003e, other: Some(0x4000_0000), calls: X86_64 },
    Table { architecture: 0x4000_0003, other: None, calls: X86 },
];
/// The tables of the architectures whose programs this machine runs.
#[cfg(target_arch = "aarch64")]
pub(super) const TABLES: &[Table] = &[
    Table { architecture: 0xc000_00b7, other: None, calls: AARCH64 },
    Table { architecture: 0x4000_0028, other: None, calls: ARM },
];
/// Numbers of other architectures are not known here.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) const TABLES: &[Table] = &[];

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const X86_64: &[(u32, Call)] = &[
    (2, Open(name(0), 1)), // open
    (4, Look(name(0))), // stat
    (6, LookLink(name(0))), // lstat
    (21, Look(name(0))), // access
    (59, Run(name(0))), // execve
    (76, Cut(name(0), 1)), // truncate
    (78, List), // getdents
    (80, Enter(name(0))), // chdir
    (81, EnterOpen), // fchdir
    (82, Rename(name(0), name(1), None)), // rename
    (83, MakeFolder(name(0))), // mkdir
    (84, RemoveFolder(name(0))), // rmdir
    (85, Create(name(0))), // creat
    (86, Link(name(0), name(1))), // link
    (87, Remove(name(0))), // unlink
    (88, Make(name(1))), // symlink
    (89, LookLink(name(0))), // readlink
    (90, Change(name(0))), // chmod
    (92, Change(name(0))), // chown
    (94, Change(name(0))), // lchown
    (132, Change(name(0))), // utime
    (133, Make(name(0))), // mknod
    (155, Elsewhere), // pivot_root
    (161, Elsewhere), // chroot
    (165, Elsewhere), // mount
    (217, List), // getdents64
    (235, Change(name(0))), // utimes
    (257, Open(at(0), 2)), // openat
    (258, MakeFolder(at(0))), // mkdirat
    (259, Make(at(0))), // mknodat
    (260, Change(at(0))), // fchownat
    (261, Change(at(0))), // futimesat
    (262, LookFlags(at(0), 3)), // newfstatat
    (263, RemoveFlags(at(0), 2)), // unlinkat
    (264, Rename(at(0), at(2), None)), // renameat
    (265, Link(at(0), at(2))), // linkat
    (266, Make(at(1))), // symlinkat
    (267, LookLink(at(0))), // readlinkat
    (268, Change(at(0))), // fchmodat
    (269, Look(at(0))), // faccessat
    (272, Elsewhere), // unshare
    (280, Change(at(0))), // utimensat
    (308, Elsewhere), // setns
    (316, Rename(at(0), at(2), Some(4))), // renameat2
    (322, Run(at(0))), // execveat
    (332, LookFlags(at(0), 2)), // statx
    (437, OpenHow(at(0), 2)), // openat2
    (439, LookFlags(at(0), 3)), // faccessat2
    (452, Change(at(0))), // fchmodat2
];

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const X86: &[(u32, Call)] = &[
    (5, Open(name(0), 1)), // open
    (8, Create(name(0))), // creat
    (9, Link(name(0), name(1))), // link
    (10, Remove(name(0))), // unlink
    (11, Run(name(0))), // execve
    (12, Enter(name(0))), // chdir
    (14, Make(name(0))), // mknod
    (15, Change(name(0))), // chmod
    (16, Change(name(0))), // lchown
    (18, Look(name(0))), // oldstat
    (21, Elsewhere), // mount
    (30, Change(name(0))), // utime
    (33, Look(name(0))), // access
    (38, Rename(name(0), name(1), None)), // rename
    (39, MakeFolder(name(0))), // mkdir
    (40, RemoveFolder(name(0))), // rmdir
    (61, Elsewhere), // chroot
    (83, Make(name(1))), // symlink
    (84, LookLink(name(0))), // oldlstat
    (85, LookLink(name(0))), // readlink
    (92, Cut(name(0), 1)), // truncate
    (106, Look(name(0))), // stat
    (107, LookLink(name(0))), // lstat
    (133, EnterOpen), // fchdir
    (141, List), // getdents
    (182, Change(name(0))), // chown
    (193, Cut(name(0), 1)), // truncate64
    (195, Look(name(0))), // stat64
    (196, LookLink(name(0))), // lstat64
    (198, Change(name(0))), // lchown32
    (212, Change(name(0))), // chown32
    (217, Elsewhere), // pivot_root
    (220, List), // getdents64
    (271, Change(name(0))), // utimes
    (295, Open(at(0), 2)), // openat
    (296, MakeFolder(at(0))), // mkdirat
    (297, Make(at(0))), // mknodat
    (298, Change(at(0))), // fchownat
    (299, Change(at(0))), // futimesat
    (300, LookFlags(at(0), 3)), // fstatat64
    (301, RemoveFlags(at(0), 2)), // unlinkat
    (302, Rename(at(0), at(2), None)), // renameat
    (303, Link(at(0), at(2))), // linkat
    (304, Make(at(1))), // symlinkat
    (305, LookLink(at(0))), // readlinkat
    (306, Change(at(0))), // fchmodat
    (307, Look(at(0))), // faccessat
    (310, Elsewhere), // unshare
    (320, Change(at(0))), // utimensat
    (346, Elsewhere), // setns
    (353, Rename(at(0), at(2), Some(4))), // renameat2
    (358, Run(at(0))), // execveat
    (383, LookFlags(at(0), 2)), // statx
    (412, Change(at(0))), // utimensat_time64
    (437, OpenHow(at(0), 2)), // openat2
    (439, LookFlags(at(0), 3)), // faccessat2
    (452, Change(at(0))), // fchmodat2
];

#[cfg(target_arch = "aarch64")]
#[rustfmt::skip]
const AARCH64: &[(u32, Call)] = &[
    (33, Make(at(0))), // mknodat
    (34, MakeFolder(at(0))), // mkdirat
    (35, RemoveFlags(at(0), 2)), // unlinkat
    (36, Make(at(1))), // symlinkat
    (37, Link(at(0), at(2))), // linkat
    (38, Rename(at(0), at(2), None)), // renameat
    (40, Elsewhere), // mount
    (41, Elsewhere), // pivot_root
    (45, Cut(name(0), 1)), // truncate
    (48, Look(at(0))), // faccessat
    (49, Enter(name(0))), // chdir
    (50, EnterOpen), // fchdir
    (51, Elsewhere), // chroot
    (53, Change(at(0))), // fchmodat
    (54, Change(at(0))), // fchownat
    (56, Open(at(0), 2)), // openat
    (61, List), // getdents64
    (78, LookLink(at(0))), // readlinkat
    (79, LookFlags(at(0), 3)), // newfstatat
    (88, Change(at(0))), // utimensat
    (97, Elsewhere), // unshare
    (221, Run(name(0))), // execve
    (268, Elsewhere), // setns
    (276, Rename(at(0), at(2), Some(4))), // renameat2
    (281, Run(at(0))), // execveat
    (291, LookFlags(at(0), 2)), // statx
    (437, OpenHow(at(0), 2)), // openat2
    (439, LookFlags(at(0), 3)), // faccessat2
    (452, Change(at(0))), // fchmodat2
];

#[cfg(target_arch = "aarch64")]
#[rustfmt::skip]
const ARM: &[(u32, Call)] = &[
    (5, Open(name(0), 1)), // open
    (8, Create(name(0))), // creat
    (9, Link(name(0), name(1))), // link
    (10, Remove(name(0))), // unlink
    (11, Run(name(0))), // execve
    (12, Enter(name(0))), // chdir
    (14, Make(name(0))), // mknod
    (15, Change(name(0))), // chmod
    (16, Change(name(0))), // lchown
    (21, Elsewhere), // mount
    (33, Look(name(0))), // access
    (38, Rename(name(0), name(1), None)), // rename
    (39, MakeFolder(name(0))), // mkdir
    (40, RemoveFolder(name(0))), // rmdir
    (61, Elsewhere), // chroot
    (83, Make(name(1))), // symlink
    (85, LookLink(name(0))), // readlink
    (92, Cut(name(0), 1)), // truncate
    (106, Look(name(0))), // stat
    (107, LookLink(name(0))), // lstat
    (133, EnterOpen), // fchdir
    (141, List), // getdents
    (182, Change(name(0))), // chown
    (193, Cut(name(0), 2)), // truncate64, whose length begins at an even register
    (195, Look(name(0))), // stat64
    (196, LookLink(name(0))), // lstat64
    (198, Change(name(0))), // lchown32
    (212, Change(name(0))), // chown32
    (217, List), // getdents64
    (218, Elsewhere), // pivot_root
    (269, Change(name(0))), // utimes
    (322, Open(at(0), 2)), // openat
    (323, MakeFolder(at(0))), // mkdirat
    (324, Make(at(0))), // mknodat
    (325, Change(at(0))), // fchownat
    (326, Change(at(0))), // futimesat
    (327, LookFlags(at(0), 3)), // fstatat64
    (328, RemoveFlags(at(0), 2)), // unlinkat
    (329, Rename(at(0), at(2), None)), // renameat
    (330, Link(at(0), at(2))), // linkat
    (331, Make(at(1))), // symlinkat
    (332, LookLink(at(0))), // readlinkat
    (333, Change(at(0))), // fchmodat
    (334, Look(at(0))), // faccessat
    (337, Elsewhere), // unshare
    (348, Change(at(0))), // utimensat
    (375, Elsewhere), // setns
    (382, Rename(at(0), at(2), Some(4))), // renameat2
    (387, Run(at(0))), // execveat
    (397, LookFlags(at(0), 2)), // statx
    (412, Change(at(0))), // utimensat_time64
    (437, OpenHow(at(0), 2)), // openat2
    (439, LookFlags(at(0), 3)), // faccessat2
    (452, Change(at(0))), // fchmodat2
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_because_they_are_searched() {
        for table in TABLES {
            assert!(table.calls.is_sorted_by(|(one, _), (next, _)| one < next));
        }
    }

    #[test]
    fn the_numbers_are_those_of_this_machine() {
        let number = |call: libc::c_long| u64::try_from(call).unwrap();
        let table = &TABLES[0];
        assert_eq!(table.get(number(libc::SYS_openat)), Some(Open(at(0), 2)));
        assert_eq!(table.get(number(libc::SYS_statx)), Some(LookFlags(at(0), 2)));
        assert_eq!(table.get(number(libc::SYS_execve)), Some(Run(name(0))));
        assert_eq!(table.get(number(libc::SYS_getdents64)), Some(List));
        assert_eq!(table.get(number(libc::SYS_symlinkat)), Some(Make(at(1))));
        assert_eq!(table.get(number(libc::SYS_read)), None);
        assert_eq!(u32::try_from(libc::SYS_io_uring_setup), Ok(RING));
    }
}
