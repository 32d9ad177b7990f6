//! Signing manifests, as cosign does: what is signed is a small document that names the manifest,
//! kept as a layer of a manifest that refers to it.

use std::collections::BTreeMap;
use std::path::Path;

use ashlar_object::Digest;
use ashlar_store::{RemoteError, Watch};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use serde::Serialize;

use super::manifest::{
    Document, IMAGE_CONFIG, blob_of, describe, digest_of_text, hash_of_text, image_config,
};
use super::transfer::native;
use super::verify::{
    PublicKey, SIGNATURE, SIGNATURES, SIMPLE_SIGNING, signature_tag, signed_layers, verified,
};
use crate::depot::{Body, Depot, Descriptor, Manifest, Reference};

/// What kind of artifact a manifest with signatures is, for those who list referrers.
const ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

/// A private key to sign with.
pub(crate) struct Signer {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair, SystemRandom),
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.public.id())
    }
}

impl Signer {
    /// Reads a private key in PEM form (PKCS#8, as `openssl genpkey` writes it).
    ///
    /// # Errors
    /// [`RemoteError::Address`] when there is none that can be used; nothing of it is shown.
    pub fn read(place: &str, path: &Path) -> Result<Self, RemoteError> {
        let wrong = |why: &str| RemoteError::Address {
            place: place.to_owned(),
            why: format!("the key to sign with, {}: {why}", path.display()),
        };
        let bytes = std::fs::read(path).map_err(|error| wrong(&error.to_string()))?;
        Self::from_pem(&bytes).map_err(|why| wrong(&why))
    }

    /// A private key in PEM form; the error is a fragment and shows nothing of it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(pem);
        if text.contains("ENCRYPTED") {
            return Err("it is encrypted; give one that is not, in a file that only you can read \
                        (`openssl pkcs8 -in KEY -out PLAIN`)"
                .to_owned());
        }
        let Ok(der) = PrivatePkcs8KeyDer::from_pem_slice(pem) else {
            return Err(if PrivateSec1KeyDer::from_pem_slice(pem).is_ok() {
                "it is a key in the older form; `openssl pkcs8 -topk8 -nocrypt` makes a PKCS#8 \
                 key of it"
            } else {
                "it has no private key in PEM form (PKCS#8); \
                 `openssl genpkey -algorithm ed25519` makes one"
            }
            .to_owned());
        };
        let der = der.secret_pkcs8_der();
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            let public = PublicKey::ed25519(pair.public_key().as_ref());
            return match public {
                Some(public) => Ok(Self { pair: Pair::Ed25519(pair), public }),
                None => Err("its public half makes no sense".to_owned()),
            };
        }
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &random)
            .map_err(|_| "it is neither an Ed25519 nor an ECDSA P-256 key".to_owned())?;
        match PublicKey::p256(pair.public_key().as_ref()) {
            Some(public) => Ok(Self { pair: Pair::P256(pair, random), public }),
            None => Err("its public half makes no sense".to_owned()),
        }
    }

    /// The key that verifies what this one signs.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs; `None` when the system has no randomness to give.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.pair {
            Pair::Ed25519(pair) => Some(pair.sign(message).as_ref().to_vec()),
            Pair::P256(pair, random) => {
                pair.sign(random, message).ok().map(|signature| signature.as_ref().to_vec())
            }
        }
    }
}

/// Whom to believe, and who signs.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    /// A result that none of these has signed is a miss. None: anything is taken.
    pub keys: Vec<PublicKey>,
    /// Signs what is pushed.
    pub signer: Option<Signer>,
}

/// On whose word a manifest stands, to somebody who may be about to sign what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// The own: it is signed already, or nobody signs.
    Own,
    /// That of somebody whose results are taken from there anyway: it may be signed as it is.
    Accepted,
    /// Nobody's that counts.
    Nobodys,
}

impl Trust {
    /// On whose word a manifest stands.
    ///
    /// # Errors
    /// When the far side cannot be used.
    pub(super) fn word(&self, depot: &dyn Depot, manifest: &Digest) -> Result<Word, RemoteError> {
        let Some(signer) = &self.signer else { return Ok(Word::Own) };
        let own = signer.public();
        let keys: Vec<PublicKey> = [own].into_iter().chain(&self.keys).cloned().collect();
        Ok(match verified(depot, manifest, &keys)? {
            Ok(key) if key == own => Word::Own,
            Ok(_) => Word::Accepted,
            Err(_) => Word::Nobodys,
        })
    }
}

#[derive(Serialize)]
struct Payload<'a> {
    critical: Critical<'a>,
    optional: Option<BTreeMap<String, String>>,
}

#[derive(Serialize)]
struct Critical<'a> {
    identity: Identity<'a>,
    image: Image,
    r#type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Identity<'a> {
    docker_reference: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

/// The document that is signed: `subject` is that manifest, `repository` where it lies.
pub(super) fn payload(subject: &Digest, repository: &str) -> Vec<u8> {
    super::manifest::json(&Payload {
        critical: Critical {
            identity: Identity { docker_reference: repository },
            image: Image { docker_manifest_digest: digest_of_text(&subject.hash) },
            r#type: super::verify::TYPE,
        },
        optional: None,
    })
}

/// Signs a manifest that is there, unless it is signed with this key already. The signature is
/// found as a referrer and under the tag that cosign looks at.
///
/// # Errors
/// When the far side cannot be used.
pub(crate) fn sign_manifest(
    depot: &dyn Depot,
    subject: &Descriptor,
    signer: &Signer,
    watch: &Watch<'_>,
) -> Result<(), RemoteError> {
    let wrong = |why: &str| RemoteError::Wrong {
        place: depot.place().to_owned(),
        what: format!("a signature of {}", subject.digest),
        why: why.to_owned(),
    };
    let digest = blob_of(subject).ok_or_else(|| wrong("it is of no SHA-256 digest"))?;
    let tag = signature_tag(&digest);
    let before = match depot.manifest(&Reference::Tag(tag.clone())) {
        Ok(manifest) => manifest.and_then(|manifest| Document::decode(&manifest).ok()),
        // What cannot be read is of no use to anybody: it is replaced.
        Err(RemoteError::Wrong { .. }) => None,
        Err(error) => return Err(error),
    };
    let mut layers = before.map(|document| document.layers).unwrap_or_default();
    layers.retain(|layer| {
        layer.media_type == SIMPLE_SIGNING && hash_of_text(&layer.digest).is_some()
    });
    let signed = signed_layers(depot, &digest, &layers)?;
    if signed.iter().any(|one| signer.public().verifies(&one.payload, &one.signature)) {
        return Ok(());
    }
    let repository = depot.place().strip_prefix("oci://").unwrap_or_default();
    let payload = payload(&digest, repository);
    let signature =
        signer.sign(&payload).ok_or_else(|| wrong("the system has no randomness to give"))?;
    let mut layer = describe(SIMPLE_SIGNING, &Digest::of(&payload));
    layer.data = Some(STANDARD.encode(&payload));
    layer.annotations.insert(SIGNATURE.to_owned(), STANDARD.encode(signature));
    layers.push(layer);
    // The oldest go first.
    layers.drain(..layers.len().saturating_sub(SIGNATURES));
    put(depot, &payload, watch)?;
    let ids = layers.iter().filter_map(|layer| hash_of_text(&layer.digest));
    let config = image_config(native(), ids);
    let mut document = Document::new(describe(IMAGE_CONFIG, &Digest::of(&config)), layers);
    document.artifact_type = Some(ARTIFACT.to_owned());
    refer(depot, document, &config, subject, &[tag], watch)
}

/// Puts a small blob unless it is there.
pub(super) fn put(depot: &dyn Depot, bytes: &[u8], watch: &Watch<'_>) -> Result<(), RemoteError> {
    let digest = Digest::of(bytes);
    if !depot.has_blob(&digest)? {
        depot.put_blob(&digest, &Body::Bytes(bytes.into()), watch)?;
    }
    Ok(())
}

/// Puts a manifest that says something about another one, after its config.
pub(super) fn refer(
    depot: &dyn Depot,
    mut document: Document,
    config: &[u8],
    subject: &Descriptor,
    tags: &[String],
    watch: &Watch<'_>,
) -> Result<(), RemoteError> {
    put(depot, config, watch)?;
    document.subject = Some(Descriptor {
        annotations: BTreeMap::new(),
        data: None,
        platform: None,
        artifact_type: None,
        ..subject.clone()
    });
    let manifest: Manifest = document.encode();
    depot.put_manifest(&manifest, tags)
}
