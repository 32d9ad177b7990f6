//! Images: the instructions of a Dockerfile as steps.
//!
//! Each layer of a base and each instruction that may change files is a step whose result is a layer
//! tree. Its key holds the key of the step below it, what is written, and what it reads; the action
//! digest is over the real content below, so an instruction that makes the same files again cuts off
//! what follows.
//!
//! # What is in the key of an instruction
//!
//! | input | step key | action digest |
//! |---|---|---|
//! | what lies below | ✓ (keys of the steps, diff ids of the base) | ✓ (input tree: content, modes, owners; no times) |
//! | command, environment and arguments it sees, folder, user, network | ✓ | ✓ |
//! | mounts: what is written, the files of `bind` | ✓ (digests, keys of steps) | ✓ (digests) |
//! | `COPY`, `ADD`: what is written, the files read | ✓ (digests, keys of steps) | ✓ (the layer they make) |
//! | downloads that are pinned: status, content, what else of the answer it sees | ✓ | ✓ |
//! | platform | ✓ | ✓ |
//! | what is in caches, secrets, proxies; comments, names of stages, times | – | – |

use std::collections::HashMap;
use std::sync::Arc;

use ashlar_dockerfile::{
    self as dockerfile, Base, Configuration, Copy, From, Image, Network, Run, RunMount,
};
use ashlar_object::Digest;
use ashlar_recipe::{PinnedRun, Pins};

use crate::named::known;
use crate::pins::{self, Access};
use crate::texts::{copy_text, mount_text};
use crate::{
    Below, Download, FORMAT, InputName, KeyInputs, Named, Plan, Step, StepId, StepIndex, Value,
    Work,
};

/// What is done in a step of an image.
#[derive(Clone, Debug)]
pub enum ImageWork {
    /// Get a layer of a base image.
    Layer {
        /// Which of the base images of the run.
        base: usize,
        /// Which layer of it, the lowest is 0.
        layer: usize,
    },
    /// Run a command.
    Run {
        /// The command.
        run: Run,
        /// For each of its mounts, whose files are seen there.
        mounts: Vec<Files>,
        /// What it can reach.
        network: Access,
    },
    /// Have the contents of what a command downloaded.
    Downloads(Arc<PinnedRun>),
    /// `COPY` and `ADD`.
    Copy {
        /// What is written.
        copy: Copy,
        /// Whose files are copied.
        from: Files,
        /// What is downloaded, by the place among the sources.
        downloads: Vec<(usize, Download)>,
    },
    /// Say which layers and which configuration an image has.
    Whole {
        /// Its configuration.
        configuration: Box<Configuration>,
        /// Its layers, the lowest first.
        layers: Vec<Part>,
    },
    /// Make a folder.
    Folder {
        /// Absolute.
        path: String,
        /// Whose it is, as `USER` was written; `None` is root.
        user: Option<String>,
    },
}

/// A layer of a whole image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// What a step made.
    Step(StepIndex),
    /// One of an image that others made, by the SHA-256 of its archive.
    Foreign([u8; 32]),
}

/// Whose files a step reads, besides those that lie below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files {
    /// Nobody's.
    None,
    /// Those of a context, by its number in the run.
    Context(usize),
    /// What these steps made, laid over one another, the lowest first.
    Layers(Vec<StepIndex>),
}

impl ImageWork {
    fn files(&self) -> &[Files] {
        match self {
            Self::Layer { .. } | Self::Folder { .. } | Self::Downloads(_) | Self::Whole { .. } => {
                &[]
            }
            Self::Run { mounts, .. } => mounts,
            Self::Copy { from, .. } => std::slice::from_ref(from),
        }
    }

    /// Whether it goes on where it was stopped. A command that is recorded begins with nothing, so
    /// that all that it downloads is seen.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        let Self::Run { run, network, .. } = self else { return false };
        if matches!(network, Access::Recorded(_)) {
            return false;
        }
        run.mounts.iter().any(|mount| matches!(mount, RunMount::Checkpoint { .. }))
    }

    /// The context that it reads files of, by its number in the run.
    #[must_use]
    pub fn context(&self) -> Option<usize> {
        self.files().iter().find_map(|files| match files {
            Files::Context(number) => Some(*number),
            Files::None | Files::Layers(_) => None,
        })
    }

    /// The steps whose results are read besides those below.
    pub(crate) fn reads(&self) -> impl Iterator<Item = StepIndex> + '_ {
        let contents = match self {
            Self::Run { network: Access::Replayed { contents, .. }, .. } => *contents,
            _ => None,
        };
        self.files()
            .iter()
            .filter_map(|files| match files {
                Files::Layers(steps) => Some(steps),
                Files::None | Files::Context(_) => None,
            })
            .flatten()
            .copied()
            .chain(contents)
    }
}

/// A base image that stages begin with or copy from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseImage {
    /// The SHA-256 of the archive of each of its layers, the lowest first.
    pub diff_ids: Vec<[u8; 32]>,
}

/// What must be known of the world before an image can be planned.
#[derive(Clone, Debug, Default)]
pub struct ImageFacts {
    /// What the project adds to every key.
    pub salt: String,
    /// What the module that is this image adds to its keys.
    pub module_salt: String,
    /// The base images.
    pub bases: Vec<BaseImage>,
    /// The number of the first of them in the run.
    pub first_base: usize,
    /// Which of them each base, or image that is copied from, is.
    pub base_of: HashMap<(String, String), usize>,
    /// The digest of what an instruction reads of the context: by stage, instruction, and number of
    /// its mount (0 for `COPY` and `ADD`).
    pub context: HashMap<(usize, usize, usize), Digest>,
    /// Which of the contexts of the run is its own.
    pub number: usize,
    /// Whether commands have a network unless they say `--network=none`.
    pub network: bool,
    /// What commands with a network downloaded, where that is pinned.
    pub pins: Option<Pins>,
}

/// The steps of an image, and which of them make which stage.
#[derive(Clone, Debug, Default)]
pub struct ImagePlan {
    /// The steps; those of the target stage that make layers of their own are its targets.
    pub plan: Plan,
    /// For each stage its layers, the lowest first.
    pub stages: Vec<Vec<StepIndex>>,
    /// For each stage and each of its instructions the step.
    pub instructions: Vec<Vec<StepIndex>>,
}

/// What is wanted of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The image: layers of its base stay where they are until something is done on them.
    Image,
    /// All of its files.
    Files,
}

/// Why an image cannot be planned: something it names is nothing that can be had here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing is known of {what}")]
pub struct UnknownBase {
    /// What it names.
    pub what: String,
}

/// Plans the stages of an image over the steps of what it names. `name` is what the image is called
/// in the history.
///
/// # Errors
/// When facts of something that it names are missing.
pub fn plan_image(
    image: &Image,
    facts: &ImageFacts,
    name: &str,
    want: Want,
    below: Below,
) -> Result<ImagePlan, UnknownBase> {
    let Below { mut plan, mut named } = below;
    plan.parts = (0..plan.steps.len()).collect();
    let steps = steps_of_image(image, facts, name, &mut plan, &mut named)?;
    let ImageSteps { stages, instructions } = steps;
    let layers = stages.get(image.target).into_iter().flatten().copied();
    plan.targets = match want {
        Want::Image => layers.filter(|step| !plan.steps[*step].is_foreign()).collect(),
        Want::Files => layers.collect(),
    };
    Ok(ImagePlan { plan, stages, instructions })
}

/// Which steps make which stage of an image.
pub(crate) struct ImageSteps {
    /// For each stage its layers, the lowest first.
    pub stages: Vec<Vec<StepIndex>>,
    /// For each stage and each of its instructions the step.
    pub instructions: Vec<Vec<StepIndex>>,
}

/// Adds the steps of an image to a plan.
pub(crate) fn steps_of_image(
    image: &Image,
    facts: &ImageFacts,
    name: &str,
    plan: &mut Plan,
    named: &mut Named,
) -> Result<ImageSteps, UnknownBase> {
    let made = ImageSteps { stages: Vec::new(), instructions: Vec::new() };
    let mut planner = Planner { image, facts, name, plan, named, made };
    for stage in 0..image.stages.len() {
        planner.stage(stage)?;
    }
    Ok(planner.made)
}

struct Planner<'a> {
    image: &'a Image,
    facts: &'a ImageFacts,
    name: &'a str,
    plan: &'a mut Plan,
    named: &'a mut Named,
    made: ImageSteps,
}

impl Planner<'_> {
    fn add(&mut self, step: Step) -> StepIndex {
        self.plan.steps.push(step);
        self.plan.steps.len() - 1
    }

    fn stage(&mut self, number: usize) -> Result<(), UnknownBase> {
        let stage = &self.image.stages[number];
        let mut layers = match &stage.base {
            Base::Scratch => Vec::new(),
            Base::Stage(other) => self.made.stages[*other].clone(),
            Base::Image { reference, platform } => self.base(reference, &platform.to_string())?,
            Base::Module(name) => known(&self.named.modules, "module", name)?,
            Base::Debian(name) => known(&self.named.bases, "base", name)?,
        };
        let shown = stage.name.clone().unwrap_or_else(|| format!("stage {}", stage.number));
        let mut steps = Vec::with_capacity(stage.instructions.len());
        for (place, instruction) in stage.instructions.iter().enumerate() {
            let mut inputs = KeyInputs::default();
            inputs.text(InputName::Format, FORMAT);
            inputs.text(InputName::ProjectSalt, self.facts.salt.clone());
            if !self.facts.module_salt.is_empty() {
                inputs.text(InputName::ModuleSalt, self.facts.module_salt.clone());
            }
            inputs.text(InputName::Architecture, stage.platform.to_string());
            for (at, layer) in layers.iter().enumerate() {
                // An instruction names all that it was carried out over; what is none knows nothing
                // of what lies below.
                let step = &self.plan.steps[*layer];
                let names = |above: &StepIndex| self.plan.steps[*above].layers.contains(layer);
                let name = match step.is_instruction() {
                    true if layers[at + 1..].iter().any(names) => continue,
                    true if at + 1 == layers.len() => "below".to_owned(),
                    _ => self.layer_name(*layer, at),
                };
                inputs.add(InputName::Base(name), Value::Step(step.key));
            }
            let work = match &instruction.work {
                dockerfile::Work::Run(run) => self.run(number, place, run, &mut inputs)?,
                dockerfile::Work::Copy(copy) => self.copy(number, place, copy, &mut inputs)?,
                dockerfile::Work::Workdir(folder) => {
                    inputs.text(InputName::Kind, "folder");
                    inputs.text(InputName::Layout("path".into()), folder.path.clone());
                    let user = folder.user.clone();
                    inputs.text(InputName::Layout("user".into()), user.clone().unwrap_or_default());
                    ImageWork::Folder { path: folder.path.clone(), user }
                }
            };
            let (inputs, key) = inputs.seal("ashlar image step");
            let id = StepId {
                module: self.name.to_owned(),
                step: format!("{shown}: {}", instruction.text),
            };
            let step = Step {
                id,
                work: Work::Image(Arc::new(work)),
                key,
                inputs,
                layers: layers.clone(),
                sources: Vec::new(),
                depends: Vec::new(),
            };
            let step = self.add(step);
            layers.push(step);
            steps.push(step);
        }
        self.made.stages.push(layers);
        self.made.instructions.push(steps);
        Ok(())
    }

    /// The steps of the layers of an image.
    fn base(&mut self, reference: &str, platform: &str) -> Result<Vec<StepIndex>, UnknownBase> {
        let known = self.facts.base_of.get(&(reference.to_owned(), platform.to_owned()));
        let base = *known.ok_or_else(|| unknown(format!("the image `{reference}`")))?;
        let image = self.facts.bases.get(base);
        let diff_ids = image.ok_or_else(|| unknown(format!("the image `{reference}`")))?;
        let mut steps = Vec::new();
        for (layer, diff_id) in diff_ids.diff_ids.clone().into_iter().enumerate() {
            if let Some(step) = self.named.layers.get(&diff_id) {
                steps.push(*step);
                continue;
            }
            let mut inputs = KeyInputs::default();
            inputs.text(InputName::Format, FORMAT);
            let hex = Digest { hash: diff_id, size: 0 }.hex();
            let short = hex.get(..12).unwrap_or(&hex).to_owned();
            inputs.add(InputName::Source("layer".into()), Value::Sha256(hex));
            let (inputs, key) = inputs.seal("ashlar image layer");
            let step = self.add(Step {
                id: StepId { module: format!("image:{reference}"), step: format!("layer {short}") },
                work: Work::Image(Arc::new(ImageWork::Layer {
                    base: self.facts.first_base + base,
                    layer,
                })),
                key,
                inputs,
                layers: Vec::new(),
                sources: Vec::new(),
                depends: Vec::new(),
            });
            self.named.layers.insert(diff_id, step);
            steps.push(step);
        }
        Ok(steps)
    }

    /// What a layer is called in keys and by people: by its place, because which of two lies over
    /// the other decides whose file is seen.
    fn layer_name(&self, layer: StepIndex, number: usize) -> String {
        let step = &self.plan.steps[layer];
        match step.work {
            Work::Build(_) => format!("layer {number}, module {}", step.id.module),
            _ => format!("layer {number}"),
        }
    }

    /// Whose files are read, and what of it enters the key.
    fn files(
        &mut self,
        at: (usize, usize, usize),
        from: &From,
        name: &str,
        inputs: &mut KeyInputs,
    ) -> Result<Files, UnknownBase> {
        let layers = match from {
            From::Scratch => return Ok(Files::None),
            From::Context => {
                let digest = self.facts.context.get(&at);
                let digest =
                    digest.ok_or_else(|| unknown("the files of the context".to_owned()))?;
                inputs.add(InputName::Source(name.to_owned()), Value::Tree(*digest));
                return Ok(Files::Context(self.facts.number));
            }
            From::Stage(stage) => self.made.stages[*stage].clone(),
            From::Image { reference, platform } => self.base(reference, &platform.to_string())?,
            From::Module(name) => known(&self.named.modules, "module", name)?,
            From::Debian(name) => known(&self.named.bases, "base", name)?,
        };
        for (number, layer) in layers.iter().enumerate() {
            let key = Value::Step(self.plan.steps[*layer].key);
            let layer = self.layer_name(*layer, number);
            inputs.add(InputName::Source(format!("{name}, {layer}")), key);
        }
        Ok(Files::Layers(layers))
    }

    fn run(
        &mut self,
        stage: usize,
        place: usize,
        run: &Run,
        inputs: &mut KeyInputs,
    ) -> Result<ImageWork, UnknownBase> {
        inputs.text(InputName::Kind, "run");
        for (number, argument) in run.arguments.iter().enumerate() {
            inputs.text(InputName::Script(format!("argument {number}")), argument.clone());
        }
        if let Some(script) = &run.script {
            inputs.text(InputName::Script(script.path.clone()), script.content.clone());
        }
        for (name, value) in &run.env {
            inputs.text(InputName::Env(name.clone()), value.clone());
        }
        inputs.text(InputName::Layout("folder".into()), run.directory.clone());
        inputs.text(InputName::Layout("user".into()), run.user.clone().unwrap_or_default());
        let network = match run.network {
            Network::Unset => self.facts.network,
            Network::Default | Network::Host => true,
            Network::None => false,
        };
        let network = self.access(stage, place, run, network, inputs);
        let mut mounts = Vec::with_capacity(run.mounts.len());
        for (number, mount) in run.mounts.iter().enumerate() {
            let name = format!("mount {number}");
            inputs.text(InputName::Layout(name.clone()), mount_text(mount));
            let from = match mount {
                RunMount::Bind { from, .. } => Some(from),
                RunMount::Cache { from, .. } => from.as_ref(),
                RunMount::Tmpfs { .. } | RunMount::Secret { .. } | RunMount::Checkpoint { .. } => {
                    None
                }
            };
            mounts.push(match from {
                Some(from) => self.files((stage, place, number), from, &name, inputs)?,
                None => Files::None,
            });
        }
        Ok(ImageWork::Run { run: run.clone(), mounts, network })
    }

    /// What a command can reach, and what of it enters the key.
    fn access(
        &mut self,
        stage: usize,
        place: usize,
        run: &Run,
        network: bool,
        inputs: &mut KeyInputs,
    ) -> Access {
        let mut say = |text: &str| inputs.text(InputName::Layout("network".into()), text);
        let (true, Some(pins)) = (network, &self.facts.pins) else {
            say(if network { "yes" } else { "no" });
            return if network { Access::Machine } else { Access::None };
        };
        say("pinned");
        let of = &self.image.stages[stage];
        let text = of.instructions.get(place).map_or("", |instruction| &instruction.text);
        let platform = of.platform.to_string();
        let mut command = pins::pinned_command(self.image, (stage, place), platform, text, run);
        let Some(known) = pins.runs.get(&command.id) else {
            pins::unknown_downloads(inputs);
            return Access::Recorded(Arc::new(command));
        };
        command.run.gets.clone_from(&known.gets);
        pins::downloads(&command.run.gets, inputs);
        let contents = pins::contents(&command.run.gets).map(|(inputs, key)| {
            let step = format!("downloads of {text}");
            let work = ImageWork::Downloads(Arc::new(command.run.clone()));
            self.add(Step {
                id: StepId { module: self.name.to_owned(), step },
                work: Work::Image(Arc::new(work)),
                key,
                inputs,
                layers: Vec::new(),
                sources: Vec::new(),
                depends: Vec::new(),
            })
        });
        Access::Replayed { command: Arc::new(command), contents }
    }

    fn copy(
        &mut self,
        stage: usize,
        place: usize,
        copy: &Copy,
        inputs: &mut KeyInputs,
    ) -> Result<ImageWork, UnknownBase> {
        inputs.text(InputName::Kind, "copy");
        inputs.text(InputName::Layout("copy".into()), copy_text(copy));
        for (number, source) in copy.sources.iter().enumerate() {
            if let dockerfile::CopySource::Heredoc { name, content } = source {
                let name = format!("heredoc {number} {name}");
                inputs.text(InputName::Source(name), content.clone());
            }
        }
        let reads = copy.sources.iter().any(|s| matches!(s, dockerfile::CopySource::Path(_)));
        let from = match reads {
            true => self.files((stage, place, 0), &copy.from, "files", inputs)?,
            false => Files::None,
        };
        let mut downloads = Vec::new();
        for (number, source) in copy.sources.iter().enumerate() {
            let download = Download::of(copy, source).map_err(|why| unknown(why.to_owned()))?;
            let Some(download) = download else { continue };
            let name = InputName::Source(format!("download {number}"));
            inputs.add(
                name,
                match &download {
                    Download::File { sha256, .. } => Value::Sha256(sha256.clone()),
                    Download::Git { commit, folder, .. } => {
                        Value::Text(format!("commit {commit} {folder}"))
                    }
                },
            );
            downloads.push((number, download));
        }
        Ok(ImageWork::Copy { copy: copy.clone(), from, downloads })
    }
}

fn unknown(what: String) -> UnknownBase {
    UnknownBase { what }
}
