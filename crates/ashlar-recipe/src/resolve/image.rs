//! Modules of kind `image`: which Dockerfile, over which files.

use std::collections::BTreeMap;

use super::{Pen, check};
use crate::problem::nearest;
use crate::resolved::{ImageRecipe, Kind};
use crate::written::{self, Text};

/// What `network` may say.
pub(crate) const NETWORKS: [&str; 2] = ["none", "default"];

/// Takes what is for images alone out of `[build]`; `None` for other kinds, and where something
/// that is needed is missing or wrong.
pub(super) fn resolve(
    kind: Kind,
    written: &mut written::Build,
    pen: &mut Pen<'_>,
) -> Option<ImageRecipe> {
    let kind_span = written.kind.as_ref().map_or(written.span, |kind| kind.span);
    let (context, dockerfile) = (written.context.take(), written.dockerfile.take());
    let (target, network) = (written.target.take(), written.network.take());
    let args = std::mem::take(&mut written.args);
    if kind != Kind::Image {
        let all = [
            ("context", &context),
            ("dockerfile", &dockerfile),
            ("target", &target),
            ("network", &network),
        ];
        let spans = all.iter().filter_map(|(key, text)| Some((*key, text.as_ref()?.span)));
        let args = args.first().map(|(name, _)| ("args", name.span));
        for (key, span) in spans.chain(args) {
            let message = format!("`{key}` is for modules of kind `image`");
            pen.wrong(span, message, "leave it out");
        }
        return None;
    }
    let path = |text: &Text, pen: &mut Pen<'_>| {
        let help = "it is a path below the folder of `ashlar.toml`";
        pen.checked(text, check::some_path(&text.value), help)
    };
    let target = target.filter(|target| {
        let empty = target.value.trim().is_empty();
        if empty {
            pen.wrong(target.span, "`target` is empty", "name a stage, or leave it out");
        }
        !empty
    });
    let network = network.is_some_and(|network| {
        if !NETWORKS.contains(&network.value.as_str()) {
            let message = format!("there is no network `{}`", network.value.escape_debug());
            let help = match nearest(&network.value, NETWORKS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "it is `none`, or `default` for that of the machine".to_owned(),
            };
            pen.wrong(network.span, message, help);
        }
        network.value == "default"
    });
    let args = self::args(args, pen);
    let Some(context) = context else {
        let help = "write `context = \"…\"`: the folder that COPY and ADD read from";
        pen.wrong(kind_span, "the image does not say where its files are", help);
        return None;
    };
    let context = path(&context, pen)?;
    let dockerfile = match dockerfile {
        Some(dockerfile) => path(&dockerfile, pen)?,
        None if context == "." => "Dockerfile".to_owned(),
        None => format!("{context}/Dockerfile"),
    };
    let target = target.map(|target| target.value);
    Some(ImageRecipe {
        context: context.into(),
        dockerfile: dockerfile.into(),
        target,
        args,
        network,
    })
}

fn args(written: written::Named<Text>, pen: &mut Pen<'_>) -> BTreeMap<String, String> {
    let mut args = BTreeMap::new();
    for (name, value) in written {
        let found = check::variable(&name.value);
        let help = "letters, digits and `_`, and no digit first";
        if pen.checked(&name, found, help).is_some() {
            args.insert(name.value, value.value);
        }
    }
    args
}
