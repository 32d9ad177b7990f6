//! The remotes of a project file.

use std::path::PathBuf;

use super::{Pen, check};
use crate::problem::Problem;
use crate::remote::{Layout, Remote, TIMEOUT, Token, Write, remote_name, remote_variable};
use crate::written::{self, At, Scalar, Span, Text};

/// What is wrong with an address, and what to do about it.
type WrongAddress = (&'static str, &'static str);

/// The kinds of remotes, as far as keys differ between them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dir,
    Http,
    S3,
    Registry,
    Reapi,
}

pub(super) fn remotes(written: Vec<written::Remote>, pen: &mut Pen<'_>) -> Vec<Remote> {
    let mut remotes: Vec<Remote> = Vec::with_capacity(written.len());
    let mut names: Vec<Text> = Vec::with_capacity(written.len());
    for remote in written {
        let span = remote.span;
        let Some(name) = remote.name.clone() else {
            pen.wrong(span, "a remote has no name", "write `name = \"…\"` below `[[remote]]`");
            continue;
        };
        let help = match name.value.as_str() {
            "local" => "choose another name",
            _ => "letters, digits, `-` and `_`",
        };
        if pen.checked(&name, remote_name(&name.value), help).is_none() {
            continue;
        }
        let variable = remote_variable(&name.value);
        if let Some(other) = names.iter().find(|other| remote_variable(&other.value) == variable) {
            let message = if other.value == name.value {
                format!("there are two remotes `{}`", name.value)
            } else {
                format!("remotes `{}` and `{}` share a variable", other.value, name.value)
            };
            let problem = Problem::new(message)
                .at(pen.file, name.span, format!("`{variable}` changes its rights"))
                .and(pen.file, other.span, format!("`{}` is here", other.value))
                .help("rename one of them");
            pen.notes.add(problem);
            continue;
        }
        names.push(name.clone());
        remotes.extend(remote_of(&name, remote, pen));
    }
    remotes
}

fn remote_of(name: &Text, written: written::Remote, pen: &mut Pen<'_>) -> Option<Remote> {
    let Some(url) = &written.url else {
        let message = format!("remote `{}` has no address", name.value);
        let help = "write `url = \"…\"`: dir:PATH, https://…, s3://…, oci://… or reapi://…";
        pen.wrong(name.span, message, help);
        return None;
    };
    let kind = match address(&url.value) {
        Ok(kind) => kind,
        Err((wrong, help)) => {
            // The line with the address is not shown: there may be a password in it.
            let shown = !url.value.contains(['@', '?']);
            let span = if shown { url.span } else { name.span };
            pen.wrong(span, format!("the address of remote `{}` {wrong}", name.value), help);
            return None;
        }
    };
    only_where_they_mean_something(&written, kind, pen);
    let write = write(written.write.clone(), pen);
    let write_branches = branches(written.write_branches.clone(), write, pen);
    let layout = match &written.layout {
        None => Layout::Oci,
        Some(layout) => match layout.value.as_str() {
            "oci" => Layout::Oci,
            "bazel" => Layout::Bazel,
            other => {
                let message = format!("unknown layout `{}` of a remote", other.escape_debug());
                pen.wrong(layout.span, message, "layouts are `oci` and `bazel`");
                Layout::Oci
            }
        },
    };
    if let Some(endpoint) = &written.endpoint
        && let Err((wrong, help)) = web_address(&endpoint.value)
    {
        let message = format!("the endpoint of remote `{}` {wrong}", name.value);
        pen.wrong(name.span, message, help);
    }
    let timeout = written.timeout.as_ref().and_then(|timeout| {
        let help = "for instance `30s` or `2m`";
        pen.checked(timeout, check::timeout(&timeout.value), help)
    });
    let certificate = certificate(&written, pen);
    let token = token(name, &written, pen);
    let keys = written.require_signature.map(|keys| (keys.span, keys.value));
    if let Some((span, keys)) = &keys
        && keys.is_empty()
    {
        let help = "name the files of public keys, or leave it out to take anything";
        pen.wrong(*span, "`require_signature` names no key", help);
    }
    Some(Remote {
        name: name.value.clone(),
        url: url.value.clone(),
        read: written.read.is_none_or(|read| read.value),
        write,
        write_branches,
        layout,
        endpoint: written.endpoint.map(|endpoint| endpoint.value),
        region: written.region.map(|region| region.value),
        insecure: written.insecure.is_some_and(|insecure| insecure.value),
        ca: written.ca.and_then(|path| file(path, pen)),
        certificate,
        token,
        require_signature: keys
            .map(|(_, keys)| keys.into_iter().filter_map(|key| file(key, pen)).collect())
            .unwrap_or_default(),
        sign: written.sign.and_then(|path| file(path, pen)),
        timeout: timeout.unwrap_or(TIMEOUT),
    })
}

/// The rights of writing as they are written: `false`, `true` or `"clean"`.
fn write(written: Option<At<Scalar>>, pen: &mut Pen<'_>) -> Write {
    match written.map(|write| (write.value, write.span)) {
        None | Some((Scalar::Bool(false), _)) => Write::No,
        Some((Scalar::Bool(true), _)) => Write::Yes,
        Some((Scalar::Text(text), _)) if text == "clean" => Write::Clean,
        Some((Scalar::Text(text), span)) => {
            let help = match text.as_str() {
                "true" | "false" => "write it without quotes",
                _ => "`clean` lets only results leave whose files are committed",
            };
            pen.wrong(span, "`write` must be `false`, `true` or `\"clean\"`", help);
            Write::No
        }
    }
}

/// The branches that write, where only some do.
fn branches(written: Option<At<Vec<Text>>>, write: Write, pen: &mut Pen<'_>) -> Vec<String> {
    let Some(At { value: written, span, .. }) = written else { return Vec::new() };
    if written.is_empty() {
        let help = "name branches, as `[\"main\", \"release/*\"]`, or leave it out: then all do";
        pen.wrong(span, "`write_branches` names no branch", help);
    } else if write == Write::No {
        let help = "write `write = true` or `write = \"clean\"` as well";
        pen.wrong(span, "`write_branches` of a remote that is not written to", help);
    }
    let branch = |text: Text| {
        let wrong = if text.value.is_empty() {
            "is empty"
        } else if text.value.chars().any(|c| c.is_control() || c.is_whitespace()) {
            "has blanks or control characters, as no branch has"
        } else if text.value.starts_with("refs/") {
            "is a ref; branches stand without `refs/heads/`"
        } else {
            return Some(text.value);
        };
        pen.checked::<()>(&text, Err(wrong), "the name of a branch; `*` stands for any characters");
        None
    };
    written.into_iter().filter_map(branch).collect()
}

/// Keys that other kinds of remotes have would be ignored, and their author believe otherwise.
fn only_where_they_mean_something(written: &written::Remote, kind: Kind, pen: &mut Pen<'_>) {
    let span = |text: &Option<Text>| text.as_ref().map(|text| text.span);
    let secure: &[Kind] = &[Kind::Http, Kind::S3, Kind::Registry, Kind::Reapi];
    let bearer: &[Kind] = &[Kind::Http, Kind::Registry, Kind::Reapi];
    let signed: &[Kind] = &[Kind::Dir, Kind::Http, Kind::S3, Kind::Registry];
    let keys: [(&str, Option<Span>, &[Kind], &str); 11] = [
        ("layout", span(&written.layout), &[Kind::Http], "http:// and https://"),
        ("endpoint", span(&written.endpoint), &[Kind::S3], "s3://"),
        ("region", span(&written.region), &[Kind::S3], "s3://"),
        ("insecure", written.insecure.as_ref().map(|i| i.span), secure, "addresses of servers"),
        ("ca", span(&written.ca), secure, "addresses of servers"),
        ("certificate", span(&written.certificate), secure, "addresses of servers"),
        ("key", span(&written.key), secure, "addresses of servers"),
        ("token_env", span(&written.token_env), bearer, "https://, oci:// and reapis://"),
        ("token_file", span(&written.token_file), bearer, "https://, oci:// and reapis://"),
        (
            "require_signature",
            written.require_signature.as_ref().map(|keys| keys.span),
            signed,
            "dir:, https://, s3:// and oci://",
        ),
        ("sign", span(&written.sign), signed, "dir:, https://, s3:// and oci://"),
    ];
    let bazel = written.layout.as_ref().is_some_and(|layout| layout.value == "bazel");
    for (key, span, kinds, those) in keys {
        let Some(span) = span else { continue };
        if !kinds.contains(&kind) {
            let message = format!("`{key}` means nothing for this kind of remote");
            pen.wrong(span, message, format!("it is for {those}"));
        } else if bazel && matches!(key, "require_signature" | "sign") {
            let message = format!("`{key}` means nothing for the layout `bazel`");
            pen.wrong(span, message, "signatures stand beside manifests, which it does not have");
        }
    }
}

fn certificate(written: &written::Remote, pen: &mut Pen<'_>) -> Option<(PathBuf, PathBuf)> {
    match (written.certificate.clone(), written.key.clone()) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((file(certificate, pen)?, file(key, pen)?)),
        (Some(alone), None) => {
            pen.wrong(alone.span, "a certificate without its key", "write `key = \"FILE\"`");
            None
        }
        (None, Some(alone)) => {
            let help = "write `certificate = \"FILE\"`";
            pen.wrong(alone.span, "a key without its certificate", help);
            None
        }
    }
}

fn token(name: &Text, written: &written::Remote, pen: &mut Pen<'_>) -> Option<Token> {
    match (written.token_env.clone(), written.token_file.clone()) {
        (None, None) => None,
        (Some(variable), None) => {
            if check::variable(&variable.value).is_ok() {
                return Some(Token::Env(variable.value));
            }
            // It may well be the token itself.
            let message = format!("`token_env` of remote `{}` is not a variable", name.value);
            let help = "the name of a variable of the environment that holds the token";
            pen.wrong(name.span, message, help);
            None
        }
        (None, Some(path)) => file(path, pen).map(Token::File),
        (Some(_), Some(path)) => {
            let message = format!("remote `{}` has its token from two places", name.value);
            pen.wrong(path.span, message, "write `token_env` or `token_file`");
            None
        }
    }
}

/// A file outside the project or in it: keys and certificates are the machine's as a rule.
fn file(text: Text, pen: &mut Pen<'_>) -> Option<PathBuf> {
    let wrong = if text.value.is_empty() {
        "is empty"
    } else if text.value.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Some(text.value.into());
    };
    pen.checked::<()>(&text, Err(wrong), "the name of a file, relative to the project");
    None
}

/// Checks an address. No part of it is repeated in what is said: it may hold a password.
pub(crate) fn remote_address(url: &str) -> Result<(), WrongAddress> {
    address(url).map(|_| ())
}

fn address(url: &str) -> Result<Kind, WrongAddress> {
    if let Some(path) = url.strip_prefix("dir:") {
        return match path {
            "" => Err(("names no folder", "write `dir:PATH`")),
            _ if path.chars().any(char::is_control) => {
                Err(("contains a control character", "write `dir:PATH`"))
            }
            _ => Ok(Kind::Dir),
        };
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        let help = "addresses are dir:PATH, https://…, s3://…, oci://… and reapi://…";
        return Err(("has no scheme that is known", help));
    };
    authority(rest)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    match scheme {
        "http" | "https" => Ok(Kind::Http),
        "s3" => Ok(Kind::S3),
        "oci" if path.trim_matches('/').is_empty() => {
            Err(("names no repository", "write `oci://HOST[:PORT]/REPOSITORY`"))
        }
        "oci" if path.bytes().any(|b| b.is_ascii_uppercase()) => {
            Err(("has capitals in its repository", "registries take small letters only"))
        }
        "oci" => Ok(Kind::Registry),
        "reapi" | "reapis" if !has_port(host) => {
            Err(("names no port", "write `reapi://HOST:PORT` or `reapi://HOST:PORT/INSTANCE`"))
        }
        "reapi" | "reapis" => Ok(Kind::Reapi),
        "file" => Err(("has no scheme that is known", "a folder is `dir:PATH`")),
        "grpc" => Err(("has no scheme that is known", "write `reapi://HOST:PORT`")),
        "grpcs" => Err(("has no scheme that is known", "write `reapis://HOST:PORT`")),
        "docker" => Err(("has no scheme that is known", "write `oci://HOST[:PORT]/REPOSITORY`")),
        _ => {
            let help = "addresses are dir:PATH, https://…, s3://…, oci://… and reapi://…";
            Err(("has no scheme that is known", help))
        }
    }
}

fn has_port(host: &str) -> bool {
    let port = host.rsplit_once(':').map(|(_, port)| port);
    port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn web_address(url: &str) -> Result<(), WrongAddress> {
    match url.split_once("://") {
        Some(("http" | "https", rest)) => authority(rest),
        _ => Err(("is no http:// or https:// address", "for instance `http://127.0.0.1:3900`")),
    }
}

/// Host and path of an address, which hold no credentials.
fn authority(rest: &str) -> Result<(), WrongAddress> {
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        return Err((
            "has credentials in it",
            "they would be read by everybody who reads the project: use `token_env`, `token_file`, \
             the auth file of the registry, or the variables of the S3 client",
        ));
    }
    if rest.contains(['?', '#']) {
        return Err((
            "has a query in it",
            "leave out what follows `?`; credentials go into `token_env` or `token_file`",
        ));
    }
    if host.is_empty() || !rest.chars().all(|c| c.is_ascii_graphic()) {
        return Err(("is not complete", "it names a host or bucket, without blanks"));
    }
    Ok(())
}
