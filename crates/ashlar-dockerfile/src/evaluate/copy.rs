//! `COPY` and `ADD`.

use super::stage::{Walk, refuse_windows, shown};
use crate::report::Mistake;
use crate::written::{Keyword, Source, Statement, Word};
use crate::{Copy, CopySource, From, Ignore, Unpack, Work, has_wildcards, matches, path};

/// Reads the instruction: what it does, and how it is shown.
pub(super) fn read(
    walk: &mut Walk<'_, '_, '_>,
    statement: &Statement,
    sources: &[Source],
    destination: &Word,
) -> Result<(Copy, String), Mistake> {
    let add = statement.keyword == Keyword::Add;
    let from = match statement.flag("from").and_then(|flag| Some((flag.span, flag.value.clone()?)))
    {
        Some((span, text)) => walk.from(&Word { text, span })?,
        None => From::Context,
    };
    let is = |name: &str| statement.flag(name).map(|flag| flag.value.as_deref() != Some("false"));
    let parents = is("parents").unwrap_or(false);
    let mut read = Vec::new();
    let mut words = Vec::new();
    for source in sources {
        let (source, word) = match source {
            Source::Heredoc(index) => heredoc(walk, statement, *index)?,
            Source::Path(word) => {
                let written = walk.expand(word)?;
                let source = match remote(&written).filter(|_| add) {
                    Some(remote) => remote,
                    None => CopySource::Path(local(&written, word, parents, &from)?),
                };
                (source, written)
            }
        };
        read.push(source);
        words.push(word);
    }
    let written = walk.expand(destination)?;
    refuse_windows(&written, destination)?;
    let folder = written.ends_with('/')
        || matches!(written.rsplit('/').next(), Some("." | ".."))
        || written.is_empty();
    if read.len() > 1 && !folder {
        let message = format!("several sources, and `{written}` is no folder");
        return Err(Mistake::new(destination.span, message)
            .help(format!("write `{written}/`, with a slash at the end")));
    }
    words.push(written.clone());
    let flag = |walk: &mut Walk<'_, '_, '_>, name: &str| match statement.flag(name) {
        Some(flag) => {
            let text = flag.value.clone().unwrap_or_default();
            walk.expand(&Word { text, span: flag.span }).map(Some)
        }
        None => Ok(None),
    };
    let (chown, chmod) = (flag(walk, "chown")?, flag(walk, "chmod")?);
    check_owner(chown.as_deref(), statement)?;
    check_mode(chmod.as_deref(), statement)?;
    let checksum = flag(walk, "checksum")?;
    check_remote(&read, checksum.as_deref(), statement)?;
    let mut exclude = Vec::new();
    for flag in statement.flags.iter().filter(|flag| flag.name == "exclude") {
        let pattern = flag.value.clone().unwrap_or_default();
        Ignore::from_patterns([pattern.as_str()]).map_err(|why| Mistake::new(flag.span, why))?;
        exclude.push(pattern);
    }
    refuse_secrets(walk, &from, &read, statement)?;
    let flags = [
        ("chown", chown.as_deref()),
        ("chmod", chmod.as_deref()),
        ("checksum", checksum.as_deref()),
    ];
    let text = shown(statement.keyword, statement, &flags, &words);
    let copy = Copy {
        from,
        sources: read,
        destination: path::absolute(&walk.directory(), &written),
        destination_is_folder: folder,
        chown,
        chmod,
        link: is("link").unwrap_or(false),
        parents,
        exclude,
        unpack: match (add, is("unpack")) {
            (false, _) | (true, Some(false)) => Unpack::Never,
            (true, None) => Unpack::Local,
            (true, Some(true)) => Unpack::Always,
        },
        checksum,
        keep_git_dir: is("keep-git-dir").unwrap_or(false),
    };
    Ok((copy, text))
}

fn heredoc(
    walk: &mut Walk<'_, '_, '_>,
    statement: &Statement,
    index: usize,
) -> Result<(CopySource, String), Mistake> {
    let Some(heredoc) = statement.heredocs.get(index) else {
        return Err(Mistake::new(statement.span, "a heredoc is missing"));
    };
    let mut content = heredoc.content();
    if heredoc.expand {
        let word = Word { text: content, span: statement.span };
        content = walk.expand_document(&word).map_err(|mistake| {
            mistake.help(format!(
                "write `<<\"{}\"` if `$` is meant as it is in the heredoc",
                heredoc.name
            ))
        })?;
    }
    let name = &heredoc.name;
    if matches!(name.as_str(), "." | "..") || name.contains('/') {
        let message = format!("the heredoc `{name}` cannot be the name of a file");
        return Err(Mistake::new(statement.span, message).help("choose a name without `/`"));
    }
    Ok((CopySource::Heredoc { name: name.clone(), content }, format!("<<{name}")))
}

/// A path of the context, stage or image: relative to its root.
fn local(written: &str, word: &Word, parents: bool, from: &From) -> Result<String, Mistake> {
    let wrong = |message: String| Mistake::new(word.span, message);
    refuse_windows(written, word)?;
    if written.is_empty() {
        return Err(
            wrong(format!("`{}` expands to nothing", word.text)).help("write `.` for all of it")
        );
    }
    if written.starts_with("http://") || written.starts_with("https://") {
        return Err(wrong("COPY does not download".to_owned()).help("write ADD, with --checksum"));
    }
    let outside = || {
        let what = if *from == From::Context { "the build context" } else { "what is copied from" };
        wrong(format!("`{written}` is outside of {what}"))
            .help("build with the folder above as context, and a .dockerignore")
    };
    let mut clean = match written.find("/./").filter(|_| parents) {
        // What is before the pivot is not kept in the destination, so both halves stay.
        Some(at) => {
            let before = path::relative(&written[..at]).ok_or_else(outside)?;
            let after = path::relative(&written[at + 3..]).ok_or_else(outside)?;
            let whole = format!("{before}/./{after}");
            whole.trim_start_matches('/').to_owned()
        }
        None => path::relative(written).ok_or_else(outside)?,
    };
    if clean.is_empty() {
        clean.push('.');
    } else if written.ends_with('/') {
        clean.push('/');
    }
    let pattern = clean.trim_end_matches('/');
    if let Err(why) = crate::glob::Glob::path(pattern, parents) {
        return Err(wrong(why).help("put `\\` before a character that is meant as it is"));
    }
    Ok(clean)
}

/// What `ADD` fetches.
fn remote(written: &str) -> Option<CopySource> {
    let (place, fragment) = match written.split_once('#') {
        Some((place, fragment)) => (place, Some(fragment)),
        None => (written, None),
    };
    let web = written.starts_with("http://") || written.starts_with("https://");
    let git = (web && place.ends_with(".git"))
        || ["git://", "ssh://", "git@"].iter().any(|scheme| written.starts_with(scheme));
    if git {
        let (reference, folder) = match fragment.map(|f| f.split_once(':').unwrap_or((f, ""))) {
            Some((reference, folder)) => (reference.to_owned(), folder.to_owned()),
            None => (String::new(), String::new()),
        };
        return Some(CopySource::Git {
            repository: place.to_owned(),
            reference: Some(reference).filter(|text| !text.is_empty()),
            folder: Some(folder).filter(|text| !text.is_empty()),
        });
    }
    web.then(|| CopySource::Url { url: written.to_owned() })
}

fn check_remote(
    sources: &[CopySource],
    checksum: Option<&str>,
    statement: &Statement,
) -> Result<(), Mistake> {
    let place = |name: &str| statement.flag(name).map_or(statement.span, |flag| flag.span);
    let git = |source: &CopySource| matches!(source, CopySource::Git { .. });
    let url = |source: &CopySource| matches!(source, CopySource::Url { .. });
    if statement.flag("keep-git-dir").is_some() && !sources.iter().any(git) {
        return Err(Mistake::new(
            place("keep-git-dir"),
            "`--keep-git-dir` is for git repositories",
        ));
    }
    let Some(checksum) = checksum else { return Ok(()) };
    let wrong = |message: String| Mistake::new(place("checksum"), message);
    match sources {
        [one] if url(one) => {
            let hex = checksum.strip_prefix("sha256:").unwrap_or_default();
            if hex.len() != 64 || !hex.chars().all(|c| c.is_ascii_hexdigit()) {
                return Err(wrong(format!("`{checksum}` is no checksum"))
                    .help("write `sha256:` and 64 hexadecimal digits"));
            }
            Ok(())
        }
        [one] if git(one) => {
            let hex = checksum.len() >= 7 && checksum.chars().all(|c| c.is_ascii_hexdigit());
            if hex { Ok(()) } else { Err(wrong(format!("`{checksum}` is no commit"))) }
        }
        [_] => Err(wrong("`--checksum` is for what is downloaded".to_owned())),
        _ => Err(wrong("`--checksum` is for one source".to_owned())
            .help("write one ADD for each download")),
    }
}

fn check_owner(owner: Option<&str>, statement: &Statement) -> Result<(), Mistake> {
    let Some((owner, flag)) = owner.zip(statement.flag("chown")) else { return Ok(()) };
    let (user, group) = owner.split_once(':').map_or((owner, None), |(u, g)| (u, Some(g)));
    let valid = |text: &str| !text.contains(|c: char| c.is_whitespace() || c == ':');
    if user.is_empty() || group == Some("") || !valid(user) || !group.is_none_or(valid) {
        return Err(Mistake::new(flag.span, format!("`{owner}` is no owner"))
            .help("write NAME, UID, NAME:GROUP or UID:GID"));
    }
    Ok(())
}

fn check_mode(mode: Option<&str>, statement: &Statement) -> Result<(), Mistake> {
    let Some((mode, flag)) = mode.zip(statement.flag("chmod")) else { return Ok(()) };
    let octal = u32::from_str_radix(mode, 8).is_ok_and(|mode| mode <= 0o7777)
        && mode.chars().all(|c| c.is_ascii_digit());
    if octal || mode.split(',').all(is_symbolic) {
        return Ok(());
    }
    Err(Mistake::new(flag.span, format!("`{mode}` is no mode"))
        .help("write octal digits such as 0755, or a change such as u+x,go-w"))
}

/// `u+x`, `go=`, `a+rX`.
fn is_symbolic(clause: &str) -> bool {
    let who = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    if !who.starts_with(['+', '-', '=']) {
        return false;
    }
    who.split(['+', '-', '='])
        .skip(1)
        .all(|what| what.chars().all(|c| "rwxXst".contains(c)) || matches!(what, "u" | "g" | "o"))
}

/// Refuses to copy what is in no layer for certain: secrets of a stage.
fn refuse_secrets(
    walk: &Walk<'_, '_, '_>,
    from: &From,
    sources: &[CopySource],
    statement: &Statement,
) -> Result<(), Mistake> {
    let From::Stage(_) = from else { return Ok(()) };
    let secrets = walk.secrets(from);
    for source in sources {
        let CopySource::Path(source) = source else { continue };
        let source = source.trim_end_matches('/');
        for (target, line) in &secrets {
            let target = target.trim_start_matches('/');
            if source == target || has_wildcards(source) && matches(source, target, false) {
                let message = format!("`/{target}` is a secret of that stage, and kept nowhere");
                return Err(Mistake::new(statement.span, message)
                    .label(format!("mounted in line {line}"))
                    .help("mount the secret where it is needed: `RUN --mount=type=secret,id=…`"));
            }
        }
    }
    Ok(())
}

/// The secrets that an instruction mounts as files.
pub(super) fn secret_files(work: &Work) -> Vec<String> {
    let Work::Run(run) = work else { return Vec::new() };
    let files = run.mounts.iter().filter_map(|mount| match mount {
        crate::RunMount::Secret { target: Some(target), .. } => Some(target.clone()),
        _ => None,
    });
    files.collect()
}
