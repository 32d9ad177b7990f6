//! Odd places, odd names, and waiting that has an end.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{Context, outcome, wait};
use crate::support::Ran;

/// The names of everything in the image but what the small system has.
fn names(context: &Context, args: &[&str], within: &str) -> Vec<String> {
    let folder = tempfile::tempdir_in(context.0.root.parent().unwrap()).unwrap();
    let output = format!("rootfs:{}", folder.path().join("files").display());
    let mut all = vec!["--output", &output];
    all.extend(args);
    context.build(&all).good();
    let top = folder.path().join("files").join(within);
    let Ok(entries) = std::fs::read_dir(top) else { return Vec::new() };
    let name = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap())).collect();
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
    for store in [&store, &dots] {
        let store = store.display().to_string();
        assert!(names(&context, &["--store", &store], "made").is_empty(), "{store}");
    }
    assert!(names(&context, &[], "made").is_empty());
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
    assert!(ran.out.contains("d/.wh.foo") || ran.err.contains("d/.wh.foo"), "{}", ran.err);
}

#[test]
fn advice_about_the_context_is_for_the_context() {
    let context = Context::new("FROM scratch\nCOPY --from=system /none /none\n");
    let ran = context.build(&[]);
    assert!(!format!("{}{}", ran.out, ran.err).contains("dockerignore"), "{}", ran.err);
    context.write("COPY none /none\n");
    let ran = context.build(&[]);
    assert!(format!("{}{}", ran.out, ran.err).contains("dockerignore"), "{}", ran.err);
}
