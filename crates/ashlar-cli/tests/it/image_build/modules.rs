//! What a project makes lands in its images, with one key for all.

use super::{Context, outcome, wait};
use crate::support::{Project, Ran};

/// A project with modules and a context in one.
fn project(lines: &str) -> Context {
    let context = Context(Project::sample());
    context.write(lines);
    context
}

/// The same on another machine.
fn elsewhere(context: &Context) -> Context {
    let other = context.elsewhere();
    std::fs::copy(context.0.root.join("ashlar.toml"), other.0.root.join("ashlar.toml")).unwrap();
    other
}

/// How a module ended, if it was needed.
fn module(ran: &Ran, name: &str) -> Option<String> {
    let events = ran.events();
    let of = |event: &&serde_json::Value| {
        event["event"] == "step" && event["module"] == name && event["step"] == "build"
    };
    events.iter().find(of).map(|event| event["outcome"].as_str().unwrap().to_owned())
}

const LINES: &str = "RUN echo before > /before\n\
    COPY --from=module:app /bin/app /opt/app\n\
    RUN --mount=type=bind,from=module:lib,source=usr/lib,target=/lib-of \
      cat /lib-of/lib.txt > /copied\n\
    RUN sort /copied > /sorted\n";

#[test]
fn an_image_takes_what_modules_make_and_follows_it() {
    let context = project(LINES);
    let first = context.build(&[]).good();
    assert_eq!(module(&first, "app").as_deref(), Some("built"));
    assert_eq!(module(&first, "beside"), None, "nothing of it is read");
    assert_eq!(context.file(&[], "opt/app"), "application\nlibrary\nlibrary\nlibrary\n");
    assert_eq!(context.file(&[], "copied"), "library\n");
    // It is the step of the module that any build has.
    assert_eq!(context.0.outcomes(&["app"]), "app:hit");

    // All is found, and no module is asked for.
    let again = context.build(&[]).good();
    assert_eq!(again.summary()["built"], 0);
    assert_eq!(module(&again, "app"), None);

    context.0.edit("src/app/app.txt", "application", "another application");
    let edited = context.build(&[]).good();
    assert_eq!(module(&edited, "app").as_deref(), Some("built"));
    assert_eq!(module(&edited, "lib").as_deref(), Some("hit"));
    assert_eq!(outcome(&edited, "before"), "hit");
    assert_eq!(outcome(&edited, "COPY --from=module:app"), "built");
    assert_eq!(context.file(&[], "opt/app").lines().next(), Some("another application"));

    // A comment that comes to nothing in the library: it is made again, and all above stays.
    context.0.edit("src/lib/lib.txt", "library\n", "# what it is\nlibrary\n");
    let equal = context.build(&[]).good();
    assert_eq!(module(&equal, "lib").as_deref(), Some("built"));
    assert_eq!(module(&equal, "app").as_deref(), Some("cutoff"));
    for text in ["COPY --from=module:app", "/copied", "/sorted"] {
        assert_eq!(outcome(&equal, text), "cutoff", "{text}");
    }
}

#[test]
fn another_machine_brings_no_module_for_what_it_finds() {
    let folder = tempfile::tempdir().unwrap();
    let remote = format!("team=dir:{}", folder.path().display());
    let one = project(LINES);
    one.build(&["--remote", &remote, "--require-push"]).good();
    let two = elsewhere(&one);
    let ran = two.build(&["--remote", &remote]).good();
    assert_eq!(ran.summary()["built"], 0);
    assert_eq!((module(&ran, "app"), module(&ran, "lib")), (None, None));
    assert_eq!(two.0.outcomes(&["lib"]), "lib:built", "it did not come");
    assert_eq!(two.digest(), one.digest());
}

#[test]
fn what_was_made_before_a_kill_is_found_by_the_next_build() {
    let context = project(
        "COPY --from=module:lib /usr/lib/lib.txt /lib.txt\n\
         RUN --mount=type=cache,target=/seen touch /seen/begun; sleep 60\n",
    );
    let mut child = context.begin(&[]);
    let begun = || {
        let caches = std::fs::read_dir(context.0.store.join("caches"));
        let folders = caches.into_iter().flatten().flatten();
        folders.map(|folder| folder.path().join("begun")).any(|file| file.exists())
    };
    wait("the command begins", begun);
    child.kill().unwrap();
    child.wait().unwrap();
    context.write(
        "COPY --from=module:lib /usr/lib/lib.txt /lib.txt\n\
         COPY --from=module:one /usr/share/one /one\n",
    );
    let next = context.build(&[]).good();
    assert_eq!(outcome(&next, "COPY --from=module:lib"), "hit");
    assert_eq!(module(&next, "lib").as_deref(), Some("hit"));
    assert_eq!(module(&next, "one").as_deref(), Some("built"));
}

#[test]
fn images_begin_with_bases_and_modules_of_the_project() {
    let context = project("");
    context.0.file(
        "Dockerfile",
        "FROM base:busybox AS base\nRUN [\"/bin/mkdir\", \"-p\", \"/tmp\"]\nRUN echo on > /tmp/it\n\
         FROM module:lib AS lib\nCOPY --from=base /tmp/it /it\n\
         COPY --from=base:busybox /etc/passwd /passwd\n",
    );
    assert_eq!(context.file(&[], "usr/lib/lib.txt"), "library\n");
    assert_eq!(context.file(&[], "it"), "on\n");
    assert_eq!(context.file(&[], "passwd"), context.0.read("rootfs/etc/passwd"));
    let layout = context.beside("layout");
    let output = format!("oci:{}:1", layout.display());
    let first = context.digest();
    context.build(&["--output", &output]).good();
    assert_eq!(context.digest(), first);
    // A file of the base that changes is one of the image.
    context.0.file("rootfs/etc/passwd", "root:x:0:0::/:/bin/sh\nother:x:7:7::/:/bin/sh\n");
    let ran = context.build(&[]).good();
    assert_eq!(outcome(&ran, "/passwd"), "built");
    assert!(context.file(&[], "passwd").contains("other"));
}

#[test]
fn a_cache_can_begin_with_what_a_module_makes() {
    let lines = "RUN --mount=type=cache,target=/cache,from=module:lib,source=usr/lib \
        cat /cache/lib.txt > /seen && echo more >> /cache/lib.txt\n";
    let context = project(lines);
    assert_eq!(context.file(&[], "seen"), "library\n");
    context.write(&lines.replace("cat /cache", "cat  /cache"));
    assert_eq!(context.file(&[], "seen"), "library\nmore\n");
    // Another module begins another cache.
    context.0.edit("src/lib/lib.txt", "library", "new library");
    assert_eq!(context.file(&[], "seen"), "new library\n");
}

#[test]
fn whoever_only_asks_changes_no_lock_file() {
    let context = Context::new("");
    let text = "[project]\nname = \"p\"\n[base.debian]\nsuite = \"bookworm\"\n";
    context.0.file("ashlar.toml", text);
    context.0.file("Dockerfile", "FROM base:debian\nRUN true\n");
    for command in ["plan", "why"] {
        let ran = context.0.run(&["image", command, "."]).exits(2);
        assert!(ran.err.contains("the lock file has no base debian"), "{}", ran.err);
        assert!(ran.err.contains("`ashlar lock`"), "{}", ran.err);
    }
    assert!(!context.0.root.join("ashlar.lock").exists());
    // The advice is good: it knows a base that no module names.
    let ran = context.0.run(&["--offline", "lock"]);
    assert!(ran.err.contains("lacks base debian"), "{}", ran.err);
}

#[test]
fn a_group_stands_for_its_members() {
    let context = project("COPY --from=module:both /usr/share/ /all/\n");
    context.0.module("both", "depends = [\"one\", \"two\"]\n[build]\nkind = \"group\"\n");
    assert_eq!(context.file(&[], "all/one"), "library\n");
    assert_eq!(context.file(&[], "all/two"), "library\n");
}

#[test]
fn which_member_of_a_group_lies_over_the_other_is_in_the_key() {
    let context = project("COPY --from=module:both /usr/share/who /who\n");
    for name in ["under", "over"] {
        let steps =
            format!("'mkdir -p $DESTDIR/usr/share && echo {name} > $DESTDIR/usr/share/who'");
        context.0.module(name, &format!("[build]\nkind = \"script\"\nsteps = [{steps}]\n"));
    }
    let both = |depends: &str| {
        context.0.module("both", &format!("depends = [{depends}]\n[build]\nkind = \"group\"\n"));
        context.file(&[], "who")
    };
    assert_eq!(both("\"under\", \"over\""), "over\n");
    assert_eq!(both("\"over\", \"under\""), "under\n");
}

#[test]
fn commands_that_ask_know_modules_too() {
    let context = project(LINES);
    let asked =
        |command: &[&str]| context.0.run(&[&["image"], command, &["."]].concat()).good().out;
    assert!(asked(&["plan"]).contains("build"), "{}", asked(&["plan"]));
    context.build(&[]).good();
    assert!(asked(&["plan"]).contains("nothing to build"), "{}", asked(&["plan"]));
    context.0.edit("src/lib/lib.txt", "library", "other library");
    let why = asked(&["why"]);
    assert!(why.contains("module app") && why.contains("lib.txt"), "{why}");
    let seen = context.0.run(&["image", "shell", "--at", "5", ".", "--", "cat", "/opt/app"]).good();
    assert!(seen.out.contains("other library"), "{}", seen.out);
}

#[test]
fn mistakes_say_where_and_what_to_do() {
    let cases = [
        ("COPY --from=module:ap /x /y\n", "did you mean `module:app`?"),
        ("RUN --mount=from=module:libb true\n", "did you mean `module:lib`?"),
        ("COPY --from=base:busybo /x /y\n", "`base:busybox`"),
    ];
    for (lines, word) in cases {
        let ran = project(lines).build(&[]).exits(2);
        assert!(ran.err.contains("Dockerfile:4"), "{lines}{}", ran.err);
        assert!(ran.err.contains(word), "{lines}{}", ran.err);
    }
    let ran = project("COPY --from=module:lib /none /y\n").build(&[]);
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("none") || ran.out.contains("none"), "{}\n{}", ran.err, ran.out);
    let foreign = project("COPY --from=module:lib /usr /y\n");
    foreign.0.file(
        "Dockerfile",
        "FROM --platform=linux/riscv64 scratch\nCOPY --from=module:lib /usr /y\n",
    );
    let ran = foreign.build(&[]).exits(2);
    assert!(ran.err.contains("line 2") && ran.err.contains("linux/riscv64"), "{}", ran.err);
    // Without a project there is none.
    let alone = Context::new("COPY --from=module:lib /x /y\n");
    let ran = alone.build(&[]).exits(2);
    assert!(ran.err.contains("`ashlar.toml`"), "{}", ran.err);
    // One that is wrong says so itself.
    let broken = project("COPY --from=module:lib /x /y\n");
    broken.0.module("lib", "[build]\nkind = \"skript\"\n");
    let ran = broken.build(&[]).exits(2);
    assert!(ran.err.contains("there is no kind `skript`"), "{}", ran.err);
}
