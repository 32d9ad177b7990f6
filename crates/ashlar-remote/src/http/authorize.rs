//! The header that lets us in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, HeaderValue};
use url::Url;

use ashlar_store::RemoteError;

use super::shown::shown;

/// Where the `Authorization` of a request comes from. It is sent to the host that was asked for,
/// never to one that it redirects to.
pub(crate) trait Authorize: Send + Sync {
    /// The header, when there is one.
    ///
    /// # Errors
    /// When it should be there and cannot be had.
    fn header(&self) -> Result<Option<HeaderValue>, RemoteError>;

    /// The answer was 401: whether [`Authorize::header`] now gives something else than `sent`, so
    /// that it is worth asking again.
    ///
    /// # Errors
    /// When finding that out fails.
    fn challenged(
        &self,
        answer: &HeaderMap,
        sent: Option<&HeaderValue>,
    ) -> Result<bool, RemoteError> {
        let _ = (answer, sent);
        Ok(false)
    }

    /// Takes out of a text what must not be shown.
    fn hide(&self, text: String) -> String;
}

/// The same header for every request.
pub(crate) struct Fixed {
    header: HeaderValue,
    hidden: Vec<String>,
}

impl Fixed {
    /// A user and a password.
    ///
    /// # Errors
    /// When they cannot be in a header.
    pub fn basic(user: &str, password: &str, place: &str) -> Result<Self, RemoteError> {
        let code = STANDARD.encode(format!("{user}:{password}"));
        Self::new("Basic", &code, vec![password.to_owned(), code.clone()], place)
    }

    /// A bearer token.
    ///
    /// # Errors
    /// When it cannot be in a header.
    pub fn bearer(token: &str, place: &str) -> Result<Self, RemoteError> {
        let token = token.trim();
        Self::new("Bearer", token, vec![token.to_owned()], place)
    }

    /// The user and password that are in an address.
    ///
    /// # Errors
    /// When they cannot be in a header.
    pub fn of_address(url: &Url) -> Result<Option<Self>, RemoteError> {
        let place = shown(url);
        user_of(url).map(|(user, password)| Self::basic(&user, &password, &place)).transpose()
    }

    fn new(kind: &str, value: &str, hidden: Vec<String>, place: &str) -> Result<Self, RemoteError> {
        let mut header = HeaderValue::from_str(&format!("{kind} {value}")).map_err(|_| {
            RemoteError::Address {
                place: place.to_owned(),
                why: "the password or token has characters that a header cannot have".to_owned(),
            }
        })?;
        header.set_sensitive(true);
        Ok(Self { header, hidden })
    }
}

impl Authorize for Fixed {
    fn header(&self) -> Result<Option<HeaderValue>, RemoteError> {
        Ok(Some(self.header.clone()))
    }

    fn hide(&self, text: String) -> String {
        hide(text, &self.hidden)
    }
}

impl std::fmt::Debug for Fixed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fixed(…)")
    }
}

/// Takes secrets out of a text.
pub(crate) fn hide(mut text: String, secrets: &[String]) -> String {
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        if text.contains(secret.as_str()) {
            text = text.replace(secret.as_str(), "…");
        }
    }
    text
}

/// The user and the password that are in an address, as they are meant.
pub(crate) fn user_of(url: &Url) -> Option<(String, String)> {
    match (url.username(), url.password()) {
        ("", None) => None,
        (user, password) => Some((unescape(user), unescape(password.unwrap_or_default()))),
    }
}

/// Undoes percent-encoding.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
