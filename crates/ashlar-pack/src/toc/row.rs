//! One entry of a table of contents as JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroU32;

use ashlar_object::{Digest, Extra, File, MOMENT, Meta, RelPath, Symlink, Time};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Serialize};

use crate::entry::{DEEPEST, Item, What};
use crate::tar;

/// The fields have the names and the order that containers-storage gives them.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    link_name: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "is_default")]
    mode: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    size: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    uid: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    gid: u32,
    /// For others. What a tree says about time is in `ashlar`, because "no time of its own" is
    /// not the same as the moment that such entries are written with.
    #[serde(
        rename = "modtime",
        default,
        skip_deserializing,
        skip_serializing_if = "Option::is_none"
    )]
    time: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "is_default")]
    dev_major: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    dev_minor: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    digest: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "is_default")]
    offset: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    end_offset: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    ashlar: Own,
}

/// What the format has no field for.
#[derive(Serialize, Deserialize, Default, PartialEq, Eq)]
struct Own {
    /// A name that is not UTF-8, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// A target that is not UTF-8, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    /// The time of an entry that has one of its own: seconds and nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<(i64, u32)>,
    /// The number of a file that has several names in the tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<NonZeroU32>,
    /// 1 for an opaque directory whose attribute was added to say so; 2 where it was there.
    #[serde(default, skip_serializing_if = "is_default")]
    opaque: u8,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

const FIXED: &str = "2000-01-01T00:00:00Z";

impl<'a> Row<'a> {
    pub fn of(item: &'a Item) -> Self {
        let what = &item.what;
        let mut own = Own::default();
        let name = tar::name(b"", &item.path, what);
        let name = match String::from_utf8(name) {
            Ok(name) => name,
            Err(raw) => {
                own.name = Some(BASE64_STANDARD.encode(&item.path));
                String::from_utf8_lossy(raw.as_bytes()).into_owned()
            }
        };
        if std::str::from_utf8(what.target()).is_err() {
            own.link = Some(BASE64_STANDARD.encode(what.target()));
        }
        let meta = what.meta();
        let mut time = Some(Cow::Borrowed(FIXED));
        if let Some(own_time) = meta.extra.as_ref().and_then(|extra| extra.mtime) {
            own.time = Some((own_time.seconds, own_time.nanos));
            time = rfc3339(own_time).map(Cow::Owned);
        }
        if let What::Dir { opaque: true, meta } = what {
            let there = meta.extra.iter().any(|e| e.xattrs.contains_key(tar::OPAQUE.0));
            own.opaque = if there { 2 } else { 1 };
        }
        if let What::File { file, .. } | What::Link { file, .. } = what {
            own.group = file.link;
        }
        let (uid, gid) = meta.owner();
        let xattrs = tar::xattrs(what);
        let xattrs = xattrs.into_iter().map(|(k, v)| (k.to_owned(), BASE64_STANDARD.encode(v)));
        let mut row = Self {
            kind: Cow::Borrowed(match what {
                What::Dir { .. } => "dir",
                What::File { .. } => "reg",
                What::Link { .. } => "hardlink",
                What::Symlink(_) => "symlink",
                What::Fifo(_) => "fifo",
                What::Whiteout => "char",
            }),
            name: Cow::Owned(name),
            link_name: String::from_utf8_lossy(what.target()),
            mode: meta.mode,
            size: item.size(),
            uid,
            gid,
            time,
            dev_major: 0,
            dev_minor: 0,
            xattrs: xattrs.collect(),
            digest: Cow::Borrowed(""),
            offset: 0,
            end_offset: 0,
            ashlar: own,
        };
        if let What::File { file, place } = what {
            row.digest = Cow::Owned(format!("sha256:{}", file.digest.hex()));
            (row.offset, row.end_offset) = (place.start, place.end);
        }
        row
    }

    /// The entry; none for a part of a file, which its first row covers whole.
    pub fn item(self) -> Result<Option<Item>, String> {
        let path = match &self.ashlar.name {
            Some(raw) => Cow::Owned(decoded(raw)?),
            None => Cow::Borrowed(self.name.as_bytes()),
        };
        let path = RelPath::parse(&path).map_err(|e| e.to_string())?;
        if path.names().len() > DEEPEST {
            return Err(format!("it has paths of more than {DEEPEST} names"));
        }
        let bad = |what: &str| format!("`{path}` has {what}");
        if self.mode > 0o7777 {
            return Err(bad("an impossible mode"));
        }
        let mut xattrs = BTreeMap::new();
        for (name, value) in &self.xattrs {
            xattrs.insert(name.clone(), decoded(value)?);
        }
        if self.ashlar.opaque == 1 {
            xattrs.remove(tar::OPAQUE.0);
        }
        let mtime = self.ashlar.time.map(|(seconds, nanos)| Time { seconds, nanos });
        if mtime.is_some_and(|time| time.nanos >= 1_000_000_000) {
            return Err(bad("an impossible time"));
        }
        let meta = Meta::new(self.mode, Extra { uid: self.uid, gid: self.gid, mtime, xattrs });
        let link = self.ashlar.group;
        let target = |name: &str| match &self.ashlar.link {
            Some(raw) => decoded(raw),
            None => Ok(name.as_bytes().to_vec()),
        };
        let what = match &*self.kind {
            "dir" => What::Dir { meta, opaque: self.ashlar.opaque > 0 },
            _ if path.is_root() => return Err("its root is not a directory".to_owned()),
            "reg" if self.size == 0 => {
                What::File { file: File { digest: Digest::EMPTY, meta, link }, place: 0..0 }
            }
            "reg" => {
                let hex = self.digest.strip_prefix("sha256:").unwrap_or_default();
                let digest =
                    Digest::from_hex(hex, self.size).map_err(|_| bad("no usable digest"))?;
                if self.offset >= self.end_offset {
                    return Err(bad("an impossible place"));
                }
                let place = self.offset..self.end_offset;
                What::File { file: File { digest, meta, link }, place }
            }
            "hardlink" if link.is_none() => return Err(bad("no number of its own as a hard link")),
            // The digest is that of the file it leads to, which only the whole table knows.
            "hardlink" => What::Link {
                file: File { digest: Digest::EMPTY, meta, link },
                target: target(&self.link_name)?.into(),
            },
            "symlink" => What::Symlink(Symlink { target: target(&self.link_name)?.into(), meta }),
            "fifo" => What::Fifo(meta),
            "char" if self.dev_major == 0 && self.dev_minor == 0 => What::Whiteout,
            "chunk" => return Ok(None),
            other => return Err(bad(&format!("the type `{other}`, which no tree can hold"))),
        };
        Ok(Some(Item { path: path.to_bytes().into(), what }))
    }
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    BASE64_STANDARD.decode(text).map_err(|_| "it has something that is not base64".to_owned())
}

/// A time as Go's JSON reads it; none for years that it refuses.
pub(crate) fn rfc3339(time: Time) -> Option<String> {
    let Time { seconds, nanos } = time;
    if seconds == MOMENT && nanos == 0 {
        return Some(FIXED.to_owned());
    }
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years from 0000 to 9999, of which the first begins 719,528 days before 1970.
    if !(-719_528..2_932_897).contains(&days) {
        return None;
    }
    // Days and months as if the year began in March, so that a leap day is its last: see
    // H. Hinnant, "chrono-compatible low-level date algorithms".
    let since = days + 719_468;
    let (era, day_of_era) = (since.div_euclid(146_097), since.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = if nanos == 0 { String::new() } else { format!(".{nanos:09}") };
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let text = |seconds, nanos| rfc3339(Time { seconds, nanos });
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(text(0, 0), some("1970-01-01T00:00:00Z"));
        assert_eq!(text(951_782_400, 5), some("2000-02-29T00:00:00.000000005Z"));
        assert_eq!(text(1_709_251_199, 0), some("2024-02-29T23:59:59Z"));
        assert_eq!(text(-1, 0), some("1969-12-31T23:59:59Z"));
        assert_eq!(text(-62_167_219_200, 0), some("0000-01-01T00:00:00Z"));
        assert_eq!(text(-62_167_219_201, 0), None);
        assert_eq!(text(253_402_300_799, 0), some("9999-12-31T23:59:59Z"));
        assert_eq!(text(253_402_300_800, 0), None);
        assert_eq!(text(i64::MIN, 0), None);
        assert_eq!(text(MOMENT, 0), some(FIXED));
    }
}
