//! From what a project says of its remotes to the remotes.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ashlar_build::{Keys, Remotes, Shared};
use ashlar_dropin::cache::Branch;
use ashlar_execute::Cancel;
use ashlar_object::Digest;
use ashlar_recipe::{Layout, Token, Write};
use ashlar_remote::{BucketKeys, Definition, Secret};
use ashlar_store::Remote;

use crate::exit::{Exit, Failed};
use crate::patient::Patient;
use crate::wiring::Session;

/// Takes the right to write from remotes that have it on other branches only. `root` is a folder of
/// the checkout.
pub fn as_branch_may(
    root: &Path,
    mut remotes: Vec<ashlar_recipe::Remote>,
) -> Vec<ashlar_recipe::Remote> {
    if remotes.iter().all(|remote| remote.write_branches.is_empty()) {
        return remotes;
    }
    let branch = branch(root).name;
    for remote in &mut remotes {
        if !remote.is_written_on(branch.as_deref()) {
            remote.write = Write::No;
        }
    }
    remotes
}

fn branch(root: &Path) -> Branch {
    Branch::detect(&|name| std::env::var(name).ok(), root)
}

/// What to do where a remote, or one of some, should be written to and is not.
pub fn to_write(root: &Path, remotes: &[ashlar_recipe::Remote], name: &str) -> String {
    let limited = remotes.iter().find(|r| r.write == Write::No && !r.write_branches.is_empty());
    let Some(remote) = limited else {
        return format!("`write` in ashlar.toml, or --remote {name}=readwrite");
    };
    let Branch { name, from, .. } = branch(root);
    let here = match name {
        Some(name) => format!("this is {name}, says {from}"),
        None => format!("there is none here, says {from}"),
    };
    let (name, branches) = (&remote.name, remote.write_branches.join(", "));
    format!("remote {name} is written to on the branches {branches} only, and {here}")
}

/// A remote and what may be done with it.
pub struct Opened {
    pub remote: Box<dyn Remote>,
    pub read: bool,
    pub write: Write,
    keys: Keys,
    signs: bool,
}

/// Opens those remotes of the session that `wanted` picks. Nothing is contacted.
pub fn open(
    session: &Session,
    wanted: impl Fn(&ashlar_recipe::Remote) -> bool,
) -> Result<Vec<Opened>, Failed> {
    open_of(&session.folder, &session.remotes, wanted)
}

/// Opens those of some remotes that `wanted` picks. Files they name are relative to the folder.
fn open_of(
    folder: &Path,
    remotes: &[ashlar_recipe::Remote],
    wanted: impl Fn(&ashlar_recipe::Remote) -> bool,
) -> Result<Vec<Opened>, Failed> {
    let mut all = Vec::new();
    for written in remotes.iter().filter(|remote| wanted(remote)) {
        let definition = definition(folder, written)?;
        let remote = ashlar_remote::open(&definition).map_err(|error| {
            let failed = Failed::from(error);
            // What is wrong with an address is said of the name already.
            let said = failed.message.strip_prefix(&format!("{}: ", written.name));
            let message = said.unwrap_or(&failed.message);
            Failed { message: format!("remote {}: {message}", written.name), ..failed }
        })?;
        let keys = keys(folder, written)?;
        let signs = written.sign.is_some();
        all.push(Opened { remote, read: written.read, write: written.write, keys, signs });
    }
    Ok(all)
}

/// All remotes that are read or written, unless `--offline` says that nothing is contacted.
pub fn open_used(session: &Session) -> Result<Vec<Opened>, Failed> {
    open_used_of(&session.folder, &session.remotes, session.globals.offline)
}

/// As [`open_used`], without a session.
pub fn open_used_of(
    folder: &Path,
    remotes: &[ashlar_recipe::Remote],
    offline: bool,
) -> Result<Vec<Opened>, Failed> {
    let local = |remote: &ashlar_recipe::Remote| remote.url.starts_with("dir:");
    open_of(folder, remotes, |remote| {
        (remote.read || remote.write != Write::No) && (!offline || local(remote))
    })
}

/// The remotes of a run.
pub fn of_run(opened: &[Opened], required: bool) -> Remotes<'_> {
    let shared = opened.iter().map(|one| Shared {
        remote: &*one.remote,
        read: one.read,
        write: one.write,
        keys: &one.keys,
        signs: one.signs,
    });
    Remotes::new(shared.collect(), required)
}

/// The same, which are asked for nothing more once the time is over or the run is told to stop: one
/// that says nothing holds a thread of its own.
pub fn until(opened: Vec<Opened>, cancel: &Cancel, deadline: Option<Instant>) -> Vec<Opened> {
    let patient = |one: Opened| {
        let remote = Patient::new(one.remote, cancel.clone(), deadline);
        Opened { remote: Box::new(remote), ..one }
    };
    opened.into_iter().map(patient).collect()
}

/// Where every remote that is read requires signatures: with which keys each. Empty otherwise.
pub fn accepted(folder: &Path, remotes: &[ashlar_recipe::Remote]) -> Result<Vec<Keys>, Failed> {
    let read = || remotes.iter().filter(|remote| remote.read);
    if read().any(|remote| remote.require_signature.is_empty()) {
        return Ok(Vec::new());
    }
    read().map(|remote| keys(folder, remote)).collect()
}

/// The public keys of a remote, by what is in their files.
fn keys(folder: &Path, remote: &ashlar_recipe::Remote) -> Result<Keys, Failed> {
    let print = |path: &PathBuf| {
        let path = resolved(folder, path);
        let bytes = std::fs::read(&path).map_err(|error| {
            let (name, shown) = (&remote.name, path.display());
            Failed::usage(format!("remote {name}: cannot read the key {shown}: {error}"))
        })?;
        Ok(Digest::of(bytes.trim_ascii()).hex())
    };
    remote.require_signature.iter().map(print).collect()
}

fn definition(folder: &Path, remote: &ashlar_recipe::Remote) -> Result<Definition, Failed> {
    let file = |path: &Path| resolved(folder, path);
    let url = match remote.url.strip_prefix("dir:") {
        Some(path) => {
            let path = resolved(folder, Path::new(path));
            // Without `..` in it people know it again.
            format!("dir:{}", utf8(&path.canonicalize().unwrap_or(path))?)
        }
        None => remote.url.clone(),
    };
    Ok(Definition {
        name: remote.name.clone(),
        url,
        layout: match remote.layout {
            Layout::Oci => ashlar_remote::Layout::Oci,
            Layout::Bazel => ashlar_remote::Layout::Bazel,
        },
        endpoint: remote.endpoint.clone(),
        region: remote
            .region
            .clone()
            .or_else(|| set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION"))),
        keys: if remote.url.starts_with("s3:") { bucket_keys(&remote.name)? } else { None },
        insecure: remote.insecure,
        ca: remote.ca.as_deref().map(file),
        certificate: remote.certificate.as_ref().map(|(certificate, _)| file(certificate)),
        key: remote.certificate.as_ref().map(|(_, key)| file(key)),
        token: token(folder, remote)?,
        require_signature: remote.require_signature.iter().map(|path| file(path)).collect(),
        // Who only reads need not have it.
        sign: remote.sign.as_deref().filter(|_| remote.write != Write::No).map(file),
        credentials: ashlar_remote::Credentials::from_environment(),
        timeout: remote.timeout,
    })
}

/// A variable of the environment that is not empty.
fn set(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

/// The keys of a bucket, from the variables that every tool for S3 reads.
fn bucket_keys(remote: &str) -> Result<Option<BucketKeys>, Failed> {
    match (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY")) {
        (None, None) => Ok(None),
        (Some(id), Some(secret)) => {
            let session = set("AWS_SESSION_TOKEN").map(Secret);
            Ok(Some(BucketKeys { id, secret: Secret(secret), session }))
        }
        (id, _) => {
            let (has, lacks) = match id {
                Some(_) => ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
                None => ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
            };
            let said = format!("remote {remote}: {has} is set, and {lacks} is not");
            Err(Failed::usage(said)
                .help(format!("set both, or none, or do without: --remote {remote}=off")))
        }
    }
}

/// The bearer token of a remote. What is wrong with it is said without it.
fn token(folder: &Path, remote: &ashlar_recipe::Remote) -> Result<Option<Secret>, Failed> {
    let name = &remote.name;
    let text = match &remote.token {
        None => return Ok(None),
        Some(Token::Env(variable)) => std::env::var(variable).map_err(|_| {
            Failed::usage(format!("remote {name}: the variable {variable} holds no token"))
                .help(format!("set {variable}, or do without: --remote {name}=off"))
        })?,
        Some(Token::File(path)) => {
            let path = resolved(folder, path);
            std::fs::read_to_string(&path).map_err(|error| {
                let shown = path.display();
                Failed::usage(format!("remote {name}: cannot read the token in {shown}: {error}"))
            })?
        }
    };
    let text = text.trim();
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Failed::usage(format!("remote {name}: its token is not one line of text")));
    }
    Ok(Some(Secret(text.to_owned())))
}

/// A file that a project names: relative to it, or to the home of whoever runs this after `~/`.
fn resolved(folder: &Path, path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => folder.join(path),
    }
}

fn utf8(path: &Path) -> Result<String, Failed> {
    path.to_str().map(ToOwned::to_owned).ok_or_else(|| {
        Failed::new(Exit::Usage, format!("{} is not UTF-8, as addresses are", path.display()))
    })
}

/// One remote by its name.
pub fn named<'s>(session: &'s Session, name: &str) -> Result<&'s ashlar_recipe::Remote, Failed> {
    session.remotes.iter().find(|remote| remote.name == name).ok_or_else(|| {
        let names: Vec<&str> = session.remotes.iter().map(|remote| remote.name.as_str()).collect();
        let near = ashlar_recipe::nearest(name, names.iter().copied());
        let help = match near {
            Some(near) => format!("did you mean `{near}`? `ashlar remote list` shows all"),
            None if names.is_empty() => {
                "the project has none: write `[[remote]]` into ashlar.toml".to_owned()
            }
            None => "`ashlar remote list` shows all".to_owned(),
        };
        Failed::usage(format!("there is no remote `{name}`")).help(help)
    })
}
