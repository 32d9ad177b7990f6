//! The process that traces: one loop around `waitpid`, and what is known of each thread.
//!
//! It is a process of its own for two reasons. `ptrace` ties tracing to a thread, and waiting for
//! tracees must not take the children of others. And a filter stays with a process for good: a
//! daemon that a command leaves behind would find every file missing as soon as nobody traces it,
//! so somebody has to go on letting its calls through after the program that ran the command has
//! ended.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::rc::Rc;

use super::calls::{At, Call, TABLES};
use super::notes::{Caller, Look, Notes};
use super::paths::as_path;
use super::ptrace::{self, CallInfo, Event, Tid};
use super::report;

/// What this program does when a [`super::Trace`] started it as `internal-trace`: traces the
/// process that says its number on standard input, and writes what it saw to standard output. The
/// arguments are the folders that matter. Exits when nothing is left to trace.
#[must_use]
pub fn internal_trace(below: impl Iterator<Item = OsString>) -> ExitCode {
    let below: Vec<Vec<u8>> = below.map(OsStringExt::into_vec).collect();
    match trace(below) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the report sees that its end is missing.
        Err(_) => ExitCode::FAILURE,
    }
}

fn trace(below: Vec<Vec<u8>>) -> io::Result<()> {
    let mut number = [0; size_of::<Tid>()];
    let mut gate = report::gate();
    gate.read_exact(&mut number)?;
    let main = Tid::from_ne_bytes(number);
    let seized = ptrace::seize(main);
    let code = seized.as_ref().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
    gate.write_all(&code.to_ne_bytes())?;
    drop(gate);
    seized?;
    let mut tracer = Tracer { main, notes: Some(Notes::new(below)), ..Tracer::default() };
    while let Some(event) = ptrace::wait()? {
        tracer.handle(event)?;
    }
    Ok(())
}

/// What threads share that have their working directory in common.
#[derive(Debug, Default)]
struct Place {
    /// The working directory, when it is known.
    folder: Option<Vec<u8>>,
    /// Whether it may be another for each thread, or change while we look.
    unsure: bool,
    /// Whether names may mean something else than they do for us.
    elsewhere: bool,
}

#[derive(Debug, Default)]
struct Tracer {
    main: Tid,
    /// `None` once they are handed over, and the rest is let through.
    notes: Option<Notes>,
    places: HashMap<Tid, Rc<RefCell<Place>>>,
    /// Those whose place was found before their parent said that it started them.
    early: HashSet<Tid>,
    /// Room for names, used again and again.
    name: Vec<u8>,
}

impl Tracer {
    fn handle(&mut self, event: Event) -> io::Result<()> {
        let (tid, signal) = match event {
            Event::Ended(tid) => {
                self.forget(tid);
                if tid == self.main
                    && let Some(notes) = self.notes.take()
                {
                    report::hand_over(notes.into_report())?;
                    self.places.clear();
                    self.early.clear();
                }
                return Ok(());
            }
            Event::Stopped(tid) => return gone_is_fine(ptrace::leave_stopped(tid)),
            Event::Signal(tid, signal) => (tid, signal),
            Event::Started { by, thread } => {
                if self.notes.is_some()
                    && let Ok(tid) = ptrace::about(by)
                {
                    self.started(by, tid, thread);
                }
                (by, 0)
            }
            Event::Replaced(tid) => {
                if let Ok(before) = ptrace::about(tid)
                    && before != tid
                {
                    self.forget(before);
                }
                (tid, 0)
            }
            Event::Call(tid) => {
                if let Some(mut notes) = self.notes.take() {
                    // Killed while it was stopped: it will not make the call.
                    if let Ok(info) = ptrace::call(tid) {
                        self.call(&mut notes, tid, &info);
                    }
                    self.notes = Some(notes);
                }
                (tid, 0)
            }
            Event::Other(tid) => (tid, 0),
        };
        gone_is_fine(ptrace::let_on(tid, signal))
    }

    fn place(&mut self, tid: Tid) -> Rc<RefCell<Place>> {
        if let Some(place) = self.places.get(&tid) {
            return Rc::clone(place);
        }
        let place = self.inherited(tid);
        self.places.insert(tid, Rc::clone(&place));
        if tid != self.main {
            self.early.insert(tid);
        }
        place
    }

    /// The place of one that we see before its parent says that it started it. If the parent was
    /// killed just then it never will, so nobody waits for that.
    fn inherited(&self, tid: Tid) -> Rc<RefCell<Place>> {
        let status = std::fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().parse::<Tid>().ok()
        };
        let leader = number("Tgid:").filter(|leader| *leader != tid);
        if let Some(place) = leader.and_then(|leader| self.places.get(&leader)) {
            return Rc::clone(place);
        }
        let parent = number("PPid:").and_then(|parent| self.places.get(&parent));
        // When in doubt look through its own eyes, which is only slower.
        let elsewhere = tid != self.main && parent.is_none_or(|place| place.borrow().elsewhere);
        Rc::new(RefCell::new(Place { elsewhere, unsure: leader.is_some(), folder: None }))
    }

    fn forget(&mut self, tid: Tid) {
        self.places.remove(&tid);
        self.early.remove(&tid);
    }

    fn started(&mut self, by: Tid, tid: Tid, thread: bool) {
        if self.early.remove(&tid) {
            return;
        }
        let place = self.place(by);
        let new = if thread {
            place
        } else {
            let place = place.borrow();
            Rc::new(RefCell::new(Place {
                folder: place.folder.clone(),
                unsure: false,
                elsewhere: place.elsewhere,
            }))
        };
        self.places.insert(tid, new);
    }

    fn call(&mut self, notes: &mut Notes, tid: Tid, info: &CallInfo) {
        let table = TABLES.iter().find(|table| table.architecture == info.architecture);
        let Some(call) = table.and_then(|table| table.get(info.number)) else { return };
        let argument = |at: u8| info.arguments.get(usize::from(at)).copied().unwrap_or_default();
        let flags = |at: u8| flags(argument(at));
        match call {
            Call::EnterOpen => return self.moves(tid),
            Call::Elsewhere => {
                let place = self.place(tid);
                let mut place = place.borrow_mut();
                (place.elsewhere, place.unsure, place.folder) = (true, true, None);
                return;
            }
            Call::List => {
                if let Some(path) = open_file(tid, argument(0)) {
                    notes.list(&path);
                }
                return;
            }
            _ => {}
        }
        let (root, prefix) = self.root(tid);
        let caller = Caller { tid, root: &root, prefix: &prefix };
        match call {
            Call::Rename(from, to, how) => {
                if let (Some(old), Some(new)) =
                    (self.name(caller, info, from), self.name(caller, info, to))
                {
                    notes.rename(caller, &old, &new, call);
                    if how.is_some_and(|at| flags(at) & RENAME_EXCHANGE != 0) {
                        notes.rename(caller, &new, &old, call);
                    }
                }
                return;
            }
            Call::Link(from, to) => {
                if let (Some(old), Some(new)) =
                    (self.name(caller, info, from), self.name(caller, info, to))
                {
                    notes.rename(caller, &old, &new, call);
                }
                return;
            }
            _ => {}
        }
        let Some(at) = place_of(call) else { return };
        let Some(name) = self.name(caller, info, at) else { return };
        let look = |follow: bool| if follow { Look::Through } else { Look::Itself };
        match call {
            Call::Open(_, at) => notes.open(caller, &name, flags(at)),
            Call::Create(_) => {
                notes.open(caller, &name, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC);
            }
            Call::OpenHow(_, at) => {
                let mut how = [0; 8];
                if ptrace::read(tid, argument(at), &mut how).is_ok() {
                    notes.open(caller, &name, self::flags(u64::from_ne_bytes(how)));
                }
            }
            Call::Look(_) => notes.look(caller, &name, Look::Through),
            Call::LookLink(_) => notes.look(caller, &name, Look::Itself),
            Call::LookFlags(_, at) => {
                notes.look(caller, &name, look(flags(at) & libc::AT_SYMLINK_NOFOLLOW == 0));
            }
            Call::Run(_) => notes.look(caller, &name, Look::Run),
            Call::Enter(_) => {
                notes.look(caller, &name, Look::Through);
                self.moves(tid);
            }
            Call::RemoveFlags(at, how) if flags(how) & libc::AT_REMOVEDIR != 0 => {
                notes.change(caller, &name, Call::RemoveFolder(at));
            }
            Call::RemoveFlags(at, _) => notes.change(caller, &name, Call::Remove(at)),
            Call::Cut(_, length) if argument(length) == 0 => {
                notes.open(caller, &name, libc::O_WRONLY | libc::O_TRUNC);
            }
            _ => notes.change(caller, &name, call),
        }
        // Back for the next call.
        self.name = name;
    }

    /// A thread is about to change its working directory.
    fn moves(&mut self, tid: Tid) {
        let place = self.place(tid);
        let mut shared = place.borrow_mut();
        shared.folder = None;
        // One reference is the table's, one ours: with more of them another thread may ask before
        // this one has moved.
        if Rc::strong_count(&place) > 2 {
            shared.unsure = true;
        }
    }

    /// Where a thread's `/` is, when it may be another than ours: as we reach it, and as it is
    /// called here.
    fn root(&mut self, tid: Tid) -> (Vec<u8>, Vec<u8>) {
        if !self.place(tid).borrow().elsewhere {
            return (Vec::new(), Vec::new());
        }
        let root = format!("/proc/{tid}/root");
        let prefix = link(&root).filter(|path| path != b"/").unwrap_or_default();
        (root.into_bytes(), prefix)
    }

    /// The absolute path that a call names; not cleaned, links not followed. `None` for what is no
    /// name: an empty one, for which the descriptor itself is meant, and what cannot be read.
    fn name(&mut self, caller: Caller<'_>, info: &CallInfo, at: At) -> Option<Vec<u8>> {
        let tid = caller.tid;
        let argument = |at: u8| info.arguments.get(usize::from(at)).copied().unwrap_or_default();
        let address = argument(at.name);
        let mut name = std::mem::take(&mut self.name);
        if address == 0 || !ptrace::read_text(tid, address, &mut name).unwrap_or(false) {
            return None;
        }
        match name.first() {
            Some(b'/') => return Some(name),
            None => {
                self.name = name;
                return None;
            }
            Some(_) => {}
        }
        let folder = match at.folder.map(argument) {
            Some(number) if flags(number) != libc::AT_FDCWD => open_file(tid, number)?,
            _ => self.folder(tid)?,
        };
        // The kernel calls it by the name that it has for us.
        let folder = folder.strip_prefix(caller.prefix).unwrap_or(&folder);
        name.splice(..0, folder.iter().copied().chain(std::iter::once(b'/')));
        Some(name)
    }

    fn folder(&mut self, tid: Tid) -> Option<Vec<u8>> {
        let place = self.place(tid);
        let mut place = place.borrow_mut();
        if let Some(folder) = &place.folder
            && !place.unsure
        {
            return Some(folder.clone());
        }
        place.folder = link(&format!("/proc/{tid}/cwd"));
        place.folder.clone()
    }
}

/// `RENAME_EXCHANGE` of `linux/fs.h`.
const RENAME_EXCHANGE: i32 = 2;

/// The lower half of an argument: flags, and descriptors, are `int`.
fn flags(argument: u64) -> i32 {
    let [a, b, c, d, ..] = argument.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// The name that a call is about, for those with one.
fn place_of(call: Call) -> Option<At> {
    match call {
        Call::Open(at, _)
        | Call::Create(at)
        | Call::OpenHow(at, _)
        | Call::Look(at)
        | Call::LookLink(at)
        | Call::LookFlags(at, _)
        | Call::Run(at)
        | Call::Make(at)
        | Call::MakeFolder(at)
        | Call::Remove(at)
        | Call::RemoveFlags(at, _)
        | Call::RemoveFolder(at)
        | Call::Cut(at, _)
        | Call::Change(at)
        | Call::Enter(at) => Some(at),
        Call::Rename(..) | Call::Link(..) | Call::List | Call::EnterOpen | Call::Elsewhere => None,
    }
}

/// The path of an open file of a thread.
fn open_file(tid: Tid, number: u64) -> Option<Vec<u8>> {
    link(&format!("/proc/{tid}/fd/{}", flags(number)))
}

/// Where a link of /proc leads, if to a file that still has a name.
fn link(path: &str) -> Option<Vec<u8>> {
    let target = rustix::fs::readlink(as_path(path.as_bytes()), Vec::new()).ok()?.into_bytes();
    (target.starts_with(b"/") && !target.ends_with(b" (deleted)")).then_some(target)
}

/// A thread that was killed while it was stopped is gone when it is let on; its end is reported
/// as every other.
fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}
