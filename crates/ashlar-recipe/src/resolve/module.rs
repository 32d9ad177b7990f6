//! One module on its own.

use super::project::Head;
use super::{Notes, Pen, build, check, source};
use crate::problem::{enumerate, nearest};
use crate::resolved::{Base, Kind, Module, ModuleName, Outputs};
use crate::written::{self, Span, Text};

pub(super) fn resolve(
    name: ModuleName,
    depends: Vec<ModuleName>,
    written: written::Module,
    head: &Head,
    notes: &mut Notes,
) -> Option<Module> {
    let file = written.file;
    let mut pen = Pen { file: &file, notes };
    let kind = build::kind(written.build.as_ref(), &mut pen)?;
    let kind_span = written
        .build
        .as_ref()
        .and_then(|build| build.kind.as_ref().map(|kind| kind.span))
        .unwrap_or_default();

    // What a kind has no use for is a mistake in the kind or in the key.
    let first = |list: &[Text]| list.first().map(|text| text.span);
    let base_span = written.base.as_ref().map(|base| base.span);
    let env_span = written.env.first().map(|(name, _)| name.span);
    let salt_span = written.salt.as_ref().map(|salt| salt.span);
    let source_span = written.sources.first().map(|source| source.span);
    let builds_nothing = matches!(kind, Kind::Group | Kind::Import | Kind::Image);
    let no_sources = matches!(kind, Kind::Group | Kind::Image);
    let refused = [
        ("base", base_span, builds_nothing),
        ("depends", first(&written.depends), kind == Kind::Import),
        ("tools", first(&written.tools), builds_nothing),
        ("uses", first(&written.uses), builds_nothing),
        ("env", env_span, builds_nothing),
        ("salt", salt_span, kind == Kind::Group),
        ("source", source_span, no_sources),
        ("outputs", outputs_span(written.outputs.as_ref()), no_sources),
    ];
    for (key, span, refused) in refused {
        if let (Some(span), true) = (span, refused) {
            let message = format!("a module of kind `{}` has no `{key}`", kind.as_str());
            let help = match (kind, key) {
                (Kind::Image, "base") => "its Dockerfile says what it begins with",
                (Kind::Image, "source") => {
                    "`context` names the folder of its files; what comes from elsewhere is a module \
                     of its own, for `COPY --from=module:NAME`"
                }
                (Kind::Image, "env" | "uses") => "values for its ARGs stand in `args` of `[build]`",
                (Kind::Image, _) => {
                    "an image has only `description`, `depends`, `salt` and `[build]`"
                }
                (Kind::Group, _) => "a group has only `description` and `depends`",
                _ => "an import has only `description`, `salt`, `source` and `outputs`",
            };
            pen.wrong(span, message, help);
        }
    }

    let base = match kind {
        Kind::Group | Kind::Import | Kind::Image => None,
        _ => base(written.base, kind_span, head, &mut pen),
    };
    let on_debian = base.as_ref().is_none_or(|base| {
        head.bases.get(base).is_none_or(|base| matches!(base, Base::Debian { .. }))
    });
    if let (false, Some(span), Some(base)) = (on_debian, first(&written.tools), &base) {
        let message = format!("tools cannot be added to base `{base}`");
        pen.wrong(span, message, "tools are Debian packages; take a base with a `suite`");
    }
    let tools = pen.set(written.tools, check::apt_package);
    let uses = uses(written.uses, head, &mut pen);
    let env = pen.env(written.env);
    let sources = source::resolve(written.sources, kind, kind_span, &mut pen);
    let build = build::resolve(kind, written.build.unwrap_or_default(), &mut pen);
    let outputs = outputs(written.outputs, kind, &mut pen);
    Some(Module {
        name,
        description: written.description.map(|d| d.value).unwrap_or_default(),
        base,
        depends,
        tools,
        uses,
        env,
        salt: written.salt.map(|salt| salt.value).unwrap_or_default(),
        sources,
        build,
        outputs,
        file: file.into(),
    })
}

/// The base that is named, or the one that is meant when none is.
fn base(written: Option<Text>, kind: Span, head: &Head, pen: &mut Pen<'_>) -> Option<String> {
    let declared = || head.declared_bases.iter().map(String::as_str);
    let Some(base) = written else {
        return match head.declared_bases.as_slice() {
            [only] => Some(only.clone()),
            [] => {
                let help = "declare one in `ashlar.toml`, for instance `[base.debian]` with \
                            `suite = \"bookworm\"`";
                pen.wrong(kind, "there is no base to build on", help);
                None
            }
            _ if declared().any(|name| name == "default") => Some("default".to_owned()),
            _ => {
                let message = "the project has several bases, and this module names none";
                let help = format!(
                    "write `base = \"…\"` at its top ({}), or call one of them `default`",
                    enumerate(declared())
                );
                pen.wrong(kind, message, help);
                None
            }
        };
    };
    if declared().any(|name| name == base.value) {
        return Some(base.value);
    }
    let help = match nearest(&base.value, declared()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if head.declared_bases.is_empty() => "`ashlar.toml` declares none".to_owned(),
        None => format!("declared are {}", enumerate(declared())),
    };
    pen.wrong(base.span, format!("there is no base `{}`", base.value.escape_debug()), help);
    None
}

fn uses(written: Vec<Text>, head: &Head, pen: &mut Pen<'_>) -> Vec<String> {
    let mut uses = Vec::with_capacity(written.len());
    for text in written {
        let declared = || head.declared_options.iter().map(String::as_str);
        if declared().any(|name| name == text.value) {
            uses.push(text.value);
            continue;
        }
        let name = text.value.escape_debug();
        let help = nearest(&text.value, declared()).map_or_else(
            || "declare it in `ashlar.toml`: `[options.NAME]` with a `type`".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        pen.wrong(text.span, format!("there is no option `{name}`"), help);
    }
    uses.sort_unstable();
    uses.dedup();
    uses
}

/// Where the first key of `[outputs]` stands.
fn outputs_span(outputs: Option<&written::Outputs>) -> Option<Span> {
    let outputs = outputs?;
    let first = |list: &[Text]| list.first().map(|text| text.span);
    first(&outputs.expect).or_else(|| first(&outputs.overlap)).or_else(|| deb_span(outputs))
}

/// Where the first key of `[outputs]` that is for kind `deb` stands.
fn deb_span(outputs: &written::Outputs) -> Option<Span> {
    let main = outputs.main.as_ref().map(|main| main.span);
    let list = |list: &Option<written::At<Vec<Text>>>| list.as_ref().map(|list| list.span);
    main.or_else(|| list(&outputs.derived)).or_else(|| list(&outputs.extra))
}

fn outputs(written: Option<written::Outputs>, kind: Kind, pen: &mut Pen<'_>) -> Outputs {
    let Some(written) = written else { return Outputs::default() };
    if let (Some(span), false) = (deb_span(&written), matches!(kind, Kind::Deb | Kind::Group)) {
        let message = "`main`, `derived` and `extra` are for modules of kind `deb`";
        let help = "they name Debian packages; name files in `expect`";
        pen.wrong(span, message, help);
    }
    if let Some(main) = &written.main {
        let found = check::package(&main.value);
        pen.checked(main, found, None);
    }
    let list = |list: Option<written::At<Vec<Text>>>| list.map(|l| l.value).unwrap_or_default();
    Outputs {
        expect: pen.globs(written.expect),
        overlap: pen.globs(written.overlap),
        main: written.main.map(|main| main.value),
        derived: pen.globs(list(written.derived)),
        extra: pen.globs(list(written.extra)),
    }
}
