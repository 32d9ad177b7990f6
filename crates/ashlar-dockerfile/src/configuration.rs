//! What an image says about the containers made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The configuration of an image: the fields of `config` in an OCI image configuration, those that
/// Docker adds (`Healthcheck`, `OnBuild`, `Shell`), and the author. Plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The environment, each name once, in the order in which the names first came up.
    pub env: Vec<(String, String)>,
    /// `USER`, as written: a name or number, `:` and a group.
    pub user: Option<String>,
    /// `WORKDIR`: absolute, without `.`, `..` or a slash at the end.
    pub working_directory: Option<String>,
    /// `ENTRYPOINT`; of the shell form, with the shell before it.
    pub entrypoint: Option<Vec<String>>,
    /// `CMD`; of the shell form, with the shell before it.
    pub command: Option<Vec<String>>,
    /// `SHELL`; `None` is [`Configuration::DEFAULT_SHELL`].
    pub shell: Option<Vec<String>>,
    /// `LABEL`.
    pub labels: BTreeMap<String, String>,
    /// `EXPOSE`: `80/tcp`; ranges are taken apart.
    pub exposed_ports: BTreeSet<String>,
    /// `VOLUME`.
    pub volumes: BTreeSet<String>,
    /// `STOPSIGNAL`, as written: a name or a number.
    pub stop_signal: Option<String>,
    /// `HEALTHCHECK`.
    pub healthcheck: Option<Healthcheck>,
    /// `ONBUILD`: instructions for the images that are made from this one.
    pub on_build: Vec<String>,
    /// `MAINTAINER`: the field `author` of the image configuration, beside `config`.
    pub author: Option<String>,
}

/// How a container says that it is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", arguments…]` or `["CMD-SHELL", command]`.
    pub test: Vec<String>,
    /// The time between two checks.
    pub interval: Option<Duration>,
    /// After which a check has failed.
    pub timeout: Option<Duration>,
    /// In which failures do not count.
    pub start_period: Option<Duration>,
    /// The time between two checks in the start period.
    pub start_interval: Option<Duration>,
    /// How many failures make a container unwell.
    pub retries: Option<u32>,
}

impl Configuration {
    /// The shell of the shell form where no `SHELL` is given.
    pub const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

    /// `PATH` of commands where neither base nor Dockerfile set one.
    pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    /// The value of a variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Sets a variable; one that is there keeps its place.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        match self.env.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.env.push((name.to_owned(), value.to_owned())),
        }
    }

    /// The shell that the shell form runs in.
    #[must_use]
    pub fn shell(&self) -> Vec<String> {
        self.shell.clone().unwrap_or_else(|| Self::DEFAULT_SHELL.map(str::to_owned).to_vec())
    }
}
