//! What has to be known of the world before an image can be planned.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ashlar_dockerfile::{
    Base, Configuration, CopySource, Dockerfile, From, Ignore, Image, Platform, Request, RunMount,
    Work, evaluate, ignore, parse,
};
use ashlar_object::{Digest, Tree};
use ashlar_plan::{BaseImage, Download, ImageFacts};
use ashlar_recipe::{Pins, Problem, Problems};
use ashlar_source::DigestFile;
use ashlar_store::{ImagePlatform, ImageReference, Images, ResolvedImage, Watch};

use super::context::{ContextError, context};
use super::copy::CopyError;
use super::document;
use super::named::{self, NamedHere};
use super::select::select;
use super::steps::at_its_path;
use crate::failure::chain;

/// Where a Dockerfile and its context are, and what is asked of them.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// The folder of the context, absolute.
    pub context: &'a Path,
    /// The Dockerfile, absolute.
    pub file: &'a Path,
    /// What people call it.
    pub name: &'a str,
    /// The stage to build; the last when none is named.
    pub target: Option<&'a str>,
    /// Values of `ARG`s.
    pub args: &'a BTreeMap<String, String>,
    /// What the image is for.
    pub platform: Platform,
    /// The registry of references that name none.
    pub registry: Option<&'a str>,
    /// Whether commands have a network unless they say otherwise.
    pub network: bool,
    /// Where downloads of commands are pinned, and those that are.
    pub pins: Option<(&'a Path, &'a Pins)>,
}

/// Where an image takes what is not in its Dockerfile.
pub struct Around<'a> {
    /// Where base images come from.
    pub images: &'a dyn Images,
    /// What digests files.
    pub digest: DigestFile<'a>,
    /// Who hears of what is got.
    pub watch: &'a Watch<'a>,
    /// The configuration of a module or base of the project; or why it cannot be used.
    pub named: &'a dyn Fn(&Base) -> Result<Configuration, String>,
}

/// An image that can be planned.
#[derive(Debug)]
pub struct Ingredients {
    /// Its stages.
    pub image: Image,
    /// What is known of what they name.
    pub facts: ImageFacts,
    /// The base images, as `facts` numbers them.
    pub bases: Vec<Arc<ResolvedImage>>,
    /// What is in the context.
    pub context: Tree,
    /// What it names of the project.
    pub named: NamedHere,
}

impl Ingredients {
    /// All parts of the context that instructions read.
    pub fn parts(&self) -> impl Iterator<Item = Tree> + '_ {
        self.facts.context.values().filter_map(|digest| self.part(digest))
    }

    /// The part of the context with this digest, when an instruction reads it.
    #[must_use]
    pub fn part(&self, digest: &Digest) -> Option<Tree> {
        let (at, _) = self.facts.context.iter().find(|(_, part)| *part == digest)?;
        let (stage, instruction, mount) = *at;
        let work = &self.image.stages.get(stage)?.instructions.get(instruction)?.work;
        // What cannot be selected was an error when the facts were gathered.
        match work {
            Work::Copy(copy) => select(copy, &self.context).ok(),
            Work::Run(run) => match run.mounts.get(mount)? {
                RunMount::Bind { source, .. } | RunMount::Cache { source, .. } => {
                    at_its_path(&self.context, source).ok()
                }
                RunMount::Tmpfs { .. } | RunMount::Secret { .. } | RunMount::Checkpoint { .. } => {
                    None
                }
            },
            Work::Workdir(_) => None,
        }
    }
}

/// Why an image cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum ImageFailure {
    /// The Dockerfile is wrong, or names what is not there.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What a module says of its image is not so.
    #[error("{0}")]
    Recipe(String),
    /// The context cannot be used.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// A base image cannot be had.
    #[error(transparent)]
    Image(#[from] ashlar_store::ImageError),
    /// The same, for no mistake of the Dockerfile: a registry does not answer.
    #[error("{problems}")]
    Away {
        /// Where it is named, and what is said of it.
        problems: Problems,
        /// Why it cannot be had.
        why: Box<ashlar_store::ImageError>,
    },
}

/// Reads a Dockerfile.
///
/// # Errors
/// When it cannot be read or is no Dockerfile.
pub fn parse_file(place: &Place<'_>) -> Result<Dockerfile, ImageFailure> {
    let read = |source| ImageFailure::Read { path: place.file.to_owned(), source };
    let bytes = std::fs::read(place.file).map_err(read)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        let message = format!("{} is not UTF-8", place.name);
        Problems { list: vec![Problem::new(message)], ..Problems::default() }
    })?;
    Ok(parse(place.name, &text)?)
}

/// Finds out what stages, bases and files an image is made of. Nothing but configurations of bases is
/// fetched.
///
/// # Errors
/// When the Dockerfile is wrong, or something that it names cannot be had.
pub fn gather(place: &Place<'_>, around: &Around<'_>) -> Result<Ingredients, ImageFailure> {
    let file = parse_file(place)?;
    let mut bases = Bases { place, around, found: Vec::new(), names: HashMap::new(), failed: None };
    let build_platform = document::native_platform();
    let request = Request {
        target: place.target,
        args: place.args,
        platform: place.platform.clone(),
        build_platform,
    };
    let evaluated = evaluate(&file, &request, &mut |base| bases.configuration(base));
    let image = evaluated.map_err(|problems| match bases.failed.take() {
        Some(why) => ImageFailure::Away { problems, why: Box::new(why) },
        None => problems.into(),
    })?;
    let named = named::named(&image).map_err(|wrong| refused(place, wrong))?;
    for stage in &image.stages {
        bases.of_stage(stage)?;
    }
    let mut facts = ImageFacts {
        bases: bases.found.iter().map(|image| base_image(image)).collect(),
        base_of: bases.names,
        network: place.network,
        pins: place.pins.map(|(_, pins)| pins.clone()),
        ..ImageFacts::default()
    };
    let bases = bases.found;
    let tree = match reads_context(&image) {
        true => {
            let mut ignored = ignored(place)?;
            // What is written down of a build is no input of it.
            let file = place.pins.and_then(|(file, _)| within(file, place.context));
            if let Some(path) = file.as_deref().and_then(Path::to_str) {
                ignored.leave_out(path);
            }
            context(place.context, &ignored, around.digest)?
        }
        false => Tree::default(),
    };
    let mut wrong = Vec::new();
    for (number, stage) in image.stages.iter().enumerate() {
        for (at, instruction) in stage.instructions.iter().enumerate() {
            let mut refuse = |error: CopyError| {
                let span = instruction.place.span;
                let message = format!("line {}: {}", instruction.line, chain(&error));
                wrong.push(Problem::new(message).at(&instruction.place.file, span, ""));
            };
            match &instruction.work {
                Work::Copy(copy) => {
                    let downloads = copy.sources.iter().map(|one| Download::of(copy, one));
                    if let Some(Err(why)) = downloads.into_iter().find(Result::is_err) {
                        let span = instruction.place.span;
                        let message = format!(
                            "line {}: what ADD gets from elsewhere is not known for certain",
                            instruction.line
                        );
                        let place = &instruction.place.file;
                        wrong.push(Problem::new(message).at(place, span, "").help(why));
                        continue;
                    }
                    let reads =
                        copy.sources.iter().any(|source| matches!(source, CopySource::Path(_)));
                    if copy.from == From::Context && reads {
                        match select(copy, &tree) {
                            Ok(part) => {
                                facts.context.insert((number, at, 0), part.digest());
                            }
                            Err(error) => refuse(error),
                        }
                    }
                }
                Work::Run(run) => {
                    for (mount_number, mount) in run.mounts.iter().enumerate() {
                        let source = match mount {
                            RunMount::Bind { from: From::Context, source, .. }
                            | RunMount::Cache { from: Some(From::Context), source, .. } => source,
                            _ => continue,
                        };
                        match at_its_path(&tree, source) {
                            Ok(part) => {
                                let key = (number, at, mount_number);
                                facts.context.insert(key, part.digest());
                            }
                            Err(error) => refuse(error),
                        }
                    }
                }
                Work::Workdir(_) => {}
            }
        }
    }
    if !wrong.is_empty() {
        return Err(refused(place, wrong));
    }
    Ok(Ingredients { image, facts, bases, context: tree, named })
}

/// Where in a folder a file lies or would lie, however both are spelt.
fn within(file: &Path, folder: &Path) -> Option<PathBuf> {
    let parent = file.parent()?.canonicalize().ok()?;
    let path = parent.join(file.file_name()?);
    Some(path.strip_prefix(folder.canonicalize().ok()?).ok()?.to_owned())
}

/// What is wrong in a Dockerfile, with its text.
fn refused(place: &Place<'_>, list: Vec<Problem>) -> ImageFailure {
    let text = std::fs::read_to_string(place.file).unwrap_or_default();
    let sources = [(place.name.to_owned(), text)].into();
    Problems { list, more: 0, sources }.into()
}

fn base_image(image: &ResolvedImage) -> BaseImage {
    BaseImage { diff_ids: image.layers.iter().map(|layer| layer.diff_id).collect() }
}

/// Whether anything reads files of the context.
fn reads_context(image: &Image) -> bool {
    let mut works = image.stages.iter().flat_map(|stage| &stage.instructions).map(|one| &one.work);
    works.any(|work| match work {
        Work::Copy(copy) => copy.from == From::Context,
        Work::Run(run) => run.mounts.iter().any(|mount| {
            matches!(
                mount,
                RunMount::Bind { from: From::Context, .. }
                    | RunMount::Cache { from: Some(From::Context), .. }
            )
        }),
        Work::Workdir(_) => false,
    })
}

/// What `NAME.dockerignore` beside the Dockerfile, else `.dockerignore` of the context, leaves out.
fn ignored(place: &Place<'_>) -> Result<Ignore, ImageFailure> {
    let mut beside = place.file.as_os_str().to_owned();
    beside.push(".dockerignore");
    for path in [PathBuf::from(beside), place.context.join(".dockerignore")] {
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                return Ok(ignore(&name, &text)?);
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(ImageFailure::Read { path, source }),
        }
    }
    Ok(Ignore::default())
}

/// The images that stages begin with and copy from.
struct Bases<'a> {
    place: &'a Place<'a>,
    around: &'a Around<'a>,
    found: Vec<Arc<ResolvedImage>>,
    names: HashMap<(String, String), usize>,
    failed: Option<ashlar_store::ImageError>,
}

impl Bases<'_> {
    fn configuration(&mut self, base: &Base) -> Result<Configuration, String> {
        match base {
            Base::Scratch | Base::Stage(_) => Ok(Configuration::default()),
            Base::Module(_) | Base::Debian(_) => (self.around.named)(base),
            Base::Image { reference, platform } => match self.image(reference, platform) {
                Ok(number) => document::configuration(&self.found[number].configuration),
                Err(error) => {
                    let said = chain(&error);
                    if matches!(error, ashlar_store::ImageError::Remote(_)) {
                        self.failed.get_or_insert(error);
                    }
                    Err(said)
                }
            },
        }
    }

    fn image(
        &mut self,
        reference: &str,
        platform: &Platform,
    ) -> Result<usize, ashlar_store::ImageError> {
        let name = (reference.to_owned(), platform.to_string());
        if let Some(known) = self.names.get(&name) {
            return Ok(*known);
        }
        let parsed = ImageReference::parse(reference, self.place.registry)?;
        let parsed = parsed.below(self.place.context);
        let wanted =
            ImagePlatform::new(&platform.os, &platform.architecture, platform.variant.as_deref());
        let image = self.around.images.resolve(&parsed, &wanted, self.around.watch)?;
        self.found.push(Arc::new(image));
        self.names.insert(name, self.found.len() - 1);
        Ok(self.found.len() - 1)
    }

    /// Those that a stage uses besides as its base.
    fn of_stage(&mut self, stage: &ashlar_dockerfile::Stage) -> Result<(), ImageFailure> {
        if let Base::Image { reference, platform } = &stage.base {
            self.image(reference, platform)?;
        }
        for instruction in &stage.instructions {
            for from in named::read(instruction) {
                if let From::Image { reference, platform } = from {
                    self.image(reference, platform)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_within_a_folder_however_both_are_spelt() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("context/sub")).unwrap();
        std::fs::create_dir(root.join("other")).unwrap();
        std::os::unix::fs::symlink("context", root.join("link")).unwrap();
        let found = |file: &str, context: &str| within(&root.join(file), &root.join(context));
        let is = |path: &str| Some(PathBuf::from(path));
        assert_eq!(found("context/my.pins", "context"), is("my.pins"));
        assert_eq!(found("other/../context/my.pins", "context"), is("my.pins"));
        assert_eq!(found("context/sub/../my.pins", "context"), is("my.pins"));
        assert_eq!(found("context/sub/my.pins", "link"), is("sub/my.pins"));
        assert_eq!(found("link/my.pins", "context/sub/.."), is("my.pins"));
        assert_eq!(found("other/my.pins", "context"), None);
        assert_eq!(found("none/my.pins", "context"), None);
    }
}
