//! From modules to steps with keys.

use std::collections::HashMap;
use std::sync::Arc;

use ashlar_object::StepKey;
use ashlar_recipe::{Base, Kind, Lock, Module, ModuleName, Origin, Project};

use crate::graph::{Order, order};
use crate::{
    BaseFact, Commands, Facts, GraphError, InputName, KeyInputs, Named, Plan, Step, StepId,
    StepIndex, Value, Work,
};

/// The version of the key format: everything that decides what a key means, above all the
/// sandbox's fixed environment and the default scripts. A change of it forgets every result.
pub const FORMAT: &str = "3";

/// Why there can be no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A target does not exist.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The lock file lacks something, so that what would be built is not known.
    #[error("the lock file has no {what}")]
    NotLocked {
        /// What it lacks.
        what: String,
    },
    /// A fact that must be there is not.
    #[error("nothing is known of the {what}")]
    Unknown {
        /// Of what.
        what: String,
    },
}

/// Plans what the targets could need. Keys are computed for every module that is reachable;
/// nothing is looked up.
///
/// # Errors
/// When a target does not exist or the lock file is not complete.
pub fn plan(project: &Project, facts: &Facts, targets: &[ModuleName]) -> Result<Plan, PlanError> {
    let targets = if targets.is_empty() { &project.default } else { targets };
    if targets.is_empty() {
        return Err(GraphError::NoTarget.into());
    }
    let order = order(project, targets)?;
    let mut planner = Planner::new(project, facts, &order)?;
    planner.modules()?;
    let Planner { mut plan, steps, .. } = planner;
    let mut wanted = Vec::new();
    for target in targets {
        let place = order.place[target.as_str()];
        match steps[place] {
            Some(step) => wanted.push(step),
            None => wanted.extend(order.depends[place].iter().filter_map(|d| steps[*d])),
        }
    }
    let mut seen = vec![false; plan.steps.len()];
    wanted.retain(|step| !std::mem::replace(&mut seen[*step], true));
    plan.targets = wanted;
    Ok(plan)
}

/// What enters the key of every step of every module.
fn common(project: &Project, facts: &Facts) -> KeyInputs {
    let mut inputs = KeyInputs::default();
    inputs.text(InputName::Format, FORMAT);
    inputs.text(InputName::Architecture, facts.architecture.clone());
    inputs.text(InputName::ProjectSalt, project.salt.clone());
    for (path, digest) in &facts.common {
        inputs.add(InputName::Common(path.clone()), Value::File(*digest));
    }
    inputs
}

pub(crate) struct Planner<'a> {
    project: &'a Project,
    pub(crate) facts: &'a Facts,
    pub(crate) order: &'a Order<'a>,
    pub(crate) plan: Plan,
    pub(crate) named: Named,
    pub(crate) steps: Vec<Option<StepIndex>>,
    /// For each module the modules of kind `deb` it depends on, directly or not, in order.
    debs: Vec<Arc<[usize]>>,
    bases: HashMap<String, (StepKey, Option<StepIndex>)>,
    tools: HashMap<(String, Vec<String>), (StepKey, StepIndex)>,
    common: KeyInputs,
    commands: Commands,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(
        project: &'a Project,
        facts: &'a Facts,
        order: &'a Order<'a>,
    ) -> Result<Self, PlanError> {
        let commands = facts.commands;
        Ok(Self {
            project,
            facts,
            order,
            plan: Plan::default(),
            named: Named::default(),
            steps: vec![None; order.modules.len()],
            debs: vec![Arc::default(); order.modules.len()],
            bases: HashMap::new(),
            tools: HashMap::new(),
            common: common(project, facts),
            commands: commands.ok_or_else(|| PlanError::Unknown {
                what: "commands of this program".to_owned(),
            })?,
        })
    }

    /// Plans all modules, in order.
    pub(crate) fn modules(&mut self) -> Result<(), PlanError> {
        for place in 0..self.order.modules.len() {
            let module = self.order.modules[place];
            let layers = match module.build.kind {
                Kind::Group => {
                    let members = self.order.depends[place].iter();
                    let names = members.map(|member| &self.order.modules[*member].name);
                    let layers = names.filter_map(|name| self.named.modules.get(name.as_str()));
                    layers.flatten().copied().collect()
                }
                Kind::Image => self.image(place)?,
                _ => {
                    self.module(place)?;
                    self.steps[place].into_iter().collect()
                }
            };
            self.named.module(&module.name, layers);
        }
        Ok(())
    }

    pub(crate) fn add(&mut self, step: Step) -> StepIndex {
        self.plan.steps.push(step);
        self.plan.steps.len() - 1
    }

    fn module(&mut self, place: usize) -> Result<(), PlanError> {
        let module = self.order.modules[place];
        let mut inputs = self.common.clone();
        self.own_inputs(module, &mut inputs);

        let direct = &self.order.depends[place];
        let debs = self.debs_below(direct);
        for dependency in direct {
            let Some(step) = self.steps[*dependency] else { continue };
            let name = self.order.modules[*dependency].name.as_str();
            inputs.add(
                InputName::Dependency(name.to_owned()),
                Value::Step(self.plan.steps[step].key),
            );
        }
        // The order decides which of two folders' modes is seen, and which of two files where
        // they may overlap.
        if direct.len() > 1 {
            let names: Vec<_> =
                direct.iter().map(|d| self.order.modules[*d].name.as_str()).collect();
            inputs.text(InputName::DependencyOrder, names.join(" "));
        }

        let mut layers = Vec::new();
        if let Some(base) = &module.base {
            let (key, step) = self.base(base)?;
            // A base without a step is a fact, and is in the key as such: then the files in it
            // that differ can be named.
            let value = match self.facts.bases.get(base) {
                Some(BaseFact::Tree(digest)) => Value::Tree(*digest),
                Some(BaseFact::Host(fingerprint)) => Value::Text(fingerprint.clone()),
                Some(BaseFact::Archive(_)) | None => Value::Step(key),
            };
            inputs.add(InputName::Base(base.clone()), value);
            layers.extend(step);
            let mut top = key;
            let names: Vec<&str> =
                debs.iter().map(|d| self.order.modules[*d].name.as_str()).collect();
            let asked = tools_asked(self.project, &self.facts.lock, module, &names)?;
            if !asked.is_empty()
                && matches!(self.project.bases.get(base), Some(Base::Debian { .. }))
                && let Some((key, step)) = self.tools(base, &asked, &module.name, key, &layers)?
            {
                inputs.add(InputName::Tools, Value::Step(key));
                layers.push(step);
                top = key;
            }
            if !debs.is_empty() {
                let step = self.packages(module, base, top, &debs, &layers);
                layers.push(step);
            }
        }

        let sources = self.sources(module, &mut inputs)?;
        let depends = match module.build.kind {
            Kind::Import => Vec::new(),
            _ => self.mounted(direct),
        };
        let (inputs, key) = inputs.seal("ashlar step");
        let id = StepId { module: module.name.to_string(), step: "build".to_owned() };
        let work = Work::Build(Arc::clone(module));
        let step = self.add(Step { id, work, key, inputs, layers, sources, depends });
        self.steps[place] = Some(step);
        self.debs[place] = debs.into();
        self.plan.modules.insert(module.name.clone(), step);
        Ok(())
    }

    /// The modules of kind `deb` among `direct` and below. Most modules have none, so nothing is
    /// copied for them.
    fn debs_below(&self, direct: &[usize]) -> Vec<usize> {
        let mut found = std::collections::BTreeSet::new();
        for place in direct {
            found.extend(self.debs[*place].iter().copied());
            if self.order.modules[*place].build.kind == Kind::Deb {
                found.insert(*place);
            }
        }
        found.into_iter().collect()
    }

    /// The build steps that are mounted for a module that depends on these: the packages of
    /// modules of kind `deb` are installed instead, and what those need in turn is mounted here.
    fn mounted(&self, direct: &[usize]) -> Vec<StepIndex> {
        let mut mounted = Vec::with_capacity(direct.len());
        for place in direct {
            let Some(step) = self.steps[*place] else { continue };
            let steps = match self.order.modules[*place].build.kind {
                Kind::Deb => self.plan.steps[step].depends.clone(),
                _ => vec![step],
            };
            for step in steps {
                if !mounted.contains(&step) {
                    mounted.push(step);
                }
            }
        }
        mounted
    }

    /// What the module itself says, but for its sources and where it is built.
    fn own_inputs(&self, module: &Module, inputs: &mut KeyInputs) {
        inputs.text(InputName::ModuleSalt, module.salt.clone());
        inputs.text(InputName::Kind, module.build.kind.as_str());
        for phase in &module.build.phases {
            inputs.text(InputName::Script(phase.name.clone()), phase.script.clone());
        }
        if module.build.kind == Kind::Deb {
            inputs.text(InputName::Script("profiles".into()), module.build.profiles.join(" "));
            inputs.text(InputName::Script("options".into()), module.build.options.join(" "));
        }
        if !module.build.phases.is_empty() {
            inputs.add(InputName::Script("ashlar".into()), Value::File(self.commands.build));
            for (name, value) in
                self.project.env.iter().filter(|(n, _)| !module.env.contains_key(*n))
            {
                inputs.text(InputName::Env(name.clone()), value.clone());
            }
            for (name, value) in &module.env {
                inputs.text(InputName::Env(name.clone()), value.clone());
            }
        }
        for name in &module.uses {
            let value = self.project.options.get(name).map_or("", |o| o.value.as_str());
            inputs.text(InputName::Option(name.clone()), value);
        }
        let mut list = |name: &str, globs: &[String]| {
            if !globs.is_empty() {
                inputs.text(InputName::Outputs(name.to_owned()), globs.join("\n"));
            }
        };
        list("expect", &module.outputs.expect);
        list("overlap", &module.outputs.overlap);
        list("main", module.outputs.main.as_slice());
        list("derived", &module.outputs.derived);
        list("extra", &module.outputs.extra);
    }

    fn sources(
        &mut self,
        module: &Arc<Module>,
        inputs: &mut KeyInputs,
    ) -> Result<Vec<(usize, StepIndex)>, PlanError> {
        let mut steps = Vec::new();
        // Later sources are laid over earlier ones.
        if module.sources.len() > 1 {
            let order = module.sources.iter().map(|s| label(&s.origin, &s.into));
            inputs.text(InputName::Layout("order".into()), order.collect::<Vec<_>>().join("\n"));
        }
        let none = Vec::new();
        let facts = self.facts.sources.get(&module.name).unwrap_or(&none);
        for (number, source) in module.sources.iter().enumerate() {
            let fact = facts.get(number).cloned().unwrap_or_default();
            let label = label(&source.origin, &source.into);
            if !source.into.is_empty() {
                inputs.text(InputName::Layout(label.clone()), source.into.clone());
            }
            let mut own = KeyInputs::default();
            let into = &mut own;
            let unknown = |what: String| PlanError::Unknown { what };
            match &source.origin {
                Origin::Path { path } => {
                    let what = || unknown(format!("source {} of {}", path.display(), module.name));
                    let tree = fact.tree.ok_or_else(what)?;
                    into.add(InputName::Source(label.clone()), Value::Tree(tree));
                }
                Origin::Url { sha256, unpack, .. } => {
                    into.add(InputName::Source(label.clone()), Value::Sha256(sha256.clone()));
                    into.text(InputName::Layout("unpack".into()), unpack.to_string());
                }
                Origin::Git { commit, submodules, .. } => {
                    into.text(InputName::Source(label.clone()), commit.clone());
                    into.text(InputName::Layout("submodules".into()), submodules.to_string());
                }
                Origin::Deb { package } => {
                    let locked = self.facts.lock.source.get(package).ok_or_else(|| {
                        PlanError::NotLocked { what: format!("Debian source package `{package}`") }
                    })?;
                    for file in &locked.files {
                        let name = file.path.rsplit('/').next().unwrap_or(&file.path);
                        into.add(
                            InputName::Source(name.to_owned()),
                            Value::Sha256(file.sha256.clone()),
                        );
                    }
                }
            }
            patches(&fact.patches, into);
            // A folder of the project without patches needs no step: its tree is the source.
            if matches!(source.origin, Origin::Path { .. }) && fact.patches.is_empty() {
                let tree = fact.tree.ok_or_else(|| unknown(label.clone()))?;
                inputs.add(InputName::Source(label), Value::Tree(tree));
                continue;
            }
            own.text(InputName::Format, FORMAT);
            let (own, key) = own.seal("ashlar source");
            inputs.add(InputName::Source(label), Value::Step(key));
            let step =
                if number == 0 { "source".to_owned() } else { format!("source {}", number + 1) };
            let index = self.add(Step {
                id: StepId { module: module.name.to_string(), step },
                work: Work::Source { module: Arc::clone(module), source: number },
                key,
                inputs: own,
                layers: Vec::new(),
                sources: Vec::new(),
                depends: Vec::new(),
            });
            steps.push((number, index));
        }
        Ok(steps)
    }

    pub(crate) fn base(&mut self, name: &str) -> Result<(StepKey, Option<StepIndex>), PlanError> {
        if let Some(known) = self.bases.get(name) {
            return Ok(*known);
        }
        let missing = |what: &str| PlanError::Unknown { what: format!("{what} `{name}`") };
        let mut inputs = KeyInputs::default();
        inputs.text(InputName::Format, FORMAT);
        inputs.text(InputName::Architecture, self.facts.architecture.clone());
        let work = match self.project.bases.get(name).ok_or_else(|| missing("base"))? {
            Base::Debian { suite, variant, .. } => {
                let what = || PlanError::NotLocked { what: format!("base `{name}`") };
                let locked = self.facts.lock.base.get(name).ok_or_else(what)?;
                inputs.text(InputName::Layout("suite".into()), suite.clone());
                inputs.text(InputName::Layout("variant".into()), variant.clone());
                package_inputs(&self.facts.lock, &locked.packages, &mut inputs)?;
                inputs.add(InputName::Script("ashlar".into()), Value::File(self.commands.base));
                Some(Work::Base(name.to_owned()))
            }
            Base::Path(_) | Base::Archive(_) | Base::Host => {
                match self.facts.bases.get(name).ok_or_else(|| missing("base"))? {
                    BaseFact::Tree(digest) => {
                        inputs.add(InputName::Source("tree".into()), Value::Tree(*digest));
                        None
                    }
                    BaseFact::Archive(digest) => {
                        inputs.add(InputName::Source("archive".into()), Value::File(*digest));
                        Some(Work::Unpack(name.to_owned()))
                    }
                    BaseFact::Host(fingerprint) => {
                        inputs.text(InputName::Source("this machine".into()), fingerprint.clone());
                        None
                    }
                }
            }
        };
        let (inputs, key) = inputs.seal("ashlar base");
        let step = work.map(|work| {
            self.add(Step {
                id: StepId { module: format!("base:{name}"), step: "base".to_owned() },
                work,
                key,
                inputs,
                layers: Vec::new(),
                sources: Vec::new(),
                depends: Vec::new(),
            })
        });
        self.bases.insert(name.to_owned(), (key, step));
        Ok((key, step))
    }

    fn tools(
        &mut self,
        base: &str,
        asked: &[String],
        module: &ModuleName,
        below: StepKey,
        layers: &[StepIndex],
    ) -> Result<Option<(StepKey, StepIndex)>, PlanError> {
        let lock = &self.facts.lock;
        let locked = lock.tools.iter().find(|t| t.base == base && t.asked == asked);
        let locked = locked.ok_or_else(|| PlanError::NotLocked {
            what: format!("tools of module `{module}` ({})", asked.join(", ")),
        })?;
        if locked.packages.is_empty() {
            return Ok(None);
        }
        let id = (base.to_owned(), locked.packages.clone());
        if let Some(known) = self.tools.get(&id) {
            return Ok(Some(*known));
        }
        let mut inputs = KeyInputs::default();
        inputs.text(InputName::Format, FORMAT);
        inputs.add(InputName::Base(base.to_owned()), Value::Step(below));
        package_inputs(lock, &locked.packages, &mut inputs)?;
        inputs.add(InputName::Script("ashlar".into()), Value::File(self.commands.install));
        let (inputs, key) = inputs.seal("ashlar tools");
        let work = Work::Tools { base: base.to_owned(), packages: locked.packages.clone() };
        let step = self.add(Step {
            id: StepId { module: format!("base:{base}"), step: tools_name(asked, module) },
            work,
            key,
            inputs,
            layers: layers.to_vec(),
            sources: Vec::new(),
            depends: Vec::new(),
        });
        self.tools.insert(id, (key, step));
        Ok(Some((key, step)))
    }

    fn packages(
        &mut self,
        module: &Module,
        base: &str,
        below: StepKey,
        debs: &[usize],
        layers: &[StepIndex],
    ) -> StepIndex {
        let mut inputs = KeyInputs::default();
        inputs.text(InputName::Format, FORMAT);
        inputs.add(InputName::Base(base.to_owned()), Value::Step(below));
        let mut of = Vec::new();
        for place in debs {
            let Some(step) = self.steps[*place] else { continue };
            let name = self.order.modules[*place].name.to_string();
            inputs.add(InputName::Dependency(name), Value::Step(self.plan.steps[step].key));
            of.push(step);
        }
        inputs.add(InputName::Script("ashlar".into()), Value::File(self.commands.install));
        let (inputs, key) = inputs.seal("ashlar packages");
        self.add(Step {
            id: StepId { module: module.name.to_string(), step: "packages".to_owned() },
            work: Work::Packages { base: base.to_owned(), of },
            key,
            inputs,
            layers: layers.to_vec(),
            sources: Vec::new(),
            depends: Vec::new(),
        })
    }
}

/// What a module asks to be added to its base: its tools, the build dependencies of a Debian
/// source package, and a mark for every package that comes from the project instead. Sorted.
///
/// # Errors
/// When the lock file does not know the source package.
pub fn tools_asked(
    project: &Project,
    lock: &Lock,
    module: &Module,
    debs: &[&str],
) -> Result<Vec<String>, PlanError> {
    let mut asked = module.tools.clone();
    if module.build.kind == Kind::Deb {
        for source in &module.sources {
            let Origin::Deb { package } = &source.origin else { continue };
            let locked = lock.source.get(package).ok_or_else(|| PlanError::NotLocked {
                what: format!("Debian source package `{package}`"),
            })?;
            asked.extend(locked.build_depends.iter().map(|d| format!("satisfy {d}")));
        }
        asked.extend(module.build.profiles.iter().map(|p| format!("profile {p}")));
    }
    for name in debs {
        let Some(module) = project.modules.get(*name) else { continue };
        let outputs = &module.outputs;
        let packages = outputs.main.iter().chain(&outputs.derived).chain(&outputs.extra);
        asked.extend(packages.map(|package| format!("local {package}")));
    }
    asked.sort();
    asked.dedup();
    Ok(asked)
}

/// The names of the modules of kind `deb` that a module depends on, directly or not: their
/// packages are installed before it is built.
#[must_use]
pub fn deb_dependencies<'p>(project: &'p Project, module: &'p Module) -> Vec<&'p str> {
    let mut seen = std::collections::BTreeSet::new();
    let mut todo: Vec<&ModuleName> = module.depends.iter().collect();
    while let Some(name) = todo.pop() {
        let Some(module) = project.modules.get(name) else { continue };
        if seen.insert(name) {
            todo.extend(&module.depends);
        }
    }
    seen.retain(|name| project.modules[*name].build.kind == Kind::Deb);
    seen.into_iter().map(ModuleName::as_str).collect()
}

/// What the step of some tools is called: by the tools where they are plain names, otherwise by
/// the first module that asks for them.
fn tools_name(asked: &[String], module: &ModuleName) -> String {
    if asked.iter().all(|tool| !tool.contains(' ')) {
        format!("tools {}", asked.join(" "))
    } else {
        format!("tools of {module}")
    }
}

fn label(origin: &Origin, into: &str) -> String {
    let what = match origin {
        Origin::Deb { package } => package.clone(),
        Origin::Url { url, .. } => url.rsplit('/').next().unwrap_or(url).to_owned(),
        Origin::Git { url, .. } => url.clone(),
        Origin::Path { path } => path.display().to_string(),
    };
    if into.is_empty() { what } else { format!("{what} in {into}") }
}

fn patches(patches: &[(String, ashlar_object::Digest, u32)], inputs: &mut KeyInputs) {
    if patches.is_empty() {
        return;
    }
    let mut order = Vec::new();
    for (path, digest, strip) in patches {
        // The digest alone decides what is applied; the path is the name people know it by.
        inputs.add(InputName::Patch(path.clone()), Value::File(*digest));
        order.push(if *strip == 1 { path.clone() } else { format!("{path} -p{strip}") });
    }
    inputs.text(InputName::PatchOrder, order.join("\n"));
}

fn package_inputs(lock: &Lock, ids: &[String], inputs: &mut KeyInputs) -> Result<(), PlanError> {
    for id in ids {
        let file = lock
            .package
            .get(id)
            .ok_or_else(|| PlanError::NotLocked { what: format!("package `{id}`") })?;
        let (name, version) = id.split_once('_').unwrap_or((id, ""));
        let short = file.sha256.get(..12).unwrap_or(&file.sha256);
        inputs.text(InputName::Package(name.to_owned()), format!("{version} {short}"));
    }
    Ok(())
}
