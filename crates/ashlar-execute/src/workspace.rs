//! What a command needs on disk: its workspace, and everything it sees, staged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ashlar_object::{Meta, Tree};
use ashlar_store::{LocalStore, Staged, StoreError, Workspace};
use rustix::fs::{Gid, Mode, Uid};

use crate::apart::apart;
use crate::image::{self, Checkpoints, ImageView};
use crate::rights::{Rights, find, lacks_ids, rights};
use crate::spec::{RootSpec, Secrets, Spec};
use crate::{ExecuteError, Jobs, Kept, Request, Root, View, shim};

/// An overlay has room for 500 layers. More than this are laid over one another beforehand.
const MOST_LAYERS: usize = 480;

/// Where programs are looked for when a request does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The lowest layer of every root: the mount points that every root needs, and the make shim.
#[derive(Debug)]
pub(crate) struct Skeleton(Workspace);

impl Skeleton {
    pub(crate) fn new(store: &LocalStore, owner: u32) -> Result<Self, ExecuteError> {
        let skeleton = Self(store.workspace("skeleton")?);
        let top = skeleton.path();
        make_folder(&top, owner)?;
        let ours = ["build", "build/src", "build/dest", "build/home", "build/bin"];
        for folder in ours.into_iter().chain(["dev", "proc", "run", "sys", "tmp"]) {
            make_folder(&top.join(folder), owner)?;
        }
        for name in shim::NAMES {
            let path = top.join(shim::FOLDER.trim_start_matches('/')).join(name);
            std::fs::write(&path, shim::SCRIPT).map_err(fail("write", &path))?;
            set_mode(&path, 0o755, owner)?;
        }
        make_folder(&skeleton.image(), owner)?;
        for folder in ["dev", "proc", "sys"] {
            make_folder(&skeleton.image().join(folder), owner)?;
        }
        Ok(skeleton)
    }

    /// The lowest layer of an image's root: what the sandbox mounts in every one.
    pub(crate) fn image(&self) -> PathBuf {
        self.0.path().join("image")
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("skeleton")
    }
}

/// Everything a command needs on disk, for as long as it runs.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) spec: Spec,
    /// Where the checkpoints of a command in an image are.
    pub(crate) checkpoints: Checkpoints,
    workspace: Workspace,
    /// Keeps the collector away.
    staged: Vec<Staged>,
    skeleton: Arc<Skeleton>,
}

impl Prepared {
    /// Puts everything in place for a command. Without `jobs` it is one that a person uses, with
    /// the terminal attached.
    pub(crate) fn new(
        store: &LocalStore,
        skeleton: &Arc<Skeleton>,
        owner: u32,
        request: &Request,
        jobs: Option<&Jobs>,
    ) -> Result<Self, ExecuteError> {
        if let View::Image(view) = &request.view {
            check_rights(owner, request.many_ids || view.user.uid != 0 || view.user.gid != 0)?;
            let workspace = store.workspace(&request.label)?;
            let mut stage = Stage { store, staged: Vec::new() };
            let (spec, checkpoints) = image::prepare(
                &mut stage,
                skeleton,
                workspace.path(),
                owner,
                request,
                view,
                jobs.is_none(),
            )?;
            let (staged, skeleton) = (stage.staged, Arc::clone(skeleton));
            return Ok(Self { spec, checkpoints, workspace, staged, skeleton });
        }
        check_rights(owner, request.many_ids)?;
        let bwrap = find("bwrap").ok_or_else(|| ExecuteError::Lacks {
            what: "`bwrap` is not installed, which is the sandbox".into(),
            advice: "install the package bubblewrap".into(),
        })?;
        let workspace = store.workspace(&request.label)?;
        for folder in ["root", "root-work", "src", "src-work", "dest", "home"] {
            make_folder(&workspace.path().join(folder), owner)?;
        }
        for folder in ["point", "layers"] {
            make_folder(&workspace.path().join(folder), 0)?;
        }

        let mut stage = Stage { store, staged: Vec::new() };
        let root = match &request.root {
            Root::Layers(trees) => {
                let mut layers = stage.layers(trees)?;
                layers.push(skeleton.path());
                RootSpec::Layers(layers)
            }
            Root::Host(trees) => RootSpec::Host {
                layers: stage.layers(trees)?,
                skeleton: skeleton.path(),
                avoid: store.path().to_path_buf(),
            },
        };
        let source = request.source.as_ref().map(|source| stage.tree(source)).transpose()?;
        let mounts = request
            .mounts
            .iter()
            .map(|mount| Ok((stage.tree(&mount.tree)?, mount.at.clone())))
            .collect::<Result<Vec<_>, StoreError>>()?;
        let spec = Spec {
            folder: workspace.path().to_path_buf(),
            owner,
            root,
            source,
            mounts,
            bwrap,
            arguments: request.command.arguments.clone(),
            environment: environment(&request.command.environment, jobs, request.held_jobs),
            directory: format!("/{}", request.command.working_directory.trim_start_matches('/')),
            all_capabilities: request.many_ids,
            terminal: jobs.is_none(),
            image: None,
            contents: Secrets::default(),
        };
        let (staged, skeleton) = (stage.staged, Arc::clone(skeleton));
        Ok(Self { spec, checkpoints: Vec::new(), workspace, staged, skeleton })
    }

    /// Makes what a command in an image left the state in which another one begins, which a
    /// person uses.
    pub(crate) fn again(
        &mut self,
        store: &LocalStore,
        request: &Request,
        view: &ImageView,
    ) -> Result<(), ExecuteError> {
        let mut stage = Stage { store, staged: Vec::new() };
        let owner = self.spec.owner;
        let workspace = self.workspace.path();
        (self.spec, self.checkpoints) =
            image::prepare(&mut stage, &self.skeleton, workspace, owner, request, view, true)?;
        self.staged.append(&mut stage.staged);
        Ok(())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.workspace.path()
    }
}

fn check_rights(owner: u32, many_ids: bool) -> Result<(), ExecuteError> {
    match rights() {
        Rights::RealRoot if owner == 0 => Err(ExecuteError::Sandbox(
            "the machine's root would be root inside: the owner base is 0".into(),
        )),
        Rights::Namespace { ids } if many_ids && ids < 65_535 => Err(lacks_ids()),
        Rights::RealRoot | Rights::Namespace { .. } => Ok(()),
        Rights::Plain => Err(ExecuteError::Lacks {
            what: "this process is not root of a user name space".into(),
            advice: "start the build through the program's own command".into(),
        }),
    }
}

/// What the command declared, and what never changes a result.
fn environment(
    declared: &BTreeMap<String, String>,
    jobs: Option<&Jobs>,
    held: Option<usize>,
) -> BTreeMap<String, String> {
    let mut environment = declared.clone();
    let path = declared.get("PATH").map_or(PATH, String::as_str);
    environment.insert("PATH".into(), format!("{}:{path}", shim::FOLDER));
    let count = match (jobs, held) {
        (_, Some(held)) => held,
        (Some(jobs), None) => {
            let flags = declared.get("MAKEFLAGS").map(String::as_str).unwrap_or_default();
            environment.insert("MAKEFLAGS".into(), jobs.makeflags(flags));
            jobs.total()
        }
        (None, None) => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    };
    environment.entry("JOBS".into()).or_insert_with(|| count.to_string());
    environment
}

/// Stages trees and holds on to them.
pub(crate) struct Stage<'a> {
    pub(crate) store: &'a LocalStore,
    staged: Vec<Staged>,
}

impl Stage<'_> {
    pub(crate) fn tree(&mut self, kept: &Kept) -> Result<PathBuf, StoreError> {
        let tree = self.store.stage(&kept.digest, &kept.tree)?;
        let path = tree.path().to_path_buf();
        self.staged.push(tree);
        Ok(path)
    }

    /// Layers given from the lowest to the highest, as folders from the highest to the lowest.
    pub(crate) fn layers(&mut self, trees: &[Kept]) -> Result<Vec<PathBuf>, StoreError> {
        if trees.len() > MOST_LAYERS {
            let all = trees.iter().fold(Tree::default(), |below, kept| below.overlaid(&kept.tree));
            return Ok(vec![self.tree(&Kept { digest: all.digest(), tree: all })?]);
        }
        // The kernel refuses a folder that is a layer twice. The upper one says it all.
        let mut folders: Vec<PathBuf> = Vec::new();
        if let Some(tree) = apart(trees) {
            folders.push(self.tree(&Kept { digest: tree.digest(), tree })?);
        }
        for kept in trees.iter().rev() {
            let folder = self.tree(kept)?;
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        Ok(folders)
    }
}

pub(crate) fn fail<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> ExecuteError + 'a {
    move |source| ExecuteError::Workspace { doing, path: path.to_path_buf(), source }
}

fn make_folder(path: &Path, owner: u32) -> Result<(), ExecuteError> {
    std::fs::create_dir(path).map_err(fail("make", path))?;
    set_mode(path, 0o755, owner)
}

/// A folder with the mode and owner that a tree gives it.
pub(crate) fn make_folder_of(path: &Path, meta: &Meta, owner: u32) -> Result<(), ExecuteError> {
    std::fs::create_dir(path).map_err(fail("make", path))?;
    let set = || {
        let (uid, gid) = meta.owner();
        let (uid, gid) = (owner.wrapping_add(uid), owner.wrapping_add(gid));
        rustix::fs::chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        rustix::fs::chmod(path, Mode::from_raw_mode(meta.mode))
    };
    set().map_err(|e| fail("prepare", path)(e.into()))
}

/// Mode and owner, whatever the umask of this process.
fn set_mode(path: &Path, mode: u32, owner: u32) -> Result<(), ExecuteError> {
    let set = || {
        rustix::fs::chown(path, Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)))?;
        rustix::fs::chmod(path, Mode::from_raw_mode(mode))
    };
    set().map_err(|e| fail("prepare", path)(e.into()))
}
