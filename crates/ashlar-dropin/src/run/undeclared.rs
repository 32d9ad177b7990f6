//! What a command touched and did not declare.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ashlar_execute::trace::{Touch, Touched};
use ashlar_recipe::Declaration;
use ashlar_source::Globs;

use super::RunError;
use super::gather::{Gathered, is_ours};

/// What is done with undeclared inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tracing {
    /// Nobody looks.
    #[default]
    Off,
    /// They are named.
    Warn,
    /// They are named, and nothing is kept.
    Fail,
    /// They are named, and declared from now on.
    Learn,
}

/// How a command is traced.
#[derive(Clone, Debug, Default)]
pub struct Watching {
    /// What is done with what is found.
    pub tracing: Tracing,
    /// Whether files outside of the root count.
    pub system: bool,
    /// Globs, below the root or absolute, of what does not count.
    pub ignore: Vec<String>,
    /// This program, which traces when it is started for that.
    pub helper: PathBuf,
    /// Folders of our own, where nothing counts.
    pub own: Vec<PathBuf>,
}

/// Something that a command touched and that is not declared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Undeclared {
    /// Below the root, or absolute.
    pub path: PathBuf,
    /// What was done with it.
    pub touch: Touch,
}

impl Undeclared {
    /// A word for what was done.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.touch {
            Touch::Read => "reads",
            Touch::Absent => "looks for",
            Touch::Listed => "lists",
            Touch::Ran => "runs",
            Touch::Wrote => "writes",
        }
    }
}

/// What of the touched is not declared.
///
/// # Errors
/// When a glob is none.
pub fn undeclared(
    root: &Path,
    declaration: &Declaration,
    gathered: &Gathered,
    outputs: &Globs,
    watching: &Watching,
    touched: Vec<Touched>,
) -> Result<Vec<Undeclared>, RunError> {
    let bad = |e: ashlar_source::ProjectError| RunError::Source(e.into());
    let inside = |globs: &[String]| -> Vec<String> {
        globs.iter().filter(|glob| !glob.starts_with('/')).cloned().collect()
    };
    let outside = |path: &Path| {
        let all = declaration.input.iter().chain(&declaration.common).chain(&declaration.maybe);
        all.filter(|one| one.starts_with('/')).any(|one| path.starts_with(one))
    };
    let mut globs = inside(&declaration.input);
    globs.extend(inside(&declaration.maybe));
    globs.extend(inside(&declaration.common));
    let globs = Globs::new(&globs).map_err(bad)?;
    let (ignored_outside, ignored): (Vec<&String>, Vec<&String>) =
        watching.ignore.iter().partition(|glob| glob.starts_with('/'));
    let ignored = Globs::new(&ignored).map_err(bad)?;
    let whole = root.canonicalize().map_err(RunError::io("find", root))?;
    let tools: BTreeSet<PathBuf> = gathered.tools.iter().cloned().collect();
    let folders: BTreeSet<&Path> =
        gathered.files.iter().flat_map(|file| file.ancestors().skip(1)).collect();
    // Looked for, not there, and made then: an object file that make asks for before it is compiled.
    let wrote: BTreeSet<PathBuf> = (touched.iter())
        .filter(|one| one.touch == Touch::Wrote)
        .map(|one| one.path.clone())
        .collect();
    let mut found = Vec::new();
    for Touched { path, touch } in touched {
        if touch == Touch::Absent && wrote.contains(&path) {
            continue;
        }
        if touch == Touch::Wrote || watching.own.iter().any(|own| path.starts_with(own)) {
            continue;
        }
        let Ok(below) = path.strip_prefix(&whole) else {
            let plain = ignored_outside.iter().any(|one| path.starts_with(one.as_str()));
            if watching.system && !plain && !outside(&path) && !tools.contains(&path) {
                found.push(Undeclared { path, touch });
            }
            continue;
        };
        let uses = declaration.uses.iter().any(|one| Path::new(one) == below);
        let git = declaration.git.iter().any(|one| below.starts_with(one));
        if uses || git || is_ours(below) || outputs.is_match(below) || ignored.is_match(below) {
            continue;
        }
        let declared = match touch {
            // A glob that names it is not enough: what git ignores is not in the key.
            Touch::Read | Touch::Ran => {
                gathered.files.contains(below)
                    || gathered.behind.iter().any(|end| below.starts_with(end))
            }
            Touch::Absent => globs.is_match(below) || folders.contains(below),
            Touch::Listed => {
                globs.covers(below) || outputs.lead_into(below) && !folders.contains(below)
            }
            Touch::Wrote => true,
        };
        if !declared && !below.as_os_str().is_empty() {
            found.push(Undeclared { path: below.to_owned(), touch });
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// A declaration of what was found, to be added to what is declared.
#[must_use]
pub fn learned(found: &[Undeclared]) -> Declaration {
    let mut learned = Declaration::default();
    for one in found {
        // Special characters stand for themselves.
        let mut path = String::new();
        for character in one.path.to_string_lossy().chars() {
            if "*?[]{}\\!".contains(character) {
                path.push('\\');
            }
            path.push(character);
        }
        match one.touch {
            Touch::Read | Touch::Ran => learned.input.push(path),
            Touch::Absent => learned.maybe.push(path),
            Touch::Listed => learned.maybe.push(format!("{path}/*")),
            Touch::Wrote => {}
        }
    }
    learned.input.dedup();
    learned
}
