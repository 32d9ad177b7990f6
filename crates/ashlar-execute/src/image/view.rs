//! What a command in an image sees and may do, besides what every request says.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Gateway, User};
use crate::Kept;

/// How the world looks to a command.
#[derive(Clone, Debug, Default)]
pub enum View {
    /// As a step of a module: the machine's layout with `/build`, empty `/tmp` and `/run`, a
    /// jobserver, `make` that keeps to it.
    #[default]
    Module,
    /// As a `RUN` of a Dockerfile. The request's [`Root`](crate::Root) has to be layers, its
    /// environment is all there is (but for `HOME`, see [`User::home`]), and neither a source
    /// tree nor outputs exist; what is kept is [`Keep::Changes`](crate::Keep::Changes).
    ///
    /// `/proc`, `/dev` and `/sys` are the sandbox's, and so are `/etc/hosts` and, with a network,
    /// `/etc/resolv.conf`, as private copies. Everything else is the image's, and what is written
    /// there is kept. Mount points that were not there before are removed again, unless something
    /// was put in them.
    Image(Box<ImageView>),
}

/// What a command in an image sees and may do.
#[derive(Clone, Debug, Default)]
pub struct ImageView {
    /// Who runs the command.
    pub user: User,
    /// Whether it sees the machine's network.
    pub network: Network,
    /// Who answers at port [`GATEWAY_PORT`](super::GATEWAY_PORT) of its loopback interface; with
    /// [`Network::None`] only.
    pub gateway: Option<Gateway>,
    /// What is mounted, in this order; a later one may lie in an earlier one.
    pub mounts: Vec<ImageMount>,
    /// What may be in nothing that is kept, by names: what the command makes is searched before.
    pub secrets: Vec<(String, Secret)>,
    /// How long every process of the command has between SIGTERM and SIGKILL when it is stopped
    /// because its time is over or the build is cancelled. Zero kills at once.
    pub grace: Duration,
}

/// Which network a command sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// A loopback interface of its own and nothing else. `/etc/hosts` names it.
    #[default]
    None,
    /// That of the machine, with copies of its `/etc/hosts` and `/etc/resolv.conf`. It stays the
    /// machine's: raw sockets (`ping`) and ports below 1024 are refused there, which a network of
    /// one's own allows.
    Machine,
}

/// Something that is seen at a place only while the command runs.
#[derive(Clone, Debug)]
pub struct ImageMount {
    /// An absolute path inside. Links on the way are followed as the command would.
    pub at: String,
    /// What is seen there.
    pub what: Mounted,
}

/// What is mounted.
#[derive(Clone, Debug)]
pub enum Mounted {
    /// A tree, or one entry of it.
    Tree {
        /// The tree.
        tree: Kept,
        /// The path of a folder or file in the tree; empty for the tree as a whole.
        within: String,
        /// Whether the command may write there; what it writes is discarded.
        writable: bool,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// How many bytes it holds at most; otherwise half of the memory.
        size: Option<u64>,
    },
    /// A folder of this machine. Whoever asks for it locks it against others.
    Folder {
        /// The folder; made if it is not there, but not the one that it lies in.
        path: PathBuf,
        /// Whether the command may only read it.
        read_only: bool,
        /// What is in it when it is made, with its owners; the folder itself is then as the top
        /// of that.
        seed: Option<Kept>,
        /// Of whom the folder is, when it is made and begins with nothing.
        made: Owner,
    },
    /// A file from memory, read-only: its bytes are on no disk.
    File {
        /// The bytes.
        content: Secret,
        /// Of whom the file is.
        made: Owner,
    },
    /// A folder whose content outlives a command that is stopped or fails: see
    /// [`Finished::checkpoints`](crate::Finished::checkpoints).
    Checkpoint {
        /// What is in it when the command begins, with its times. All of it is given to `made`'s
        /// owner, because such trees hold none.
        seed: Option<Kept>,
        /// Of whom the folder is.
        made: Owner,
    },
}

/// Mode and owner of something that is made, as they are inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The permission bits.
    pub mode: u32,
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
}

impl Owner {
    /// A folder of root that everybody may read: `0o755`.
    pub const FOLDER: Self = Self { mode: 0o755, uid: 0, gid: 0 };
    /// A file of root that nobody else may read: `0o400`.
    pub const SECRET: Self = Self { mode: 0o400, uid: 0, gid: 0 };
}

/// Bytes that are printed nowhere.
#[derive(Clone)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<T: Into<Arc<[u8]>>> From<T> for Secret {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secret bytes", self.0.len())
    }
}
