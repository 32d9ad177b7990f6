//! A Dockerfile as it is written: instructions with their words, and where each stands. Nothing is
//! expanded.

use ashlar_recipe::written::Span;

use crate::lines::Heredoc;

/// A word and where it stands. Quotes and escapes are still in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub text: String,
    pub span: Span,
}

/// A flag; the names that an instruction knows have been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flag {
    pub name: String,
    pub value: Option<String>,
    pub span: Span,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    pub keyword: Keyword,
    /// The keyword as written.
    pub written: Word,
    pub flags: Vec<Flag>,
    pub body: Body,
    pub heredocs: Vec<Heredoc>,
    /// All of it, in one line.
    pub text: String,
    /// Without its heredocs.
    pub span: Span,
    pub line: usize,
    pub last_line: usize,
}

impl Statement {
    /// The last flag of a name: later ones win where only one makes sense.
    pub fn flag(&self, name: &str) -> Option<&Flag> {
        self.flags.iter().rev().find(|flag| flag.name == name)
    }

    /// The instruction with its documents, so that it can be parsed again.
    pub fn source(&self) -> String {
        let mut text = self.text.clone();
        for heredoc in &self.heredocs {
            text.push('\n');
            text.push_str(&heredoc.raw);
            text.push_str(&heredoc.name);
        }
        text
    }
}

/// The instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    OnBuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
}

impl Keyword {
    pub const ALL: [Self; 18] = [
        Self::Add,
        Self::Arg,
        Self::Cmd,
        Self::Copy,
        Self::Entrypoint,
        Self::Env,
        Self::Expose,
        Self::From,
        Self::Healthcheck,
        Self::Label,
        Self::Maintainer,
        Self::OnBuild,
        Self::Run,
        Self::Shell,
        Self::StopSignal,
        Self::User,
        Self::Volume,
        Self::Workdir,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Arg => "ARG",
            Self::Cmd => "CMD",
            Self::Copy => "COPY",
            Self::Entrypoint => "ENTRYPOINT",
            Self::Env => "ENV",
            Self::Expose => "EXPOSE",
            Self::From => "FROM",
            Self::Healthcheck => "HEALTHCHECK",
            Self::Label => "LABEL",
            Self::Maintainer => "MAINTAINER",
            Self::OnBuild => "ONBUILD",
            Self::Run => "RUN",
            Self::Shell => "SHELL",
            Self::StopSignal => "STOPSIGNAL",
            Self::User => "USER",
            Self::Volume => "VOLUME",
            Self::Workdir => "WORKDIR",
        }
    }

    /// The instruction of a word, in whatever case.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|keyword| keyword.name().eq_ignore_ascii_case(word))
    }

    /// The flags that it knows.
    pub fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Add => {
                &["chown", "chmod", "link", "keep-git-dir", "checksum", "unpack", "exclude"]
            }
            Self::Copy => &["from", "chown", "chmod", "link", "parents", "exclude"],
            Self::From => &["platform"],
            Self::Run => &["mount", "network", "security"],
            Self::Healthcheck => {
                &["interval", "timeout", "start-period", "start-interval", "retries"]
            }
            _ => &[],
        }
    }

    /// Whether `<<NAME` in it begins a document.
    pub fn takes_heredocs(self) -> bool {
        matches!(self, Self::Add | Self::Copy | Self::Run)
    }
}

/// What follows the flags of an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    From {
        image: Word,
        /// `AS`, and the name.
        name: Option<(Word, Word)>,
    },
    Arg(Vec<(Word, Option<Word>)>),
    Env(Pairs),
    Label(Pairs),
    Run(Command),
    Cmd(Command),
    Entrypoint(Command),
    Copy {
        sources: Vec<Source>,
        destination: Word,
    },
    Workdir(Word),
    User(Word),
    Expose(Vec<Word>),
    Volume(Vec<Word>),
    StopSignal(Word),
    Maintainer(Word),
    Shell(Vec<String>),
    /// `None` is `HEALTHCHECK NONE`.
    Healthcheck(Option<Command>),
    OnBuild(Box<Statement>),
}

/// Names and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pairs {
    pub pairs: Vec<(Word, Word)>,
    /// `NAME VALUE` instead of `NAME=VALUE`.
    pub legacy: bool,
}

/// A command in one of its two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Exec(Vec<String>),
    Shell(Word),
}

/// A source of `COPY` or `ADD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Path(Word),
    /// The index in [`Statement::heredocs`].
    Heredoc(usize),
}
