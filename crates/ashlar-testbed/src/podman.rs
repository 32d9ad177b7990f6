//! podman and skopeo, as readers of what we write.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::install::program;

/// podman with storage of its own, which is removed with it.
#[derive(Debug)]
pub struct Podman {
    folder: TempDir,
}

/// podman with empty storage.
///
/// # Panics
/// When it is not installed.
#[must_use]
pub fn podman() -> Podman {
    let folder = tempfile::Builder::new().prefix("ashlar-podman-").tempdir();
    Podman { folder: folder.unwrap_or_else(|error| panic!("no temporary folder: {error}")) }
}

impl Podman {
    /// `podman` with the options that make it work in a folder of its own; arguments follow:
    /// `pull --tls-verify=false docker://…`, `unshare`, `image mount`.
    #[must_use]
    pub fn command(&self) -> Command {
        let at = |name: &str| self.folder.path().join(name);
        let mut command = Command::new(program("podman"));
        command.arg("--root").arg(at("root")).arg("--runroot").arg(at("run"));
        command.arg("--tmpdir").arg(at("tmp")).args(["--storage-driver", "vfs"]);
        command.args(["--events-backend", "none", "--cgroup-manager", "cgroupfs"]);
        command.env("HOME", self.folder.path()).env("TMPDIR", self.folder.path());
        command
    }

    /// The folder of its storage.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// `skopeo` that needs no policy file; arguments follow, with `--src-tls-verify=false` for a
/// registry without TLS.
///
/// # Panics
/// When it is not installed.
#[must_use]
pub fn skopeo() -> Command {
    let mut command = Command::new(program("skopeo"));
    command.arg("--insecure-policy");
    command
}
