//! A tree that is no project of modules: where its root is, its remotes, its store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ashlar_build::{Keys, find_project};
use ashlar_recipe::{PROJECT_FILE, RUNS_FILE, Remote, override_remotes, project_remotes};
use ashlar_store::LocalStore;

use crate::args::Globals;
use crate::exit::Failed;
use crate::remotes::{self, Opened};
use crate::wiring::{open_store, remote_variables, show_warnings};

/// Files that say where the root of such a tree is.
const MARKS: [&str; 3] = [PROJECT_FILE, RUNS_FILE, "ashlar-cache.toml"];

/// A tree with its store and the remotes of its `ashlar.toml`, if it has one.
pub struct Workspace {
    pub store: Arc<LocalStore>,
    /// The root, an absolute path.
    pub root: PathBuf,
    /// Where below it we are.
    pub below: PathBuf,
    pub remotes: Vec<Remote>,
    /// What files that remotes name are relative to.
    pub folder: PathBuf,
    offline: bool,
}

impl Drop for Workspace {
    /// What the store met on the way.
    fn drop(&mut self) {
        show_warnings(&self.store);
    }
}

impl Workspace {
    /// Finds the root from the current folder, or `-C`, upwards, unless it is given; opens the
    /// store and reads which remotes there are. Nothing is contacted.
    pub fn open(globals: &Globals, root: Option<&Path>) -> Result<Self, Failed> {
        let here = std::path::absolute(&globals.project)
            .map_err(|e| Failed::usage(format!("{}: {e}", globals.project.display())))?;
        if !here.is_dir() {
            return Err(Failed::usage(format!("{} is no folder", here.display())));
        }
        let root = match root {
            Some(root) => std::path::absolute(root)
                .map_err(|e| Failed::usage(format!("{}: {e}", root.display())))?,
            None => root_of(&here),
        };
        let below = here.strip_prefix(&root).map(Path::to_owned).map_err(|_| {
            Failed::usage(format!("{} is not in {}", here.display(), root.display()))
                .help("--root names a folder that holds the current one")
        })?;
        let (folder, remotes) = remotes_of(&root, globals)?;
        let store = open_store(globals)?;
        Ok(Self { store, root, below, remotes, folder, offline: globals.offline })
    }

    /// A folder that is a root whatever lies in it and above, with the remotes of the nearest
    /// `ashlar.toml`.
    pub fn at(globals: &Globals, root: &Path) -> Result<Self, Failed> {
        let (folder, remotes) = remotes_of(root, globals)?;
        let store = open_store(globals)?;
        let (root, below) = (root.to_owned(), PathBuf::new());
        Ok(Self { store, root, below, remotes, folder, offline: globals.offline })
    }

    /// The remotes that are read or written.
    pub fn open_remotes(&self) -> Result<Vec<Opened>, Failed> {
        remotes::open_used_of(&self.folder, &self.remotes, self.offline)
    }

    /// Where signatures are required of everything that comes from elsewhere: by which keys.
    pub fn accepted(&self) -> Result<Vec<Keys>, Failed> {
        remotes::accepted(&self.folder, &self.remotes)
    }
}

/// The nearest folder upwards that one of our files marks, else that of a repository, else the
/// folder itself.
fn root_of(here: &Path) -> PathBuf {
    let marked = |folder: &&Path| MARKS.iter().any(|mark| folder.join(mark).is_file());
    let checkout = |folder: &&Path| folder.join(".git").exists();
    here.ancestors().find(marked).or_else(|| here.ancestors().find(checkout)).unwrap_or(here).into()
}

/// The remotes of the nearest `ashlar.toml`, as the environment and the command line leave them,
/// and the folder that file is in.
fn remotes_of(root: &Path, globals: &Globals) -> Result<(PathBuf, Vec<Remote>), Failed> {
    let folder = find_project(root).unwrap_or_else(|_| root.to_owned());
    let file = folder.join(PROJECT_FILE);
    let written = match std::fs::read(&file) {
        Ok(bytes) => project_remotes(&bytes)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(Failed::usage(format!("{}: {e}", file.display()))),
    };
    let remotes = override_remotes(written, remote_variables(), &globals.remotes)?;
    Ok((folder, remotes::as_branch_may(root, remotes)))
}
