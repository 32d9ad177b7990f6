//! Manifests: of images of trees, of results, and what they have in common. The same fields always
//! give the same bytes.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use ashlar_object::{ActionResult, Digest, StepKey};
use ashlar_pack::{Layer, Toc};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::depot::collect::dated::Says;
use crate::depot::{Descriptor, Manifest};

/// The media type of a manifest.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of the configuration of an image.
pub(crate) const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The media type of a layer that is a tar archive in zstd.
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// What kind of artifact a result is, and the media type of its config.
pub(crate) const RESULT: &str = "application/vnd.ashlar.result.v1+json";
/// The media type of a log.
pub(crate) const LOG: &str = "application/vnd.ashlar.log.v1+zstd";
/// The annotation of a tree image with the digest of its tree.
pub(crate) const TREE: &str = "org.ashlar.tree";
/// The annotation of a tree image with the version of its format.
pub(crate) const FORMAT: &str = "org.ashlar.format";
/// The annotation of a tree image that says whether `.wh.` names delete.
pub(crate) const WHITEOUTS: &str = "org.ashlar.whiteouts";
/// The version of the format.
const VERSION: &str = "1";
/// Logs up to this size, compressed, travel in the manifest of the result.
const INLINE: usize = 2 << 10;
/// No image of a tree has more layers: it is packed anew long before.
const LAYERS: usize = 512;

/// An image manifest, with everything that is said in it and matters here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    schema_version: u32,
    #[serde(default = "manifest_type")]
    media_type: String,
    /// What kind of artifact it is, when it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// The manifest that it says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

fn manifest_type() -> String {
    MANIFEST.to_owned()
}

impl Document {
    /// A manifest of these; the rest is for the caller to fill in.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: manifest_type(),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Manifest {
        Manifest { media_type: self.media_type.clone(), bytes: json(self) }
    }

    /// Reads one; the error says what it is instead, as "it is …".
    pub fn decode(manifest: &Manifest) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(&manifest.bytes)
            .map_err(|error| format!("it is no image manifest: {error}"))?;
        if read.schema_version != 2 {
            return Err(format!("it has the schema version {}, not 2", read.schema_version));
        }
        Ok(read)
    }
}

/// JSON of something that has strings, numbers, lists and maps with string keys only.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    // There is nothing in such a value that JSON could not hold.
    serde_json::to_vec(value).unwrap_or_default()
}

/// A descriptor of a blob or a manifest.
pub(crate) fn describe(media_type: &str, digest: &Digest) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: format!("sha256:{}", digest.hex()),
        size: digest.size,
        artifact_type: None,
        data: None,
        annotations: BTreeMap::new(),
        platform: None,
    }
}

/// The digest that a descriptor names; none when it is no SHA-256.
pub(crate) fn blob_of(descriptor: &Descriptor) -> Option<Digest> {
    Some(Digest { hash: hash_of_text(&descriptor.digest)?, size: descriptor.size })
}

/// The hash in `sha256:<hex>`.
pub(crate) fn hash_of_text(text: &str) -> Option<[u8; 32]> {
    Some(Digest::from_hex(text.strip_prefix("sha256:")?, 0).ok()?.hash)
}

/// `sha256:<hex>` of a hash.
pub(crate) fn digest_of_text(hash: &[u8; 32]) -> String {
    format!("sha256:{}", Digest { hash: *hash, size: 0 }.hex())
}

/// The bytes that travel in a descriptor, when they are what it says.
pub(super) fn inlined(descriptor: &Descriptor) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(descriptor.data.as_ref()?).ok()?;
    (Some(Digest::of(&bytes)) == blob_of(descriptor)).then_some(bytes)
}

/// What a manifest says of itself to those who collect.
pub(crate) fn says(manifest: &Manifest) -> Says {
    if let Ok(image) = ResultImage::decode(manifest) {
        let started = image.result.started;
        // Before 1970 is as good as never.
        let seconds = u64::try_from(started.seconds).unwrap_or_default();
        let since = Duration::new(seconds, started.nanos).saturating_add(image.result.took);
        // Farther away than clocks can tell is no time at all.
        return SystemTime::UNIX_EPOCH.checked_add(since).map_or(Says::Other, Says::Made);
    }
    match TreeImage::decode(manifest.clone()) {
        Ok(_) => Says::Tree,
        Err(_) => Says::Other,
    }
}

/// The tag of the image of a tree.
pub(super) fn tree_tag(tree: &Digest) -> String {
    format!("tree-{}", tree.hex())
}

/// The tag of the newest image of a lineage.
pub(super) fn near_tag(lineage: &str) -> String {
    let mut hex = Digest::of(lineage.as_bytes()).hex();
    hex.truncate(32);
    format!("near-{hex}")
}

/// The tag of a result by its action.
pub(super) fn action_tag(action: &Digest) -> String {
    format!("action-{}", action.hex())
}

/// The tag of a result by a step key.
pub(super) fn step_tag(key: &StepKey) -> String {
    format!("step-{key}")
}

/// The image of a tree.
#[derive(Clone, Debug)]
pub(crate) struct TreeImage {
    /// The digest of the tree that the layers make.
    pub tree: Digest,
    /// Whether `.wh.` names delete.
    pub whiteouts: bool,
    /// Everything in the manifest.
    pub document: Document,
    /// The manifest.
    pub manifest: Manifest,
}

/// The configuration of an image, as far as it is read.
#[derive(Debug, Serialize, Deserialize)]
struct ImageConfig {
    architecture: String,
    os: String,
    #[serde(default)]
    config: BTreeMap<String, serde_json::Value>,
    rootfs: RootFs,
    #[serde(default)]
    history: Vec<BTreeMap<String, String>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RootFs {
    r#type: String,
    diff_ids: Vec<String>,
}

impl TreeImage {
    /// The image of a tree with these layers, and its configuration, which is a blob to be put.
    /// `architecture` as Go names it.
    pub fn new(
        tree: &Digest,
        layers: &[Layer],
        whiteouts: bool,
        architecture: &str,
    ) -> (Self, Vec<u8>) {
        let config = image_config(architecture, layers.iter().map(|layer| layer.diff_id));
        let described = layers.iter().map(|layer| Descriptor {
            annotations: layer.annotations.clone(),
            ..describe(LAYER, &layer.digest)
        });
        let mut document =
            Document::new(describe(IMAGE_CONFIG, &Digest::of(&config)), described.collect());
        document.annotations.insert(TREE.to_owned(), tree.to_string());
        document.annotations.insert(FORMAT.to_owned(), VERSION.to_owned());
        if !whiteouts {
            document.annotations.insert(WHITEOUTS.to_owned(), "none".to_owned());
        }
        let manifest = document.encode();
        (Self { tree: *tree, whiteouts, document, manifest }, config)
    }

    /// Reads one; the error says what is wrong with it, as "it is …".
    pub fn decode(manifest: Manifest) -> Result<Self, String> {
        let document = Document::decode(&manifest)?;
        match document.annotations.get(FORMAT).map(String::as_str) {
            None => return Err(format!("it is no image of a tree: it has no {FORMAT}")),
            Some(VERSION) => {}
            Some(other) => {
                return Err(format!("it has the format {other}; this version reads {VERSION}"));
            }
        }
        let tree = (document.annotations.get(TREE).and_then(|text| text.parse().ok()))
            .ok_or_else(|| format!("it has no {TREE} that is a digest"))?;
        let whiteouts = document.annotations.get(WHITEOUTS).is_none_or(|said| said != "none");
        if document.layers.len() > LAYERS {
            let count = document.layers.len();
            return Err(format!("it has {count} layers; none has more than {LAYERS}"));
        }
        for layer in &document.layers {
            if layer.media_type != LAYER || blob_of(layer).is_none() {
                return Err("it has a layer that is no tar archive in zstd".to_owned());
            }
            let Some(place) = Toc::place(&layer.annotations) else {
                return Err("it has a layer without a table of contents".to_owned());
            };
            if place.range.end > layer.size {
                return Err("it has a layer that ends before its table of contents".to_owned());
            }
        }
        Ok(Self { tree, whiteouts, document, manifest })
    }

    /// The digest of its manifest.
    pub fn digest(&self) -> Digest {
        self.manifest.digest()
    }

    /// What a manifest or index that names it has to say.
    pub fn descriptor(&self) -> Descriptor {
        describe(&self.manifest.media_type, &self.digest())
    }

    /// Its layers; the places of their tables of contents are known to make sense. `diff_ids`:
    /// from [`diff_ids`], or zeros where nobody asks for them.
    pub(super) fn layers(&self, diff_ids: Option<&[[u8; 32]]>) -> Vec<Layer> {
        (self.document.layers.iter().enumerate())
            .filter_map(|(number, layer)| {
                Some(Layer {
                    digest: blob_of(layer)?,
                    diff_id: diff_ids.and_then(|all| all.get(number)).copied().unwrap_or_default(),
                    annotations: layer.annotations.clone(),
                })
            })
            .collect()
    }
}

/// The configuration of an image with layers that have these diff ids.
pub(super) fn image_config(
    architecture: &str,
    diff_ids: impl Iterator<Item = [u8; 32]>,
) -> Vec<u8> {
    let diff_ids: Vec<_> = diff_ids.map(|id| digest_of_text(&id)).collect();
    let line = BTreeMap::from([("created_by".to_owned(), "ashlar".to_owned())]);
    json(&ImageConfig {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        config: BTreeMap::new(),
        history: vec![line; diff_ids.len()],
        rootfs: RootFs { r#type: "layers".to_owned(), diff_ids },
    })
}

/// The diff ids in the configuration of an image.
pub(super) fn diff_ids(config: &[u8]) -> Option<Vec<[u8; 32]>> {
    let config: serde_json::Value = serde_json::from_slice(config).ok()?;
    config["rootfs"]["diff_ids"].as_array()?.iter().map(|id| hash_of_text(id.as_str()?)).collect()
}

/// What a result's config says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ResultConfig {
    /// The digest of the action.
    action: String,
    /// The digest of the manifest of the tree image, `sha256:<hex>`.
    image: String,
    /// Its size.
    image_size: u64,
    /// The `ActionResult` message in base64.
    result: String,
    /// The step keys that lead to it.
    steps: Vec<String>,
}

/// A result as a manifest says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResultImage {
    /// The action.
    pub action: Digest,
    /// The result.
    pub result: ActionResult,
    /// The step keys that lead to it, in order, each once.
    pub steps: Vec<StepKey>,
    /// The manifest of the tree image.
    pub image: Digest,
    /// The compressed log, with the bytes themselves when they are few.
    pub log: Descriptor,
}

/// The descriptor of a compressed log; small ones travel in it.
pub(super) fn describe_log(digest: &Digest, small: Option<&[u8]>) -> Descriptor {
    let mut descriptor = describe(LOG, digest);
    descriptor.data = small.filter(|b| b.len() <= INLINE).map(|bytes| STANDARD.encode(bytes));
    descriptor
}

impl ResultImage {
    /// Its manifest, and its configuration, which is a blob to be put.
    pub fn encode(&self) -> (Manifest, Vec<u8>) {
        let config = json(&ResultConfig {
            action: self.action.to_string(),
            image: digest_of_text(&self.image.hash),
            image_size: self.image.size,
            result: STANDARD.encode(self.result.encode()),
            steps: self.steps.iter().map(ToString::to_string).collect(),
        });
        let mut described = describe(RESULT, &Digest::of(&config));
        described.data = Some(STANDARD.encode(&config));
        let mut document = Document::new(described, vec![self.log.clone()]);
        document.artifact_type = Some(RESULT.to_owned());
        (document.encode(), config)
    }

    /// Reads one; the error says what is wrong with it, as "it is …".
    pub fn decode(manifest: &Manifest) -> Result<Self, String> {
        let document = Document::decode(manifest)?;
        if document.artifact_type.as_deref() != Some(RESULT) {
            return Err("it is not a result".to_owned());
        }
        let config = inlined(&document.config).ok_or("its config does not travel in it")?;
        let config: ResultConfig = serde_json::from_slice(&config)
            .map_err(|error| format!("its config cannot be read: {error}"))?;
        let [log] = &document.layers[..] else {
            return Err("it has not one layer, the log".to_owned());
        };
        let read = || {
            Some(Self {
                action: config.action.parse().ok()?,
                result: ActionResult::decode(&STANDARD.decode(&config.result).ok()?)?,
                steps: config.steps.iter().map(|key| key.parse().ok()).collect::<Option<_>>()?,
                image: Digest { hash: hash_of_text(&config.image)?, size: config.image_size },
                log: blob_of(log).map(|_| log.clone())?,
            })
        };
        read().ok_or_else(|| "its config says something that is no result".to_owned())
    }
}
