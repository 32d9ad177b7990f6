//! What must be known of the world before a plan can be made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ashlar_dockerfile::Image;
use ashlar_object::Digest;
use ashlar_recipe::{Lock, ModuleName};

use crate::ImageFacts;

/// Everything a plan depends on besides the project itself. Gathered by the room `build`.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The machine's architecture as `uname -m` says it: `x86_64`.
    pub architecture: String,
    /// The common files with their digests, by path in the project.
    pub common: Vec<(String, Digest)>,
    /// What the bases that are not Debian's are.
    pub bases: BTreeMap<String, BaseFact>,
    /// The sources of modules that are files of the project, and the patches of all.
    pub sources: BTreeMap<ModuleName, Vec<SourceFact>>,
    /// What names were resolved to.
    pub lock: Lock,
    /// What the modules are that are images.
    pub images: BTreeMap<ModuleName, ImageFact>,
    /// The folders of the contexts of images, absolute, by their numbers in the run.
    pub contexts: Vec<PathBuf>,
    /// What this version of the program itself does in steps: the digest of its own scripts and
    /// of the environment it sets. A newer version with another script has other keys.
    pub commands: Option<Commands>,
}

/// What a module of kind `image` is.
#[derive(Clone, Debug)]
pub struct ImageFact {
    /// Its stages.
    pub image: Arc<Image>,
    /// What is known of what they name.
    pub facts: ImageFacts,
    /// The bases of the project that they name.
    pub bases: Vec<String>,
}

/// Digests of what the program itself does in each kind of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commands {
    /// Making a Debian base.
    pub base: Digest,
    /// Installing packages over a base.
    pub install: Digest,
    /// Running the scripts of a module.
    pub build: Digest,
}

/// What a base that is no Debian consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseFact {
    /// The digest of the encoded tree of a folder.
    Tree(Digest),
    /// The digest of an archive.
    Archive(Digest),
    /// A fingerprint of this machine's file system.
    Host(String),
}

/// What was found on disk for one source of a module, in the order of its recipe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceFact {
    /// For a `path` source: the digest of its encoded tree.
    pub tree: Option<Digest>,
    /// Its patches in order: path in the project, digest, leading components to drop.
    pub patches: Vec<(String, Digest, u32)>,
}
