//! Running a command whose downloads are pinned: it has a proxy instead of a network, which records
//! what comes or replays what was recorded.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use ashlar_execute::{
    Entrance, ExecuteError, Finished, GATEWAY_PORT, Gateway, Kept, Network, Outcome, Request,
    Secret, View,
};
use ashlar_object::{CanonicalHasher, Command, Digest, File, Meta, Node, StepKey, Tree};
use ashlar_plan::{Access, KeyInputs, PinnedCommand, Step};
use ashlar_recipe::{Pin, PinnedRun};
use ashlar_source::{Answers, PinError, Replayer, serve};
use ashlar_store::put;

use super::action;
use super::pinning::Pinning;
use super::secret_text::{hidden, in_secret};
use crate::engine::Engine;
use crate::event::{ErrorKind, Failure};
use crate::failure::chain;
use crate::origin::Trust;

/// The variables that tell programs of a proxy.
const VARIABLES: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
];

/// Those that tell which hosts are reached without it.
const DIRECT: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// What is to be done around a command that is pinned.
pub(crate) struct Pinned {
    command: Arc<PinnedCommand>,
    record: bool,
    gateway: Gateway,
    entrance: Entrance,
    /// What its action is made of, but for its downloads.
    salt: String,
    seen: Command,
    below: Tree,
    secrets: Vec<(String, Secret)>,
}

/// A command that was recorded: what it is now known as.
pub(crate) struct Recorded {
    pub action: Digest,
    pub key: StepKey,
    pub inputs: KeyInputs,
    id: String,
    run: PinnedRun,
}

/// How a pinned command ended, if it came so far.
pub(crate) struct Ran {
    pub finished: Finished,
    /// Why its result is not kept although it succeeded, or what is said instead of its exit code.
    pub failure: Option<Failure>,
    pub recorded: Option<Recorded>,
}

/// What is in the action of a command besides what an ordinary one has.
pub(crate) fn salted(salt: &str, gets: &[Pin]) -> String {
    let mut hasher = CanonicalHasher::new("ashlar pinned downloads");
    hasher.text(salt).number(gets.len() as u64);
    for pin in gets {
        hasher.text(pin.method()).text(&pin.url).text(&pin.answer());
    }
    StepKey(hasher.finish()).to_string()
}

/// Tells a command of the proxy.
pub(crate) fn show_proxy(command: &mut Command) {
    let address = format!("http://127.0.0.1:{GATEWAY_PORT}");
    for name in VARIABLES {
        command.environment.insert(name.to_owned(), address.clone());
    }
    for name in DIRECT {
        command.environment.insert(name.to_owned(), "localhost,127.0.0.1,::1".to_owned());
    }
}

/// Gives a command the network of the machine instead.
pub(crate) fn hide_proxy(request: &mut Request) {
    for name in VARIABLES.iter().chain(&DIRECT) {
        request.command.environment.remove(*name);
    }
    if let View::Image(view) = &mut request.view {
        (view.gateway, view.network) = (None, Network::Machine);
    }
}

impl Pinned {
    pub(crate) fn new(
        access: &Access,
        salt: &str,
        seen: &Command,
        below: &Tree,
        secrets: &[(String, Secret)],
    ) -> Result<Option<Self>, Failure> {
        let (command, record) = match access {
            Access::None | Access::Machine => return Ok(None),
            Access::Recorded(command) => (command, true),
            Access::Replayed { command, .. } => (command, false),
        };
        let (gateway, entrance) = Gateway::new().map_err(|e| Failure::Error {
            message: format!("cannot make a socket: {e}"),
            advice: None,
            kind: ErrorKind::Machine,
        })?;
        Ok(Some(Self {
            command: Arc::clone(command),
            record,
            gateway,
            entrance,
            salt: salt.to_owned(),
            seen: seen.clone(),
            below: below.clone(),
            secrets: secrets.to_vec(),
        }))
    }

    /// Whether its downloads are recorded now.
    pub(crate) fn records(&self) -> bool {
        self.record
    }

    pub(crate) fn gateway(&self) -> Gateway {
        self.gateway.clone()
    }
}

impl Ran {
    /// As an ordinary command ended.
    pub(crate) fn plain(finished: Finished) -> Self {
        Self { finished, failure: None, recorded: None }
    }
}

impl Engine<'_> {
    /// Has the contents of downloads in the store, as a tree of files called by their digests.
    pub(crate) fn downloads(&self, gets: &[Pin]) -> Result<Kept, Failure> {
        let go_on = || self.goes_on();
        self.fetcher.fetch_pinned(gets, self.pinning()?.proxies(), &go_on).map_err(not_again)?;
        self.contents(gets)
    }

    /// Whether neither a signal nor the end of its time stops the run.
    fn goes_on(&self) -> bool {
        !self.cancel.is_cancelled() && !self.is_over()
    }

    fn pinning(&self) -> Result<&Pinning, Failure> {
        let pinning = self.image.and_then(|building| building.pinning.as_deref());
        pinning.ok_or_else(|| {
            Failure::project("this step has pins, and no file of pins is in use".to_owned())
        })
    }

    fn contents(&self, gets: &[Pin]) -> Result<Kept, Failure> {
        let mut tree = Tree::default();
        for pin in gets {
            let digest = pin.sha256.as_ref().zip(pin.size);
            let Some((sum, digest)) =
                digest.and_then(|(sum, size)| Some((sum, Digest::from_hex(sum, size).ok()?)))
            else {
                continue;
            };
            let path = sum.parse().map_err(|e| Failure::project(format!("{e}")))?;
            tree = tree.with(&path, Node::File(File::new(digest, Meta::FILE)));
        }
        Ok(Kept { digest: put(self.store, &tree.encode())?, tree })
    }

    /// Runs a command with its proxy.
    pub(crate) fn run_pinned(
        &self,
        step: &Step,
        request: &Request,
        pinned: &Pinned,
    ) -> Result<Ran, Failure> {
        let hidden = |failure| hidden(failure, &pinned.secrets);
        let ran = self.run_with_proxy(step, request, pinned).map_err(hidden)?;
        Ok(Ran { failure: ran.failure.map(hidden), ..ran })
    }

    fn run_with_proxy(
        &self,
        step: &Step,
        request: &Request,
        pinned: &Pinned,
    ) -> Result<Ran, Failure> {
        let gets = &pinned.command.run.gets;
        if !pinned.record {
            let replayer = Replayer::new(gets, self.store);
            let finished = self.answered(request, pinned, &replayer)?;
            let failure = self.not_replayed(&finished.outcome, &replayer)?;
            return Ok(Ran { finished, failure, recorded: None });
        }
        let pinning = self.pinning()?;
        let recorder = self.fetcher.recorder(pinning.proxies(), &step.id.to_string())?;
        let finished = self.answered(request, pinned, &recorder)?;
        let go_on = || self.goes_on();
        let mut ran = Ran { finished, failure: None, recorded: None };
        match ran.finished.outcome {
            Outcome::Succeeded(_) => match recorder.finish(self.store, &go_on) {
                Ok(gets) => {
                    let refused = refused(&recorder.troubles().of_refused());
                    ran.failure = refused.or_else(|| in_secret(&pinned.secrets, &gets));
                    if ran.failure.is_none() {
                        ran.recorded = Some(self.recorded(step, pinned, gets)?);
                    }
                }
                Err(PinError::Stopped { .. }) => ran.finished.outcome = Outcome::Cancelled,
                Err(error) => ran.failure = Some(not_recorded(&error)),
            },
            Outcome::Failed(code) => {
                let refused = refused(&recorder.troubles().of_refused());
                let failed = || recorder.failed().map(|error| not_recorded(&error));
                ran.failure = refused.or_else(failed).map(|failure| with_code(code, failure));
            }
            _ => {}
        }
        Ok(ran)
    }

    /// Runs a command while its requests are answered.
    fn answered(
        &self,
        request: &Request,
        pinned: &Pinned,
        answers: &dyn Answers,
    ) -> Result<Finished, Failure> {
        std::thread::scope(|scope| {
            let server = scope.spawn(|| match pinned.entrance.listener()? {
                Some(listener) => serve(&listener, pinned.entrance.as_fd(), answers),
                None => Ok(()),
            });
            let finished = self.executor.run(request, self.jobs, self.cancel);
            pinned.gateway.close();
            let served = server.join().unwrap_or_else(|_| Err(std::io::Error::other("it failed")));
            let finished: Result<Finished, ExecuteError> = finished;
            let finished = finished?;
            served.map_err(|e| Failure::Error {
                message: format!("its requests could not be answered: {e}"),
                advice: None,
                kind: ErrorKind::Machine,
            })?;
            Ok(finished)
        })
    }

    /// Why a command that was replayed counts as failed.
    fn not_replayed(
        &self,
        outcome: &Outcome,
        replayer: &Replayer<'_>,
    ) -> Result<Option<Failure>, Failure> {
        let troubles = replayer.troubles();
        let lost = troubles.of_lost();
        if let Some(url) = lost.first() {
            return Err(Failure::store(format!(
                "the content of {url} is not in the store any more"
            )));
        }
        let shown = self.pinning()?.shown();
        let unknown = unknown(&troubles.of_unknown(), shown);
        Ok(match outcome {
            Outcome::Succeeded(_) => unknown.or_else(|| refused(&troubles.of_refused())),
            Outcome::Failed(code) => {
                let refused = || refused(&troubles.of_refused());
                unknown.or_else(refused).map(|failure| with_code(*code, failure))
            }
            _ => None,
        })
    }

    /// Keeps what came, and works out what the command is known as from now on.
    fn recorded(&self, step: &Step, pinned: &Pinned, gets: Vec<Pin>) -> Result<Recorded, Failure> {
        let contents = self.contents(&gets)?;
        if let Some((_, key)) = ashlar_plan::contents(&gets) {
            let prepared = self.internal("downloads", &contents, contents.clone());
            let result = ashlar_object::ActionResult {
                outputs: contents.digest,
                root: contents.tree.root_digest(),
                log: put(self.store, b"")?,
                started: crate::engine::now(),
                took: std::time::Duration::ZERO,
            };
            self.origins.led(&key, &prepared.action, &Trust::default())?;
            self.store.put_result(&prepared.action, &result)?;
            self.origins.made(&prepared.action, &result, &Trust::default())?;
            self.store.put_step(&key, &prepared.action)?;
        }
        let (inputs, key) = ashlar_plan::recorded(&step.inputs, &gets);
        let salt = salted(&pinned.salt, &gets);
        let action = action::action(step, &salt, &pinned.seen, &pinned.below);
        let run = PinnedRun { gets, ..pinned.command.run.clone() };
        Ok(Recorded { action, key, inputs, id: pinned.command.id.clone(), run })
    }

    /// Writes down what a command downloaded; its result is in the store.
    pub(crate) fn write_pins(&self, recorded: &Recorded) -> Result<(), Failure> {
        self.pinning()?.add(&recorded.id, recorded.run.clone())
    }
}

/// The advice on everything that is not as it was recorded.
const UPDATE: &str = "record it anew: --pin-mode update, or take the block of the command out of the \
                      file of pins";

/// What could be recorded, and what to do instead where it cannot.
const PLAIN: &str = "only http without TLS can be recorded: use http sources (apt checks the \
                     signatures of what comes), ADD --checksum, or put the file into the context";

fn build_failure(message: String, advice: &str) -> Failure {
    Failure::Error { message, advice: Some(advice.to_owned()), kind: ErrorKind::Build }
}

/// A list of which people read the beginning.
fn listed(all: &[String]) -> String {
    match all {
        [one] => one.clone(),
        [one, other] => format!("{one} and {other}"),
        [one, other, more @ ..] => format!("{one}, {other} and {} more", more.len()),
        [] => String::new(),
    }
}

fn unknown(urls: &[String], shown: &str) -> Option<Failure> {
    let message = format!("it asked for {}, which {shown} does not have", listed(urls));
    (!urls.is_empty()).then(|| build_failure(message, UPDATE))
}

fn refused(all: &[String]) -> Option<Failure> {
    let message = format!("it asked for what cannot be recorded: {}", listed(all));
    (!all.is_empty()).then(|| build_failure(message, PLAIN))
}

fn not_recorded(error: &PinError) -> Failure {
    Failure::Error {
        message: format!("its downloads are not recorded: {}", chain(error)),
        advice: None,
        kind: ErrorKind::Build,
    }
}

/// Why what was recorded cannot be had.
fn not_again(error: PinError) -> Failure {
    match error {
        PinError::Source(error) => error.into(),
        PinError::Changed { .. } | PinError::Gone { .. } => build_failure(chain(&error), UPDATE),
        PinError::Stopped { .. } => Failure::Stopped,
        PinError::Failed { .. } | PinError::Different { .. } => {
            Failure::Error { message: chain(&error), advice: None, kind: ErrorKind::Build }
        }
    }
}

fn with_code(code: i32, failure: Failure) -> Failure {
    match failure {
        Failure::Error { message, advice, kind } => {
            let message = format!("{}: {message}", Failure::Exit(code));
            Failure::Error { message, advice, kind }
        }
        other => other,
    }
}
