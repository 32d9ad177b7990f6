//! What commands of a Dockerfile downloaded, by content: the file of `ashlar image build --pin`.
//!
//! Written by Ashlar, reviewed and kept by people. It holds no times, no credentials and nothing of
//! the machine, so that the same downloads give the same text.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeTable;

use crate::lock::quoted;
use crate::parse::syntax;
use crate::problem::{Problem, Problems};
use crate::written::Span;

/// The newest version of the format that this program reads and the one it writes.
const VERSION: u32 = 1;

/// How the file is called when nobody says it; beside the Dockerfile.
pub const PINS_FILE: &str = "ashlar-image.pins";

const HEADER: &str = "\
# What commands of a Dockerfile downloaded, by content.
# Written by `ashlar image build --pin`; keep it under version control. A command whose block is
# taken away is recorded anew.
";
const AGAIN: &str = "it is written by `ashlar image build --pin`: take the wrong block away, and its \
                     command is recorded anew";

/// The fields of an answer that are kept besides its status and content, sorted.
pub const PINNED_FIELDS: [&str; 6] = [
    "content-disposition",
    "content-encoding",
    "content-type",
    "etag",
    "last-modified",
    "location",
];

/// A file of pins: the commands by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// The commands.
    pub runs: BTreeMap<String, PinnedRun>,
}

/// What one command downloaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PinnedRun {
    /// What its stage begins with, as it is written.
    pub from: String,
    /// The platform it runs on.
    pub platform: String,
    /// The instruction, for people.
    pub command: String,
    /// Its downloads, sorted by address and method, each once.
    pub gets: Vec<Pin>,
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    /// The address, without credentials and fragment.
    pub url: String,
    /// Whether only the head was asked for: `HEAD` instead of `GET`.
    pub head: bool,
    /// The status.
    pub status: u16,
    /// The SHA-256 of the content, in 64 lower-case digits; there for a `GET` that succeeded.
    pub sha256: Option<String>,
    /// How many bytes the content has.
    pub size: Option<u64>,
    /// Other fields of the answer: those of [`PINNED_FIELDS`] that it had.
    pub fields: BTreeMap<String, String>,
}

impl Pin {
    /// `GET` or `HEAD`.
    #[must_use]
    pub fn method(&self) -> &'static str {
        if self.head { "HEAD" } else { "GET" }
    }

    /// All of it but address and method, in one line that is the same for the same answer.
    #[must_use]
    pub fn answer(&self) -> String {
        let mut text = self.status.to_string();
        if let Some(sha256) = &self.sha256 {
            text.push_str(&format!(" sha256:{sha256}"));
        }
        if let Some(size) = self.size {
            text.push_str(&format!(" {size} bytes"));
        }
        for (name, value) in &self.fields {
            text.push_str(&format!(" {name}: {value};"));
        }
        text
    }

    fn line(&self) -> String {
        let mut parts = vec![format!("url = {}", quoted(&self.url))];
        if self.head {
            parts.push("method = \"HEAD\"".to_owned());
        }
        if self.status != 200 {
            parts.push(format!("status = {}", self.status));
        }
        parts.extend(self.sha256.as_ref().map(|sum| format!("sha256 = {}", quoted(sum))));
        parts.extend(self.size.map(|size| format!("size = {size}")));
        parts.extend(self.fields.iter().map(|(name, value)| format!("{name} = {}", quoted(value))));
        format!("    {{ {} }},\n", parts.join(", "))
    }
}

impl Pins {
    /// Reads a file of pins. `file` is what people call it.
    ///
    /// # Errors
    /// When it is no such file, or one of a newer Ashlar, or contradicts itself.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let refuse = |problem: Problem, span: Span, help: &str| {
            let sources = [(file.to_owned(), text.to_owned())].into();
            Problems { list: vec![problem.at(file, span, "").help(help)], more: 0, sources }
        };
        let spoiled = |error: &toml::de::Error, problem: Problem| {
            refuse(problem, error.span().unwrap_or_default().into(), AGAIN)
        };
        let table = DeTable::parse(text).map_err(|e| spoiled(&e, syntax(e.message())))?;
        let version = table.get_ref().get("version").map(|v| (v.get_ref().as_integer(), v.span()));
        let (number, span) = version.unwrap_or_default();
        match number.and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok()) {
            Some(VERSION) => {}
            Some(newer) if newer > VERSION => {
                let message = format!("{file} has version {newer}, and this is for {VERSION}");
                let help = "a newer Ashlar wrote it: use that, or remove the file and record anew";
                return Err(refuse(Problem::new(message), span.into(), help));
            }
            _ => {
                let problem = Problem::new(format!("{file} has no version that exists"));
                return Err(refuse(problem, span.into(), AGAIN));
            }
        }
        let written = Written::deserialize(toml::Deserializer::from(table))
            .map_err(|e| spoiled(&e, Problem::new(e.message().trim())))?;
        let mut pins = Self::default();
        for run in written.run {
            let at = run.id.span();
            let id = run.id.into_inner();
            if id.len() != 16 || !is_hex(&id) {
                let problem = Problem::new(format!("`{id}` is no id: 16 hexadecimal digits"));
                return Err(refuse(problem, at.into(), AGAIN));
            }
            let mut gets = Vec::with_capacity(run.get.len());
            for get in run.get {
                let span = get.span();
                let pin = get.into_inner().checked();
                gets.push(pin.map_err(|why| refuse(Problem::new(why), span.into(), AGAIN))?);
            }
            let count = gets.len();
            gets.sort();
            gets.dedup_by(|a, b| (&a.url, a.head) == (&b.url, b.head));
            if gets.len() != count {
                let problem = Problem::new(format!("the command {id} has an address twice"));
                return Err(refuse(problem, at.into(), AGAIN));
            }
            let made =
                PinnedRun { from: run.from, platform: run.platform, command: run.command, gets };
            if pins.runs.insert(id.clone(), made).is_some() {
                let problem = Problem::new(format!("the command {id} is there twice"));
                return Err(refuse(problem, at.into(), AGAIN));
            }
        }
        Ok(pins)
    }

    /// The file as text: always the same for the same content, a line for each download.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = format!("{HEADER}version = {VERSION}\n");
        let mut runs: Vec<(&String, &PinnedRun)> = self.runs.iter().collect();
        runs.sort_by_key(|(id, run)| (&run.from, &run.platform, &run.command, *id));
        for (id, run) in runs {
            out.push_str("\n[[run]]\n");
            let PinnedRun { from, platform, command, gets } = run;
            for (name, value) in
                [("command", command), ("from", from), ("platform", platform), ("id", id)]
            {
                out.push_str(&format!("{name} = {}\n", quoted(value)));
            }
            out.push_str("get = [\n");
            out.extend(gets.iter().map(Pin::line));
            out.push_str("]\n");
        }
        out
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "version")]
    _version: u32,
    #[serde(default)]
    run: Vec<WrittenRun>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRun {
    id: Spanned<String>,
    from: String,
    platform: String,
    command: String,
    #[serde(default)]
    get: Vec<Spanned<WrittenGet>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenGet {
    url: String,
    method: Option<String>,
    status: Option<u16>,
    sha256: Option<String>,
    size: Option<u64>,
    content_disposition: Option<String>,
    content_encoding: Option<String>,
    content_type: Option<String>,
    etag: Option<String>,
    last_modified: Option<String>,
    location: Option<String>,
}

impl WrittenGet {
    fn checked(self) -> Result<Pin, String> {
        let Self { url, method, status, sha256, size, .. } = self;
        let head = match method.as_deref() {
            None | Some("GET") => false,
            Some("HEAD") => true,
            Some(other) => return Err(format!("`{other}` is no method that is recorded")),
        };
        let authority = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let authority = authority.and_then(|rest| rest.split(['/', '?']).next());
        let printable = url.bytes().all(|byte| byte.is_ascii_graphic());
        match authority {
            Some(host) if !host.is_empty() && !host.contains('@') && printable => {}
            _ => return Err(format!("`{url}` is no address, or has credentials in it")),
        }
        let status = status.unwrap_or(200);
        if !(200..500).contains(&status) || matches!(status, 206 | 304) {
            return Err(format!("{status} is no status that is recorded"));
        }
        if let Some(sum) = sha256.as_ref().filter(|sum| sum.len() != 64 || !is_hex(sum)) {
            return Err(format!("`{sum}` is not an SHA-256 sum"));
        }
        let has_content = !head && status < 300;
        if has_content != sha256.is_some() || (has_content && size.is_none()) {
            return Err(format!(
                "{url}: an answer that succeeds has `sha256` and `size`, and no other one has"
            ));
        }
        let values = [
            self.content_disposition,
            self.content_encoding,
            self.content_type,
            self.etag,
            self.last_modified,
            self.location,
        ];
        let mut fields = BTreeMap::new();
        for (name, value) in PINNED_FIELDS.into_iter().zip(values) {
            let Some(value) = value else { continue };
            if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
                return Err(format!("{url}: `{name}` is no plain text"));
            }
            if name == "location" && without_credentials(&value) != value {
                return Err(format!("{url}: `{name}` has credentials in it"));
            }
            fields.insert(name.to_owned(), value);
        }
        Ok(Pin { url, head, status, sha256, size, fields })
    }
}

/// An address without the user name and password in it; a relative one has none.
#[must_use]
pub fn without_credentials(address: &str) -> String {
    let is_scheme = |before: &str| {
        before.strip_suffix(':').is_some_and(|scheme| !scheme.contains(['/', '?', '#']))
    };
    let Some((before, rest)) = address.split_once("//") else { return address.to_owned() };
    if !before.is_empty() && !is_scheme(before) {
        return address.to_owned();
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{before}//{host}{path}")
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Pins {
        let get = |url: &str, status: u16| Pin {
            url: url.to_owned(),
            head: false,
            status,
            sha256: (status == 200).then(|| "ab".repeat(32)),
            size: (status == 200).then_some(7),
            fields: BTreeMap::new(),
        };
        let mut one = get("http://a.test/\"x\"", 200);
        one.fields.insert("etag".to_owned(), "\"1-\\2\"".to_owned());
        let head = Pin { head: true, sha256: None, ..get("http://a.test/z", 200) };
        let run = PinnedRun {
            from: "debian:12".to_owned(),
            platform: "linux/amd64".to_owned(),
            command: "RUN curl http://a.test".to_owned(),
            gets: vec![one, get("http://a.test/y", 404), head],
        };
        let none = PinnedRun { gets: Vec::new(), ..run.clone() };
        Pins { runs: [("0".repeat(16), run), ("f".repeat(16), none)].into() }
    }

    #[test]
    fn reads_what_it_writes() {
        let pins = sample();
        let text = pins.to_text();
        assert_eq!(Pins::parse("pins", &text).unwrap(), pins);
        assert_eq!(Pins::parse("pins", &text).unwrap().to_text(), text);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let text = sample().to_text();
        let wrong = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            let text = text.replacen(from, to, 1);
            let problems = Pins::parse("pins", &text).unwrap_err();
            let problem = problems.list.into_iter().next().unwrap();
            assert!(problem.help.is_some());
            let start = problem.place.unwrap().span.start as usize;
            (text[..start].matches('\n').count() + 1, problem.message)
        };
        assert_eq!(wrong("version = 1", "version = 2").0, 4);
        assert_eq!(wrong(&"0".repeat(16), "abc").0, 10);
        assert_eq!(wrong("f".repeat(16).as_str(), &"0".repeat(16)).1, {
            let id = "0".repeat(16);
            format!("the command {id} is there twice")
        });
        assert_eq!(wrong("http://a.test/y", "http://me:secret@a.test/y").0, 13);
        assert!(wrong("size = 7", "size = -7").1.contains("invalid value"));
        assert!(wrong("status = 404", "status = 500").1.contains("no status"));
        assert!(wrong(", sha256 = \"ab", ", sha256 = \"AB").1.contains("not an SHA-256"));
        assert!(wrong("status = 404", "sttus = 404").1.contains("unknown field"));
        assert!(wrong("http://a.test/y", "http://a.test/\\\"x\\\"").1.contains("twice"));
        assert!(wrong(", status = 404", "").1.contains("`sha256`"));
        assert!(wrong("get = [", "get = [[").0 > 0);
        let moved = "status = 404, location = \"http://me:secret@a.test/\"";
        assert!(wrong("status = 404", moved).1.contains("`location` has credentials"));
    }

    #[test]
    fn credentials_are_taken_out_of_addresses_of_any_form() {
        for (with, without) in [
            ("http://me:secret@a.test/x@y", "http://a.test/x@y"),
            ("https://me@a.test?x=@", "https://a.test?x=@"),
            ("//me:s@cret@a.test#@", "//a.test#@"),
            ("ftp://a.test/@", "ftp://a.test/@"),
            ("/to/http://me@a.test", "/to/http://me@a.test"),
            ("?to=http://me@a.test", "?to=http://me@a.test"),
            ("me@a.test", "me@a.test"),
        ] {
            assert_eq!(without_credentials(with), without);
        }
    }
}
