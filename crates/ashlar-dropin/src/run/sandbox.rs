//! A command that sees what is declared, and nothing else of the project: copies of the declared
//! files in a folder that bubblewrap shows in the place of the root.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ashlar_recipe::Declaration;
use ashlar_store::{LocalStore, Workspace};

use super::RunError;
use super::gather::Gathered;

/// Variables that every program may count on.
const ENVIRONMENT: [&str; 6] = ["PATH", "LANG", "LC_ALL", "TERM", "USER", "LOGNAME"];

/// A folder with the declared files.
pub struct Cell {
    root: PathBuf,
    workspace: Workspace,
}

impl Cell {
    /// Copies what is declared.
    ///
    /// # Errors
    /// When something cannot be copied.
    pub fn new(
        store: &LocalStore,
        root: &Path,
        declaration: &Declaration,
        gathered: &Gathered,
    ) -> Result<Self, RunError> {
        let workspace = store.workspace("run")?;
        let to = workspace.path();
        for path in gathered.files.iter().chain(&gathered.behind) {
            copy(&root.join(path), &to.join(path))?;
        }
        for path in declaration.uses.iter().chain(&declaration.git) {
            copy(&root.join(path), &to.join(path))?;
        }
        // Folders that outputs go into are there as a rule.
        let starts = declaration.output.iter().map(Path::new).filter_map(Path::parent);
        for folder in starts.chain(declaration.directory.as_deref().map(Path::new)) {
            if !folder.as_os_str().as_bytes().iter().any(|byte| b"*?[{".contains(byte)) {
                let folder = to.join(folder);
                std::fs::create_dir_all(&folder).map_err(RunError::io("make", &folder))?;
            }
        }
        Ok(Self { root: root.to_owned(), workspace })
    }

    /// Where the outputs are afterwards.
    pub fn path(&self) -> &Path {
        self.workspace.path()
    }

    /// The command inside.
    ///
    /// # Errors
    /// When there is none.
    pub fn command(&self, declaration: &Declaration) -> Result<Command, RunError> {
        if declaration.command.is_empty() {
            return Err(RunError::NoCommand);
        }
        let mut command = Command::new("bwrap");
        command.args([
            "--die-with-parent",
            "--unshare-net",
            "--unshare-ipc",
            "--ro-bind",
            "/",
            "/",
        ]);
        command.args(["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]);
        for hidden in ["/home", "/root", "/var/tmp"] {
            if Path::new(hidden).is_dir() {
                command.args(["--tmpfs", hidden]);
            }
        }
        command.arg("--bind").arg(self.path()).arg(&self.root);
        let directory = declaration.directory.as_deref().unwrap_or_default();
        command.arg("--chdir").arg(self.root.join(directory));
        command.args(["--setenv", "HOME", "/tmp"]).arg("--").args(&declaration.command);
        let declared = declaration.env.iter().chain(&declaration.secret).map(String::as_str);
        command.env_clear();
        for name in ENVIRONMENT.into_iter().chain(declared) {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Ok(flags) = std::env::var("MAKEFLAGS")
            && !declaration.env.iter().any(|name| name == "MAKEFLAGS")
        {
            command.env("MAKEFLAGS", jobs_of(&flags));
        }
        Ok(command)
    }
}

/// Only what a make inside needs to share the jobs of the one outside. Variables that were set on
/// that one's command line are there as well, and nobody has declared them.
fn jobs_of(flags: &str) -> String {
    let words = flags.split_ascii_whitespace().take_while(|word| *word != "--");
    let jobs = words.filter(|word| word.starts_with("-j") || word.starts_with("--jobserver"));
    jobs.collect::<Vec<_>>().join(" ")
}

/// Copies a file, a link or a folder.
fn copy(from: &Path, to: &Path) -> Result<(), RunError> {
    let metadata = from.symlink_metadata().map_err(RunError::io("look at", from))?;
    if let Some(above) = to.parent() {
        std::fs::create_dir_all(above).map_err(RunError::io("make", above))?;
    }
    if metadata.is_symlink() {
        let target = std::fs::read_link(from).map_err(RunError::io("read", from))?;
        return match std::os::unix::fs::symlink(target, to) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(RunError::io("make", to)),
        };
    }
    if metadata.is_dir() {
        std::fs::create_dir_all(to).map_err(RunError::io("make", to))?;
        for entry in std::fs::read_dir(from).map_err(RunError::io("list", from))? {
            let entry = entry.map_err(RunError::io("list", from))?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    std::fs::copy(from, to).map_err(RunError::io("copy", from))?;
    // Makefiles compare times.
    let time = metadata.modified().map_err(RunError::io("look at", from))?;
    let file = std::fs::File::options().append(true).open(to);
    match file.and_then(|file| file.set_modified(time)) {
        // A file that nobody may write keeps the time of now.
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        other => other.map_err(RunError::io("date", to)),
    }
}
