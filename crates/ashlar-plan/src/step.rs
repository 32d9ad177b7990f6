//! Steps and the plan they form.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use ashlar_object::StepKey;
use ashlar_recipe::{Kind, Module, ModuleName};

use crate::{ImageWork, KeyInputs};

/// The place of a step in [`Plan::steps`].
pub type StepIndex = usize;

/// What a step is, for people and for the history: whose it is and which of its steps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId {
    /// A module, or `base:NAME` for what belongs to a base.
    pub module: String,
    /// `build`, `source`, `source 2`, `packages`, `base`, `tools flex bison`.
    pub step: String,
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.step == "build" {
            f.write_str(&self.module)
        } else {
            write!(f, "{} ({})", self.module, self.step)
        }
    }
}

/// What is done in a step.
#[derive(Clone, Debug)]
pub enum Work {
    /// Make the root file system of the Debian base of this name.
    Base(String),
    /// Unpack the archive that is the base of this name.
    Unpack(String),
    /// Install Debian packages over a base, by their ids in the lock file.
    Tools {
        /// The base.
        base: String,
        /// Ids of packages.
        packages: Vec<String>,
    },
    /// Install the packages that modules of kind `deb` made.
    Packages {
        /// The base.
        base: String,
        /// Those modules' build steps.
        of: Vec<StepIndex>,
    },
    /// Fetch, unpack and patch one source of a module.
    Source {
        /// The module.
        module: Arc<Module>,
        /// Which of its sources.
        source: usize,
    },
    /// Build a module.
    Build(Arc<Module>),
    /// Make a layer of an image.
    Image(Arc<ImageWork>),
}

/// One step: a thing that is done once and kept.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it is.
    pub id: StepId,
    /// What is done.
    pub work: Work,
    /// Its key.
    pub key: StepKey,
    /// What is in its key.
    pub inputs: KeyInputs,
    /// The step that made the base, then those that made layers over it, in order.
    pub layers: Vec<StepIndex>,
    /// The source steps, with the number of the source in the recipe.
    pub sources: Vec<(usize, StepIndex)>,
    /// The build steps of the modules it depends on directly, in the order written, groups
    /// replaced by their members, and modules of kind `deb` by what those depend on: their own
    /// packages are installed by a step among `layers`. What is laid over the root is [`Plan::mounts`].
    pub depends: Vec<StepIndex>,
}

impl Step {
    /// Every step whose result this one needs directly when it is run. What the modules it
    /// depends on need in their turn is needed too: their outputs are mounted beside theirs.
    pub fn needs(&self) -> impl Iterator<Item = StepIndex> + '_ {
        let packages: &[StepIndex] = match &self.work {
            Work::Packages { of, .. } => of,
            _ => &[],
        };
        self.layers
            .iter()
            .chain(self.sources.iter().map(|(_, step)| step))
            .chain(&self.depends)
            .chain(packages)
            .copied()
            .chain(self.image().into_iter().flat_map(ImageWork::reads))
    }

    /// What is done, when it is a step of an image.
    #[must_use]
    pub fn image(&self) -> Option<&ImageWork> {
        match &self.work {
            Work::Image(work) => Some(work),
            _ => None,
        }
    }

    /// Whether this step makes Debian packages.
    #[must_use]
    pub fn is_deb(&self) -> bool {
        matches!(&self.work, Work::Build(module) if module.build.kind == Kind::Deb)
    }

    /// Whether it is carried out over layers that its key holds: an instruction of an image.
    #[must_use]
    pub fn is_instruction(&self) -> bool {
        self.image().is_some_and(|work| match work {
            ImageWork::Run { .. } | ImageWork::Copy { .. } | ImageWork::Folder { .. } => true,
            ImageWork::Layer { .. } | ImageWork::Downloads(_) | ImageWork::Whole { .. } => false,
        })
    }

    /// Whether what it makes is a layer of an image that others made, and can stay where it is.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.image().is_some_and(|work| matches!(work, ImageWork::Layer { .. }))
    }

    /// Whether this is the step that makes a module's outputs.
    #[must_use]
    pub fn is_build(&self) -> bool {
        matches!(self.work, Work::Build(_)) || matches!(self.image(), Some(ImageWork::Whole { .. }))
    }
}

/// All steps that the targets could need, every step after those it needs.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// The build steps of the targets; groups stand for their members.
    pub targets: Vec<StepIndex>,
    /// The build step of each module that is no group.
    pub modules: HashMap<ModuleName, StepIndex>,
    /// The steps that nobody asked for by themselves: the instructions of images that are modules,
    /// and below an image that is none all that it names.
    pub parts: BTreeSet<StepIndex>,
}

impl Plan {
    /// Whether people asked for what a step makes: the outputs of a module, or the layer of an
    /// instruction.
    #[must_use]
    pub fn is_target(&self, step: StepIndex) -> bool {
        let of = &self.steps[step];
        (of.is_build() || of.is_instruction()) && !self.parts.contains(&step)
    }

    /// The build steps whose outputs are laid over the root of a step, the lowest first: all
    /// modules it depends on, directly or through others, dependencies before dependents and
    /// otherwise in the order written.
    #[must_use]
    pub fn mounts(&self, step: StepIndex) -> Vec<StepIndex> {
        let mut order = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut stack = vec![(step, 0)];
        while let Some((at, next)) = stack.pop() {
            match self.steps[at].depends.get(next) {
                Some(dependency) => {
                    stack.push((at, next + 1));
                    if seen.insert(*dependency) {
                        stack.push((*dependency, 0));
                    }
                }
                None if at != step => order.push(at),
                None => {}
            }
        }
        order
    }
}
