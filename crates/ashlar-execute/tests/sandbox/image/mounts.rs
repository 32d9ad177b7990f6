//! What is mounted only while a command runs.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use ashlar_execute::{Mounted, Outcome, Owner, Secret};
use ashlar_object::Node;
use ashlar_store::Capture;

use super::{base, content, mount, on, one_file, run, user, view};
use crate::fixture::{BASE, Fixture, paths};

fn tree(tree: ashlar_execute::Kept, within: &str, writable: bool) -> Mounted {
    Mounted::Tree { tree, within: within.into(), writable }
}

#[test]
fn trees_and_parts_of_them() {
    let fixture = Fixture::new();
    let given = one_file(&fixture, "sub/file", "given\n");
    let mut asked = run(
        &fixture,
        "cat /a/b/sub/file /part/file /etc/one
         for f in /a/b/new /part/new /etc/one /a/b/sub/file; do
             if (echo x >>$f) 2>/dev/null; then echo wrote $f; fi
         done
         echo more >>/w/file; echo n >/w/new; rm -r /w/file; ls /w; echo x >>/one; cat /one",
    );
    view(&mut asked).mounts = vec![
        mount("/a/b", tree(given.clone(), "", false)),
        mount("/part", tree(given.clone(), "sub", false)),
        mount("/etc/one", tree(given.clone(), "/sub/file", false)),
        mount("/w", tree(given.clone(), "sub/", true)),
        mount("/one", tree(given.clone(), "sub/file", true)),
    ];
    // Twice, to see that nothing of it stays anywhere.
    for _ in 0..2 {
        let (outcome, log) = fixture.run(&asked);
        assert_eq!(log, "given\ngiven\ngiven\nnew\ngiven\nx\n");
        let Outcome::Succeeded(kept) = outcome else { panic!("{outcome:?}") };
        assert_eq!(paths(&kept.tree), Vec::<String>::new());
    }
    view(&mut asked).mounts = vec![mount("/a", tree(given, "not/there", false))];
    let error = fixture.try_run(&asked).unwrap_err().to_string();
    assert!(error.contains("`not/there`") && error.contains("/a"), "{error}");
}

#[test]
fn mount_points_stay_when_something_is_in_them() {
    let fixture = Fixture::new();
    let given = one_file(&fixture, "file", "");
    let mut asked = run(&fixture, "echo x >/a/beside; rmdir /var");
    view(&mut asked).mounts = vec![
        mount("/a/b", tree(given.clone(), "", false)),
        mount("/etc/new/x", tree(given, "", false)),
    ];
    let kept = fixture.kept(&asked);
    assert_eq!(paths(&kept), ["a", "a/beside", "var"]);
}

#[test]
fn a_tmpfs_has_a_size() {
    let fixture = Fixture::new();
    let mut asked = on(
        base(&fixture),
        "head -c 60000 /dev/zero >/data/fits && echo fits
         head -c 600000 /dev/zero >/data/big 2>/dev/null || echo full; stat -c %a /data; ls /data",
    );
    view(&mut asked).mounts = vec![mount("/data", Mounted::Tmpfs { size: Some(128 << 10) })];
    let (outcome, log) = fixture.run(&asked);
    assert_eq!(log, "fits\nfull\n1777\nbig\nfits\n");
    let Outcome::Succeeded(kept) = outcome else { panic!("{outcome:?}") };
    assert_eq!(paths(&kept.tree), Vec::<String>::new());
}

#[test]
fn folders_of_the_machine_outlive_the_command() {
    let fixture = Fixture::new();
    let path = fixture.folder.path().join("cache");
    let folder = |read_only| Mounted::Folder {
        path: path.clone(),
        read_only,
        seed: None,
        made: Owner { mode: 0o750, uid: 7, gid: 8 },
    };
    let mut asked = run(&fixture, "stat -c %a:%u:%g /var/cache/x; echo kept >>/var/cache/x/file");
    view(&mut asked).user = user(7, 8);
    view(&mut asked).mounts = vec![mount("/var/cache/x", folder(false))];
    let (outcome, log) = fixture.run(&asked);
    assert_eq!(log, "750:7:8\n");
    let Outcome::Succeeded(kept) = outcome else { panic!("{outcome:?}") };
    assert_eq!(paths(&kept.tree), Vec::<String>::new());
    let file = fs::metadata(path.join("file")).unwrap();
    assert_eq!((file.uid(), file.gid()), (BASE + 7, BASE + 8));
    let script = "cat /c/file; touch /c/new 2>/dev/null || echo read-only";
    let mut asked = run(&fixture, script);
    view(&mut asked).mounts = vec![mount("/c", folder(true))];
    assert_eq!(fixture.output(&asked), "kept\nread-only\n");
}

#[test]
fn secrets_are_on_no_disk() {
    let fixture = Fixture::new();
    let secret = "the-bytes-of-a-secret-that-is-looked-for";
    let mut asked = on(
        base(&fixture),
        "wc -c </run/secrets/key; stat -c %a:%u:%g /run/secrets/key /root/.netrc
         (echo x >/run/secrets/key) 2>/dev/null && echo wrote; grep -c secret /root/.netrc; sleep 0.5",
    );
    let content: Secret = secret.as_bytes().into();
    assert_eq!(format!("{content:?}"), "40 secret bytes");
    view(&mut asked).mounts = vec![
        mount("/run/secrets/key", Mounted::File { content: content.clone(), made: Owner::SECRET }),
        mount(
            "/root/.netrc",
            Mounted::File { content, made: Owner { mode: 0o440, uid: 3, gid: 4 } },
        ),
    ];
    let store = fixture.folder.path();
    let found = || {
        let out = std::process::Command::new("grep").args(["-rl", secret]).arg(store).output();
        String::from_utf8(out.unwrap().stdout).unwrap()
    };
    let (outcome, log) = std::thread::scope(|scope| {
        let running = scope.spawn(|| fixture.run(&asked));
        std::thread::sleep(std::time::Duration::from_millis(350));
        assert_eq!(found(), "");
        running.join().unwrap()
    });
    assert_eq!(log, "40\n400:0:0\n440:3:4\n1\n");
    let Outcome::Succeeded(kept) = outcome else { panic!("{outcome:?}") };
    // The folders that were made for them go as well.
    assert_eq!(paths(&kept.tree), Vec::<String>::new());
    assert_eq!(found(), "");
}

#[test]
fn mounts_are_made_in_order_and_through_links() {
    let fixture = Fixture::new();
    let given = one_file(&fixture, "file", "inner\n");
    let mut layers = base(&fixture);
    layers.push(fixture.tree(Capture::Layer, |root| {
        std::os::unix::fs::symlink("/data/old", root.join("link")).unwrap();
        fs::create_dir(root.join("etc")).unwrap();
        // As systems with a resolver of their own have it; it leads to nothing.
        std::os::unix::fs::symlink("../run/made/resolv.conf", root.join("etc/resolv.conf"))
            .unwrap();
    }));
    let mut asked = on(layers, "cat /link/a/file; ls /data/old; cat /etc/resolv.conf");
    let text = Secret::from(&b"nameserver\n"[..]);
    view(&mut asked).mounts = vec![
        mount("/link", Mounted::Tmpfs { size: None }),
        mount("/link/a", tree(given, "", false)),
        mount("/etc/resolv.conf", Mounted::File { content: text, made: Owner::SECRET }),
    ];
    let (outcome, log) = fixture.run(&asked);
    assert_eq!(log, "inner\na\nnameserver\n");
    let Outcome::Succeeded(kept) = outcome else { panic!("{outcome:?}") };
    assert_eq!(paths(&kept.tree), Vec::<String>::new());
}

#[test]
fn a_link_to_the_machine_leads_nowhere() {
    let fixture = Fixture::new();
    let outside = fixture.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let target = outside.to_str().unwrap().to_owned();
    let mut layers = base(&fixture);
    layers.push(fixture.tree(Capture::Layer, |root| {
        std::os::unix::fs::symlink(&target, root.join("out")).unwrap();
    }));
    let given = one_file(&fixture, "file", "inner\n");
    let mut asked = on(layers, "cat /out/file");
    view(&mut asked).mounts = vec![mount("/out", tree(given, "", false))];
    // It is followed inside only, where it leads to nothing.
    match fixture.try_run(&asked) {
        Ok(finished) => assert!(matches!(finished.outcome, Outcome::Succeeded(_))),
        Err(error) => assert!(error.to_string().contains("mount point /out"), "{error}"),
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_checkpoint_is_there_again() {
    let fixture = Fixture::new();
    let made = Owner { mode: 0o755, uid: 5, gid: 6 };
    let checkpoint = |seed| mount("/work", Mounted::Checkpoint { seed, made });
    let mut asked = on(
        base(&fixture),
        "cd /work; echo one >one; mkdir d; echo two >d/two; touch -d @1000000000 d/two
         chmod 700 d; exit 3",
    );
    view(&mut asked).user = user(5, 6);
    view(&mut asked).mounts = vec![checkpoint(None)];
    let finished = fixture.try_run(&asked).unwrap();
    assert!(matches!(finished.outcome, Outcome::Failed(3)), "{:?}", finished.outcome);
    let [left] = &finished.checkpoints[..] else { panic!("{:?}", finished.checkpoints) };
    assert_eq!(
        (left.at.as_str(), paths(&left.kept.tree)),
        ("/work", ["d", "d/two", "one"].map(str::to_owned).to_vec())
    );
    assert_eq!(content(&fixture, &left.kept.tree, "d/two"), "two\n");

    let mut again =
        on(base(&fixture), "cd /work; stat -c %n:%a:%u:%g:%Y . d d/two; cat one; echo 3 >>one");
    view(&mut again).user = user(5, 6);
    view(&mut again).mounts = vec![checkpoint(Some(left.kept.clone()))];
    let finished = fixture.try_run(&again).unwrap();
    let log = fixture.text(&finished.log);
    assert!(finished.checkpoints.is_empty(), "it succeeded");
    let Outcome::Succeeded(kept) = finished.outcome else { panic!("{:?} {log}", finished.outcome) };
    assert!(log.contains("d:700:5:6:") && log.contains("d/two:644:5:6:1000000000\none\n"), "{log}");
    assert!(log.starts_with(".:755:5:6:"), "{log}");
    assert_eq!(paths(&kept.tree), Vec::<String>::new());
    // The seed is as it was.
    assert!(matches!(left.kept.tree.get(&"one".parse().unwrap()), Some(Node::File(_))));
    assert_eq!(content(&fixture, &left.kept.tree, "one"), "one\n");
}
