//! REAPI actions and their results.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message as _;

use crate::{Digest, Time, wire};

/// What is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// The whole environment.
    pub environment: BTreeMap<String, String>,
    /// Where it runs, below the input root, without a leading slash.
    pub working_directory: String,
    /// What is kept, relative to the working directory or, with `/`, to the root.
    pub output_paths: Vec<String>,
}

impl Command {
    /// The `Command` message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut output_paths = self.output_paths.clone();
        output_paths.sort();
        wire::Command {
            arguments: self.arguments.clone(),
            environment_variables: self
                .environment
                .iter()
                .map(|(name, value)| wire::EnvironmentVariable {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
            working_directory: self.working_directory.clone(),
            output_paths,
        }
        .encode_to_vec()
    }

    /// The digest of [`Command::encode`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }
}

/// On what kind of machine an action can run.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Platform(pub BTreeMap<String, String>);

/// A command over an input tree: all that can change its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The digest of the [`Command`].
    pub command: Digest,
    /// The root `Directory` of everything the command can see.
    pub input_root: Digest,
    /// Whatever else separates this action from others: format version and salts.
    pub salt: Vec<u8>,
    /// Where it can run.
    pub platform: Platform,
}

impl Action {
    /// The `Action` message. Time-outs are left out: they decide whether there is a result,
    /// never which.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let properties = self.platform.0.iter().map(|(name, value)| wire::PlatformProperty {
            name: name.clone(),
            value: value.clone(),
        });
        wire::Action {
            command_digest: Some(self.command.into()),
            input_root_digest: Some(self.input_root.into()),
            timeout: None,
            salt: self.salt.clone(),
            platform: Some(wire::Platform { properties: properties.collect() }),
        }
        .encode_to_vec()
    }

    /// The action digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }
}

/// What an action that succeeded left: its output tree and its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionResult {
    /// The digest of the encoded [`crate::Tree`] of the outputs.
    pub outputs: Digest,
    /// The digest of the root directory of the outputs, for clients that walk directories.
    pub root: Digest,
    /// Standard output and error together, as they came.
    pub log: Digest,
    /// When it began.
    pub started: Time,
    /// How long it took.
    pub took: Duration,
}

impl ActionResult {
    /// The `ActionResult` message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let nanos = u64::from(self.started.nanos) + u64::from(self.took.subsec_nanos());
        let seconds =
            i64::try_from(self.took.as_secs() + nanos / 1_000_000_000).unwrap_or(i64::MAX);
        let stamp = |seconds: i64, nanos: u64| {
            Some(wire::Timestamp { seconds, nanos: i32::try_from(nanos).unwrap_or_default() })
        };
        wire::ActionResult {
            output_directories: vec![wire::OutputDirectory {
                path: String::new(),
                tree_digest: Some(self.outputs.into()),
                root_directory_digest: Some(self.root.into()),
            }],
            exit_code: 0,
            stdout_digest: Some(self.log.into()),
            execution_metadata: Some(wire::ExecutedActionMetadata {
                execution_start_timestamp: stamp(self.started.seconds, self.started.nanos.into()),
                execution_completed_timestamp: stamp(
                    self.started.seconds.saturating_add(seconds),
                    nanos % 1_000_000_000,
                ),
            }),
        }
        .encode_to_vec()
    }

    /// Reads an `ActionResult` message that [`ActionResult::encode`] could have written.
    /// `None` for anything else, above all for a result that is not a success.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let message = wire::ActionResult::decode(bytes).ok()?;
        let [outputs] = &message.output_directories[..] else { return None };
        if message.exit_code != 0 {
            return None;
        }
        let metadata = message.execution_metadata.as_ref()?;
        let time = |stamp: &Option<wire::Timestamp>| {
            let stamp = stamp.as_ref()?;
            let nanos = u32::try_from(stamp.nanos).ok().filter(|n| *n < 1_000_000_000)?;
            Some(Time { seconds: stamp.seconds, nanos })
        };
        let started = time(&metadata.execution_start_timestamp)?;
        let ended = time(&metadata.execution_completed_timestamp)?;
        let since = |t: Time| i128::from(t.seconds) * 1_000_000_000 + i128::from(t.nanos);
        let took = u64::try_from(since(ended) - since(started)).ok()?;
        Some(Self {
            outputs: wire::digest(outputs.tree_digest.as_ref())?,
            root: wire::digest(outputs.root_directory_digest.as_ref())?,
            log: wire::digest(message.stdout_digest.as_ref())?,
            started,
            took: Duration::from_nanos(took),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_an_action_is_in_its_digest() {
        let command = Command { arguments: vec!["true".into()], ..Command::default() };
        let action = Action {
            command: command.digest(),
            input_root: Digest::EMPTY,
            salt: Vec::new(),
            platform: Platform::default(),
        };
        let others = [
            Action { command: Digest::EMPTY, ..action.clone() },
            Action { input_root: Digest::of(b"x"), ..action.clone() },
            Action { salt: b"s".to_vec(), ..action.clone() },
            Action {
                platform: Platform([("arch".into(), "amd64".into())].into()),
                ..action.clone()
            },
        ];
        for other in others {
            assert_ne!(action.digest(), other.digest());
        }
    }

    #[test]
    fn results_read_what_they_write() {
        let result = ActionResult {
            outputs: Digest::of(b"o"),
            root: Digest::of(b"r"),
            log: Digest::EMPTY,
            started: Time { seconds: 1_700_000_000, nanos: 900_000_000 },
            took: Duration::from_millis(61_234),
        };
        assert_eq!(ActionResult::decode(&result.encode()), Some(result));
        assert_eq!(ActionResult::decode(b"\xff"), None);
        assert_eq!(ActionResult::decode(b""), None);
    }
}
