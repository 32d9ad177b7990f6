//! A Dockerfile, for one target, platform and set of arguments.

mod copy;
mod run;
mod scope;
mod settings;
mod stage;

use std::collections::{BTreeMap, BTreeSet};

use ashlar_recipe::{Problem, Problems, nearest};

use crate::lines::Reader;
use crate::parse::{Dockerfile, WrittenStage, nearest_stage};
use crate::reference::{self, Name};
use crate::report::{Mistake, Report};
use crate::written::{Body, Keyword, Statement, Word};
use crate::{Base, Configuration, From, Image, Platform, Rule, statement};
use scope::Scope;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The name or number of a stage; `None` is the last one.
    pub target: Option<&'a str>,
    /// `--build-arg`.
    pub args: &'a BTreeMap<String, String>,
    /// What the image is for.
    pub platform: Platform,
    /// What this machine is.
    pub build_platform: Platform,
}

/// Gives the configuration of a base, or says why there is none.
type Bases<'a> = dyn FnMut(&Base) -> Result<Configuration, String> + 'a;

/// Finds the stages that a target needs, and gives each instruction all that it depends on.
///
/// `bases` is asked once for the configuration of each base that the target needs and that is not
/// in the file (neither a stage nor `scratch`), and of each image that `COPY --from` or
/// `--mount=from=` name. What it refuses with is shown at the `FROM` (or flag) that names the image.
///
/// # Errors
///
/// All that is wrong in what the target needs.
pub fn evaluate(
    file: &Dockerfile,
    request: &Request<'_>,
    bases: &mut dyn FnMut(&Base) -> Result<Configuration, String>,
) -> Result<Image, Problems> {
    let mut report = Report::new(&file.name, &file.text);
    report.warnings.clone_from(&file.warnings);
    let globals = scope::globals(file, request, &mut report);
    let Some(target) = target(file, request, &mut report) else {
        return Err(report.problems());
    };
    let known = Known { file, request, bases, asked: Vec::new() };
    let mut evaluation = Evaluation { known, globals, report, plans: BTreeMap::new() };
    evaluation.select(target);
    evaluation.unused_arguments();
    let mut image = evaluation.stages();
    let mut report = evaluation.report;
    let warnings = file.silenced.filter(std::mem::take(&mut report.warnings));
    if file.silenced.error {
        for warning in warnings.iter().filter(|w| !file.warnings.contains(w)) {
            report.refuse_request(warning.problem.clone());
        }
    }
    report.warnings = warnings;
    image.warnings = report.finish()?;
    Ok(image)
}

/// The number of the stage that is asked for.
fn target(file: &Dockerfile, request: &Request<'_>, report: &mut Report<'_>) -> Option<usize> {
    let Some(name) = request.target else { return file.stages.len().checked_sub(1) };
    let lower = name.to_lowercase();
    if let Some(number) = file.stages.iter().position(|s| s.name.as_deref() == Some(&lower)) {
        return Some(number);
    }
    if let Some(number) = lower.parse().ok().filter(|number| *number < file.stages.len()) {
        return Some(number);
    }
    let problem = Problem::new(format!("`{}` has no stage `{name}`", file.name));
    let names: Vec<&str> = file.stages.iter().filter_map(|s| s.name.as_deref()).collect();
    report.refuse_request(match nearest_stage(&lower, &file.stages) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None if names.is_empty() => problem.help("its stages have no names; use a number from 0"),
        None => problem.help(format!("its stages are {}", names.join(", "))),
    });
    None
}

/// What is known about bases, each asked for once.
pub(super) struct Known<'a, 'b> {
    pub file: &'a Dockerfile,
    pub request: &'a Request<'a>,
    bases: &'b mut Bases<'b>,
    asked: Vec<(Base, Result<Configuration, String>)>,
}

impl Known<'_, '_> {
    fn configuration(&mut self, base: &Base, place: &Word) -> Result<Configuration, Mistake> {
        let answer = match self.asked.iter().find(|(asked, _)| asked == base) {
            Some((_, answer)) => answer.clone(),
            None => {
                let answer = (self.bases)(base);
                self.asked.push((base.clone(), answer.clone()));
                answer
            }
        };
        answer.map_err(|why| {
            Mistake::new(place.span, format!("the image `{}` cannot be used: {why}", place.text))
        })
    }
}

/// A stage that is needed: its base is known.
struct Plan {
    base: Base,
    /// The platform of the base, and so of what runs.
    platform: Platform,
    /// Of a base that is no stage.
    configuration: Configuration,
    triggers: Vec<Statement>,
}

struct Evaluation<'a, 'b> {
    known: Known<'a, 'b>,
    globals: Scope,
    report: Report<'a>,
    /// By the number in the file. Stages in bases are numbers in the file as well.
    plans: BTreeMap<usize, Plan>,
}

impl Evaluation<'_, '_> {
    /// Finds the stages that the target needs, with their bases.
    fn select(&mut self, target: usize) {
        let file = self.known.file;
        let mut wanted = vec![target];
        let mut seen = BTreeSet::new();
        while let Some(number) = wanted.pop() {
            let Some(stage) = file.stages.get(number).filter(|_| seen.insert(number)) else {
                continue;
            };
            wanted.extend(sources(&stage.statements, number, file));
            let plan = self.plan(number, stage);
            let Some(plan) = self.report.take(plan) else { continue };
            if let Base::Stage(base) = plan.base {
                wanted.push(base);
            }
            wanted.extend(sources(&plan.triggers, number, file));
            self.plans.insert(number, plan);
        }
    }

    fn plan(&mut self, number: usize, stage: &WrittenStage) -> Result<Plan, Mistake> {
        let file = self.known.file;
        let Body::From { image, .. } = &stage.from.body else {
            return Err(Mistake::new(stage.from.span, "a stage begins with `FROM`"));
        };
        let name = self.globals.expand_from(image, file.escape)?;
        if name.is_empty() {
            return Err(Mistake::new(image.span, format!("`{}` expands to nothing", image.text))
                .help("give the argument a default, or a value with --build-arg"));
        }
        let mut platform = self.known.request.platform.clone();
        if let Some(flag) = stage.from.flag("platform") {
            let text = flag.value.clone().unwrap_or_default();
            let word = Word { text, span: flag.span };
            let value = self.globals.expand_from(&word, file.escape)?;
            platform = value.parse().map_err(|error: crate::PlatformError| {
                Mistake::new(flag.span, error.to_string())
            })?;
            if platform.os != "linux" {
                let message = format!("`{platform}` is no platform that can be built for");
                return Err(Mistake::new(flag.span, message).help("only Linux is supported"));
            }
            if word.text == "$TARGETPLATFORM" || word.text == "${TARGETPLATFORM}" {
                let message = "`--platform=$TARGETPLATFORM` says what is so anyway";
                let mistake = Mistake::new(flag.span, message).help("leave it out");
                self.report.warn(Rule::RedundantTargetPlatform, mistake);
            }
        }
        let place = Word { text: name.clone(), span: image.span };
        let base = match reference::base(&name, image.span, number, &file.stages)? {
            Name::Stage(stage) => Base::Stage(stage),
            Name::Scratch => Base::Scratch,
            Name::Module(name) => Base::Module(name),
            Name::Debian(name) => Base::Debian(name),
            Name::Image(reference) => Base::Image { reference, platform: platform.clone() },
        };
        let (configuration, escape) = match &base {
            Base::Stage(stage) => (self.on_build(*stage), file.escape),
            Base::Scratch => {
                let working_directory = Some("/".to_owned());
                (Configuration { working_directory, ..Configuration::default() }, '\\')
            }
            base => (self.known.configuration(base, &place)?, '\\'),
        };
        let mut triggers = Vec::new();
        for text in &configuration.on_build {
            triggers.push(trigger(text, escape, &place, stage.from.line)?);
        }
        Ok(Plan { base, platform, configuration, triggers })
    }

    /// A configuration that has the triggers of a stage and nothing else.
    fn on_build(&self, stage: usize) -> Configuration {
        let statements = self.known.file.stages.get(stage).map(|stage| stage.statements.iter());
        let source = |statement: &Statement| match &statement.body {
            Body::OnBuild(inner) => Some(inner.source()),
            _ => None,
        };
        let on_build = statements.into_iter().flatten().filter_map(source).collect();
        Configuration { on_build, ..Configuration::default() }
    }

    /// Arguments that were given and that nothing declares.
    fn unused_arguments(&mut self) {
        let file = self.known.file;
        let mut declared: Vec<&str> = Vec::new();
        let stages = file.stages.iter().flat_map(|stage| &stage.statements);
        let triggers = self.plans.values().flat_map(|plan| &plan.triggers);
        for statement in file.globals.iter().chain(stages).chain(triggers) {
            let body = match &statement.body {
                Body::OnBuild(inner) => &inner.body,
                body => body,
            };
            if let Body::Arg(args) = body {
                declared.extend(args.iter().map(|(name, _)| name.text.as_str()));
            }
        }
        let given = self.known.request.args.keys();
        for name in given.filter(|name| !declared.contains(&name.as_str())) {
            if scope::is_predefined(name) {
                continue;
            }
            let message = format!("`{}` declares no argument `{name}`", file.name);
            let problem = Problem::new(message);
            self.report.warn_request(
                Rule::UnusedBuildArgument,
                match nearest(name, declared.iter().copied()) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem.help(format!("write `ARG {name}` where it is to be used")),
                },
            );
        }
    }

    /// All needed stages, in order.
    fn stages(&mut self) -> Image {
        let plans = std::mem::take(&mut self.plans);
        let indexes: BTreeMap<usize, usize> =
            plans.keys().enumerate().map(|(index, number)| (*number, index)).collect();
        let mut stages = Vec::new();
        let mut scopes: Vec<Scope> = Vec::new();
        for (number, plan) in plans {
            let base = match plan.base {
                Base::Stage(number) => indexes.get(&number).copied().map(Base::Stage),
                base => Some(base),
            };
            // A base that could not be read has been refused already.
            let Some(base) = base else { continue };
            let (inherited, configuration, platform) = match &base {
                Base::Stage(index) => {
                    let below: Option<&crate::Stage> = stages.get(*index);
                    let Some((below, scope)) = below.zip(scopes.get(*index)) else { continue };
                    (scope.clone(), below.configuration.clone(), below.platform.clone())
                }
                _ => (Scope::default(), plan.configuration, plan.platform),
            };
            let walk = stage::Walk::new(
                &mut self.known,
                &self.globals,
                &mut self.report,
                stage::Beginning {
                    number,
                    base,
                    platform,
                    configuration,
                    inherited,
                    indexes: &indexes,
                    before: &stages,
                },
            );
            let Some((stage, scope)) = walk.stage(&plan.triggers) else { continue };
            stages.push(stage);
            scopes.push(scope);
        }
        let target = stages.len().saturating_sub(1);
        Image { stages, target, warnings: Vec::new() }
    }
}

/// The stages that instructions of the stage `number` take files from.
fn sources<'s>(
    statements: &'s [Statement],
    number: usize,
    file: &'s Dockerfile,
) -> impl Iterator<Item = usize> + 's {
    statements.iter().flat_map(reference::of).filter_map(move |(name, span)| {
        // Mistakes in names come up where the instruction is read.
        match reference::from(&name, span, number, &file.stages) {
            Ok(Name::Stage(stage)) => Some(stage),
            _ => None,
        }
    })
}

/// One instruction that a base asks for.
fn trigger(text: &str, escape: char, place: &Word, line: usize) -> Result<Statement, Mistake> {
    let mut reader = Reader::of_trigger(text, escape, place.span);
    let shown: String = text.lines().next().unwrap_or_default().chars().take(80).collect();
    let within = format!("`ONBUILD {shown}` of `{}`", place.text);
    let Some(first) = reader.line() else {
        return Err(Mistake::new(place.span, "there is no instruction").within(&within));
    };
    let mut read =
        statement::read(&mut reader, first).map_err(|mistake| mistake.within(&within))?;
    if matches!(read.keyword, Keyword::From | Keyword::Maintainer | Keyword::OnBuild) {
        let message = format!("`{}` cannot follow `ONBUILD`", read.keyword.name());
        return Err(Mistake::new(place.span, message).within(&within));
    }
    if reader.line().is_some() {
        let message = "there is more than one instruction";
        return Err(Mistake::new(place.span, message).within(&within));
    }
    (read.line, read.last_line) = (line, line);
    Ok(read)
}

/// What a name in `--from` means, with the index of a stage among those that are needed.
fn from_of(name: Name, indexes: &BTreeMap<usize, usize>, platform: &Platform) -> From {
    match name {
        Name::Scratch => From::Scratch,
        // One that is missing has been refused at its own `FROM`, and nothing comes of the whole.
        Name::Stage(number) => From::Stage(indexes.get(&number).copied().unwrap_or(usize::MAX)),
        Name::Module(name) => From::Module(name),
        Name::Debian(name) => From::Debian(name),
        Name::Image(reference) => From::Image { reference, platform: platform.clone() },
    }
}
