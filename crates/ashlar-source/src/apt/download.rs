//! Files of archives, fetched by apt's own helper, so that its proxies and passwords hold.

use std::path::{Path, PathBuf};

use ashlar_object::{Digest, RelPath};
use ashlar_recipe::lock::LockedFile;

use super::AptError;
use super::setup::Setup;
use crate::SourceError;
use crate::program::{APT_HELPER, words};
use crate::project::digest_path;
use crate::url::Stop;

/// How many files one run of the helper fetches: far below the bound on arguments.
const BATCH: usize = 200;

/// Fetches files, trying each root of an archive for those that no earlier root had.
pub(super) fn all(
    setup: &Setup,
    files: &[(&LockedFile, Digest)],
    folder: &Path,
    got: &mut dyn FnMut(&Path, Digest) -> Result<(), SourceError>,
    stop: Stop<'_>,
) -> Result<(), SourceError> {
    let mut left = Vec::new();
    for (index, (file, digest)) in files.iter().enumerate() {
        let path = RelPath::parse(file.path.as_bytes());
        let path = path
            .map_err(|e| AptError::Unexpected { program: "the lock file", words: e.to_string() })?;
        let to = folder.join(index.to_string());
        left.push(Wanted { path: path.to_string(), digest: *digest, to });
    }
    let mut said = String::new();
    let mut wrong = None;
    for root in roots(setup) {
        if left.is_empty() {
            break;
        }
        let mut still = Vec::new();
        for batch in left.chunks(BATCH) {
            let mut stopped = false;
            let from = match local(&root) {
                Some(folder) => Some(folder),
                None => {
                    match fetch(setup, &root, batch, stop) {
                        Ok(words) => said.push_str(&words),
                        // What has come by then is kept.
                        Err(SourceError::Stopped) => stopped = true,
                        Err(error) => return Err(error),
                    }
                    None
                }
            };
            for wanted in batch {
                let path = from.as_ref().map_or(wanted.to.clone(), |f| f.join(&wanted.path));
                match digest_path(&path) {
                    Ok(digest) if digest == wanted.digest => {
                        got(&path, digest)?;
                        if from.is_none() {
                            std::fs::remove_file(&path)
                                .map_err(SourceError::io("remove", &path))?;
                        }
                        continue;
                    }
                    Ok(digest) => wrong = Some((wanted.clone(), digest)),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                        // What has the wrong checksum is put aside by the helper.
                        let aside = path.with_extension("FAILED");
                        if let Ok(digest) = digest_path(&aside) {
                            wrong = Some((wanted.clone(), digest));
                        }
                    }
                    Err(e) => return Err(SourceError::io("read", &path)(e)),
                }
                still.push(wanted.clone());
            }
            if stopped || stop() {
                return Err(SourceError::Stopped);
            }
        }
        left = still;
    }
    if left.is_empty() {
        return Ok(());
    }
    // A wrong file of one mirror does not matter when another one has the right one.
    if let Some((wanted, digest)) = wrong.filter(|(w, _)| left.iter().any(|l| l.path == w.path)) {
        let (expected, got) = (wanted.digest.hex(), digest.hex());
        return Err(AptError::Checksum { path: wanted.path, expected, got }.into());
    }
    let paths: Vec<_> = left.into_iter().map(|wanted| wanted.path).collect();
    let trouble: Vec<_> = said.lines().filter(|line| line.starts_with("E:")).collect();
    let is_gone = |line: &&str| line.contains("404") || line.contains("410");
    if trouble.iter().all(|line| is_gone(line) || line.ends_with("Download Failed")) {
        return Err(AptError::Gone(paths).into());
    }
    let trouble: Vec<_> = trouble.into_iter().filter(|line| !is_gone(line)).collect();
    Err(AptError::Download { paths, words: words(trouble.join("\n").as_bytes()) }.into())
}

#[derive(Clone)]
struct Wanted {
    path: String,
    digest: Digest,
    to: PathBuf,
}

/// Lets the helper fetch what it can; returns what it said.
fn fetch(
    setup: &Setup,
    root: &str,
    batch: &[Wanted],
    stop: Stop<'_>,
) -> Result<String, SourceError> {
    let mut arguments = vec!["download-file".to_owned()];
    for wanted in batch {
        arguments.push(format!("{}/{}", root.trim_end_matches('/'), wanted.path));
        arguments.push(wanted.to.display().to_string());
        arguments.push(format!("SHA256:{}", wanted.digest.hex()));
    }
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let output = setup.run_until(APT_HELPER, &arguments, stop)?;
    let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
    said.push('\n');
    Ok(said)
}

/// The folder behind a root on this machine.
fn local(root: &str) -> Option<PathBuf> {
    let rest = root.strip_prefix("file:").or_else(|| root.strip_prefix("copy:"))?;
    Some(PathBuf::from(rest.strip_prefix("//").unwrap_or(rest)))
}

/// The roots of all archives, each once. `mirror+file:` stands for the roots in that file.
fn roots(setup: &Setup) -> Vec<String> {
    let mut roots = Vec::new();
    for root in setup.entries.iter().flat_map(|entry| entry.roots()) {
        let list = root.strip_prefix("mirror+file:").or_else(|| root.strip_prefix("mirror:file:"));
        match list.map(|path| path.strip_prefix("//").unwrap_or(path)) {
            None => roots.push(root.to_owned()),
            // A list that cannot be read gives no root; the files are then reported.
            Some(path) => roots.extend(
                std::fs::read_to_string(path)
                    .unwrap_or_default()
                    .lines()
                    .filter(|line| !line.starts_with('#'))
                    .filter_map(|line| line.split_ascii_whitespace().next())
                    .map(str::to_owned),
            ),
        }
    }
    let mut seen = std::collections::HashSet::new();
    roots.retain(|root| seen.insert(root.clone()));
    roots
}
