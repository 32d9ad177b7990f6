//! `ashlar artifact`: folders to references, references to folders.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ashlar_build::Way;
use ashlar_execute::Cancel;
use ashlar_remote::Credentials;
use ashlar_remote::artifact::{
    self as library, Access, Existing, Inspected, Kind, Part, Piece, Reference, Restore, Selection,
    Wanted,
};
use ashlar_store::{Moved, Store, Watch};
use serde_json::json;

use super::store::n;
use crate::args::Globals;
use crate::args::artifact::{Artifact, Copy, Create, Format, Inspect, Reach, Use, Verify};
use crate::exit::{Exit, Failed};
use crate::show::transfer::Transfers;
use crate::show::{self, bytes};
use crate::signals::cancel_on_signals;
use crate::wiring::store_if_any;

pub fn run(globals: &Globals, args: &Artifact) -> Result<Exit, Failed> {
    match args {
        Artifact::Create(args) => create(globals, args),
        Artifact::Use(args) => restore(globals, args),
        Artifact::Inspect(args) => inspect(globals, args),
        Artifact::Copy(args) => copy(globals, args),
        Artifact::Verify(args) => verify(globals, args),
    }
}

fn access(reach: &Reach) -> Access {
    Access {
        insecure: reach.plain_http,
        ca: reach.ca.clone(),
        certificate: reach.certificate.clone(),
        key: reach.client_key.clone(),
        timeout: reach.timeout,
        credentials: Credentials::from_environment(),
    }
}

/// Runs something that moves bytes, with what is seen of it.
fn watched<T>(globals: &Globals, way: Way, work: impl FnOnce(&Watch<'_>) -> T) -> (T, Moved) {
    let cancel = Cancel::new();
    cancel_on_signals(&cancel, Duration::ZERO);
    let bars = Transfers::new(!globals.json);
    let name: Arc<str> = "the store of artifacts".into();
    let sum = Mutex::new(Moved::default());
    let moved = |more: Moved| {
        *sum.lock().unwrap_or_else(PoisonError::into_inner) += more;
        bars.moved(&name, way, more);
    };
    let warn = |text: String| {
        if globals.json {
            show::line(&json!({ "event": "warning", "message": text }));
        } else {
            bars.say(&format!("warning: {text}"));
        }
    };
    let done = work(&Watch { go_on: &|| !cancel.is_cancelled(), moved: &moved, warn: &warn });
    bars.clear();
    let sum = *sum.lock().unwrap_or_else(PoisonError::into_inner);
    (done, sum)
}

/// `NAME=VALUE` at the first `=`.
fn pair(text: &OsStr) -> Option<(OsString, OsString)> {
    let bytes = text.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    let part = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    Some((part(&bytes[..at]), part(&bytes[at + 1..])))
}

/// The name of an artifact. One with a slash is the file of its result, as in Konflux' tasks.
fn name(text: &OsStr) -> Result<(String, Option<PathBuf>), Failed> {
    let path = Path::new(text);
    let last = path.file_name().and_then(OsStr::to_str).filter(|name| !name.is_empty());
    let Some(name) = last else {
        return Err(Failed::usage(format!("`{}` is no name", path.display())).help("NAME=PATH"));
    };
    let file = text.as_bytes().contains(&b'/').then(|| path.to_path_buf());
    Ok((name.to_owned(), file))
}

/// What the arguments of `create` ask for, and where references go.
fn wanted(args: &Create) -> Result<(library::Create, BTreeMap<String, Vec<PathBuf>>), Failed> {
    let store = args.store.clone().unwrap_or_default();
    let target = store.to_string_lossy().parse()?;
    let mut results: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let composite = !args.arches.is_empty() || args.common.is_some() || !args.sources.is_empty();
    let mut pieces = Vec::new();
    let mut alone = None;
    for piece in &args.pieces {
        let (given, path) = match pair(piece) {
            Some((given, path)) => (given, Some(path)),
            None if composite => (piece.clone(), None),
            None => {
                return Err(Failed::usage(format!("`{}` names no folder", piece.display()))
                    .help("NAME=PATH; a name alone is for --arch, --common and --source"));
            }
        };
        let (name, file) = name(&given)?;
        results.entry(name.clone()).or_default().extend(file);
        match path {
            Some(path) if path.is_empty() => {
                return Err(Failed::usage(format!("{name} has an empty path")).help("NAME=PATH"));
            }
            Some(path) => pieces.push(Piece { name, path: path.into() }),
            None => alone = Some(name),
        }
    }
    if composite && args.pieces.len() > 1 {
        return Err(Failed::usage(
            "--arch, --common and --source make one artifact, and there are several names",
        )
        .help("run `ashlar artifact create` once for each"));
    }
    let composite = match composite {
        false => None,
        true if args.format == Format::TrustedArtifact => {
            return Err(Failed::usage("an archive has no parts: --format trusted-artifact goes with none of --arch, --common and --source")
                .help("leave the format away, or create one archive for each architecture"));
        }
        true => Some(parts(args, &mut pieces, alone)?),
    };
    if pieces.is_empty() && composite.is_none() {
        return Err(Failed::usage("nothing is to be made").help("NAME=PATH"));
    }
    for piece in &pieces {
        if pieces.iter().filter(|other| other.name == piece.name).count() > 1 {
            return Err(Failed::usage(format!("two artifacts have the name {}", piece.name)));
        }
    }
    for result in &args.results {
        let Some((name, file)) = pair(result) else {
            return Err(Failed::usage(format!("`{}` names no file", result.display()))
                .help("--result NAME=FILE"));
        };
        let name = name.to_string_lossy().into_owned();
        let known = pieces.iter().any(|piece| piece.name == name)
            || composite.as_ref().is_some_and(|(composite, _)| *composite == name);
        if !known {
            return Err(Failed::usage(format!("there is a result for {name}, which is not made")));
        }
        results.entry(name).or_default().push(file.into());
    }
    let create = library::Create {
        target,
        format: match args.format {
            Format::Native => library::Format::Native,
            Format::TrustedArtifact => library::Format::TrustedArtifact,
        },
        pieces,
        composite,
        expires_after: args.expires_after.clone().filter(|time| !time.is_empty()),
        allow_missing: args.allow_missing,
        level: args.compression_level,
        anew: args.anew,
        sign: args.sign.clone(),
    };
    Ok((create, results))
}

/// The name and the folders of a composite artifact. A piece with a path is its common part.
fn parts(
    args: &Create,
    pieces: &mut Vec<Piece>,
    alone: Option<String>,
) -> Result<(String, Vec<(Part, PathBuf)>), Failed> {
    let mut parts = Vec::new();
    let mut name = alone;
    if let Some(piece) = pieces.pop() {
        name = Some(piece.name);
        parts.push((Part::Common, piece.path));
    }
    parts.extend(args.common.iter().map(|path| (Part::Common, path.clone())));
    for arch in &args.arches {
        let Some((arch, path)) = pair(arch).filter(|(_, path)| !path.is_empty()) else {
            return Err(Failed::usage(format!("`{}` names no folder", arch.display()))
                .help("--arch ARCH=PATH"));
        };
        parts.push((Part::arch(&arch.to_string_lossy())?, path.into()));
    }
    parts.extend(args.sources.iter().map(|path| (Part::Source, path.clone())));
    Ok((name.unwrap_or_else(|| "artifact".to_owned()), parts))
}

fn create(globals: &Globals, args: &Create) -> Result<Exit, Failed> {
    let (wanted, results) = wanted(args)?;
    let access = access(&args.reach);
    let (made, moved) =
        watched(globals, Way::Push, |watch| library::create(&wanted, &access, watch));
    let made = made?;
    for one in &made {
        let Some(reference) = &one.reference else { continue };
        for file in results.get(&one.name).into_iter().flatten() {
            std::fs::write(file, reference.to_string()).map_err(|e| {
                Failed::new(Exit::Store, format!("cannot write {}: {e}", file.display()))
                    .help(format!("the artifact is made: {reference}"))
            })?;
        }
    }
    for one in &made {
        if globals.json {
            show::line(&json!({
                "event": "artifact", "name": one.name,
                "reference": one.reference.as_ref().map(ToString::to_string),
                "entries": one.entries, "content": one.content,
            }));
        } else if let Some(reference) = &one.reference {
            show::print(&format!("{} {reference}\n", one.name));
        }
    }
    summary(globals, "sent", moved);
    Ok(Exit::Done)
}

fn summary(globals: &Globals, done: &str, moved: Moved) {
    if globals.json {
        show::line(&json!({ "event": "moved", "bytes": moved.bytes, "already": moved.already }));
        return;
    }
    let already = match moved.already {
        0 => String::new(),
        size => format!(", {} there already", bytes(size)),
    };
    eprintln!("{done} {}{already}", bytes(moved.bytes));
}

fn restore(globals: &Globals, args: &Use) -> Result<Exit, Failed> {
    let mut wanted = Vec::new();
    for text in &args.pairs {
        let Some((reference, destination)) = pair(text) else {
            return Err(
                Failed::usage(format!("`{}` names no folder", text.display())).help("REF=DEST")
            );
        };
        if reference.is_empty() {
            let destination = Path::new(&destination).display();
            if globals.json {
                let destination = destination.to_string();
                show::line(&json!({ "event": "skipped", "destination": destination }));
            } else {
                eprintln!("warning: no reference is given for {destination}: it is skipped");
            }
            continue;
        }
        if destination.is_empty() {
            return Err(Failed::usage(format!("{} has no folder to go to", reference.display()))
                .help("REF=DEST"));
        }
        let reference: Reference = reference.to_string_lossy().parse()?;
        wanted.push(Wanted { reference, destination: destination.into() });
    }
    let mut parts = Vec::new();
    for arch in &args.arches {
        parts.push(Part::arch(arch)?);
    }
    parts.extend(args.source.then_some(Part::Source));
    // Each once, in the order they were given.
    let mut seen = BTreeSet::new();
    parts.retain(|part| seen.insert(part.clone()));
    let store = store_if_any(globals);
    let how = Restore {
        existing: match (args.merge, args.replace) {
            (true, _) => Existing::Merge,
            (_, true) => Existing::Replace,
            (false, false) => Existing::Refuse,
        },
        selection: match (args.all, parts.is_empty()) {
            (true, _) => Selection::All,
            (_, true) => Selection::Unsaid,
            (_, false) => Selection::Parts(parts),
        },
        store: store.as_deref().map(|store| store as &dyn Store),
        verify: args.verify.clone(),
    };
    let access = access(&args.reach);
    let (done, moved) =
        watched(globals, Way::Pull, |watch| library::restore(&wanted, &how, &access, watch));
    let mut failures = Vec::new();
    for (wanted, one) in wanted.iter().zip(done) {
        let restored = match one {
            Ok(restored) => restored,
            Err(error) => {
                failures.push(Failed::from(error));
                continue;
            }
        };
        let Some(destination) = &restored.destination else { continue };
        if globals.json {
            show::line(&json!({
                "event": "used", "reference": wanted.reference.to_string(),
                "destination": destination, "files": restored.files, "content": restored.content,
            }));
        } else {
            let (files, content) = (n(restored.files, "file"), bytes(restored.content));
            eprintln!("{}: {files}, {content}", wanted.destination.display());
        }
    }
    if !wanted.is_empty() {
        summary(globals, "fetched", moved);
    }
    // The last is shown by whoever called.
    let Some(last) = failures.pop() else { return Ok(Exit::Done) };
    for failure in &failures {
        failure.show(globals.json);
    }
    Err(last)
}

fn inspect(globals: &Globals, args: &Inspect) -> Result<Exit, Failed> {
    let reference: Reference = args.reference.parse()?;
    let access = access(&args.reach);
    let (found, _) =
        watched(globals, Way::Pull, |watch| library::inspect(&reference, &access, watch));
    let found = found?;
    if globals.json {
        in_json(&reference, &found, args.files);
    } else {
        show::print(&in_text(&reference, &found, args.files));
    }
    Ok(Exit::Done)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Native => "native",
        Kind::Composite => "composite",
        Kind::Archive => "archive",
    }
}

fn in_json(reference: &Reference, found: &Inspected, files: bool) {
    for part in &found.parts {
        let layers = part.layers.iter().map(|layer| {
            json!({
                "digest": format!("sha256:{}", layer.digest.hex()), "size": layer.digest.size,
                "shared": layer.shared,
            })
        });
        let entries = part.entries.iter().filter(|_| files).map(|entry| {
            json!({
                "path": entry.path, "kind": entry.kind.to_string(), "mode": entry.mode,
                "size": entry.size, "target": entry.target,
            })
        });
        show::line(&json!({
            "event": "part", "reference": reference.to_string(), "kind": kind(found.kind),
            "name": part.name, "tree": part.tree.map(|tree| tree.to_string()),
            "content": part.content, "entries": part.entries.len(),
            "signatures": found.signatures, "layers": layers.collect::<Vec<_>>(),
            "files": files.then(|| entries.collect::<Vec<_>>()),
        }));
    }
}

fn in_text(reference: &Reference, found: &Inspected, files: bool) -> String {
    let signatures =
        show::count(usize::try_from(found.signatures).unwrap_or(usize::MAX), "signature");
    let mut out = format!("{reference}\n  {}, {signatures}\n", kind(found.kind));
    for part in &found.parts {
        let name = part.name.as_deref().unwrap_or("files");
        let packed = part.layers.iter().map(|layer| layer.digest.size).sum();
        let count = part.entries.iter().filter(|entry| !matches!(entry.kind, 'd')).count();
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            out,
            "  {name}: {}, {} in {} of layers",
            show::count(count, "file"),
            bytes(part.content),
            bytes(packed)
        );
        for layer in &part.layers {
            let shared = match layer.shared.as_slice() {
                [] => String::new(),
                names => format!("  also in {}", names.join(", ")),
            };
            let size = bytes(layer.digest.size);
            let _infallible = writeln!(out, "    sha256:{} {size:>10}{shared}", layer.digest.hex());
        }
        for entry in part.entries.iter().filter(|_| files) {
            let target = entry.target.as_ref().map(|to| format!(" -> {to}")).unwrap_or_default();
            let _infallible = writeln!(
                out,
                "    {}{:04o} {:>12} {}{target}",
                entry.kind, entry.mode, entry.size, entry.path
            );
        }
    }
    out
}

fn copy(globals: &Globals, args: &Copy) -> Result<Exit, Failed> {
    let from: Reference = args.reference.parse()?;
    let to = args.to.parse()?;
    let access = access(&args.reach);
    let (copied, moved) =
        watched(globals, Way::Push, |watch| library::copy(&from, &to, &access, watch));
    let copied = copied?;
    if globals.json {
        show::line(&json!({
            "event": "artifact", "name": null, "reference": copied.to_string(),
            "entries": null, "content": null,
        }));
    } else {
        show::print(&format!("{copied}\n"));
    }
    summary(globals, "sent", moved);
    Ok(Exit::Done)
}

fn verify(globals: &Globals, args: &Verify) -> Result<Exit, Failed> {
    let reference: Reference = args.reference.parse()?;
    let access = access(&args.reach);
    let keys = &args.keys;
    let (verified, _) =
        watched(globals, Way::Pull, |watch| library::verify(&reference, keys, &access, watch));
    let verified = verified?;
    if globals.json {
        show::line(&json!({
            "event": "verified", "reference": reference.to_string(),
            "contents": verified.contents, "blobs": verified.blobs, "bytes": verified.bytes,
            "signed": !keys.is_empty(),
        }));
    } else {
        let signed = if keys.is_empty() { "" } else { ", and it is signed" };
        eprintln!(
            "checked {}, {} and {}: all is well{signed}",
            n(verified.blobs, "blob"),
            bytes(verified.bytes),
            n(verified.contents, "content")
        );
    }
    Ok(Exit::Done)
}
