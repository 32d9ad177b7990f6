//! The executor of this machine: stage what a command sees, run it in a sandbox, keep what it
//! made.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ashlar_object::Time;
use ashlar_store::{Capture, LocalStore, Store as _, StoreError};

use crate::attempt::{Attempt, End};
use crate::image::find_secret;
use crate::layers::Layers;
use crate::log::Log;
use crate::mounts::MADE;
use crate::workspace::{Prepared, Skeleton, fail};
use crate::{
    Cancel, Checkpoint, ExecuteError, Executor, Finished, Jobs, Keep, Kept, Leak, Mounted, Outcome,
    Request, Root, View,
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
    /// Made when it is first needed.
    skeleton: Mutex<Option<Arc<Skeleton>>>,
    failed: Mutex<Vec<Failed>>,
}

/// What a failed command left.
#[derive(Debug)]
struct Failed {
    label: String,
    prepared: Prepared,
    checkpoints: Vec<Checkpoint>,
}

impl Sandbox {
    /// An executor over a store. Nothing is looked at yet; see [`crate::probe()`].
    #[must_use]
    pub fn new(store: Arc<LocalStore>, options: SandboxOptions) -> Self {
        Self { store, options, skeleton: Mutex::default(), failed: Mutex::default() }
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
        let owner = self.options.owner_base;
        let prepared = Prepared::new(&self.store, &self.skeleton()?, owner, request, None)?;
        self.on_terminal(&prepared, request)
    }

    /// As [`Sandbox::shell`], for a request in an image, in what the last failed command with the
    /// same label left, checkpoints included; `None` when there is none. It takes
    /// [`SandboxOptions::keep_failed`].
    ///
    /// # Errors
    /// As [`Executor::run`].
    pub fn shell_after_failure(&self, request: &Request) -> Result<Option<i32>, ExecuteError> {
        let View::Image(view) = &request.view else { return Ok(None) };
        let mut list = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = list.iter().rposition(|failed| failed.label == request.label) else {
            return Ok(None);
        };
        let mut failed = list.swap_remove(at);
        drop(list);
        let mut view = view.clone();
        for mount in &mut view.mounts {
            let left = failed.checkpoints.iter().find(|left| left.at == mount.at);
            if let (Mounted::Checkpoint { seed, .. }, Some(left)) = (&mut mount.what, left) {
                *seed = Some(left.kept.clone());
            }
        }
        let code = failed
            .prepared
            .again(&self.store, request, &view)
            .and_then(|()| self.on_terminal(&failed.prepared, request));
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(failed);
        code.map(Some)
    }

    fn on_terminal(&self, prepared: &Prepared, request: &Request) -> Result<i32, ExecuteError> {
        let gateway = match &request.view {
            View::Module => None,
            View::Image(view) => view.gateway.as_ref(),
        };
        let (helper, grace) = (self.options.helper.as_path(), Duration::ZERO);
        let attempt = Attempt { helper, spec: &prepared.spec, jobs: None, gateway, grace };
        attempt.run_on_terminal()
    }

    /// The folders of the commands that failed, with what they had written: `root` what was
    /// changed in the root, `src` in the source tree, `dest` the outputs.
    #[must_use]
    pub fn failed_folders(&self) -> Vec<PathBuf> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.iter().map(|failed| failed.prepared.folder().to_path_buf()).collect()
    }

    fn skeleton(&self) -> Result<Arc<Skeleton>, ExecuteError> {
        let mut skeleton = self.skeleton.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(skeleton) = &*skeleton {
            return Ok(Arc::clone(skeleton));
        }
        let new = Arc::new(Skeleton::new(&self.store, self.options.owner_base)?);
        Ok(Arc::clone(skeleton.insert(new)))
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
                let (upper, owner) = (prepared.folder().join("root"), self.options.owner_base);
                let layers = Layers::new(trees.iter().map(|kept| &kept.tree));
                let how = match request.view {
                    View::Module => {
                        layers.clean(&upper, &made, owner)?;
                        Capture::Layer
                    }
                    View::Image(_) => {
                        layers.clean_image(&upper, &made, owner)?;
                        Capture::ImageLayer
                    }
                };
                ("root", how)
            }
        };
        let made = prepared.folder().join(folder);
        if let View::Image(view) = &request.view
            && let Some(leak) = find_secret(&made, &view.secrets).map_err(fail("search", &made))?
        {
            return Ok(Outcome::Leak(leak));
        }
        match self.store.keep_folder(&made, how) {
            Ok((digest, tree)) => match unwritable(&tree).filter(|_| how == Capture::ImageLayer) {
                None => Ok(Outcome::Succeeded(Kept { digest, tree })),
                Some(path) => Ok(Outcome::Unkeepable(format!(
                    "{path} has a name that deletes another file in layers of images"
                ))),
            },
            Err(StoreError::Unkeepable { path, what }) => {
                let path = path.strip_prefix(&made).unwrap_or(&path);
                Ok(Outcome::Unkeepable(format!("{} is {what}", path.display())))
            }
            Err(other) => Err(other.into()),
        }
    }
}

impl Sandbox {
    /// Keeps the checkpoints of a command that has ended before its time.
    fn keep_checkpoints(
        &self,
        request: &Request,
        prepared: &Prepared,
        log: &mut Log,
    ) -> Result<Left, ExecuteError> {
        let (mut kept, mut leaks) = (Vec::new(), Vec::new());
        for (at, folder) in &prepared.checkpoints {
            if let View::Image(view) = &request.view
                && let Some(leak) =
                    find_secret(folder, &view.secrets).map_err(fail("search", folder))?
            {
                leaks.push((at.clone(), leak));
                continue;
            }
            match self.store.keep_folder(folder, Capture::Checkpoint) {
                Ok((digest, tree)) => {
                    kept.push(Checkpoint { at: at.clone(), kept: Kept { digest, tree } });
                }
                // That is no reason to lose the others, nor how the command ended.
                Err(StoreError::Unkeepable { path, what }) => {
                    let path = path.strip_prefix(folder).unwrap_or(&path);
                    let line = format!(
                        "\n[ashlar: the checkpoint {at} is not kept: {} is {what}]\n",
                        path.display()
                    );
                    log.push(line.as_bytes(), &mut |_| {});
                }
                Err(other) => return Err(other.into()),
            }
        }
        Ok((kept, leaks))
    }
}

/// The checkpoints that are kept, and those with secrets in them.
type Left = (Vec<Checkpoint>, Vec<(String, Leak)>);

/// A file with a name that means something else in a layer: see the OCI image specification,
/// "Whiteouts".
fn unwritable(tree: &ashlar_object::Tree) -> Option<String> {
    let mut found = None;
    tree.walk(|entry| {
        let name = entry.path.names().last();
        if found.is_none() && name.is_some_and(|name| name.as_bytes().starts_with(b".wh.")) {
            found = Some(entry.path.to_string());
        }
    });
    found
}

/// So little room on a disk is none: a command cannot do anything with it.
const NO_ROOM: u64 = 64 << 10;

impl Sandbox {
    /// Whether the disk of the store has no room left.
    fn is_full(&self) -> bool {
        // A disk that cannot be asked has other faults than being full.
        rustix::fs::statvfs(self.store.path()).is_ok_and(|disk| {
            // Only the machine's root may use all of it.
            let root = self.options.owner_base != 0;
            let blocks = if root { disk.f_bfree } else { disk.f_bavail };
            // Some file systems do not count files.
            blocks * disk.f_frsize < NO_ROOM || (disk.f_files > 0 && disk.f_ffree == 0)
        })
    }

    fn full(&self) -> ExecuteError {
        ExecuteError::Store(StoreError::Full { path: self.store.path().to_path_buf() })
    }

    /// An error that comes from a full disk says so.
    fn blame_the_disk(&self, error: ExecuteError) -> ExecuteError {
        let blamed = match &error {
            ExecuteError::Workspace { source, .. } => {
                matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
            }
            ExecuteError::Sandbox(_) => self.is_full(),
            ExecuteError::Lacks { .. } | ExecuteError::Request { .. } | ExecuteError::Store(_) => {
                false
            }
        };
        if blamed { self.full() } else { error }
    }

    fn run_prepared(
        &self,
        request: &Request,
        jobs: &Jobs,
        cancel: &Cancel,
    ) -> Result<Finished, ExecuteError> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let begun = Instant::now();
        let owner = self.options.owner_base;
        let prepared = Prepared::new(&self.store, &self.skeleton()?, owner, request, Some(jobs))?;
        let (jobs, gateway, grace) = match &request.view {
            View::Module => (Some(jobs), None, Duration::ZERO),
            View::Image(view) => (None, view.gateway.as_ref(), view.grace),
        };
        let helper = self.options.helper.as_path();
        let attempt = Attempt { helper, spec: &prepared.spec, jobs, gateway, grace };
        let mut log = Log::new();
        let end = attempt.run(request.timeout, cancel, &mut log, &mut |lines| {
            (self.options.on_output)(&request.label, lines);
        });
        // Looked at now, while what the command wrote is still there.
        let end = end.map_err(|error| self.blame_the_disk(error))?;
        let outcome = match end {
            End::Exited(0) => self.keep(request, &prepared)?,
            // Whatever it says, it says it for lack of room.
            End::Exited(_) if self.is_full() => return Err(self.full()),
            End::Exited(code) => Outcome::Failed(code),
            End::TimedOut(after) => Outcome::TimedOut(after),
            End::Cancelled => Outcome::Cancelled,
        };
        let (checkpoints, leaks) = match outcome {
            Outcome::Succeeded(_) | Outcome::Leak(_) => (Vec::new(), Vec::new()),
            _ => self.keep_checkpoints(request, &prepared, &mut log)?,
        };
        if self.options.keep_failed && matches!(outcome, Outcome::Failed(_) | Outcome::TimedOut(_))
        {
            let (label, checkpoints) = (request.label.clone(), checkpoints.clone());
            let failed = Failed { label, prepared, checkpoints };
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(failed);
        }
        let log = self.store.put(&mut log.reader())?;
        let started = Time {
            seconds: i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX),
            nanos: since_epoch.subsec_nanos(),
        };
        Ok(Finished { outcome, log, started, took: begun.elapsed(), checkpoints, leaks })
    }
}

impl Executor for Sandbox {
    fn run(
        &self,
        request: &Request,
        jobs: &Jobs,
        cancel: &Cancel,
    ) -> Result<Finished, ExecuteError> {
        self.run_prepared(request, jobs, cancel).map_err(|error| self.blame_the_disk(error))
    }
}
