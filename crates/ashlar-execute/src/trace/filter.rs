//! The seccomp filter of a traced command: calls that name files stop it for the tracer, all
//! others go on at their usual cost.
//!
//! It looks at nothing but architecture and number, so that the kernel knows the answer for the
//! others without running it.

use std::io;

use super::calls::{RING, TABLES};
use crate::filter::{ALLOW, ARCHITECTURE, ENOSYS, EQUAL, ERROR, LOAD, NOT_LESS, NUMBER, RETURN};

/// `SECCOMP_RET_TRACE` of `linux/seccomp.h`.
const TRACE: u32 = 0x7ff0_0000;

/// The filter; empty where the numbers of the calls are not known.
pub(super) fn program() -> Vec<libc::sock_filter> {
    let mut program = Vec::new();
    for table in TABLES {
        let mut block = vec![step(LOAD, NUMBER, 0, 0)];
        if let Some(other) = table.other {
            block.push(step(NOT_LESS, other, 0, 1));
            block.push(step(RETURN, ERROR | ENOSYS, 0, 0));
        }
        block.push(step(EQUAL, RING, 0, 1));
        block.push(step(RETURN, ERROR | ENOSYS, 0, 0));
        // Each of them jumps over those that are left and over the answer for all others.
        let mut left = u8::try_from(table.calls.len()).unwrap_or(u8::MAX);
        for (number, _) in table.calls {
            block.push(step(EQUAL, *number, left, 0));
            left = left.saturating_sub(1);
        }
        block.push(step(RETURN, ALLOW, 0, 0));
        block.push(step(RETURN, TRACE, 0, 0));
        program.push(step(LOAD, ARCHITECTURE, 0, 0));
        let length = u8::try_from(block.len()).unwrap_or(u8::MAX);
        program.push(step(EQUAL, table.architecture, 0, length));
        program.extend(block);
    }
    if !program.is_empty() {
        // A program of an architecture whose calls nobody here can tell apart.
        program.push(step(RETURN, ERROR | ENOSYS, 0, 0));
    }
    program
}

fn step(code: u16, value: u32, if_true: u8, if_false: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt: if_true, jf: if_false, k: value }
}

/// Lays the filter on the calling thread and all that it starts from now on. Makes nothing but
/// system calls, because it runs between fork and exec.
///
/// # Errors
/// When the kernel has no seccomp filters, or a container forbids them.
pub(super) fn install(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    let install = || {
        // SAFETY: the kernel reads `len` steps from `filter`, which outlives the call.
        match unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &filter) }
        {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    match install() {
        // Only those who may do everything can do so without giving up the rights that programs
        // with the set-user-id bit would gain.
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            // SAFETY: this call takes numbers and changes nothing but a flag of this process.
            if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
                return Err(io::Error::last_os_error());
            }
            install()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would.
    fn answer(architecture: u32, number: u32) -> u32 {
        let program = program();
        let (mut at, mut loaded) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            let jump = |yes| usize::from(if yes { step.jt } else { step.jf });
            match step.code {
                LOAD => loaded = if step.k == NUMBER { number } else { architecture },
                EQUAL => at += jump(loaded == step.k),
                NOT_LESS => at += jump(loaded >= step.k),
                RETURN => return step.k,
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn exactly_the_calls_of_the_tables_stop() {
        for table in TABLES {
            for number in 0..600 {
                let expected = match (table.get(u64::from(number)), number) {
                    (Some(_), _) => TRACE,
                    (None, RING) => ERROR | ENOSYS,
                    (None, _) => ALLOW,
                };
                assert_eq!(answer(table.architecture, number), expected, "{number}");
            }
            if let Some(other) = table.other {
                assert_eq!(answer(table.architecture, other + 2), ERROR | ENOSYS);
            }
        }
        assert_eq!(answer(0x1234, 2), ERROR | ENOSYS);
    }
}
