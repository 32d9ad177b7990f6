//! What is remembered of runs between them: what each was the last time, and which made which file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ashlar_object::{CanonicalHasher, Digest, StepKey};
use ashlar_recipe::Declaration;
use ashlar_store::{Journal, LocalStore, StoreError};
use serde::{Deserialize, Serialize};

/// A file that a run made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The file's content then.
    pub content: Digest,
    /// Everything that the run made.
    pub outputs: Digest,
    /// The name of the run.
    pub run: String,
}

/// What is remembered of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// Its key, as hexadecimal digits.
    pub key: String,
    /// What is declared of it, as it was said.
    pub declaration: Said,
    /// How often it was found.
    pub hits: u64,
    /// How often it was run.
    pub misses: u64,
    /// How long the hits would have taken, in milliseconds.
    pub saved_ms: u64,
    /// How long it took when it was run, in milliseconds.
    pub spent_ms: u64,
    /// The digest of the log, `hash/size`.
    pub log: Option<String>,
    /// The digest of the pieces of its key, `hash/size`.
    pub pieces: Option<String>,
    /// `hit`, `built` or `failed`.
    pub outcome: String,
    /// Why it was run: what was different.
    pub reason: Vec<String>,
    /// When, in seconds since the Unix epoch.
    pub at: i64,
}

/// A declaration as it is kept: its lists in the order of [`Said::of`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    command: Vec<String>,
    directory: Option<String>,
    no_inputs: bool,
    lists: Vec<Vec<String>>,
}

impl Said {
    /// As it is kept.
    #[must_use]
    pub fn of(declaration: &Declaration) -> Self {
        let Declaration {
            command,
            directory,
            input,
            maybe,
            no_inputs,
            common,
            env,
            secret,
            flag,
            tool,
            tool_version,
            uses,
            git,
            output,
        } = declaration.clone();
        let lists =
            vec![input, maybe, common, env, secret, flag, tool, tool_version, uses, git, output];
        Self { command, directory, no_inputs, lists }
    }

    /// As it was said.
    #[must_use]
    pub fn declaration(self) -> Declaration {
        let mut lists = self.lists.into_iter();
        let mut next = || lists.next().unwrap_or_default();
        Declaration {
            command: self.command,
            directory: self.directory,
            no_inputs: self.no_inputs,
            input: next(),
            maybe: next(),
            common: next(),
            env: next(),
            secret: next(),
            flag: next(),
            tool: next(),
            tool_version: next(),
            uses: next(),
            git: next(),
            output: next(),
        }
    }
}

/// The beginning of the names of notes about a project.
fn project(kind: &str, root: &Path) -> String {
    let mut hasher = CanonicalHasher::new(kind);
    hasher.bytes(root.as_os_str().as_encoded_bytes());
    format!("{kind}:{}:", StepKey(hasher.finish()).short())
}

/// The name of a note about something of a project.
fn name(kind: &str, root: &Path, of: &str) -> String {
    format!("{}{of}", project(kind, root))
}

/// Where notes are when the store cannot be written: below the root, out of everybody's way.
const FOLDER: &str = ".ashlar-run";

/// What is known of a file that a run may have made.
///
/// # Errors
/// When the journal cannot be read.
pub fn made(journal: &Journal, root: &Path, path: &str) -> Result<Option<Made>, StoreError> {
    let name = name("run-made", root, path);
    // The newer of the two is the one in the folder: it is removed by whoever writes the other.
    let bytes = match std::fs::read(beside(root, &name)) {
        Ok(bytes) => Some(bytes),
        Err(_) => journal.recall(&name)?,
    };
    let Some(bytes) = bytes else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    let mut parts = text.splitn(3, ' ');
    let mut digest = || parts.next().and_then(|part| part.parse().ok());
    let (Some(content), Some(outputs)) = (digest(), digest()) else { return Ok(None) };
    let Some(run) = parts.next().map(ToOwned::to_owned) else { return Ok(None) };
    Ok(Some(Made { content, outputs, run }))
}

/// Notes that a run made a file. A store that cannot be written must not change keys: the note is
/// kept beside the files then.
///
/// # Errors
/// When the journal cannot be written.
pub fn note(store: &LocalStore, root: &Path, path: &str, is: &Made) -> Result<(), StoreError> {
    let journal = store.journal();
    if made(journal, root, path)?.as_ref() == Some(is) {
        return Ok(());
    }
    let name = name("run-made", root, path);
    let text = format!("{} {} {}", is.content, is.outputs, is.run);
    let file = beside(root, &name);
    if store.is_read_only() {
        let folder = root.join(FOLDER);
        let written = std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(folder.join(".gitignore"), "*\n"))
            .and_then(|()| std::fs::write(&file, text));
        return written.map_err(|source| StoreError::Io { doing: "write", path: file, source });
    }
    journal.remember(&name, text.as_bytes())?;
    match std::fs::remove_file(&file) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::Io { doing: "remove", path: file, source: e })
        }
        _ => Ok(()),
    }
}

/// The file of a note beside the files of a project.
fn beside(root: &Path, name: &str) -> PathBuf {
    let hash = Digest::of(name.as_bytes()).short();
    root.join(FOLDER).join(hash)
}

/// What is remembered of a run.
///
/// # Errors
/// When the journal cannot be read.
pub fn last(journal: &Journal, root: &Path, run: &str) -> Result<Option<Last>, StoreError> {
    let bytes = journal.recall(&name("run-last", root, run))?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// What is remembered of all runs of a project, by their names.
///
/// # Errors
/// When the journal cannot be read.
pub fn all(journal: &Journal, root: &Path) -> Result<Vec<(String, Last)>, StoreError> {
    let beginning = project("run-last", root);
    let read = |(name, bytes): (String, Vec<u8>)| {
        let run = name.strip_prefix(&beginning)?.to_owned();
        Some((run, serde_json::from_slice(&bytes).ok()?))
    };
    Ok(journal.recall_all(&beginning)?.into_iter().filter_map(read).collect())
}

/// Remembers a run.
///
/// # Errors
/// When the journal cannot be written.
pub fn remember(journal: &Journal, root: &Path, run: &str, last: &Last) -> Result<(), StoreError> {
    // It has a form in JSON always.
    let bytes = serde_json::to_vec(last).unwrap_or_default();
    journal.remember(&name("run-last", root, run), &bytes)
}

/// Remembers a run that was found, which saved so long.
///
/// # Errors
/// When the journal cannot be written.
pub fn remember_hit(
    journal: &Journal,
    root: &Path,
    run: &str,
    last: &Last,
    saved: Duration,
) -> Result<(), StoreError> {
    // It has a form in JSON always.
    let bytes = serde_json::to_vec(last).unwrap_or_default();
    journal.remember_hit(&name("run-last", root, run), &bytes, saved)
}

/// A lock for all that happens to the files of one run of a project.
pub fn lock_name(root: &Path, run: &str) -> StepKey {
    let mut hasher = CanonicalHasher::new("ashlar run lock");
    hasher.bytes(root.as_os_str().as_encoded_bytes()).text(run);
    StepKey(hasher.finish())
}
