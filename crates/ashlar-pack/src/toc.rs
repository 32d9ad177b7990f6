//! The table of contents of one layer, as `zstd:chunked` has it: JSON in a frame of zstd, in a
//! skippable frame behind the archive.
//!
//! Format: `docs/containers-storage-zstd-chunked.md` of containers-storage; entries as CRFS has
//! them. Its readers pass over fields that they do not know, so what it has no field for is in a
//! field of our own.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufReader, Read, Write};
use std::ops::Range;

use ashlar_object::Digest;
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};

use crate::PackError;
use crate::entry::{Item, What};
use row::Row;
pub(crate) use row::rfc3339;

mod row;

/// The annotation with the SHA-256 of the compressed table.
const CHECKSUM: &str = "io.github.containers.zstd-chunked.manifest-checksum";
/// The annotation with its place: offset, length, uncompressed length, type.
const POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";
/// The first names of the two: all that containers-storage before 1.44, as in podman 4.3, looks for.
/// Without them it fetches layers whole.
const FIRST: [&str; 2] = [
    "io.containers.zstd-chunked.manifest-checksum",
    "io.containers.zstd-chunked.manifest-position",
];
/// The annotation with the place of the tar-split: offset, length, uncompressed length.
const SPLIT: &str = "io.github.containers.zstd-chunked.tarsplit-position";

/// How long the footer is.
pub(crate) const FOOTER: usize = 64;

/// The only type of table there is.
const CRFS: u64 = 1;

/// No reader takes a table that is larger uncompressed.
pub(crate) const LARGEST: u64 = 150 << 20;

/// Nor is there a use for more entries; plans have far fewer in a layer.
const MOST: usize = 1 << 20;

/// Windows of decompressors are bounded by this power of two, whatever a frame asks for: 8 MiB,
/// as level 19 has it.
pub(crate) const WINDOW: u32 = 23;

/// Where the table of contents of a layer lies, as the annotations of the layer say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TocPlace {
    /// In the bytes of the layer's blob.
    pub range: Range<u64>,
    /// The digest of the compressed table: the bytes of `range`.
    pub blob: Digest,
}

impl TocPlace {
    /// Checks that these are the bytes meant, and reads them.
    ///
    /// # Errors
    /// When they are others, or as [`Toc::decode`].
    pub fn decode(&self, compressed: &[u8]) -> Result<Toc, PackError> {
        if Digest::of(compressed) != self.blob {
            return Err(PackError::Toc(format!(
                "it is not {}, as the manifest says it is",
                self.blob
            )));
        }
        Toc::decode(compressed)
    }
}

/// The table of contents of one layer: every entry of its tar archive, and where in the blob the
/// content of each file begins and ends.
#[derive(Clone, Debug, Default)]
pub struct Toc {
    pub(crate) items: Vec<Item>,
}

impl Toc {
    /// Where the table lies; none when the layer has none or the annotations make no sense.
    #[must_use]
    pub fn place(annotations: &BTreeMap<String, String>) -> Option<TocPlace> {
        let numbers = annotations.get(POSITION)?.split(':').map(|n| n.parse().ok());
        let numbers: Vec<u64> = numbers.collect::<Option<_>>()?;
        let [offset, length, _, CRFS] = numbers[..] else { return None };
        let checksum = annotations.get(CHECKSUM)?.strip_prefix("sha256:")?;
        let blob = Digest::from_hex(checksum, length).ok()?;
        let range = offset..offset.checked_add(length)?;
        (length <= LARGEST).then_some(TocPlace { range, blob })
    }

    /// How many entries the layer has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether the layer has no entry at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Reads a table as it lies in the blob. That these are the bytes the manifest means is for
    /// the caller to check, by [`TocPlace::blob`] or [`TocPlace::decode`].
    ///
    /// # Errors
    /// When the bytes are no table of contents, or one that contradicts itself.
    pub fn decode(compressed: &[u8]) -> Result<Self, PackError> {
        let bad = |e: io::Error| PackError::Toc(e.to_string());
        // Real tables shrink by some 10; one that grows a thousandfold is an attack on memory.
        let most = (compressed.len() as u64).saturating_mul(1000).saturating_add(1 << 20);
        let mut plain = zstd::Decoder::with_buffer(compressed).map_err(bad)?;
        plain.window_log_max(WINDOW).map_err(bad)?;
        let mut plain = plain.take(most.min(LARGEST));
        let small = zstd::zstd_safe::get_frame_content_size(compressed).ok().flatten();
        let items = if small.is_some_and(|size| size <= 8 << 20) {
            // Much the faster, while the text is small enough to be held.
            let mut text = Vec::new();
            plain.read_to_end(&mut text).map_err(bad)?;
            let mut json = serde_json::Deserializer::from_slice(&text);
            Table.deserialize(&mut json).and_then(|items| json.end().map(|()| items))
        } else {
            let mut json = serde_json::Deserializer::from_reader(BufReader::new(plain));
            Table.deserialize(&mut json).and_then(|items| json.end().map(|()| items))
        };
        let mut items = items.map_err(|e| PackError::Toc(e.to_string()))?;
        apart(&items)?;
        linked(&mut items)?;
        Ok(Self { items })
    }
}

/// Contents that share bytes would be a way to make a reader work far more than the blob's size.
fn apart(items: &[Item]) -> Result<(), PackError> {
    let mut places: Vec<_> = items.iter().filter_map(Item::place).collect();
    places.sort_unstable_by_key(|place| place.start);
    if places.windows(2).any(|pair| pair[1].start < pair[0].end) {
        return Err(PackError::Toc("it has contents that overlap".to_owned()));
    }
    Ok(())
}

/// Gives hard links the digest of the file that they lead to.
fn linked(items: &mut [Item]) -> Result<(), PackError> {
    if !items.iter().any(|item| matches!(item.what, What::Link { .. })) {
        return Ok(());
    }
    let mut digests: HashMap<Box<[u8]>, Digest> = HashMap::new();
    for item in items {
        match &mut item.what {
            What::File { file, .. } if file.link.is_some() => {
                digests.insert(item.path.clone(), file.digest);
            }
            What::Link { file, target } => match digests.get(target) {
                Some(digest) => file.digest = *digest,
                None => {
                    let path = String::from_utf8_lossy(&item.path);
                    let reason = format!("`{path}` is a hard link to what is not before it");
                    return Err(PackError::Toc(reason));
                }
            },
            What::File { .. }
            | What::Dir { .. }
            | What::Symlink(_)
            | What::Fifo(_)
            | What::Whiteout => {}
        }
    }
    Ok(())
}

/// The table of these entries before compression.
pub(crate) fn json(
    items: &[Item],
    split: Option<&Digest>,
    out: &mut dyn Write,
) -> Result<(), PackError> {
    out.write_all(br#"{"version":1,"entries":["#).map_err(PackError::Write)?;
    for (number, item) in items.iter().enumerate() {
        if number > 0 {
            out.write_all(b",").map_err(PackError::Write)?;
        }
        serde_json::to_writer(&mut *out, &Row::of(item)).map_err(|e| PackError::Write(e.into()))?;
    }
    out.write_all(b"]").map_err(PackError::Write)?;
    if let Some(split) = split {
        write!(out, r#","tarSplitDigest":"sha256:{}""#, split.hex()).map_err(PackError::Write)?;
    }
    out.write_all(b"}").map_err(PackError::Write)
}

/// A part behind the archive: where its compressed bytes begin, how many they are, and how many
/// they were.
pub(crate) type Part = (u64, u64, u64);

/// What is said of the parts behind the archive, at the end of the blob and in the manifest.
pub(crate) fn said(
    table: Part,
    checksum: &Digest,
    split: Option<Part>,
) -> ([u8; FOOTER], BTreeMap<String, String>) {
    let (at, length, plain) = table;
    let checksum = format!("sha256:{}", checksum.hex());
    let position = format!("{at}:{length}:{plain}:{CRFS}");
    let mut annotations = BTreeMap::from([
        (FIRST[0].to_owned(), checksum.clone()),
        (FIRST[1].to_owned(), position.clone()),
        (CHECKSUM.to_owned(), checksum),
        (POSITION.to_owned(), position),
    ]);
    let mut numbers = [at, length, plain, CRFS, 0, 0, 0];
    if let Some((at, length, plain)) = split {
        numbers[4..].copy_from_slice(&[at, length, plain]);
        annotations.insert(SPLIT.to_owned(), format!("{at}:{length}:{plain}"));
    }
    let mut footer = [0; FOOTER];
    let (front, magic) = footer.split_at_mut(56);
    front.copy_from_slice(numbers.map(u64::to_le_bytes).as_flattened());
    magic.copy_from_slice(b"GNUlInUx");
    (footer, annotations)
}

/// The parts behind the archive, compressed.
pub(crate) struct Tail {
    /// The table and how long it is uncompressed.
    pub table: (Vec<u8>, u64),
    /// The tar-split, if there is one.
    pub split: Option<(Vec<u8>, u64)>,
}

impl Tail {
    /// Compresses the table of these entries.
    pub fn new(
        items: &[Item],
        split: Option<(Vec<u8>, u64)>,
        level: i32,
    ) -> Result<Self, PackError> {
        let out = zstd::Encoder::new(Vec::new(), level.clamp(1, 19)).map_err(PackError::Write)?;
        let mut out = Counted { out: io::BufWriter::new(out), count: 0 };
        json(items, split.as_ref().map(|(bytes, _)| Digest::of(bytes)).as_ref(), &mut out)?;
        let encoder = out.out.into_inner().map_err(|e| PackError::Write(e.into_error()))?;
        let bytes = encoder.finish().map_err(PackError::Write)?;
        if out.count > LARGEST {
            let reason =
                format!("it would have {} bytes, and none may have more than {LARGEST}", out.count);
            return Err(PackError::Toc(reason));
        }
        Ok(Self { table: (bytes, out.count), split })
    }

    /// Writes the parts and the footer, and says what the annotations are.
    pub fn write(
        &self,
        blob: &mut crate::frame::Blob<'_>,
    ) -> Result<BTreeMap<String, String>, PackError> {
        let mut put = |(bytes, plain): &(Vec<u8>, u64)| -> Result<Part, PackError> {
            Ok((blob.skippable(bytes)?, bytes.len() as u64, *plain))
        };
        let table = put(&self.table)?;
        let split = self.split.as_ref().map(put).transpose()?;
        let (footer, annotations) = said(table, &Digest::of(&self.table.0), split);
        blob.skippable(&footer)?;
        Ok(annotations)
    }
}

struct Counted<W> {
    out: W,
    count: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads the outer object; entries become [`Item`]s one by one, so that the text of all of them
/// is never held as objects.
struct Table;

impl<'de> DeserializeSeed<'de> for Table {
    type Value = Vec<Item>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Table {
    type Value = Vec<Item>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a table of contents")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Vec<Item>, A::Error> {
        let mut items = None;
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            match &*key {
                "version" => {
                    let version: u64 = map.next_value()?;
                    if version != 1 {
                        return Err(A::Error::custom(format!("its version is {version}, not 1")));
                    }
                }
                "entries" if items.is_none() => items = Some(map.next_value_seed(Entries)?),
                "entries" => return Err(A::Error::duplicate_field("entries")),
                _ => {
                    map.next_value::<serde::de::IgnoredAny>()?;
                }
            }
        }
        items.ok_or_else(|| A::Error::missing_field("entries"))
    }
}

struct Entries;

impl<'de> DeserializeSeed<'de> for Entries {
    type Value = Vec<Item>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<Item>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Item>, A::Error> {
        let mut items = Vec::new();
        while let Some(row) = seq.next_element::<Row<'_>>()? {
            items.extend(row.item().map_err(A::Error::custom)?);
            if items.len() > MOST {
                return Err(A::Error::custom(format!("it has more than {MOST} entries")));
            }
        }
        items.shrink_to_fit();
        Ok(items)
    }
}
