//! The executor of this machine: stage what a command sees, run it in a sandbox, keep what it
//! made.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ashlar_object::Time;
use ashlar_store::{Capture, LocalStore, Store as _, StoreError};

use crate::attempt::{Attempt, End};
use crate::layers::Layers;
use crate::log::Log;
use crate::mounts::MADE;
use crate::workspace::{Prepared, Skeleton, fail};
use crate::{Cancel, ExecuteError, Executor, Finished, Jobs, Keep, Kept, Outcome, Request, Root};

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
    failed: Mutex<Vec<Prepared>>,
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
            ExecuteError::Lacks { .. } | ExecuteError::Store(_) => false,
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
        let attempt =
            Attempt { helper: &self.options.helper, spec: &prepared.spec, jobs: Some(jobs) };
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
        if self.options.keep_failed && matches!(outcome, Outcome::Failed(_) | Outcome::TimedOut(_))
        {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(prepared);
        }
        let log = self.store.put(&mut log.reader())?;
        let started = Time {
            seconds: i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX),
            nanos: since_epoch.subsec_nanos(),
        };
        Ok(Finished { outcome, log, started, took: begun.elapsed(), checkpoints: Vec::new() })
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
