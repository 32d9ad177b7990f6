//! What the files mean.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::load::load;
use crate::load::tests::Files;
use crate::resolved::{Base, Module, Origin};

const PROJECT: &str = r#"
[project]
name = "p"
[env]
LANG = "C.UTF-8"
SOURCE_DATE_EPOCH = "1700000000"
[base.debian]
suite = "bookworm"
packages = ["bb", "aa", "aa"]
[options.debug]
type = "bool"
[options.with-tls]
type = "enum"
values = ["openssl", "none"]
default = "none"
[options.banner]
type = "string"
"#;

fn project(project: &str, modules: &[(&str, &str)], options: &[(&str, &str)]) -> Project {
    let mut files = Files::default();
    files.0.insert("ashlar.toml".into(), project.into());
    for (name, text) in modules {
        files.0.insert(format!("modules/{name}.toml"), (*text).into());
    }
    let options: Vec<_> = options.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    load(&files, &options).unwrap_or_else(|problems| panic!("{problems}"))
}

fn module(text: &str) -> Module {
    let others = ["b", "c"].map(|name| (name, "[build]\nkind = \"group\"\n"));
    let project = project(PROJECT, &[("a", text), others[0], others[1]], &[]);
    Module::clone(&project.modules["a"])
}

/// The scripts of a build, without `[build]` and the source it needs.
fn scripts(build: &str) -> Vec<(String, String)> {
    let module = module(&format!("[source]\ndeb = \"zlib\"\n[build]\n{build}\n"));
    module.build.phases.into_iter().map(|phase| (phase.name, phase.script)).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, script)| ((*name).to_owned(), (*script).to_owned())).collect()
}

#[test]
fn defaults_of_a_project() {
    let project = project(
        PROJECT,
        &[("b", "[build]\nkind = \"group\"\n"), ("a/b", "[build]\nkind = \"group\"\n")],
        &[],
    );
    let Base::Debian { variant, packages, .. } = &project.bases["debian"] else { panic!("Debian") };
    assert_eq!(
        (variant.as_str(), packages.as_slice()),
        ("buildd", ["aa", "bb"].map(String::from).as_slice())
    );
    let default: Vec<&str> = project.default.iter().map(crate::ModuleName::as_str).collect();
    assert_eq!(default, ["a/b", "b"]);
    let values: Vec<_> =
        project.options.iter().map(|(n, o)| (n.as_str(), o.value.as_str())).collect();
    assert_eq!(values, [("banner", ""), ("debug", "false"), ("with-tls", "none")]);
    assert_eq!(project.env["SOURCE_DATE_EPOCH"], "1700000000");
}

#[test]
fn options_of_the_invocation() {
    let given = [
        ("debug", "true"),
        ("with-tls", "openssl"),
        ("banner", "a=b"),
        ("debug", "false"),
        ("debug", "true"),
    ];
    let options = project(PROJECT, &[], &given).options;
    assert_eq!(options["debug"].value, "true");
    assert_eq!(options["debug"].default, "false");
    assert_eq!(
        (options["with-tls"].value.as_str(), options["with-tls"].default.as_str()),
        ("openssl", "none")
    );
    assert_eq!(options["banner"].value, "a=b");
    assert_eq!(option_variable("with-tls"), "OPTION_WITH_TLS");
}

#[test]
fn a_module_with_everything() {
    let module = module(
        r#"
description = "x"
depends = ["c", "b"]
tools = ["flex", "bison", "flex"]
uses = ["with-tls", "debug"]
env = { CFLAGS = "-O2" }
salt = "1"
[[source]]
url = "https://example.org/x.tar.gz"
sha256 = "ABCDEF0000000000000000000000000000000000000000000000000000000000"
[[source]]
git = "https://example.org/x.git"
commit = "ABCDEF0000000000000000000000000000000000"
into = "./git//"
patches = ["patches/series"]
strip = 0
[[source]]
path = "src/./x/"
into = "p"
[build]
kind = "script"
steps = ["make", { name = "install", run = "make install" }]
timeout = "1h30m"
[outputs]
expect = ["usr/bin/x"]
overlap = ["usr/share/info/dir"]
"#,
    );
    assert_eq!(module.file, Path::new("modules/a.toml"));
    assert_eq!(module.base.as_deref(), Some("debian"));
    let depends: Vec<&str> = module.depends.iter().map(crate::ModuleName::as_str).collect();
    assert_eq!(depends, ["c", "b"]);
    assert_eq!(module.tools, ["bison", "flex"]);
    assert_eq!(module.uses, ["debug", "with-tls"]);
    assert_eq!(module.env["CFLAGS"], "-O2");
    let [url, git, path] = module.sources.as_slice() else { panic!("three") };
    let sum = format!("abcdef{}", "0".repeat(58));
    assert!(matches!(&url.origin, Origin::Url { sha256, unpack: true, .. } if *sha256 == sum));
    assert_eq!((url.into.as_str(), url.strip), ("", 1));
    let id = format!("abcdef{}", "0".repeat(34));
    assert!(matches!(&git.origin, Origin::Git { commit, submodules: false, .. } if *commit == id));
    assert_eq!((git.into.as_str(), git.strip), ("git", 0));
    assert_eq!(path.origin, Origin::Path { path: "src/x".into() });
    assert_eq!(module.build.timeout, Some(Duration::from_secs(5400)));
    let names: Vec<&str> = module.build.phases.iter().map(|phase| phase.name.as_str()).collect();
    assert_eq!(names, ["step 1", "install"]);
    assert_eq!(module.outputs.expect, ["usr/bin/x"]);
}

#[test]
fn commands_of_the_kinds() {
    assert_eq!(
        scripts("kind = \"autotools\"\nconfigure = [\"--x\", \"a b\"]\ncompile = [\"V=1\"]"),
        pairs(&[
            (
                "configure",
                "./configure --prefix=/usr --sysconfdir=/etc --localstatedir=/var --x 'a b'"
            ),
            ("compile", "make V=1"),
            ("install", r#"make install DESTDIR="$DESTDIR""#),
        ])
    );
    assert_eq!(
        scripts("kind = \"make\"\ninstall = [\"V=1\"]"),
        pairs(&[
            ("compile", "make"),
            ("install", r#"make install DESTDIR="$DESTDIR" PREFIX=/usr prefix=/usr V=1"#),
        ])
    );
    assert_eq!(
        scripts("kind = \"cmake\""),
        pairs(&[
            (
                "configure",
                "cmake -S . -B /build/obj -DCMAKE_INSTALL_PREFIX=/usr -DCMAKE_BUILD_TYPE=Release"
            ),
            ("compile", "make -C /build/obj"),
            ("install", r#"DESTDIR="$DESTDIR" cmake --install /build/obj"#),
        ])
    );
    assert_eq!(
        scripts("kind = \"meson\"\nconfigure = [\"-Dx=true\"]"),
        pairs(&[
            (
                "configure",
                "meson setup /build/obj --prefix=/usr --buildtype=release --wrap-mode=nodownload -Dx=true"
            ),
            ("compile", r#"ninja -C /build/obj -j "$JOBS""#),
            ("install", r#"meson install -C /build/obj --no-rebuild --destdir "$DESTDIR""#),
        ])
    );
}

#[test]
fn commands_replaced_and_left_out() {
    assert_eq!(
        scripts("kind = \"autotools\"\nconfigure = \"\"\ninstall = 'cp x \"$DESTDIR\"'"),
        pairs(&[("compile", "make"), ("install", r#"cp x "$DESTDIR""#)])
    );
    assert_eq!(
        scripts("kind = \"make\"\nconfigure = \"./autogen.sh\"")[0],
        ("configure".to_owned(), "./autogen.sh".to_owned())
    );
    assert_eq!(scripts("kind = \"script\"\ninstall = \"x\""), pairs(&[("install", "x")]));
}

#[test]
fn commands_of_kind_deb() {
    let deb = scripts(
        "kind = \"deb\"\nprofiles = [\"stage1\", \"nodoc\"]\noptions = [\"nocheck\"]\ncompile = [\"-d\"]",
    );
    let command = r#"DEB_BUILD_PROFILES="nodoc stage1" DEB_BUILD_OPTIONS="nocheck parallel=$JOBS" env -u DESTDIR -u SRCDIR -u ARCH -u JOBS dpkg-buildpackage -b -uc -us -d"#;
    assert_eq!(deb[0], ("compile".to_owned(), command.to_owned()));
    assert_eq!((deb.len(), deb[1].0.as_str()), (2, "install"));
}

#[test]
fn packages_are_moved_by_kind_deb() {
    let install = &scripts("kind = \"deb\"")[1].1;
    let folder = std::env::temp_dir().join(format!("ashlar-recipe-deb-{}", std::process::id()));
    for sub in ["src", "dest"] {
        std::fs::create_dir_all(folder.join(sub)).unwrap();
    }
    for file in ["a_1_amd64.deb", "b c.ddeb", "a.changes"] {
        std::fs::write(folder.join(file), "").unwrap();
    }
    let ran = std::process::Command::new("sh")
        .args(["-eu", "-c", install])
        .current_dir(folder.join("src"))
        .env("DESTDIR", folder.join("dest"))
        .status()
        .unwrap();
    let moved = std::fs::read_dir(folder.join("dest")).unwrap();
    let mut moved: Vec<_> = moved.map(|entry| entry.unwrap().file_name()).collect();
    moved.sort();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(ran.success());
    assert_eq!(moved, ["a_1_amd64.deb", "b c.ddeb"]);
}

#[test]
fn a_base_called_default_is_meant() {
    let bases =
        "[project]\nname = \"p\"\n[base.default]\npath = \"rootfs/\"\n[base.x]\nhost = true\n";
    let script = "[build]\nkind = \"script\"\nsteps = [\"true\"]\n";
    let project = project(bases, &[("a", script)], &[]);
    assert_eq!(project.modules["a"].base.as_deref(), Some("default"));
    assert_eq!(project.bases["default"], Base::Path("rootfs".into()));
}

#[test]
fn groups_and_imports_need_no_base() {
    let import = "[source]\npath = \".\"\n[build]\nkind = \"import\"\n";
    let group = "depends = [\"a\"]\n[build]\nkind = \"group\"\n";
    let project = project("[project]\nname = \"p\"\n", &[("a", import), ("b", group)], &[]);
    assert_eq!(project.modules["a"].base, None);
    assert_eq!(project.modules["a"].sources[0].origin, Origin::Path { path: ".".into() });
    assert!(project.modules["b"].build.phases.is_empty());
}

#[test]
fn a_chain_of_all_modules_is_no_trouble() {
    let group = |n: usize| format!("depends = [\"m{}\"]\n[build]\nkind = \"group\"\n", n + 1);
    let mut files = Files::default();
    files.0.insert("ashlar.toml".into(), "[project]\nname = \"p\"\n".into());
    for n in 0..20_000 {
        files.0.insert(format!("modules/m{n}.toml"), group(n).into());
    }
    files.0.insert("modules/m20000.toml".into(), "[build]\nkind = \"group\"\n".into());
    assert_eq!(load(&files, &[]).unwrap().modules.len(), 20_001);
    // And closed to one cycle, which is said in a few lines.
    files.0.insert(
        "modules/m20000.toml".into(),
        "depends = [\"m0\"]\n[build]\nkind = \"group\"\n".into(),
    );
    let problems = load(&files, &[]).unwrap_err();
    assert_eq!(problems.list.len(), 1);
    assert!(problems.render_plain().len() < 2000, "{problems}");
}

#[test]
fn the_same_mistake_everywhere_is_said_a_few_times() {
    let mut files = Files::default();
    files.0.insert("ashlar.toml".into(), PROJECT.into());
    for n in 0..5_000 {
        let text = "depends = [\"mising\"]\nbase = \"debain\"\n[build]\nkind = \"script\"\nsteps = [\"x\"]\n";
        files.0.insert(format!("modules/m{n}.toml"), text.into());
    }
    let problems = load(&files, &[]).unwrap_err();
    assert_eq!((problems.list.len(), problems.more), (100, 9_900));
}

#[test]
fn a_missing_project_file_has_advice() {
    let problems = load(&Files::default(), &[]).unwrap_err();
    assert_eq!(
        problems.render_plain(),
        "cannot read `ashlar.toml`: entity not found
  help: `ashlar init` begins a project here; `-C DIR` names another folder
"
    );
}
