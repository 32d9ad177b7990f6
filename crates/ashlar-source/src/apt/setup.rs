//! The private configuration that every run of apt gets.
//!
//! It is read after the machine's own, so that proxies, certificates and passwords hold while
//! state, caches, hooks and package sources are ours.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Output;

use ashlar_object::Digest;

use super::entries::{self, Entry};
use super::{Apt, AptError, complaint};
use crate::SourceError;
use crate::program::{APT_GET, Program};
use crate::url::Stop;

/// A configuration on disk, and the lock that keeps other processes off the state meanwhile.
pub(super) struct Setup {
    state: PathBuf,
    /// The configuration file.
    config: PathBuf,
    /// All entries, whatever suite the configuration is for.
    pub entries: Vec<Entry>,
    /// What names the package sources: their digest.
    name: String,
    /// Held as long as state is read or written.
    lock: Option<File>,
}

impl Setup {
    /// A configuration for one suite (with its updates and security suites), or for everything.
    pub fn new(apt: &Apt, suite: Option<&str>) -> Result<Self, SourceError> {
        let state = &apt.state;
        for folder in ["lists/partial", "archives/partial"] {
            let folder = state.join(folder);
            std::fs::create_dir_all(&folder).map_err(SourceError::io("create", &folder))?;
        }
        // Apt wants absolute paths.
        let state = state.canonicalize().map_err(SourceError::io("find", state))?;
        let lock_path = state.join("ashlar.lock");
        let lock = File::create(&lock_path).map_err(SourceError::io("create", &lock_path))?;
        lock.lock().map_err(SourceError::io("lock", &lock_path))?;
        let entries = match &apt.sources {
            Some(text) => entries::of_stanzas(text, Path::new("the package sources given"))?,
            None => entries::of_machine(Path::new("/etc/apt"))?,
        };
        if entries.is_empty() {
            // A machine that is no Debian lacks more than package sources.
            APT_GET.run(APT_GET.command().arg("--version"), None)?;
            return Err(AptError::NoSources.into());
        }
        let (config, name) = write(&state, &entries)?;
        let all = Self { state, config, entries, name, lock: Some(lock) };
        match suite {
            None => Ok(all),
            Some(suite) => all.only(suite),
        }
    }

    /// [`Setup::new`], when the index of these package sources was fetched before.
    pub fn with_index(apt: &Apt, suite: Option<&str>) -> Result<Self, SourceError> {
        let setup = Self::new(apt, None)?;
        let mark = std::fs::read_to_string(setup.mark()).unwrap_or_default();
        if mark != setup.name {
            return Err(AptError::NoIndex.into());
        }
        match suite {
            None => Ok(setup),
            Some(suite) => setup.only(suite),
        }
    }

    /// Lets others at the state; from now on only what needs none may run: downloads.
    pub fn without_state(mut self) -> Self {
        self.lock = None;
        self
    }

    /// Remembers that the index of these package sources is there.
    pub fn mark_updated(&self) -> Result<(), SourceError> {
        let mark = self.mark();
        std::fs::write(&mark, &self.name).map_err(SourceError::io("write", &mark))
    }

    /// Runs one of apt's programs.
    pub fn run(&self, program: Program, arguments: &[&str]) -> Result<Output, SourceError> {
        program.run(program.command().arg("-c").arg(&self.config).args(arguments), None)
    }

    /// The same, ended when it is told to stop.
    pub fn run_until(
        &self,
        program: Program,
        arguments: &[&str],
        stop: Stop<'_>,
    ) -> Result<Output, SourceError> {
        program.run_until(program.command().arg("-c").arg(&self.config).args(arguments), stop)
    }

    /// A path in the state folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    fn mark(&self) -> PathBuf {
        self.state.join("updated")
    }

    /// The same with one suite.
    fn only(self, suite: &str) -> Result<Self, SourceError> {
        let aliases = self.aliases()?;
        let belongs = |name: &str| {
            name.strip_prefix(suite).is_some_and(|r| r.is_empty() || r.starts_with(['-', '/']))
        };
        let is_wanted = |written: &str| {
            let plain = |name: &str| name.trim_end_matches('/').to_owned();
            belongs(&plain(written))
                || aliases.iter().any(|a| {
                    plain(&a.written) == plain(written) && a.names.iter().any(|n| belongs(n))
                })
        };
        let chosen: Vec<_> = self.entries.iter().filter_map(|e| e.only(is_wanted)).collect();
        if chosen.is_empty() {
            let mut have: Vec<_> =
                self.entries.iter().flat_map(Entry::suites).map(str::to_owned).collect();
            have.sort();
            have.dedup();
            return Err(AptError::NoSuite { suite: suite.to_owned(), have }.into());
        }
        let (config, name) = write(&self.state, &chosen)?;
        Ok(Self { config, name, ..self })
    }

    /// What the suites call themselves in their `Release` files: `stable` may be `bookworm`.
    fn aliases(&self) -> Result<Vec<Alias>, SourceError> {
        let format = "$(RELEASE)\t$(CODENAME)\t$(SUITE)";
        let output = self.run(APT_GET, &["indextargets", "--format", format])?;
        if !output.status.success() {
            let words = complaint(&output);
            return Err(AptError::Unexpected { program: "apt-get", words }.into());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let lines = text.lines().map(|line| {
            let mut parts = line.split('\t').map(str::to_owned);
            Alias { written: parts.next().unwrap_or_default(), names: parts.collect() }
        });
        Ok(lines.collect())
    }
}

struct Alias {
    written: String,
    names: Vec<String>,
}

/// Writes package sources and configuration; returns the latter's path and the former's name.
fn write(state: &Path, entries: &[Entry]) -> Result<(PathBuf, String), SourceError> {
    let sources: Vec<_> = entries.iter().map(Entry::to_text).collect();
    let sources = sources.join("\n");
    let name = Digest::of(sources.as_bytes()).short();
    let sources_path = state.join(format!("{name}.sources"));
    let cache = state.join(format!("{name}.cache"));
    std::fs::create_dir_all(&cache).map_err(SourceError::io("create", &cache))?;
    let quoted = |path: &Path| {
        let text = path.display().to_string();
        if text.contains(['"', '\n', '\\']) {
            let source = std::io::Error::other("apt cannot have this path in its configuration");
            return Err(SourceError::Io { doing: "use", path: path.to_owned(), source });
        }
        Ok(format!("\"{text}\""))
    };
    let dir = |name: &str| quoted(&state.join(name));
    let config = format!(
        "#clear APT::Update::Pre-Invoke;\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n\
         #clear DPkg::Pre-Invoke;\n\
         #clear DPkg::Post-Invoke;\n\
         #clear DPkg::Pre-Install-Pkgs;\n\
         #clear APT::Architectures;\n\
         #clear APT::Build-Profiles;\n\
         #clear APT::NeverAutoRemove;\n\
         APT::Sandbox::User \"root\";\n\
         APT::Update::Error-Mode \"any\";\n\
         APT::Install-Recommends \"false\";\n\
         APT::Install-Suggests \"false\";\n\
         APT::Get::List-Cleanup \"false\";\n\
         APT::Get::Always-Include-Phased-Updates \"true\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::GzipIndexes \"false\";\n\
         Acquire::Retries \"3\";\n\
         Acquire::http::Proxy::127.0.0.1 \"DIRECT\";\n\
         Dir::State {};\n\
         Dir::State::lists {};\n\
         Dir::State::status {};\n\
         Dir::State::extended_states {};\n\
         Dir::Cache {};\n\
         Dir::Cache::archives {};\n\
         Dir::Cache::pkgcache \"pkgcache.bin\";\n\
         Dir::Cache::srcpkgcache \"srcpkgcache.bin\";\n\
         Dir::Log \"/dev/null\";\n\
         Dir::Etc::sourcelist {};\n\
         Dir::Etc::sourceparts \"/dev/null\";\n\
         Dir::Etc::preferences \"/dev/null\";\n\
         Dir::Etc::preferencesparts \"/dev/null\";\n",
        quoted(state)?,
        dir("lists")?,
        dir("status")?,
        dir("extended_states")?,
        quoted(&cache)?,
        dir("archives")?,
        quoted(&sources_path)?,
    );
    let config_path = state.join(format!("{name}.conf"));
    for (path, text) in [
        (&sources_path, sources.as_str()),
        (&config_path, config.as_str()),
        (&state.join("status"), ""),
    ] {
        if std::fs::read(path).ok().as_deref() != Some(text.as_bytes()) {
            std::fs::write(path, text).map_err(SourceError::io("write", path))?;
        }
    }
    Ok((config_path, name))
}
