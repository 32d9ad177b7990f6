//! The executor of this machine: stage what a command sees, run it in a sandbox, keep what it
//! made.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ashlar_object::Time;
use ashlar_store::{Capture, LocalStore, Staged, Store as _, StoreError, Workspace};
use rustix::fs::{Gid, Mode, Uid};

use crate::attempt::{Attempt, End};
use crate::layers::Layers;
use crate::log::Log;
use crate::mounts::MADE;
use crate::rights::{Rights, find, lacks_ids, rights};
use crate::spec::{RootSpec, Spec};
use crate::{
    Cancel, ExecuteError, Executor, Finished, Jobs, Keep, Kept, Outcome, Request, Root, shim,
};

/// What a [`Sandbox`] is told once.
#[derive(Clone)]
pub struct SandboxOptions {
    /// The user id outside that is root inside: 524288 for the machine's root, 0 in a user name
    /// space; the same number that the store was opened with.
    pub owner_base: u32,
    /// This program: what has [`crate::internal_sandbox`] behind `internal-sandbox`.
    pub helper: PathBuf,
    /// Whether the folders of a failed command stay until the [`Sandbox`] is dropped.
    pub keep_failed: bool,
    /// Is given the output of a command as it comes, by whole lines, with the request's label.
    pub on_output: OnOutput,
}

/// What is done with output as it comes.
pub type OnOutput = Arc<dyn Fn(&str, &[u8]) + Send + Sync>;

impl std::fmt::Debug for SandboxOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SandboxOptions")
            .field("owner_base", &self.owner_base)
            .field("helper", &self.helper)
            .field("keep_failed", &self.keep_failed)
            .finish_non_exhaustive()
    }
}

/// Runs commands on this machine.
#[derive(Debug)]
pub struct Sandbox {
    store: Arc<LocalStore>,
    options: SandboxOptions,
    /// Holds the skeleton, the lowest layer of every root; made when it is first needed.
    home: Mutex<Option<Arc<Workspace>>>,
    failed: Mutex<Vec<Prepared>>,
}

impl Sandbox {
    /// An executor over a store. Nothing is looked at yet; see [`crate::probe`].
    #[must_use]
    pub fn new(store: Arc<LocalStore>, options: SandboxOptions) -> Self {
        Self { store, options, home: Mutex::default(), failed: Mutex::default() }
    }

    /// Runs a command of the request's with the terminal attached and nothing kept, as a person
    /// uses it; its exit code.
    ///
    /// Whoever calls this lets SIGINT and SIGQUIT pass by, because the terminal sends them to
    /// every process.
    ///
    /// # Errors
    /// As [`Executor::run`].
    pub fn shell(&self, request: &Request) -> Result<i32, ExecuteError> {
        let prepared = self.prepare(request, None)?;
        let attempt = Attempt { helper: &self.options.helper, spec: &prepared.spec, jobs: None };
        attempt.run_on_terminal()
    }

    /// The folders of the commands that failed, with what they had written: `root` what was
    /// changed in the root, `src` in the source tree, `dest` the outputs.
    #[must_use]
    pub fn failed_folders(&self) -> Vec<PathBuf> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.iter().map(|prepared| prepared.folder().to_path_buf()).collect()
    }

    /// Puts everything in place for a command. Without `jobs` it is one that a person uses, with
    /// the terminal attached.
    fn prepare(&self, request: &Request, jobs: Option<&Jobs>) -> Result<Prepared, ExecuteError> {
        match rights() {
            Rights::RealRoot if self.options.owner_base == 0 => {
                return Err(ExecuteError::Sandbox(
                    "the machine's root would be root inside: the owner base is 0".into(),
                ));
            }
            Rights::RealRoot => {}
            Rights::Namespace { ids } if request.many_ids && ids < 65_535 => {
                return Err(lacks_ids());
            }
            Rights::Namespace { .. } => {}
            Rights::Plain => {
                return Err(ExecuteError::Lacks {
                    what: "this process is not root of a user name space".into(),
                    advice: "start the build through the program's own command".into(),
                });
            }
        }
        let bwrap = find("bwrap").ok_or_else(|| ExecuteError::Lacks {
            what: "`bwrap` is not installed, which is the sandbox".into(),
            advice: "install the package bubblewrap".into(),
        })?;
        let home = self.home()?;
        let workspace = self.store.workspace(&request.label)?;
        let owner = self.options.owner_base;
        for folder in ["root", "root-work", "src", "src-work", "dest", "home"] {
            make_folder(&workspace.path().join(folder), owner)?;
        }
        for folder in ["point", "layers"] {
            make_folder(&workspace.path().join(folder), 0)?;
        }

        let mut staged = Vec::new();
        let mut stage = |kept: &Kept| {
            let tree = self.store.stage(&kept.digest, &kept.tree)?;
            let path = tree.path().to_path_buf();
            staged.push(tree);
            Ok::<_, StoreError>(path)
        };
        let stage_all =
            |trees: &[Kept], stage: &mut dyn FnMut(&Kept) -> Result<PathBuf, StoreError>| {
                // The kernel refuses a folder that is a layer twice. The upper one says it all.
                let mut folders: Vec<PathBuf> = Vec::new();
                for kept in trees.iter().rev() {
                    let folder = stage(kept)?;
                    if !folders.contains(&folder) {
                        folders.push(folder);
                    }
                }
                Ok::<_, StoreError>(folders)
            };
        let skeleton = home.path().join("skeleton");
        let root = match &request.root {
            Root::Layers(trees) => {
                let mut layers = stage_all(trees, &mut stage)?;
                layers.push(skeleton);
                RootSpec::Layers(layers)
            }
            Root::Host(trees) => RootSpec::Host {
                layers: stage_all(trees, &mut stage)?,
                skeleton,
                avoid: self.store.path().to_path_buf(),
            },
        };
        let source = request.source.as_ref().map(&mut stage).transpose()?;
        let mounts = request
            .mounts
            .iter()
            .map(|mount| Ok((stage(&mount.tree)?, mount.at.clone())))
            .collect::<Result<Vec<_>, StoreError>>()?;

        let mut environment = request.command.environment.clone();
        let path = environment
            .get("PATH")
            .map_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", String::as_str);
        environment.insert("PATH".into(), format!("{}:{path}", shim::FOLDER));
        let count = match jobs {
            Some(jobs) => {
                let declared = environment.get("MAKEFLAGS").map(String::as_str);
                let flags = jobs.makeflags(declared.unwrap_or_default());
                environment.insert("MAKEFLAGS".into(), flags);
                jobs.total()
            }
            None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        };
        environment.entry("JOBS".into()).or_insert_with(|| count.to_string());
        let spec = Spec {
            folder: workspace.path().to_path_buf(),
            owner,
            root,
            source,
            mounts,
            bwrap,
            arguments: request.command.arguments.clone(),
            environment,
            directory: format!("/{}", request.command.working_directory.trim_start_matches('/')),
            all_capabilities: request.many_ids,
            terminal: jobs.is_none(),
        };
        Ok(Prepared { spec, workspace, _staged: staged, _home: home })
    }

    /// The folder with the skeleton: the mount points that every root needs, and the make shim.
    fn home(&self) -> Result<Arc<Workspace>, ExecuteError> {
        let mut home = self.home.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(home) = &*home {
            return Ok(Arc::clone(home));
        }
        let workspace = self.store.workspace("skeleton")?;
        let skeleton = workspace.path().join("skeleton");
        let owner = self.options.owner_base;
        make_folder(&skeleton, owner)?;
        for folder in [
            "build",
            "build/src",
            "build/dest",
            "build/home",
            "build/bin",
            "dev",
            "proc",
            "run",
            "sys",
            "tmp",
        ] {
            make_folder(&skeleton.join(folder), owner)?;
        }
        for name in shim::NAMES {
            let path = skeleton.join(shim::FOLDER.trim_start_matches('/')).join(name);
            std::fs::write(&path, shim::SCRIPT).map_err(fail("write", &path))?;
            set_mode(&path, 0o755, owner)?;
        }
        Ok(Arc::clone(home.insert(Arc::new(workspace))))
    }

    fn keep(&self, request: &Request, prepared: &Prepared) -> Result<Outcome, ExecuteError> {
        let (folder, how) = match request.keep {
            Keep::Outputs => ("dest", Capture::Outputs),
            Keep::Root => ("dest", Capture::Root),
            Keep::Changes => {
                let Root::Layers(trees) = &request.root else {
                    return Ok(Outcome::Unkeepable(
                        "the machine's own file system, which cannot be changed".into(),
                    ));
                };
                let list = prepared.folder().join(MADE);
                let made = std::fs::read(&list).map_err(fail("read", &list))?;
                Layers::new(trees.iter().map(|kept| &kept.tree)).clean(
                    &prepared.folder().join("root"),
                    &made,
                    self.options.owner_base,
                )?;
                ("root", Capture::Layer)
            }
        };
        match self.store.keep_folder(&prepared.folder().join(folder), how) {
            Ok((digest, tree)) => Ok(Outcome::Succeeded(Kept { digest, tree })),
            Err(StoreError::Unkeepable { path, what }) => {
                let path = path.strip_prefix(prepared.folder().join(folder)).unwrap_or(&path);
                Ok(Outcome::Unkeepable(format!("{} is {what}", path.display())))
            }
            Err(other) => Err(other.into()),
        }
    }
}

impl Executor for Sandbox {
    fn run(
        &self,
        request: &Request,
        jobs: &Jobs,
        cancel: &Cancel,
    ) -> Result<Finished, ExecuteError> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let begun = Instant::now();
        let prepared = self.prepare(request, Some(jobs))?;
        let attempt =
            Attempt { helper: &self.options.helper, spec: &prepared.spec, jobs: Some(jobs) };
        let mut log = Log::new();
        let end = attempt.run(request.timeout, cancel, &mut log, &mut |lines| {
            (self.options.on_output)(&request.label, lines);
        })?;
        let outcome = match end {
            End::Exited(0) => self.keep(request, &prepared)?,
            End::Exited(code) => Outcome::Failed(code),
            End::TimedOut(after) => Outcome::TimedOut(after),
            End::Cancelled => Outcome::Cancelled,
        };
        if self.options.keep_failed && matches!(outcome, Outcome::Failed(_) | Outcome::TimedOut(_))
        {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(prepared);
        }
        let log = self.store.put(&mut log.reader())?;
        let started = Time {
            seconds: i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX),
            nanos: since_epoch.subsec_nanos(),
        };
        Ok(Finished { outcome, log, started, took: begun.elapsed() })
    }
}

/// Everything a command needs on disk, for as long as it runs.
#[derive(Debug)]
struct Prepared {
    spec: Spec,
    workspace: Workspace,
    /// Keeps the collector away.
    _staged: Vec<Staged>,
    _home: Arc<Workspace>,
}

impl Prepared {
    fn folder(&self) -> &Path {
        self.workspace.path()
    }
}

fn fail<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> ExecuteError + 'a {
    move |source| ExecuteError::Workspace { doing, path: path.to_path_buf(), source }
}

fn make_folder(path: &Path, owner: u32) -> Result<(), ExecuteError> {
    std::fs::create_dir(path).map_err(fail("make", path))?;
    set_mode(path, 0o755, owner)
}

/// Mode and owner, whatever the umask of this process.
fn set_mode(path: &Path, mode: u32, owner: u32) -> Result<(), ExecuteError> {
    let set = || {
        rustix::fs::chown(path, Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)))?;
        rustix::fs::chmod(path, Mode::from_raw_mode(mode))
    };
    set().map_err(|e| fail("prepare", path)(e.into()))
}
