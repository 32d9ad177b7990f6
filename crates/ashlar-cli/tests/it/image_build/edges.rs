//! Odd places, odd names, and waiting that has an end.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{Context, outcome, wait};
use crate::support::Ran;

/// The names at the top of the image and in `/etc`, where mount points are made.
fn names(context: &Context, args: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir_in(context.0.root.parent().unwrap()).unwrap();
    let output = format!("rootfs:{}", folder.path().join("files").display());
    let mut all = vec!["--output", &output];
    all.extend(args);
    context.build(&all).good();
    let mut names = Vec::new();
    for within in ["", "etc/"] {
        for entry in std::fs::read_dir(folder.path().join("files").join(within)).unwrap() {
            names.push(format!("{within}{}", entry.unwrap().file_name().display()));
        }
    }
    names.sort();
    names
}

#[test]
fn mount_points_are_gone_however_the_store_is_reached() {
    let context = Context::new("RUN --mount=type=cache,target=/made/for/it touch /seen\n");
    let linked = context.beside("linked");
    std::os::unix::fs::symlink(context.0.root.parent().unwrap(), &linked).unwrap();
    let store = linked.join("other-store");
    let dots = context.beside("project-is-there/../third-store");
    std::fs::create_dir(context.beside("project-is-there")).unwrap();
    // Not even the topmost folder of those that were made is left.
    let all = ["bin", "etc", "etc/passwd", "seen", "tmp"];
    for store in [&store, &dots] {
        let store = store.display().to_string();
        assert_eq!(names(&context, &["--store", &store]), all, "{store}");
    }
    assert_eq!(names(&context, &[]), all);
}

#[test]
fn mounts_within_mounts_are_seen_in_any_order() {
    let context = Context::new(
        "RUN --mount=type=checkpoint,target=/w --mount=type=cache,target=/w/cache \
         --mount=type=bind,source=files,target=/w/src echo more > /w/cache/file; \
         cat /w/src/a /w/cache/file > /seen\n\
         RUN --mount=type=cache,target=/v/deep/cache --mount=type=tmpfs,target=/v \
         touch /v/deep/cache/there /v/here && [ -e /v/deep/cache/there ]\n",
    );
    context.0.file("files/a", "a\n");
    assert_eq!(context.file(&[], "seen"), "a\nmore\n");
}

#[test]
fn secrets_in_names_and_links_are_found_and_not_shown() {
    for kept in ["ln -s $KEY /link", "mkdir /d$KEY", "touch /$KEY", "mkfifo /f$KEY"] {
        let context =
            Context::new(&format!("RUN --mount=type=secret,id=key,env=KEY busybox {kept}\n"));
        context.0.file("key", "TOPSECRET123\n");
        std::fs::write(context.0.root.join(".dockerignore"), "key\n").unwrap();
        let ran = context.0.run(&["image", "build", "--secret", "id=key,src=key", "."]).exits(1);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(said.contains("the secret `key` is in /"), "{kept}: {said}");
        assert!(!said.contains("TOPSECRET"), "{kept}: {said}");
    }
}

#[test]
fn what_stands_at_the_place_of_an_output_is_looked_at_first() {
    let context = Context::new("RUN echo one > /one\n");
    let pipe = context.beside("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let full = context.beside("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("file"), "").unwrap();
    for (output, word) in [
        (format!("docker-archive:{}:x", pipe.display()), "is no file"),
        (format!("rootfs:{}", full.display()), "the folder is not empty"),
        ("rootfs:".to_owned(), "it names no folder"),
    ] {
        let ran = context.build(&["--output", &output]).exits(2);
        assert!(ran.err.contains(word) || ran.out.contains(word), "{}{}", ran.err, ran.out);
    }
    use std::os::unix::fs::FileTypeExt as _;
    assert!(pipe.symlink_metadata().unwrap().file_type().is_fifo());
    // Nothing was built for them.
    assert_eq!(outcome(&context.build(&[]).good(), "one"), "built");
    // A link is not replaced: what it leads to is.
    let (file, link) = (context.beside("file.tar"), context.beside("link.tar"));
    std::fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    context.build(&["--output", &format!("docker-archive:{}", link.display())]).good();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert!(file.metadata().unwrap().len() > 1000);
    let (empty, link) = (context.beside("empty"), context.beside("link"));
    std::fs::create_dir(&empty).unwrap();
    std::os::unix::fs::symlink(&empty, &link).unwrap();
    context.build(&["--output", &format!("rootfs:{}", link.display())]).good();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert!(empty.join("one").exists());
}

#[test]
fn a_budget_does_not_wait_for_others() {
    let lines = "RUN --mount=type=cache,target=/seen touch /seen/begun; sleep 20\n";
    let context = Context::new(lines);
    let mut first = context.begin(&[]);
    wait("the command begins", || {
        let caches = std::fs::read_dir(context.0.store.join("caches"));
        let folders = caches.into_iter().flatten().flatten();
        folders.map(|folder| folder.path().join("begun")).any(|file| file.exists())
    });
    let began = Instant::now();
    context.build(&["--budget", "1s"]).exits(5);
    let other = Context::new(&lines.replace("target=/seen", "target=/seen,sharing=locked"));
    let locked = other.0.command(&["image", "build", "--json", "--budget", "1s", "."]);
    let mut locked = locked;
    let ran = Ran::of(&locked.env("ASHLAR_STORE", &context.0.store).output().unwrap()).exits(5);
    assert_eq!(ran.summary()["out_of_time"], true);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn a_checkpoint_is_as_it_was_left() {
    let context = Context::new(
        "RUN --mount=type=checkpoint,target=/w cd /w; if [ -e f ]; then \
         busybox stat -c '%n %a %u %h %F' f g h p | sort > /seen; exit 0; fi; \
         echo f > f; chmod 4711 f; ln f g; echo h > h; busybox chown 1234 h; busybox mkfifo p; \
         sleep 60\n",
    );
    context.build(&["--budget", "2s", "--grace", "1"]).exits(5);
    assert_eq!(
        context.file(&[], "seen"),
        "f 4711 0 2 regular file\ng 4711 0 2 regular file\nh 644 1234 1 regular file\n\
         p 644 0 1 fifo\n"
    );
}

#[test]
fn a_name_that_layers_cannot_have_fails_where_it_is_made() {
    let context = Context::new("RUN mkdir /d && touch /d/.wh.foo\n");
    let ran = context.0.run(&["image", "build", "."]).exits(1);
    // The name alone is in the instruction as well, which is shown whatever happens.
    let said = format!("{}{}", ran.out, ran.err);
    assert!(said.contains("d/.wh.foo has a name that deletes another file"), "{said}");
}

#[test]
fn advice_about_the_context_is_for_the_context() {
    let context = Context::new("");
    for (lines, is_context) in [
        ("COPY none /none\n", true),
        ("COPY none* /none\n", true),
        ("RUN --mount=type=bind,source=none,target=/x true\n", true),
        ("FROM scratch\nCOPY --from=system /none /none\n", false),
        ("FROM scratch\nCOPY --from=system /none* /none\n", false),
        ("FROM system\nRUN --mount=type=cache,from=system,source=/none,target=/x true\n", false),
    ] {
        context.write(lines);
        let ran = context.build(&[]).exits(2);
        let said = format!("{}{}", ran.out, ran.err);
        // Without this any other failure would count as one without advice.
        assert!(said.contains("there is no `"), "{lines}{said}");
        assert_eq!(said.contains("dockerignore"), is_context, "{lines}{said}");
    }
}

#[test]
fn a_mount_that_has_no_place_is_a_mistake_of_the_file() {
    for (mounts, word, advice) in [
        ("--mount=type=bind,source=files,target=/w --mount=type=cache,target=/w/no", "/w/no", "rw"),
        ("--mount=type=tmpfs,target=/bin/sh/deep", "/bin/sh/deep", "is a file"),
        ("--mount=type=cache,target=/round/deep", "/round/deep", "round and round"),
        ("--mount=type=cache,target=/dangling/deep", "/dangling/deep", "leads nowhere"),
    ] {
        let lines = format!("RUN ln -s round /round; ln -s nothing /dangling\nRUN {mounts} true\n");
        let context = Context::new(&lines);
        context.0.file("files/a", "a\n");
        let ran = context.0.run(&["image", "build", "."]).exits(2);
        let said = format!("{}{}", ran.out, ran.err);
        let mistake = format!("cannot make the mount point {word}");
        assert!(said.contains(&mistake) && said.contains(advice), "{said}");
        assert!(said.contains(mounts), "the instruction is named: {said}");
    }
}

#[test]
fn owners_that_commands_do_not_have_are_refused_where_one_sees_them() {
    let context = Context::new("ADD big.tar /x/\n");
    context.0.file("f", "one\n");
    let tar = Command::new("tar")
        .args(["--owner=200000", "--group=300000", "-cf", "big.tar", "f"])
        .current_dir(&context.0.root)
        .status()
        .unwrap();
    assert!(tar.success());
    assert_eq!(context.file(&[], "x/f"), "one\n");
    context.write("ADD big.tar /x/\nRUN true\n");
    let ran = context.build(&[]).exits(2);
    assert!(ran.out.contains("/x/f belongs to 200000:300000"), "{}", ran.out);
    assert!(ran.err.contains("Dockerfile:5\n"), "{}", ran.err);
    // What another stage has of it is somebody else's then.
    context.write(
        "FROM scratch AS files\nADD big.tar /x/\nFROM system\n\
         COPY --from=files --chown=5:6 /x/f /f\nRUN stat -c %u:%g /f > /seen\n",
    );
    assert_eq!(context.file(&[], "seen"), "5:6\n");
}

#[test]
fn equal_files_of_several_instructions_are_several_files() {
    let context = Context::new(
        "COPY a /app/config\nCOPY a /app/src/\n\
         RUN [ ! /app/config -ef /app/src/a ] && cp /app/config /app/src/a && \
             cp -a /app /copy && echo more >> /copy/config && cat /copy/src/a > /seen\n",
    );
    context.0.file("a", "one\n");
    assert_eq!(context.file(&[], "seen"), "one\n");
}

#[test]
fn equal_files_of_several_mounts_are_several_files() {
    let from = |name| format!("--mount=type=bind,source={name},target=/{name} ");
    let mounts = ["a", "b", "c", "one", "two"].map(from).concat();
    let context = Context::new(&format!(
        "RUN {mounts} mkdir /out && cp -a /a /b /c /one /two /out && \
             find /out -type f -links +1 > /seen && find /a /b /c | sort >> /seen && \
             ! touch /b/g 2>/dev/null && ! touch /two 2>/dev/null\n",
    ));
    for file in ["a/f", "b/f", "c/f", "c/d/f", "one", "two"] {
        context.0.file(file, "equal\n");
    }
    assert_eq!(context.file(&[], "seen"), "/a\n/a/f\n/b\n/b/f\n/c\n/c/d\n/c/d/f\n/c/f\n");
}

#[test]
fn nobody_who_reads_what_is_said_is_no_reason_to_stop() {
    let context = Context::new("RUN echo one > /one\nRUN echo two > /two\n");
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut build = context.0.command(&["image", "build", "."]);
    assert_eq!(build.stderr(full()).status().unwrap().code(), Some(0));
    let ran = context.build(&[]).good();
    assert_eq!(outcome(&ran, "two"), "hit");
    // What is wrong is said before anything is built.
    let ran = context.build(&["--timestamp", "99999999999999"]).exits(2);
    assert!(ran.err.contains("--timestamp"), "{}", ran.err);
}

#[test]
fn what_is_wrong_outside_of_the_file_is_said_at_once() {
    let context = Context::new("RUN echo one > /one\n");
    let with = |time: &str| {
        let mut build = context.0.command(&["image", "build", "."]);
        Ran::of(&build.env("SOURCE_DATE_EPOCH", time).output().unwrap())
    };
    with("").good();
    with("1700000000").good();
    with("now").exits(2).says("SOURCE_DATE_EPOCH=now in the environment is no time");
    with("99999999999999").exits(2).says("a number of seconds since 1970, or nothing");
    context.build(&["--platform", "windows/amd64"]).exits(2).says("for instance linux/amd64");
    // Whose registry is away, and where it is named.
    let away = "127.0.0.1:1/some/base";
    for (lines, place) in [
        (format!("ARG X\nFROM {away}\n"), "Dockerfile:2:6"),
        (format!("FROM scratch\nCOPY --from={away} /a /a\n"), "Dockerfile:2:6"),
    ] {
        context.0.file("Dockerfile", lines);
        let ran = context.0.run(&["image", "build", "."]).exits(4);
        assert!(ran.err.contains(place) && ran.err.contains(away), "{}", ran.err);
    }
}
