//! The sources of a module.

use std::collections::BTreeMap;

use super::{Pen, check};
use crate::problem::Problem;
use crate::resolved::{Kind, Origin, Source};
use crate::written::{self, Span};

pub(super) fn resolve(
    written: Vec<written::Source>,
    kind: Kind,
    kind_span: Span,
    pen: &mut Pen<'_>,
) -> Vec<Source> {
    let needs_one = match kind {
        Kind::Make | Kind::Autotools | Kind::Cmake | Kind::Meson | Kind::Deb | Kind::Import => true,
        Kind::Script | Kind::Image | Kind::Group => false,
    };
    if needs_one && written.is_empty() {
        let message = format!("a module of kind `{}` needs a source", kind.as_str());
        let help = "write `[source]` with `deb`, `url`, `git` or `path`";
        pen.wrong(kind_span, message, help);
    }
    let mut sources: Vec<Source> = Vec::with_capacity(written.len());
    let mut places: BTreeMap<String, Span> = BTreeMap::new();
    let count = written.len();
    for written in written {
        let span = written.into.as_ref().map_or(written.span, |into| into.span);
        let Some(source) = one(written, pen) else { continue };
        if let Some(first) = places.insert(source.into.clone(), span) {
            let problem = Problem::new("two sources go to the same place")
                .at(pen.file, span, "")
                .and(pen.file, first, "first here")
                .help("give one of them a folder of its own: `into = \"dir\"`");
            pen.notes.add(problem);
        }
        sources.push(source);
    }
    // Only when each source was understood: one problem is enough.
    if kind == Kind::Deb && count > 0 && sources.len() == count {
        let own = sources.iter().filter(|source| source.into.is_empty()).count();
        let debs = sources.iter().filter(|s| matches!(s.origin, Origin::Deb { .. })).count();
        if own != 1 || debs > 1 {
            let message = "a module of kind `deb` has exactly one source in `SRCDIR` itself";
            let help = "it is the one with the folder `debian`; other sources go `into` folders \
                        beside it";
            pen.wrong(kind_span, message, help);
        }
    }
    sources
}

fn one(written: written::Source, pen: &mut Pen<'_>) -> Option<Source> {
    let origin = origin(&written, pen);
    let into = match &written.into {
        None => Some(String::new()),
        Some(into) => {
            let found = check::path(&into.value);
            pen.checked(into, found, "`into` is a folder below `SRCDIR`")
        }
    };
    let strip = written.strip.map_or(1, |strip| strip.value);
    let patches = pen.globs(written.patches);
    Some(Source { into: into?, origin: origin?, patches, strip })
}

fn origin(written: &written::Source, pen: &mut Pen<'_>) -> Option<Origin> {
    let deb = written.deb.as_ref().map(|t| ("deb", t));
    let url = written.url.as_ref().map(|t| ("url", t));
    let git = written.git.as_ref().map(|t| ("git", t));
    let path = written.path.as_ref().map(|t| ("path", t));
    let mut found = [deb, url, git, path].into_iter().flatten();
    let (key, text) = match (found.next(), found.next()) {
        (Some(origin), None) => origin,
        (None, _) => {
            let help = "write one of `deb`, `url`, `git` and `path`";
            pen.wrong(written.span, "the source does not say where it comes from", help);
            return None;
        }
        (Some((first, at)), Some((second, text))) => {
            let problem = Problem::new(format!("the source has both `{first}` and `{second}`"))
                .at(pen.file, text.span, "")
                .and(pen.file, at.span, format!("`{first}` is here"))
                .help("a second source is a second `[[source]]`");
            pen.notes.add(problem);
            return None;
        }
    };
    let belong = [
        ("sha256", "url", written.sha256.as_ref().map(|t| t.span)),
        ("mirrors", "url", written.mirrors.as_ref().map(|t| t.span)),
        ("unpack", "url", written.unpack.as_ref().map(|t| t.span)),
        ("commit", "git", written.commit.as_ref().map(|t| t.span)),
        ("submodules", "git", written.submodules.as_ref().map(|t| t.span)),
    ];
    for (other, of, span) in belong {
        if let (Some(span), true) = (span, of != key) {
            let message = format!("`{other}` is for `{of}` sources, and this is a `{key}` source");
            pen.wrong(span, message, "leave it out");
        }
    }
    match key {
        "deb" => {
            let found = check::package(&text.value);
            pen.checked(text, found, "`deb` is the name of a Debian source package")?;
            Some(Origin::Deb { package: text.value.clone() })
        }
        "url" => url_origin(written, text, pen),
        "git" => {
            let found = check::repository(&text.value);
            let url = pen.checked(text, found, None);
            let Some(commit) = &written.commit else {
                let help = "write `commit = \"…\"` with the full id that `git rev-parse` prints";
                pen.wrong(text.span, "the git source has no commit", help);
                return None;
            };
            let found = check::commit(&commit.value);
            let help = "write all 40 (or 64) hexadecimal digits, as `git rev-parse` prints them: \
                        branches and tags move, short ids become ambiguous";
            let commit = pen.checked(commit, found, help);
            url?;
            Some(Origin::Git {
                url: text.value.clone(),
                commit: commit?,
                submodules: written.submodules.as_ref().is_some_and(|flag| flag.value),
            })
        }
        _ => {
            let found = check::some_path(&text.value);
            let path = pen.checked(text, found, "paths are relative to the project")?;
            Some(Origin::Path { path: path.into() })
        }
    }
}

fn url_origin(
    written: &written::Source,
    text: &written::Text,
    pen: &mut Pen<'_>,
) -> Option<Origin> {
    let url = pen.checked(text, check::url(&text.value), None);
    let Some(sum) = &written.sha256 else {
        let help = "write `sha256 = \"…\"` with the sum that `sha256sum` prints for the file";
        pen.wrong(text.span, "the url source has no sha256", help);
        return None;
    };
    let help = "it has 64 hexadecimal digits; `sha256sum FILE` prints it";
    let sha256 = pen.checked(sum, check::sha256(&sum.value), help);
    let mut mirrors = Vec::new();
    for mirror in written.mirrors.iter().flat_map(|list| &list.value) {
        pen.checked(mirror, check::url(&mirror.value), None);
        mirrors.push(mirror.value.clone());
    }
    url?;
    Some(Origin::Url {
        url: text.value.clone(),
        sha256: sha256?,
        mirrors,
        unpack: written.unpack.as_ref().is_none_or(|flag| flag.value),
    })
}
