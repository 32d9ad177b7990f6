//! The documents that hold artifacts together: manifests and indices of the OCI image
//! specification, in one form of bytes for one meaning.

use std::collections::BTreeMap;

use ashlar_object::Digest;
use ashlar_pack::Layer;
use serde::{Deserialize, Serialize};

use crate::depot::{Descriptor, Manifest, Platform};

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The media type that ordinary trusted artifacts give their layers, gzip'd as they are.
pub(super) const ARCHIVE: &str = "application/vnd.oci.image.layer.v1.tar";
/// What ordinary trusted artifacts say that they are.
pub(super) const TRUSTED: &str = "application/vnd.unknown.artifact.v1";

/// The digest of the tree that an image is, `hex/size`.
pub(super) const TREE: &str = "org.ashlar.tree";
/// The number of this format.
const FORMAT: &str = "org.ashlar.format";
/// `none` where names that begin with `.wh.` are names like any other.
const WHITEOUTS: &str = "org.ashlar.whiteouts";
/// In an index: which part of a composite artifact a manifest is.
const PART: &str = "org.ashlar.part";
/// In an index: whether parts lie `together` or `apart` when all of them are wanted.
const LAYOUT: &str = "org.ashlar.layout";
/// After how long Quay removes it: `7d`.
pub(super) const EXPIRES: &str = "quay.expires-after";
const TITLE: &str = "org.opencontainers.image.title";

/// A manifest as far as artifacts go.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageManifest {
    schema_version: u32,
    #[serde(default)]
    pub media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    pub config: Descriptor,
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An index.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Config {
    architecture: String,
    os: String,
    config: BTreeMap<String, String>,
    rootfs: RootFs,
    #[serde(default)]
    history: Vec<BTreeMap<String, String>>,
}

#[derive(Serialize, Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<String>,
}

/// `sha256:` and the hash.
pub(super) fn named(digest: &Digest) -> String {
    format!("sha256:{}", digest.hex())
}

/// The digest of what a descriptor describes.
pub(super) fn digest_of(descriptor: &Descriptor) -> Option<Digest> {
    Digest::from_hex(descriptor.digest.strip_prefix("sha256:")?, descriptor.size).ok()
}

/// A descriptor without anything more.
pub(super) fn descriptor(media_type: &str, digest: &Digest) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: named(digest),
        size: digest.size,
        artifact_type: None,
        data: None,
        annotations: BTreeMap::new(),
        platform: None,
    }
}

/// JSON of a document of ours, which cannot fail.
fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// The configuration of an image and its manifest.
pub(super) fn image(
    tree: &Digest,
    layers: &[Layer],
    whiteouts: bool,
    architecture: &str,
    expires_after: Option<&str>,
) -> (Vec<u8>, Manifest) {
    let hex = |hash: [u8; 32]| named(&Digest { hash, size: 0 });
    let history = |_: &Layer| BTreeMap::from([("created_by".to_owned(), "ashlar".to_owned())]);
    let config = encode(&Config {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        config: BTreeMap::new(),
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: layers.iter().map(|layer| hex(layer.diff_id)).collect(),
        },
        history: layers.iter().map(history).collect(),
    });
    let mut annotations =
        BTreeMap::from([(TREE.to_owned(), tree.to_string()), (FORMAT.to_owned(), "1".to_owned())]);
    if !whiteouts {
        annotations.insert(WHITEOUTS.to_owned(), "none".to_owned());
    }
    if let Some(expires) = expires_after {
        annotations.insert(EXPIRES.to_owned(), expires.to_owned());
    }
    let layer = |layer: &Layer| Descriptor {
        annotations: layer.annotations.clone(),
        ..descriptor(LAYER, &layer.digest)
    };
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: MANIFEST.to_owned(),
        artifact_type: None,
        config: descriptor(CONFIG, &Digest::of(&config)),
        layers: layers.iter().map(layer).collect(),
        annotations,
    };
    let bytes = encode(&manifest);
    (config, Manifest { media_type: MANIFEST.to_owned(), bytes })
}

impl ImageManifest {
    /// Reads a manifest.
    pub fn decode(manifest: &Manifest) -> Option<Self> {
        serde_json::from_slice(&manifest.bytes).ok()
    }

    /// The digest of the tree that it says it is.
    pub fn tree(&self) -> Option<Digest> {
        self.annotations.get(TREE)?.parse().ok()
    }

    /// Whether names that begin with `.wh.` delete.
    pub fn whiteouts(&self) -> bool {
        self.annotations.get(WHITEOUTS).is_none_or(|value| value != "none")
    }

    /// The titles and digests of the archives of an ordinary trusted artifact.
    pub fn archives(&self) -> Vec<(String, Digest)> {
        if self.artifact_type.as_deref() != Some(TRUSTED) {
            return Vec::new();
        }
        let archive = |layer: &Descriptor| {
            let title = layer.annotations.get(TITLE).cloned().unwrap_or_default();
            Some((title, digest_of(layer)?))
        };
        self.layers.iter().filter_map(archive).collect()
    }
}

/// The digests of the layers before compression, as the configuration has them.
pub(super) fn diff_ids(config: &[u8]) -> Option<Vec<[u8; 32]>> {
    let config: Config = serde_json::from_slice(config).ok()?;
    let hash = |text: &String| {
        Digest::from_hex(text.strip_prefix("sha256:")?, 0).ok().map(|digest| digest.hash)
    };
    config.rootfs.diff_ids.iter().map(hash).collect()
}

/// The empty configuration of an ordinary trusted artifact.
pub(super) const EMPTY_CONFIG: &[u8] = b"{}";

/// The manifest that keeps the archives of an ordinary trusted artifact alive.
pub(super) fn trusted(archives: &[(String, Digest)], expires_after: Option<&str>) -> Manifest {
    let layer = |(title, digest): &(String, Digest)| Descriptor {
        annotations: BTreeMap::from([(TITLE.to_owned(), title.clone())]),
        ..descriptor(ARCHIVE, digest)
    };
    let config = Descriptor {
        data: Some("e30=".to_owned()),
        ..descriptor(EMPTY, &Digest::of(EMPTY_CONFIG))
    };
    let expires = expires_after.map(|expires| (EXPIRES.to_owned(), expires.to_owned()));
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: MANIFEST.to_owned(),
        artifact_type: Some(TRUSTED.to_owned()),
        config,
        layers: archives.iter().map(layer).collect(),
        annotations: expires.into_iter().collect(),
    };
    Manifest { media_type: MANIFEST.to_owned(), bytes: encode(&manifest) }
}

/// The index of a composite artifact: for each part its name, its architecture if it has one, and
/// the digest of its manifest.
pub(super) fn index(
    parts: &[(String, Option<String>, Digest)],
    apart: bool,
    expires_after: Option<&str>,
) -> Manifest {
    let manifest = |(part, architecture, digest): &(String, Option<String>, Digest)| {
        let (architecture, os) = match architecture {
            Some(name) => (name.as_str(), "linux"),
            // So that who looks for a platform does not take it.
            None => ("unknown", "unknown"),
        };
        let (architecture, os) = (architecture.to_owned(), os.to_owned());
        let platform = Platform { architecture, os, variant: None };
        Descriptor {
            annotations: BTreeMap::from([(PART.to_owned(), part.clone())]),
            platform: Some(platform),
            ..descriptor(MANIFEST, digest)
        }
    };
    let layout = if apart { "apart" } else { "together" };
    let mut annotations = BTreeMap::from([
        (FORMAT.to_owned(), "1".to_owned()),
        (LAYOUT.to_owned(), layout.to_owned()),
    ]);
    if let Some(expires) = expires_after {
        annotations.insert(EXPIRES.to_owned(), expires.to_owned());
    }
    let index = Index {
        schema_version: 2,
        media_type: INDEX.to_owned(),
        manifests: parts.iter().map(manifest).collect(),
        annotations,
    };
    Manifest { media_type: INDEX.to_owned(), bytes: encode(&index) }
}

/// The index of several artifacts that were left together.
pub(super) fn collection(images: &[(String, Digest)], expires_after: Option<&str>) -> Manifest {
    let mut index = Index {
        schema_version: 2,
        media_type: INDEX.to_owned(),
        manifests: Vec::new(),
        annotations: BTreeMap::new(),
    };
    for (name, digest) in images {
        index.manifests.push(Descriptor {
            annotations: BTreeMap::from([(TITLE.to_owned(), name.clone())]),
            ..descriptor(MANIFEST, digest)
        });
    }
    if let Some(expires) = expires_after {
        index.annotations.insert(EXPIRES.to_owned(), expires.to_owned());
    }
    Manifest { media_type: INDEX.to_owned(), bytes: encode(&index) }
}

impl Index {
    /// Reads an index.
    pub fn decode(manifest: &Manifest) -> Option<Self> {
        serde_json::from_slice(&manifest.bytes).ok()
    }

    /// The parts with their names, if it is that of a composite artifact.
    pub fn parts(&self) -> Option<Vec<(String, Digest)>> {
        self.annotations.get(LAYOUT)?;
        let part = |descriptor: &Descriptor| {
            Some((descriptor.annotations.get(PART)?.clone(), digest_of(descriptor)?))
        };
        self.manifests.iter().map(part).collect()
    }

    /// Whether the parts lie apart.
    pub fn apart(&self) -> bool {
        self.annotations.get(LAYOUT).is_some_and(|layout| layout == "apart")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_of_an_ordinary_trusted_artifact_is_as_they_are() {
        let manifest = trusted(&[("SOURCE".to_owned(), Digest::of(b"x"))], Some("5d"));
        let expected = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.unknown.artifact.v1","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","size":1,"annotations":{"org.opencontainers.image.title":"SOURCE"}}],"annotations":{"quay.expires-after":"5d"}}"#;
        assert_eq!(String::from_utf8(manifest.bytes.clone()).unwrap(), expected);
        let read = ImageManifest::decode(&manifest).unwrap();
        assert_eq!(read.archives(), [("SOURCE".to_owned(), Digest::of(b"x"))]);
    }

    #[test]
    fn an_index_says_its_parts() {
        let parts = [
            ("common".to_owned(), None, Digest::of(b"c")),
            ("arm64".to_owned(), Some("arm64".to_owned()), Digest::of(b"a")),
        ];
        let read = Index::decode(&index(&parts, true, None)).unwrap();
        assert!(read.apart());
        let found = read.parts().unwrap();
        assert_eq!(found[1], ("arm64".to_owned(), Digest::of(b"a")));
        assert_eq!(read.manifests[1].platform.as_ref().unwrap().architecture, "arm64");
    }
}
