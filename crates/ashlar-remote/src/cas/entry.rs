//! What stands in the action cache, and under which digest.
//!
//! A step key has no action of its own that could be digested, so one is made up for it: no
//! command, no inputs, and a salt of [`STEP`] and the key. Its command and its input root are the
//! empty blob, which every server has, so that servers which look for them find them. Its entry is
//! the result itself, so that one question answers a lookup, and the real action is carried
//! beside it, in `execution_metadata.auxiliary_metadata`, as servers have to keep it.

use ashlar_object::{Action, ActionResult, Digest, Platform, StepKey, Time};
use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use bazel_remote_apis::google::protobuf::Any;
use prost::Message as _;

use super::Probe;

/// What precedes the key in the salt of the action that stands for a step.
const STEP: &[u8] = b"ashlar step ";

/// The real action: a `RequestMetadata` whose `action_id` is its digest. A type of the protocol,
/// so that tools which show entries as JSON can show ours.
const ACTION: &str = "type.googleapis.com/build.bazel.remote.execution.v2.RequestMetadata";

/// Provenance: the `Digest` of a blob.
const PROVENANCE: &str = "type.googleapis.com/build.bazel.remote.execution.v2.Digest";

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
    /// An `ActionResult` message.
    pub fn encode(&self) -> Vec<u8> {
        let bytes = self.result.encode();
        // What we wrote ourselves a moment ago can be read.
        let mut message = api::ActionResult::decode(&bytes[..]).unwrap_or_default();
        let metadata = message.execution_metadata.get_or_insert_default();
        let who = api::RequestMetadata {
            tool_details: Some(api::ToolDetails {
                tool_name: "ashlar".to_owned(),
                // Of the format, not of the program: equal results are equal entries.
                tool_version: "1".to_owned(),
            }),
            action_id: self.action.to_string(),
            ..api::RequestMetadata::default()
        };
        metadata
            .auxiliary_metadata
            .push(Any { type_url: ACTION.to_owned(), value: who.encode_to_vec() });
        if let Some(provenance) = &self.provenance {
            let value = api::Digest {
                hash: provenance.hex(),
                size_bytes: i64::try_from(provenance.size).unwrap_or(i64::MAX),
            };
            metadata
                .auxiliary_metadata
                .push(Any { type_url: PROVENANCE.to_owned(), value: value.encode_to_vec() });
        }
        message.encode_to_vec()
    }

    /// Reads an entry that [`Entry::encode`] wrote; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let result = ActionResult::decode(bytes)?;
        let message = api::ActionResult::decode(bytes).ok()?;
        let carried = message.execution_metadata?.auxiliary_metadata;
        let value = |url: &str| {
            let any = carried.iter().find(|any| any.type_url == url)?;
            Some(&any.value[..])
        };
        let who = api::RequestMetadata::decode(value(ACTION)?).ok()?;
        let provenance = value(PROVENANCE).and_then(|value| {
            let digest = api::Digest::decode(value).ok()?;
            Digest::from_hex(&digest.hash, u64::try_from(digest.size_bytes).ok()?).ok()
        });
        Some(Self { action: who.action_id.parse().ok()?, result, provenance })
    }
}
