//! The files that `ashlar init` writes.

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Where, relative to the project.
    pub path: &'static str,
    /// What.
    pub text: String,
}

/// The files of a new project called `name` with a Debian base of `suite`: a project file, a
/// module that builds, and its source. Both parameters should be plain names; other characters
/// are replaced, so that the result always loads.
#[must_use]
pub fn init(name: &str, suite: &str) -> Vec<Template> {
    let project = PROJECT.replace("@NAME@", &plain(name)).replace("@SUITE@", &plain(suite));
    vec![
        Template { path: crate::parse::PROJECT_FILE, text: project },
        Template { path: "modules/hello.toml", text: MODULE.to_owned() },
        Template { path: "src/hello/hello.c", text: SOURCE.to_owned() },
    ]
}

/// The text with every character that cannot be in a plain name replaced.
fn plain(text: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    let text: String = text.chars().take(100).map(|c| if good(c) { c } else { '-' }).collect();
    match text.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()) {
        "" => "project".to_owned(),
        plain => plain.to_owned(),
    }
}

const PROJECT: &str = r#"# A project of modules. `ashlar build` builds them, and never builds one twice.

[project]
name = "@NAME@"
default = ["hello"]             # what `ashlar build` builds; all modules when left out
# salt = ""                     # change it to forget every earlier result
# common = ["common/*.sh"]      # files that enter the key of every module

# [env]                         # environment of every step
# CFLAGS = "-O2"

# [options.debug]               # steps of modules with `uses = ["debug"]` see $OPTION_DEBUG
# type = "bool"                 # bool | enum (with `values`) | string
# default = false               # ashlar build --option debug=true

# What modules are built on: a Debian system made from this machine's apt configuration.
[base.debian]
suite = "@SUITE@"
variant = "buildd"
packages = []

# A folder or an archive of the project, or this machine itself, are bases too:
# [base.busybox]
# path = "rootfs/"              # or: archive = "rootfs.tar.zst"
# [base.host]
# host = true                   # to try things; results never leave the machine
"#;

const MODULE: &str = r#"# The module `hello`: modules/net/lldpd.toml would be `net/lldpd`.
description = "Says hello"
# base = "debian"               # needed once there is more than one
# depends = ["other-module"]    # its files are there when this one is built
# tools = ["flex"]              # Debian packages added to the base for this module
# uses = ["debug"]              # options that its steps see
# env = { CFLAGS = "-O2" }

[source]                        # or several [[source]], each with `into = "dir"`
path = "src/hello"              # or: deb | url + sha256 | git + commit
# patches = ["patches/hello/*.patch"]

[build]
kind = "script"                 # script | make | autotools | cmake | meson | deb | import | group
# timeout = "30m"
# Each step is a script for `sh -eu`, run in $SRCDIR. What it puts below $DESTDIR is kept.
steps = [
    "make hello",
    'install -D hello "$DESTDIR/usr/bin/hello"',
]

[outputs]
expect = ["usr/bin/hello"]      # each pattern must match something, or the step fails
"#;

const SOURCE: &str = r#"#include <stdio.h>

int main(void) {
    puts("hello");
    return 0;
}
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Base, ModuleName, Origin, parse_module, parse_project, resolve};

    fn resolved(files: &[Template]) -> crate::Project {
        let text = |path: &str| files.iter().find(|f| f.path == path).unwrap().text.clone();
        let project = parse_project(text("ashlar.toml").as_bytes()).unwrap();
        let path = "modules/hello.toml";
        let module = parse_module(path, text(path).as_bytes()).unwrap();
        resolve(project, vec![module], &[]).unwrap()
    }

    #[test]
    fn the_templates_load() {
        let files = init("firmware", "bookworm");
        let project = resolved(&files);
        assert_eq!(project.name, "firmware");
        assert_eq!(project.default, [ModuleName::new("hello").unwrap()]);
        assert!(
            matches!(&project.bases["debian"], Base::Debian { suite, .. } if suite == "bookworm")
        );
        let module = &project.modules["hello"];
        let [source] = module.sources.as_slice() else { panic!("one source") };
        let Origin::Path { path } = &source.origin else { panic!("a path") };
        assert!(files.iter().any(|f| std::path::Path::new(f.path).starts_with(path)));
    }

    #[test]
    fn every_commented_line_is_true() {
        // Each `# key = …` of the templates must be accepted when it is uncommented.
        let uncomment = |text: &str| {
            let lines = text.lines().map(|line| {
                let bare = line.strip_prefix("# ").unwrap_or(line);
                let code = bare.starts_with('[') || bare.split(' ').nth(1) == Some("=");
                if code { bare } else { line }
            });
            lines.collect::<Vec<_>>().join("\n")
        };
        let files = init("x", "trixie");
        let project = parse_project(uncomment(&files[0].text).as_bytes()).unwrap();
        assert_eq!(project.bases.len(), 3);
        assert_eq!(project.options.len(), 1);
        let hello =
            parse_module("modules/hello.toml", uncomment(&files[1].text).as_bytes()).unwrap();
        let other = b"[build]\nkind = \"group\"\n";
        let other = parse_module("modules/other-module.toml", other).unwrap();
        let project = resolve(project, vec![hello, other], &[]).unwrap();
        assert_eq!(project.modules["hello"].tools, ["flex"]);
    }

    #[test]
    fn odd_names_still_load() {
        for name in ["", "...", "my project\"", "häuser", "-x"] {
            resolved(&init(name, "bookworm"));
        }
    }
}
