//! The modules and bases of a project that an image names.

use ashlar_dockerfile::{Base, Configuration, From, Image, Instruction, RunMount, Work};
use ashlar_plan::{image_base, image_module};
use ashlar_recipe::{Kind, ModuleName, Place, Problem, Project};

use super::document;

/// The modules and bases of the project that an image names, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedHere {
    /// The modules.
    pub modules: Vec<ModuleName>,
    /// The bases.
    pub bases: Vec<String>,
}

/// The configuration that a module or a base of a project has for an image that begins with it.
/// `images` gives those of modules that are images themselves.
///
/// # Errors
/// In words why an image cannot begin with it, nor read it.
pub fn named_configuration(
    project: &Project,
    images: &dyn Fn(&str) -> Option<Configuration>,
    base: &Base,
) -> Result<Configuration, String> {
    match base {
        Base::Module(name) => match image_module(project, name)?.build.kind {
            Kind::Image => images(name).ok_or_else(|| {
                format!("the module `{name}` is an image of which nothing is known")
            }),
            _ => Ok(Configuration::default()),
        },
        Base::Debian(name) => image_base(project, name).map(|_| Configuration::default()),
        Base::Scratch | Base::Stage(_) | Base::Image { .. } => Ok(Configuration::default()),
    }
}

/// What an image names of the project. It is built for this machine, so what is wrong is a stage for
/// another one that uses it.
pub(super) fn named(image: &Image) -> Result<NamedHere, Vec<Problem>> {
    let (mut all, mut wrong) = (NamedHere::default(), Vec::new());
    let native = document::native_platform();
    for stage in &image.stages {
        let foreign = stage.platform.architecture != native.architecture;
        let mut add = |what: Named<'_>, line: usize, place: &Place| {
            all.add(what);
            if foreign {
                let message = format!(
                    "line {line}: `{what}` is made for {native}, and this stage is for {}",
                    stage.platform
                );
                let help = "build the image for this machine, or on one of that kind";
                wrong.push(Problem::new(message).at(&place.file, place.span, "").help(help));
            }
        };
        match &stage.base {
            Base::Module(name) => add(Named::Module(name), stage.line, &stage.place),
            Base::Debian(name) => add(Named::Base(name), stage.line, &stage.place),
            Base::Scratch | Base::Stage(_) | Base::Image { .. } => {}
        }
        for instruction in &stage.instructions {
            for from in read(instruction) {
                let what = match from {
                    From::Module(name) => Named::Module(name),
                    From::Debian(name) => Named::Base(name),
                    From::Context | From::Stage(_) | From::Scratch | From::Image { .. } => continue,
                };
                add(what, instruction.line, &instruction.place);
            }
        }
    }
    if wrong.is_empty() { Ok(all) } else { Err(wrong) }
}

/// Something of the project, by name.
#[derive(Clone, Copy, Debug)]
enum Named<'a> {
    Module(&'a str),
    Base(&'a str),
}

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Module(name) => write!(f, "module:{name}"),
            Self::Base(name) => write!(f, "base:{name}"),
        }
    }
}

impl NamedHere {
    /// Notes what is named. What is no name has been refused where its configuration was asked for.
    fn add(&mut self, what: Named<'_>) {
        match what {
            Named::Module(name) => {
                if let Ok(name) = ModuleName::new(name)
                    && !self.modules.contains(&name)
                {
                    self.modules.push(name);
                }
            }
            Named::Base(name) => {
                if !self.bases.iter().any(|known| known == name) {
                    self.bases.push(name.to_owned());
                }
            }
        }
    }
}

/// Whose files an instruction reads besides those that lie below it.
pub(super) fn read(instruction: &Instruction) -> Vec<&From> {
    match &instruction.work {
        Work::Copy(copy) => vec![&copy.from],
        Work::Run(run) => {
            let from = |mount| match mount {
                &RunMount::Bind { ref from, .. }
                | &RunMount::Cache { from: Some(ref from), .. } => Some(from),
                _ => None,
            };
            run.mounts.iter().filter_map(from).collect()
        }
        Work::Workdir(_) => Vec::new(),
    }
}
