//! What a command sees.

use std::fs;
use std::os::unix::fs::symlink;

use ashlar_execute::{Keep, Mount, Root};
use ashlar_object::Node;
use ashlar_store::Capture;

use crate::fixture::{Fixture, paths, request};

#[test]
fn is_root_of_a_machine_of_its_own() {
    let fixture = Fixture::new();
    let seen = fixture.output(&fixture.request(
        "id -u; id -g; id -G; hostname; umask; echo $$; pwd; ls /proc | grep -c '^[0-9]*$'
         tty || true; readlink /proc/self/fd/0; cat; (: </dev/tty) 2>/dev/null || echo no terminal",
    ));
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[..5], ["0", "0", "0", "ashlar", "0022"], "{seen}");
    assert!(lines[5].parse::<u32>().unwrap() < 10, "{seen}");
    assert_eq!(lines[6], "/build/src");
    assert!(lines[7].parse::<u32>().unwrap() < 10, "{seen}");
    assert_eq!(lines[8..10], ["not a tty", "/dev/null"]);
    assert_eq!(lines.last(), Some(&"no terminal"), "{seen}");
}

#[test]
fn has_no_network_but_its_own() {
    let fixture = Fixture::new();
    let seen =
        fixture.output(&fixture.request("cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' '"));
    assert_eq!(seen, "lo\n");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("! nc -w 2 127.0.0.1 {port} </dev/null");
    fixture.output(&fixture.request(&script));
}

#[test]
fn has_only_the_environment_that_was_declared() {
    let fixture = Fixture::new();
    let mut asked = fixture.request("env | sort");
    asked.command.environment.insert("OPTION_DEBUG".into(), "a b\n$c".into());
    let seen = fixture.output(&asked);
    let names: Vec<&str> =
        seen.lines().filter_map(|line| line.split_once('=')).map(|p| p.0).collect();
    assert_eq!(
        names,
        ["HOME", "JOBS", "LC_ALL", "MAKEFLAGS", "OPTION_DEBUG", "PATH", "PWD", "SHLVL", "TZ"]
    );
    assert!(seen.contains("OPTION_DEBUG=a b\n"), "{seen}");
    assert!(seen.contains("JOBS=2\n"));
    assert!(seen.contains("PATH=/build/bin:/usr/local/sbin:"));
}

#[test]
fn cannot_change_the_machine() {
    let fixture = Fixture::new();
    for many_ids in [false, true] {
        let mut asked = request(
            Root::Host(Vec::new()),
            "for file in /proc/sys/kernel/hostname /proc/sys/vm/swappiness /proc/sysrq-trigger \
                 /etc/hostname /etc/new /usr/new /new /build/bin/make /sys/new; do
                 if sh -c \"echo x >>$file\" 2>/dev/null; then echo wrote $file; fi
             done
             ls -d /root /home /boot /mnt /srv 2>/dev/null || true
             cat /etc/shadow 2>/dev/null || true
             chmod u+s /usr/bin/env 2>/dev/null && echo changed a mode
             mount -o remount,rw,bind /usr 2>/dev/null && echo made it writable
             umount -l /usr 2>/dev/null && echo unmounted
             mknod /tmp/disk b 254 0 2>/dev/null && echo made a disk
             echo x >$HOME/file; echo x >/tmp/file; echo x >/run/file; echo x >file; echo done",
        );
        asked.many_ids = many_ids;
        assert_eq!(fixture.output(&asked), "done\n");
    }
    assert!(!std::path::Path::new("/etc/new").exists());
}

#[test]
fn keeps_the_capabilities_that_files_need() {
    let fixture = Fixture::new();
    let mut asked = fixture.request(
        "echo x >file; chown 12:34 file; chmod 4755 file; stat -c %u:%g:%a file
         mount -t tmpfs none /tmp 2>/dev/null && echo mounted; true",
    );
    assert_eq!(fixture.output(&asked), "12:34:4755\n");
    asked.many_ids = true;
    assert_eq!(fixture.output(&asked), "12:34:4755\nmounted\n");
}

#[test]
fn can_open_its_output_by_name() {
    let fixture = Fixture::new();
    let asked = fixture.request("echo one >/dev/stderr; echo two >>/dev/stdout");
    assert_eq!(fixture.output(&asked), "one\ntwo\n");
}

#[test]
fn source_is_writable_and_private() {
    let fixture = Fixture::new();
    let source = fixture.tree(Capture::Outputs, |folder| {
        fs::write(folder.join("main.c"), "one\n").unwrap();
        fs::write(folder.join("gone"), "").unwrap();
    });
    let script = "echo two >>main.c; rm gone; mkdir new; cp main.c $0; ls; cat main.c";
    let mut asked = fixture.request(script);
    asked.source = Some(source);
    for _ in 0..2 {
        assert_eq!(fixture.output(&asked), "main.c\nnew\nsh\none\ntwo\n");
    }
}

#[test]
fn mounts_are_read_only_and_leave_no_trace() {
    let fixture = Fixture::new();
    let tree = fixture.tree(Capture::Outputs, |folder| {
        fs::write(folder.join("hello"), "hello\n").unwrap();
    });
    // Through a link of the root, at a new place, and where a folder is.
    let layer = fixture.tree(Capture::Layer, |folder| {
        symlink("usr/lib", folder.join("lib")).unwrap();
    });
    let busybox = fixture.busybox();
    let mut asked = request(
        Root::Layers(vec![busybox, layer]),
        "cat /opt/a/b/hello /usr/lib/here/hello /var/hello
         for place in /opt/a/b /usr/lib/here /var; do
             if touch $place/hello 2>/dev/null || touch $place/new 2>/dev/null; then echo wrote; fi
             mount -o remount,rw,bind $place 2>/dev/null && echo made it writable
         done
         mkdir /etc/kept",
    );
    let at = |at: &str| Mount { tree: tree.clone(), at: at.into() };
    asked.mounts = vec![at("/opt/a/b"), at("/lib/here"), at("/var")];
    asked.many_ids = true;
    asked.keep = Keep::Changes;
    assert_eq!(fixture.output(&asked), "hello\nhello\nhello\n");
    assert_eq!(paths(&fixture.kept(&asked)), ["etc", "etc/kept"]);
}

#[test]
fn outputs_are_captured() {
    let fixture = Fixture::new();
    let asked = fixture.request(
        "cd /build/dest; mkdir -p usr/bin; echo x >usr/bin/tool; chmod 755 usr/bin/tool
         ln -s tool usr/bin/alias; echo y >file; chown 5:5 file",
    );
    let tree = fixture.kept(&asked);
    assert_eq!(paths(&tree), ["file", "usr", "usr/bin", "usr/bin/alias", "usr/bin/tool"]);
    let Some(Node::File(file)) = tree.get(&"file".parse().unwrap()) else { panic!() };
    assert_eq!((file.meta.mode, file.meta.owner()), (0o644, (0, 0)));
    let mut asked = asked;
    asked.keep = Keep::Root;
    let tree = fixture.kept(&asked);
    let Some(Node::File(file)) = tree.get(&"file".parse().unwrap()) else { panic!() };
    assert_eq!(file.meta.owner(), (5, 5));
}

#[test]
fn the_machine_is_seen_under_layers() {
    let fixture = Fixture::new();
    let layer = fixture.tree(Capture::Outputs, |folder| {
        fs::create_dir_all(folder.join("usr/bin")).unwrap();
        fs::create_dir_all(folder.join("lib/ours")).unwrap();
        fs::create_dir_all(folder.join("added")).unwrap();
        fs::write(folder.join("usr/bin/ours"), "#!/bin/sh\necho ours\n").unwrap();
        fs::set_permissions(
            folder.join("usr/bin/ours"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        fs::write(folder.join("lib/ours/file"), "lib\n").unwrap();
        fs::write(folder.join("added/file"), "added\n").unwrap();
    });
    let asked = request(
        Root::Host(vec![layer]),
        "ours; cat /lib/ours/file /added/file; ls /usr/bin/env; touch /added/new 2>/dev/null || echo no",
    );
    assert_eq!(fixture.output(&asked), "ours\nlib\nadded\n/usr/bin/env\nno\n");
}

#[test]
fn the_machine_is_seen_without_the_store() {
    let mut fixture = Fixture::new();
    let folder = tempfile::TempDir::new_in("/var/tmp").unwrap();
    let options = ashlar_store::OpenOptions { owner_base: crate::fixture::BASE, read_only: false };
    let path = folder.path().join("store");
    fixture.store = std::sync::Arc::new(ashlar_store::LocalStore::open(&path, options).unwrap());
    let options = ashlar_execute::SandboxOptions {
        owner_base: crate::fixture::BASE,
        helper: crate::fixture::helper(),
        keep_failed: false,
        on_output: std::sync::Arc::new(|_, _| {}),
    };
    fixture.sandbox = ashlar_execute::Sandbox::new(fixture.store.clone(), options);
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let script = format!("ls -d /var/lib; ls {}; ls {}", folder.path().display(), path.display());
    assert_eq!(fixture.output(&request(Root::Host(Vec::new()), &script)), "/var/lib\nstore\n");
}

/// Runs the helper program on a terminal of its own and types a line.
fn on_terminal(arguments: &str) -> (Option<i32>, String) {
    let run = format!("{} {arguments}", crate::fixture::helper().display());
    let mut process = std::process::Command::new("script")
        .args(["-qec", &run, "/dev/null"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"typed\n").unwrap();
    let output = process.wait_with_output().unwrap();
    drop(input);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_shell_has_the_terminal() {
    let fixture = Fixture::new();
    let store = fixture.folder.path().join("other");
    let script = "test -t 0 && test -t 1 && read line && echo \"got $line\" && exit 7";
    let (code, text) = on_terminal(&format!("shell {} '{script}'", store.display()));
    assert!(text.contains("got typed"), "{text}");
    assert_eq!(code, Some(7), "{text}");
}

#[test]
fn a_step_has_none_even_where_there_is_one() {
    let fixture = Fixture::new();
    let store = fixture.folder.path().join("other");
    let script =
        "if (: </dev/tty) 2>/dev/null; then echo got one; fi; test -t 1 || echo no terminal";
    let (code, text) = on_terminal(&format!("run {} '{script}'", store.display()));
    assert!(text.contains("no terminal") && !text.contains("got"), "{text}");
    assert_eq!(code, Some(0), "{text}");
}

/// What no name space separates: keyrings, the terminal's input, sockets past the network.
#[test]
fn cannot_make_calls_that_reach_past_its_name_spaces() {
    let fixture = Fixture::new();
    if !std::path::Path::new("/usr/bin/perl").exists() {
        eprintln!("left out: perl is not installed");
        return;
    }
    let script = r#"
        perl -e '$! = 0; syscall(250, 0, -3, 0); print "keys $!\n"'
        perl -MSocket -e 'socket(my $s, 40, 1, 0) or print "vsock $!\n"'
        perl -e 'my $x = "x"; ioctl(STDIN, 0x5412, $x) or print "push $!\n"'
        perl -MSocket -e 'socket(my $s, AF_UNIX, SOCK_STREAM, 0) and print "unix is fine\n"'
        ulimit -s; ulimit -n; ulimit -v
    "#;
    let seen = fixture.output(&request(Root::Host(Vec::new()), script));
    let expected = if cfg!(target_arch = "x86_64") {
        "keys Function not implemented\nvsock Address family not supported by protocol\n\
         push Operation not permitted\nunix is fine\n8192\n1024\nunlimited\n"
    } else {
        return;
    };
    assert_eq!(seen, expected);
}
