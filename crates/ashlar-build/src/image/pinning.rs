//! The file of pins that is written as commands are recorded.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ashlar_recipe::{PinnedRun, Pins};
use ashlar_source::Proxies;

use crate::event::{ErrorKind, Failure};

/// How long a run waits for others that write to the file, which takes them milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(5);

/// A file of pins that is written as commands are recorded.
pub struct Pinning {
    file: PathBuf,
    shown: String,
    proxies: Proxies,
    recorded: Mutex<BTreeMap<String, PinnedRun>>,
}

impl Pinning {
    /// The file, what people call it, and the machine's own way to the network.
    #[must_use]
    pub fn new(file: PathBuf, shown: String, proxies: Proxies) -> Self {
        Self { file, shown, proxies, recorded: Mutex::default() }
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    pub(super) fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// What this run recorded.
    #[must_use]
    pub fn recorded(&self) -> BTreeMap<String, PinnedRun> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PinnedRun>> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what a command downloaded to the file. Commands that are the same and begin with the
    /// same share a block.
    pub(super) fn add(&self, id: &str, mut run: PinnedRun) -> Result<(), Failure> {
        let mut recorded = self.lock();
        if let Some(known) = recorded.get(id) {
            for pin in &known.gets {
                if !run.gets.iter().any(|new| (&new.url, new.head) == (&pin.url, pin.head)) {
                    run.gets.push(pin.clone());
                }
            }
            run.gets.sort();
        }
        let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let _held = held(folder);
        // Read again: other runs may have written to it.
        let mut pins = match std::fs::read_to_string(&self.file) {
            Ok(text) => Pins::parse(&self.shown, &text)
                .map_err(|problems| Failure::project(problems.to_string()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Pins::default(),
            Err(e) => return Err(self.unusable("read", &e)),
        };
        pins.runs.insert(id.to_owned(), run.clone());
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::Builder::new().permissions(mode()).tempfile_in(folder)?;
            file.write_all(pins.to_text().as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&self.file).map_err(|e| e.error)?;
            Ok(())
        };
        write().map_err(|e| self.unusable("write", &e))?;
        recorded.insert(id.to_owned(), run);
        Ok(())
    }

    fn unusable(&self, doing: &str, error: &std::io::Error) -> Failure {
        Failure::Error {
            message: format!("cannot {doing} {}: {error}", self.file.display()),
            advice: None,
            kind: ErrorKind::Project,
        }
    }
}

/// Keeps other runs from writing to files of pins in a folder, until it is dropped. The folder is
/// locked and not the file, which is another one each time that it is written.
fn held(folder: &Path) -> Option<File> {
    let begun = Instant::now();
    let folder = File::open(folder).ok()?;
    loop {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => std::thread::sleep(LOOK),
            // Not every file system has locks, and somebody may hold this one for a whole job.
            // What two runs then lose of each other is recorded anew.
            Err(_) => return None,
        }
    }
}

/// Everybody may read it, as far as the user's mask allows.
fn mode() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_write_at_the_same_time_lose_nothing_of_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shared.pins");
        std::thread::scope(|scope| {
            for run in 0..4_u32 {
                let file = file.clone();
                scope.spawn(move || {
                    let pinning = Pinning::new(file, "shared.pins".to_owned(), Proxies::default());
                    for command in 0..8_u32 {
                        let id = format!("{:016x}", run * 100 + command);
                        pinning.add(&id, PinnedRun::default()).unwrap();
                    }
                });
            }
        });
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(Pins::parse("shared.pins", &text).unwrap().runs.len(), 32);
    }
}
