//! A folder in the OCI image layout, as programs exchange images by. Other than the depot in a
//! directory, its `index.json` is what counts, and anybody may have written it.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ashlar_object::Digest;
use ashlar_store::{FolderBeside, ImageError, Moved, RemoteError, Watch, file_beside};
use rustix::fs::{FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use serde_json::Value;

use super::compose::Composed;
use super::source::{blob_path, read};
use crate::depot::Descriptor;
use crate::depot::objects::tag::{self, Index, NAME};
use crate::image::describe;

/// Its index.
const INDEX: &str = "index.json";
/// What makes it one, and what is in there.
const LAYOUT: (&str, &str) = ("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
/// An index larger than this is not read.
const INDEX_LIMIT: u64 = 64 << 20;
/// What files that are being written are called. Who died leaves them; the next one to write
/// removes them.
const HALF: &str = ".ashlar-";
/// What a new layout is called before it has its place.
const HALF_LAYOUT: &str = ".ashlar-layout.";
/// What an archive is called before it has its place.
const HALF_ARCHIVE: &str = ".ashlar-archive.";
/// For how long another writer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The index of a layout and its bytes; none when the folder is no layout.
pub(super) fn index(folder: &Path) -> Result<Option<(Vec<u8>, Index)>, ImageError> {
    let path = folder.join(INDEX);
    let Some(bytes) = read(&path, INDEX_LIMIT)? else { return Ok(None) };
    let index = Index::decode(&bytes).map_err(|error| ImageError::Malformed {
        what: path.display().to_string(),
        why: error.to_string(),
    })?;
    Ok(Some((bytes, index)))
}

/// The name of a line of an index.
pub(super) fn name(line: &Descriptor) -> Option<&str> {
    line.annotations.get(NAME).map(String::as_str)
}

/// Leaves images in a layout. A new one is made beside its place and renamed; in one that is there
/// blobs come first, and the index is replaced last.
pub(super) fn write(
    folder: &Path,
    tag: Option<&str>,
    composed: &Composed,
    watch: &Watch<'_>,
) -> Result<(), ImageError> {
    if occupied(folder)? {
        let _lock = lock(folder, watch)?;
        return fill(folder, tag, composed, watch);
    }
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(failed("make", parent))?;
    let made = FolderBeside::new(parent, HALF_LAYOUT, 0o777)
        .map_err(failed("make a folder in", parent))?;
    fill(made.path(), tag, composed, watch)?;
    match rename(made.path(), folder) {
        Ok(()) => {
            made.placed();
            Ok(())
        }
        // Somebody else made it meanwhile.
        Err(Errno::EXIST | Errno::NOTEMPTY) if occupied(folder)? => {
            let _lock = lock(folder, watch)?;
            fill(folder, tag, composed, watch)
        }
        Err(error) => Err(failed("make", folder)(error.into())),
    }
}

/// Renames a folder to a place where there is none, or an empty one.
fn rename(from: &Path, to: &Path) -> Result<(), Errno> {
    let cwd = rustix::fs::CWD;
    match renameat_with(cwd, from, cwd, to, RenameFlags::NOREPLACE) {
        // A folder is only ever renamed over an empty one. Some file systems do not know the flag.
        Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS) => rustix::fs::rename(from, to),
        other => other,
    }
}

/// Whether a layout is there. What is there and is none is left alone.
fn occupied(folder: &Path) -> Result<bool, ImageError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed("read", folder)(error)),
    };
    if folder.join(LAYOUT.0).is_file() || folder.join(INDEX).is_file() {
        return Ok(true);
    }
    if entries.count() > 0 {
        return Err(ImageError::Unsupported {
            reference: folder.display().to_string(),
            why: "the folder is there, is not empty and is no OCI layout; name another one"
                .to_owned(),
        });
    }
    Ok(false)
}

/// Keeps other writers away, until it is dropped.
fn lock(folder: &Path, watch: &Watch<'_>) -> Result<File, ImageError> {
    let file = File::open(folder).map_err(failed("open", folder))?;
    let begun = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            // Some file systems have no locks: then people keep writers apart.
            Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::BADF) => return Ok(file),
            Err(Errno::WOULDBLOCK) if begun.elapsed() < PATIENCE => {
                if !(watch.go_on)() {
                    return Err(RemoteError::Stopped.into());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(failed("lock", folder)(error.into())),
        }
    }
}

/// Everything into a folder that is this writer's.
fn fill(
    folder: &Path,
    tag: Option<&str>,
    composed: &Composed,
    watch: &Watch<'_>,
) -> Result<(), ImageError> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(failed("make", &blobs))?;
    sweep(&blobs)?;
    sweep(folder)?;
    for blob in &composed.blobs {
        let path = blob_path(folder, &blob.digest.hash);
        if is_there(&path, blob.digest.size) {
            let already = Moved { already: blob.digest.size, ..Moved::default() };
            (watch.moved)(already);
            continue;
        }
        let mut reader = blob.open(watch)?;
        let mut half = Half::begin(&blobs)?;
        let mut piece = vec![0; 256 << 10];
        loop {
            match io::Read::read(&mut reader, &mut piece) {
                Ok(0) => break,
                Ok(count) => half.write(&piece[..count])?,
                Err(error) => return Err(ImageError::of_reading(error, &blob.what)),
            }
        }
        half.finish(&path)?;
    }
    for manifest in composed.images.iter().chain([&composed.top]) {
        let digest = manifest.digest();
        let path = blob_path(folder, &digest.hash);
        if !is_there(&path, digest.size) {
            put(&blobs, &path, &manifest.bytes)?;
        }
    }
    let marker = folder.join(LAYOUT.0);
    if !marker.is_file() {
        put(folder, &marker, LAYOUT.1.as_bytes())?;
    }
    let path = folder.join(INDEX);
    let old = read(&path, INDEX_LIMIT)?;
    let new = listed(&path, old.as_deref(), tag, &composed.top.digest(), composed)?;
    if old.as_ref() != Some(&new) { put(folder, &path, &new) } else { Ok(()) }
}

/// The index with a line for this image in place of the one that has its name. Whatever else is in
/// it stays as it is.
fn listed(
    path: &Path,
    old: Option<&[u8]>,
    wanted: Option<&str>,
    digest: &Digest,
    composed: &Composed,
) -> Result<Vec<u8>, ImageError> {
    let malformed = |why: String| ImageError::Malformed { what: path.display().to_string(), why };
    let mut line = describe(&composed.top.media_type, digest);
    if let Some(tag) = wanted {
        line.annotations = BTreeMap::from([(NAME.to_owned(), tag.to_owned())]);
    }
    let line = serde_json::to_value(line).map_err(|error| malformed(error.to_string()))?;
    let Some(old) = old else {
        let index = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": tag::INDEX,
            "manifests": [line],
        });
        return serde_json::to_vec(&index).map_err(|error| malformed(error.to_string()));
    };
    let mut index: Value =
        serde_json::from_slice(old).map_err(|error| malformed(error.to_string()))?;
    let lines = index.get_mut("manifests").and_then(Value::as_array_mut);
    let lines = lines.ok_or_else(|| malformed("it has no list of manifests".to_owned()))?;
    let name = |line: &Value| line["annotations"][NAME].as_str().map(str::to_owned);
    let unchanged = lines.iter().filter(|it| name(it).as_deref() == wanted).eq([&line]);
    if unchanged {
        return Ok(old.to_vec());
    }
    lines.retain(|it| name(it).as_deref() != wanted);
    lines.push(line);
    serde_json::to_vec(&index).map_err(|error| malformed(error.to_string()))
}

/// A blob of another size is damaged, and written again.
fn is_there(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == size)
}

/// Removes what dead writers left. Nobody else writes now.
fn sweep(folder: &Path) -> Result<(), ImageError> {
    for entry in fs::read_dir(folder).map_err(failed("read", folder))? {
        let entry = entry.map_err(failed("read", folder))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // An archive in here is made by somebody else, under a lock of its own.
        let half = name.starts_with(HALF) && !name.starts_with(HALF_ARCHIVE);
        if half && entry.path().is_file() {
            fs::remove_file(entry.path()).map_err(failed("remove", &entry.path()))?;
        }
    }
    Ok(())
}

fn put(folder: &Path, path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    let mut half = Half::begin(folder)?;
    half.write(bytes)?;
    half.finish(path)
}

/// A file that is not whole yet.
pub(super) struct Half {
    file: tempfile::NamedTempFile,
}

impl Half {
    /// In the folder that it will be in, with the mode that the caller's mask gives to new files.
    pub fn begin(folder: &Path) -> Result<Self, ImageError> {
        let file = tempfile::Builder::new()
            .prefix(HALF)
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(failed("write to", folder))?;
        Ok(Self { file })
    }

    /// In a folder of people, where others may be writing at the same time.
    pub fn beside(folder: &Path) -> Result<Self, ImageError> {
        let file = file_beside(folder, HALF_ARCHIVE, 0o666).map_err(failed("write to", folder))?;
        Ok(Self { file })
    }

    /// Some more of it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.file.write_all(bytes).map_err(failed("write", self.file.path()))
    }

    /// It is whole: it gets its name.
    pub fn finish(self, path: &Path) -> Result<(), ImageError> {
        self.file.persist(path).map(drop).map_err(|error| failed("write", path)(error.error))
    }
}

/// The error for a file that cannot be used; `doing` is a verb that fits "cannot …".
pub(super) fn failed(
    doing: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> ImageError + use<> {
    let path: PathBuf = path.to_path_buf();
    move |source| ImageError::File { doing, path, source }
}
