//! Modules that are images.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ashlar_dockerfile::{Base, Configuration};
use ashlar_execute::Kept;
use ashlar_object::{Digest, File, Meta, Node, Tree};
use ashlar_plan::{Facts, ImageFact, Part, Step, image_module};
use ashlar_recipe::{ImageRecipe, Kind, Module, ModuleName, Project};
use ashlar_source::DigestFile;
use ashlar_store::{Images, ResolvedImage, Watch, put};
use serde_json::json;

use super::facts::{Around, ImageFailure, Ingredients, Place, gather};
use super::named::named_configuration;
use super::steps::BuildContext;
use super::{action, document};
use crate::engine::{Engine, Prepared, Results};
use crate::event::Failure;
use crate::front::reached;

/// The file that the result of such a module consists of.
const FILE: &str = "image.json";

/// A module that is an image, as it is planned.
#[derive(Debug)]
pub struct ImageModule {
    /// Its name.
    pub name: ModuleName,
    /// What it is made of.
    pub made: Ingredients,
    /// The folder of its context, absolute.
    pub context: PathBuf,
}

impl ImageModule {
    /// The configuration of the image.
    fn configuration(&self) -> Configuration {
        let image = &self.made.image;
        image.stages.get(image.target).map(|stage| stage.configuration.clone()).unwrap_or_default()
    }
}

/// Where such modules take what is not in the project.
pub struct Elsewhere<'a> {
    /// Where base images come from.
    pub images: &'a dyn Images,
    /// What digests files.
    pub digest: DigestFile<'a>,
    /// Who hears of what is got.
    pub watch: &'a Watch<'a>,
    /// The registry of references that name none.
    pub registry: Option<&'a str>,
}

/// Finds out what those of the modules that the targets reach are made of that are images, each
/// after those it depends on. What is `known` already is not done again, and not among them.
///
/// # Errors
/// When a Dockerfile is wrong, or something that it names cannot be had.
pub fn gather_modules(
    project: &Project,
    folder: &Path,
    targets: &[ModuleName],
    known: &[ImageModule],
    elsewhere: &Elsewhere<'_>,
) -> Result<Vec<ImageModule>, ImageFailure> {
    let mut left: Vec<&Module> = reached(project, targets);
    left.retain(|module| module.build.kind == Kind::Image);
    left.retain(|module| known.iter().all(|one| one.name != module.name));
    let mut found: Vec<ImageModule> = Vec::new();
    while !left.is_empty() {
        let waiting: HashSet<&ModuleName> = left.iter().map(|module| &module.name).collect();
        let is_ready = |module: &&Module| {
            let below = reached(project, &module.depends);
            below.iter().all(|other| !waiting.contains(&other.name))
        };
        // The recipe room has refused cycles, so there is one.
        let Some(next) = left.iter().position(is_ready) else { break };
        let module = left.swap_remove(next);
        let Some(recipe) = &module.build.image else { continue };
        let one = one(project, folder, module, recipe, [known, &found], elsewhere)?;
        found.push(one);
    }
    Ok(found)
}

fn one(
    project: &Project,
    folder: &Path,
    module: &Module,
    recipe: &ImageRecipe,
    known: [&[ImageModule]; 2],
    elsewhere: &Elsewhere<'_>,
) -> Result<ImageModule, ImageFailure> {
    let context = folder.join(&recipe.context);
    let file = folder.join(&recipe.dockerfile);
    let shown = recipe.dockerfile.display().to_string();
    if !context.is_dir() {
        let message = format!(
            "{}: `context` is `{}`, which is no folder of the project",
            module.file.display(),
            recipe.context.display()
        );
        return Err(ImageFailure::Recipe(message));
    }
    let place = Place {
        context: &context,
        file: &file,
        name: &shown,
        target: recipe.target.as_deref(),
        args: &recipe.args,
        platform: document::native_platform(),
        registry: elsewhere.registry,
        network: recipe.network,
        pins: None,
    };
    let named = |base: &Base| {
        if let Base::Module(name) = base {
            image_module(project, name)?;
            if !module.depends.iter().any(|known| known.as_str() == name) {
                return Err(format!(
                    "{} does not say that it needs it: add \"{name}\" to its `depends`",
                    module.file.display()
                ));
            }
        }
        named_configuration(project, &|name| configuration(name, known), base)
    };
    let Elsewhere { images, digest, watch, .. } = *elsewhere;
    let mut made = gather(&place, &Around { images, digest, watch, named: &named })?;
    made.facts.salt.clone_from(&project.salt);
    made.facts.module_salt.clone_from(&module.salt);
    Ok(ImageModule { name: module.name.clone(), made, context })
}

fn configuration(name: &str, known: [&[ImageModule]; 2]) -> Option<Configuration> {
    let mut all = known.into_iter().flatten();
    all.find(|module| module.name.as_str() == name).map(ImageModule::configuration)
}

/// The configuration of the image that a module is, when it is among these.
#[must_use]
pub fn image_configuration(name: &str, known: &[ImageModule]) -> Option<Configuration> {
    configuration(name, [known, &[]])
}

/// The bases of the project that images name.
#[must_use]
pub fn bases_of(modules: &[ImageModule]) -> Vec<String> {
    let mut bases: Vec<String> =
        modules.iter().flat_map(|module| module.made.named.bases.iter().cloned()).collect();
    bases.sort();
    bases.dedup();
    bases
}

/// Numbers the contexts and base images of a run, and puts what is known of the modules among its
/// facts. `own` is an image that is no module; it comes last.
pub fn number(modules: &mut [ImageModule], own: Option<&mut Ingredients>, facts: &mut Facts) {
    let mut first_base = 0;
    let mut number_of = |made: &mut Ingredients, number: usize| {
        made.facts.number = number;
        made.facts.first_base = first_base;
        first_base += made.bases.len();
    };
    facts.images = BTreeMap::new();
    let count = modules.len();
    for (number, module) in modules.iter_mut().enumerate() {
        number_of(&mut module.made, number);
        let fact = ImageFact {
            image: Arc::new(module.made.image.clone()),
            facts: module.made.facts.clone(),
            bases: module.made.named.bases.clone(),
        };
        facts.images.insert(module.name.clone(), fact);
    }
    if let Some(own) = own {
        number_of(own, count);
    }
    facts.contexts = modules.iter().map(|module| module.context.clone()).collect();
}

/// The base images and contexts of modules, in the order of their numbers.
#[must_use]
pub fn numbered(modules: &[ImageModule]) -> (Vec<Arc<ResolvedImage>>, Vec<BuildContext>) {
    let bases = modules.iter().flat_map(|module| module.made.bases.iter().cloned()).collect();
    let context = |module: &ImageModule| BuildContext {
        folder: module.context.clone(),
        tree: module.made.context.clone(),
    };
    (bases, modules.iter().map(context).collect())
}

impl Engine<'_> {
    /// What is kept of an image that is a module.
    pub(super) fn whole_image(
        &self,
        step: &Step,
        configuration: &Configuration,
        layers: &[Part],
        results: &Results,
    ) -> Result<Prepared, Failure> {
        let layer = |part: &Part| {
            Ok(match part {
                Part::Step(step) => {
                    json!({ "tree": self.outputs(*step, results)?.digest.to_string() })
                }
                Part::Foreign(hash) => {
                    json!({ "diff_id": format!("sha256:{}", Digest { hash: *hash, size: 0 }.hex()) })
                }
            })
        };
        let layers = layers.iter().map(layer).collect::<Result<Vec<_>, Failure>>()?;
        let content = put(self.store, &document::whole(configuration, layers))?;
        let node = Node::File(File::new(content, Meta::FILE));
        let path = FILE.parse().map_err(|error| Failure::project(format!("{error}")))?;
        let tree = Tree::default().with(&path, node);
        let made = Kept { digest: put(self.store, &tree.encode())?, tree };
        Ok(action::made(step, "image", made))
    }
}
