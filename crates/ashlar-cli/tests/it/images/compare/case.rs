//! One Dockerfile with its context.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Ran;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dockerfiles");

/// A case.
pub struct Case {
    pub name: String,
    /// What Ashlar builds.
    pub dockerfile: String,
    /// What buildah builds, where it is not the same text.
    oracle: Option<String>,
    /// Further arguments of both programs.
    arguments: Vec<String>,
    /// Where it lies, unless it is written in a test.
    folder: Option<PathBuf>,
}

/// A case, copied to where it is built.
pub struct Place {
    pub folder: PathBuf,
    pub context: PathBuf,
}

/// All cases, by name.
pub fn all() -> Vec<Case> {
    let mut cases: Vec<Case> =
        std::fs::read_dir(CASES).unwrap().map(|entry| Case::read(&entry.unwrap().path())).collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

impl Case {
    fn read(folder: &Path) -> Self {
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        Self {
            name: folder.file_name().unwrap().to_str().unwrap().to_owned(),
            dockerfile: text("Dockerfile").unwrap_or_else(|| panic!("{folder:?}: no Dockerfile")),
            oracle: text("Dockerfile.oracle"),
            arguments: text("arguments")
                .map(|text| text.lines().map(str::to_owned).collect())
                .unwrap_or_default(),
            folder: Some(folder.to_owned()),
        }
    }

    /// A case that is no folder.
    pub fn written(name: &str, dockerfile: &str) -> Self {
        Self {
            name: name.to_owned(),
            dockerfile: dockerfile.to_owned(),
            oracle: None,
            arguments: Vec::new(),
            folder: None,
        }
    }

    /// Copies it below `parent`, with modes that do not come from a checkout, and prepares it. A
    /// `.dockerignore` beside the Dockerfile holds for both texts.
    pub fn lay_out(&self, parent: &Path) -> Place {
        let folder = parent.join(&self.name);
        let context = folder.join("context");
        std::fs::create_dir_all(&context).unwrap();
        set_mode(&context, 0o755);
        std::fs::write(folder.join("Dockerfile"), &self.dockerfile).unwrap();
        let oracle = self.oracle.as_ref().unwrap_or(&self.dockerfile);
        std::fs::write(folder.join("Dockerfile.oracle"), oracle).unwrap();
        if let Some(from) = &self.folder {
            if from.join("context").exists() {
                copy(&from.join("context"), &context);
            }
            let ignore = from.join("Dockerfile.dockerignore");
            if ignore.exists() {
                for name in ["Dockerfile.dockerignore", "Dockerfile.oracle.dockerignore"] {
                    std::fs::copy(&ignore, folder.join(name)).unwrap();
                }
            }
            let prepare = from.join("prepare");
            if prepare.exists() {
                let script = format!("umask 022\n{}", std::fs::read_to_string(prepare).unwrap());
                let mut shell = Command::new("sh");
                shell.args(["-e", "-c", &script]).current_dir(&context);
                Ran::of(&shell.output().unwrap()).good();
            }
        }
        Place { folder, context }
    }

    /// The arguments of both programs, with the bases that the Dockerfile asks for. `onbuild` is
    /// what the two of them do not read from the same place.
    pub fn arguments(&self, place: &Place, layout: &Path, onbuild: &str) -> Vec<String> {
        let layout = layout.display();
        let bases = [
            ("BASE", format!("oci:{layout}:base")),
            ("CONFIGURED", format!("oci:{layout}:configured")),
            ("LAYERED", format!("oci:{layout}:layered")),
            ("ONBUILD", onbuild.to_owned()),
        ];
        let mut all: Vec<String> = bases
            .iter()
            .filter(|(name, _)| self.dockerfile.contains(&format!("${{{name}}}")))
            .map(|(name, base)| format!("--build-arg={name}={base}"))
            .collect();
        let context = place.context.to_str().unwrap();
        all.extend(self.arguments.iter().map(|one| one.replace("{context}", context)));
        all
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            set_mode(&to, 0o755);
            copy(&entry.path(), &to);
        } else {
            std::fs::write(&to, std::fs::read(entry.path()).unwrap()).unwrap();
            set_mode(&to, 0o644);
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}
