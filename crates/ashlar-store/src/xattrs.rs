//! Extended attributes: which of them belong to a tree, and in which form.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::facts::Owners;

const CAPABILITY: &str = "security.capability";
/// The form in which a tree holds opaque directories, readable without privileges.
pub(crate) const OPAQUE: &str = "user.overlay.opaque";

/// The attributes of a file or directory as they stand, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Xattrs(BTreeMap<String, Vec<u8>>);

/// All attributes of an open file or folder by their names, as far as they may be read.
///
/// # Errors
/// When they cannot be listed.
pub fn attributes(fd: impl AsFd) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    Ok(Xattrs::of(fd)?.0)
}

impl Xattrs {
    /// Reads all attributes of an open file.
    pub fn of(fd: impl AsFd) -> rustix::io::Result<Self> {
        let names = grown(|buffer| rustix::fs::flistxattr(&fd, buffer))?;
        Self::read(&names, |name, buffer| rustix::fs::fgetxattr(&fd, name, buffer))
    }

    /// Reads all attributes of what is at a path, not following a link.
    pub fn at(path: &Path) -> rustix::io::Result<Self> {
        let names = grown(|buffer| rustix::fs::llistxattr(path, buffer))?;
        Self::read(&names, |name, buffer| rustix::fs::lgetxattr(path, name, buffer))
    }

    fn read(
        names: &[u8],
        get: impl Fn(&str, &mut [u8]) -> rustix::io::Result<usize>,
    ) -> rustix::io::Result<Self> {
        let mut all = BTreeMap::new();
        for name in names.split(|b| *b == 0).filter(|n| !n.is_empty()) {
            // The kernel's own prefixes are text; a `user.` name that is not cannot be kept.
            let Ok(name) = std::str::from_utf8(name) else { continue };
            match grown(|buffer| get(name, buffer)) {
                Ok(value) => {
                    all.insert(name.to_owned(), value);
                }
                Err(Errno::NODATA | Errno::PERM | Errno::ACCESS) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Self(all))
    }

    /// Whether an overlay marked the directory as hiding what lies below.
    pub fn is_opaque(&self) -> bool {
        [OPAQUE, "trusted.overlay.opaque"].iter().any(|n| self.0.get(*n).is_some_and(|v| v == b"y"))
    }

    /// An attribute of an overlay without which the entry is not what it seems.
    pub fn redirects(&self) -> bool {
        self.0.keys().any(|name| {
            matches!(overlay(name), Some("redirect" | "metacopy")) // content is in another place
        })
    }

    /// Those that belong to a tree, in the form in which trees hold them.
    pub fn kept(&self, owners: &Owners) -> BTreeMap<String, Vec<u8>> {
        let kept = self.0.iter().filter(|(name, _)| {
            (name.starts_with("user.") && overlay(name).is_none()) || *name == CAPABILITY
        });
        kept.map(|(name, value)| {
            let value =
                if name == CAPABILITY { without_root(value, owners) } else { value.clone() };
            (name.clone(), value)
        })
        .collect()
    }

    /// Takes away from an open file what is not in `keep`, but for what only the kernel can.
    pub fn strip(&self, fd: impl AsFd, keep: &BTreeMap<String, Vec<u8>>) -> rustix::io::Result<()> {
        for name in self.0.keys().filter(|name| !keep.contains_key(*name)) {
            match rustix::fs::fremovexattr(&fd, name.as_str()) {
                Ok(()) | Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

fn overlay(name: &str) -> Option<&str> {
    name.strip_prefix("user.overlay.").or_else(|| name.strip_prefix("trusted.overlay."))
}

/// Sets the attributes that a tree holds on an open file. `security.capability` is left out when
/// this process may not set it.
pub(crate) fn set(
    fd: impl AsFd,
    xattrs: &BTreeMap<String, Vec<u8>>,
    owners: &Owners,
) -> rustix::io::Result<()> {
    for (name, value) in xattrs {
        let done = if name == CAPABILITY {
            if !owners.can_give() {
                continue;
            }
            let value = with_root(value, owners);
            rustix::fs::fsetxattr(&fd, name.as_str(), &value, XattrFlags::empty())
        } else {
            rustix::fs::fsetxattr(&fd, name.as_str(), value, XattrFlags::empty())
        };
        done?;
    }
    Ok(())
}

/// Marks a directory as opaque; by path, because it may not be readable.
pub(crate) fn set_opaque(dir: impl AsFd) -> rustix::io::Result<()> {
    rustix::fs::fsetxattr(dir, OPAQUE, b"y", XattrFlags::empty())
}

// `struct vfs_ns_cap_data` of linux/capability.h: a little-endian word with the revision and
// flags, four words of capabilities and, in revision 3, the user id that counts as root.
const REVISION: u32 = 0xff00_0000;
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;

/// Capabilities as a tree holds them: valid for whoever is root there.
fn without_root(value: &[u8], owners: &Owners) -> Vec<u8> {
    if let Some((head, rest)) = value.split_first_chunk::<4>()
        && let head = u32::from_le_bytes(*head)
        && head & REVISION == REVISION_3
        && let Some((caps, root)) = rest.split_first_chunk::<16>()
        && root == owners.base().to_le_bytes()
    {
        let head = (head & !REVISION) | REVISION_2;
        return [&head.to_le_bytes()[..], caps].concat();
    }
    value.to_vec()
}

/// Capabilities as a file needs them to be valid for root inside.
fn with_root(value: &[u8], owners: &Owners) -> Vec<u8> {
    if owners.base() != 0
        && let Some((head, caps)) = value.split_first_chunk::<4>()
        && let head = u32::from_le_bytes(*head)
        && head & REVISION == REVISION_2
        && caps.len() == 16
    {
        let head = (head & !REVISION) | REVISION_3;
        return [&head.to_le_bytes()[..], caps, &owners.base().to_le_bytes()].concat();
    }
    value.to_vec()
}

/// Calls with a buffer, and with greater ones as long as it is too small.
fn grown(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; 256];
    match call(&mut small) {
        Ok(length) => return Ok(small[..length].to_vec()),
        // A file system without attributes has none.
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {}
        Err(e) => return Err(e),
    }
    let mut size = 4096;
    loop {
        let mut buffer = vec![0; size];
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            // 64 KiB is the kernel's bound for lists and values alike.
            Err(Errno::RANGE) if size < 1 << 17 => size *= 2,
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_lose_and_get_their_root() {
        let owners = Owners::new(524_288);
        let plain = [&0x0200_0001_u32.to_le_bytes()[..], &[7; 16]].concat();
        let rooted = with_root(&plain, &owners);
        assert_eq!(rooted.len(), 24);
        assert_eq!(without_root(&rooted, &owners), plain);
        assert_eq!(with_root(&plain, &Owners::new(0)), plain);
        // Of another namespace: kept as it is, because it does not hold for our root.
        assert_eq!(without_root(&rooted, &Owners::new(0)), rooted);
    }
}
