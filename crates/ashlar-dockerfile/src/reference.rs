//! Names of stages, modules, bases and images in `FROM`, `COPY --from` and `--mount=from=`.

use ashlar_recipe::written::Span;

use crate::mount;
use crate::parse::{WrittenStage, nearest_stage};
use crate::report::Mistake;
use crate::written::Statement;

/// What a name means. Stages are numbered as in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Scratch,
    Stage(usize),
    Module(String),
    Debian(String),
    Image(String),
}

/// The name of `FROM` in the stage `number`.
pub(crate) fn base(
    name: &str,
    span: Span,
    number: usize,
    stages: &[WrittenStage],
) -> Result<Name, Mistake> {
    let lower = name.to_lowercase();
    if let Some(stage) = named(&lower, &stages[..number]) {
        return Ok(Name::Stage(stage));
    }
    if lower == "scratch" {
        return Ok(Name::Scratch);
    }
    if let Some(later) = named(&lower, &stages[number + 1..]) {
        return Err(later_stage(&lower, span, &stages[number + 1 + later]));
    }
    elsewhere(name, span, stages)
}

/// The name of `--from` in the stage `number`.
pub(crate) fn from(
    name: &str,
    span: Span,
    number: usize,
    stages: &[WrittenStage],
) -> Result<Name, Mistake> {
    let lower = name.to_lowercase();
    if let Some(stage) = named(&lower, &stages[..number]) {
        return Ok(Name::Stage(stage));
    }
    if stages.get(number).and_then(|stage| stage.name.as_deref()) == Some(&lower) {
        return Err(Mistake::new(span, format!("the stage `{lower}` copies from itself"))
            .help("only a stage before this one can be copied from"));
    }
    if let Some(later) = stages.get(number + 1..).and_then(|later| named(&lower, later)) {
        return Err(later_stage(&lower, span, &stages[number + 1 + later]));
    }
    if let Ok(stage) = lower.parse::<usize>() {
        if stage < number {
            return Ok(Name::Stage(stage));
        }
        let message = format!("there is no stage {stage} before this one");
        return Err(Mistake::new(span, message).help(match number {
            0 => "this is the first stage; its number is 0".to_owned(),
            1 => "the only stage before this one has the number 0".to_owned(),
            _ => format!("the stages before this one are 0 to {}", number - 1),
        }));
    }
    if lower == "scratch" {
        return Ok(Name::Scratch);
    }
    if !name.contains([':', '/', '@', '.']) {
        let mistake = Mistake::new(span, format!("no stage before this one is called `{name}`"));
        return Err(match nearest_stage(&lower, stages.get(..number).unwrap_or_default()) {
            Some(near) => mistake.help(format!("did you mean `{near}`?")),
            None => mistake.help(format!(
                "write `FROM … AS {name}` before it; an image needs its tag, as in `{name}:latest`"
            )),
        });
    }
    elsewhere(name, span, stages)
}

fn named(name: &str, stages: &[WrittenStage]) -> Option<usize> {
    stages.iter().position(|stage| stage.name.as_deref() == Some(name))
}

fn later_stage(name: &str, span: Span, stage: &WrittenStage) -> Mistake {
    Mistake::new(span, format!("the stage `{name}` comes later"))
        .and(stage.from.span, "it is here")
        .help("move it before this one; stages see only those before them")
}

/// A name of something that is not in the file.
fn elsewhere(name: &str, span: Span, stages: &[WrittenStage]) -> Result<Name, Mistake> {
    let wrong = |message: String| Mistake::new(span, message);
    let valid = |c: char| c.is_ascii_alphanumeric() || "._/+-".contains(c);
    if let Some((kind, rest)) = name.split_once(':') {
        let simple = !rest.is_empty() && rest.chars().all(valid) && !rest.contains("..");
        match kind {
            "module" if simple => return Ok(Name::Module(rest.to_owned())),
            "base" if simple => return Ok(Name::Debian(rest.to_owned())),
            "module" | "base" => {
                return Err(wrong(format!("`{name}` names no {kind} of the project"))
                    .help(format!("write `{kind}:` and the name of a {kind}")));
            }
            "oci" if !rest.is_empty() => return Ok(Name::Image(name.to_owned())),
            "docker-archive" | "docker-daemon" | "containers-storage" | "dir" | "oci-archive" => {
                return Err(wrong(format!("images of `{kind}:` cannot be read")).help(
                    "use an image of a registry, or a folder in the OCI layout: `oci:FOLDER:TAG`",
                ));
            }
            "docker" if rest.starts_with("//") => {
                return Err(wrong("`docker://` is not part of a name here".to_owned())
                    .help(format!("write `{}`", &rest[2..])));
            }
            _ => {}
        }
    }
    check_image(name).map_err(|why| {
        let mistake = wrong(format!("`{name}` is no name of an image: {why}"));
        match nearest_stage(&name.to_lowercase(), stages) {
            Some(near) => mistake.help(format!("did you mean the stage `{near}`?")),
            None => mistake.help("for example `debian:12` or `registry.example/debian@sha256:…`"),
        }
    })?;
    Ok(Name::Image(name.to_owned()))
}

/// `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.
fn check_image(name: &str) -> Result<(), &'static str> {
    let (rest, digest) = name.split_once('@').map_or((name, None), |(n, d)| (n, Some(d)));
    if let Some(digest) = digest {
        let hex = digest.strip_prefix("sha256:").ok_or("its digest does not begin with sha256:")?;
        if hex.len() != 64 || !hex.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')) {
            return Err("its digest has not 64 hexadecimal digits");
        }
    }
    let (host, path) = match rest.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => ("", rest),
    };
    if host.chars().any(|c| !(c.is_ascii_alphanumeric() || ".:-[]".contains(c))) {
        return Err("its host has characters that hosts cannot have");
    }
    let (path, tag) = path.split_once(':').map_or((path, None), |(p, tag)| (p, Some(tag)));
    let word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match tag {
        Some("") => return Err("nothing follows `:`"),
        Some(tag) if tag.len() > 128 || !tag.chars().all(word) || tag.starts_with(['.', '-']) => {
            return Err("its tag has characters that tags cannot have");
        }
        _ => {}
    }
    for part in path.split('/') {
        if part.is_empty() {
            return Err("a part of it is empty");
        }
        if part.chars().any(|c| c.is_ascii_uppercase()) {
            return Err("it has upper-case letters");
        }
        if !part.chars().all(word) || !part.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err("it has characters that names cannot have");
        }
    }
    Ok(())
}

/// The names in `--from` and `--mount=from=` of an instruction, and where they stand.
pub(crate) fn of(statement: &Statement) -> Vec<(String, Span)> {
    let mut names = Vec::new();
    for flag in &statement.flags {
        let name = match flag.name.as_str() {
            "from" => flag.value.clone(),
            "mount" => mount::from(flag),
            _ => None,
        };
        names.extend(name.filter(|name| !name.is_empty()).map(|name| (name, flag.span)));
    }
    names
}

/// Refuses names of an instruction that can mean nothing, whatever the arguments are.
pub(crate) fn check(
    statement: &Statement,
    number: usize,
    stages: &[WrittenStage],
) -> Result<(), Mistake> {
    for (name, span) in of(statement) {
        if name.contains('$') {
            // `--mount` says so by itself.
            if statement.flag("from").is_some() {
                return Err(Mistake::new(span, "`--from` takes no variables").help(
                    "write `FROM IMAGE AS NAME` (where variables may be used) and `--from=NAME`",
                ));
            }
            continue;
        }
        from(&name, span, number, stages)?;
    }
    Ok(())
}
