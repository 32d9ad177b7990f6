//! The system calls that no build may make, as a seccomp filter for bwrap.
//!
//! Name spaces separate most of what the kernel keeps; this is for what they do not: the keyrings
//! of the caller's session, input pushed into the caller's terminal (`ashlar shell`), and sockets
//! that reach the host of a virtual machine past every network name space. Everything else is
//! allowed: a build is no attacker, it is kept from seeing what is not in its key.

/// `seccomp_data` of `linux/seccomp.h`: where the number, the architecture and the low halves of
/// the first two arguments are, in bytes.
pub(crate) const NUMBER: u32 = 0;
pub(crate) const ARCHITECTURE: u32 = 4;
const FIRST: u32 = 16;
const SECOND: u32 = 24;

/// `linux/filter.h`: load a word, jump if equal, jump if not less, return.
pub(crate) const LOAD: u16 = 0x20;
pub(crate) const EQUAL: u16 = 0x15;
pub(crate) const NOT_LESS: u16 = 0x35;
pub(crate) const RETURN: u16 = 0x06;

/// `SECCOMP_RET_ALLOW`, and `SECCOMP_RET_ERRNO` to which the error is added.
pub(crate) const ALLOW: u32 = 0x7fff_0000;
pub(crate) const ERROR: u32 = 0x0005_0000;
const EPERM: u32 = 1;
pub(crate) const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;

/// `asm-generic/ioctls.h`.
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
/// `linux/socket.h`.
const AF_VSOCK: u32 = 40;

/// The numbers of the calls on one architecture.
struct Calls {
    /// `AUDIT_ARCH_…` of `linux/audit.h`.
    architecture: u32,
    keys: [u32; 3],
    ioctl: u32,
    socket: u32,
    /// From this number on calls are of another table (x32) that has all of them once more.
    other: Option<u32>,
}

#[cfg(target_arch = "x86_64")]
const ALL: &[Calls] = &[
    Calls {
        architecture: 0xc000_003e,
        keys: [248, 249, 250],
        ioctl: 16,
        socket: 41,
        other: Some(0x4000_0000),
    },
    // 32-bit programs on the same machine.
    Calls { architecture: 0x4000_0003, keys: [286, 287, 288], ioctl: 54, socket: 359, other: None },
];
#[cfg(target_arch = "aarch64")]
const ALL: &[Calls] = &[Calls {
    architecture: 0xc000_00b7,
    keys: [217, 218, 219],
    ioctl: 29,
    socket: 198,
    other: None,
}];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ALL: &[Calls] = &[];

/// The filter as `struct sock_filter[]`, which is what `bwrap --seccomp` reads; `None` where the
/// numbers of the calls are not known.
pub(crate) fn program() -> Option<Vec<u8>> {
    if ALL.is_empty() {
        return None;
    }
    let mut program = Program(Vec::new());
    for calls in ALL {
        let mut block = Program(Vec::new());
        block.push(LOAD, NUMBER, 0, 0);
        if let Some(other) = calls.other {
            block.push(NOT_LESS, other, 0, 1);
            block.push(RETURN, ERROR | ENOSYS, 0, 0);
        }
        for key in calls.keys {
            block.refuse(key, ENOSYS);
        }
        // What follows a call's own number looks at an argument and returns.
        block.push(EQUAL, calls.ioctl, 0, 6);
        block.push(LOAD, SECOND, 0, 0);
        block.refuse(TIOCSTI, EPERM);
        block.refuse(TIOCLINUX, EPERM);
        block.push(RETURN, ALLOW, 0, 0);
        block.push(EQUAL, calls.socket, 0, 3);
        block.push(LOAD, FIRST, 0, 0);
        block.refuse(AF_VSOCK, EAFNOSUPPORT);
        block.push(RETURN, ALLOW, 0, 0);
        program.push(LOAD, ARCHITECTURE, 0, 0);
        // The block is far shorter than the 255 steps that a jump can take.
        program.push(EQUAL, calls.architecture, 0, u8::try_from(block.0.len() / 8).ok()?);
        program.0.extend(block.0);
    }
    program.push(RETURN, ALLOW, 0, 0);
    Some(program.0)
}

struct Program(Vec<u8>);

impl Program {
    fn push(&mut self, code: u16, value: u32, if_true: u8, if_false: u8) {
        self.0.extend(code.to_ne_bytes());
        self.0.extend([if_true, if_false]);
        self.0.extend(value.to_ne_bytes());
    }

    /// If what was loaded is `value`, the call fails with this error.
    fn refuse(&mut self, value: u32, error: u32) {
        self.push(EQUAL, value, 0, 1);
        self.push(RETURN, ERROR | error, 0, 0);
    }
}
