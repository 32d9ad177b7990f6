//! Who we are to a registry: the files that login commands of other programs write, and the helper
//! programs that they name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use url::Url;

use ashlar_store::RemoteError;

use super::helper;
use crate::http::{Fixed, user_of};

/// Where credentials are looked for. The default is nowhere.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Auth files, in the order in which they are looked into. Those that are not there are
    /// skipped.
    pub files: Vec<PathBuf>,
    /// Folders with helper programs named `docker-credential-…`.
    pub programs: Vec<PathBuf>,
}

/// Who we are.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credential {
    /// A user and a password.
    Password(String, String),
    /// What tokens are fetched with instead.
    Identity(String),
    /// A token that is sent as it is.
    Token(String),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Credential {
    /// The user and the password in an address.
    pub fn of_address(url: &Url) -> Option<Self> {
        let (user, password) = user_of(url)?;
        Some(Self::Password(user, password))
    }
}

/// An auth file, as far as it matters here.
#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AuthFile {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl Credentials {
    /// The usual places, as the environment names them: `$REGISTRY_AUTH_FILE` alone when it is
    /// set; otherwise `$XDG_RUNTIME_DIR/containers/auth.json`, `containers/auth.json` in
    /// `$XDG_CONFIG_HOME` or `$HOME/.config`, and `config.json` in `$DOCKER_CONFIG` or
    /// `$HOME/.docker`. Helper programs are those in `$PATH`.
    ///
    /// Only for whoever wires a program together: nothing else in here reads the environment.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    pub(super) fn from_variables(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let programs = variable("PATH").map(|path| std::env::split_paths(&path).collect());
        let folder = |name: &str| variable(name).map(PathBuf::from);
        let files = match folder("REGISTRY_AUTH_FILE") {
            Some(file) => vec![file],
            None => {
                let home = folder("HOME");
                let at_home = |name: &str| home.as_ref().map(|home| home.join(name));
                let places = [
                    (folder("XDG_RUNTIME_DIR"), "containers/auth.json"),
                    (
                        folder("XDG_CONFIG_HOME").or_else(|| at_home(".config")),
                        "containers/auth.json",
                    ),
                    (folder("DOCKER_CONFIG").or_else(|| at_home(".docker")), "config.json"),
                ];
                places.into_iter().filter_map(|(dir, file)| Some(dir?.join(file))).collect()
            }
        };
        Self { files, programs: programs.unwrap_or_default() }
    }

    /// Who we are to a repository of a host. The first file that says something wins; in it a
    /// helper for the host, then the entry of the repository, of the folders it is in, of the host,
    /// then the helper for everything.
    pub(super) fn of(
        &self,
        host: &str,
        repository: &str,
    ) -> Result<Option<Credential>, RemoteError> {
        for path in &self.files {
            let Some(file) = AuthFile::read(path)? else { continue };
            if let Some(program) = file.cred_helpers.get(host)
                && let Some(found) = helper::get(&self.programs, program, host)?
            {
                return Ok(Some(found));
            }
            if let Some(found) = file.entry(host, repository, path)? {
                return Ok(Some(found));
            }
            if !file.creds_store.is_empty()
                && let Some(found) = helper::get(&self.programs, &file.creds_store, host)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The header for a folder of a web server, where there are no tokens to be fetched.
    pub(crate) fn header(
        &self,
        host: &str,
        folder: &str,
        place: &str,
    ) -> Result<Option<Fixed>, RemoteError> {
        match self.of(host, folder)? {
            Some(Credential::Password(user, password)) => {
                Fixed::basic(&user, &password, place).map(Some)
            }
            Some(Credential::Token(token)) => Fixed::bearer(&token, place).map(Some),
            Some(Credential::Identity(_)) | None => Ok(None),
        }
    }

    /// Where was looked, for people.
    pub(super) fn shown(&self) -> String {
        if self.files.is_empty() {
            return "no auth file is set up".to_owned();
        }
        let files: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        format!("none in {}", files.join(", "))
    }
}

impl AuthFile {
    fn read(path: &Path) -> Result<Option<Self>, RemoteError> {
        let wrong = |why: String| RemoteError::Address { place: path.display().to_string(), why };
        match std::fs::read(path) {
            Ok(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => Ok(None),
            // Where it is wrong, not what is there: that may be a password.
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                wrong(format!(
                    "this auth file is wrong in line {}, column {}; log in again, or correct it",
                    error.line(),
                    error.column()
                ))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Ok(None),
            Err(error) => Err(wrong(format!("this auth file cannot be read: {error}"))),
        }
    }

    /// The entry for a repository: the longest key wins.
    fn entry(
        &self,
        host: &str,
        repository: &str,
        path: &Path,
    ) -> Result<Option<Credential>, RemoteError> {
        let mut key = format!("{host}/{repository}");
        loop {
            if let Some(entry) = self.auths.get(&key)
                && let Some(found) = entry.credential(&key, path)?
            {
                return Ok(Some(found));
            }
            match key.rfind('/') {
                Some(end) => key.truncate(end),
                None => break,
            }
        }
        // Older programs write the address of the host instead of its name.
        for (key, entry) in &self.auths {
            if host_of(key) == host
                && let Some(found) = entry.credential(key, path)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl Entry {
    fn credential(&self, key: &str, path: &Path) -> Result<Option<Credential>, RemoteError> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::Identity(self.identitytoken.clone())));
        }
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credential::Token(self.registrytoken.clone())));
        }
        if self.auth.is_empty() {
            let named = !self.username.is_empty();
            return Ok(
                named.then(|| Credential::Password(self.username.clone(), self.password.clone()))
            );
        }
        let lenient =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let decoded = GeneralPurpose::new(&STANDARD, lenient)
            .decode(self.auth.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        // Some programs pad the password with zeros.
        let pair = decoded.as_deref().and_then(|pair| pair.trim_end_matches('\0').split_once(':'));
        match pair {
            Some((user, password)) => {
                Ok(Some(Credential::Password(user.to_owned(), password.to_owned())))
            }
            None => Err(RemoteError::Address {
                place: path.display().to_string(),
                why: format!("the `auth` of {key} is no base64 of USER:PASSWORD; log in again"),
            }),
        }
    }
}

/// The host in a key that is an address, as `https://index.docker.io/v1/`.
fn host_of(key: &str) -> &str {
    let Some(rest) = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")) else {
        return "";
    };
    match rest.split('/').next().unwrap_or_default() {
        "index.docker.io" => "docker.io",
        host => host,
    }
}
