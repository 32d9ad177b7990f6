//! Folders into artifacts.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ashlar_object::{Digest, RelPath, Tree};
use ashlar_pack::Limits;
use ashlar_store::{StoreError, Survey, Watch, survey};
use rustix::fs::FlockOperation;

use super::address::{Reference, Target};
use super::destination::{DestinationError, all_allowed, is_waiting, lock};
use super::layers::put;
use super::manifest::{EMPTY_CONFIG, trusted};
use super::native::How;
use super::parts::{Folder, arrange, compose};
use super::{Access, ArtifactError, Part, compatible, composite, native, place};
use crate::depot::{Body, Depot};
use crate::image::{Signer, sign_manifest};

/// A file with this name in a folder says that there is nothing to hand on.
pub(super) const SKIP: &str = ".skip-trusted-artifacts";

/// In what form an artifact is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As layers that later ones build upon, and of which single files can be fetched.
    #[default]
    Native,
    /// As the gzip'd archive that Konflux' own tasks read.
    TrustedArtifact,
}

/// A folder that becomes an artifact.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Its name: later artifacts of this name build upon it.
    pub name: String,
    /// The folder, or a single file.
    pub path: PathBuf,
}

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Create {
    /// Where to leave it.
    pub target: Target,
    /// In what form.
    pub format: Format,
    /// One artifact for each of these.
    pub pieces: Vec<Piece>,
    /// One artifact of all of these under the name, besides or instead of pieces.
    pub composite: Option<(String, Vec<(Part, PathBuf)>)>,
    /// After how long a registry may remove it: `7d`, as Quay takes it.
    pub expires_after: Option<String>,
    /// Make an empty artifact of what is not there, instead of failing.
    pub allow_missing: bool,
    /// How hard to compress, 1 to 19.
    pub level: Option<i32>,
    /// Pack everything, instead of building upon the layers of earlier artifacts.
    pub anew: bool,
    /// A private key, PEM, to sign what references name with.
    pub sign: Option<PathBuf>,
}

/// What became of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its name.
    pub name: String,
    /// What to hand on; `None` when its folder says that there is nothing.
    pub reference: Option<Reference>,
    /// How many bytes its files have.
    pub content: u64,
    /// How many entries it has.
    pub entries: u64,
}

/// Makes artifacts and leaves them, all or none pointed to: the tag, if there is one, comes last.
///
/// # Errors
/// When a folder cannot be read or changes meanwhile, or the place fails.
pub fn create(
    wanted: &Create,
    access: &Access,
    watch: &Watch<'_>,
) -> Result<Vec<Created>, ArtifactError> {
    let depot = place::open(&wanted.target.repository, access)?;
    // Before anything is sent: a key that cannot be used must not show at the end.
    let read = |path: &PathBuf| Signer::read(depot.place(), path);
    let signer = wanted.sign.as_ref().map(read).transpose()?;
    let limits = Limits { level: wanted.level.unwrap_or(3), ..Limits::default() };
    let creating = Creating {
        depot: &*depot,
        wanted,
        watch,
        how: How {
            limits,
            expires_after: wanted.expires_after.as_deref(),
            anew: wanted.anew,
            signer: signer.as_ref(),
        },
        signer: signer.as_ref(),
    };
    let mut all = Vec::new();
    let mut digests = Vec::new();
    for piece in &wanted.pieces {
        let (created, digest) = creating.piece(piece)?;
        digests.extend(digest.map(|digest| (piece.name.clone(), digest)));
        all.push(created);
    }
    if let Some((name, parts)) = &wanted.composite {
        all.push(creating.composite(name, parts)?);
    }
    creating.point(&digests)?;
    depot.flush()?;
    Ok(all)
}

struct Creating<'a> {
    depot: &'a dyn Depot,
    wanted: &'a Create,
    watch: &'a Watch<'a>,
    how: How<'a>,
    signer: Option<&'a Signer>,
}

impl Creating<'_> {
    fn piece(&self, piece: &Piece) -> Result<(Created, Option<Digest>), ArtifactError> {
        let mut created =
            Created { name: piece.name.clone(), reference: None, content: 0, entries: 0 };
        let Some((survey, _lock)) = self.survey(&piece.path, &[])? else {
            return Ok((created, None));
        };
        let tree = survey.as_ref().map_or_else(Tree::default, |survey| survey.tree().clone());
        created.content = tree.content_size();
        created.entries = tree.len() as u64;
        let contents = survey.map(Arc::new);
        let digest = match self.wanted.format {
            Format::Native => {
                let lineage = format!("artifact {}", piece.name);
                let open = opener(contents.iter().cloned().collect());
                native::leave(self.depot, &lineage, &tree, &open, &self.how, self.watch)?
            }
            Format::TrustedArtifact => {
                compatible::push(self.depot, &tree, contents.as_ref(), self.watch)?
            }
        };
        self.sign(
            match self.wanted.format {
                Format::Native => super::manifest::MANIFEST,
                Format::TrustedArtifact => super::manifest::ARCHIVE,
            },
            &digest,
        )?;
        created.reference = Some(self.reference(&digest));
        Ok((created, Some(digest)))
    }

    fn composite(&self, name: &str, parts: &[(Part, PathBuf)]) -> Result<Created, ArtifactError> {
        let mut created =
            Created { name: name.to_owned(), reference: None, content: 0, entries: 0 };
        let mut real = Vec::new();
        for (part, path) in parts {
            match std::fs::canonicalize(path) {
                Ok(path) if path.is_dir() => real.push((part.clone(), path)),
                Err(_) if self.wanted.allow_missing => self.missing(path),
                _ => return Err(ArtifactError::Missing(path.clone())),
            }
        }
        let (folders, layout) = arrange(&real)?;
        let mut trees: Vec<(Folder, Tree)> = Vec::new();
        let mut surveys = Vec::new();
        let mut locks = Vec::new();
        for folder in folders {
            // One that says that there is nothing is left out; the others are still wanted.
            if let Some((Some(survey), lock)) = self.survey(&folder.path, &folder.without)? {
                trees.push((folder, survey.tree().clone()));
                surveys.push(Arc::new(survey));
                locks.push(lock);
            }
        }
        if trees.is_empty() && !parts.is_empty() && !self.wanted.allow_missing {
            return Ok(created);
        }
        let parts = compose(trees)?;
        for (index, (_, tree)) in parts.iter().enumerate() {
            let common = if index == 0 { 0 } else { parts[0].1.content_size() };
            created.content += tree.content_size().saturating_sub(common);
            let common = if index == 0 { 0 } else { parts[0].1.len() };
            created.entries += (tree.len().saturating_sub(common)) as u64;
        }
        let lineage = format!("artifact {name}");
        let open = opener(surveys);
        let index =
            composite::leave(self.depot, &lineage, &parts, layout, &open, &self.how, self.watch)?;
        let mut tags = vec![format!("artifact-{}", index.digest().hex())];
        if self.wanted.pieces.is_empty() {
            tags.extend(self.wanted.target.tag.clone());
        }
        self.depot.put_manifest(&index, &[])?;
        self.sign(super::manifest::INDEX, &index.digest())?;
        self.depot.put_manifest(&index, &tags)?;
        created.reference = Some(self.reference(&index.digest()));
        Ok(created)
    }

    /// Reads a path. `None` when it says that there is nothing to hand on; no survey when it is
    /// not there and need not be.
    #[expect(clippy::type_complexity, reason = "used twice, here")]
    fn survey(
        &self,
        path: &Path,
        without: &[RelPath],
    ) -> Result<Option<(Option<Survey>, Option<std::fs::File>)>, ArtifactError> {
        let Ok(real) = std::fs::canonicalize(path) else {
            if self.wanted.allow_missing {
                self.missing(path);
                return Ok(Some((None, None)));
            }
            return Err(ArtifactError::Missing(path.to_path_buf()));
        };
        if real.join(SKIP).is_file() {
            (self.watch.warn)(format!("{} is skipped: it has a file {SKIP}", path.display()));
            return Ok(None);
        }
        let mut without = without.to_vec();
        let mut guard = None;
        if real.is_dir() {
            // Nobody fills the folder while it is read.
            let how = FlockOperation::NonBlockingLockShared;
            match lock(&real, how, self.watch) {
                Ok((file, _)) => guard = Some(file),
                Err(DestinationError::Io { source, .. }) => {
                    return self.unreadable(path, source.kind()).map(Some);
                }
                Err(error) => return Err(error.into()),
            }
            without.extend(waiting(&real));
        }
        match survey(&real, &without) {
            Ok(found) => {
                // What nobody could take must not be left.
                all_allowed(found.tree())?;
                Ok(Some((Some(found), guard)))
            }
            Err(StoreError::Io { doing: "open", path: at, source }) if at == real => {
                self.unreadable(path, source.kind()).map(Some)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn unreadable(
        &self,
        path: &Path,
        kind: std::io::ErrorKind,
    ) -> Result<(Option<Survey>, Option<std::fs::File>), ArtifactError> {
        let gone =
            matches!(kind, std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied);
        if gone && self.wanted.allow_missing {
            self.missing(path);
            return Ok((None, None));
        }
        Err(ArtifactError::Missing(path.to_path_buf()))
    }

    fn missing(&self, path: &Path) {
        (self.watch.warn)(format!(
            "{} is not there, or may not be read: the artifact is empty",
            path.display()
        ));
    }

    fn reference(&self, digest: &Digest) -> Reference {
        Reference { repository: self.wanted.target.repository.clone(), hash: digest.hash }
    }

    /// Signs what a reference names, before a tag leads there.
    fn sign(&self, media_type: &str, digest: &Digest) -> Result<(), ArtifactError> {
        let Some(signer) = self.signer else { return Ok(()) };
        let subject = super::manifest::descriptor(media_type, digest);
        Ok(sign_manifest(self.depot, &subject, signer, self.watch)?)
    }

    /// Leaves what keeps all pieces together and, with a tag, alive.
    fn point(&self, digests: &[(String, Digest)]) -> Result<(), ArtifactError> {
        if digests.is_empty() {
            return Ok(());
        }
        let manifest = match (self.wanted.format, digests, &self.wanted.target.tag) {
            (Format::TrustedArtifact, _, _) => {
                let empty = Body::Bytes(Arc::from(EMPTY_CONFIG));
                put(self.depot, &Digest::of(EMPTY_CONFIG), &empty, self.watch)?;
                trusted(digests, self.how.expires_after)
            }
            (Format::Native, _, None) => return Ok(()),
            (Format::Native, [(_, digest)], Some(tag)) => {
                let reference = crate::depot::Reference::Hash(digest.hash);
                let Some(manifest) = self.depot.manifest(&reference)? else {
                    return Err(ArtifactError::Unknown(self.reference(digest)));
                };
                self.depot.put_manifest(&manifest, std::slice::from_ref(tag))?;
                return Ok(());
            }
            (Format::Native, _, Some(_)) => {
                super::manifest::collection(digests, self.how.expires_after)
            }
        };
        let mut tags = vec![format!("artifact-{}", manifest.digest().hex())];
        tags.extend(self.wanted.target.tag.clone());
        Ok(self.depot.put_manifest(&manifest, &tags)?)
    }
}

/// Contents out of several surveys.
fn opener(
    surveys: Vec<Arc<Survey>>,
) -> impl Fn(&Digest) -> std::io::Result<Box<dyn std::io::Read + Send>> + Sync {
    move |digest| {
        for survey in &surveys {
            if let Some(reader) = survey.open(digest).map_err(std::io::Error::other)? {
                return Ok(reader);
            }
        }
        if *digest == Digest::EMPTY {
            return Ok(Box::new(std::io::empty()));
        }
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// Folders at the top of another in which files wait for somebody who was killed.
fn waiting(folder: &Path) -> Vec<RelPath> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name()).filter(|name: &OsString| is_waiting(name));
    names.filter_map(|name| RelPath::parse(name.as_encoded_bytes()).ok()).collect()
}
