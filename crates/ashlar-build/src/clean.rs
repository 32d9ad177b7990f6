//! Which results were made from committed files alone: one question to git for each repository.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ashlar_plan::{Facts, Plan, Work};
use ashlar_recipe::{Base, Module, Origin, Project};

/// For each step the reason why its result is not clean: a file of the project that went into it,
/// or into something it was made from, is not in the last commit as it is. `None` for clean ones.
#[must_use]
pub fn unclean_steps(
    project: &Project,
    folder: &Path,
    facts: &Facts,
    plan: &Plan,
) -> Vec<Option<String>> {
    let mut repositories = Repositories { folder, all: HashMap::new() };
    let common = facts.common.iter().find_map(|(name, _)| repositories.unclean(Path::new(name)));
    let mut reasons: Vec<Option<String>> = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        let mut files: BTreeSet<PathBuf> = BTreeSet::new();
        let base = match &step.work {
            Work::Base(name) | Work::Unpack(name) => Some(name),
            Work::Tools { base, .. } | Work::Packages { base, .. } => Some(base),
            Work::Build(module) => {
                for number in 0..module.sources.len() {
                    files.extend(files_of(module, number, facts));
                }
                module.base.as_ref()
            }
            Work::Source { module, source } => {
                files.extend(files_of(module, *source, facts));
                None
            }
        };
        if let Some(Base::Path(path) | Base::Archive(path)) =
            base.and_then(|base| project.bases.get(base))
        {
            files.insert(path.clone());
        }
        let own = files.iter().find_map(|path| repositories.unclean(path));
        let below = || step.needs().find_map(|need| reasons[need].clone());
        reasons.push(common.clone().or(own).or_else(below));
    }
    reasons
}

/// The files and folders of the project that a source consists of.
fn files_of(module: &Module, number: usize, facts: &Facts) -> Vec<PathBuf> {
    let fact = facts.sources.get(&module.name).and_then(|facts| facts.get(number));
    let patches = fact.map_or(&[][..], |fact| &fact.patches);
    let mut files: Vec<PathBuf> = patches.iter().map(|(path, ..)| path.into()).collect();
    if let Some(Origin::Path { path }) = module.sources.get(number).map(|source| &source.origin) {
        files.push(path.clone());
    }
    files
}

struct Repositories<'a> {
    folder: &'a Path,
    /// What git says of each, or why it says nothing.
    all: HashMap<PathBuf, Result<Vec<Entry>, String>>,
}

/// Something that is not in the last commit as it is, by its path in the repository.
struct Entry {
    path: PathBuf,
    /// It is ignored, so a folder above it does not hold it.
    ignored: bool,
}

impl Repositories<'_> {
    /// Why a file or folder of the project is not clean.
    fn unclean(&mut self, path: &Path) -> Option<String> {
        let shown = path.display();
        let Ok(whole) = self.folder.join(path).canonicalize() else {
            return Some(format!("{shown} cannot be found"));
        };
        let begin = if whole.is_dir() { Some(&*whole) } else { whole.parent() };
        let mut above = begin.into_iter().flat_map(Path::ancestors);
        let Some(root) = above.find(|folder| folder.join(".git").exists()) else {
            return Some(format!("{shown} is in no git repository"));
        };
        let within = whole.strip_prefix(root).unwrap_or(&whole);
        let entries = self.all.entry(root.to_owned()).or_insert_with(|| status(root)).as_ref();
        match entries {
            Err(why) => Some(format!("git does not say whether {shown} is committed: {why}")),
            Ok(entries) => entries
                .iter()
                .find(|entry| {
                    within.starts_with(&entry.path)
                        || (!entry.ignored && entry.path.starts_with(within))
                })
                .map(|entry| format!("{} is not committed", entry.path.display())),
        }
    }
}

/// Everything that differs from the last commit.
fn status(root: &Path) -> Result<Vec<Entry>, String> {
    let mut git = Command::new("git");
    git.arg("-C").arg(root).args([
        // A program that the repository names is not to be run.
        "-c",
        "core.fsmonitor=false",
        "--no-optional-locks",
        "status",
        "--porcelain=v1",
        "-z",
        "--untracked-files=all",
        "--ignored=matching",
    ]);
    for (name, _) in std::env::vars_os() {
        if name.as_bytes().starts_with(b"GIT_") {
            git.env_remove(name);
        }
    }
    let output = git
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("it cannot be started: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(said.lines().next().unwrap_or("it failed").trim().to_owned());
    }
    Ok(entries(&output.stdout))
}

/// Two letters, a blank and a path; after the path of a renamed file its former one.
fn entries(said: &[u8]) -> Vec<Entry> {
    let mut all = Vec::new();
    let mut parts = said.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    while let Some(part) = parts.next() {
        let (Some(state), Some(path)) = (part.get(..2), part.get(3..)) else { continue };
        let entry = |path: &[u8]| Entry {
            path: PathBuf::from(OsStr::from_bytes(path.strip_suffix(b"/").unwrap_or(path))),
            ignored: state == b"!!",
        };
        all.push(entry(path));
        if state.iter().any(|letter| matches!(letter, b'R' | b'C'))
            && let Some(former) = parts.next()
        {
            all.push(entry(former));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(folder: &Path, arguments: &[&str]) {
        let mut git = Command::new("git");
        git.arg("-C").arg(folder).args(["-c", "user.name=x", "-c", "user.email=x@localhost"]);
        let output = git.args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn committed_changed_new_renamed_and_ignored_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let unclean = |path: &str| {
            let mut all = Repositories { folder: folder.path(), all: HashMap::new() };
            all.unclean(Path::new(path))
        };
        write("a/one", "1");
        assert_eq!(unclean("a").unwrap(), "a is in no git repository");
        write("b/sub/two", "2");
        write("c/three", "3 is long enough to be found again");
        write(".gitignore", "*.o\n/out\n");
        git(folder.path(), &["init", "-q"]);
        git(folder.path(), &["add", "-A"]);
        assert_eq!(unclean("a").unwrap(), "a/one is not committed");
        git(folder.path(), &["commit", "-qm", "x"]);
        assert_eq!([unclean("a"), unclean("b/sub/two"), unclean(".")], [None, None, None]);
        write("a/one.o", "ignored, and no part of a source");
        write("out/x", "ignored as a whole, and named all the same");
        assert_eq!(unclean("a"), None);
        assert_eq!(unclean("out").unwrap(), "out is not committed");
        write("b/sub/new", "");
        assert_eq!(unclean("b").unwrap(), "b/sub/new is not committed");
        assert_eq!([unclean("b/sub/two"), unclean("a")], [None, None]);
        git(folder.path(), &["mv", "c/three", "a/three"]);
        assert_eq!(unclean("a").unwrap(), "a/three is not committed");
        assert_eq!(unclean("nothing").unwrap(), "nothing cannot be found");
        write("c/four", "");
        git(folder.path(), &["add", "c/four"]);
        git(folder.path(), &["commit", "-qm", "y", "c/four"]);
        assert_eq!(unclean("c").unwrap(), "c/three is not committed", "its former name");
    }
}
