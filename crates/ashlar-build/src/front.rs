//! From a folder on disk to a project and the facts that its keys depend on.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use ashlar_object::{CanonicalHasher, Digest};
use ashlar_plan::{BaseFact, Facts, SourceFact};
use ashlar_recipe::{Base, Loader, Lock, Module, ModuleName, Origin, Problem, Problems, Project};
use ashlar_source::{DigestFile, SourceError, files_matching, find_patches, path_tree};

/// The name of the lock file.
pub const LOCK_FILE: &str = "ashlar.lock";

/// Why a project cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// There is no project here or above.
    #[error("there is no `ashlar.toml` in {} or above", .0.display())]
    NoProject(PathBuf),
    /// Its files are not right, or name what is not there.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// A file cannot be read or written.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The folder of the project that `start` lies in.
///
/// # Errors
/// When neither it nor a folder above has an `ashlar.toml`.
pub fn find_project(start: &Path) -> Result<PathBuf, FrontError> {
    let start = std::path::absolute(start).map_err(|source| FrontError::Io {
        doing: "find",
        path: start.to_owned(),
        source,
    })?;
    if let Err(source) = std::fs::read_dir(&start) {
        return Err(FrontError::Io { doing: "use", path: start, source });
    }
    start
        .ancestors()
        .find(|folder| folder.join(ashlar_recipe::PROJECT_FILE).is_file())
        .map(Path::to_owned)
        .ok_or(FrontError::NoProject(start))
}

/// Files of a folder, for the recipe room.
pub struct Folder<'a>(pub &'a Path);

impl Folder<'_> {
    /// The paths of all module files, sorted, and of the folders they can be in.
    ///
    /// # Errors
    /// When a folder cannot be read, or a name in it is not UTF-8.
    pub(crate) fn module_files(&self) -> io::Result<(Vec<String>, Vec<String>)> {
        let (mut files, mut folders) = (Vec::new(), vec!["modules".to_owned()]);
        match std::fs::metadata(self.0.join("modules")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((files, folders)),
            Err(e) => return Err(e),
            Ok(_) => below(&self.0.join("modules"), "modules", &mut files, &mut folders)?,
        }
        files.sort_unstable();
        Ok((files, folders))
    }
}

impl Loader for Folder<'_> {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        std::fs::read(self.0.join(path))
    }

    fn modules(&self) -> io::Result<Vec<String>> {
        Ok(self.module_files()?.0)
    }
}

fn below(
    folder: &Path,
    name: &str,
    files: &mut Vec<String>,
    folders: &mut Vec<String>,
) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let file = entry.file_name();
        let path = format!("{name}/{}", file.to_string_lossy());
        let kind = entry.file_type()?;
        if file.to_str().is_none() && (kind.is_dir() || path.ends_with(".toml")) {
            let what = format!("the name of `{}` is not UTF-8: rename it", path.escape_debug());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let hidden = file.as_encoded_bytes().starts_with(b".");
        if kind.is_dir() && !hidden {
            below(&entry.path(), &path, files, folders)?;
            folders.push(path);
        } else if !hidden && path.ends_with(".toml") && (!kind.is_dir()) {
            files.push(path);
        }
    }
    Ok(())
}

/// Reads the lock file; a project without one has an empty lock.
///
/// # Errors
/// When it is there and cannot be read.
pub fn read_lock(folder: &Path) -> Result<Option<Lock>, FrontError> {
    let path = folder.join(LOCK_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Lock::parse(&text)?)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FrontError::Io { doing: "read", path, source }),
    }
}

/// Digests everything of the project that the keys of `targets`, or of its default where there
/// are none, depend on. Modules beside them are not looked at, so what is wrong with their files
/// does not matter; targets that do not exist are left for the plan to name.
///
/// # Errors
/// When a file that is named is not there or cannot be read.
pub fn facts(
    project: &Project,
    folder: &Path,
    lock: Lock,
    targets: &[ModuleName],
    digest: DigestFile<'_>,
) -> Result<Facts, FrontError> {
    let targets = if targets.is_empty() { &project.default } else { targets };
    facts_below(project, folder, lock, targets, &[], digest)
}

/// As [`facts`], for exactly these modules, which may be none, and these bases besides theirs.
///
/// # Errors
/// As [`facts`].
pub fn facts_below(
    project: &Project,
    folder: &Path,
    lock: Lock,
    modules: &[ModuleName],
    bases: &[String],
    digest: DigestFile<'_>,
) -> Result<Facts, FrontError> {
    let reached = reached(project, modules);
    let architecture = std::env::consts::ARCH;
    let mut facts = Facts {
        architecture: architecture.to_owned(),
        lock,
        commands: Some(crate::command::digests(architecture)),
        ..Facts::default()
    };
    if !project.common.is_empty() {
        let project_file = Path::new(ashlar_recipe::PROJECT_FILE);
        let failed = |error| at(folder, project_file, &project.common, &error);
        for (name, path) in files_matching(folder, &project.common).map_err(failed)? {
            let read = |source| FrontError::Io { doing: "read", path: path.clone(), source };
            let meta = std::fs::metadata(&path).map_err(read)?;
            facts.common.push((name, digest(&path, &meta).map_err(read)?));
        }
    }
    for (name, base) in &project.bases {
        let used = reached.iter().any(|m| m.base.as_ref() == Some(name)) || bases.contains(name);
        if used && let Some(fact) = base_fact(folder, base, digest)? {
            facts.bases.insert(name.clone(), fact);
        }
    }
    let modules: Vec<&Module> = reached
        .into_iter()
        .filter(|module| {
            module.sources.iter().any(|source| {
                matches!(source.origin, Origin::Path { .. }) || !source.patches.is_empty()
            })
        })
        .collect();
    // Reading is mostly waiting for the kernel: two threads are twice as fast on two cores.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let chunk = modules.len().div_ceil(threads).max(64);
    let parts = std::thread::scope(|scope| {
        let running: Vec<_> = modules
            .chunks(chunk)
            .map(|modules| {
                scope.spawn(move || {
                    let each = modules.iter().map(|module| {
                        Ok((module.name.clone(), source_facts(module, folder, digest)?))
                    });
                    each.collect::<Result<Vec<_>, FrontError>>()
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect::<Result<Vec<_>, _>>()
    })?;
    facts.sources.extend(parts.into_iter().flatten());
    Ok(facts)
}

fn source_facts(
    module: &Module,
    folder: &Path,
    digest: DigestFile<'_>,
) -> Result<Vec<SourceFact>, FrontError> {
    let mut facts = Vec::with_capacity(module.sources.len());
    for source in &module.sources {
        let mut fact = SourceFact::default();
        if let Origin::Path { path } = &source.origin {
            let failed = |error| at(folder, &module.file, &[path.display().to_string()], &error);
            fact.tree = Some(path_tree(folder, path, digest).map_err(failed)?.digest());
        }
        let failed = |error| at(folder, &module.file, &source.patches, &error);
        for patch in find_patches(folder, &source.patches, source.strip).map_err(failed)? {
            fact.patches.push((patch.name, Digest::of(&patch.bytes), patch.strip));
        }
        facts.push(fact);
    }
    Ok(facts)
}

fn base_fact(
    folder: &Path,
    base: &Base,
    digest: DigestFile<'_>,
) -> Result<Option<BaseFact>, FrontError> {
    let read = |path: &Path| {
        let path = path.to_owned();
        move |source| FrontError::Io { doing: "read", path, source }
    };
    Ok(match base {
        Base::Debian { .. } => None,
        Base::Path(path) => {
            let project_file = Path::new(ashlar_recipe::PROJECT_FILE);
            let failed = |error| at(folder, project_file, &[path.display().to_string()], &error);
            Some(BaseFact::Tree(path_tree(folder, path, digest).map_err(failed)?.digest()))
        }
        Base::Archive(path) => {
            let project_file = Path::new(ashlar_recipe::PROJECT_FILE);
            let asked = [path.display().to_string()];
            let path = folder.join(path);
            let meta = std::fs::metadata(&path).map_err(|source| {
                let error = SourceError::Io { doing: "read", path: path.clone(), source };
                at(folder, project_file, &asked, &error)
            })?;
            Some(BaseFact::Archive(digest(&path, &meta).map_err(read(&path))?))
        }
        Base::Host => {
            // The packages that are installed and the machine: as much as can be known of a
            // whole file system without reading it. Hence the warning that goes with it.
            let mut hasher = CanonicalHasher::new("ashlar host");
            for file in ["/etc/machine-id", "/etc/os-release", "/var/lib/dpkg/status"] {
                let path = Path::new(file);
                match std::fs::metadata(path) {
                    Ok(meta) => {
                        let digest = digest(path, &meta).map_err(read(path))?;
                        hasher.text(file).bytes(&digest.hash);
                    }
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {
                        hasher.text(file).text("not there");
                    }
                    Err(e) => return Err(read(path)(e)),
                }
            }
            Some(BaseFact::Host(ashlar_object::StepKey(hasher.finish()).short()))
        }
    })
}

/// The modules that the targets depend on, and they themselves, in the order of their names.
pub(crate) fn reached<'a>(project: &'a Project, targets: &[ModuleName]) -> Vec<&'a Module> {
    let mut left: Vec<&ModuleName> = targets.iter().collect();
    let mut names = HashSet::with_capacity(project.modules.len());
    let mut modules = Vec::with_capacity(project.modules.len());
    while let Some(name) = left.pop() {
        if let Some((name, module)) = project.modules.get_key_value(name)
            && names.insert(name)
        {
            modules.push(module.as_ref());
            left.extend(&module.depends);
        }
    }
    modules.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    modules
}

/// What is wrong with files that a project file names, at the place where it does. What was
/// resolved no longer knows its places, so the text is searched for what was written.
fn at(folder: &Path, file: &Path, written: &[String], error: &SourceError) -> FrontError {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    let message = message.replace(&format!("{}/", folder.display()), "");
    let name = file.display().to_string();
    let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
    let named = written.iter().find(|w| message.contains(w.as_str())).or_else(|| written.first());
    let place = named.and_then(|named| {
        let find = |quote: char| {
            let start = text.find(&format!("{quote}{named}"))?;
            let inside = start + 1 + named.len();
            Some(start..inside + text[inside..].find(quote)? + 1)
        };
        find('"').or_else(|| find('\''))
    });
    let problem = match place {
        Some(span) => Problem::new(message).at(&name, span.into(), ""),
        None => Problem::new(format!("{name}: {message}")),
    };
    let help = error.advice().unwrap_or_else(|| {
        format!("names of files are relative to the folder of `{}`", ashlar_recipe::PROJECT_FILE)
    });
    let list = vec![problem.help(help)];
    FrontError::Problems(Problems { list, more: 0, sources: [(name, text)].into() })
}
