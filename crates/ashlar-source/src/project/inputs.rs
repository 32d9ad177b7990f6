//! Files below a folder that globs name, as a tree: what a command says it reads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ashlar_object::{Digest, RelPath, Tree};

use super::{DigestFile, Folder, Found, ProjectError, nodes, unreadable, walk};
use crate::SourceError;

/// Globs over paths below a folder. `*` and `?` do not match a slash, `**` does; what names a
/// folder means everything in it; `!` before a glob takes back what those before it matched.
#[derive(Clone, Debug, Default)]
pub struct Globs {
    all: Vec<One>,
}

#[derive(Clone, Debug)]
struct One {
    text: String,
    matcher: globset::GlobMatcher,
    /// Takes back instead of adding.
    not: bool,
    /// The folders before the first that has a special character; the whole path if there is none.
    start: PathBuf,
    literal: bool,
    /// How many names it has, and whether `**` is among them.
    depth: usize,
    deep: bool,
}

/// What globs match.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The files and links, with executable bits and nothing else of their modes.
    pub tree: Tree,
    /// What links lead to: the path of the link, and the content of the file or folder at its end,
    /// unless that is among the files itself.
    pub behind: BTreeMap<PathBuf, Digest>,
    /// Globs that match nothing.
    pub unmatched: Vec<String>,
    /// How many files and links there are.
    pub count: usize,
}

impl Globs {
    /// Reads globs.
    ///
    /// # Errors
    /// When one is none, or leaves the folder.
    pub fn new<S: AsRef<str>>(globs: &[S]) -> Result<Self, ProjectError> {
        let mut all = Vec::with_capacity(globs.len());
        for glob in globs {
            let text = glob.as_ref();
            let (not, path) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
            let parts = RelPath::parse(path.trim_end_matches('/').as_bytes())
                .map_err(|_| ProjectError::Outside(text.to_owned()))?;
            let path = parts.to_string();
            let names = parts.names();
            let special = |name: &[u8]| name.iter().any(|byte| b"*?[]{}\\".contains(byte));
            let plain = names.iter().take_while(|name| !special(name.as_bytes())).count();
            let start = names[..plain].iter().map(ashlar_object::Name::as_os_str).collect();
            let matcher = globset::GlobBuilder::new(&path)
                .literal_separator(true)
                .build()
                .map_err(|e| ProjectError::Glob {
                    glob: text.to_owned(),
                    reason: e.kind().to_string(),
                })?
                .compile_matcher();
            let literal = plain == names.len();
            let (depth, deep) = (names.len(), path.contains("**"));
            all.push(One { text: text.to_owned(), matcher, not, start, literal, depth, deep });
        }
        Ok(Self { all })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether they name a path, or a folder it is in.
    #[must_use]
    pub fn is_match(&self, path: &Path) -> bool {
        self.which(path).is_some()
    }

    /// The folders, or whole paths, that what they name lies in.
    #[must_use]
    pub fn starts(&self) -> Vec<PathBuf> {
        let mut starts: Vec<PathBuf> =
            self.all.iter().filter(|one| !one.not).map(|one| one.start.clone()).collect();
        starts.sort();
        starts.dedup();
        starts
    }

    /// The paths that are named in full.
    pub fn literals(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.all.iter().filter(|one| one.literal && !one.not).map(|one| one.start.clone())
    }

    /// Whether the names in a folder count: one of them names the folder, or asks for some of what
    /// is in it by a pattern.
    #[must_use]
    pub fn covers(&self, folder: &Path) -> bool {
        self.all.iter().any(|one| {
            !one.not
                && (one.names(folder)
                    || !one.literal
                        && folder.starts_with(&one.start)
                        && (one.deep || folder.components().count() < one.depth))
        })
    }

    /// Whether something in a folder may be named by them.
    #[must_use]
    pub fn lead_into(&self, folder: &Path) -> bool {
        self.all.iter().any(|one| {
            !one.not
                && (one.start.starts_with(folder)
                    || one.names(folder)
                    || folder.starts_with(&one.start)
                        && (one.deep || folder.components().count() < one.depth))
        })
    }

    /// The globs, each with whether it matches something of a list. Those that take back are left out.
    pub fn each<'a>(&'a self, paths: &'a [PathBuf]) -> impl Iterator<Item = (&'a str, bool)> + 'a {
        let adding = self.all.iter().filter(|one| !one.not);
        adding.map(|one| (&*one.text, paths.iter().any(|path| one.names(path))))
    }

    /// The number of the last glob that decides about a path, if it is one that adds.
    fn which(&self, path: &Path) -> Option<usize> {
        let (number, one) = self.all.iter().enumerate().rev().find(|(_, one)| one.names(path))?;
        (!one.not).then_some(number)
    }
}

impl One {
    fn names(&self, path: &Path) -> bool {
        path.starts_with(&self.start)
            && path
                .ancestors()
                .take_while(|above| !above.as_os_str().is_empty())
                .any(|above| self.matcher.is_match(above))
            || self.start.as_os_str().is_empty() && self.literal
    }
}

/// The files below a folder that globs name. Files that git ignores do not count, unless a glob
/// names them without any special character; nor does what `without` says yes to.
///
/// # Errors
/// When something cannot be read or is neither file nor folder nor link.
pub fn inputs(
    folder: &Path,
    globs: &Globs,
    without: &dyn Fn(&Path) -> bool,
    digest: DigestFile<'_>,
) -> Result<Inputs, SourceError> {
    let mut found: BTreeMap<PathBuf, Found> = BTreeMap::new();
    let mut hit = vec![false; globs.all.len()];
    let mut starts: BTreeSet<&Path> = BTreeSet::new();
    for one in globs.all.iter().filter(|one| !one.not) {
        starts.insert(&one.start);
    }
    for start in &starts {
        // What is below another start is walked with it.
        let top = folder.join(start);
        let metadata = match top.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                continue;
            }
            Err(e) => return Err(unreadable(&top)(e).into()),
        };
        let mut all = Vec::new();
        if metadata.is_dir() {
            if start.ancestors().skip(1).any(|above| starts.contains(above))
                && !is_named(globs, start)
            {
                continue;
            }
            walk(folder, &top, &mut all)?;
        } else {
            all.push(Found { below: PathBuf::new(), path: top, metadata });
        }
        for one in all {
            let path = if one.below.as_os_str().is_empty() {
                start.to_path_buf()
            } else {
                start.join(&one.below)
            };
            let Some(number) = globs.which(&path) else { continue };
            if without(&path) {
                continue;
            }
            hit[number] = true;
            found.entry(path.clone()).or_insert(Found { below: path, ..one });
        }
    }
    // A file that two globs name is a hit of both.
    for (number, one) in globs.all.iter().enumerate() {
        hit[number] |= one.not || found.keys().any(|path| one.names(path));
    }
    let found: Vec<Found> = found.into_values().collect();
    let nodes = nodes(&found, digest)?;
    let mut root = Folder::default();
    let mut behind = BTreeMap::new();
    for (one, node) in found.iter().zip(nodes) {
        if one.metadata.is_symlink()
            && let Some(digest) = end_of(folder, globs, one, digest)?
        {
            behind.insert(one.below.clone(), digest);
        }
        root.insert(&one.below, node)?;
    }
    let unmatched = (globs.all.iter().zip(hit))
        .filter(|(_, hit)| !hit)
        .map(|(one, _)| one.text.clone())
        .collect();
    let tree = Tree::from(root.into_dir());
    Ok(Inputs { tree, behind, unmatched, count: found.len() })
}

/// The digest of what a link leads to, a file or a folder; `None` when it leads nowhere, or to
/// what the globs name anyway.
fn end_of(
    folder: &Path,
    globs: &Globs,
    link: &Found,
    digest: DigestFile<'_>,
) -> Result<Option<Digest>, SourceError> {
    let Ok(end) = link.path.canonicalize() else { return Ok(None) };
    let metadata = end.symlink_metadata().map_err(unreadable(&end))?;
    if metadata.is_file() {
        return Ok(Some(digest(&end, &metadata).map_err(unreadable(&end))?));
    }
    let whole = folder.canonicalize().map_err(unreadable(folder))?;
    let inside = end.strip_prefix(&whole).ok();
    // A folder that the link itself is in holds whatever else lies there, results among it.
    if !metadata.is_dir()
        || link.path.starts_with(&end)
        || whole.starts_with(&end)
        || inside.is_some_and(|below| globs.is_match(below))
    {
        return Ok(None);
    }
    let mut found = Vec::new();
    walk(folder, &end, &mut found)?;
    let nodes = nodes(&found, digest)?;
    let mut root = Folder::default();
    for (one, node) in found.iter().zip(nodes) {
        root.insert(&one.below, node)?;
    }
    Ok(Some(Tree::from(root.into_dir()).digest()))
}

/// Whether a glob names just this folder: then what git ignores above it does not count.
fn is_named(globs: &Globs, folder: &Path) -> bool {
    globs.all.iter().any(|one| one.literal && one.start == folder)
}
