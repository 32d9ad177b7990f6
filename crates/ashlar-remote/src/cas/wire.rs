//! Between our nouns and the messages of the protocol, whose generated types end here and in the
//! the files beside this one.

use ashlar_object::Digest;
use ashlar_store::Moved;
use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use bazel_remote_apis::build::bazel::semver::SemVer;

use super::{Arrival, Bounds};

/// How many bytes of blobs go in a batch at most. It is well below what every gRPC server takes,
/// 4 MiB, because several batches are in memory several times: as read, as message, as sent.
const ROOM: u64 = 2 << 20;

/// How many blobs go in a batch at most: with what stands around them they fit beside [`ROOM`].
const BATCH: usize = 500;

/// How many digests go in one question: about 1.2 MB.
pub(super) const DIGESTS: usize = 16_384;

/// From which size on compressing can save anything.
const WORTH_IT: usize = 512;

/// The digest as a message.
pub(super) fn digest(digest: &Digest) -> api::Digest {
    api::Digest { hash: digest.hex(), size_bytes: i64::try_from(digest.size).unwrap_or(i64::MAX) }
}

/// The digest in a message.
pub(super) fn read_digest(message: &api::Digest) -> Option<Digest> {
    Digest::from_hex(&message.hash, u64::try_from(message.size_bytes).ok()?).ok()
}

/// What a server said of itself, as far as it concerns us.
#[derive(Clone, Debug)]
pub(super) struct Capabilities {
    pub bounds: Bounds,
    /// Streams may be compressed.
    pub zstd: bool,
    /// So may blobs that are sent in batches.
    pub zstd_batches: bool,
    /// Results may be left.
    pub update: bool,
    /// The largest blob that it takes.
    pub largest: Option<u64>,
    /// Whether it has SHA-256 at all.
    pub sha256: bool,
    /// For people.
    pub facts: Vec<(String, String)>,
}

impl Capabilities {
    /// Of a server that cannot be asked, as those of old: the least that everybody has.
    pub fn unknown() -> Self {
        Self {
            bounds: Bounds { bytes: ROOM, blobs: BATCH },
            zstd: false,
            zstd_batches: false,
            update: true,
            largest: None,
            sha256: true,
            facts: vec![("capabilities".to_owned(), "not said".to_owned())],
        }
    }

    /// What the message says.
    pub fn read(message: api::ServerCapabilities) -> Self {
        let version = |version: Option<SemVer>| {
            version.map_or("?".to_owned(), |v| format!("{}.{}", v.major, v.minor))
        };
        let versions = format!(
            "{} to {}",
            version(message.low_api_version),
            version(message.high_api_version)
        );
        let execution = message.execution_capabilities.is_some_and(|e| e.exec_enabled);
        let cache = message.cache_capabilities.unwrap_or_default();
        let zstd = api::compressor::Value::Zstd as i32;
        let sha256 = api::digest_function::Value::Sha256 as i32;
        let batch = u64::try_from(cache.max_batch_total_size_bytes).ok().filter(|n| *n > 0);
        let largest = u64::try_from(cache.max_cas_blob_size_bytes).ok().filter(|n| *n > 0);
        let update = cache.action_cache_update_capabilities.is_some_and(|c| c.update_enabled);
        let compressors = if cache.supported_compressors.contains(&zstd) { "zstd" } else { "none" };
        let mut facts = vec![
            ("api".to_owned(), versions),
            ("compression".to_owned(), compressors.to_owned()),
            ("batch".to_owned(), batch.map_or("not said".to_owned(), |n| n.to_string())),
            ("results".to_owned(), if update { "taken" } else { "not taken" }.to_owned()),
            ("execution".to_owned(), if execution { "yes" } else { "no" }.to_owned()),
        ];
        if let Some(largest) = largest {
            facts.push(("largest blob".to_owned(), largest.to_string()));
        }
        Self {
            bounds: Bounds { bytes: batch.unwrap_or(ROOM).min(ROOM), blobs: BATCH },
            zstd: cache.supported_compressors.contains(&zstd),
            zstd_batches: cache.supported_batch_update_compressors.contains(&zstd),
            update,
            largest,
            // Who names none has the one that everybody has.
            sha256: cache.digest_functions.is_empty() || cache.digest_functions.contains(&sha256),
            facts,
        }
    }
}

/// One blob of a batch, compressed where that makes it smaller.
pub(super) fn upload(
    blob: &Digest,
    bytes: &[u8],
    compress: bool,
) -> api::batch_update_blobs_request::Request {
    use api::compressor::Value::{Identity, Zstd};
    let squeezed = (compress && bytes.len() >= WORTH_IT)
        .then(|| zstd::bulk::compress(bytes, 1).ok())
        .flatten()
        .filter(|squeezed| squeezed.len() < bytes.len());
    let (data, compressor) = match squeezed {
        Some(squeezed) => (squeezed, Zstd),
        None => (bytes.to_vec(), Identity),
    };
    api::batch_update_blobs_request::Request {
        digest: Some(digest(blob)),
        data,
        compressor: compressor.into(),
    }
}

/// One answer of a batch.
pub(super) fn arrival(response: api::batch_read_blobs_response::Response) -> Option<Arrival> {
    use api::compressor::Value::{Identity, Zstd};
    let digest = read_digest(&response.digest?)?;
    let moved = response.data.len() as u64;
    let status = response.status.unwrap_or_default();
    let bytes = match tonic::Code::from(status.code) {
        tonic::Code::Ok => match response.compressor {
            c if c == Identity as i32 => Ok(Some(response.data)),
            c if c == Zstd as i32 => {
                // Never more than there may be, whatever the bytes say of themselves.
                let size = usize::try_from(digest.size).unwrap_or(usize::MAX);
                zstd::bulk::decompress(&response.data, size.min(64 << 20))
                    .map(Some)
                    .map_err(|e| format!("the blob {digest:?} cannot be uncompressed: {e}"))
            }
            other => Err(format!("the blob {digest:?} has the unknown compression {other}")),
        },
        tonic::Code::NotFound => Ok(None),
        _ => Err(format!("the blob {digest:?} is not given: {}", status.message)),
    };
    Some(Arrival { digest, bytes, moved })
}

/// Bytes that went over the network.
pub(super) fn bytes(bytes: u64) -> Moved {
    Moved { bytes, ..Moved::default() }
}
