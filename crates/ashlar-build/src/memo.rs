//! Knowing at once that nothing has to be done.
//!
//! When all targets were found, what was looked at is written down: every recipe and source file
//! with what `lstat` says of it, every source folder and list of patches with its digests, and the
//! step keys that came of it. As long as all of that is the same, so are the keys, and the next
//! build needs neither parse nor hash anything to know which results to look for. That the results
//! are there is looked up as ever.
//!
//! An entry is trusted only when the file was last touched well before the build that wrote it
//! down began: an edit during that build, or within the clock's grain, never hides.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ashlar_object::{Digest, StepKey};
use ashlar_plan::{BaseFact, Facts, Plan};
use ashlar_recipe::{Base, Origin, Project};
use ashlar_source::{DigestFile, files_matching, find_patches, path_tree};
use serde::{Deserialize, Serialize};

use crate::front::{Folder, LOCK_FILE};

/// How much older than the build a file must be: more than the grain of file times.
const GRAIN: Duration = Duration::from_millis(50);

/// The same where file systems keep times in whole seconds, or in two.
const COARSE_GRAIN: Duration = Duration::from_millis(2500);

/// What was looked at, and what came of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Memo {
    /// Files and the folders of modules, with what `lstat` said.
    files: Vec<(String, Stat)>,
    /// Source folders and links, with the digests of their trees.
    trees: Vec<(PathBuf, Sum)>,
    /// Lists of globs of patches, with what they matched.
    patches: Vec<Patches>,
    /// The globs of common files, with what they matched.
    common: (Vec<String>, Vec<(String, Sum)>),
    /// The targets.
    targets: Vec<(String, [u8; 32])>,
}

/// What `lstat` said of a file: device, inode, mode, size, and both times in nanoseconds. Zeroes
/// for a file that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Stat(u64, u64, u32, u64, i64, i64);

type Sum = ([u8; 32], u64);

/// Globs, how many leading components patches name, and each patch by name.
type Patches = (Vec<String>, u32, Vec<(String, Sum, u32)>);

fn sum(digest: Digest) -> Sum {
    (digest.hash, digest.size)
}

impl Stat {
    fn of(meta: &Metadata) -> Self {
        let nanos =
            |seconds: i64, nanos: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos);
        Self(
            meta.dev(),
            meta.ino(),
            meta.mode(),
            meta.size(),
            nanos(meta.mtime(), meta.mtime_nsec()),
            nanos(meta.ctime(), meta.ctime_nsec()),
        )
    }

    fn read(path: &Path) -> Option<Self> {
        match std::fs::symlink_metadata(path) {
            Ok(meta) => Some(Self::of(&meta)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Some(Self::default()),
            Err(_) => None,
        }
    }
}

impl Memo {
    /// Writes down what a build looked at that found all its targets; `began` is the moment before
    /// it read anything. `None` when something was touched too recently, or is of a kind that
    /// cannot be told by a look.
    #[must_use]
    pub fn of(
        project: &Project,
        folder: &Path,
        facts: &Facts,
        plan: &Plan,
        began: SystemTime,
    ) -> Option<Self> {
        // Tags of base images move, and contexts are read anew.
        if !facts.images.is_empty() {
            return None;
        }
        let mut memo = Self {
            files: Vec::new(),
            trees: Vec::new(),
            patches: Vec::new(),
            common: (project.common.clone(), Vec::new()),
            targets: Vec::new(),
        };
        memo.common
            .1
            .extend(facts.common.iter().map(|(name, digest)| (name.clone(), sum(*digest))));
        let mut names = vec![ashlar_recipe::PROJECT_FILE.to_owned(), LOCK_FILE.to_owned()];
        let (files, folders) = Folder(folder).module_files().ok()?;
        names.extend(folders);
        names.extend(files);
        for (name, fact) in &facts.bases {
            match (project.bases.get(name)?, fact) {
                (Base::Path(path), BaseFact::Tree(digest)) => {
                    memo.trees.push((path.clone(), sum(*digest)));
                }
                (Base::Archive(path), BaseFact::Archive(_)) => {
                    names.push(path.to_str()?.to_owned());
                }
                // A build on the machine's own files looks at them, and warns, every time.
                _ => return None,
            }
        }
        for (name, sources) in &facts.sources {
            let module = project.modules.get(name)?;
            for (source, fact) in module.sources.iter().zip(sources) {
                if let (Origin::Path { path }, Some(tree)) = (&source.origin, fact.tree) {
                    let is_file = std::fs::symlink_metadata(folder.join(path)).ok()?.is_file();
                    match path.to_str() {
                        Some(path) if is_file => names.push(path.to_owned()),
                        _ => memo.trees.push((path.clone(), sum(tree))),
                    }
                }
                if !source.patches.is_empty() {
                    let found =
                        fact.patches.iter().map(|(n, d, s)| (n.clone(), sum(*d), *s)).collect();
                    memo.patches.push((source.patches.clone(), source.strip, found));
                }
            }
        }
        let before = |grain| {
            let moment = began.checked_sub(grain)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            i64::try_from(moment.as_nanos()).ok()
        };
        let (fine, coarse) = (before(GRAIN)?, before(COARSE_GRAIN)?);
        for name in names {
            let stat = Stat::read(&folder.join(&name))?;
            // What a link leads to can change without the link.
            let touched = stat.4.max(stat.5);
            let latest = if touched % 1_000_000_000 == 0 { coarse } else { fine };
            if touched >= latest || stat.2 & 0o170_000 == 0o120_000 {
                return None;
            }
            memo.files.push((name, stat));
        }
        memo.targets = plan
            .targets
            .iter()
            .map(|step| (plan.steps[*step].id.module.clone(), plan.steps[*step].key.0))
            .collect();
        Some(memo)
    }

    /// The module and the step key of each target, when everything is as it was.
    #[must_use]
    pub fn targets(&self, folder: &Path, digest: DigestFile<'_>) -> Option<Vec<(String, StepKey)>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let chunk = self.files.len().div_ceil(threads).max(256);
        let same = std::thread::scope(|scope| {
            let running: Vec<_> = self
                .files
                .chunks(chunk)
                .map(|files| {
                    scope.spawn(move || {
                        files
                            .iter()
                            .all(|(name, stat)| Stat::read(&folder.join(name)) == Some(*stat))
                    })
                })
                .collect();
            running.into_iter().all(|thread| thread.join().unwrap_or(false))
        });
        let same = same && self.same_common(folder, digest);
        let same =
            same && self.trees.iter().all(|(path, digests)| {
                path_tree(folder, path, digest).is_ok_and(|tree| sum(tree.digest()) == *digests)
            }) && self.patches.iter().all(|(globs, strip, expected)| {
                find_patches(folder, globs, *strip).is_ok_and(|found| {
                    let found =
                        found.iter().map(|p| (p.name.clone(), sum(Digest::of(&p.bytes)), p.strip));
                    found.eq(expected.iter().cloned())
                })
            });
        same.then(|| self.targets.iter().map(|(name, key)| (name.clone(), StepKey(*key))).collect())
    }

    fn same_common(&self, folder: &Path, digest: DigestFile<'_>) -> bool {
        let (globs, expected) = &self.common;
        if globs.is_empty() {
            return true;
        }
        let Ok(found) = files_matching(folder, globs) else { return false };
        found.len() == expected.len()
            && found.iter().zip(expected).all(|((name, path), (before, digests))| {
                let now = std::fs::metadata(path).and_then(|meta| digest(path, &meta));
                name == before && now.is_ok_and(|now| sum(now) == *digests)
            })
    }

    /// As bytes, to be remembered.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // There is nothing in it that the format cannot say.
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// Reads what [`Memo::encode`] wrote; `None` for anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (memo, rest) = postcard::take_from_bytes(bytes).ok()?;
        rest.is_empty().then_some(memo)
    }
}
