//! The REAPI messages that Ashlar's objects are encoded as, by field number.
//!
//! Source: `build/bazel/remote/execution/v2/remote_execution.proto` of remote-apis 2.12. Only the
//! fields that Ashlar writes are declared; unknown ones are skipped when read. Encoding with
//! `prost` is canonical here: fields come in the order of their numbers and no map is used.

use prost::Message;

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Digest {
    #[prost(string, tag = "1")]
    pub hash: String,
    #[prost(int64, tag = "2")]
    pub size_bytes: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Duration {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct UInt32Value {
    #[prost(uint32, tag = "1")]
    pub value: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct NodeProperty {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct NodeProperties {
    #[prost(message, repeated, tag = "1")]
    pub properties: Vec<NodeProperty>,
    #[prost(message, optional, tag = "2")]
    pub mtime: Option<Timestamp>,
    #[prost(message, optional, tag = "3")]
    pub unix_mode: Option<UInt32Value>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct FileNode {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub digest: Option<Digest>,
    #[prost(bool, tag = "4")]
    pub is_executable: bool,
    #[prost(message, optional, tag = "6")]
    pub node_properties: Option<NodeProperties>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct DirectoryNode {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub digest: Option<Digest>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct SymlinkNode {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub target: String,
    #[prost(message, optional, tag = "4")]
    pub node_properties: Option<NodeProperties>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Directory {
    #[prost(message, repeated, tag = "1")]
    pub files: Vec<FileNode>,
    #[prost(message, repeated, tag = "2")]
    pub directories: Vec<DirectoryNode>,
    #[prost(message, repeated, tag = "3")]
    pub symlinks: Vec<SymlinkNode>,
    #[prost(message, optional, tag = "5")]
    pub node_properties: Option<NodeProperties>,
}

/// A `Tree` whose directories are kept as bytes: `root` and `children` are encoded `Directory`
/// messages, which on the wire is the same thing, so that each can be digested as it stands.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Tree {
    #[prost(bytes = "vec", tag = "1")]
    pub root: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub children: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct EnvironmentVariable {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct PlatformProperty {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Platform {
    #[prost(message, repeated, tag = "1")]
    pub properties: Vec<PlatformProperty>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Command {
    #[prost(string, repeated, tag = "1")]
    pub arguments: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    pub environment_variables: Vec<EnvironmentVariable>,
    #[prost(string, tag = "6")]
    pub working_directory: String,
    #[prost(string, repeated, tag = "7")]
    pub output_paths: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Action {
    #[prost(message, optional, tag = "1")]
    pub command_digest: Option<Digest>,
    #[prost(message, optional, tag = "2")]
    pub input_root_digest: Option<Digest>,
    #[prost(message, optional, tag = "6")]
    pub timeout: Option<Duration>,
    #[prost(bytes = "vec", tag = "9")]
    pub salt: Vec<u8>,
    #[prost(message, optional, tag = "10")]
    pub platform: Option<Platform>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct OutputDirectory {
    #[prost(string, tag = "1")]
    pub path: String,
    #[prost(message, optional, tag = "3")]
    pub tree_digest: Option<Digest>,
    #[prost(message, optional, tag = "5")]
    pub root_directory_digest: Option<Digest>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ExecutedActionMetadata {
    #[prost(message, optional, tag = "7")]
    pub execution_start_timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "8")]
    pub execution_completed_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ActionResult {
    #[prost(message, repeated, tag = "3")]
    pub output_directories: Vec<OutputDirectory>,
    #[prost(int32, tag = "4")]
    pub exit_code: i32,
    #[prost(message, optional, tag = "6")]
    pub stdout_digest: Option<Digest>,
    #[prost(message, optional, tag = "9")]
    pub execution_metadata: Option<ExecutedActionMetadata>,
}

impl From<crate::Digest> for Digest {
    fn from(digest: crate::Digest) -> Self {
        Self { hash: digest.hex(), size_bytes: i64::try_from(digest.size).unwrap_or(i64::MAX) }
    }
}

/// Reads a digest field.
pub(crate) fn digest(message: Option<&Digest>) -> Option<crate::Digest> {
    let message = message?;
    crate::Digest::from_hex(&message.hash, u64::try_from(message.size_bytes).ok()?).ok()
}
