//! What the tracer asks of the kernel: `ptrace(2)` requests, waiting, and reading of memory.

use std::io;

/// The process id of a thread that is traced.
pub(super) type Tid = libc::pid_t;

/// Why a wait returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It is gone.
    Ended(Tid),
    /// It is about to make a call that the filter stops.
    Call(Tid),
    /// It started another, which is traced from its first instruction on.
    Started {
        /// The one that did.
        by: Tid,
        /// Whether the other is a thread beside it rather than a process.
        thread: bool,
    },
    /// It runs another program now; its other threads are gone, and it may have had another number.
    Replaced(Tid),
    /// It was stopped by a signal, as a shell's user does with a job, and stays so until the
    /// signal that continues it.
    Stopped(Tid),
    /// It is about to get this signal.
    Signal(Tid, i32),
    /// It waits for nothing but to be let on.
    Other(Tid),
}

/// Traces a process that is no child of this one; it does not stop for that.
pub(super) fn seize(tid: Tid) -> io::Result<()> {
    let options = libc::PTRACE_O_TRACESECCOMP
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    request(libc::PTRACE_SEIZE, tid, 0, usize::try_from(options).unwrap_or_default())
}

/// Lets a stopped thread on, with a signal or 0.
pub(super) fn let_on(tid: Tid, signal: i32) -> io::Result<()> {
    request(libc::PTRACE_CONT, tid, 0, usize::try_from(signal).unwrap_or_default())
}

/// Leaves a thread stopped as its process is, and hears when that is continued.
pub(super) fn leave_stopped(tid: Tid) -> io::Result<()> {
    request(libc::PTRACE_LISTEN, tid, 0, 0)
}

/// The number that goes with [`Event::Started`], of the new one, and with [`Event::Replaced`], of
/// before.
pub(super) fn about(tid: Tid) -> io::Result<Tid> {
    let mut message: libc::c_ulong = 0;
    request(libc::PTRACE_GETEVENTMSG, tid, 0, (&raw mut message).addr())?;
    Tid::try_from(message).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// `struct ptrace_syscall_info` of `linux/ptrace.h`, in the form it has at a filter's stop.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct CallInfo {
    kind: u8,
    reserved: [u8; 3],
    /// `AUDIT_ARCH_…`.
    pub(super) architecture: u32,
    instruction: u64,
    stack: u64,
    /// The number of the call.
    pub(super) number: u64,
    /// Its arguments.
    pub(super) arguments: [u64; 6],
    data: u32,
    reserved_too: u32,
}

/// `PTRACE_SYSCALL_INFO_SECCOMP`.
const AT_FILTER: u8 = 3;

/// What a thread that is stopped at [`Event::Call`] asks for.
pub(super) fn call(tid: Tid) -> io::Result<CallInfo> {
    let mut info = CallInfo::default();
    request(libc::PTRACE_GET_SYSCALL_INFO, tid, size_of::<CallInfo>(), (&raw mut info).addr())?;
    if info.kind == AT_FILTER { Ok(info) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn request(request: libc::c_uint, tid: Tid, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: the requests above read no memory of this process and write none but what `data`
    // points to, which is alive and, where the kernel asks, as large as `address` says.
    match unsafe { libc::ptrace(request, tid, address, data) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Waits for the next event of any thread; `None` when nothing is traced any more.
pub(super) fn wait() -> io::Result<Option<Event>> {
    let mut status = 0;
    let tid = loop {
        // SAFETY: the kernel writes one number, to a place that is alive.
        let tid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
        if tid >= 0 {
            break tid;
        }
        match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ECHILD) => return Ok(None),
            error if error.kind() == io::ErrorKind::Interrupted => {}
            error => return Err(error),
        }
    };
    if !libc::WIFSTOPPED(status) {
        return Ok(Some(Event::Ended(tid)));
    }
    let signal = libc::WSTOPSIG(status);
    Ok(Some(match status >> 16 {
        0 => Event::Signal(tid, signal),
        libc::PTRACE_EVENT_SECCOMP => Event::Call(tid),
        libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => {
            Event::Started { by: tid, thread: false }
        }
        libc::PTRACE_EVENT_CLONE => Event::Started { by: tid, thread: true },
        libc::PTRACE_EVENT_EXEC => Event::Replaced(tid),
        libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => Event::Stopped(tid),
        _ => Event::Other(tid),
    }))
}

/// Copies memory of a thread, as much as there is before the first byte that it cannot read.
pub(super) fn read(tid: Tid, address: u64, into: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let address = usize::try_from(address).map_err(|_| io::ErrorKind::InvalidInput)?;
    let remote =
        libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: into.len() };
    // SAFETY: the kernel writes at most `iov_len` bytes to `into`; the other address is one of
    // the other process, which the kernel checks.
    let count =
        unsafe { libc::process_vm_readv(tid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// The longest name of a file that the kernel takes, with its end: `PATH_MAX`.
const LONGEST: usize = 4096;
/// Pages are at least this large on every architecture; reads stop at their ends, because what
/// comes after may not be there.
const PAGE: u64 = 4096;

/// Reads a text that ends with NUL into `into`, without the NUL; says whether there was one.
pub(super) fn read_text(tid: Tid, address: u64, into: &mut Vec<u8>) -> io::Result<bool> {
    into.clear();
    let mut chunk = [0; 512];
    let mut at = address;
    while into.len() < LONGEST {
        let to_page_end = usize::try_from(PAGE - at % PAGE).unwrap_or(chunk.len());
        let wanted = to_page_end.min(chunk.len());
        let count = read(tid, at, chunk.get_mut(..wanted).unwrap_or_default())?;
        let got = chunk.get(..count).unwrap_or_default();
        if let Some(end) = got.iter().position(|byte| *byte == 0) {
            into.extend_from_slice(got.get(..end).unwrap_or_default());
            return Ok(true);
        }
        if count == 0 {
            return Ok(false);
        }
        into.extend_from_slice(got);
        at += u64::try_from(count).unwrap_or_default();
    }
    Ok(false)
}
