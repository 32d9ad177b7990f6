//! Owners and modes of what is copied: `--chown`, `--chmod`.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use ashlar_dockerfile::{Copy, From};
use ashlar_execute::resolve_owner;
use ashlar_object::{Dir, Extra, File, Meta, Node, RelPath, Symlink, Tree};
use ashlar_store::{Store, StoreError, read};

use super::copy::CopyError;
use super::paths::{Bounds, at, follow};

/// What changes of everything that is copied.
#[derive(Clone, Debug)]
pub(super) struct Attributes {
    owner: Option<(u32, u32)>,
    mode: Option<Mode>,
    /// Set-uid and set-gid bits of somebody's working folder are no wish to have them in an image.
    drop_set_id: bool,
}

/// The names of the files of one source that are hard links of one another, in numbers that are used
/// nowhere else.
pub(super) struct Groups<'a> {
    next: &'a mut u32,
    known: HashMap<File, NonZeroU32>,
}

impl<'a> Groups<'a> {
    /// For one source; numbers begin with `next`, which counts on.
    pub fn new(next: &'a mut u32) -> Self {
        Self { next, known: HashMap::new() }
    }

    fn of(&mut self, file: &File) -> Option<NonZeroU32> {
        file.link?;
        if let Some(number) = self.known.get(file) {
            return Some(*number);
        }
        let number = NonZeroU32::new(*self.next)?;
        *self.next = self.next.saturating_add(1);
        self.known.insert(file.clone(), number);
        Some(number)
    }
}

impl Attributes {
    /// Those of an instruction. Names are looked up in `below`.
    pub fn of(copy: &Copy, below: &Tree, store: &dyn Store) -> Result<Self, CopyError> {
        let owner = copy.chown.as_deref().map(|text| owner(text, below, store)).transpose()?;
        let mode = match &copy.chmod {
            Some(text) => Some(Mode::parse(text).ok_or_else(|| CopyError::Mode(text.clone()))?),
            None => None,
        };
        Ok(Self { owner, mode, drop_set_id: copy.from == From::Context })
    }

    /// Those of folders that are made for the destination.
    pub fn folder(&self) -> Meta {
        let (uid, gid) = self.owner.unwrap_or_default();
        Meta::new(0o755, Extra { uid, gid, ..Extra::default() })
    }

    /// Those of a file that has none of its own.
    pub fn file(&self, mode: u32) -> Meta {
        self.meta(&Meta::new(mode, Extra::default()), false)
    }

    /// Of one entry that is copied.
    pub fn meta(&self, meta: &Meta, is_folder: bool) -> Meta {
        let mut extra = meta.extra.as_deref().cloned().unwrap_or_default();
        extra.mtime = None;
        if let Some((uid, gid)) = self.owner {
            (extra.uid, extra.gid) = (uid, gid);
        }
        let mut mode = meta.mode;
        if self.drop_set_id {
            mode &= !0o6000;
        }
        if let Some(change) = &self.mode {
            mode = change.apply(mode, is_folder);
        }
        Meta::new(mode, extra)
    }

    /// Of an entry and everything in it.
    pub fn node(&self, node: &Node, groups: &mut Groups<'_>) -> Node {
        match node {
            Node::Dir(dir) => {
                let entries = dir.entries().iter();
                let entries = entries.map(|(name, node)| (name.clone(), self.node(node, groups)));
                let entries = entries.collect();
                Node::Dir(Arc::new(Dir::new(entries, self.meta(dir.meta(), true), false)))
            }
            Node::File(file) => {
                let link = groups.of(file);
                Node::File(File { link, ..File::new(file.digest, self.meta(&file.meta, false)) })
            }
            Node::Symlink(link) => {
                // Links have no mode.
                let meta = Self { mode: None, ..self.clone() }.meta(&link.meta, false);
                Node::Symlink(Symlink { target: link.target.clone(), meta })
            }
            Node::Fifo(meta) => Node::Fifo(self.meta(meta, false)),
            Node::Whiteout => Node::Whiteout,
        }
    }
}

/// What comes out of an archive: as it says itself.
pub(super) const UNPACKED: Attributes = Attributes { owner: None, mode: None, drop_set_id: false };

fn owner(text: &str, below: &Tree, store: &dyn Store) -> Result<(u32, u32), CopyError> {
    let file = |path: &str| {
        if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') {
            return Ok(Vec::new());
        }
        let Ok(path) = RelPath::parse(path.as_bytes()) else { return Ok(Vec::new()) };
        // An image without the file knows no names.
        let Ok(way) = follow(below, &path, true, Bounds::Root) else { return Ok(Vec::new()) };
        match at(below, &way.path) {
            Some(Node::File(file)) => read(store, &file.digest)
                .and_then(|bytes| bytes.ok_or(StoreError::Missing(file.digest)))
                .map_err(|error| CopyError::Store(Box::new(error))),
            _ => Ok(Vec::new()),
        }
    };
    Ok(resolve_owner(text, &file("etc/passwd")?, &file("etc/group")?)?)
}

/// `--chmod`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    Is(u32),
    Changes(Vec<Change>),
}

/// One change: `u+x`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    /// The bits that it may give or take: `0o700` and set-uid for `u`, and so on.
    who: u32,
    /// The bits that `=` takes before.
    all: u32,
    operator: char,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// Permissions for all, and whether executing is among them only where it is already allowed.
    Bits(u32, bool),
    /// What the user, the group or others may do: how far their bits are shifted.
    Like(u32),
}

/// What is never given to everybody when nobody is named.
const UMASK: u32 = 0o022;

impl Mode {
    fn parse(text: &str) -> Option<Self> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok()?;
            return (mode <= 0o7777).then_some(Self::Is(mode));
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            let rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
            let named = &clause[..clause.len() - rest.len()];
            let all = named.chars().fold(0, |all, one| {
                all | match one {
                    'u' => 0o4700,
                    'g' => 0o2070,
                    'o' => 0o1007,
                    _ => 0o7777,
                }
            });
            let (who, all) = if named.is_empty() { (!UMASK, 0o7777) } else { (all, all) };
            let mut rest = rest.chars().peekable();
            rest.peek()?;
            while let Some(operator) = rest.next() {
                if !matches!(operator, '+' | '-' | '=') {
                    return None;
                }
                let mut what = String::new();
                while let Some(one) = rest.next_if(|one| !matches!(one, '+' | '-' | '=')) {
                    what.push(one);
                }
                changes.push(Change { who, all, operator, what: What::parse(&what)? });
            }
        }
        Some(Self::Changes(changes))
    }

    fn apply(&self, mode: u32, is_folder: bool) -> u32 {
        match self {
            Self::Is(mode) => *mode,
            Self::Changes(changes) => changes.iter().fold(mode, |mode, change| {
                let bits = change.who & change.what.bits(mode, is_folder);
                match change.operator {
                    '+' => mode | bits,
                    '-' => mode & !bits,
                    _ => (mode & !change.all) | bits,
                }
            }),
        }
    }
}

impl What {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "u" => return Some(Self::Like(6)),
            "g" => return Some(Self::Like(3)),
            "o" => return Some(Self::Like(0)),
            _ => {}
        }
        let (mut bits, mut some) = (0, false);
        for one in text.chars() {
            bits |= match one {
                'r' => 0o444,
                'w' => 0o222,
                'x' => 0o111,
                's' => 0o6000,
                't' => 0o1000,
                'X' => {
                    some = true;
                    0
                }
                _ => return None,
            };
        }
        Some(Self::Bits(bits, some))
    }

    fn bits(&self, mode: u32, is_folder: bool) -> u32 {
        match self {
            Self::Bits(bits, true) if is_folder || mode & 0o111 != 0 => bits | 0o111,
            Self::Bits(bits, _) => *bits,
            Self::Like(shift) => (mode >> shift & 0o7) * 0o111,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, mode, is_folder, expected) in [
            ("755", 0o600, false, 0o755),
            ("4755", 0o600, false, 0o4755),
            ("0", 0o777, true, 0),
            ("u+x", 0o644, false, 0o744),
            ("u+x,go-r", 0o644, false, 0o700),
            ("a+rX", 0o600, false, 0o644),
            ("a+rX", 0o700, false, 0o755),
            ("a+rX", 0o600, true, 0o755),
            ("go=u", 0o740, false, 0o777),
            ("go=u-w", 0o740, false, 0o755),
            ("g=", 0o777, false, 0o707),
            ("+w", 0o444, false, 0o644),
            ("a+w", 0o444, false, 0o666),
            ("=rx", 0o666, false, 0o555),
            ("u=s", 0o755, false, 0o4055),
            ("g+s", 0o755, true, 0o2755),
            ("+t", 0o755, true, 0o1755),
            ("u=rwx,g=rx,o=", 0o000, false, 0o750),
        ] {
            let parsed = Mode::parse(text).unwrap();
            assert_eq!(parsed.apply(mode, is_folder), expected, "{text} {mode:o}");
        }
        for bad in ["", "u", "8", "10000", "u+q", "u+x,", "x+u"] {
            assert_eq!(Mode::parse(bad), None, "{bad}");
        }
    }
}
