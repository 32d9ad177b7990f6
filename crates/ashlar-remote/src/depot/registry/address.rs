//! `oci://HOST[:PORT]/REPOSITORY`: where a registry is and what it is asked for there.

use url::Url;

use ashlar_store::RemoteError;

use crate::http::{is_loopback, shown};

/// The host that answers for the registry that everybody knows by the short name.
pub(crate) const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// An address of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Host and port as they were written: what credentials are filed under.
    pub host: String,
    /// The repository.
    pub repository: String,
    /// Where requests go: scheme, host and port, perhaps with a user and a password.
    pub base: Url,
}

impl Address {
    /// Reads an address. Plain HTTP is spoken with this machine and, when it is allowed, with
    /// others; certificates (`tls`) mean TLS with both.
    ///
    /// # Errors
    /// [`RemoteError::Address`].
    pub fn parse(text: &str, insecure: bool, tls: bool) -> Result<Self, RemoteError> {
        let wrong = |why: String| RemoteError::Address { place: without_secrets(text), why };
        let rest = text
            .strip_prefix("oci://")
            .ok_or_else(|| wrong("it should begin with oci://".to_owned()))?;
        let (authority, repository) = rest.split_once('/').unwrap_or((rest, ""));
        let repository = repository.trim_end_matches('/');
        if !is_repository(repository) {
            return Err(wrong(
                "it should be oci://HOST[:PORT]/REPOSITORY, with a repository in lower-case \
                 letters, digits and . _ - / and without tag or digest"
                    .to_owned(),
            ));
        }
        let parse = |scheme: &str| {
            Url::parse(&format!("{scheme}://{authority}"))
                .map_err(|error| wrong(format!("its host makes no sense: {error}")))
        };
        let mut base = parse("https")?;
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned();
        if host.is_empty() || base.path() != "/" || base.query().is_some() {
            return Err(wrong("its host makes no sense".to_owned()));
        }
        if !tls && (insecure || is_loopback(&base)) {
            base = parse("http")?;
        }
        if host == HUB.0 {
            base.set_host(Some(HUB.1)).map_err(|error| wrong(error.to_string()))?;
        }
        Ok(Self { host, repository: repository.to_owned(), base })
    }

    /// As it may be shown.
    pub fn place(&self) -> String {
        format!("oci://{}/{}", self.host, self.repository)
    }

    /// Something of this repository: `blobs/…`, `manifests/…`, ….
    ///
    /// # Errors
    /// [`RemoteError::Address`] when it cannot be in an address.
    pub fn of(&self, rest: &str) -> Result<Url, RemoteError> {
        self.join(&format!("/v2/{}/{rest}", self.repository))
    }

    /// Something of the registry.
    ///
    /// # Errors
    /// As [`Address::of`].
    pub fn join(&self, path: &str) -> Result<Url, RemoteError> {
        crate::http::without_user(&self.base).join(path).map_err(|error| RemoteError::Address {
            place: self.place(),
            why: format!("{path}: {error}"),
        })
    }
}

/// An address that could not be read, without what is before the `@` of its host.
fn without_secrets(text: &str) -> String {
    if let Ok(url) = Url::parse(text) {
        return shown(&url);
    }
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}{}", &text[..scheme + 3], &text[at + 1..])
        }
        _ => text.to_owned(),
    }
}

/// The grammar of the distribution specification: parts of lower-case letters and digits, with
/// single `.`, one or two `_`, or any number of `-` between them; 255 characters at most.
pub(crate) fn is_repository(name: &str) -> bool {
    name.len() <= 255 && name.split('/').all(is_part)
}

fn is_part(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !part.starts_with(plain) || !part.ends_with(plain) {
        return false;
    }
    part.split(plain).all(|between| {
        matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-')
    })
}
