//! Signatures and provenance, also with the real `openssl`.

use super::*;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::image::provenance::pre_authentication;
use crate::image::sign::payload;
use crate::image::{PublicKey, Signer, signatures, verified};

/// As `openssl genpkey -algorithm ed25519` wrote it.
pub(super) const ED25519: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIFz5vvsNVZUOGPFIYaDjM5eIgBuy0kl5gFdxq6h4pYMN
-----END PRIVATE KEY-----
";

pub(super) fn signer() -> Signer {
    Signer::from_pem(ED25519.as_bytes()).unwrap()
}

fn openssl(folder: &Path, arguments: &str) -> Vec<u8> {
    let output =
        Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(
        output.status.success(),
        "openssl {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// A folder with `<kind>.key` and `<kind>.pub` for both kinds.
fn keys() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    openssl(folder.path(), "genpkey -algorithm ed25519 -out ed25519.key");
    openssl(folder.path(), "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out p256.key");
    for kind in ["ed25519", "p256"] {
        openssl(folder.path(), &format!("pkey -in {kind}.key -pubout -out {kind}.pub"));
    }
    folder
}

fn signing(folder: &Path, kind: &str) -> Trust {
    let signer = Signer::read("it", &folder.join(format!("{kind}.key"))).unwrap();
    Trust { keys: Vec::new(), signer: Some(signer) }
}

fn requiring(folder: &Path, kind: &str) -> Trust {
    let key = PublicKey::read("it", &folder.join(format!("{kind}.pub"))).unwrap();
    Trust { keys: vec![key], signer: None }
}

/// Has openssl verify or make a signature over `message` in the folder.
fn openssl_signature(
    folder: &Path,
    kind: &str,
    message: &[u8],
    signature: Option<&[u8]>,
) -> Vec<u8> {
    std::fs::write(folder.join("message"), message).unwrap();
    if let Some(signature) = signature {
        std::fs::write(folder.join("signature"), signature).unwrap();
    }
    openssl(
        folder,
        match (kind, signature) {
            ("ed25519", Some(_)) => {
                "pkeyutl -verify -pubin -inkey ed25519.pub -rawin -in message -sigfile signature"
            }
            ("ed25519", None) => "pkeyutl -sign -inkey ed25519.key -rawin -in message",
            (_, Some(_)) => "dgst -sha256 -verify p256.pub -signature signature message",
            (_, None) => "dgst -sha256 -sign p256.key message",
        },
    )
}

#[test]
fn only_what_a_required_key_has_signed_is_found() {
    let folder = keys();
    let here = MemoryStore::new();
    let tree = tree(&here, &[("a", b"1")]);
    let one = publication(&here, &tree, "one");
    let two = publication(&here, &tree, "two");
    for (kind, other) in [("ed25519", "p256"), ("p256", "ed25519")] {
        let depot = MemoryDepot::default();
        push(&remote(&depot), &here, &one);
        push(&remote(&depot), &here, &two);
        let reader = trusting(&depot, requiring(folder.path(), kind));
        assert_eq!(reader.steps(&[one.keys[0], two.keys[0]]).unwrap(), [None, None]);
        assert_eq!(reader.results(&[one.action]).unwrap(), [None]);
        let said = reader.take_warnings();
        assert!(said.len() == 1 && said[0].contains("not signed"), "{said:?}");
        let (moved, _) = pull(&reader, &MemoryStore::new(), &found(&one));
        assert_eq!(moved, None, "not even when somebody else says that it is there");

        push(&trusting(&depot, signing(folder.path(), other)), &here, &one);
        assert_eq!(reader.steps(&one.keys).unwrap(), [None]);
        push(&trusting(&depot, signing(folder.path(), kind)), &here, &one);
        assert_eq!(reader.steps(&one.keys).unwrap(), [Some(found(&one))]);
        // Both signatures are there, and either is taken.
        let both =
            Trust { keys: vec![requiring(folder.path(), other).keys.remove(0)], signer: None };
        assert_eq!(trusting(&depot, both).steps(&one.keys).unwrap(), [Some(found(&one))]);
        let there = MemoryStore::new();
        assert!(pull(&reader, &there, &found(&one)).0.is_some());
        // Again: nothing to do.
        depot.take_log();
        push(&trusting(&depot, signing(folder.path(), kind)), &here, &one);
        assert!(depot.take_log().iter().all(|line| !line.starts_with("put")));
        // The tag is only a hint: the list of referrers has the signatures as well.
        depot.state().tags.retain(|tag, _| !tag.ends_with(".sig"));
        assert_eq!(reader.steps(&one.keys).unwrap(), [Some(found(&one))]);
    }
}

#[test]
fn who_takes_what_another_signed_only_adds_a_signature() {
    let folder = keys();
    let trust = |kind: &str, takes: &[&str]| Trust {
        keys: takes.iter().map(|kind| requiring(folder.path(), kind).keys.remove(0)).collect(),
        ..signing(folder.path(), kind)
    };
    for keeps in [false, true] {
        let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
        depot.state().keeps = keeps;
        let both = ["ed25519", "p256"];
        let old = tree(&here, &[("a", b"hello"), ("b", &[7; 5000])]);
        let new = tree(&here, &[("a", b"world"), ("b", &[7; 5000])]);
        // One has a revision where the other, alone, would pack anew.
        push(&trusting(&depot, trust("ed25519", &both)), &here, &publication(&here, &old, "old"));
        let mut one = publication(&here, &new, "new");
        one.provenance = Some(b"{\"a\":1}".to_vec());
        push(&trusting(&depot, trust("ed25519", &both)), &here, &one);
        let tags = || {
            let state = depot.state();
            let said = |tag: &&String| tag.ends_with(".sig") || tag.ends_with(".att");
            let all = state.tags.keys().filter(|tag| !said(tag));
            all.map(|tag| (tag.clone(), state.tags[tag])).collect::<Vec<_>>()
        };
        let (before, blobs) = (tags(), depot.state().blobs.len());
        let moved = push(&trusting(&depot, trust("p256", &both)), &here, &one);
        assert_eq!((tags(), moved.already), (before.clone(), new.content_size()));
        // The configs of two lists of signatures, and the provenance with its own.
        let added = depot.state().blobs.len() - blobs;
        assert!(added <= 5, "{added}");
        for kind in both.into_iter().chain(both) {
            let reader = trusting(&depot, requiring(folder.path(), kind));
            assert_eq!(reader.steps(&one.keys).unwrap(), [Some(found(&one))]);
            assert!(pull(&reader, &MemoryStore::new(), &found(&one)).0.is_some());
            assert!(reader.provenance(&found(&one)).unwrap().is_some(), "{kind}");
            depot.take_log();
            push(&trusting(&depot, trust(kind, &both)), &here, &one);
            let log = depot.take_log();
            assert!(log.iter().all(|line| !line.starts_with("put")), "{kind}: {log:?}");
        }
        // Nobody signs what they would not take: packed anew, and signed as what that is.
        let depot = MemoryDepot::default();
        push(&trusting(&depot, trust("ed25519", &[])), &here, &publication(&here, &old, "old"));
        push(&trusting(&depot, trust("ed25519", &[])), &here, &one);
        let tag = super::super::manifest::tree_tag(&one.result.outputs);
        let before = depot.state().tags[&tag];
        push(&trusting(&depot, trust("p256", &["p256"])), &here, &one);
        assert_ne!(depot.state().tags[&tag], before);
    }
}

#[test]
fn signatures_of_something_else_do_not_count() {
    let folder = keys();
    let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
    let (one, two) = (tree(&here, &[("a", b"1")]), tree(&here, &[("a", b"2")]));
    let (one, two) = (publication(&here, &one, "one"), publication(&here, &two, "two"));
    push(&trusting(&depot, signing(folder.path(), "p256")), &here, &one);
    push(&remote(&depot), &here, &two);
    let reader = trusting(&depot, requiring(folder.path(), "p256"));
    assert!(reader.steps(&one.keys).unwrap()[0].is_some());
    let mut state = depot.state();
    let of = |state: &crate::depot::memory::State, p: &Publication| {
        state.tags[&super::super::manifest::step_tag(&p.keys[0])]
    };
    let sig = |hash: [u8; 32]| format!("sha256-{}.sig", Digest { hash, size: 0 }.hex());
    let (from, to) = (sig(of(&state, &one)), sig(of(&state, &two)));
    let signed = state.tags[&from];
    state.tags.insert(to, signed);
    drop(state);
    assert_eq!(reader.steps(&two.keys).unwrap(), [None]);
}

#[test]
fn openssl_takes_our_signatures_and_we_take_its() {
    let folder = keys();
    for kind in ["ed25519", "p256"] {
        let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
        let tree = tree(&here, &[("a", b"1")]);
        let mut one = publication(&here, &tree, "one");
        one.provenance = Some(br#"{"buildDefinition":{}}"#.to_vec());
        push(&trusting(&depot, signing(folder.path(), kind)), &here, &one);
        let key = requiring(folder.path(), kind).keys.remove(0);
        let result = depot.state().tags[&super::super::manifest::step_tag(&one.keys[0])];
        let image = depot.state().tags[&super::super::manifest::tree_tag(&one.result.outputs)];
        for hash in [result, image] {
            let size = depot.state().manifests[&hash].bytes.len() as u64;
            let subject = Digest { hash, size };
            let found = signatures(&depot, &subject).unwrap();
            assert_eq!(found.len(), 1, "{found:?}");
            openssl_signature(folder.path(), kind, &found[0].payload, Some(&found[0].signature));
            assert_eq!(verified(&depot, &subject, std::slice::from_ref(&key)).unwrap(), Ok(&key));
        }
        // The envelope of the provenance.
        let envelope: Value = (depot.state().blobs.values())
            .filter_map(|bytes| serde_json::from_slice::<Value>(bytes).ok())
            .find(|value| value["payloadType"].is_string())
            .unwrap();
        let decode = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
        let statement = decode(&envelope["payload"]);
        let signed = pre_authentication(envelope["payloadType"].as_str().unwrap(), &statement);
        openssl_signature(
            folder.path(),
            kind,
            &signed,
            Some(&decode(&envelope["signatures"][0]["sig"])),
        );

        let message = payload(&Digest::of(b"x"), "example/repository");
        let made = openssl_signature(folder.path(), kind, &message, None);
        assert!(key.verifies(&message, &made));
        assert!(!key.verifies(&message[1..], &made));
        assert!(!key.verifies(&message, &made[1..]));
    }
}

#[test]
fn provenance_is_found_with_the_result() {
    let folder = keys();
    let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
    let tree = tree(&here, &[("a", b"1")]);
    let mut one = publication(&here, &tree, "one");
    let two = publication(&here, &tree, "two");
    one.provenance = Some(br#"{"buildDefinition":{"buildType":"b"},"runDetails":{}}"#.to_vec());
    push(&remote(&depot), &here, &one);
    push(&remote(&depot), &here, &two);
    let statement = remote(&depot).provenance(&found(&one)).unwrap().unwrap();
    let statement: Value = serde_json::from_slice(&statement).unwrap();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(statement["predicate"]["buildDefinition"]["buildType"], "b");
    let image = depot.state().tags[&super::super::manifest::tree_tag(&one.result.outputs)];
    let hex = Digest { hash: image, size: 0 }.hex();
    assert_eq!(statement["subject"][0]["digest"]["sha256"], hex.as_str());
    assert_eq!(remote(&depot).provenance(&found(&two)).unwrap(), None);
    // Nobody signed it, so that it says nothing to those who want that.
    let reader = trusting(&depot, requiring(folder.path(), "ed25519"));
    assert_eq!(reader.provenance(&found(&one)).unwrap(), None);
    push(&trusting(&depot, signing(folder.path(), "ed25519")), &here, &two);
}

#[test]
fn the_encoding_of_dsse_is_that_of_its_specification() {
    let encoded = pre_authentication("http://example.com/HelloWorld", b"hello world");
    assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
}

#[test]
fn keys_that_cannot_be_used_are_refused_with_what_to_do() {
    let folder = keys();
    let path = folder.path();
    openssl(path, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.key");
    openssl(path, "pkey -in rsa.key -pubout -out rsa.pub");
    openssl(path, "ecparam -name prime256v1 -genkey -noout -out sec1.key");
    openssl(path, "pkcs8 -topk8 -in p256.key -passout pass:secret -out encrypted.key");
    std::fs::write(path.join("nothing.key"), "hello").unwrap();
    let why = |file: &str| {
        let path = path.join(file);
        let error = match file.ends_with(".pub") {
            true => PublicKey::read("team", &path).unwrap_err(),
            false => Signer::read("team", &path).unwrap_err(),
        };
        let text = error.to_string();
        assert!(text.starts_with("team: ") && text.contains(file), "{text}");
        text
    };
    for (file, part) in [
        ("rsa.key", "neither an Ed25519 nor an ECDSA P-256"),
        ("rsa.pub", "neither an Ed25519 nor an ECDSA P-256"),
        ("sec1.key", "openssl pkcs8"),
        ("encrypted.key", "it is encrypted"),
        ("nothing.key", "openssl genpkey"),
        ("absent.pub", "No such file"),
    ] {
        assert!(why(file).contains(part), "{}", why(file));
    }
    let definition = |sign: &str| crate::Definition {
        require_signature: vec![path.join("p256.pub")],
        sign: Some(path.join(sign)),
        ..crate::Definition::new("team", "dir:/nowhere", Duration::from_secs(1))
    };
    assert!(crate::open(&definition("p256.key")).is_ok());
    assert!(crate::open(&definition("rsa.key")).is_err());
}
