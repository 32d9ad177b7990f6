//! What a command in an image needs on disk, staged.

use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ashlar_object::{Meta, Node, Tree};
use ashlar_store::Checkout;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::mounts::FILES;
use super::spec::{ImageSpec, MountSpec, WhatSpec};
use super::{ImageMount, ImageView, MOST_ID, Mounted, Network, Owner};
use crate::apart::beyond;
use crate::spec::{RootSpec, Secrets, Spec};
use crate::workspace::{Skeleton, Stage, fail, make_folder_of};
use crate::{ExecuteError, Keep, Kept, Request, Root};

/// `/etc/hosts` of a sandbox without a network.
const HOSTS: &[u8] = b"127.0.0.1\tlocalhost ashlar\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// What is added to the machine's: its own name is none of the sandbox's.
const OWN_NAME: &[u8] = b"\n127.0.0.1\tashlar\n";

/// Where checkpoints are inside, and the folders of the workspace that they are.
pub(crate) type Checkpoints = Vec<(String, PathBuf)>;

/// Puts everything in place in a workspace, which may be one that such a command has left: what
/// it wrote in the root is then there again.
pub(crate) fn prepare(
    stage: &mut Stage<'_>,
    skeleton: &Skeleton,
    workspace: &Path,
    owner: u32,
    request: &Request,
    view: &ImageView,
    terminal: bool,
) -> Result<(Spec, Checkpoints), ExecuteError> {
    let (Root::Layers(trees), Keep::Changes, None) = (&request.root, request.keep, &request.source)
    else {
        return Err(ExecuteError::Sandbox(
            "a command in an image runs on layers, keeps its changes and has no source tree".into(),
        ));
    };
    if let Some((path, (uid, gid))) = beyond(trees) {
        return Err(ExecuteError::Request {
            what: format!(
                "{path} belongs to {uid}:{gid}, and commands have the ids from 0 to {MOST_ID} only"
            ),
            advice:
                "copy it with `COPY --chown` to somebody within, in a stage without `RUN`; what \
                     no command sees may belong to anybody"
                    .into(),
        });
    }
    for folder in ["point", "layers", FILES] {
        anew(&workspace.join(folder), &Meta::EXECUTABLE, 0)?;
    }
    let root = workspace.join("root");
    if !root.exists() {
        // The root shows mode and owner of the highest layer.
        let meta = trees.last().map_or(&Meta::EXECUTABLE, |kept| kept.tree.root().meta());
        anew(&root, meta, owner)?;
    }
    // One that was used is marked, and refused.
    anew(&workspace.join("root-work"), &Meta::EXECUTABLE, owner)?;
    let mut layers = stage.layers(trees)?;
    layers.push(skeleton.image());

    let mut all = Mounts {
        stage,
        workspace,
        owner,
        contents: Vec::new(),
        list: Vec::new(),
        kept: Vec::new(),
        shown: false,
    };
    all.names(view.network)?;
    // What is mounted within another mount comes after it, in whatever order they are written.
    let mut mounts: Vec<&ImageMount> = view.mounts.iter().collect();
    mounts.sort_by_key(|mount| mount.at.split('/').filter(|name| !name.is_empty()).count());
    for mount in mounts {
        all.add(mount)?;
    }
    let Mounts { contents, list, kept, .. } = all;
    let mut environment = request.command.environment.clone();
    environment.entry("HOME".into()).or_insert_with(|| view.user.home.clone());
    let spec = Spec {
        folder: workspace.to_path_buf(),
        owner,
        root: RootSpec::Layers(layers),
        source: None,
        mounts: Vec::new(),
        bwrap: PathBuf::new(),
        arguments: request.command.arguments.clone(),
        environment,
        directory: format!("/{}", request.command.working_directory.trim_start_matches('/')),
        all_capabilities: false,
        terminal,
        image: Some(ImageSpec {
            uid: view.user.uid,
            gid: view.user.gid,
            groups: view.user.groups.clone(),
            network: view.network == Network::Machine,
            gateway: view.gateway.is_some(),
            mounts: list,
        }),
        contents: Secrets(contents),
    };
    Ok((spec, kept))
}

/// Collects mounts.
struct Mounts<'a, 'b> {
    stage: &'a mut Stage<'b>,
    workspace: &'a Path,
    owner: u32,
    contents: Vec<u8>,
    list: Vec<MountSpec>,
    kept: Checkpoints,
    /// Whether a staged folder or file is among them.
    shown: bool,
}

impl Mounts<'_, '_> {
    fn push(&mut self, at: &str, what: WhatSpec) {
        self.list.push(MountSpec { at: at.to_owned(), what });
    }

    fn file(&mut self, at: &str, content: &[u8], made: Owner, read_only: bool) {
        self.contents.extend_from_slice(content);
        self.push(at, WhatSpec::file(content.len(), made, read_only));
    }

    /// The files that say how machines are called. They are copies, so that a command may write
    /// to them, as it may in every container.
    fn names(&mut self, network: Network) -> Result<(), ExecuteError> {
        let made = Owner { mode: 0o644, uid: 0, gid: 0 };
        if network == Network::None {
            self.file("/etc/hosts", HOSTS, made, false);
            return Ok(());
        }
        for name in ["/etc/hosts", "/etc/resolv.conf"] {
            match std::fs::read(name) {
                Ok(mut content) => {
                    if name == "/etc/hosts" {
                        content.extend_from_slice(OWN_NAME);
                    }
                    self.file(name, &content, made, false);
                }
                // Then the image's own is seen.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(fail("read", Path::new(name))(e)),
            }
        }
        Ok(())
    }

    /// A folder of the workspace for the next mount.
    fn folder(&self, name: &str) -> PathBuf {
        self.workspace.join(format!("mount-{}-{name}", self.list.len()))
    }

    fn add(&mut self, mount: &ImageMount) -> Result<(), ExecuteError> {
        let at = &mount.at;
        match &mount.what {
            Mounted::Tree { tree, within, writable } => self.tree(at, tree, within, *writable)?,
            Mounted::Tmpfs { size } => self.push(at, WhatSpec::Tmpfs { size: *size }),
            Mounted::Folder { path, read_only, seed, made } => {
                self.make_shared(path, seed.as_ref(), *made)?;
                self.push(at, WhatSpec::Bind { source: path.clone(), read_only: *read_only });
            }
            Mounted::File { content, made } => self.file(at, content.bytes(), *made, true),
            Mounted::Checkpoint { seed, made } => {
                let folder = self.folder("checkpoint");
                anew(&folder, &self.meta(*made), self.owner)?;
                if let Some(seed) = seed {
                    self.stage.store.check_out(&seed.tree, &folder, Checkout::Copy, true)?;
                    self.own(&folder, &seed.tree)?;
                }
                self.push(at, WhatSpec::Bind { source: folder.clone(), read_only: false });
                self.kept.push((at.clone(), folder));
            }
        }
        Ok(())
    }

    /// Makes a folder that other commands may be making at the same moment: nobody sees it before it
    /// has what it begins with, its mode and owner, and the first one stays.
    fn make_shared(
        &self,
        path: &Path,
        seed: Option<&Kept>,
        made: Owner,
    ) -> Result<(), ExecuteError> {
        if path.exists() {
            return Ok(());
        }
        let mut early = path.as_os_str().to_owned();
        let workspace = self.workspace.file_name().unwrap_or_default();
        early.push(format!(".{}-{}", workspace.to_string_lossy(), self.list.len()));
        let early = PathBuf::from(early);
        // Whoever was killed here has left one.
        anew(&early, &self.meta(made), self.owner)?;
        if let Some(seed) = seed {
            self.stage.store.check_out(&seed.tree, &early, Checkout::Copy, false)?;
            self.own(&early, &seed.tree)?;
        }
        match renameat_with(CWD, &early, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => std::fs::remove_dir_all(&early).map_err(fail("remove", &early)),
            Err(e) => Err(fail("make", path)(e.into())),
        }
    }

    fn meta(&self, made: Owner) -> Meta {
        let extra = ashlar_object::Extra { uid: made.uid, gid: made.gid, ..Default::default() };
        Meta::new(made.mode, extra)
    }

    fn tree(
        &mut self,
        at: &str,
        tree: &Kept,
        within: &str,
        writable: bool,
    ) -> Result<(), ExecuteError> {
        let within = within.trim_matches('/');
        let lacks = || {
            ExecuteError::Sandbox(format!(
                "`{within}`, which is to be seen at {at}, is no file or folder of its tree"
            ))
        };
        let staged = self.stage.tree(tree)?;
        let (source, node) = if within.is_empty() {
            (staged, Node::Dir(Arc::clone(tree.tree.root())))
        } else {
            let path = within.parse().map_err(|_| lacks())?;
            let node = tree.tree.get(&path).ok_or_else(lacks)?;
            (staged.join(within), node.clone())
        };
        match node {
            Node::Dir(dir) if writable => {
                let (written, work) = (self.folder("written"), self.folder("work"));
                anew(&written, dir.meta(), self.owner)?;
                anew(&work, &Meta::EXECUTABLE, self.owner)?;
                let name =
                    |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
                let (Some(written), Some(work)) = (name(&written), name(&work)) else {
                    return Err(lacks());
                };
                self.push(at, WhatSpec::Overlay { lower: source, written, work });
            }
            // Only the first is what is staged: see `WhatSpec::Shown`.
            Node::File(file) if writable || std::mem::replace(&mut self.shown, true) => {
                let copy = self.folder("file");
                std::fs::copy(&source, &copy).map_err(fail("copy", &source))?;
                let (uid, gid) = file.meta.owner();
                let owner = |id: u32| Some(self.owner.wrapping_add(id));
                lchown(&copy, owner(uid), owner(gid)).map_err(fail("prepare", &copy))?;
                self.push(at, WhatSpec::Bind { source: copy, read_only: !writable });
            }
            Node::Dir(_) if std::mem::replace(&mut self.shown, true) => {
                let below = self.folder("below");
                anew(&below, &Meta::EXECUTABLE, self.owner)?;
                self.push(at, WhatSpec::Shown { lower: source, below });
            }
            Node::Dir(_) | Node::File(_) => {
                self.push(at, WhatSpec::Bind { source, read_only: true });
            }
            _ => return Err(lacks()),
        }
        Ok(())
    }

    /// Gives what was checked out the owners that it has in its tree, and the modes that only they
    /// may have.
    fn own(&self, folder: &Path, tree: &Tree) -> Result<(), ExecuteError> {
        let mut nodes = vec![(folder.to_path_buf(), Node::Dir(Arc::clone(tree.root())))];
        tree.walk(|entry| nodes.push((entry.path.under(folder), entry.node.clone())));
        // Folders after what is in them: the owner may be another one then.
        for (path, node) in nodes.iter().rev() {
            let (meta, has_mode) = match node {
                Node::Dir(dir) => (dir.meta(), true),
                Node::File(file) => (&file.meta, true),
                Node::Fifo(meta) => (meta, true),
                Node::Symlink(link) => (&link.meta, false),
                Node::Whiteout => continue,
            };
            let (uid, gid) = meta.owner();
            let owner = |id: u32| Some(self.owner.wrapping_add(id));
            lchown(path, owner(uid), owner(gid)).map_err(fail("give away", path))?;
            if has_mode {
                make_mode(path, meta.mode)?;
            }
        }
        Ok(())
    }
}

fn make_mode(path: &Path, mode: u32) -> Result<(), ExecuteError> {
    rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(mode))
        .map_err(|e| fail("prepare", path)(e.into()))
}

/// A folder with nothing in it.
fn anew(path: &Path, meta: &Meta, owner: u32) -> Result<(), ExecuteError> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(fail("empty", path)(e)),
        _ => make_folder_of(path, meta, owner),
    }
}
