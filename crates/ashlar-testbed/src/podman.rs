//! podman and skopeo, as readers of what we write.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::install::program;
use crate::server::{run, write};

/// podman with storage of its own, which is removed with it. Nothing runs in containers.
///
/// What it remembers of blobs it has seen lies outside, in the machine's own cache.
#[derive(Debug)]
pub struct Podman {
    folder: TempDir,
}

/// podman with empty storage of plain folders: it reads layers from their beginning to their end.
///
/// # Panics
/// When it is not installed.
#[must_use]
pub fn podman() -> Podman {
    launch("driver = 'vfs'", "")
}

/// podman with empty storage of overlay layers: it fetches the table of contents of a layer in
/// zstd:chunked first, and then the ranges of the files it lacks. Needs root.
///
/// Debian 12's podman 4.3 knows the annotations of such a layer by their first names only,
/// `io.containers.zstd-chunked.manifest-checksum` and `.manifest-position`; later ones by
/// `io.github.containers.zstd-chunked.…`.
///
/// # Panics
/// When it is not installed.
#[must_use]
pub fn podman_partial() -> Podman {
    launch(
        "driver = 'overlay'",
        "pull_options = {enable_partial_images = 'true', use_hard_links = 'false', ostree_repos = ''}",
    )
}

fn launch(driver: &str, options: &str) -> Podman {
    // An overlay cannot lie on one, which a folder for temporary files sometimes is.
    let folder = tempfile::Builder::new().prefix("ashlar-podman-").tempdir();
    let folder = folder.unwrap_or_else(|error| panic!("no temporary folder: {error}"));
    let at = folder.path().display();
    write(
        &folder.path().join("storage.conf"),
        &format!(
            "[storage]\n{driver}\ngraphroot = '{at}/root'\nrunroot = '{at}/run'\n[storage.options]\n{options}\n"
        ),
    );
    // Locks in shared memory would be those of all other users of podman.
    write(
        &folder.path().join("containers.conf"),
        &format!(
            "[engine]\nlock_type = 'file'\ntmp_dir = '{at}/tmp'\nevents_logger = 'none'\n\
             cgroup_manager = 'cgroupfs'\n"
        ),
    );
    Podman { folder }
}

impl Podman {
    /// `podman` in a folder of its own; arguments follow: `pull --tls-verify=false REFERENCE`.
    ///
    /// # Panics
    /// When it is not installed.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(program("podman"));
        command.env("CONTAINERS_STORAGE_CONF", self.folder.path().join("storage.conf"));
        command.env("CONTAINERS_CONF", self.folder.path().join("containers.conf"));
        command.env("HOME", self.folder.path()).env("TMPDIR", self.folder.path());
        command
    }

    /// Writes the files of an image that was pulled, all layers applied, as a tar archive.
    ///
    /// # Panics
    /// When podman cannot.
    pub fn export(&self, image: &str, archive: &Path) {
        let container = run(self.command().args(["create", "--network", "none", image, "/none"]));
        run(self.command().args(["export", "-o"]).arg(archive).arg(container.trim()));
        run(self.command().args(["rm", container.trim()]));
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
