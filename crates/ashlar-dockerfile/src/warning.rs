//! What is worth a word and keeps nothing from being built.

use ashlar_recipe::Problem;

/// A rule that a Dockerfile does not follow; the names are those that BuildKit's checks have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// A build argument was given that nothing declares.
    UnusedBuildArgument,
    /// `FROM … as`, or keywords in mixed case.
    ConsistentInstructionCasing,
    /// `FROM` and `AS` in different cases.
    FromAsCasing,
    /// A stage name with upper-case letters.
    StageNameCasing,
    /// A stage with the name of a keyword.
    ReservedStageName,
    /// `MAINTAINER`.
    MaintainerDeprecated,
    /// `ENV NAME VALUE`.
    LegacyKeyValueFormat,
    /// An empty line inside an instruction.
    NoEmptyContinuation,
    /// Several `CMD`, `ENTRYPOINT` or `HEALTHCHECK` in a stage: only the last one counts.
    MultipleInstructionsDisallowed,
    /// `CMD` or `ENTRYPOINT` in shell form: signals reach the shell only.
    JsonArgsRecommended,
    /// A secret in `ARG` or `ENV`.
    SecretsUsedInArgOrEnv,
    /// A variable that nothing sets.
    UndefinedVariable,
    /// A relative `WORKDIR` that nothing comes before.
    WorkdirRelativePath,
    /// `FROM --platform=$TARGETPLATFORM`: that is so anyway.
    RedundantTargetPlatform,
    /// `EXPOSE` with an address of the machine.
    ExposeInvalidFormat,
    /// A text that looks like the exec form and is none.
    InvalidExecForm,
}

impl Rule {
    /// The name of the rule.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnusedBuildArgument => "UnusedBuildArgument",
            Self::ConsistentInstructionCasing => "ConsistentInstructionCasing",
            Self::FromAsCasing => "FromAsCasing",
            Self::StageNameCasing => "StageNameCasing",
            Self::ReservedStageName => "ReservedStageName",
            Self::MaintainerDeprecated => "MaintainerDeprecated",
            Self::LegacyKeyValueFormat => "LegacyKeyValueFormat",
            Self::NoEmptyContinuation => "NoEmptyContinuation",
            Self::MultipleInstructionsDisallowed => "MultipleInstructionsDisallowed",
            Self::JsonArgsRecommended => "JSONArgsRecommended",
            Self::SecretsUsedInArgOrEnv => "SecretsUsedInArgOrEnv",
            Self::UndefinedVariable => "UndefinedVar",
            Self::WorkdirRelativePath => "WorkdirRelativePath",
            Self::RedundantTargetPlatform => "RedundantTargetPlatform",
            Self::ExposeInvalidFormat => "ExposeInvalidFormat",
            Self::InvalidExecForm => "InvalidExecForm",
        }
    }
}

/// What is worth a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The rule.
    pub rule: Rule,
    /// What, where and what to do about it.
    pub problem: Problem,
}
