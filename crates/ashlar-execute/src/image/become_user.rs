//! From root of the sandbox to the user of a command in an image, and to the command itself.

use std::convert::Infallible;
use std::ffi::CString;
use std::io::Write as _;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

use super::spec::ImageSpec;
use crate::filter;
use crate::helper::failure;
use crate::spec::{Failure, Spec};

/// What containers may do by default, as Docker has it. All of it counts for what belongs to the
/// sandbox only.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// The last signal that is not a real-time one, which nobody has ignored.
const LAST_SIGNAL: i32 = 31;

/// Where programs are looked for when the environment has no `PATH`.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes the command. `input` is its standard input when it has a terminal.
pub(super) fn run(
    spec: &Spec,
    image: &ImageSpec,
    input: Option<OwnedFd>,
) -> Result<Infallible, Failure> {
    let input = match input {
        Some(input) => input,
        None => rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| failure("open /dev/null", e))?,
    };
    rustix::stdio::dup2_stdin(&input).map_err(|e| failure("place the input", e))?;
    if !spec.terminal {
        rustix::process::setsid().map_err(|e| failure("make a session", e))?;
    }
    // This program ignores SIGPIPE, and who has a terminal also what is typed there; what is
    // started would as well.
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: the default action is no code of ours. Where it cannot be set it is in force.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    if let Err(error) = rustix::process::chdir(spec.directory.as_str()) {
        give_up(126, &format!("cannot enter the working directory {}: {error}", spec.directory));
    }
    refuse_calls()?;
    become_user(image)?;
    execute(spec)
}

/// Installs the filter. It takes a capability that is about to be given up; without it the kernel
/// would want that no program gains rights.
fn refuse_calls() -> Result<(), Failure> {
    let Some(program) = filter::program() else { return Ok(()) };
    let mut steps: Vec<libc::sock_filter> = program
        .chunks_exact(8)
        .map(|step| libc::sock_filter {
            code: u16::from_ne_bytes([step[0], step[1]]),
            jt: step[2],
            jf: step[3],
            k: u32::from_ne_bytes([step[4], step[5], step[6], step[7]]),
        })
        .collect();
    let length = u16::try_from(steps.len()).map_err(|_| failure("make a filter", Errno::INVAL))?;
    let program = libc::sock_fprog { len: length, filter: steps.as_mut_ptr() };
    // SAFETY: the kernel copies the steps, which are there until the end of this function.
    let done =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if done == 0 {
        return Ok(());
    }
    Err(failure("install the filter of system calls", std::io::Error::last_os_error()))
}

fn become_user(image: &ImageSpec) -> Result<(), Failure> {
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if CAPABILITIES.contains(one) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // The kernel knows no more of them.
            Err(Errno::INVAL) => break,
            Err(e) => return Err(failure("give up a capability", e)),
        }
    }
    // The own group is among them, as container runtimes have it: who is denied something as a
    // member of a group could otherwise give that up.
    let others = image.groups.iter().copied().filter(|gid| *gid != image.gid);
    let groups: Vec<Gid> = [image.gid].into_iter().chain(others).map(Gid::from_raw).collect();
    match rustix::thread::set_thread_groups(&groups) {
        // In a name space with a single id groups cannot be set, and there are no others.
        Ok(()) | Err(Errno::PERM | Errno::INVAL) if image.uid == 0 && image.gid == 0 => {}
        other => other.map_err(|e| failure("set the groups of the user", e))?,
    }
    let (uid, gid) = (Uid::from_raw(image.uid), Gid::from_raw(image.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .and_then(|()| rustix::thread::set_thread_res_uid(uid, uid, uid))
        .map_err(|e| failure("become the user", e))?;
    let held = if image.uid == 0 { CAPABILITIES } else { CapabilitySet::empty() };
    let sets =
        CapabilitySets { effective: held, permitted: held, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(|e| failure("set capabilities", e))
}

fn execute(spec: &Spec) -> Result<Infallible, Failure> {
    let text = |text: String| {
        CString::new(text).map_err(|_| failure("pass on a text with a NUL", Errno::INVAL))
    };
    let arguments =
        spec.arguments.iter().map(|one| text(one.clone())).collect::<Result<Vec<_>, _>>()?;
    let environment = spec
        .environment
        .iter()
        .map(|(name, value)| text(format!("{name}={value}")))
        .collect::<Result<Vec<_>, _>>()?;
    let Some(program) = spec.arguments.first().filter(|program| !program.is_empty()) else {
        give_up(127, "there is no command to run");
    };
    let path = spec.environment.get("PATH").map_or(PATH, String::as_str);
    let places: Vec<String> = if program.contains('/') {
        vec![program.clone()]
    } else {
        // An empty folder is the working directory.
        let folder = |folder: &str| if folder.is_empty() { ".".into() } else { folder.to_owned() };
        path.split(':').map(|one| format!("{}/{program}", folder(one))).collect()
    };
    let pointers = |all: &[CString]| -> Vec<*const libc::c_char> {
        all.iter().map(|one| one.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&arguments), pointers(&environment));
    let mut worst = Errno::NOENT;
    for place in places {
        let place = text(place)?;
        // SAFETY: all three are texts that end with NUL, in lists that end with a null pointer,
        // and nothing of them changes.
        unsafe { libc::execve(place.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
        match Errno::from_io_error(&std::io::Error::last_os_error()) {
            Some(Errno::NOENT | Errno::NOTDIR) | None => {}
            // One that may be started can be further on.
            Some(Errno::ACCESS) => worst = Errno::ACCESS,
            Some(other) => {
                worst = other;
                break;
            }
        }
    }
    if worst != Errno::NOENT {
        give_up(126, &format!("cannot start {program}: {worst}"));
    }
    if program.contains('/') {
        give_up(
            127,
            &format!("cannot start {program}: it, or the interpreter it names, is not there"),
        );
    }
    give_up(127, &format!("cannot start {program}: it is in no folder of PATH ({path})"))
}

/// Ends like a shell that cannot start a command. This is the command's failure and not ours.
fn give_up(code: i32, why: &str) -> ! {
    // Nobody may listen any more.
    let _ = writeln!(std::io::stderr(), "ashlar: {why}");
    // SAFETY: it never returns, and nothing of ours has to be ended.
    unsafe { libc::_exit(code) }
}
