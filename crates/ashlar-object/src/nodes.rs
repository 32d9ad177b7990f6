//! What the messages of a tree say of each node: properties, names as text, and reading them back.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;

use prost::Message as _;

use crate::digest::{hex, unhex_all};
use crate::tree::DEEPEST;
use crate::{Digest, Dir, Extra, File, Meta, Name, Node, Symlink, Time, TreeError, wire};

/// Names and link targets that REAPI's text fields cannot hold are written with this prefix and
/// in hexadecimal; so are those that begin with the prefix by chance.
const RAW: &str = "ashlar-raw:";

const WHITEOUT: &str = "ashlar.whiteout";
const OPAQUE: &str = "ashlar.opaque";
const OWNER: &str = "ashlar.owner";
const XATTR: &str = "ashlar.xattr.";
const FIFO: &str = "ashlar.fifo";
const LINK: &str = "ashlar.link";

/// Reads a directory and everything in it; `raw` has the bytes of directories by their digest.
pub(crate) fn decode_dir<'a>(
    bytes: &'a [u8],
    raw: &HashMap<Digest, &'a [u8]>,
    made: &mut HashMap<Digest, Arc<Dir>>,
    depth: usize,
) -> Result<Arc<Dir>, TreeError> {
    if depth > DEEPEST {
        return Err(TreeError::TooDeep);
    }
    let message = wire::Directory::decode(bytes)?;
    let mut entries = BTreeMap::new();
    let mut put = |name: &str, node: Node| -> Result<(), TreeError> {
        let name = Name::new(from_text(name)?)?;
        match entries.insert(name.clone(), node) {
            None => Ok(()),
            Some(_) => Err(TreeError::Twice(name.to_string())),
        }
    };
    for node in &message.files {
        let digest = wire::digest(node.digest.as_ref())
            .ok_or_else(|| TreeError::NoDigest(node.name.clone()))?;
        let (meta, mark) = from_properties(
            node.node_properties.as_ref(),
            if node.is_executable { 0o755 } else { 0o644 },
        )?;
        let node_is = match mark {
            Some(Mark::Whiteout) => Node::Whiteout,
            Some(Mark::Fifo) => Node::Fifo(meta),
            Some(Mark::Link(link)) => Node::File(File { digest, meta, link: Some(link) }),
            Some(Mark::Opaque) | None => Node::File(File { digest, meta, link: None }),
        };
        put(&node.name, node_is)?;
    }
    for node in &message.symlinks {
        let (meta, mark) = from_properties(node.node_properties.as_ref(), 0o777)?;
        no_file(mark)?;
        put(&node.name, Node::Symlink(Symlink { target: from_text(&node.target)?.into(), meta }))?;
    }
    for node in &message.directories {
        let digest = wire::digest(node.digest.as_ref())
            .ok_or_else(|| TreeError::NoDigest(node.name.clone()))?;
        let child = match made.get(&digest) {
            Some(child) => Arc::clone(child),
            None => {
                // The empty directory is the empty blob, which need not be listed.
                let bytes = match raw.get(&digest) {
                    Some(bytes) => bytes,
                    None if digest == Digest::EMPTY => &[][..],
                    None => return Err(TreeError::NoDirectory(node.name.clone(), digest)),
                };
                let child = decode_dir(bytes, raw, made, depth + 1)?;
                made.insert(digest, Arc::clone(&child));
                child
            }
        };
        put(&node.name, Node::Dir(child))?;
    }
    let (meta, mark) = from_properties(message.node_properties.as_ref(), 0o755)?;
    no_file(mark)?;
    Ok(Arc::new(Dir::new(entries, meta, mark == Some(Mark::Opaque))))
}

/// What a property says of an entry besides its mode, owner and so on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Whiteout,
    Fifo,
    Opaque,
    Link(NonZeroU32),
}

impl Mark {
    fn name(self) -> &'static str {
        match self {
            Self::Whiteout => WHITEOUT,
            Self::Fifo => FIFO,
            Self::Opaque => OPAQUE,
            Self::Link(_) => LINK,
        }
    }
}

/// Only files have several names, and only what is listed among them is a FIFO.
fn no_file(mark: Option<Mark>) -> Result<(), TreeError> {
    match mark {
        Some(Mark::Link(link)) => Err(TreeError::Property(LINK.to_owned(), link.to_string())),
        Some(Mark::Fifo) => Err(TreeError::Property(FIFO.to_owned(), "1".to_owned())),
        Some(Mark::Whiteout | Mark::Opaque) | None => Ok(()),
    }
}

/// The properties of an entry; none where it has only what is usual.
pub(crate) fn properties(
    meta: &Meta,
    usual_mode: u32,
    mark: Option<Mark>,
) -> Option<wire::NodeProperties> {
    let mut message = wire::NodeProperties::default();
    let mut add = |name: String, value: String| {
        message.properties.push(wire::NodeProperty { name, value });
    };
    if let Some(mark) = mark {
        let number = if let Mark::Link(number) = mark { number } else { NonZeroU32::MIN };
        add(mark.name().to_owned(), number.to_string());
    }
    if let Some(extra) = &meta.extra {
        if (extra.uid, extra.gid) != (0, 0) {
            add(OWNER.to_owned(), format!("{}:{}", extra.uid, extra.gid));
        }
        for (name, value) in &extra.xattrs {
            add(format!("{XATTR}{name}"), hex(value));
        }
        message.mtime = extra
            .mtime
            .map(|time| wire::Timestamp { seconds: time.seconds, nanos: time.nanos.cast_signed() });
    }
    message.properties.sort_by(|a, b| a.name.cmp(&b.name));
    if meta.mode != usual_mode {
        message.unix_mode = Some(wire::UInt32Value { value: meta.mode });
    }
    (message != wire::NodeProperties::default()).then_some(message)
}

fn from_properties(
    message: Option<&wire::NodeProperties>,
    usual_mode: u32,
) -> Result<(Meta, Option<Mark>), TreeError> {
    let Some(message) = message else {
        return Ok((Meta { mode: usual_mode, extra: None }, None));
    };
    let mut extra = Extra::default();
    let mut mark = None;
    for property in &message.properties {
        let bad = || TreeError::Property(property.name.clone(), property.value.clone());
        if property.name == WHITEOUT {
            mark = Some(Mark::Whiteout);
        } else if property.name == FIFO {
            mark = Some(Mark::Fifo);
        } else if property.name == OPAQUE {
            mark = Some(Mark::Opaque);
        } else if property.name == LINK {
            let number: NonZeroU32 = property.value.parse().map_err(|_| bad())?;
            // One number has one spelling, or a tree would have several digests.
            if number.to_string() != property.value {
                return Err(bad());
            }
            mark = Some(Mark::Link(number));
        } else if property.name == OWNER {
            let (uid, gid) = property.value.split_once(':').ok_or_else(bad)?;
            extra.uid = uid.parse().map_err(|_| bad())?;
            extra.gid = gid.parse().map_err(|_| bad())?;
        } else if let Some(name) = property.name.strip_prefix(XATTR) {
            let value = unhex_all(&property.value).ok_or_else(bad)?;
            extra.xattrs.insert(name.to_owned(), value);
        } else {
            // A property that is not understood could change what the entry is.
            return Err(bad());
        }
    }
    if let Some(time) = &message.mtime {
        let nanos = u32::try_from(time.nanos).ok().filter(|n| *n < 1_000_000_000);
        let nanos =
            nanos.ok_or_else(|| TreeError::Property("mtime".into(), time.nanos.to_string()))?;
        extra.mtime = Some(Time { seconds: time.seconds, nanos });
    }
    let mode = message.unix_mode.as_ref().map_or(usual_mode, |m| m.value);
    if mode > 0o7777 {
        return Err(TreeError::Property("unix_mode".into(), format!("{mode:o}")));
    }
    Ok((Meta::new(mode, extra), mark))
}

/// Bytes in one of REAPI's text fields.
pub(crate) fn to_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with(RAW) => text.to_owned(),
        _ => format!("{RAW}{}", hex(bytes)),
    }
}

fn from_text(text: &str) -> Result<Vec<u8>, TreeError> {
    match text.strip_prefix(RAW) {
        None => Ok(text.as_bytes().to_vec()),
        Some(rest) => unhex_all(rest).ok_or_else(|| TreeError::Raw(text.to_owned())),
    }
}
