//! Addresses and answers as they may be shown: without users, passwords, queries (which carry the
//! signatures of buckets), and control characters.

use std::error::Error;

use url::{Host, Url};

/// How much of an answer is shown, in characters.
const EXCERPT: usize = 300;

/// An address for people.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = without_user(url);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// An address without user and password.
pub(crate) fn without_user(url: &Url) -> Url {
    let mut url = url.clone();
    // Only addresses without a host cannot have a user, and they have none then.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// The text of the last cause, which is the one that says what happened: those before it may have
/// addresses with signatures in them.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut at = error;
    while let Some(next) = at.source() {
        at = next;
    }
    at.to_string()
}

/// All that an error says, to whoever asks in whatever way.
#[cfg(test)]
pub(crate) fn all(error: &ashlar_store::RemoteError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut at: &dyn Error = error;
    while let Some(next) = at.source() {
        text.push_str(&format!(" {next} {next:?}"));
        at = next;
    }
    text
}

/// Whether an address is of this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// What an answer says about why, as far as people can read it: the messages of a registry's error
/// document, or the beginning of a text.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = match errors_of(body) {
        Some(text) => text,
        None => {
            let text = String::from_utf8_lossy(body.get(..4096).unwrap_or(body));
            let text = text.trim();
            if text.starts_with('<') { title_of(text) } else { text.to_owned() }
        }
    };
    let text: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let text = text.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The codes and messages of the error document that the OCI distribution specification has.
fn errors_of(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Document {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
        /// Of which blob, for one.
        #[serde(default)]
        detail: serde_json::Value,
    }
    let document: Document = serde_json::from_slice(body).ok()?;
    let entries: Vec<String> = document
        .errors
        .iter()
        .map(|entry| {
            let said = format!("{} {}", entry.code, entry.message).trim().to_owned();
            match &entry.detail {
                serde_json::Value::Object(map) if map.is_empty() => said,
                serde_json::Value::Null => said,
                detail => format!("{said} {detail}"),
            }
        })
        .collect();
    Some(entries.join("; "))
}

/// The title of a page, or nothing: the rest of a page is no message.
fn title_of(page: &str) -> String {
    let title = |page: &str| -> Option<String> {
        let lower = page.to_ascii_lowercase();
        let begin = lower.find("<title>")? + "<title>".len();
        let length = lower[begin..].find("</title>")?;
        page.get(begin..begin + length).map(str::to_owned)
    };
    title(page).unwrap_or_default()
}
