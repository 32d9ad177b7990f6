//! The command of each kind of step, with its environment.

use std::collections::BTreeMap;

use ashlar_execute::{DESTINATION, SOURCE};
use ashlar_object::{Action, CanonicalHasher, Command, Digest, MOMENT, Platform};
use ashlar_plan::{Commands, FORMAT, Facts};
use ashlar_recipe::{Module, Project, option_variable};

/// Runs the phases one after another, each in a shell of its own, so that what one sets or where
/// it goes does not reach the next. Its arguments are name, script, name, script, ….
const PHASES: &str = "while [ $# -gt 0 ]; do\n  printf '==> %s\\n' \"$1\"\n  \
    /bin/sh -eu -c \"$2\" || exit\n  shift 2\ndone";

/// Makes a root file system from exactly the packages that are mounted: they become a local
/// repository, and mmdebstrap finds nothing else.
const BOOTSTRAP: &str = r#"
mkdir /tmp/repository && cd /tmp/repository
include=
for deb in /build/debs/*.deb; do
  name=${deb##*/}
  include=$include${include:+,}${name%%_*}
  ln -s "$deb" "$name"
  dpkg-deb -f "$deb"
  sum=$(sha256sum < "$deb")
  printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$name" "$(stat -Lc %s "$deb")" "${sum%% *}"
done > Packages
# All of them by name: a variant picks by priority, which packages and archives tell differently.
sum=$(sha256sum < Packages)
printf 'Suite: %s\nCodename: %s\nSHA256:\n %s %s Packages\n' \
  "$SUITE" "$SUITE" "${sum%% *}" "$(stat -c %s Packages)" > Release
mmdebstrap --mode=root --variant="$VARIANT" --format=directory --include="$include" \
  --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
  "$SUITE" "$DESTDIR" "deb [trusted=yes] copy:/tmp/repository ./"
cd "$DESTDIR"
rm -rf var/log/* var/cache/apt/* var/cache/ldconfig/* var/lib/apt/lists/* tmp/* run/*
rm -f etc/apt/sources.list etc/machine-id var/lib/dpkg/*-old var/cache/debconf/*-old
: > etc/machine-id
"#;

/// Installs the packages that are mounted, and leaves no trace of when that was.
const INSTALL: &str = r#"
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
had_policy=0; [ ! -e /usr/sbin/policy-rc.d ] || had_policy=1
[ $had_policy = 1 ] || { printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; }
set --
for deb in /build/debs/*.deb /build/debs/*/*.deb; do
  case $deb in *'*'*|*-dbgsym_*) continue;; esac
  set -- "$@" "$deb"
done
if [ $# -gt 0 ]; then
  if command -v apt-get >/dev/null; then
    mkdir -p /tmp/apt/archives/partial /tmp/apt/lists/partial
    apt-get -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/dev/null \
      -o Dir::State::Lists=/tmp/apt/lists -o Dir::Cache=/tmp/apt -o Dir::Cache::Archives=/tmp/apt/archives \
      -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io \
      -o Dpkg::Options::=--force-confold \
      install --yes --no-install-recommends --allow-downgrades "$@"
  else
    dpkg --force-unsafe-io --force-confold --install "$@"
  fi
fi
[ $had_policy = 1 ] || rm -f /usr/sbin/policy-rc.d
rm -rf /var/log/apt /var/log/dpkg.log /var/log/alternatives.log /var/log/bootstrap.log
rm -rf /var/cache/apt/*.bin /var/cache/ldconfig/aux-cache /var/lib/apt/extended_states
rm -f /var/lib/dpkg/*-old /var/cache/debconf/*-old
"#;

/// The environment that every step has.
fn environment(architecture: &str) -> BTreeMap<String, String> {
    [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/build/home"),
        ("TZ", "UTC"),
        ("LC_ALL", "C"),
        ("LANG", "C"),
        ("SRCDIR", SOURCE),
        ("DESTDIR", DESTINATION),
        ("ARCH", architecture),
        ("SOURCE_DATE_EPOCH", &MOMENT.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// What this version of the program itself puts into the commands of each kind of step.
pub(crate) fn digests(architecture: &str) -> Commands {
    let of = |script: &str| {
        let mut hasher = CanonicalHasher::new("ashlar command");
        hasher.text(script);
        for (name, value) in environment(architecture) {
            hasher.text(&name).text(&value);
        }
        Digest { hash: hasher.finish(), size: script.len() as u64 }
    };
    Commands { base: of(BOOTSTRAP), install: of(INSTALL), build: of(PHASES) }
}

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-eu", "-c", script].map(ToOwned::to_owned).to_vec()
}

/// What builds a module.
pub(crate) fn build(project: &Project, facts: &Facts, module: &Module) -> Command {
    let mut arguments = shell(PHASES);
    arguments.push("ashlar".to_owned());
    for phase in &module.build.phases {
        arguments.push(phase.name.clone());
        arguments.push(phase.script.clone());
    }
    let mut environment = environment(&facts.architecture);
    for name in &module.uses {
        let value = project.options.get(name).map(|o| o.value.clone()).unwrap_or_default();
        environment.insert(option_variable(name), value);
    }
    for (name, value) in project.env.iter().chain(&module.env) {
        environment.insert(name.clone(), value.clone());
    }
    Command {
        arguments,
        environment,
        working_directory: SOURCE.trim_start_matches('/').to_owned(),
        output_paths: vec![DESTINATION.to_owned()],
    }
}

/// What makes a Debian base.
pub(crate) fn base(facts: &Facts, suite: &str, variant: &str) -> Command {
    let mut environment = environment(&facts.architecture);
    for (name, value) in [("SUITE", suite), ("VARIANT", variant)] {
        environment.insert(name.to_owned(), value.to_owned());
    }
    Command {
        arguments: shell(BOOTSTRAP),
        environment,
        working_directory: "build".to_owned(),
        output_paths: vec![DESTINATION.to_owned()],
    }
}

/// What installs packages over a base.
pub(crate) fn install(facts: &Facts) -> Command {
    Command {
        arguments: shell(INSTALL),
        environment: environment(&facts.architecture),
        working_directory: "build".to_owned(),
        output_paths: vec!["/".to_owned()],
    }
}

/// What Ashlar does itself, named like a program so that it has a place among actions.
pub(crate) fn internal(name: &str, arguments: &[String]) -> Command {
    let mut all = vec![format!("ashlar:{name}")];
    all.extend(arguments.iter().cloned());
    Command { arguments: all, ..Command::default() }
}

/// The action of a command over a root.
pub(crate) fn action(
    project: &Project,
    facts: &Facts,
    salt: &str,
    command: &Command,
    root: Digest,
) -> Action {
    let mut hasher = CanonicalHasher::new("ashlar action");
    hasher.text(FORMAT).text(&project.salt).text(salt).number(facts.common.len() as u64);
    for (path, digest) in &facts.common {
        hasher.text(path).bytes(&digest.hash).number(digest.size);
    }
    Action {
        command: command.digest(),
        input_root: root,
        salt: hasher.finish().to_vec(),
        platform: Platform([("arch".to_owned(), facts.architecture.clone())].into()),
    }
}
