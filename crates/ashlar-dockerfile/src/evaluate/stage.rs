//! One stage, instruction by instruction.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ashlar_recipe::Place;

use super::scope::{Scope, expand_word};
use super::{Known, copy, run, settings};
use crate::expand::Reading;
use crate::report::{Mistake, Report};
use crate::written::{Body, Command, Keyword, Statement, Word};
use crate::{
    Base, Configuration, From, History, Instruction, Platform, Rule, Seen, Setting, Stage, Work,
    Workdir, path,
};

/// A stage with more variables is refused: every command has them all.
const VARIABLES: usize = 2000;

/// What a stage begins with.
pub(super) struct Beginning<'a> {
    /// In the file.
    pub number: usize,
    pub base: Base,
    pub platform: Platform,
    pub configuration: Configuration,
    /// The arguments of the stage below.
    pub inherited: Scope,
    /// Numbers in the file, and indexes among the stages that are needed.
    pub indexes: &'a BTreeMap<usize, usize>,
    /// The stages before this one that are needed, in order.
    pub before: &'a [Stage],
}

/// A stage on its way.
pub(super) struct Walk<'w, 'a, 'b> {
    pub known: &'w mut Known<'a, 'b>,
    pub globals: &'w Scope,
    pub report: &'w mut Report<'a>,
    pub begin: Beginning<'w>,
    pub configuration: Configuration,
    pub scope: Scope,
    instructions: Vec<Instruction>,
    history: Vec<History>,
    settings: Vec<Setting>,
    /// What the last instruction saw.
    seen: Arc<Seen>,
    /// Whether `CMD` was set in this stage: then `ENTRYPOINT` leaves it.
    has_command: bool,
    has_workdir: bool,
}

impl<'w, 'a, 'b> Walk<'w, 'a, 'b> {
    pub fn new(
        known: &'w mut Known<'a, 'b>,
        globals: &'w Scope,
        report: &'w mut Report<'a>,
        begin: Beginning<'w>,
    ) -> Self {
        let mut configuration = begin.configuration.clone();
        // Its triggers run now, and not again in what is made from this image.
        configuration.on_build.clear();
        if configuration.variable("PATH").is_none() {
            configuration.set_variable("PATH", Configuration::DEFAULT_PATH);
        }
        let scope = begin.inherited.clone();
        Self {
            known,
            globals,
            report,
            begin,
            configuration,
            scope,
            instructions: Vec::new(),
            history: Vec::new(),
            settings: Vec::new(),
            seen: Arc::default(),
            has_command: false,
            has_workdir: false,
        }
    }

    /// Goes through the stage. What is wrong in one instruction does not keep the others from
    /// being read.
    pub fn stage(mut self, triggers: &[Statement]) -> Option<(Stage, Scope)> {
        let written = self.known.file.stages.get(self.begin.number)?;
        let base_configuration = self.begin.configuration.clone();
        for statement in triggers.iter().chain(&written.statements) {
            // Triggers stand at the `FROM`; the whole file is theirs to point into.
            let (before, after) = (self.seen(), self.instructions.len());
            let done = self.statement(statement);
            self.report.take(done);
            if self.instructions.len() == after && statement.line > written.from.last_line {
                let setting = Setting {
                    line: statement.line,
                    last_line: statement.last_line,
                    text: statement.text.clone(),
                    after,
                    before,
                    seen: self.seen(),
                };
                self.settings.push(setting);
            }
            if self.configuration.env.len().max(self.scope.len()) > VARIABLES {
                let message = format!("the stage has more than {VARIABLES} variables");
                self.report.refuse(Mistake::new(statement.span, message));
                break;
            }
        }
        let stage = Stage {
            name: written.name.clone(),
            number: self.begin.number,
            place: self.place(&written.from),
            line: written.from.line,
            base: self.begin.base,
            platform: self.begin.platform,
            instructions: self.instructions,
            settings: self.settings,
            base_configuration,
            configuration: self.configuration,
            history: self.history,
        };
        Some((stage, self.scope))
    }

    fn place(&self, statement: &Statement) -> Place {
        let file = self.known.file.name.clone();
        Place { file, span: statement.span, label: String::new() }
    }

    /// The folder that relative paths begin at.
    pub fn directory(&self) -> String {
        path::absolute("/", self.configuration.working_directory.as_deref().unwrap_or("/"))
    }

    /// The environment of a command at this place: the configuration's, then the arguments that it
    /// can see.
    pub fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = self.configuration.env.iter().map(|(name, value)| (&**name, &**value));
        let hidden: HashSet<&str> = own.clone().map(|(name, _)| name).collect();
        own.chain(self.scope.values().filter(move |(name, _)| !hidden.contains(name)))
    }

    /// What a command at this place sees. Instructions that see the same share it: there may be
    /// many of both, instructions and variables.
    fn seen(&mut self) -> Arc<Seen> {
        let (directory, user) = (self.directory(), &self.configuration.user);
        let last = self.seen.env.iter().map(|(name, value)| (&**name, &**value));
        let same = self.seen.directory == directory
            && self.seen.user == *user
            && last.eq(self.environment());
        if !same {
            let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            let env = self.environment().map(owned).collect();
            self.seen = Arc::new(Seen { env, directory, user: user.clone() });
        }
        Arc::clone(&self.seen)
    }

    /// Puts variables into a word, with quotes.
    pub fn expand(&mut self, word: &Word) -> Result<String, Mistake> {
        let reading = Reading { escape: self.known.file.escape, quotes: true };
        expand_word(word, reading, &self.scope, &self.configuration, self.report)
    }

    /// Puts variables into a document, where quotes mean nothing.
    pub fn expand_document(&mut self, word: &Word) -> Result<String, Mistake> {
        let reading = Reading { escape: '\\', quotes: false };
        expand_word(word, reading, &self.scope, &self.configuration, self.report)
    }

    /// The files that a stage, or one that it is made from, mounts as secrets, and their lines.
    pub fn secrets(&self, from: &From) -> Vec<(String, usize)> {
        let mut all = Vec::new();
        let mut next = match from {
            From::Stage(index) => Some(*index),
            _ => None,
        };
        while let Some(stage) = next.and_then(|index| self.begin.before.get(index)) {
            for instruction in &stage.instructions {
                let files = copy::secret_files(&instruction.work).into_iter();
                all.extend(files.map(|target| (target, instruction.line)));
            }
            next = match stage.base {
                Base::Stage(index) => Some(index),
                _ => None,
            };
        }
        all
    }

    /// Whose files a name means; images are asked for, so that the caller knows of them.
    pub fn from(&mut self, name: &Word) -> Result<From, Mistake> {
        let stages = &self.known.file.stages;
        let meant = crate::reference::from(&name.text, name.span, self.begin.number, stages)?;
        let platform = &self.known.request.platform;
        let from = super::from_of(meant, self.begin.indexes, platform);
        let base = match &from {
            From::Context | From::Stage(_) | From::Scratch => return Ok(from),
            From::Module(name) => Base::Module(name.clone()),
            From::Debian(name) => Base::Debian(name.clone()),
            From::Image { reference, platform } => {
                Base::Image { reference: reference.clone(), platform: platform.clone() }
            }
        };
        self.known.configuration(&base, name)?;
        Ok(from)
    }

    fn statement(&mut self, statement: &Statement) -> Result<(), Mistake> {
        match &statement.body {
            Body::Run(command) => {
                let (run, text, created_by) = run::read(self, statement, command)?;
                self.work(statement, text, created_by, Work::Run(run));
            }
            Body::Copy { sources, destination } => {
                let (copy, text) = copy::read(self, statement, sources, destination)?;
                self.work(statement, text.clone(), text, Work::Copy(copy));
            }
            Body::Workdir(word) => self.workdir(statement, word)?,
            Body::Arg(args) => self.arg(args)?,
            Body::Env(pairs) => {
                // All values of one instruction see the environment before it.
                let pairs = self.pairs(&pairs.pairs)?;
                for (name, value) in &pairs {
                    self.configuration.set_variable(name, value);
                }
                self.note(settings::pairs("ENV", &pairs));
            }
            Body::Label(pairs) => {
                let pairs = self.pairs(&pairs.pairs)?;
                self.note(settings::pairs("LABEL", &pairs));
                self.configuration.labels.extend(pairs);
            }
            Body::User(word) => {
                let user = self.user(word)?;
                self.note(format!("USER {user}"));
                self.configuration.user = Some(user);
            }
            Body::Shell(words) => {
                self.note(format!("SHELL [{}]", words.join(" ")));
                self.configuration.shell = Some(words.clone());
            }
            Body::Cmd(command) => {
                let words = self.command(statement, command);
                self.note(format!("CMD {}", settings::quoted(&words)));
                self.configuration.command = Some(words);
                self.has_command = true;
            }
            Body::Entrypoint(command) => {
                let words = self.command(statement, command);
                self.note(format!("ENTRYPOINT {}", settings::quoted(&words)));
                // `ENTRYPOINT []` takes away the one of the base.
                self.configuration.entrypoint = Some(words).filter(|words| !words.is_empty());
                if !self.has_command {
                    self.configuration.command = None;
                }
            }
            Body::Expose(words) => self.expose(words)?,
            Body::Volume(words) => self.volume(words)?,
            Body::StopSignal(word) => {
                let signal = self.expand(word)?;
                settings::check_signal(&signal, word.span)?;
                self.note(format!("STOPSIGNAL {signal}"));
                self.configuration.stop_signal = Some(signal);
            }
            Body::Healthcheck(command) => {
                let check = settings::healthcheck(statement, command.as_ref())?;
                self.note(statement.text.clone());
                self.configuration.healthcheck = Some(check);
            }
            Body::Maintainer(word) => {
                self.note(format!("MAINTAINER {}", word.text));
                self.configuration.author = Some(word.text.clone());
            }
            Body::OnBuild(inner) => {
                self.note(format!("ONBUILD {}", inner.text));
                self.configuration.on_build.push(inner.source());
            }
            // There is none after the first of a stage.
            Body::From { .. } => {}
        }
        Ok(())
    }

    fn work(&mut self, statement: &Statement, text: String, created_by: String, work: Work) {
        let (place, seen) = (self.place(statement), self.seen());
        self.history.push(History { created_by, instruction: Some(self.instructions.len()) });
        self.instructions.push(Instruction {
            place,
            line: statement.line,
            last_line: statement.last_line,
            text,
            work,
            seen,
        });
    }

    fn note(&mut self, created_by: String) {
        self.history.push(History { created_by, instruction: None });
    }

    fn workdir(&mut self, statement: &Statement, word: &Word) -> Result<(), Mistake> {
        let written = self.expand(word)?;
        if written.is_empty() {
            return Err(Mistake::new(word.span, format!("`{}` expands to nothing", word.text))
                .help("write a folder"));
        }
        refuse_windows(&written, word)?;
        if !written.starts_with('/') && !self.has_workdir {
            let message = format!("`WORKDIR {written}` depends on the base");
            let mistake = Mistake::new(word.span, message).help("begin it with `/`");
            self.report.warn(Rule::WorkdirRelativePath, mistake);
        }
        self.has_workdir = true;
        let path = path::absolute(&self.directory(), &written);
        self.configuration.working_directory = Some(path.clone());
        let user = self.configuration.user.clone();
        let text = format!("WORKDIR {path}");
        self.work(statement, text.clone(), text, Work::Workdir(Workdir { path, user }));
        Ok(())
    }

    fn arg(&mut self, args: &[(Word, Option<Word>)]) -> Result<(), Mistake> {
        let mut texts = Vec::new();
        if let Some((name, _)) = args.get(VARIABLES) {
            let message = format!("one instruction has at most {VARIABLES} arguments");
            return Err(Mistake::new(name.span, message));
        }
        for (name, default) in args {
            let given = self.known.request.args.get(&name.text).cloned();
            let value = match (given, default) {
                (Some(given), _) => Some(given),
                (None, Some(word)) => Some(self.expand(word)?),
                (None, None) => self.globals.value(&name.text).map(str::to_owned),
            };
            texts.push(match &value {
                Some(value) => format!("{}={value}", name.text),
                None => name.text.clone(),
            });
            self.scope.declare(&name.text, value);
        }
        self.note(format!("ARG {}", texts.join(" ")));
        Ok(())
    }

    fn pairs(&mut self, pairs: &[(Word, Word)]) -> Result<Vec<(String, String)>, Mistake> {
        let mut all = Vec::new();
        if let Some((name, _)) = pairs.get(VARIABLES) {
            let message = format!("one instruction has at most {VARIABLES} pairs");
            return Err(Mistake::new(name.span, message));
        }
        for (name, value) in pairs {
            let written = self.expand(name)?;
            if written.is_empty() || written.contains(['=', '\0']) {
                let message = format!("`{}` cannot be a name", name.text);
                return Err(Mistake::new(name.span, message)
                    .help("a name has at least one character, and no `=`"));
            }
            all.push((written, self.expand(value)?));
        }
        Ok(all)
    }

    fn user(&mut self, word: &Word) -> Result<String, Mistake> {
        let user = self.expand(word)?;
        let wrong = |message: String| {
            Err(Mistake::new(word.span, message).help("write NAME, UID, NAME:GROUP or UID:GID"))
        };
        if user.is_empty() {
            return wrong(format!("`{}` expands to nothing", word.text));
        }
        if user.contains(char::is_whitespace) || user.matches(':').count() > 1 {
            return wrong(format!("`{user}` is no user"));
        }
        if user.starts_with(':') || user.ends_with(':') {
            return wrong(format!("`{user}` is no user and group"));
        }
        Ok(user)
    }

    /// The whole command of `CMD` and `ENTRYPOINT`.
    fn command(&mut self, statement: &Statement, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(word) => {
                if self.configuration.shell.is_none() {
                    let name = statement.keyword.name();
                    let message = format!("signals do not reach the program of this `{name}`");
                    let mistake = Mistake::new(statement.span, message)
                        .label("the shell form runs a shell, which keeps them")
                        .help(format!("write `{name} [\"program\", \"argument\"]`"));
                    self.report.warn(Rule::JsonArgsRecommended, mistake);
                }
                let mut words = self.configuration.shell();
                words.push(word.text.clone());
                words
            }
        }
    }

    fn expose(&mut self, words: &[Word]) -> Result<(), Mistake> {
        let mut shown = Vec::new();
        for word in words {
            let written = self.expand(word)?;
            for text in written.split_whitespace() {
                let (ports, address) = settings::ports(text, word.span)?;
                if address {
                    let message = format!("`{text}` names a port of the machine");
                    let mistake = Mistake::new(word.span, message)
                        .help("write the port of the container; the other is chosen when it runs");
                    self.report.warn(Rule::ExposeInvalidFormat, mistake);
                }
                self.configuration.exposed_ports.extend(ports);
                shown.push(text.to_owned());
            }
        }
        self.note(format!("EXPOSE {}", shown.join(" ")));
        Ok(())
    }

    fn volume(&mut self, words: &[Word]) -> Result<(), Mistake> {
        let mut all = Vec::new();
        for word in words {
            let volume = self.expand(word)?.trim().to_owned();
            if volume.is_empty() {
                let message = "the path of a volume cannot be empty";
                return Err(Mistake::new(word.span, message).help("for example `VOLUME /data`"));
            }
            refuse_windows(&volume, word)?;
            all.push(volume);
        }
        self.note(format!("VOLUME [{}]", all.join(" ")));
        self.configuration.volumes.extend(all);
        Ok(())
    }
}

/// Refuses paths of Windows.
pub(super) fn refuse_windows(written: &str, word: &Word) -> Result<(), Mistake> {
    // What is written may lose its `\` when it is expanded.
    if path::is_windows(written) || path::is_windows(&word.text) {
        return Err(Mistake::new(word.span, format!("`{}` is a path of Windows", word.text))
            .help("images are for Linux; write a path with `/`"));
    }
    Ok(())
}

/// A text in one line.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The keyword, flags and words of an instruction as a person reads it. Values of flags that were
/// expanded are in `flags`.
pub(super) fn shown(
    keyword: Keyword,
    statement: &Statement,
    flags: &[(&str, Option<&str>)],
    words: &[String],
) -> String {
    let mut text = keyword.name().to_owned();
    for flag in &statement.flags {
        text.push_str(" --");
        text.push_str(&flag.name);
        let expanded = flags.iter().find(|(name, _)| *name == flag.name);
        if let Some(value) = expanded.map_or(flag.value.as_deref(), |(_, value)| *value) {
            text.push('=');
            text.push_str(value);
        }
    }
    for word in words {
        text.push(' ');
        text.push_str(word);
    }
    one_line(&text)
}
