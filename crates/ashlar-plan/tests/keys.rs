//! What is in a key and what is not, one input at a time; and the golden keys.

use std::collections::BTreeMap;
use std::io;

use ashlar_object::{Digest, StepKey};
use ashlar_plan::{Commands, Facts, InputName, Plan, SourceFact, Value, compare, plan};
use ashlar_recipe::lock::{LockedBase, LockedDeb, LockedFile, LockedTools};
use ashlar_recipe::{Loader, Lock, ModuleName, Project, load};

struct Files(BTreeMap<String, String>);

impl Loader for Files {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let text = self.0.get(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(text.clone().into_bytes())
    }

    fn modules(&self) -> io::Result<Vec<String>> {
        Ok(self.0.keys().filter(|path| path.starts_with("modules/")).cloned().collect())
    }
}

/// A project with one of everything, its files, and what is known of them.
#[derive(Clone)]
struct World {
    files: BTreeMap<String, String>,
    options: Vec<(String, String)>,
    facts: Facts,
}

fn world() -> World {
    let files = [
        (
            "ashlar.toml",
            r#"
[project]
name = "sample"
default = ["app"]
salt = "s"
common = ["common/*.sh"]
[env]
V = "1"
[options.debug]
type = "bool"
default = false
[options.unused]
type = "string"
default = "x"
[base.debian]
suite = "bookworm"
variant = "buildd"
packages = ["pkg-config"]
"#,
        ),
        (
            "modules/lib.toml",
            "description = \"a library\"\n[source]\npath = \"src/lib\"\n[build]\nkind = \"make\"\n",
        ),
        (
            "modules/app.toml",
            r#"
description = "an application"
depends = ["lib"]
tools = ["flex"]
uses = ["debug"]
env = { CFLAGS = "-O2" }
salt = "m"
[source]
deb = "app"
patches = ["patches/*.patch"]
[build]
kind = "autotools"
configure = ["--with-lib"]
timeout = "10m"
[outputs]
expect = ["usr/bin/app"]
"#,
        ),
        ("modules/other.toml", "[build]\nkind = \"script\"\nsteps = [\"true\"]\n"),
        (
            "modules/tools/deb.toml",
            "[source]\ndeb = \"deb\"\n[build]\nkind = \"deb\"\n[outputs]\nmain = \"deb\"\n",
        ),
        (
            "modules/user.toml",
            "depends = [\"tools/deb\", \"everything\"]\n[build]\nkind = \"make\"\n[source]\npath = \"src/user\"\n",
        ),
        ("modules/everything.toml", "depends = [\"app\", \"lib\"]\n[build]\nkind = \"group\"\n"),
    ];
    let file = |name: &str| LockedFile {
        path: format!("pool/main/{name}"),
        sha256: Digest::of(name.as_bytes()).hex(),
        size: 7,
    };
    let mut lock = Lock { version: 1, ..Lock::default() };
    for id in ["gcc_12.2_amd64", "make_4.3_amd64", "flex_2.6_amd64"] {
        lock.package.insert(id.to_owned(), file(id));
    }
    let base = LockedBase {
        asked: vec![],
        architecture: "amd64".into(),
        packages: vec!["gcc_12.2_amd64".into(), "make_4.3_amd64".into()],
    };
    lock.base.insert("debian".into(), base);
    let tools = |asked: &[&str], packages: &[&str]| LockedTools {
        base: "debian".into(),
        asked: asked.iter().map(|s| (*s).to_owned()).collect(),
        packages: packages.iter().map(|s| (*s).to_owned()).collect(),
    };
    lock.tools.push(tools(&["flex"], &["flex_2.6_amd64"]));
    lock.tools.push(tools(&["satisfy debhelper"], &[]));
    lock.tools.push(tools(&["local deb"], &[]));
    for name in ["app", "deb"] {
        let deb = LockedDeb {
            version: "1.0-1".into(),
            build_depends: if name == "deb" { vec!["debhelper".into()] } else { vec![] },
            files: vec![file(&format!("{name}_1.0.dsc")), file(&format!("{name}_1.0.orig.tar.xz"))],
        };
        lock.source.insert(name.into(), deb);
    }
    let command = |text: &str| Digest::of(text.as_bytes());
    let commands =
        Commands { base: command("base"), install: command("install"), build: command("build") };
    let mut facts =
        Facts { architecture: "x86_64".into(), lock, commands: Some(commands), ..Facts::default() };
    facts.common.push(("common/functions.sh".into(), Digest::of(b"functions")));
    let tree = |text: &str| SourceFact { tree: Some(Digest::of(text.as_bytes())), patches: vec![] };
    let patch = |name: &str| (format!("patches/{name}.patch"), Digest::of(name.as_bytes()), 1);
    facts.sources.insert(name("lib"), vec![tree("lib")]);
    facts.sources.insert(name("user"), vec![tree("user")]);
    facts.sources.insert(
        name("app"),
        vec![SourceFact { tree: None, patches: vec![patch("01-one"), patch("02-two")] }],
    );
    let files = files.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
    World { files, options: vec![], facts }
}

fn name(text: &str) -> ModuleName {
    ModuleName::new(text).unwrap()
}

impl World {
    fn project(&self) -> Project {
        load(&Files(self.files.clone()), &self.options).unwrap_or_else(|e| panic!("{e}"))
    }

    fn plan(&self, target: &str) -> Plan {
        plan(&self.project(), &self.facts, &[name(target)]).unwrap()
    }

    fn key(&self, module: &str) -> StepKey {
        let plan = self.plan(module);
        plan.steps[plan.modules[&name(module)]].key
    }

    fn edit(mut self, file: &str, from: &str, to: &str) -> Self {
        let text = self.files.get_mut(file).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        *text = text.replacen(from, to, 1);
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        change(&mut self.facts);
        self
    }
}

/// The names of the inputs of `app` that differ, through all steps behind it.
fn changed(was: &World, now: &World) -> Vec<String> {
    let (was, now) = (was.plan("app"), now.plan("app"));
    let mut names = Vec::new();
    for step in &now.steps {
        let Some(before) = was.steps.iter().find(|s| s.id == step.id) else { continue };
        for change in compare(&before.inputs, &step.inputs) {
            // Steps that changed because of another step are told by that one.
            if !matches!(change.now, Some(Value::Step(_))) {
                names.push(format!("{}: {}", step.id, change.input));
            }
        }
    }
    names
}

#[test]
fn every_input_changes_the_key_and_is_named() {
    let was = world();
    let app = "modules/app.toml";
    let cases: Vec<(World, &str)> = vec![
        (was.clone().edit("ashlar.toml", "salt = \"s\"", "salt = \"t\""), "project salt"),
        (was.clone().edit(app, "salt = \"m\"", "salt = \"n\""), "module salt"),
        (was.clone().edit("ashlar.toml", "V = \"1\"", "V = \"0\""), "environment V"),
        (was.clone().edit(app, "-O2", "-O3"), "environment CFLAGS"),
        (was.clone().edit("ashlar.toml", "default = false", "default = true"), "option debug"),
        (was.clone().edit(app, "--with-lib", "--without-lib"), "script configure"),
        (was.clone().edit(app, "usr/bin/app", "usr/bin/*"), "outputs expect"),
        (
            was.clone().with(|f| f.common[0].1 = Digest::of(b"other")),
            "common file common/functions.sh",
        ),
        (
            was.clone().with(|f| {
                f.lock.source.get_mut("app").unwrap().files[1].sha256 = Digest::of(b"new").hex();
            }),
            "source app_1.0.orig.tar.xz",
        ),
        (
            was.clone().with(|f| {
                f.sources.get_mut(&name("app")).unwrap()[0].patches[1].1 = Digest::of(b"edited");
            }),
            "patch patches/02-two.patch",
        ),
        (
            was.clone().with(|f| f.sources.get_mut(&name("app")).unwrap()[0].patches.swap(0, 1)),
            "patch order",
        ),
        (
            was.clone().with(|f| {
                f.lock.package.get_mut("flex_2.6_amd64").unwrap().sha256 =
                    Digest::of(b"flex 2.7").hex();
            }),
            "package flex",
        ),
        (
            was.clone().with(|f| {
                f.lock.package.get_mut("gcc_12.2_amd64").unwrap().sha256 =
                    Digest::of(b"gcc 13").hex();
            }),
            "package gcc",
        ),
        (
            was.clone().with(|f| {
                f.sources.get_mut(&name("lib")).unwrap()[0].tree = Some(Digest::of(b"lib2"));
            }),
            "source src/lib",
        ),
        (was.clone().with(|f| f.architecture = "aarch64".into()), "architecture"),
        (
            was.clone().with(|f| f.commands.as_mut().unwrap().build = Digest::of(b"other")),
            "script ashlar",
        ),
    ];
    let mut keys = vec![was.key("app")];
    for (now, input) in cases {
        let key = now.key("app");
        assert!(!keys.contains(&key), "{input} does not change the key");
        keys.push(key);
        let names = changed(&was, &now);
        assert!(
            names.iter().any(|name| name.ends_with(&format!(": {input}"))),
            "{input}: {names:?}"
        );
    }
}

#[test]
fn what_cannot_change_a_result_is_in_no_key() {
    let was = world();
    let key = was.key("app");
    let app = "modules/app.toml";
    let same = [
        was.clone().edit(app, "an application", "a description"),
        was.clone().edit(app, "10m", "20m"),
        was.clone().edit("ashlar.toml", "default = \"x\"", "default = \"y\""),
        was.clone().edit("modules/other.toml", "true", "false"),
        was.clone().edit("ashlar.toml", "name = \"sample\"", "name = \"renamed\""),
        was.clone().with(|f| {
            f.sources.insert(name("other"), vec![]);
            f.lock.source.get_mut("deb").unwrap().version = "2".into();
        }),
    ];
    for (number, now) in same.iter().enumerate() {
        assert_eq!(now.key("app"), key, "case {number}");
    }
    // An option changes only the modules that use it.
    let mut debug = was.clone();
    debug.options.push(("debug".into(), "true".into()));
    assert_ne!(debug.key("app"), key);
    assert_eq!(debug.key("lib"), was.key("lib"));
}

#[test]
fn unknown_inputs_are_errors_and_not_constants() {
    let unknown = world().with(|f| {
        f.sources.remove(&name("lib"));
    });
    let error = plan(&unknown.project(), &unknown.facts, &[name("app")]).unwrap_err();
    assert_eq!(error.to_string(), "nothing is known of the source src/lib of lib");
    let unlocked = world().with(|f| {
        f.lock.base.clear();
    });
    let error = plan(&unlocked.project(), &unlocked.facts, &[name("app")]).unwrap_err();
    assert_eq!(error.to_string(), "the lock file has no base `debian`");
}

#[test]
fn groups_stand_for_their_members_and_packages_are_layers() {
    let plan = world().plan("user");
    let user = &plan.steps[plan.modules[&name("user")]];
    let names = |steps: &[usize]| -> Vec<String> {
        steps.iter().map(|s| plan.steps[*s].id.to_string()).collect()
    };
    assert_eq!(names(&user.depends), ["app", "lib"]);
    assert_eq!(names(&plan.mounts(plan.modules[&name("user")])), ["lib", "app"]);
    assert_eq!(names(&user.layers), ["base:debian (base)", "user (packages)"]);
    assert!(!plan.modules.contains_key(&name("everything")));
    let dependencies: Vec<String> = user
        .inputs
        .inputs()
        .iter()
        .filter(|input| matches!(input.name, InputName::Dependency(_)))
        .map(|input| input.name.to_string())
        .collect();
    assert_eq!(dependencies, ["dependency app", "dependency lib", "dependency tools/deb"]);
}

/// Stored results are found by these keys: they change only together with the format version.
/// `ASHLAR_BLESS=1 cargo test -p ashlar-plan` writes the file anew.
#[test]
fn golden_keys() {
    let plan = world().plan("user");
    let mut text = format!("format {}\n", ashlar_plan::FORMAT);
    for step in &plan.steps {
        text.push_str(&format!("{} {}\n", step.key, step.id));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden-keys.txt");
    if std::env::var_os("ASHLAR_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap());
}
