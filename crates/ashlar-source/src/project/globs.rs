//! Files that globs of the project match, and patches among them.

use std::path::{Path, PathBuf};

use ashlar_object::RelPath;

use super::{ProjectError, unreadable};
use crate::patch::series;
use crate::{Patch, SourceError};

/// The files that globs match, as (path relative to the project, full path): in the order of the
/// globs, those of one glob sorted by name, each file once.
///
/// `*` and `?` do not match a slash, `**` does. Ignored files are matched like others.
///
/// # Errors
/// When a glob is bad or matches nothing.
pub fn files_matching(
    project: &Path,
    globs: &[String],
) -> Result<Vec<(String, PathBuf)>, SourceError> {
    let mut all: Vec<(String, PathBuf)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for glob in globs {
        let found = matching(project, glob)?;
        if found.is_empty() {
            return Err(ProjectError::NoMatch(glob.clone()).into());
        }
        all.extend(found.into_iter().filter(|(name, _)| seen.insert(name.clone())));
    }
    Ok(all)
}

/// The patches that globs match, read. A file named `series` stands for the patches it lists, in
/// its order, with the `-pN` it gives them.
///
/// # Errors
/// As [`files_matching`], and when a series or a patch cannot be read.
pub fn find_patches(
    project: &Path,
    globs: &[String],
    strip: u32,
) -> Result<Vec<Patch>, SourceError> {
    let mut patches = Vec::new();
    for (name, path) in files_matching(project, globs)? {
        let bytes = std::fs::read(&path).map_err(unreadable(&path))?;
        if path.file_name().is_none_or(|file| file != "series") {
            patches.push(Patch { name, bytes, strip });
            continue;
        }
        let text = String::from_utf8_lossy(&bytes);
        let folder = path.parent().unwrap_or(project);
        let prefix = name.strip_suffix("series").unwrap_or_default();
        for line in series(&text) {
            let bad = |what| ProjectError::Series { series: path.clone(), line: line.number, what };
            let below = RelPath::parse(line.name.as_bytes()).map_err(|e| bad(e.to_string()))?;
            let of_line = line.strip.map_err(|options| {
                bad(format!("`{options}` is not understood; only `-pN` can follow a patch"))
            })?;
            let bytes = std::fs::read(below.under(folder)).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => {
                    ProjectError::NoPatch { series: path.clone(), patch: line.name.to_owned() }
                }
                _ => unreadable(&below.under(folder))(e),
            })?;
            let name = format!("{prefix}{}", line.name);
            patches.push(Patch { name, bytes, strip: of_line.unwrap_or(strip) });
        }
    }
    Ok(patches)
}

/// The files that one glob matches, sorted.
fn matching(project: &Path, glob: &str) -> Result<Vec<(String, PathBuf)>, ProjectError> {
    let outside = || ProjectError::Outside(glob.to_owned());
    let parts = RelPath::parse(glob.as_bytes()).map_err(|_| outside())?;
    let glob_text = parts.to_string();
    let matcher = globset::GlobBuilder::new(&glob_text)
        .literal_separator(true)
        .build()
        .map_err(|e| ProjectError::Glob { glob: glob.to_owned(), reason: e.kind().to_string() })?
        .compile_matcher();
    // Folders that are written out need no look at their neighbours.
    let is_literal = |name: &[u8]| !name.iter().any(|b| b"*?[]{}\\".contains(b));
    let names = parts.names();
    let literal = names.iter().take_while(|name| is_literal(name.as_bytes())).count();
    let mut start = RelPath::root();
    names[..literal].iter().for_each(|name| start.push(name.clone()));
    let deepest = if glob_text.contains("**") { usize::MAX } else { names.len() };
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::from(start.to_string())];
    while let Some(below) = todo.pop() {
        let path = project.join(&below);
        let is_start = below.as_os_str().to_str() == Some(&start.to_string());
        // Links to files are files; links to folders are followed only where the glob names
        // them, so that no ring of them is walked.
        let metadata = if is_start { path.metadata() } else { path.symlink_metadata() };
        let metadata = match metadata {
            Err(e) if is_start && e.kind() == std::io::ErrorKind::NotFound => break,
            other => other.map_err(unreadable(&path))?,
        };
        if metadata.is_dir() {
            if below.iter().count() >= deepest {
                continue;
            }
            for entry in std::fs::read_dir(&path).map_err(unreadable(&path))? {
                let entry = entry.map_err(unreadable(&path))?;
                if entry.file_name() != ".git" {
                    todo.push(below.join(entry.file_name()));
                }
            }
        } else if matcher.is_match(&below) && path.metadata().is_ok_and(|m| m.is_file()) {
            let what = "a file whose name is not UTF-8";
            let name = below.to_str().ok_or(ProjectError::Kind { path: path.clone(), what })?;
            found.push((name.to_owned(), path));
        }
    }
    found.sort();
    Ok(found)
}
