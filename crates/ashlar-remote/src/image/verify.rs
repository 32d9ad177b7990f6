//! Verifying signatures of manifests, as cosign's.

use std::path::Path;

use ashlar_object::Digest;
use ashlar_store::RemoteError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use super::manifest::{Document, blob_of, digest_of_text, hash_of_text, inlined};
use crate::depot::{Depot, Descriptor, Manifest, Reference};

/// The media type of what is signed.
pub(super) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation with the signature, in base64.
pub(super) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// What the signed document says it is.
pub(super) const TYPE: &str = "cosign container image signature";
/// No signed document is larger.
const MOST: u64 = 64 << 10;
/// How many referrers are looked at.
const REFERRERS: usize = 64;
/// How many signatures in one manifest are looked at: as many as one keeps.
pub(super) const SIGNATURES: usize = 64;

/// `SubjectPublicKeyInfo` of an Ed25519 key, up to the key itself (RFC 8410).
const ED25519_SPKI: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// `SubjectPublicKeyInfo` of a key on P-256, up to the uncompressed point (RFC 5480).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A public key that signatures are verified with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublicKey {
    kind: Kind,
    key: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ed25519,
    P256,
}

impl PublicKey {
    /// An Ed25519 key: 32 bytes.
    pub(super) fn ed25519(key: &[u8]) -> Option<Self> {
        (key.len() == 32).then(|| Self { kind: Kind::Ed25519, key: key.to_vec() })
    }

    /// A point on P-256, uncompressed: 65 bytes.
    pub(super) fn p256(key: &[u8]) -> Option<Self> {
        (key.len() == 65 && key[0] == 4).then(|| Self { kind: Kind::P256, key: key.to_vec() })
    }

    /// Reads a public key in PEM form, as `openssl pkey -pubout` and cosign write it.
    ///
    /// # Errors
    /// [`RemoteError::Address`] when there is none that can be used.
    pub fn read(place: &str, path: &Path) -> Result<Self, RemoteError> {
        let wrong = |why: &str| RemoteError::Address {
            place: place.to_owned(),
            why: format!("the public key {}: {why}", path.display()),
        };
        let bytes = std::fs::read(path).map_err(|error| wrong(&error.to_string()))?;
        Self::from_pem(&bytes).map_err(|why| wrong(&why))
    }

    /// A public key in PEM form; the error is a fragment.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| {
            "it has no public key in PEM form (`-----BEGIN PUBLIC KEY-----`); \
             `openssl pkey -in KEY -pubout` makes one of a private key"
                .to_owned()
        })?;
        let read = if let Some(key) = der.strip_prefix(&ED25519_SPKI) {
            Self::ed25519(key)
        } else if let Some(key) = der.strip_prefix(&P256_SPKI) {
            Self::p256(key)
        } else {
            None
        };
        read.ok_or_else(|| "it is neither an Ed25519 nor an ECDSA P-256 key".to_owned())
    }

    /// What it is known by: the SHA-256 of its `SubjectPublicKeyInfo`.
    pub fn id(&self) -> String {
        let prefix: &[u8] = match self.kind {
            Kind::Ed25519 => &ED25519_SPKI,
            Kind::P256 => &P256_SPKI,
        };
        Digest::of(&[prefix, &self.key].concat()).hex()
    }

    /// Whether a signature of a message is one of this key.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self.kind {
            Kind::Ed25519 => UnparsedPublicKey::new(&ED25519, &self.key).verify(message, signature),
            Kind::P256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.key)
                .verify(message, signature),
        };
        verified.is_ok()
    }
}

/// A signature that was found; nothing says that it is a good one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    /// What is signed: a document that names the manifest.
    pub payload: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// The tag that cosign looks at.
pub(super) fn signature_tag(subject: &Digest) -> String {
    format!("sha256-{}.sig", subject.hex())
}

/// All signatures of a manifest whose documents name it, whoever made them.
///
/// # Errors
/// When the far side cannot be used.
pub(crate) fn signatures(
    depot: &dyn Depot,
    subject: &Digest,
) -> Result<Vec<Signature>, RemoteError> {
    let mut found = tagged(depot, subject)?;
    for one in referring(depot, subject)? {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    Ok(found)
}

/// Which of the keys has signed a manifest; else why none counts, as a fragment.
///
/// # Errors
/// When the far side cannot be used.
pub(crate) fn verified<'k>(
    depot: &dyn Depot,
    subject: &Digest,
    keys: &'k [PublicKey],
) -> Result<Result<&'k PublicKey, String>, RemoteError> {
    let by = |found: &[Signature]| {
        keys.iter().find(|key| found.iter().any(|one| key.verifies(&one.payload, &one.signature)))
    };
    let first = tagged(depot, subject)?;
    if let Some(key) = by(&first) {
        return Ok(Ok(key));
    }
    let others = referring(depot, subject)?;
    if let Some(key) = by(&others) {
        return Ok(Ok(key));
    }
    Ok(Err(if first.is_empty() && others.is_empty() {
        "it is not signed".to_owned()
    } else {
        "it is signed, but with none of the keys that are required".to_owned()
    }))
}

fn tagged(depot: &dyn Depot, subject: &Digest) -> Result<Vec<Signature>, RemoteError> {
    let manifest = readable(depot.manifest(&Reference::Tag(signature_tag(subject))))?;
    of_manifest(depot, subject, manifest)
}

fn referring(depot: &dyn Depot, subject: &Digest) -> Result<Vec<Signature>, RemoteError> {
    let listed = match depot.referrers(subject) {
        Ok(listed) => listed,
        Err(RemoteError::Wrong { .. } | RemoteError::Unsupported { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    let ours =
        |one: &&Descriptor| one.artifact_type.as_deref().is_none_or(|kind| kind.contains("cosign"));
    for descriptor in listed.iter().filter(ours).take(REFERRERS) {
        if let Some(hash) = hash_of_text(&descriptor.digest) {
            let manifest = readable(depot.manifest(&Reference::Hash(hash)))?;
            found.extend(of_manifest(depot, subject, manifest)?);
        }
    }
    Ok(found)
}

/// What makes no sense is as good as not there: it proves nothing.
pub(super) fn readable<T>(read: Result<Option<T>, RemoteError>) -> Result<Option<T>, RemoteError> {
    match read {
        Err(RemoteError::Wrong { .. }) => Ok(None),
        other => other,
    }
}

fn of_manifest(
    depot: &dyn Depot,
    subject: &Digest,
    manifest: Option<Manifest>,
) -> Result<Vec<Signature>, RemoteError> {
    let Some(document) = manifest.and_then(|manifest| Document::decode(&manifest).ok()) else {
        return Ok(Vec::new());
    };
    signed_layers(depot, subject, &document.layers)
}

/// The signatures among layers whose documents name this manifest.
pub(super) fn signed_layers(
    depot: &dyn Depot,
    subject: &Digest,
    layers: &[Descriptor],
) -> Result<Vec<Signature>, RemoteError> {
    let mut found = Vec::new();
    let signing = layers.iter().filter(|layer| layer.media_type == SIMPLE_SIGNING);
    for layer in signing.take(SIGNATURES) {
        let signature = layer.annotations.get(SIGNATURE);
        let Some(signature) = signature.and_then(|text| STANDARD.decode(text.trim()).ok()) else {
            continue;
        };
        let payload = match inlined(layer) {
            Some(payload) => Some(payload),
            None => readable(small(depot, layer))?,
        };
        if let Some(payload) = payload.filter(|payload| names(payload, subject)) {
            found.push(Signature { payload, signature });
        }
    }
    Ok(found)
}

/// Reads a small blob.
fn small(depot: &dyn Depot, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, RemoteError> {
    match blob_of(descriptor).filter(|digest| digest.size <= MOST) {
        Some(digest) => blob(depot, &digest),
        None => Ok(None),
    }
}

/// Reads a whole blob into memory.
pub(super) fn blob(depot: &dyn Depot, digest: &Digest) -> Result<Option<Vec<u8>>, RemoteError> {
    let transfer = super::Transfer {
        depot,
        cache: None,
        folder: None,
        limits: &ashlar_pack::Limits::default(),
        architecture: "",
        watch: ashlar_store::Watch::NOBODY,
    };
    super::transfer::fetch(&transfer, digest, 0..digest.size, digest)
}

/// Whether a signed document is about this manifest.
fn names(payload: &[u8], subject: &Digest) -> bool {
    let Ok(document) = serde_json::from_slice::<Value>(payload) else { return false };
    let critical = &document["critical"];
    critical["type"] == TYPE
        && critical["image"]["docker-manifest-digest"] == digest_of_text(&subject.hash)
}
