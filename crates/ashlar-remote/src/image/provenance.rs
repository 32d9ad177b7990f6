//! How results came to be: in-toto statements in DSSE envelopes, as cosign's attestations.

use std::collections::BTreeMap;

use ashlar_object::Digest;
use ashlar_store::{RemoteError, Watch};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifest::{
    Document, IMAGE_CONFIG, blob_of, describe, hash_of_text, image_config, json,
};
use super::sign::{Signer, put, refer};
use super::transfer::native;
use super::verify::{PublicKey, SIGNATURE, SIGNATURES, readable};
use crate::depot::{Depot, Descriptor, Manifest, Reference};

/// The media type of an envelope.
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// The media type of a statement: what the signature of an envelope is over, with it.
const STATEMENT: &str = "application/vnd.in-toto+json";
/// The type of a statement.
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of its predicate.
const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// No envelope is larger.
const MOST: u64 = 16 << 20;
/// How many envelopes in one manifest are looked at.
const ENVELOPES: usize = 16;
/// How many referrers are looked at.
const REFERRERS: usize = 16;

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
    digest: BTreeMap<&'static str, String>,
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

/// What a statement says it is about.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claim {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
    subject: Vec<Claimed>,
}

#[derive(Deserialize)]
struct Claimed {
    #[serde(default)]
    digest: BTreeMap<String, Value>,
}

/// The statement in an envelope: provenance of this very manifest, and with keys one that one of
/// them has signed. The error is a fragment.
pub(super) fn opened(
    envelope: &[u8],
    subject: &Digest,
    keys: &[PublicKey],
) -> Result<Vec<u8>, &'static str> {
    let envelope: Envelope =
        serde_json::from_slice(envelope).map_err(|_| "it is in no envelope of DSSE")?;
    if envelope.payload_type != STATEMENT {
        return Err("its envelope holds something else than a statement");
    }
    let statement = STANDARD.decode(&envelope.payload).map_err(|_| "its payload is no base64")?;
    let signed = pre_authentication(&envelope.payload_type, &statement);
    let good = |one: &EnvelopeSignature| {
        let Ok(signature) = STANDARD.decode(&one.sig) else { return false };
        keys.iter().any(|key| key.verifies(&signed, &signature))
    };
    if !keys.is_empty() && !envelope.signatures.iter().take(SIGNATURES).any(good) {
        return Err("none of the keys that are required has signed it");
    }
    let claim: Claim = serde_json::from_slice(&statement).map_err(|_| "it is no statement")?;
    if claim.kind != STATEMENT_TYPE || claim.predicate_type != PREDICATE_TYPE {
        return Err("it is a statement of another type");
    }
    let hex = subject.hex();
    let about = |one: &Claimed| one.digest.get("sha256").is_some_and(|text| *text == *hex);
    if !claim.subject.iter().any(about) {
        return Err("it is about something else");
    }
    Ok(statement)
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

/// The statement that was left with a result, and is about it; `warn` is told why others are not
/// taken, as a fragment.
///
/// # Errors
/// When the far side cannot be used.
pub(super) fn read(
    depot: &dyn Depot,
    result: &Digest,
    keys: &[PublicKey],
    warn: &dyn Fn(&str),
) -> Result<Option<Vec<u8>>, RemoteError> {
    if let Some(manifest) = readable(depot.manifest(&Reference::Tag(tag(result))))?
        && let Some(statement) = of_manifest(depot, &manifest, result, keys, warn)?
    {
        return Ok(Some(statement));
    }
    let listed = readable(depot.referrers(result).map(Some))?.unwrap_or_default();
    let ours = |one: &&Descriptor| one.artifact_type.as_deref() == Some(STATEMENT);
    for referrer in listed.iter().filter(ours).take(REFERRERS) {
        if let Some(hash) = hash_of_text(&referrer.digest)
            && let Some(manifest) = readable(depot.manifest(&Reference::Hash(hash)))?
            && let Some(statement) = of_manifest(depot, &manifest, result, keys, warn)?
        {
            return Ok(Some(statement));
        }
    }
    Ok(None)
}

fn of_manifest(
    depot: &dyn Depot,
    manifest: &Manifest,
    result: &Digest,
    keys: &[PublicKey],
    warn: &dyn Fn(&str),
) -> Result<Option<Vec<u8>>, RemoteError> {
    let Ok(document) = Document::decode(manifest) else { return Ok(None) };
    let envelopes = document.layers.iter().filter(|layer| layer.media_type == ENVELOPE);
    for layer in envelopes.take(ENVELOPES) {
        let Some(digest) = blob_of(layer).filter(|digest| digest.size <= MOST) else {
            warn("it is larger than any");
            continue;
        };
        let Some(envelope) = readable(super::verify::blob(depot, &digest))? else { continue };
        match opened(&envelope, result, keys) {
            Ok(statement) => return Ok(Some(statement)),
            Err(why) => warn(why),
        }
    }
    Ok(None)
}
