//! What stands in the action cache, and under which digest.
//!
//! A step key has no action of its own that could be digested, so one is made up for it: no
//! command, no inputs, and a salt of [`STEP`] and the key. Its command and its input root are the
//! empty blob, which every server has, so that servers which look for them find them. Its entry is
//! the result itself, so that one question answers a lookup, and the real action is carried
//! along in `execution_metadata.auxiliary_metadata`, which servers keep as it is.

use ashlar_object::{Action, ActionResult, Digest, Platform, StepKey, Time};
use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use bazel_remote_apis::google::protobuf::Any;
use prost::Message;

use super::{Probe, wire};

/// What precedes the key in the salt of the action that stands for a step.
const STEP: &[u8] = b"ashlar step ";

/// How the types of what is carried along are named. All are types of the protocol, so that tools
/// which show entries can show ours.
const TYPES: &str = "type.googleapis.com/build.bazel.remote.execution.v2.";
const ACTION: &str = "ExecuteOperationMetadata";
const ROOT: &str = "OutputDirectory";
const PROVENANCE: &str = "OutputFile";

/// An entry of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub action: Digest,
    pub result: ActionResult,
    pub provenance: Option<Digest>,
}

/// The action that stands for a step key, with its digest.
pub(super) fn step(key: &StepKey) -> (Digest, Vec<u8>) {
    made_up([STEP, &key.0[..]].concat())
}

fn made_up(salt: Vec<u8>) -> (Digest, Vec<u8>) {
    let action = Action {
        command: Digest::EMPTY,
        input_root: Digest::EMPTY,
        salt,
        platform: Platform::default(),
    };
    let bytes = action.encode();
    (Digest::of(&bytes), bytes)
}

/// Something that can be left in every action cache without doing harm.
pub(super) fn probe() -> Probe {
    let (digest, action) = made_up(b"ashlar probe".to_vec());
    let result = ActionResult {
        outputs: Digest::EMPTY,
        root: Digest::EMPTY,
        log: Digest::EMPTY,
        started: Time { seconds: ashlar_object::MOMENT, nanos: 0 },
        took: std::time::Duration::ZERO,
    };
    let entry = Entry { action: digest, result, provenance: None }.encode();
    Probe { digest, action, entry }
}

impl Entry {
    /// An `ActionResult` message. The digest of the root directory is carried along as well: where
    /// it belongs, it promises that every directory is a blob of its own, and servers look.
    pub fn encode(&self) -> Vec<u8> {
        // What we wrote ourselves a moment ago can be read.
        let mut message = api::ActionResult::decode(&self.result.encode()[..]).unwrap_or_default();
        for outputs in &mut message.output_directories {
            outputs.root_directory_digest = None;
        }
        let action = api::ExecuteOperationMetadata {
            action_digest: Some(wire::digest(&self.action)),
            ..api::ExecuteOperationMetadata::default()
        };
        let root = api::OutputDirectory {
            root_directory_digest: Some(wire::digest(&self.result.root)),
            ..api::OutputDirectory::default()
        };
        let mut carried = vec![carry(ACTION, &action), carry(ROOT, &root)];
        if let Some(provenance) = &self.provenance {
            carried.push(carry(
                PROVENANCE,
                &api::OutputFile {
                    path: "provenance".to_owned(),
                    digest: Some(wire::digest(provenance)),
                    ..api::OutputFile::default()
                },
            ));
        }
        message.execution_metadata.get_or_insert_default().auxiliary_metadata = carried;
        message.encode_to_vec()
    }

    /// Reads an entry that [`Entry::encode`] wrote; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut message = api::ActionResult::decode(bytes).ok()?;
        let carried = std::mem::take(&mut message.execution_metadata.as_mut()?.auxiliary_metadata);
        let action = carried_as::<api::ExecuteOperationMetadata>(ACTION, &carried)?;
        let root = carried_as::<api::OutputDirectory>(ROOT, &carried)?;
        let provenance = carried_as::<api::OutputFile>(PROVENANCE, &carried);
        message.output_directories.first_mut()?.root_directory_digest = root.root_directory_digest;
        Some(Self {
            action: wire::read_digest(&action.action_digest?)?,
            result: ActionResult::decode(&message.encode_to_vec())?,
            provenance: provenance.and_then(|file| wire::read_digest(&file.digest?)),
        })
    }
}

fn carry(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("{TYPES}{name}"), value: message.encode_to_vec() }
}

fn carried_as<M: Message + Default>(name: &str, carried: &[Any]) -> Option<M> {
    let any = carried.iter().find(|any| any.type_url.strip_prefix(TYPES) == Some(name))?;
    M::decode(&any.value[..]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            action: Digest::of(b"action"),
            result: ActionResult {
                outputs: Digest::of(b"tree"),
                root: Digest::of(b"root"),
                log: Digest::EMPTY,
                started: Time { seconds: 1_700_000_000, nanos: 5 },
                took: std::time::Duration::from_millis(1_200),
            },
            provenance: Some(Digest::of(b"{}")),
        }
    }

    #[test]
    fn entries_read_what_they_write_and_nothing_else() {
        for provenance in [None, Some(Digest::of(b"{}"))] {
            let entry = Entry { provenance, ..entry() };
            assert_eq!(Entry::decode(&entry.encode()), Some(entry));
        }
        // What others left under the digest of the same action.
        assert_eq!(Entry::decode(&entry().result.encode()), None);
        assert_eq!(Entry::decode(b""), None);
        assert_eq!(Entry::decode(b"\xff\xff"), None);
    }

    #[test]
    fn each_step_has_its_action() {
        let (one, bytes) = step(&StepKey([1; 32]));
        let (two, _) = step(&StepKey([2; 32]));
        assert_ne!(one, two);
        assert_eq!(one, Digest::of(&bytes));
        let action = api::Action::decode(&bytes[..]).unwrap();
        assert!(action.salt.starts_with(b"ashlar step "));
        assert_eq!(action.command_digest, Some(wire::digest(&Digest::EMPTY)));
    }
}
