//! Which results were made from committed files alone. When something is about to be sent, git is
//! asked about its files, and then they are read once more: what git calls committed is what went
//! into the keys only when both are the same. So it does not matter what was changed, undone or
//! committed in between, nor how often anybody looked.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ashlar_plan::{Facts, Plan, Work};
use ashlar_recipe::{Base, Module, Origin, Project};

use crate::failure::chain;
use crate::front::FrontError;

/// For each step the reason why its result is not clean: a file of the project that went into it,
/// or into something it was made from, is not in the last commit as it is, or is not `again` what
/// it was when the plan was made. `None` for clean ones.
#[must_use]
pub fn unclean_steps(
    project: &Project,
    folder: &Path,
    facts: &Facts,
    plan: &Plan,
    again: Option<&dyn Fn() -> Result<Facts, FrontError>>,
) -> Vec<Option<String>> {
    let mut repositories = Repositories { folder, all: HashMap::new() };
    let common = facts.common.iter().find_map(|(name, _)| repositories.unclean(Path::new(name)));
    let own: Vec<_> = (plan.steps.iter())
        .map(|step| {
            let files = files_of_step(project, facts, &step.work);
            let reason = files.iter().find_map(|path| repositories.unclean(path));
            (files.into_iter().next(), reason)
        })
        .collect();
    // Only now that git has answered.
    let now = again.map(|again| again().map_err(|error| chain(&error))).transpose();
    let other = |what: String| format!("{what} is not any more what was read");
    let common = common.or_else(|| match &now {
        Err(why) => Some(why.clone()),
        Ok(Some(now)) if now.common != facts.common => Some(other("a common file".to_owned())),
        Ok(_) => None,
    });
    let mut reasons: Vec<Option<String>> = Vec::with_capacity(plan.steps.len());
    for (step, (first, own)) in plan.steps.iter().zip(own) {
        let (module, base) = made_of(&step.work);
        let is_other = |now: &&Facts| {
            let sources = |facts: &Facts| facts.sources.get(&module?.name).cloned();
            let base = |facts: &Facts| facts.bases.get(base?).cloned();
            sources(now) != sources(facts) || base(now) != base(facts)
        };
        let changed = now.as_ref().ok().and_then(Option::as_ref).filter(is_other);
        let changed = changed.map(|_| other(first.unwrap_or_default().display().to_string()));
        let below = || step.needs().find_map(|need| reasons[need].clone());
        reasons.push(common.clone().or(own).or(changed).or_else(below));
    }
    reasons
}

/// Why one of these files or folders, by their paths below a folder, is not in the last commit of
/// its repository as it is; `None` when all are.
#[must_use]
pub fn uncommitted<'p>(folder: &Path, paths: impl IntoIterator<Item = &'p Path>) -> Option<String> {
    let mut repositories = Repositories { folder, all: HashMap::new() };
    paths.into_iter().find_map(|path| repositories.unclean(path))
}

/// The module whose files go into a step, and its base.
fn made_of(work: &Work) -> (Option<&Module>, Option<&String>) {
    match work {
        Work::Base(base)
        | Work::Unpack(base)
        | Work::Tools { base, .. }
        | Work::Packages { base, .. } => (None, Some(base)),
        Work::Source { module, .. } => (Some(module), None),
        Work::Build(module) => (Some(module), module.base.as_ref()),
        Work::Image(_) => (None, None),
    }
}

/// The files and folders of the project that go into a step itself.
fn files_of_step(project: &Project, facts: &Facts, work: &Work) -> BTreeSet<PathBuf> {
    let (module, base) = made_of(work);
    let mut files = BTreeSet::new();
    if let Work::Image(work) = work
        && let Some(folder) = work.context().and_then(|number| facts.contexts.get(number))
    {
        // The folder itself: which of its files are read is not told apart here.
        files.insert(folder.clone());
    }
    if let Some(module) = module {
        files.extend((0..module.sources.len()).flat_map(|number| files_of(module, number, facts)));
    }
    if let Some(Base::Path(path) | Base::Archive(path)) =
        base.and_then(|base| project.bases.get(base))
    {
        files.insert(path.clone());
    }
    files
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

/// What git says of each repository, or why it says nothing.
type Said = HashMap<PathBuf, Result<Vec<Entry>, String>>;

/// The repository that something is in.
fn root_of(whole: &Path) -> Option<PathBuf> {
    let begin = if whole.is_dir() { Some(whole) } else { whole.parent() };
    let mut above = begin.into_iter().flat_map(Path::ancestors);
    above.find(|folder| folder.join(".git").exists()).map(Path::to_owned)
}

struct Repositories<'a> {
    folder: &'a Path,
    all: Said,
}

/// Something that is not in the last commit as it is, by its path in the repository.
#[derive(Debug)]
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
        let Some(root) = root_of(&whole) else {
            return Some(format!("{shown} is in no git repository"));
        };
        let within = whole.strip_prefix(&root).unwrap_or(&whole);
        let reason = |said: &Result<Vec<Entry>, String>| match said {
            Err(why) => Some(format!("git does not say whether {shown} is committed: {why}")),
            Ok(entries) => entries
                .iter()
                .find(|entry| {
                    within.starts_with(&entry.path)
                        || (!entry.ignored && entry.path.starts_with(within))
                })
                .map(|entry| format!("{} is not committed", entry.path.display())),
        };
        reason(self.all.entry(root.clone()).or_insert_with(|| status(&root)))
    }
}

/// Everything that differs from the last commit, or that git was told not to look at.
fn status(root: &Path) -> Result<Vec<Entry>, String> {
    let said = git(
        root,
        &[
            "status",
            "--porcelain=v1",
            "-z",
            "--untracked-files=all",
            "--ignored=matching",
            "--ignore-submodules=none",
        ],
    )?;
    let mut all = entries(&said);
    // A letter, the mode, the hash, the stage, and after a tab the path.
    for line in git(root, &["ls-files", "-z", "-v", "--stage"])?.split(|byte| *byte == 0) {
        let Some(tab) = line.iter().position(|byte| *byte == b'\t') else { continue };
        let path = PathBuf::from(OsStr::from_bytes(&line[tab + 1..]));
        if line.first().is_some_and(|letter| *letter == b'S' || letter.is_ascii_lowercase()) {
            all.push(Entry { path: path.clone(), ignored: false });
        }
        let inner = root.join(&path);
        if line.get(2..8) == Some(b"160000") && inner.join(".git").exists() {
            all.extend(
                status(&inner)?
                    .into_iter()
                    .map(|entry| Entry { path: path.join(entry.path), ignored: entry.ignored }),
            );
        }
    }
    Ok(all)
}

fn git(root: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let mut git = Command::new("git");
    // A program that the repository names is not to be run, and what it sets is not to hide changes.
    git.arg("-C").arg(root).args(["-c", "core.fsmonitor=false", "-c", "core.fileMode=true"]);
    git.args(["-c", "core.ignoreStat=false", "--no-optional-locks"]).args(arguments);
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
    Ok(output.stdout)
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
            let all = HashMap::new();
            let mut all = Repositories { folder: folder.path(), all };
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

    #[test]
    fn what_git_was_told_not_to_look_at() {
        let folder = tempfile::tempdir().unwrap();
        let (outer, inner) = (folder.path().join("outer"), folder.path().join("inner"));
        for (at, files) in [(&inner, &["deep"][..]), (&outer, &["a/one", "b/two"][..])] {
            for file in files {
                std::fs::create_dir_all(at.join(file).parent().unwrap()).unwrap();
                std::fs::write(at.join(file), "1").unwrap();
            }
            git(at, &["init", "-q"]);
            git(at, &["add", "-A"]);
            git(at, &["commit", "-qm", "x"]);
        }
        let url = inner.to_str().unwrap();
        let add = ["-c", "protocol.file.allow=always", "submodule", "add", "-q", url, "sub"];
        git(&outer, &add);
        git(&outer, &["config", "-f", ".gitmodules", "submodule.sub.ignore", "all"]);
        git(&outer, &["add", "-A"]);
        git(&outer, &["commit", "-qm", "y"]);
        let unclean = |path: &str| {
            let all = HashMap::new();
            Repositories { folder: &outer, all }.unclean(Path::new(path))
        };
        assert_eq!([unclean("a"), unclean("b"), unclean("sub"), unclean(".")], [const { None }; 4]);
        std::fs::write(outer.join("a/one"), "2").unwrap();
        git(&outer, &["update-index", "--assume-unchanged", "a/one"]);
        assert_eq!(unclean("a").unwrap(), "a/one is not committed");
        git(&outer, &["update-index", "--no-assume-unchanged", "a/one"]);
        git(&outer, &["update-index", "--skip-worktree", "a/one"]);
        assert_eq!(unclean("a").unwrap(), "a/one is not committed");
        assert_eq!(unclean("b"), None);
        std::fs::write(outer.join("sub/deep"), "2").unwrap();
        assert!(unclean(".").unwrap().ends_with("is not committed"));
        git(&outer, &["update-index", "--no-skip-worktree", "a/one"]);
        git(&outer, &["checkout", "-q", "a/one"]);
        assert_eq!(unclean("a"), None);
        assert_eq!(unclean(".").unwrap(), "sub is not committed");
        // Nor inside of what is beneath.
        git(&outer.join("sub"), &["update-index", "--assume-unchanged", "deep"]);
        assert_eq!(unclean(".").unwrap(), "sub/deep is not committed");
    }
}
