//! Commits of git repositories.

use std::fs::{File, TryLockError};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use ashlar_object::Digest;

use crate::SourceError;
use crate::program::{GIT, words};
use crate::unpack::{Attributes, Keep, Meter, UnpackError, Within};
use crate::url::Stop;

/// Which commit of which repository.
pub(crate) struct Wanted<'a> {
    pub url: &'a str,
    pub commit: &'a str,
    pub submodules: bool,
}

/// Why a commit cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// Not a full commit id.
    #[error("`{0}` is not a full commit id: 40 or 64 hexadecimal digits")]
    Id(String),
    /// Not an address.
    #[error("`{0}` is not the address of a repository")]
    Address(String),
    /// The repository cannot be fetched from.
    #[error("cannot fetch {commit} from {url}: git says:\n{words}")]
    Fetch {
        /// The repository.
        url: String,
        /// The commit.
        commit: String,
        /// What git said.
        words: String,
    },
    /// The repository was fetched and does not have the commit.
    #[error("{url} has no commit {commit}")]
    NoCommit {
        /// The repository.
        url: String,
        /// The commit.
        commit: String,
    },
    /// Git failed on its own clone.
    #[error("git cannot {doing}: {words}")]
    Failed {
        /// What was tried: a verb that fits "git cannot …".
        doing: &'static str,
        /// What git said.
        words: String,
    },
    /// An entry of the commit cannot be a file.
    #[error("the commit {commit} of {url} has the entry `{path}`, {what}")]
    Entry {
        /// The repository.
        url: String,
        /// The commit.
        commit: String,
        /// The entry, made printable.
        path: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A submodule without an address.
    #[error("the submodule `{path}` of {url} has no address in .gitmodules")]
    NoSubmodule {
        /// The repository.
        url: String,
        /// Where the submodule is.
        path: String,
    },
    /// Submodules of submodules without end.
    #[error("the submodules of {0} are nested too deep")]
    TooDeep(String),
}

impl GitError {
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Id(_) => Some("write the whole id, as `git rev-parse` prints it".to_owned()),
            Self::NoCommit { .. } => {
                Some("is the commit pushed, and to this repository?".to_owned())
            }
            _ => None,
        }
    }
}

/// How often a clone that another process uses is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How deep submodules may be nested.
const DEEPEST: usize = 16;

/// Writes the tree of a commit to `to`, which does not exist yet. Contents are those of the
/// commit: no filter, no line-end conversion and no attribute has a say. `stop` is asked while git
/// works.
pub(crate) fn export(
    wanted: &Wanted<'_>,
    clones: &Path,
    offline: bool,
    to: &Path,
    stop: Stop<'_>,
) -> Result<(), SourceError> {
    std::fs::create_dir(to).map_err(SourceError::io("create", to))?;
    let local = is_local(wanted.url);
    let repository = Repository { url: wanted.url.to_owned(), local };
    let mut todo = vec![(repository, wanted.commit.to_ascii_lowercase(), to.to_owned(), 0)];
    while let Some((repository, commit, folder, depth)) = todo.pop() {
        if depth > DEEPEST {
            return Err(GitError::TooDeep(wanted.url.to_owned()).into());
        }
        let clone = repository.fetch(&commit, clones, offline, stop)?;
        let modules = write_tree(&clone, &repository, &commit, &folder, stop)?;
        if !wanted.submodules || modules.is_empty() {
            continue;
        }
        let addresses = addresses(&clone, &commit, stop)?;
        for (path, commit) in modules {
            let url = addresses.iter().find(|(at, _)| *at == path).map(|(_, url)| url);
            let url = url.ok_or_else(|| GitError::NoSubmodule {
                url: repository.url.clone(),
                path: String::from_utf8_lossy(&path).into_owned(),
            })?;
            let child = repository.submodule(url);
            let at = folder.join(std::ffi::OsStr::from_bytes(&path));
            todo.push((child, commit, at, depth + 1));
        }
    }
    Ok(())
}

/// A repository to fetch from.
struct Repository {
    url: String,
    /// Whether git may read it from this machine: only when the project says so, never because
    /// a submodule does.
    local: bool,
}

impl Repository {
    /// The repository of a submodule; addresses that begin with a dot are relative to this one.
    fn submodule(&self, url: &str) -> Self {
        if !(url.starts_with("./") || url.starts_with("../")) {
            return Self { url: url.to_owned(), local: false };
        }
        let mut base = self.url.trim_end_matches('/');
        let mut rest = url;
        loop {
            if let Some(tail) = rest.strip_prefix("./") {
                rest = tail;
            } else if let Some(tail) = rest.strip_prefix("../") {
                rest = tail;
                // `host:path` has one more separator.
                base = base.rfind('/').or_else(|| base.rfind(':')).map_or(base, |at| &base[..at]);
            } else {
                break;
            }
        }
        let separator = if base.ends_with(':') { "" } else { "/" };
        Self { url: format!("{base}{separator}{rest}"), local: self.local }
    }

    /// The folder of our bare clone, with the commit in it.
    fn fetch(
        &self,
        commit: &str,
        clones: &Path,
        offline: bool,
        stop: Stop<'_>,
    ) -> Result<std::path::PathBuf, SourceError> {
        let hexadecimal = commit.bytes().all(|b| b.is_ascii_hexdigit());
        if !hexadecimal || !matches!(commit.len(), 40 | 64) {
            return Err(GitError::Id(commit.to_owned()).into());
        }
        if self.url.is_empty() || self.url.starts_with('-') {
            return Err(GitError::Address(self.url.clone()).into());
        }
        std::fs::create_dir_all(clones).map_err(SourceError::io("create", clones))?;
        let name = Digest::of(self.url.as_bytes()).short();
        let clone = clones.join(&name);
        // Two processes must not fetch into one clone at a time.
        let lock = clones.join(format!("{name}.lock"));
        let lock_file = File::create(&lock).map_err(SourceError::io("create", &lock))?;
        loop {
            match lock_file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if stop() => return Err(SourceError::Stopped),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
                Err(TryLockError::Error(e)) => return Err(SourceError::io("lock", &lock)(e)),
            }
        }
        if !clone.join("HEAD").exists() {
            let format = if commit.len() == 64 { "sha256" } else { "sha1" };
            let mut init = git(None);
            init.args(["init", "--quiet", "--bare", "--template=", "--object-format"]);
            run(init.arg(format).arg("--").arg(&clone), "make a clone", stop)?;
        }
        if has_commit(&clone, commit, stop)? {
            return Ok(clone);
        }
        if offline {
            return Err(SourceError::Offline { what: vec![format!("{} {commit}", self.url)] });
        }
        let reference = format!("+{commit}:refs/ashlar/{commit}");
        let shallow = self.fetch_into(&clone, &["--depth=1", "--", &self.url, &reference], stop)?;
        if !shallow.status.success() || !has_commit(&clone, commit, stop)? {
            // Not every server gives a commit by its id: then everything is fetched.
            let mut arguments = vec!["--", &self.url, "+refs/*:refs/all/*"];
            if clone.join("shallow").exists() {
                arguments.insert(0, "--unshallow");
            }
            let all = self.fetch_into(&clone, &arguments, stop)?;
            if !all.status.success() {
                return Err(GitError::Fetch {
                    url: self.url.clone(),
                    commit: commit.to_owned(),
                    words: words(&all.stderr),
                }
                .into());
            }
        }
        if has_commit(&clone, commit, stop)? {
            return Ok(clone);
        }
        Err(GitError::NoCommit { url: self.url.clone(), commit: commit.to_owned() }.into())
    }

    fn fetch_into(
        &self,
        clone: &Path,
        arguments: &[&str],
        stop: Stop<'_>,
    ) -> Result<Output, SourceError> {
        let mut command = git(Some(clone));
        let allowed = if self.local { "file:http:https:git:ssh" } else { "http:https:git:ssh" };
        command
            .env("GIT_ALLOW_PROTOCOL", allowed)
            .args(["-c", "fetch.fsckObjects=false"])
            .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"])
            .args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"])
            .args(["--no-recurse-submodules", "--force"])
            .args(arguments);
        GIT.run_until(&mut command, stop)
    }
}

/// Whether an address is a folder of this machine, as git decides it.
fn is_local(url: &str) -> bool {
    let before_slash = url.split('/').next().unwrap_or_default();
    url.starts_with("file:") || !(url.contains("://") || before_slash.contains(':'))
}

/// A command that asks nothing, runs no hook and looks at no repository but the one given.
fn git(clone: Option<&Path>) -> Command {
    let mut command = GIT.command();
    for variable in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_NAMESPACE",
        "GIT_PREFIX",
    ] {
        command.env_remove(variable);
    }
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ASKPASS", "true").env("SSH_ASKPASS", "true");
    if std::env::var_os("GIT_SSH_COMMAND").is_none() && std::env::var_os("GIT_SSH").is_none() {
        command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
    }
    command.args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"]);
    if let Some(clone) = clone {
        command.arg("--git-dir").arg(clone);
    }
    command
}

fn run(command: &mut Command, doing: &'static str, stop: Stop<'_>) -> Result<Vec<u8>, SourceError> {
    let output = GIT.run_until(command, stop)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(GitError::Failed { doing, words: words(&output.stderr) }.into())
}

fn has_commit(clone: &Path, commit: &str, stop: Stop<'_>) -> Result<bool, SourceError> {
    let mut command = git(Some(clone));
    // `ls-tree` proves the commit and its tree; in a shallow clone nothing else is promised.
    command.args(["cat-file", "-e", &format!("{commit}^{{tree}}")]);
    let has = GIT.run_until(&mut command, stop)?.status.success();
    let mut kind = git(Some(clone));
    kind.args(["cat-file", "-t", commit]);
    Ok(has && GIT.run_until(&mut kind, stop)?.stdout.trim_ascii() == b"commit")
}

/// The addresses of submodules by their paths.
fn addresses(
    clone: &Path,
    commit: &str,
    stop: Stop<'_>,
) -> Result<Vec<(Vec<u8>, String)>, SourceError> {
    let mut command = git(Some(clone));
    command.args(["config", "-z", "--blob", &format!("{commit}:.gitmodules")]);
    command.args(["--get-regexp", r"^submodule\..*\.(path|url)$"]);
    let output = GIT.run_until(&mut command, stop)?;
    // Without the file, or without such lines, there is nothing to say here: what is missed is
    // reported by path.
    let mut paths = Vec::new();
    let mut urls = Vec::new();
    for item in output.stdout.split(|b| *b == 0) {
        let Some(end) = item.iter().position(|b| *b == b'\n') else { continue };
        let (key, value) = (&item[..end], &item[end + 1..]);
        if let Some(name) = key.strip_suffix(b".path") {
            paths.push((name.to_vec(), value.to_vec()));
        } else if let Some(name) = key.strip_suffix(b".url") {
            urls.push((name.to_vec(), String::from_utf8_lossy(value).into_owned()));
        }
    }
    let url = |name: &[u8]| urls.iter().find(|(n, _)| n == name).map(|(_, url)| url.clone());
    Ok(paths.into_iter().filter_map(|(name, path)| Some((path, url(&name)?))).collect())
}

/// Writes everything but submodules, whose paths and commits are returned; their folders are
/// made, as git makes them.
fn write_tree(
    clone: &Path,
    repository: &Repository,
    commit: &str,
    folder: &Path,
    stop: Stop<'_>,
) -> Result<Vec<(Vec<u8>, String)>, SourceError> {
    let mut list = git(Some(clone));
    list.args(["ls-tree", "-r", "-z", "--full-tree", commit]);
    let list = run(&mut list, "list the commit", stop)?;
    let entry_error = |path: &[u8], what| GitError::Entry {
        url: repository.url.clone(),
        commit: commit.to_owned(),
        path: String::from_utf8_lossy(path).into_owned(),
        what,
    };
    let meter = Meter::default();
    let bad = |e| SourceError::Unpack(format!("{} {commit}", repository.url), e);
    let mut within = Within::new(folder, Keep::Content, &meter).map_err(bad)?;
    let mut blobs = Blobs::start(clone)?;
    let mut modules = Vec::new();
    for line in list.split(|b| *b == 0).filter(|line| !line.is_empty()) {
        if stop() {
            return Err(SourceError::Stopped);
        }
        // `<mode> <type> <id>\t<path>`
        let unreadable = || GitError::Failed {
            doing: "list the commit",
            words: String::from_utf8_lossy(line).into_owned(),
        };
        let tab = line.iter().position(|b| *b == b'\t').ok_or_else(unreadable)?;
        let path = &line[tab + 1..];
        let head = std::str::from_utf8(&line[..tab]).map_err(|_| unreadable())?;
        let mut parts = head.split(' ');
        let (Some(mode), Some(_), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(unreadable().into());
        };
        let Some(at) = within.path(path).map_err(bad)? else { continue };
        if at.names().iter().any(|name| name.as_bytes().eq_ignore_ascii_case(b".git")) {
            return Err(entry_error(path, "which would be a repository of its own").into());
        }
        let attributes = |mode| Attributes { mode, uid: 0, gid: 0 };
        match mode {
            "100644" | "100664" | "100755" => {
                let mode = if mode == "100755" { 0o755 } else { 0o644 };
                blobs
                    .read(id, |reader| within.file(&at, attributes(mode), reader))?
                    .map_err(bad)?;
            }
            "120000" => {
                let mut target = Vec::new();
                blobs
                    .read(id, |reader| reader.take(4096).read_to_end(&mut target))?
                    .map_err(|e| bad(UnpackError::Damaged(e)))?;
                within.symlink(&at, &target, attributes(0o777)).map_err(bad)?;
            }
            "160000" => {
                within.dir(&at, attributes(0o755)).map_err(bad)?;
                modules.push((path.to_vec(), id.to_owned()));
            }
            _ => return Err(entry_error(path, "of a kind that is not known").into()),
        }
    }
    blobs.end()?;
    Ok(modules)
}

/// A running `git cat-file --batch`.
struct Blobs {
    child: Child,
    /// Closed to let it end.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Blobs {
    fn start(clone: &Path) -> Result<Self, SourceError> {
        let mut command = git(Some(clone));
        command.args(["cat-file", "--batch"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|e| GIT.not_started(e))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            let words = "it has no pipes".to_owned();
            return Err(GitError::Failed { doing: "read the commit", words }.into());
        };
        Ok(Self { child, input: Some(input), output: BufReader::with_capacity(1 << 16, output) })
    }

    /// Gives one blob to a closure, and passes over what the closure leaves.
    fn read<T>(
        &mut self,
        id: &str,
        with: impl FnOnce(&mut dyn Read) -> T,
    ) -> Result<T, SourceError> {
        let failed = |words: String| GitError::Failed { doing: "read the commit", words };
        let Some(input) = &mut self.input else { return Err(failed("it has ended".into()).into()) };
        writeln!(input, "{id}").map_err(|e| failed(e.to_string()))?;
        let mut head = String::new();
        self.output.read_line(&mut head).map_err(|e| failed(e.to_string()))?;
        // `<id> blob <size>`, or `<id> missing`.
        let size = head.trim_end().strip_prefix(id).and_then(|rest| rest.strip_prefix(" blob "));
        let Some(size) = size.and_then(|size| size.parse::<u64>().ok()) else {
            return Err(failed(head.trim_end().to_owned()).into());
        };
        let mut blob = (&mut self.output).take(size);
        let result = with(&mut blob);
        std::io::copy(&mut blob, &mut std::io::sink()).map_err(|e| failed(e.to_string()))?;
        if blob.limit() > 0 {
            return Err(failed(format!("the object {id} ends too early")).into());
        }
        let mut newline = [0];
        self.output.read_exact(&mut newline).map_err(|e| failed(e.to_string()))?;
        Ok(result)
    }

    fn end(mut self) -> Result<(), SourceError> {
        self.input = None;
        let status = self.child.wait().map_err(|e| GIT.not_started(e))?;
        if status.success() {
            return Ok(());
        }
        Err(GitError::Failed { doing: "read the commit", words: status.to_string() }.into())
    }
}

impl Drop for Blobs {
    fn drop(&mut self) {
        // After an error it may wait for a reader that will never come; after `end` it is gone
        // and both calls do nothing.
        self.input = None;
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

#[cfg(test)]
#[path = "git_tests.rs"]
mod tests;
