//! What is known so far: for each path what was done with it, and whether what is there now is
//! the command's own work.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::Read as _;

use super::calls::Call;
use super::paths::{Found, Resolver, There, as_path};
use super::ptrace::Tid;
use super::report::Report;
use super::{Touch, Touched};

/// Bits of what was done with a path.
const READ: u8 = 1;
const ABSENT: u8 = 2;
const LISTED: u8 = 4;
const WROTE: u8 = 8;
const RAN: u8 = 16;
/// What is there, or that nothing is there, is the command's own work.
const MADE: u8 = 32;

/// Who asks, and where its `/` is when it is not ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller<'a> {
    /// The thread.
    pub(super) tid: Tid,
    /// What stands before its paths when we look at them.
    pub(super) root: &'a [u8],
    /// What stands before its paths when we speak of them.
    pub(super) prefix: &'a [u8],
}

/// How a name was only looked at, which once noted need not be again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// At what it leads to.
    Through = 1,
    /// At what is there itself.
    Itself = 2,
    /// To run it.
    Run = 4,
}

/// What a trace has seen.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Folders below which things are noted; empty for everywhere.
    below: Vec<Vec<u8>>,
    resolver: Resolver,
    paths: HashMap<Box<[u8]>, u8>,
    /// Folders that the command made: what is in them is its own work.
    made: HashSet<Box<[u8]>>,
    /// Folders that were there before under another name: (now, before).
    moved: Vec<(Vec<u8>, Vec<u8>)>,
    /// Programs that were run and may not be read: what they do is not shown to us.
    hidden: BTreeSet<Vec<u8>>,
    /// Names as they were asked for, and the ways of looking that brought nothing new since.
    done: HashMap<Box<[u8]>, u8>,
}

impl Notes {
    /// Notes about what is below these folders, or everywhere.
    pub(super) fn new(below: Vec<Vec<u8>>) -> Self {
        Self { below, ..Self::default() }
    }

    /// Somebody looks at, reads or runs what is under a name.
    pub(super) fn look(&mut self, caller: Caller<'_>, name: &[u8], how: Look) {
        // With another root the same name is another file.
        let known = caller.root.is_empty();
        if known && self.done.get(name).is_some_and(|ways| ways & how as u8 != 0) {
            return;
        }
        let found = self.find(caller, name, how != Look::Itself);
        match found.there {
            There::Nothing { .. } => self.note(&found.path, ABSENT),
            There::File | There::Link => {
                self.note(&found.path, if how == Look::Run { RAN } else { READ });
            }
            There::Folder | There::Other => {}
        }
        if how == Look::Run && found.there == There::File {
            self.interpreter(caller, &found.path);
        }
        if known && found.lasting() {
            match self.done.get_mut(name) {
                Some(ways) => *ways |= how as u8,
                None => {
                    self.done.insert(name.into(), how as u8);
                }
            }
        }
    }

    /// Somebody opens a name with these flags.
    pub(super) fn open(&mut self, caller: Caller<'_>, name: &[u8], flags: i32) {
        let access = flags & libc::O_ACCMODE;
        let has = |flag| flags & flag == flag;
        let follow = !(has(libc::O_NOFOLLOW) || has(libc::O_CREAT | libc::O_EXCL));
        // A nameless file (O_TMPFILE) is made in a folder that is there.
        let only_read = access == libc::O_RDONLY && !has(libc::O_CREAT) && !has(libc::O_TRUNC);
        if only_read || has(libc::O_PATH) || has(libc::O_TMPFILE) {
            return self.look(caller, name, if follow { Look::Through } else { Look::Itself });
        }
        let found = self.find(caller, name, follow);
        match found.there {
            There::Nothing { parent: true } if has(libc::O_CREAT) => {
                self.note(&found.path, WROTE | MADE);
            }
            There::Nothing { .. } => self.note(&found.path, ABSENT),
            // It fails, because it is there.
            There::File | There::Link if has(libc::O_CREAT | libc::O_EXCL) => {
                self.note(&found.path, READ);
            }
            There::File if has(libc::O_TRUNC) => self.note(&found.path, WROTE | MADE),
            There::File if access == libc::O_RDONLY => self.note(&found.path, READ),
            // What it had stays in it.
            There::File if access == libc::O_RDWR || has(libc::O_APPEND) => {
                self.note(&found.path, READ | WROTE);
            }
            There::File => self.note(&found.path, WROTE),
            There::Link | There::Folder | There::Other => {}
        }
    }

    /// Somebody lists a folder; the path is the kernel's own.
    pub(super) fn list(&mut self, path: &[u8]) {
        self.note(path, LISTED);
    }

    /// Somebody makes, removes or changes what is under a name.
    pub(super) fn change(&mut self, caller: Caller<'_>, name: &[u8], call: Call) {
        let follow = matches!(call, Call::Cut(..) | Call::Change(_));
        let found = self.find(caller, name, follow);
        let path = &*found.path;
        match (call, found.there) {
            (Call::Make(_) | Call::MakeFolder(_), There::Nothing { parent: true }) => {
                self.note(path, WROTE | MADE);
                if matches!(call, Call::MakeFolder(_)) {
                    self.made.insert(path.into());
                    self.moved.retain(|(now, _)| !is_below(now, path));
                } else {
                    // It may be a link, which leads names elsewhere that were looked at before.
                    self.forget();
                }
            }
            (Call::Remove(_), There::File | There::Link | There::Other) => {
                if found.there == There::Link {
                    self.forget();
                }
                self.note(path, WROTE | MADE);
            }
            // Whatever was there before, nothing is there now, by this call.
            (Call::Remove(_), There::Nothing { parent: true }) => self.note(path, MADE),
            (Call::RemoveFolder(_), There::Folder) => self.resolver.changes(path),
            (Call::Cut(..), There::File) => self.note(path, READ | WROTE),
            (Call::Change(_), There::File | There::Link) => self.note(path, WROTE),
            (_, There::Nothing { .. }) => self.note(path, ABSENT),
            // It fails, because something is there.
            (Call::Make(_) | Call::MakeFolder(_), There::File | There::Link) => {
                self.note(path, READ);
            }
            _ => {}
        }
    }

    /// Somebody gives a file or folder another name, or a second one.
    pub(super) fn rename(&mut self, caller: Caller<'_>, old: &[u8], new: &[u8], call: Call) {
        let from = self.find(caller, old, false);
        let to = self.find(caller, new, false);
        let moves = matches!(call, Call::Rename(..));
        match from.there {
            There::Nothing { .. } => return self.note(&from.path, ABSENT),
            There::File | There::Link => self.note(&from.path, READ),
            There::Folder => self.note(&from.path, LISTED),
            There::Other => {}
        }
        match to.there {
            There::Nothing { parent: false } => return self.note(&to.path, ABSENT),
            // A link to it cannot be made, because it is there.
            There::File | There::Link if !moves => return self.note(&to.path, READ),
            There::Folder if from.there != There::Folder || !moves => return,
            // Only an empty folder is replaced; when this one is not, nothing happens.
            There::Folder if !is_empty(caller, &to.path) => return,
            _ => {}
        }
        if from.there != There::File || !matches!(to.there, There::File | There::Nothing { .. }) {
            self.forget();
        }
        if from.there == There::Folder {
            self.note(&to.path, WROTE);
            self.note(&from.path, WROTE);
            self.move_folder(&from.path, &to.path);
        } else {
            self.note(&to.path, WROTE | MADE);
            if moves {
                self.note(&from.path, WROTE | MADE);
            }
        }
    }

    fn move_folder(&mut self, from: &[u8], to: &[u8]) {
        let mut moved = Vec::new();
        match self.before(from) {
            Some(before) => moved.push((to.to_vec(), before)),
            None if self.is_made(from) => {
                self.made.insert(to.into());
            }
            None => moved.push((to.to_vec(), from.to_vec())),
        }
        // What had been moved into it has moved along.
        self.moved.retain_mut(|(now, before)| {
            if is_below(now, from) {
                let rest = now.get(from.len()..).unwrap_or_default();
                if !rest.is_empty() {
                    moved.push(([to, rest].concat(), std::mem::take(before)));
                }
                return false;
            }
            true
        });
        // One that is back where it was is as if it had never been away.
        moved.retain(|(now, before)| now != before);
        self.moved.extend(moved);
    }

    /// Everything: what was touched, in the order of paths, and the programs whose doings are not
    /// in it.
    pub(super) fn into_report(self) -> Report {
        let mut all = Vec::new();
        for (path, bits) in &self.paths {
            let kinds = [
                (READ, Touch::Read),
                (ABSENT, Touch::Absent),
                (LISTED, Touch::Listed),
                (WROTE, Touch::Wrote),
                (RAN, Touch::Ran),
            ];
            for (bit, touch) in kinds {
                if bits & bit != 0 {
                    all.push(Touched { path: as_path(path).to_path_buf(), touch });
                }
            }
        }
        all.sort_unstable();
        let hidden = self.hidden.iter().map(|path| as_path(path).to_path_buf()).collect();
        Report { touched: all, hidden }
    }

    fn find(&mut self, caller: Caller<'_>, name: &[u8], follow: bool) -> Found {
        let mut found = self.resolver.find(caller.tid, caller.root, name, follow);
        if !caller.prefix.is_empty() {
            for path in found.links.iter_mut().chain([&mut found.path]) {
                path.splice(..0, caller.prefix.iter().copied());
            }
        }
        for link in &found.links {
            self.note(link, READ);
        }
        found
    }

    /// Adds to what is known of a path, when it is one of those that matter and the command did
    /// not make it.
    fn note(&mut self, path: &[u8], bits: u8) {
        const INPUT: u8 = READ | ABSENT | LISTED | RAN;
        // Processes, not files.
        if is_below(path, b"/proc") {
            return;
        }
        let mut bits = bits;
        if bits & INPUT != 0 {
            if let Some(before) = self.before(path) {
                // Under this name it is the command's work, and under the other an input.
                if self.paths.get(before.as_slice()).is_none_or(|known| known & MADE == 0) {
                    self.keep(&before, bits & INPUT);
                }
                bits &= !INPUT;
            } else if self.is_made(path) {
                bits &= !INPUT;
            }
        }
        self.keep(path, bits);
    }

    fn keep(&mut self, path: &[u8], bits: u8) {
        let here = self.below.is_empty() || self.below.iter().any(|top| is_below(path, top));
        if bits == 0 || !here {
            return;
        }
        match self.paths.get_mut(path) {
            Some(known) => *known |= bits,
            None => {
                self.paths.insert(path.into(), bits);
            }
        }
    }

    /// Whether what is at a path is the command's own work.
    fn is_made(&self, path: &[u8]) -> bool {
        if self.paths.get(path).is_some_and(|bits| bits & MADE != 0) {
            return true;
        }
        !self.made.is_empty() && ancestors(path).any(|folder| self.made.contains(folder))
    }

    /// What a path in a folder that was moved was before; `None` when it was not moved, or was
    /// made since.
    fn before(&self, path: &[u8]) -> Option<Vec<u8>> {
        let (now, before) = self.moved.iter().rev().find(|(now, _)| is_below(path, now))?;
        let rest = path.get(now.len()..).unwrap_or_default();
        let made = |path: &[u8]| self.paths.get(path).is_some_and(|bits| bits & MADE != 0);
        let inside = |path: &&[u8]| path.len() > now.len();
        if ancestors(path).take_while(inside).any(made) {
            return None;
        }
        Some([before, rest].concat())
    }

    /// Names may lead elsewhere from now on.
    fn forget(&mut self) {
        self.done.clear();
        self.resolver.forget();
    }

    /// The kernel opens by itself what runs a script, and what loads a program.
    fn interpreter(&mut self, caller: Caller<'_>, path: &[u8]) {
        let whole = [caller.root, path.strip_prefix(caller.prefix).unwrap_or(path)].concat();
        let mut head = Vec::new();
        let file = match File::open(as_path(&whole)) {
            Ok(file) => file,
            Err(error) => {
                let runs = rustix::fs::access(as_path(&whole), rustix::fs::Access::EXEC_OK);
                if error.kind() == std::io::ErrorKind::PermissionDenied && runs.is_ok() {
                    self.hidden.insert(path.to_vec());
                }
                return;
            }
        };
        if file.take(4096).read_to_end(&mut head).is_err() {
            return;
        }
        let Some(name) = script_runner(&head).or_else(|| loader(&head)) else { return };
        // A relative one is looked for in the working directory; nobody writes that.
        if name.starts_with(b"/") && name != path {
            self.look(caller, name, Look::Run);
        }
    }
}

/// The program after `#!`.
fn script_runner(head: &[u8]) -> Option<&[u8]> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    line.split(|byte| matches!(byte, b' ' | b'\t' | 0)).find(|word| !word.is_empty())
}

/// The dynamic loader of a 64-bit ELF program in the machine's byte order: the segment
/// `PT_INTERP` (3) of `elf(5)`.
fn loader(head: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| {
        let bytes = head.get(at..at.checked_add(8)?)?;
        usize::try_from(u64::from_ne_bytes(bytes.try_into().ok()?)).ok()
    };
    let half = |at: usize| Some(u16::from_ne_bytes(head.get(at..at + 2)?.try_into().ok()?));
    if !head.starts_with(b"\x7fELF\x02") {
        return None;
    }
    let (table, size, count) = (word(32)?, usize::from(half(54)?), usize::from(half(56)?));
    for index in 0..count {
        let at = table.checked_add(index.checked_mul(size)?)?;
        if head.get(at..at.checked_add(4)?)? == 3_u32.to_ne_bytes() {
            let start = word(at.checked_add(8)?)?;
            let text = head.get(start..start.checked_add(word(at.checked_add(32)?)?)?)?;
            return text.split(|byte| *byte == 0).next();
        }
    }
    None
}

/// Whether a path is a folder or something in it.
fn is_below(path: &[u8], folder: &[u8]) -> bool {
    folder == b"/"
        || path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
}

/// A path and the folders above it, without `/`.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(path), |path| {
        path.iter().rposition(|byte| *byte == b'/').and_then(|end| path.get(..end))
    })
    .take_while(|path| !path.is_empty())
}

fn is_empty(caller: Caller<'_>, path: &[u8]) -> bool {
    let whole = [caller.root, path.strip_prefix(caller.prefix).unwrap_or(path)].concat();
    std::fs::read_dir(as_path(&whole)).is_ok_and(|mut entries| entries.next().is_none())
}
