//! An ordinary user, who has nothing but user namespaces.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use super::sample;
use crate::support::{ASHLAR, Project, Ran};

/// Nobody has this number.
const UID: u32 = 48_123;

/// Runs a program as that user in the folder of the project.
fn as_user(project: &Project, program: &Path, args: &[&str]) -> Output {
    Command::new(program)
        .args(args)
        .current_dir(&project.root)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", project.root.parent().unwrap())
        .uid(UID)
        .gid(UID)
        .output()
        .unwrap()
}

#[test]
fn an_ordinary_user_builds_through_a_user_namespace() {
    let project = sample();
    if std::fs::metadata(&project.root).unwrap().uid() != 0 {
        eprintln!("these tests already run as an ordinary user: nothing to try here");
        return;
    }
    let folder = project.root.parent().unwrap();
    let program = folder.join("ashlar");
    std::fs::copy(ASHLAR, &program).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let done =
        Command::new("chown").args(["-R", &format!("{UID}:{UID}")]).arg(folder).status().unwrap();
    assert!(done.success());
    let probe = as_user(&project, Path::new("unshare"), &["--user", "--map-root-user", "true"]);
    if !probe.status.success() {
        eprintln!(
            "ordinary users have no user namespaces here: {}",
            String::from_utf8_lossy(&probe.stderr)
        );
        return;
    }
    let run = |args: &[&str]| Ran::of(&as_user(&project, &program, args));
    let modules = |ran: Ran| {
        ran.modules().iter().map(|(m, o)| format!("{m}:{o}")).collect::<Vec<_>>().join(" ")
    };
    project.module(
        "who",
        "[build]\nkind = \"script\"\nsteps = ['id > $DESTDIR/id; chmod 4755 $DESTDIR/id; cat /proc/self/uid_map > $DESTDIR/map']\n",
    );
    assert_eq!(
        modules(run(&["build", "--json", "app"]).good()),
        "app:built lib:built one:built two:built"
    );
    assert_eq!(modules(run(&["build", "--json", "app"]).good()), "app:hit");
    run(&["build", "bad"]).exits(1).says("its command exited with 7");
    run(&["build", "who"]).good();
    let out = folder.join("out");
    run(&["checkout", "who", out.to_str().unwrap()]).good();
    let id = std::fs::read_to_string(out.join("id")).unwrap();
    assert!(id.starts_with("uid=0"), "{id}");
    assert_eq!(out.join("id").metadata().unwrap().uid(), UID, "files are their own");
    run(&["store", "verify"]).good();
    run(&["check", "app"]).good().says("came out the same");
    assert_eq!(run(&["shell", "app", "--", "sh", "-c", "id -u; exit 4"]).exits(4).out, "0\n");
    // The machine's root makes the same keys and the same bytes.
    let root = sample();
    root.build(&["app"]);
    let outputs = |ran: Ran| ran.events()[0]["outputs"].clone();
    assert_eq!(
        outputs(run(&["show", "--json", "app"]).good()),
        outputs(root.run(&["show", "--json", "app"]).good())
    );
    // Everything can be removed again without help.
    run(&["store", "gc", "--max-size", "0"]).good();
    let removed =
        as_user(&project, Path::new("rm"), &["-rf", folder.join(".cache").to_str().unwrap()]);
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
}
