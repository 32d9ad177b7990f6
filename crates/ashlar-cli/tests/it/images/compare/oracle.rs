//! buildah, with a storage of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use ashlar_object::Digest;
use serde_json::Value;

use super::case::{Case, Place};
use super::settings::{self, Settings};
use super::{Image, files};
use crate::support::Ran;

const BASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/images/compare/bases");

/// buildah with the bases that the cases begin with.
pub struct Oracle {
    folder: tempfile::TempDir,
}

impl Oracle {
    /// `None` where it cannot run, which is said.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: buildah is compared with as root only; NOTHING WAS COMPARED");
            return None;
        }
        for program in ["buildah", "runc", "setfattr", "setcap"] {
            let found = std::env::var_os("PATH").is_some_and(|path| {
                std::env::split_paths(&path)
                    .chain(["/usr/sbin".into(), "/sbin".into()])
                    .any(|folder| folder.join(program).exists())
            });
            if !found {
                eprintln!(
                    "SKIPPED: {program} is not installed; `make install-test-needs` does that. NOTHING WAS COMPARED"
                );
                return None;
            }
        }
        let folder = folder();
        let oracle = Self { folder };
        let command = oracle.buildah();
        let mut bases = Command::new(BASES);
        bases.arg(oracle.folder()).arg(command.get_program()).args(command.get_args());
        Ran::of(&bases.stdin(Stdio::null()).output().unwrap()).good();
        oracle.add_onbuild();
        Some(oracle)
    }

    /// Where cases are built.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn buildah(&self) -> Command {
        let mut command = Command::new("buildah");
        command
            .arg("--root")
            .arg(self.folder().join("storage"))
            .arg("--runroot")
            .arg(self.folder().join("running"))
            .args(["--storage-driver", "overlay"])
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Result<String, String> {
        let mut command = self.buildah();
        let ran = Ran::of(&command.args(args).output().unwrap());
        if ran.code == 0 {
            Ok(ran.out.trim_end().to_owned())
        } else {
            Err(format!("buildah exits with {}\n{}{}", ran.code, ran.out, ran.err))
        }
    }

    /// The layout of the bases.
    pub fn bases(&self) -> PathBuf {
        self.folder().join("layout")
    }

    /// Builds a case. The format is Docker's: that of OCI has no place for `HEALTHCHECK`, `SHELL`
    /// and `ONBUILD`; the files are the same.
    pub fn build(&self, case: &Case, place: &Place) -> Result<Image, String> {
        let onbuild = format!("docker-archive:{}/onbuild.tar", self.folder().display());
        let arguments = case.arguments(place, &self.bases(), &onbuild);
        let tag = format!("localhost/{}", case.name);
        let dockerfile = place.folder.join("Dockerfile.oracle");
        let mut all = vec!["bud", "--quiet", "--runtime=runc", "--isolation=oci", "--network=none"];
        all.extend(["--layers=false", "--format=docker", "--identity-label=false"]);
        all.extend(["--tag", &tag, "--file", dockerfile.to_str().unwrap()]);
        all.extend(arguments.iter().map(String::as_str));
        all.push(place.context.to_str().unwrap());
        self.run(&all)?;
        let image = self.run(&["inspect", "--type=image", &tag])?;
        let image: Value = serde_json::from_str(&image).unwrap();
        let settings = settings::read(&image["Docker"]["config"]);
        // A container that is made from an image with `ONBUILD` has that run; the format of OCI, as
        // buildah writes it, has none.
        let files = if settings.contains_key("OnBuild") {
            let layout = format!("oci:{}", place.folder.join("theirs").display());
            self.run(&["push", "--quiet", "--format=oci", &tag, &layout])?;
            self.mounted(&layout)?
        } else {
            self.mounted(&tag)?
        };
        Ok(Image { files, settings })
    }

    /// Reads an image of another program: its files as buildah unpacks them, its configuration as
    /// it is written.
    pub fn read_layout(&self, layout: &Path) -> Result<Image, String> {
        let mut settings = Settings::new();
        change_configuration(layout, None, |config| {
            settings = settings::read(config);
            if let Some(fields) = config.as_object_mut() {
                fields.remove("OnBuild");
            }
        });
        let files = self.mounted(&format!("oci:{}", layout.display()))?;
        Ok(Image { files, settings })
    }

    fn mounted(&self, image: &str) -> Result<files::Files, String> {
        let container = self.run(&["from", "--quiet", image])?;
        let root = self.run(&["mount", &container])?;
        let files = files::read(Path::new(&root));
        self.run(&["rm", &container])?;
        Ok(files)
    }

    /// Puts `ONBUILD` into the configuration of the base `onbuild` in the layout, where BuildKit
    /// has it and buildah does not write it.
    fn add_onbuild(&self) {
        change_configuration(&self.bases(), Some("onbuild"), |config| {
            config["OnBuild"] = serde_json::json!([
                "ENV FROM_BASE=onbuild",
                "WORKDIR /from-onbuild",
                "COPY . here",
                "RUN echo \"$FROM_BASE\" > said"
            ]);
        });
    }

    /// The base with `ONBUILD` for Ashlar.
    pub fn onbuild(&self) -> String {
        format!("oci:{}:onbuild", self.bases().display())
    }
}

/// Changes what is `config` in the configuration of an image in an OCI layout: of the one with a
/// tag, or of the only one.
fn change_configuration(layout: &Path, tag: Option<&str>, change: impl FnOnce(&mut Value)) {
    let file =
        |digest: &Value| layout.join("blobs").join(digest.as_str().unwrap().replace(':', "/"));
    let read =
        |path: PathBuf| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    // Writes what a descriptor is about anew, and makes it the descriptor of that.
    let point = |descriptor: &mut Value, to: &Value| {
        let bytes = to.to_string();
        let digest = Digest::of(bytes.as_bytes());
        descriptor["digest"] = format!("sha256:{}", digest.hex()).into();
        descriptor["size"] = digest.size.into();
        std::fs::write(file(&descriptor["digest"]), bytes).unwrap();
    };
    let mut index = read(layout.join("index.json"));
    let is_meant = |entry: &&mut Value| {
        tag.is_none_or(|tag| entry["annotations"]["org.opencontainers.image.ref.name"] == tag)
    };
    let entry = index["manifests"].as_array_mut().unwrap().iter_mut().find(is_meant).unwrap();
    let mut manifest = read(file(&entry["digest"]));
    let mut config = read(file(&manifest["config"]["digest"]));
    change(&mut config["config"]);
    point(&mut manifest["config"], &config);
    point(entry, &manifest);
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
}

/// A folder whose name has no upper-case letters: buildah makes names of images from it.
fn folder() -> tempfile::TempDir {
    static FOLDERS: AtomicU32 = AtomicU32::new(0);
    let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let name = format!("ashlar-test-{}-{number}-{now}", std::process::id());
    tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir().unwrap()
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // What a failure left mounted would keep the folder from being removed.
        if let Err(message) = self.run(&["rm", "--all"]) {
            eprintln!("{message}");
        }
    }
}
