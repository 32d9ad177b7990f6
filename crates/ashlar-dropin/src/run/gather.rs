//! Everything that the key of a run is made of, as it is on disk now.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ashlar_build::uncommitted;
use ashlar_object::{Digest, Node};
use ashlar_recipe::Declaration;
use ashlar_source::{Globs, inputs, path_tree};
use ashlar_store::{Journal, StatCache};

use super::RunError;
use super::component::{Component, Kind};
use super::made;

/// Stands in a key, without a value, in place of all common files.
pub const LEFT_OUT: &str = "left out";

/// What was gathered.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The pieces of the key.
    pub components: Vec<Component>,
    /// The files of the project among them, for whoever asks whether they are committed.
    pub files: BTreeSet<PathBuf>,
    /// The programs among them, without links on the way.
    pub tools: Vec<PathBuf>,
    /// What links among them lead to, below the root.
    pub behind: BTreeSet<PathBuf>,
    /// The runs that made files it uses.
    pub made_by: BTreeSet<String>,
}

/// What to look at, and where.
pub struct Gather<'a> {
    /// The root of the project.
    pub root: &'a Path,
    /// What is declared; paths are below the root.
    pub declaration: &'a Declaration,
    /// What it makes, which is no input of its own.
    pub outputs: &'a Globs,
    /// Digests of files that have not changed.
    pub stat: &'a StatCache,
    /// What other runs have made.
    pub journal: &'a Journal,
    /// Whether common files are in the key.
    pub common: bool,
}

impl Gather<'_> {
    /// Looks at everything.
    ///
    /// # Errors
    /// When a glob is none or matches nothing, when something cannot be read, when a program is not
    /// there.
    pub fn all(&self) -> Result<Gathered, RunError> {
        let Declaration { command, directory, flag, env, secret, tool, output, .. } =
            self.declaration;
        let mut all = Gathered::default();
        let mut tools = Vec::new();
        let mut add = |kind, name: &str, value: String| {
            all.components.push(Component { kind, name: name.to_owned(), value });
        };
        for (number, argument) in command.iter().enumerate() {
            // With leading zeros, so that they sort as they stand.
            add(Kind::Argument, &format!("{number:04}"), argument.clone());
        }
        add(Kind::Directory, "", directory.clone().unwrap_or_default());
        let platform = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
        add(Kind::Platform, "", platform);
        for flag in flag {
            let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
            add(Kind::Flag, name, value.to_owned());
        }
        for name in env {
            if let Some(value) = std::env::var_os(name) {
                add(Kind::Env, name, text_of(&value));
            }
        }
        for name in secret {
            if let Some(value) = std::env::var_os(name) {
                add(Kind::Secret, name, Digest::of(value.as_bytes()).hex());
            }
        }
        for name in tool {
            let path = program(name)?;
            add(Kind::Tool, name, self.digest(&path)?.hex());
            tools.extend(path.canonicalize());
        }
        for name in &self.declaration.tool_version {
            tools.extend(program(name)?.canonicalize());
            add(Kind::Tool, &format!("{name} --version"), Self::version(name)?);
        }
        for pattern in output {
            add(Kind::Output, pattern, String::new());
        }
        all.tools = tools;
        self.files(&mut all)?;
        for path in &self.declaration.uses {
            self.uses(path, &mut all)?;
        }
        for folder in &self.declaration.git {
            self.git(folder, &mut all)?;
        }
        Ok(all)
    }

    fn files(&self, all: &mut Gathered) -> Result<(), RunError> {
        let Declaration { input, maybe, common, no_inputs, uses, git, .. } = self.declaration;
        if input.is_empty() && uses.is_empty() && git.is_empty() && !no_inputs {
            return Err(RunError::NoInputs);
        }
        let common = if self.common {
            common
        } else {
            let name = LEFT_OUT.to_owned();
            all.components.push(Component { kind: Kind::Common, name, value: String::new() });
            &Vec::new()
        };
        let kinds = [(Kind::Input, input), (Kind::Input, maybe), (Kind::Common, common)];
        for (number, (kind, globs)) in kinds.into_iter().enumerate() {
            if globs.is_empty() {
                continue;
            }
            let (outside, inside): (Vec<&String>, Vec<&String>) =
                globs.iter().partition(|glob| glob.starts_with('/'));
            for path in outside {
                self.outside(kind, path, all)?;
            }
            let globs = Globs::new(&inside).map_err(|e| RunError::Source(e.into()))?;
            let own = |path: &Path| self.outputs.is_match(path) || is_ours(path);
            let digest = |path: &Path, meta: &std::fs::Metadata| self.stat.digest_file(path, meta);
            let found = inputs(self.root, &globs, &own, &digest)?;
            // What may be absent is that: absent.
            if number != 1
                && let Some(glob) = found.unmatched.first()
            {
                return Err(RunError::NoMatch { kind: kind.word(), glob: glob.clone() });
            }
            found.tree.walk(|entry| {
                let path = entry.path.under(Path::new(""));
                let name = text_of(path.as_os_str());
                let value = match entry.node {
                    Node::File(file) => format!("{} {:o}", file.digest.hex(), file.meta.mode),
                    Node::Symlink(link) => format!("→ {}", link.target.escape_ascii()),
                    Node::Dir(_) | Node::Fifo(_) | Node::Whiteout => return,
                };
                all.files.insert(path);
                all.components.push(Component { kind, name, value });
            });
            for (name, digest) in found.behind {
                let end = self.root.join(&name).canonicalize().ok();
                let name = text_of(name.as_os_str());
                let whole = self.root.canonicalize().ok();
                let below = end.as_deref().zip(whole.as_deref());
                all.behind.extend(
                    below.and_then(|(end, root)| end.strip_prefix(root).ok().map(Path::to_owned)),
                );
                all.components.push(Component { kind: Kind::Behind, name, value: digest.hex() });
            }
        }
        Ok(())
    }

    /// A file or folder that is not of the project, by its whole path.
    fn outside(&self, kind: Kind, path: &str, all: &mut Gathered) -> Result<(), RunError> {
        let at = Path::new(path);
        let no_match = || RunError::NoMatch { kind: kind.word(), glob: path.to_owned() };
        let metadata = at.metadata().map_err(|_| no_match())?;
        let value = if metadata.is_dir() {
            let digest = |path: &Path, meta: &std::fs::Metadata| self.stat.digest_file(path, meta);
            path_tree(Path::new("/"), at, &digest)?.digest().hex()
        } else {
            self.digest(at)?.hex()
        };
        all.components.push(Component { kind, name: path.to_owned(), value });
        Ok(())
    }

    /// A file by the run that made it, as long as it is what that run left: then everything else
    /// that run made counts as well. By its content else.
    fn uses(&self, path: &str, all: &mut Gathered) -> Result<(), RunError> {
        let at = self.root.join(path);
        if !at.is_file() {
            return Err(RunError::NotThere { path: path.to_owned() });
        }
        let digest = self.digest(&at)?;
        let value = match made::made(self.journal, self.root, path)? {
            Some(made) if made.content == digest => {
                all.made_by.insert(made.run);
                format!("result {}", made.outputs)
            }
            _ => {
                all.files.insert(PathBuf::from(path));
                format!("content {}", digest.hex())
            }
        };
        all.components.push(Component { kind: Kind::Uses, name: path.to_owned(), value });
        Ok(())
    }

    /// A checkout: the tree of its commit when nothing in it is changed, else its files.
    fn git(&self, folder: &str, all: &mut Gathered) -> Result<(), RunError> {
        let at = self.root.join(folder);
        if uncommitted(self.root, [Path::new(folder)]).is_none() {
            let output = Command::new("git")
                .arg("-C")
                .arg(&at)
                .args(["rev-parse", "--verify", "--quiet", "HEAD:./"])
                .stdin(Stdio::null())
                .output()
                .map_err(|source| RunError::Program { name: "git".to_owned(), source })?;
            if output.status.success() {
                let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                let (kind, name) = (Kind::Git, folder.to_owned());
                all.components.push(Component { kind, name, value: format!("tree {id}") });
                return Ok(());
            }
        }
        let digest = |path: &Path, meta: &std::fs::Metadata| self.stat.digest_file(path, meta);
        let tree = path_tree(self.root, Path::new(folder), &digest)?;
        all.files.insert(PathBuf::from(folder));
        let value = format!("content {}", tree.digest().hex());
        all.components.push(Component { kind: Kind::Git, name: folder.to_owned(), value });
        Ok(())
    }

    /// What a program says of its version. It is asked each time: what starts another (a wrapper,
    /// a link to a cache of compilers) stays the same when that one changes.
    fn version(name: &str) -> Result<String, RunError> {
        let failed = |source| RunError::Program { name: name.to_owned(), source };
        let output = Command::new(program(name)?)
            .arg("--version")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .map_err(failed)?;
        if !output.status.success() {
            let said = format!("`{name} --version` ended with {}", output.status);
            return Err(failed(std::io::Error::other(said)));
        }
        Ok(text_of(OsStr::from_bytes(&output.stdout)))
    }

    fn digest(&self, path: &Path) -> Result<Digest, RunError> {
        let failed = |source| RunError::Io { doing: "read", path: path.to_owned(), source };
        // What is at the end of links.
        let end = path.canonicalize().map_err(failed)?;
        let metadata = end.symlink_metadata().map_err(failed)?;
        self.stat.digest_file(&end, &metadata).map_err(failed)
    }
}

/// How a text begins that stands for bytes which are no text.
const BYTES: &str = "bytes ";

/// A text that no other value has.
fn text_of(value: &OsStr) -> String {
    match value.to_str() {
        Some(text) if !text.starts_with(BYTES) => text.to_owned(),
        _ => format!("{BYTES}{}", value.as_bytes().escape_ascii()),
    }
}

/// Where a program is that a command would find by this name.
fn program(name: &str) -> Result<PathBuf, RunError> {
    let lacks = |why: &str| RunError::Program {
        name: name.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::NotFound, why.to_owned()),
    };
    if name.contains('/') {
        let path = PathBuf::from(name);
        return if path.is_file() { Ok(path) } else { Err(lacks("there is no such file")) };
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| {
            rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
        })
        .ok_or_else(|| lacks("it is in no folder of PATH"))
}

/// Whether something is only there while we work.
pub fn is_ours(path: &Path) -> bool {
    path.components()
        .next()
        .is_some_and(|first| first.as_os_str().as_bytes().starts_with(b".ashlar-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_values_have_one_text() {
        let texts = [&b"\xff"[..], b"bytes \\xff", b"\\xff", b"\xef\xbf\xbd", b"bytes bytes \\xff"];
        for (number, one) in texts.iter().enumerate() {
            for other in &texts[number + 1..] {
                assert_ne!(text_of(OsStr::from_bytes(one)), text_of(OsStr::from_bytes(other)));
            }
        }
        assert_eq!(text_of(OsStr::new("plain")), "plain");
    }
}
