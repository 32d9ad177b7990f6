//! What a command in an image sees.

use ashlar_execute::{Network, Outcome};

use super::{base, on, run, user, view};
use crate::fixture::{Fixture, paths};

#[test]
fn has_the_environment_that_was_given_and_nothing_more() {
    let fixture = Fixture::new();
    let mut asked = run(&fixture, "");
    asked.command.arguments = vec!["env".into()];
    asked.command.environment.insert("VERSION".into(), "1 2".into());
    let seen = fixture.output(&asked);
    let mut lines: Vec<&str> = seen.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines[0], "HOME=/");
    assert!(lines[1].starts_with("PATH=/usr/local/sbin:"), "{seen}");
    assert_eq!(lines[2..], ["VERSION=1 2"]);
    asked.command.environment.insert("HOME".into(), "/else".into());
    assert!(fixture.output(&asked).contains("HOME=/else\n"));
}

#[test]
fn is_in_a_container_of_its_own() {
    let fixture = Fixture::new();
    let mut asked = on(
        base(&fixture),
        "id -u; hostname; umask; pwd; ls -a / | tr '\\n' ' '; echo
         ls /dev | tr '\\n' ' '; echo; ls /dev/pts; df /dev/shm | tail -n 1 | cut -d' ' -f1
         ls /proc | grep -c '^[0-9]*$'; ls /sys
         grep -c '^proc /proc/sys proc ro,' /proc/mounts
         readlink /proc/self/fd/0; tty || true
         echo x >/dev/null; head -c 3 /dev/zero | wc -c; echo shared >/dev/shm/file
         for file in /proc/sys/kernel/hostname /proc/sys/vm/swappiness /proc/sysrq-trigger /sys/x; do
             if (echo x >$file) 2>/dev/null; then echo wrote $file; fi
         done
         mount -t tmpfs none /data 2>/dev/null && echo mounted
         umount -l /proc 2>/dev/null && echo unmounted
         mknod /data/disk b 254 0 2>/dev/null && echo made a disk
         echo error >&2; echo named >/dev/stderr",
    );
    asked.command.working_directory = "data/old".into();
    let seen = fixture.output(&asked);
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[..4], ["0", "ashlar", "0022", "/data/old"], "{seen}");
    assert_eq!(lines[4], ". .. bin data dev etc proc run sys tmp usr var ");
    assert_eq!(
        lines[5],
        "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero "
    );
    assert_eq!(lines[6..8], ["ptmx", "tmpfs"], "{seen}");
    assert!(lines[8].parse::<u32>().unwrap() < 8, "{seen}");
    assert_eq!(lines[9..], ["1", "/dev/null", "not a tty", "3", "error", "named"], "{seen}");
    fixture.assert_nothing_left();
}

#[test]
fn tmp_and_run_are_the_images_own() {
    let fixture = Fixture::new();
    let asked =
        on(base(&fixture), "echo t >/tmp/t; echo r >/run/r; mkdir -p /build; echo b >/build/b");
    let tree = fixture.kept(&asked);
    assert_eq!(paths(&tree), ["build", "build/b", "run", "run/r", "tmp", "tmp/t"]);
}

#[test]
fn a_command_is_looked_for_as_everywhere() {
    let fixture = Fixture::new();
    let mut asked = run(&fixture, "");
    for (command, code, says) in [
        ("missing", 127, "cannot start missing: it is in no folder of PATH (/usr/local/sbin:"),
        ("/bin/missing", 127, "cannot start /bin/missing: it, or the interpreter"),
        ("/etc/passwd", 126, "cannot start /etc/passwd: Permission denied"),
        ("", 127, "there is no command to run"),
    ] {
        asked.command.arguments = vec![command.into()];
        let (outcome, log) = fixture.run(&asked);
        assert!(matches!(outcome, Outcome::Failed(found) if found == code), "{outcome:?} {log}");
        assert!(log.contains(says), "{log}");
    }
    asked.command.arguments = vec!["true".into()];
    asked.command.working_directory = "gone".into();
    let (outcome, log) = fixture.run(&asked);
    assert!(matches!(outcome, Outcome::Failed(126)), "{outcome:?}");
    assert!(log.contains("cannot enter the working directory /gone: No such file"), "{log}");
    // Without PATH as well; the working directory is not part of it.
    asked.command.working_directory = "bin".into();
    asked.command.environment.clear();
    fixture.output(&asked);
}

#[test]
fn has_no_network_but_localhost() {
    let fixture = Fixture::new();
    let seen = fixture.output(&run(
        &fixture,
        "cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' '; cat /etc/hosts; ls /etc
         nc -l -p 4000 </dev/null & sleep 0.3; nc -w 3 127.0.0.1 4000 </dev/null && echo reached
         wait",
    ));
    assert!(seen.starts_with("lo\n127.0.0.1\tlocalhost"), "{seen}");
    assert!(seen.ends_with("\nhosts\npasswd\nreached\n"), "{seen}");
}

#[test]
fn sees_the_machines_network_when_it_may() {
    let fixture = Fixture::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut peer, b"from outside\n").unwrap();
    });
    let script = format!(
        "nc -w 5 127.0.0.1 {port} </dev/null; head -c $(wc -c </data/hosts) /etc/hosts | cmp - /data/hosts && echo the same; tail -n 1 /etc/hosts
         echo 10.0.0.1 other >>/etc/hosts; echo >>/etc/resolv.conf"
    );
    let mut layers = base(&fixture);
    layers.push(super::one_file(
        &fixture,
        "data/hosts",
        &std::fs::read_to_string("/etc/hosts").unwrap(),
    ));
    let mut asked = on(layers, &script);
    view(&mut asked).network = Network::Machine;
    let (outcome, log) = fixture.run(&asked);
    answering.join().unwrap();
    assert_eq!(log, "from outside\nthe same\n127.0.0.1\tashlar\n");
    let Outcome::Succeeded(kept) = outcome else { panic!("{outcome:?}") };
    assert_eq!(paths(&kept.tree), Vec::<String>::new());
    assert!(!std::fs::read_to_string("/etc/hosts").unwrap().contains("10.0.0.1 other"));
}

#[test]
fn images_need_layers_and_ids_that_exist_and_keep_their_changes() {
    let fixture = Fixture::new();
    let mut asked = run(&fixture, "true");
    asked.root = ashlar_execute::Root::Host(Vec::new());
    let error = fixture.try_run(&asked).unwrap_err();
    assert!(error.to_string().contains("runs on layers"), "{error}");
    let mut asked = run(&fixture, "true");
    asked.keep = ashlar_execute::Keep::Outputs;
    assert!(fixture.try_run(&asked).is_err());
    // Nothing to start, but no error of ours.
    let (outcome, _) = fixture.run(&on(Vec::new(), "true"));
    assert!(matches!(outcome, Outcome::Failed(127)), "{outcome:?}");
    let mut asked = run(&fixture, "true");
    view(&mut asked).user = user(70_000, 0);
    assert!(fixture.try_run(&asked).is_err());
}
