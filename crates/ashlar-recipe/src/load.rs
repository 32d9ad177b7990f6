//! From a folder of files to a [`Project`], without touching a disk.

use std::io;

use crate::parse::{PROJECT_FILE, parse_module, parse_project};
use crate::problem::{Problem, Problems};
use crate::resolve::resolve;
use crate::resolved::Project;
use crate::written;

/// Below this many modules threads cost more than they save.
const FEW: usize = 256;

/// Where files come from. Paths are relative to the project, with `/`.
pub trait Loader: Sync {
    /// The bytes of a file.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;

    /// The paths of all module files, `modules/**/*.toml`, sorted.
    ///
    /// # Errors
    /// When the folder cannot be read; a project without the folder has no modules.
    fn modules(&self) -> io::Result<Vec<String>>;
}

/// Reads and resolves a whole project with the options of this invocation.
///
/// # Errors
/// Everything that is wrong with its files or the options, with the texts to show it.
pub fn load(loader: &dyn Loader, options: &[(String, String)]) -> Result<Project, Problems> {
    let mut problems = Problems::default();
    let project = loader.read(PROJECT_FILE).map_err(|error| unreadable(PROJECT_FILE, &error));
    let project = project.and_then(|bytes| parse_project(&bytes));
    let project = match project {
        Ok(project) => Some(project),
        Err(found) => {
            problems.extend(found);
            None
        }
    };
    let modules = match loader.modules() {
        Ok(files) => read_modules(loader, &files, &mut problems),
        Err(error) => {
            problems.extend(unreadable("modules", &error));
            Vec::new()
        }
    };
    match project {
        Some(project) if problems.list.is_empty() => {
            resolve(project, modules, options).map_err(|found| found.with_sources(loader))
        }
        _ => Err(problems),
    }
}

fn read_modules(
    loader: &dyn Loader,
    files: &[String],
    problems: &mut Problems,
) -> Vec<written::Module> {
    let read = |files: &[String]| {
        let mut modules = Vec::with_capacity(files.len());
        let mut problems = Problems::default();
        for file in files {
            let bytes = loader.read(file).map_err(|error| unreadable(file, &error));
            match bytes.and_then(|bytes| parse_module(file, &bytes)) {
                Ok(module) => modules.push(module),
                Err(found) => problems.extend(found),
            }
        }
        (modules, problems)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let parts = if files.len() < FEW || threads == 1 {
        vec![read(files)]
    } else {
        std::thread::scope(|scope| {
            let chunks = files.chunks(files.len().div_ceil(threads));
            let workers: Vec<_> = chunks.map(|chunk| scope.spawn(move || read(chunk))).collect();
            let join = |worker: std::thread::ScopedJoinHandle<'_, _>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().map(join).collect()
        })
    };
    let mut modules = Vec::with_capacity(files.len());
    for (part, found) in parts {
        modules.extend(part);
        problems.extend(found);
    }
    modules
}

fn unreadable(path: &str, error: &io::Error) -> Problems {
    let problem = Problem::new(format!("cannot read `{}`: {error}", path.escape_debug()));
    let problem = match error.kind() {
        io::ErrorKind::NotFound if path == PROJECT_FILE => {
            problem.help("`ashlar init` begins a project here; `-C DIR` names another folder")
        }
        _ => problem,
    };
    Problems::gather(vec![problem], 0)
}

#[cfg(test)]
#[path = "load_tests.rs"]
pub(crate) mod tests;
