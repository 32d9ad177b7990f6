//! What the helper process is told about a command in an image.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Owner;

/// What differs from a command of a module.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ImageSpec {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    /// Whether the network stays that of the machine.
    pub(crate) network: bool,
    /// Whether the last descriptor is one to hand a listening socket out by.
    pub(crate) gateway: bool,
    /// In the order in which they are mounted.
    pub(crate) mounts: Vec<MountSpec>,
}

/// One mount.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MountSpec {
    /// Where, from the root inside.
    pub(crate) at: String,
    pub(crate) what: WhatSpec,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WhatSpec {
    /// A folder or file as it is.
    Bind {
        source: PathBuf,
        read_only: bool,
    },
    /// A staged folder, read-only, over one that is empty: on a device of its own, because files that
    /// are equal to those of another staged folder would be the same file to a command.
    Shown {
        lower: PathBuf,
        below: PathBuf,
    },
    /// A folder whose changes go to two folders of the workspace.
    Overlay {
        lower: PathBuf,
        written: String,
        work: String,
    },
    Tmpfs {
        size: Option<u64>,
    },
    /// The next so many of the bytes that follow the spec.
    File {
        length: usize,
        mode: u32,
        uid: u32,
        gid: u32,
        read_only: bool,
    },
}

impl WhatSpec {
    pub(crate) fn file(length: usize, made: Owner, read_only: bool) -> Self {
        Self::File { length, mode: made.mode, uid: made.uid, gid: made.gid, read_only }
    }
}
