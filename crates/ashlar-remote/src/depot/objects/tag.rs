//! The objects that tags are: OCI indexes with one descriptor, or with all referrers of a manifest.

use std::collections::BTreeMap;

use ashlar_object::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::depot::{Descriptor, Manifest, Reference};

/// The media type of an index.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of a manifest.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of manifests from before there were digests of configurations. They have no field
/// that says so.
pub(crate) const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// The annotation by which tools find a tag in an index.
pub(crate) const NAME: &str = "org.opencontainers.image.ref.name";
/// Manifests up to this size travel in the descriptor of the tag, so that one request answers.
const INLINE: usize = 16 << 10;

/// An index as it is written and read.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    schema_version: u32,
    #[serde(default = "index_type")]
    media_type: String,
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
}

fn index_type() -> String {
    INDEX.to_owned()
}

impl Index {
    /// An index of these.
    pub fn of(manifests: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: index_type(), manifests }
    }

    /// Reads one.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        // Strings, numbers and maps with string keys: there is nothing that JSON could not hold.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The object that points a tag to a manifest.
pub(crate) fn pointer(tag: &str, manifest: &Manifest) -> Vec<u8> {
    let mut descriptor = describe(manifest);
    descriptor.annotations = BTreeMap::from([(NAME.to_owned(), tag.to_owned())]);
    descriptor.data = (manifest.bytes.len() <= INLINE).then(|| STANDARD.encode(&manifest.bytes));
    Index::of(vec![descriptor]).encode()
}

/// What a tag's object points to.
pub(crate) fn pointed(bytes: &[u8]) -> Result<Descriptor, String> {
    let mut index = Index::decode(bytes).map_err(|error| format!("it is no index: {error}"))?;
    match (index.manifests.pop(), index.manifests.is_empty()) {
        (Some(descriptor), true) => Ok(descriptor),
        _ => Err("it has not exactly one descriptor".to_owned()),
    }
}

/// The manifest that travels in a descriptor, if one does and it is what the descriptor says.
pub(crate) fn inlined(descriptor: &Descriptor) -> Option<Manifest> {
    let bytes = STANDARD.decode(descriptor.data.as_ref()?).ok()?;
    let manifest = Manifest { media_type: descriptor.media_type.clone(), bytes };
    let digest = manifest.digest();
    (hash_of(&descriptor.digest) == Some(digest.hash)).then_some(manifest)
}

/// The line of a tag in the index of a directory.
pub(crate) fn listed(tag: &str, mut descriptor: Descriptor) -> Descriptor {
    descriptor.data = None;
    descriptor.annotations = BTreeMap::from([(NAME.to_owned(), tag.to_owned())]);
    descriptor
}

/// The tag of a line in the index of a directory.
pub(crate) fn listed_tag(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations.get(NAME).map(String::as_str)
}

/// The descriptor of a manifest, with what a referrers list has to say of it.
pub(crate) fn describe(manifest: &Manifest) -> Descriptor {
    let parsed: Value = serde_json::from_slice(&manifest.bytes).unwrap_or(Value::Null);
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let artifact_type =
        text(&parsed["artifactType"]).or_else(|| text(&parsed["config"]["mediaType"]));
    let annotations = parsed["annotations"]
        .as_object()
        .map(|map| map.iter().filter_map(|(k, v)| Some((k.clone(), text(v)?))).collect())
        .unwrap_or_default();
    Descriptor {
        media_type: manifest.media_type.clone(),
        digest: format!("sha256:{}", manifest.digest().hex()),
        size: manifest.bytes.len() as u64,
        artifact_type,
        data: None,
        annotations,
        platform: None,
    }
}

/// What manifest a manifest refers to as its subject.
pub(crate) fn subject(manifest: &Manifest) -> Option<Digest> {
    let parsed: Value = serde_json::from_slice(&manifest.bytes).ok()?;
    let hash = hash_of(parsed["subject"]["digest"].as_str()?)?;
    Some(Digest { hash, size: parsed["subject"]["size"].as_u64()? })
}

/// The tag under which the referrers of a manifest are found.
pub(crate) fn referrers_tag(hash: &[u8; 32]) -> String {
    format!("sha256-{}", Digest { hash: *hash, size: 0 }.hex())
}

/// Whether a tag is one of a list of referrers, and whose.
pub(crate) fn referrers_of(tag: &str) -> Option<[u8; 32]> {
    Some(Digest::from_hex(tag.strip_prefix("sha256-")?, 0).ok()?.hash)
}

/// The hash in `sha256:<hex>`.
pub(crate) fn hash_of(digest: &str) -> Option<[u8; 32]> {
    Some(Digest::from_hex(digest.strip_prefix("sha256:")?, 0).ok()?.hash)
}

/// Whether a tag can be one, by the grammar of the distribution specification: it cannot leave the
/// folder that it is a file in.
pub(crate) fn is_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    tag.len() <= 128
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// The media type of a manifest of which only the bytes are known.
pub(crate) fn media_type(bytes: &[u8]) -> Result<String, String> {
    let parsed: Value =
        serde_json::from_slice(bytes).map_err(|error| format!("it is no JSON: {error}"))?;
    match parsed["mediaType"].as_str() {
        Some(media_type) => Ok(media_type.to_owned()),
        None if parsed["manifests"].is_array() => Ok(INDEX.to_owned()),
        None if parsed["layers"].is_array() => Ok(MANIFEST.to_owned()),
        None if parsed["schemaVersion"] == 1 => Ok(SCHEMA_1.to_owned()),
        None => Err("it is neither a manifest nor an index".to_owned()),
    }
}

/// By tag or by digest, for messages.
pub(crate) fn shown(reference: &Reference) -> String {
    match reference {
        Reference::Tag(tag) => format!("the tag {tag}"),
        Reference::Hash(hash) => {
            format!("the manifest sha256:{}", Digest { hash: *hash, size: 0 }.hex())
        }
    }
}
