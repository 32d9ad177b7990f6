//! The machine's own apt, and real Debian packages from its mirror.
//!
//! The first test needs the network, as the machine's apt reaches it; the second is run by hand:
//! `cargo test -p ashlar-source --test machine -- --ignored --nocapture`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use ashlar_object::{Digest, Node, Tree};
use ashlar_source::{Apt, Fetcher, ToolRequest};
use ashlar_store::{MemoryStore, Store as _};

#[test]
fn resolves_fetches_and_unpacks_zlib() {
    let folder = tempfile::tempdir().unwrap();
    let apt = Apt::new(folder.path().join("apt"));
    apt.update().unwrap();
    let locked = apt.resolve_source("zlib").unwrap();
    assert!(locked.files[0].path.starts_with("pool/main/z/zlib/"), "{locked:?}");
    assert!(locked.files[0].path.ends_with(".dsc"), "{locked:?}");
    assert!(locked.build_depends.iter().any(|d| d.starts_with("debhelper")), "{locked:?}");
    let store = MemoryStore::new();
    let fetcher = Fetcher::new(&store, folder.path().into(), false, &apt, &|_| None, &|_, _| {});
    let (digest, tree) = fetcher.deb_tree(&locked, &[]).unwrap();
    assert!(store.missing(&[digest]).unwrap().is_empty());
    for path in ["zlib.h", "debian/rules", "configure"] {
        assert!(tree.get(&path.parse().unwrap()).is_some(), "{path}");
    }
    assert!(tree.get(&".pc".parse().unwrap()).is_none());
    // Offline everything is there.
    let offline = Fetcher::new(&store, folder.path().into(), true, &apt, &|_| None, &|_, _| {});
    assert_eq!(offline.deb_tree(&locked, &[]).unwrap().0, digest);
}

const MODULES: [&str; 20] = [
    "zlib",
    "libgpg-error",
    "libassuan",
    "libgcrypt20",
    "popt",
    "libaio",
    "util-linux",
    "lvm2",
    "kexec-tools",
    "dropbear",
    "pciutils",
    "ncurses",
    "readline",
    "bash",
    "libnl3",
    "net-snmp",
    "libevent",
    "lldpd",
    "socat",
    "iptables",
];

#[test]
#[ignore = "fetches some 60 MB of sources and 170 packages"]
fn every_module_of_the_example() {
    let folder = tempfile::tempdir().unwrap();
    let apt = Apt::new(folder.path().join("apt"));
    let start = Instant::now();
    apt.update().unwrap();
    println!("update {:?}", start.elapsed());
    let store = MemoryStore::new();
    let fetcher = Fetcher::new(&store, folder.path().into(), false, &apt, &|_| None, &|_, _| {});
    for module in MODULES {
        let start = Instant::now();
        let locked = apt.resolve_source(module).unwrap();
        let resolved = start.elapsed();
        let files: Vec<_> = locked.files.iter().collect();
        fetcher.fetch_debian_all(&files).unwrap();
        let fetched = start.elapsed() - resolved;
        let (_, tree) = fetcher.deb_tree(&locked, &[]).unwrap();
        assert!(tree.get(&"debian/rules".parse().unwrap()).is_some());
        let made = start.elapsed() - resolved - fetched;
        let oracle = folder.path().join("oracle");
        std::fs::create_dir(&oracle).unwrap();
        for file in &locked.files {
            let digest = fetcher.fetch_debian(file).unwrap();
            let bytes = ashlar_store::read(&store, &digest).unwrap().unwrap();
            std::fs::write(oracle.join(file.path.rsplit('/').next().unwrap()), bytes).unwrap();
        }
        let dsc = oracle.join(locked.files[0].path.rsplit('/').next().unwrap());
        let mut dpkg_source = std::process::Command::new("dpkg-source");
        dpkg_source.args(["--no-check", "-q", "-x"]).arg(dsc).arg(oracle.join("tree"));
        assert!(dpkg_source.status().unwrap().success());
        std::fs::remove_dir_all(oracle.join("tree/.pc")).unwrap_or_default();
        let (ours, theirs) = (of_tree(&tree), of_folder(&oracle.join("tree")));
        for path in ours.keys().chain(theirs.keys()) {
            assert_eq!(ours.get(path), theirs.get(path), "{module}: {path}");
        }
        std::fs::remove_dir_all(&oracle).unwrap();
        println!("{module} {} {resolved:.1?} {fetched:.1?} {made:.1?}", locked.version);
    }
    let suite = suite();
    let start = Instant::now();
    let base = apt.resolve_base(&suite, "buildd", &["pkg-config".to_owned()]).unwrap();
    println!("base: {} packages in {:?}", base.len(), start.elapsed());
    let start = Instant::now();
    let locked = apt.resolve_source("libnl3").unwrap();
    let request = ToolRequest {
        suite: &suite,
        base: &base,
        tools: &["flex".to_owned(), "bison".to_owned()],
        satisfy: &locked.build_depends,
        provided: &["zlib1g-dev".to_owned(), "not-in-debian".to_owned()],
        profiles: &["nocheck".to_owned()],
    };
    let tools = fetcher.resolve_tools(&request).unwrap();
    println!("tools: {} packages in {:?}", tools.len(), start.elapsed());
    assert!(tools.iter().any(|(id, _)| id.starts_with("bison_")));
    assert!(!tools.iter().any(|(id, _)| id.starts_with("zlib1g-dev_")));
    let start = Instant::now();
    let files: Vec<_> = base.iter().map(|(_, file)| file).collect();
    let digests = fetcher.fetch_debian_all(&files).unwrap();
    println!("fetched {} packages in {:?}", digests.len(), start.elapsed());
    let start = Instant::now();
    let repository = folder.path().join("repository");
    std::fs::create_dir(&repository).unwrap();
    for (digest, (id, _)) in digests.iter().zip(&base) {
        let bytes = ashlar_store::read(&store, digest).unwrap().unwrap();
        std::fs::write(repository.join(format!("{id}.deb")), bytes).unwrap();
    }
    ashlar_source::local_repository(&repository, &suite).unwrap();
    println!("repository in {:?}", start.elapsed());
    let local =
        format!("Types: deb\nURIs: copy:{}\nSuites: ./\nTrusted: yes\n", repository.display());
    let local = Apt::with_sources(folder.path().join("local"), local);
    local.update().unwrap();
    let again = local.resolve_base(&suite, "buildd", &["pkg-config".to_owned()]).unwrap();
    let ids = |set: &[(String, _)]| set.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&base));
    if let Some(keep) = std::env::var_os("ASHLAR_TEST_KEEP") {
        std::fs::rename(&repository, keep).unwrap();
    }
}

type Listing = std::collections::BTreeMap<String, (String, bool)>;

/// Files with content and executable bit, links with their target.
fn of_tree(tree: &Tree) -> Listing {
    let mut listing = Listing::new();
    tree.walk(|entry| {
        let what = match entry.node {
            Node::File(file) => (file.digest.hex(), file.meta.mode == 0o755),
            Node::Symlink(link) => (String::from_utf8_lossy(&link.target).into_owned(), false),
            Node::Dir(_) | Node::Fifo(_) | Node::Whiteout => return,
        };
        listing.insert(entry.path.to_string(), what);
    });
    listing
}

fn of_folder(folder: &Path) -> Listing {
    let mut listing = Listing::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let (path, metadata) = (entry.path(), entry.metadata().unwrap());
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            if metadata.is_dir() {
                todo.push(path);
            } else if metadata.is_symlink() {
                let target = std::fs::read_link(&path).unwrap().display().to_string();
                listing.insert(name, (target, false));
            } else {
                let digest = Digest::of(&std::fs::read(&path).unwrap());
                listing.insert(name, (digest.hex(), metadata.permissions().mode() & 0o111 != 0));
            }
        }
    }
    listing
}

/// The code name of this machine's release.
fn suite() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.unwrap().trim_matches('"').to_owned()
}
