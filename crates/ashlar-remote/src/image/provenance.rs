//! How results came to be: in-toto statements in DSSE envelopes, as cosign's attestations.

use ashlar_object::Digest;
use ashlar_store::{RemoteError, Watch};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifest::{Document, IMAGE_CONFIG, describe, hash_of_text, image_config, json};
use super::sign::{Signer, put, refer};
use super::transfer::native;
use super::verify::{PublicKey, SIGNATURE};
use crate::depot::{Depot, Descriptor, Manifest, Reference};

/// The media type of an envelope.
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// The media type of a statement: what the signature of an envelope is over, with it.
const STATEMENT: &str = "application/vnd.in-toto+json";
/// The type of a statement.
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of its predicate.
const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: Vec<Subject<'a>>,
    predicate_type: &'static str,
    predicate: Value,
}

#[derive(Serialize)]
struct Subject<'a> {
    name: &'a str,
    digest: std::collections::BTreeMap<&'static str, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: String,
    #[serde(default)]
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Serialize, Deserialize)]
struct EnvelopeSignature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

/// A statement about manifests, named with what they are; `None` when the predicate is no JSON.
pub(super) fn statement(subjects: &[(&str, Digest)], predicate: &[u8]) -> Option<Vec<u8>> {
    let predicate: Value = serde_json::from_slice(predicate).ok()?;
    let subject = subjects
        .iter()
        .map(|(name, digest)| Subject { name, digest: [("sha256", digest.hex())].into() })
        .collect();
    Some(json(&Statement {
        kind: STATEMENT_TYPE,
        subject,
        predicate_type: PREDICATE_TYPE,
        predicate,
    }))
}

/// What is signed of an envelope: the pre-authentication encoding of the DSSE protocol.
pub(super) fn pre_authentication(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// An envelope around a statement; without a key it has no signature.
pub(super) fn envelope(statement: &[u8], signer: Option<&Signer>) -> Vec<u8> {
    let signature = signer.and_then(|signer| {
        let sig = STANDARD.encode(signer.sign(&pre_authentication(STATEMENT, statement))?);
        Some(EnvelopeSignature { keyid: signer.public().id(), sig })
    });
    json(&Envelope {
        payload_type: STATEMENT.to_owned(),
        payload: STANDARD.encode(statement),
        signatures: signature.into_iter().collect(),
    })
}

/// The statement in an envelope; with keys, only if one of them has signed it.
pub(super) fn opened(envelope: &[u8], keys: &[PublicKey]) -> Option<Vec<u8>> {
    let envelope: Envelope = serde_json::from_slice(envelope).ok()?;
    if envelope.payload_type != STATEMENT {
        return None;
    }
    let statement = STANDARD.decode(&envelope.payload).ok()?;
    let signed = pre_authentication(&envelope.payload_type, &statement);
    let good = |one: &EnvelopeSignature| {
        let Ok(signature) = STANDARD.decode(&one.sig) else { return false };
        keys.iter().any(|key| key.verifies(&signed, &signature))
    };
    (keys.is_empty() || envelope.signatures.iter().any(good)).then_some(statement)
}

/// The tag that cosign looks at.
fn tag(subject: &Digest) -> String {
    format!("sha256-{}.att", subject.hex())
}

/// Leaves the provenance of a result that is there: about its tree image and about itself.
///
/// # Errors
/// When the far side cannot be used, or the predicate is no JSON.
pub(super) fn attach(
    depot: &dyn Depot,
    result: &Descriptor,
    (image, manifest): (&Digest, &Digest),
    predicate: &[u8],
    signer: Option<&Signer>,
    watch: &Watch<'_>,
) -> Result<(), RemoteError> {
    let subjects = [("tree image", *image), ("result", *manifest)];
    let Some(statement) = statement(&subjects, predicate) else {
        return Err(RemoteError::Wrong {
            place: depot.place().to_owned(),
            what: "the provenance of a result".to_owned(),
            why: "it is no JSON".to_owned(),
        });
    };
    let envelope = envelope(&statement, signer);
    put(depot, &envelope, watch)?;
    let digest = Digest::of(&envelope);
    let mut layer = describe(ENVELOPE, &digest);
    // cosign wants the annotation, and finds the signatures in the envelope.
    layer.annotations.insert(SIGNATURE.to_owned(), String::new());
    layer.annotations.insert("predicateType".to_owned(), PREDICATE_TYPE.to_owned());
    let config = image_config(native(), std::iter::once(digest.hash));
    let mut document = Document::new(describe(IMAGE_CONFIG, &Digest::of(&config)), vec![layer]);
    document.artifact_type = Some(STATEMENT.to_owned());
    document.annotations.insert("in-toto.io/predicate-type".to_owned(), PREDICATE_TYPE.to_owned());
    refer(depot, document, &config, result, &[tag(manifest), tag(image)], watch)
}

/// The statement that was left with a result.
///
/// # Errors
/// When the far side cannot be used.
pub(super) fn read(
    depot: &dyn Depot,
    result: &Digest,
    keys: &[PublicKey],
) -> Result<Option<Vec<u8>>, RemoteError> {
    if let Some(manifest) = depot.manifest(&Reference::Tag(tag(result)))?
        && let Some(statement) = of_manifest(depot, &manifest, keys)?
    {
        return Ok(Some(statement));
    }
    for referrer in depot.referrers(result)? {
        if referrer.artifact_type.as_deref() == Some(STATEMENT)
            && let Some(hash) = hash_of_text(&referrer.digest)
            && let Some(manifest) = depot.manifest(&Reference::Hash(hash))?
            && let Some(statement) = of_manifest(depot, &manifest, keys)?
        {
            return Ok(Some(statement));
        }
    }
    Ok(None)
}

fn of_manifest(
    depot: &dyn Depot,
    manifest: &Manifest,
    keys: &[PublicKey],
) -> Result<Option<Vec<u8>>, RemoteError> {
    let Ok(document) = Document::decode(manifest) else { return Ok(None) };
    for layer in document.layers.iter().filter(|layer| layer.media_type == ENVELOPE) {
        let Some(digest) = super::manifest::blob_of(layer) else { continue };
        let envelope = super::verify::blob(depot, &digest)?;
        if let Some(statement) = envelope.and_then(|envelope| opened(&envelope, keys)) {
            return Ok(Some(statement));
        }
    }
    Ok(None)
}
