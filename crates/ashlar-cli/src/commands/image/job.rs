//! What all commands about an image begin with: its Dockerfile read, its bases found, its steps
//! planned.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ashlar_build::{
    Around, BuildContext, Building, Engine, Event, ImageModule, ImagePlace, Ingredients, Keeping,
    NamedHere, Origins, Remotes, Trees, bases_of, find_project, gather, number_images,
    numbered_images,
};
use ashlar_dockerfile::{Base, Platform};
use ashlar_execute::{Cancel, Jobs, Sandbox, SandboxOptions, Secret};
use ashlar_object::{Digest, Tree};
use ashlar_plan::{Below, Facts, ImagePlan, Plan, Want, find, plan_below, plan_image};
use ashlar_recipe::Project;
use ashlar_remote::ImagePlaces;
use ashlar_store::{ResolvedImage, StatCache, Watch};

use super::above::Above;
use super::pins::Pinned;
use crate::args::Globals;
use crate::args::image::{Network, Which};
use crate::exit::{Exit, Failed};
use crate::images;
use crate::show::Show;
use crate::wiring::{Ground, Session, owner_base, with_fetcher};
use crate::workspace::Workspace;

/// An image with its plan.
pub struct Job {
    pub space: Workspace,
    pub images: ImagePlaces,
    pub made: Ingredients,
    pub plan: ImagePlan,
    /// What people call its Dockerfile.
    pub shown: String,
    /// What people call the image, and its steps in histories.
    pub name: String,
    /// The base images of the run, and its contexts, as the plan numbers them.
    pub bases: Vec<Arc<ResolvedImage>>,
    pub contexts: Vec<BuildContext>,
    /// The modules below it that are images.
    modules: Vec<ImageModule>,
    pub project: Project,
    pub facts: Facts,
    /// The project, when the image names something of it.
    session: Option<Session>,
    /// The trees of that project that are on disk, when somebody asked for one.
    disk: OnceLock<HashMap<Digest, Tree>>,
    pub stat: StatCache,
    pub show: Show,
    /// The file of pins, where one is in use.
    pub pinned: Option<Pinned>,
}

/// What is done about what a lock file lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// It is resolved and written down, as builds do.
    Resolve,
    /// It is an error: whoever only asks changes nothing.
    Refuse,
}

impl Job {
    /// Reads and plans an image. Of bases only configurations are fetched.
    pub fn open(
        globals: &Globals,
        which: &Which,
        want: Want,
        lacks: Lacks,
    ) -> Result<Self, Failed> {
        let (space, asked) = match &which.module {
            Some(name) => of_module(globals, which, name)?,
            None => of_context(globals, which)?,
        };
        let show = Show::of(globals, &space.store, "instruction");
        let Asked { context, shown, images, mut made, session, mut modules, stat, name, pinned } =
            asked;
        for warning in &made.image.warnings {
            show.event(Event::Warning(warning.problem.message.clone()));
        }
        let name = which.tag.clone().unwrap_or(name);
        let mut facts = Facts::default();
        if let Some(session) = &session {
            let NamedHere { modules: named, bases } = &made.named;
            let mut bases = bases.clone();
            bases.extend(bases_of(&modules));
            let tell = |text: String| show.remark(&text);
            let lock = match lacks {
                Lacks::Resolve => session.complete_lock_below(named, &bases, &tell)?,
                Lacks::Refuse => session.complete_below(named, &bases)?,
            };
            facts = session.facts_below(lock, named, &bases)?;
            number_images(&mut modules, Some(&mut made), &mut facts);
        }
        let below = below(session.as_ref(), &facts, &made.named)?;
        facts.contexts.push(context.clone());
        let plan = plan_image(&made.image, &made.facts, &name, want, below)
            .map_err(|error| Failed::usage(format!("{shown}: {error}")))?;
        let (mut bases, mut contexts) = numbered_images(&modules);
        bases.extend(made.bases.iter().cloned());
        contexts.push(BuildContext { folder: context, tree: made.context.clone() });
        let disk = OnceLock::new();
        let project =
            session.as_ref().map_or_else(|| project(name.clone()), |one| one.project.clone());
        Ok(Self {
            space,
            images,
            made,
            plan,
            shown,
            name,
            bases,
            contexts,
            modules,
            project,
            facts,
            session,
            disk,
            stat,
            show,
            pinned,
        })
    }
}

/// An image that is asked for, read and not planned yet.
struct Asked {
    context: PathBuf,
    /// What people call its Dockerfile.
    shown: String,
    images: ImagePlaces,
    made: Ingredients,
    session: Option<Session>,
    /// The modules below it that are images.
    modules: Vec<ImageModule>,
    stat: StatCache,
    name: String,
    pinned: Option<Pinned>,
}

/// The steps of what an image names of the project.
fn below(session: Option<&Session>, facts: &Facts, named: &NamedHere) -> Result<Below, Failed> {
    match session {
        None => Ok(Below::default()),
        Some(session) => Ok(plan_below(&session.project, facts, &named.modules, &named.bases)?),
    }
}

/// The image of a Dockerfile and a context.
fn of_context(globals: &Globals, which: &Which) -> Result<(Workspace, Asked), Failed> {
    let here = |path: &Path| {
        std::path::absolute(globals.project.join(path))
            .map_err(|e| Failed::usage(format!("{}: {e}", path.display())))
    };
    let written = which.context.as_deref().unwrap_or(Path::new("."));
    let context = here(written)?;
    if !context.is_dir() {
        return Err(Failed::usage(format!("{} is no folder", written.display()))
            .help("the context is the folder that COPY and ADD read from; `.` is this one"));
    }
    let file = match &which.file {
        Some(file) => here(file)?,
        None => context.join("Dockerfile"),
    };
    let space = Workspace::at(globals, &context)?;
    let images = images::places(&space.store, globals.offline, which.plain_http);
    let stat = space.store.stat_cache(&context);
    let args = build_args(&which.build_args)?;
    let shown = shown(&file, &context);
    let called = |path: &Path| self::shown(path, &context);
    let pinned = Pinned::open(which, &file, here, called, &args)?;
    let place = ImagePlace {
        context: &context,
        file: &file,
        name: &shown,
        target: which.target.as_deref(),
        args: &args,
        platform: platform(which)?,
        registry: which.registry.as_deref(),
        network: which.network == Network::Default,
        pins: pinned.as_ref().map(|pinned| (pinned.file.as_path(), &pinned.pins)),
    };
    let digest = |path: &Path, meta: &std::fs::Metadata| stat.digest_file(path, meta);
    let show = Show::of(globals, &space.store, "instruction");
    let warn = |text: String| show.event(Event::Warning(text));
    let watch = Watch { warn: &warn, ..Watch::NOBODY };
    let above = Above::new(globals, &space, &images, which.registry.as_deref());
    let named = |base: &Base| above.named(base);
    let around = Around { images: &images, digest: &digest, watch: &watch, named: &named };
    let made = gather(&place, &around);
    let (session, modules) = above.end()?;
    let made = made?;
    let name = default_name(&context);
    Ok((space, Asked { context, shown, images, made, session, modules, stat, name, pinned }))
}

/// The image that a module is.
fn of_module(globals: &Globals, which: &Which, name: &str) -> Result<(Workspace, Asked), Failed> {
    let folder = find_project(&globals.project)?;
    let space = Workspace::at(globals, &folder)?;
    let session = Session::load(Ground::of(globals, Arc::clone(&space.store), folder)?)?;
    let module = Arc::clone(find(&session.project, name)?);
    let Some(recipe) = &module.build.image else {
        let kind = module.build.kind.as_str();
        return Err(Failed::usage(format!(
            "the module `{name}` is no image, but of kind `{kind}`"
        ))
        .help("`ashlar build` builds it; `ashlar list` shows all modules"));
    };
    let images = images::places(&space.store, globals.offline, which.plain_http);
    let targets = std::slice::from_ref(&module.name);
    let mut modules = images::gather(&session, targets, &[], &images, which.registry.as_deref())?;
    let at = modules.iter().position(|one| one.name == module.name);
    let own = at.map(|at| modules.remove(at));
    let own =
        own.ok_or_else(|| Failed::usage(format!("nothing is known of the image `{name}`")))?;
    let stat = space.store.stat_cache(&own.context);
    let asked = Asked {
        context: own.context,
        shown: recipe.dockerfile.display().to_string(),
        images,
        made: own.made,
        session: Some(session),
        modules,
        stat,
        name: name.to_owned(),
        pinned: None,
    };
    Ok((space, asked))
}

/// How steps of an image are run.
pub struct Run<'a> {
    pub remotes: Remotes<'a>,
    pub cancel: &'a Cancel,
    /// By their ids.
    pub secrets: BTreeMap<String, Secret>,
    /// How long a command has to end when it is stopped.
    pub grace: Duration,
    /// When the run has to be over.
    pub deadline: Option<Instant>,
    /// Until when results are sent to remotes.
    pub send_until: Option<Instant>,
    /// Whether what a failed command left is there for a shell.
    pub keep_failed: bool,
}

impl Job {
    /// Calls `work` with an engine that can run steps of a plan made of this image's.
    pub fn with_engine<T>(
        &self,
        globals: &Globals,
        plan: &Plan,
        how: Run<'_>,
        work: impl FnOnce(&Engine<'_>, &Sandbox) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let store = &self.space.store;
        let helper = std::env::current_exe()
            .map_err(|e| Failed::usage(format!("the path of this program is unknown: {e}")))?;
        let on_output = self.show.on_output(globals);
        let (owner_base, keep_failed) = (owner_base(), how.keep_failed);
        let options = SandboxOptions { owner_base, helper, keep_failed, on_output };
        let sandbox = Sandbox::new(Arc::clone(store), options);
        let jobs = Jobs::new(jobs(globals))?;
        let stat = self.session.as_ref().map_or(&self.stat, |session| &session.stat);
        let folder = self.session.as_ref().map_or(&self.space.root, |session| &session.folder);
        let digest = |path: &Path, meta: &std::fs::Metadata| stat.digest_file(path, meta);
        let tell = |event: Event| self.show.event(event);
        let building = Building {
            images: &self.images,
            bases: self.bases.clone(),
            contexts: self.contexts.clone(),
            secrets: how.secrets,
            caches: images::caches(store),
            grace: how.grace,
            pinning: self.pinned.as_ref().map(|pinned| Arc::clone(&pinned.pinning)),
            keeping: Keeping::default(),
        };
        let origins = self.origins()?;
        let stop =
            || how.cancel.is_cancelled() || how.deadline.is_some_and(|end| Instant::now() >= end);
        with_fetcher(store, globals.offline, |_, fetcher| {
            let fetcher = fetcher.until(&stop);
            let engine = Engine {
                project: &self.project,
                folder,
                facts: &self.facts,
                plan,
                store: &**store,
                remotes: how.remotes,
                origins,
                digest: &digest,
                local: Some(store),
                executor: &sandbox,
                fetcher: &fetcher,
                jobs: &jobs,
                cancel: how.cancel,
                tell: &tell,
                owner_base,
                trees: Trees::default(),
                image: Some(&building),
                deadline: how.deadline,
                send_until: how.send_until,
            };
            work(&engine, &sandbox)
        })
    }

    /// Plans anew with what is known of pins now.
    pub fn plan_again(&mut self, want: Want) -> Result<(), Failed> {
        let below = below(self.session.as_ref(), &self.facts, &self.made.named)?;
        self.plan = plan_image(&self.made.image, &self.made.facts, &self.name, want, below)
            .map_err(|error| Failed::usage(error.to_string()))?;
        Ok(())
    }

    /// What of the project went into a key, as it is on disk.
    pub fn on_disk(&self, digest: &Digest) -> Option<Tree> {
        let session = self.session.as_ref()?;
        if let Some(part) = self.modules.iter().find_map(|module| module.made.part(digest)) {
            return Some(part);
        }
        self.disk.get_or_init(|| session.trees_on_disk()).get(digest).cloned()
    }

    /// On whose word the results in the store stand, and whose word counts here.
    pub fn origins(&self) -> Result<Origins<'_>, Failed> {
        Ok(Origins::new(self.space.store.journal(), self.space.accepted()?))
    }
}

/// How many jobs run at once.
pub fn jobs(globals: &Globals) -> usize {
    globals
        .jobs
        .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}

/// What the engine is told of a project where there is none.
fn project(name: String) -> Project {
    Project {
        name,
        default: Vec::new(),
        salt: String::new(),
        builder: std::env::var("ASHLAR_BUILDER").ok().filter(|builder| !builder.is_empty()),
        common: Vec::new(),
        env: BTreeMap::new(),
        options: BTreeMap::new(),
        bases: BTreeMap::new(),
        remotes: Vec::new(),
        modules: BTreeMap::new(),
    }
}

/// What people call the Dockerfile: its path in the context, if it is in there.
fn shown(file: &Path, context: &Path) -> String {
    file.strip_prefix(context).unwrap_or(file).display().to_string()
}

/// An image without a name is called by the folder of its context.
fn default_name(context: &Path) -> String {
    let folder: PathBuf = context.canonicalize().unwrap_or_else(|_| context.to_owned());
    folder
        .file_name()
        .map_or_else(|| "image".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn platform(which: &Which) -> Result<Platform, Failed> {
    let Some(text) = &which.platform else {
        return Ok(ashlar_build::native_platform());
    };
    let platform: Platform = text.parse().map_err(|error| {
        Failed::usage(format!("`{text}` is no platform: {error}")).help("for instance linux/arm64")
    })?;
    if platform.os != "linux" {
        return Err(Failed::usage(format!("`{text}`: images are built for linux only"))
            .help(format!("for instance linux/{}", platform.architecture)));
    }
    Ok(platform)
}

fn build_args(written: &[String]) -> Result<BTreeMap<String, String>, Failed> {
    let mut args = BTreeMap::new();
    for text in written {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), std::env::var(text).ok()),
        };
        if name.is_empty() {
            return Err(
                Failed::usage(format!("`{text}` names no argument")).help("--build-arg NAME=VALUE")
            );
        }
        // One that the environment does not have is not given.
        if let Some(value) = value {
            args.insert(name.to_owned(), value);
        }
    }
    Ok(args)
}

impl From<ashlar_build::ImageFailure> for Failed {
    fn from(error: ashlar_build::ImageFailure) -> Self {
        use ashlar_build::ImageFailure;
        match error {
            ImageFailure::Problems(problems) => problems.into(),
            ImageFailure::Image(error) => error.into(),
            ImageFailure::Away { problems, why } => {
                Self { exit: exit_of_image(&why), ..problems.into() }
            }
            other => Self::usage(ashlar_build::chain(&other)),
        }
    }
}

impl From<ashlar_store::ImageError> for Failed {
    fn from(error: ashlar_store::ImageError) -> Self {
        Self::new(exit_of_image(&error), ashlar_build::chain(&error))
    }
}

fn exit_of_image(error: &ashlar_store::ImageError) -> Exit {
    use ashlar_store::{ImageError, RemoteError};
    match error {
        ImageError::Remote(RemoteError::Stopped) => Exit::Stopped,
        ImageError::Remote(_)
        | ImageError::Store(_)
        | ImageError::File { .. }
        | ImageError::Io { .. }
        | ImageError::Lost { .. } => Exit::Store,
        _ => Exit::Usage,
    }
}
