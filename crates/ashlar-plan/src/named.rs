//! What of a project images begin with and read: its modules and bases, by their names.

use std::collections::{HashMap, HashSet};

use ashlar_recipe::{Base, Module, ModuleName, Project};

use crate::image::{UnknownBase, steps_of_image};
use crate::keys::Planner;
use crate::whole::whole;
use crate::{
    BaseFact, FORMAT, Facts, InputName, KeyInputs, Plan, PlanError, Step, StepId, StepIndex, Value,
    Work,
};

/// The steps that make what images name, the lowest layer first.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// By the name of a module. What a group stands for is laid over one another.
    pub modules: HashMap<String, Vec<StepIndex>>,
    /// By the name of a base.
    pub bases: HashMap<String, Vec<StepIndex>>,
    /// The step of each layer of an image that is not the project's, by what it holds.
    pub(crate) layers: HashMap<[u8; 32], StepIndex>,
}

/// What lies below the steps of an image: those of the modules and bases that it names.
#[derive(Clone, Debug, Default)]
pub struct Below {
    /// The steps. It has no targets.
    pub plan: Plan,
    /// Which of them stand for which name.
    pub named: Named,
}

/// Plans the modules and bases that an image names.
///
/// # Errors
/// When one of them does not exist or the lock file is not complete.
pub fn plan_below(
    project: &Project,
    facts: &Facts,
    modules: &[ModuleName],
    bases: &[String],
) -> Result<Below, PlanError> {
    let order = crate::graph::order(project, modules)?;
    let mut planner = Planner::new(project, facts, &order)?;
    planner.modules()?;
    for base in bases {
        planner.base_of_image(base)?;
    }
    let Planner { plan, named, .. } = planner;
    Ok(Below { plan, named })
}

/// The base that an image may begin with, by its name.
///
/// # Errors
/// In words why there is none.
pub fn image_base<'p>(project: &'p Project, name: &str) -> Result<&'p Base, String> {
    match project.bases.get(name) {
        Some(Base::Host) => Err(format!(
            "the base `{name}` is this machine's own file system, which is no part of an image"
        )),
        Some(base) => Ok(base),
        None => {
            let names = || project.bases.keys().map(String::as_str);
            let near = ashlar_recipe::nearest(name, names());
            Err(said("base", name, near, &names().collect::<Vec<_>>()))
        }
    }
}

/// The module that an image may begin with or read, by its name.
///
/// # Errors
/// In words why there is none.
pub fn image_module<'p>(project: &'p Project, name: &str) -> Result<&'p Module, String> {
    project.modules.get(name).map(AsRef::as_ref).ok_or_else(|| {
        let names = || project.modules.keys().map(ModuleName::as_str);
        let last = |name: &str| name.rsplit('/').next().map(str::to_owned);
        let near = ashlar_recipe::nearest(name, names())
            .or_else(|| names().find(|other| last(other) == last(name)));
        said("module", name, near, &names().take(10).collect::<Vec<_>>())
    })
}

fn said(kind: &str, name: &str, near: Option<&str>, all: &[&str]) -> String {
    let advice = match near {
        Some(near) => format!("did you mean `{kind}:{near}`?"),
        None if all.is_empty() => "it has none at all".to_owned(),
        None => format!("there are {}", all.join(", ")),
    };
    format!("the project has no {kind} `{name}`: {advice}")
}

/// The steps of what is named.
pub(crate) fn known(
    all: &HashMap<String, Vec<StepIndex>>,
    kind: &str,
    name: &str,
) -> Result<Vec<StepIndex>, UnknownBase> {
    all.get(name).cloned().ok_or_else(|| UnknownBase { what: format!("the {kind} `{name}`") })
}

impl Named {
    /// Forgets no name, and knows the layers of a module besides.
    pub(crate) fn module(&mut self, name: &ModuleName, layers: Vec<StepIndex>) {
        let mut seen = HashSet::new();
        let layers = layers.into_iter().filter(|step| seen.insert(*step)).collect();
        self.modules.insert(name.to_string(), layers);
    }
}

impl Planner<'_> {
    /// Plans an image with the bases that it names, and gives the layers of its target.
    pub(crate) fn image(&mut self, place: usize) -> Result<Vec<StepIndex>, PlanError> {
        let module = self.order.modules[place];
        let unknown = |what: String| PlanError::Unknown { what };
        let known = self.facts.images.get(&module.name);
        let known = known.ok_or_else(|| unknown(format!("image `{}`", module.name)))?;
        for base in &known.bases {
            self.base_of_image(base)?;
        }
        let name = module.name.as_str();
        let first = self.plan.steps.len();
        let (image, facts) = (&known.image, &known.facts);
        let steps = steps_of_image(image, facts, name, &mut self.plan, &mut self.named);
        let steps = steps.map_err(|error| unknown(format!("{} in `{name}`", error.what)))?;
        self.plan.parts.extend(first..self.plan.steps.len());
        let layers = steps.stages.get(image.target).cloned().unwrap_or_default();
        let whole = whole(image, name, &layers, &self.plan);
        let step = self.add(whole);
        self.steps[place] = Some(step);
        self.plan.modules.insert(module.name.clone(), step);
        Ok(layers)
    }

    /// A base that an image begins with or reads. A folder is a step like the others then, which
    /// keeps its files.
    pub(crate) fn base_of_image(&mut self, name: &str) -> Result<(), PlanError> {
        if self.named.bases.contains_key(name) {
            return Ok(());
        }
        let (key, step) = self.base(name)?;
        let step = match (step, self.facts.bases.get(name)) {
            (Some(step), _) => step,
            (None, Some(BaseFact::Tree(tree))) => {
                let mut inputs = KeyInputs::default();
                inputs.text(InputName::Format, FORMAT);
                inputs.add(InputName::Source("tree".into()), Value::Tree(*tree));
                // The same key as that of modules, which have it without a step.
                self.add(Step {
                    id: StepId { module: format!("base:{name}"), step: "base".to_owned() },
                    work: Work::Unpack(name.to_owned()),
                    key,
                    inputs,
                    layers: Vec::new(),
                    sources: Vec::new(),
                    depends: Vec::new(),
                })
            }
            (None, _) => {
                return Err(PlanError::Unknown { what: format!("files of the base `{name}`") });
            }
        };
        self.named.bases.insert(name.to_owned(), vec![step]);
        Ok(())
    }
}
