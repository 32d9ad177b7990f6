//! Who runs a command in an image, and what rights that gives.

use ashlar_execute::{Root, User};
use ashlar_object::Node;
use ashlar_store::Capture;

use super::{base, on, user, view};
use crate::fixture::{BASE, Fixture};

#[test]
fn a_user_with_its_groups() {
    let fixture = Fixture::new();
    let mut asked = on(
        base(&fixture),
        "id -u; id -g; id -G; echo $HOME; touch /data/new 2>/dev/null || echo refused
         echo x >/tmp/mine; grep -E 'Cap(Prm|Eff|Inh|Amb)' /proc/self/status | cut -f2 | sort -u
         echo err >/dev/stderr",
    );
    view(&mut asked).user =
        User { uid: 1000, gid: 1001, groups: vec![4, 10], home: "/home/app".into() };
    let (outcome, log) = fixture.run(&asked);
    assert_eq!(log, "1000\n1001\n1001 4 10\n/home/app\nrefused\n0000000000000000\nerr\n");
    let ashlar_execute::Outcome::Succeeded(kept) = outcome else { panic!("{outcome:?}") };
    let Some(Node::File(file)) = kept.tree.get(&"tmp/mine".parse().unwrap()) else { panic!() };
    assert_eq!(file.meta.owner(), (1000, 1001));
}

#[test]
fn root_has_the_rights_that_containers_have() {
    let fixture = Fixture::new();
    let seen = fixture.output(&on(
        base(&fixture),
        "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f2 | sort -u
         grep -E 'Cap(Inh|Amb)' /proc/self/status | cut -f2 | sort -u
         grep -E 'NoNewPrivs|Seccomp:' /proc/self/status | cut -f2
         chown 12:34 /data/one; chmod 4755 /data/one; stat -c %u:%g:%a /data/one
         chroot / /bin/true && echo changed its root; grep SigIgn /proc/self/status | cut -f2 | cut -c13-",
    ));
    // Docker's default set.
    assert_eq!(
        seen,
        "00000000a80425fb\n0000000000000000\n0\n2\n12:34:4755\nchanged its root\n0000\n"
    );
}

/// `sudo` and the like: a set-user-id file makes its caller root of the sandbox, no more.
#[test]
fn set_user_id_counts_inside() {
    let fixture = Fixture::new();
    let mut layers = base(&fixture);
    layers.push(programs(&fixture, &["/usr/bin/cat", "/usr/bin/id"]));
    let asked = on(
        layers.clone(),
        "chmod 4755 /usr/bin/cat /usr/bin/id; echo secret >/data/one\n         chmod 600 /data/one",
    );
    let tree = fixture.kept(&asked);
    let Some(Node::File(file)) = tree.get(&"usr/bin/id".parse().unwrap()) else { panic!() };
    assert_eq!(file.meta.mode, 0o4755);
    layers.push(ashlar_execute::Kept { digest: tree.digest(), tree });
    let script = "/usr/bin/id -u; /usr/bin/cat /data/one /proc/self/uid_map; cat /data/one || true";
    let mut asked = on(layers, script);
    view(&mut asked).user = user(1000, 1000);
    asked.command.environment.insert("PATH".into(), "/bin".into());
    let seen = fixture.output(&asked);
    let words: Vec<&str> = seen.split_whitespace().collect();
    assert_eq!(words[..5], ["0", "secret", "0", &BASE.to_string(), "65536"], "{seen}");
    assert!(seen.contains("Permission denied"), "{seen}");
}

#[test]
fn file_capabilities_are_set_and_kept_and_count() {
    let fixture = Fixture::new();
    let names = ["/usr/sbin/setcap", "/sbin/setcap"];
    let Some(setcap) = names.into_iter().find(|name| std::path::Path::new(name).exists()) else {
        eprintln!("left out: setcap is not installed");
        return;
    };
    let mut layers = base(&fixture);
    layers.push(programs(&fixture, &[setcap, "/usr/bin/cat"]));
    let script = format!("{setcap} cap_net_raw=ep /usr/bin/cat");
    let tree = fixture.kept(&on(layers.clone(), &script));
    let Some(Node::File(file)) = tree.get(&"usr/bin/cat".parse().unwrap()) else { panic!() };
    let xattrs = &file.meta.extra.as_ref().unwrap().xattrs;
    assert_eq!(xattrs["security.capability"].len(), 20, "{xattrs:?}");
    layers.push(ashlar_execute::Kept { digest: tree.digest(), tree });
    let mut asked = on(layers, "/usr/bin/cat /proc/self/status | grep CapEff | cut -f2");
    view(&mut asked).user = user(1000, 1000);
    assert_eq!(fixture.output(&asked), "0000000000002000\n");
}

/// Programs of the machine with the libraries that they need.
fn programs(fixture: &Fixture, programs: &[&str]) -> ashlar_execute::Kept {
    let listed = std::process::Command::new("ldd").args(programs).output().unwrap().stdout;
    let listed = String::from_utf8(listed).unwrap();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    fixture.tree(Capture::Layer, |root| {
        for path in libraries.chain(programs.iter().copied()) {
            let path = path.trim_end_matches(':');
            let copy = root.join(path.trim_start_matches('/'));
            std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
            std::fs::copy(path, copy).unwrap();
        }
    })
}

#[test]
fn a_user_without_an_entry_and_an_image_without_users() {
    let fixture = Fixture::new();
    let mut asked =
        on(base(&fixture), "id -u; id -g; id -G; rm -f /etc/passwd 2>/dev/null || echo no");
    view(&mut asked).user = user(65_534, 0);
    assert!(matches!(asked.root, Root::Layers(_)));
    assert_eq!(fixture.output(&asked), "65534\n0\n0\nno\n");
}
