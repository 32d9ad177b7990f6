//! A directory: the contract, dying writers, rights, and what ordinary tools make of it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ashlar_object::Digest;
use ashlar_store::{RemoteError, Watch};
use serde_json::Value;

use super::{Directory, ObjectDepot};
use crate::depot::contract_tests::{self as contract, Traits, body, get, image, noise, put};
use crate::depot::{Body, Depot, Made, Manifest};

fn open(root: &Path) -> ObjectDepot<Directory> {
    ObjectDepot::new(Directory::new(root))
}

/// Two kinds of file system clocks: coarse ones tick every few milliseconds.
const TRAITS: Traits =
    Traits { tick: Duration::from_millis(60), refuses_gaps: true, lists_all: true, collects: true };

#[test]
fn it_keeps_the_contract() {
    let root = tempfile::tempdir().expect("a folder");
    contract::all(&|| Box::new(open(root.path())), TRAITS);
}

/// Bytes that come so slowly that somebody can die meanwhile.
#[derive(Debug)]
struct Slow(Vec<u8>);

impl Made for Slow {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> std::io::Result<usize> {
        if at > 0 {
            std::thread::sleep(Duration::from_millis(200));
        }
        let start = usize::try_from(at).expect("small").min(self.0.len());
        let count = buffer.len().min(self.0.len() - start).min(100_000);
        buffer[..count].copy_from_slice(&self.0[start..start + count]);
        Ok(count)
    }
}

const ROLE: &str = "ASHLAR_TEST_DIRECTORY_ROLE";

/// What the processes do that the tests below start: nothing, unless one of them started it.
#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (role, root) = role.split_once(':').expect("a role and a folder");
    let depot = open(Path::new(root));
    let bytes = noise(77, 2_000_000);
    let digest = Digest::of(&bytes);
    match role {
        "write" => depot.put_blob(&digest, &body(&bytes), &Watch::NOBODY).expect("put"),
        "write-slowly" => {
            let slow = Body::Made(Arc::new(Slow(bytes)));
            depot.put_blob(&digest, &slow, &Watch::NOBODY).expect("put");
        }
        "refused" => {
            let why = depot.may_write().expect("asked").expect_err("it may not be written");
            assert!(why.contains("write = false") && why.contains("has mode 0"), "{why}");
            let error = depot.put_blob(&digest, &body(&bytes), &Watch::NOBODY);
            let error = error.expect_err("it may not be written");
            assert!(matches!(error, RemoteError::Refused { .. }), "{error:?}");
            // Reading is no matter, nor is relying on something without being able to touch it.
            let there = Digest::of(b"readable");
            assert_eq!(get(&depot, &there, 0..8).expect("there"), b"readable");
            assert!(depot.has_blob(&there).expect("asked"));
            depot.touch("tag");
        }
        "move-second" | "move-third" => {
            let text = role.trim_start_matches("move-");
            let layer = put(&depot, text.as_bytes());
            depot.put_manifest(&image(&depot, &[layer]), &["moved".to_owned()]).expect("put");
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                .expect("killed");
        }
        other => panic!("the role {other} is not known"),
    }
}

fn process(role: &str, root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "depot::objects::directory_tests::role"]);
    command.env(ROLE, format!("{role}:{}", root.display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

#[test]
fn a_dying_writer_leaves_only_what_collecting_removes() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("cache");
    let mut dying = process("write-slowly", &root).spawn().expect("a process");
    let temporary = || {
        let all = std::fs::read_dir(root.join("tmp")).into_iter().flatten();
        all.filter(|one| one.as_ref().is_ok_and(|one| one.metadata().is_ok_and(|m| m.len() > 0)))
            .count()
    };
    let begun = Instant::now();
    while temporary() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing is written");
        std::thread::sleep(Duration::from_millis(5));
    }
    let digest = Digest::of(&noise(77, 2_000_000));
    let depot = open(&root);
    assert!(!depot.has_blob(&digest).expect("asked"), "half a blob is visible");
    let mut others: Vec<_> =
        (0..7).map(|_| process("write", &root).spawn().expect("a process")).collect();
    dying.kill().expect("killed");
    dying.wait().expect("dead");
    for other in &mut others {
        assert!(other.wait().expect("ended").success());
    }
    let read = get(&depot, &digest, 0..digest.size).expect("there");
    assert_eq!(Digest::of(&read), digest);
    assert_eq!(temporary(), 1, "what the dead one left");
    std::thread::sleep(TRAITS.tick);
    assert_eq!(depot.tidy(SystemTime::now() - Duration::from_secs(60)).expect("tidied"), 0);
    assert_eq!(depot.tidy(depot.now().expect("a clock")).expect("tidied"), 1);
    assert_eq!(temporary(), 0);
}

#[test]
fn who_may_not_write_is_told_why_and_can_read() {
    let folder = tempfile::tempdir().expect("a folder");
    // The tests may run as root, who may write everywhere; nobody may not.
    let nobody = rustix::process::geteuid().is_root();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode.clone()).expect("rights");
    let root = folder.path().join("cache");
    let depot = open(&root);
    let blob = put(&depot, b"readable");
    depot.put_manifest(&image(&depot, &[blob]), &["tag".to_owned()]).expect("put");
    std::fs::set_permissions(&root, mode.clone()).expect("rights");
    let output = if nobody {
        let plain = process("refused", &root);
        // Where this program lies nobody may look.
        let program = folder.path().join("program");
        std::fs::copy(plain.get_program(), &program).expect("a copy");
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        command.arg(&program).args(plain.get_args());
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir("/").output().expect("a process")
    } else {
        let closed = std::fs::Permissions::from_mode(0o555);
        for inner in ["", "tmp", "tags", "leases/tags", "leases/blobs/sha256", "blobs/sha256"] {
            std::fs::set_permissions(root.join(inner), closed.clone()).expect("rights");
        }
        process("refused", &root).output().expect("a process")
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn everybody_who_may_write_to_the_directory_may_write_to_all_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o2770))
        .expect("rights");
    let depot = open(folder.path());
    let blob = put(&depot, b"shared");
    depot.put_manifest(&image(&depot, &[blob]), &["tag".to_owned()]).expect("put");
    depot.flush().expect("flushed");
    let mode = |name: &str| {
        let meta = std::fs::metadata(folder.path().join(name)).expect("there");
        meta.permissions().mode() & 0o7777
    };
    for dir in ["blobs", "blobs/sha256", "tags", "tmp", "leases/blobs/sha256"] {
        assert_eq!(mode(dir), 0o2770, "{dir}");
    }
    for file in [&format!("blobs/sha256/{}", blob.hex()), "tags/tag", "index.json", "lock"] {
        assert_eq!(mode(file), 0o660, "{file}");
    }
}

#[test]
fn the_index_follows_the_tags_of_all_writers() {
    let folder = tempfile::tempdir().expect("a folder");
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let root = folder.path();
            scope.spawn(move || {
                let depot = open(root);
                for number in 0..5 {
                    let layer = put(&depot, format!("{writer} {number}").as_bytes());
                    let tags = [format!("w{writer}-{number}")];
                    depot.put_manifest(&image(&depot, &[layer]), &tags).expect("put");
                    depot.flush().expect("flushed");
                }
            });
        }
    });
    let names = || -> Vec<String> {
        let index = std::fs::read(folder.path().join("index.json")).expect("an index");
        let index: Value = serde_json::from_slice(&index).expect("JSON");
        let lines = index["manifests"].as_array().expect("lines").iter();
        let name = "org.opencontainers.image.ref.name";
        lines.map(|line| line["annotations"][name].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names().len(), 20);
    let depot = open(folder.path());
    assert!(depot.remove_tag("w2-3", None).expect("removed"));
    depot.flush().expect("flushed");
    assert_eq!(names().len(), 19);
    assert!(!names().contains(&"w2-3".to_owned()));
    // What somebody wrote who died before the index did, or removed, is found by the next one.
    let dead = open(folder.path());
    let layer = put(&dead, b"of somebody who died");
    dead.put_manifest(&image(&dead, &[layer]), &["orphan".to_owned()]).expect("put");
    assert!(dead.remove_tag("w1-1", None).expect("removed"));
    drop(dead);
    assert!(!names().contains(&"orphan".to_owned()));
    depot.put_manifest(&image(&depot, &[layer]), &["next".to_owned()]).expect("put");
    depot.flush().expect("flushed");
    assert!(names().contains(&"orphan".to_owned()) && !names().contains(&"w1-1".to_owned()));
    for name in ["orphan", "next"] {
        assert!(depot.remove_tag(name, None).expect("removed"));
    }
    depot.flush().expect("flushed");
    assert_eq!(names().len(), 18);
    // A damaged index is made anew from the tags.
    std::fs::write(folder.path().join("index.json"), b"{").expect("written");
    assert!(depot.remove_tag("w0-0", None).expect("removed"));
    depot.flush().expect("flushed");
    assert_eq!(names().len(), 17);
}

#[test]
fn a_tag_that_somebody_moved_who_died_is_mended_by_the_next_writer_and_by_collecting() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("cache");
    let depot = open(&root);
    let layer = put(&depot, b"first");
    let first = image(&depot, &[layer]);
    depot.put_manifest(&first, &["moved".to_owned()]).expect("put");
    depot.flush().expect("flushed");
    let line = || {
        let index = std::fs::read(root.join("index.json")).expect("an index");
        let index: Value = serde_json::from_slice(&index).expect("JSON");
        let mut lines = index["manifests"].as_array().expect("lines").iter();
        let name = "org.opencontainers.image.ref.name";
        let line = lines.find(|line| line["annotations"][name] == "moved").expect("a line");
        line["digest"].as_str().expect("a digest").to_owned()
    };
    let digest = |text: &str| format!("sha256:{}", moved_to(text).digest().hex());
    let marks = || {
        let all = std::fs::read_dir(root.join("tmp")).expect("a folder");
        all.map(|one| one.expect("a file").file_name()).collect::<Vec<_>>()
    };
    assert_eq!(marks(), [""; 0]);

    let killed = |text: &str| {
        let said = process(&format!("move-{text}"), &root).status().expect("a process");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&said), Some(9));
        assert_ne!(line(), digest(text), "it was killed before the index was written");
    };
    killed("second");
    // Beside somebody who is about to write the index as well.
    let living = open(&root);
    let layer = put(&living, b"other");
    living.put_manifest(&image(&living, &[layer]), &["living".to_owned()]).expect("put");
    depot.put_manifest(&first, &["next".to_owned()]).expect("put");
    depot.flush().expect("flushed");
    assert_eq!(line(), digest("second"));
    assert_eq!(marks().len(), 1, "that of the living one");
    living.flush().expect("flushed");
    assert_eq!(marks(), [""; 0]);

    killed("third");
    let limits = ashlar_store::Limits::default();
    crate::depot::collect::collect(&depot, limits, Duration::from_secs(3600), &Watch::NOBODY)
        .expect("collected");
    assert_eq!((line(), marks().len()), (digest("third"), 0));
}

/// What a process moves a tag to.
fn moved_to(text: &str) -> Manifest {
    let memory = crate::depot::memory::MemoryDepot::default();
    let layer = put(&memory, text.as_bytes());
    image(&memory, &[layer])
}

#[test]
fn skopeo_reads_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("cache");
    let depot = open(&root);
    let layer = put(&depot, &[0; 1024]);
    let config = format!(
        "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{{}},\"rootfs\":{{\"type\":\
         \"layers\",\"diff_ids\":[\"sha256:{}\"]}}}}",
        layer.hex()
    );
    let config = put(&depot, config.as_bytes());
    let mut document: Value = serde_json::from_slice(&image(&depot, &[layer]).bytes).expect("JSON");
    document["config"]["digest"] = format!("sha256:{}", config.hex()).into();
    document["config"]["size"] = config.size.into();
    document["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar".into();
    let manifest = Manifest {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        bytes: serde_json::to_vec(&document).expect("JSON"),
    };
    let other = image(&depot, &[layer]);
    depot.put_manifest(&other, &["other".to_owned()]).expect("put");
    depot.put_manifest(&manifest, &["tree-1".to_owned()]).expect("put");
    depot.flush().expect("flushed");
    let run = |arguments: &[&str]| {
        let output = ashlar_testbed::skopeo().args(arguments).output().expect("skopeo");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        output.stdout
    };
    let from = format!("oci:{}:tree-1", root.display());
    assert_eq!(run(&["inspect", "--raw", &from]), manifest.bytes);
    let to = folder.path().join("copy");
    run(&[
        "copy",
        "--dest-oci-accept-uncompressed-layers",
        &from,
        &format!("oci:{}:again", to.display()),
    ]);
    let copied = std::fs::read(to.join("blobs/sha256").join(layer.hex())).expect("the layer");
    assert_eq!(copied, [0; 1024]);
}

#[test]
fn what_is_half_there_is_put_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let depot = open(folder.path());
    let bytes = noise(3, 5000);
    let digest = put(&depot, &bytes);
    let path = folder.path().join("blobs/sha256").join(digest.hex());
    std::fs::write(&path, &bytes[..100]).expect("cut");
    assert!(!depot.has_blob(&digest).expect("asked"));
    assert!(depot.open_blob(&digest, 0..digest.size).is_err());
    put(&depot, &bytes);
    assert!(depot.has_blob(&digest).expect("asked"));
}

#[test]
fn relying_on_something_old_makes_it_young() {
    let folder = tempfile::tempdir().expect("a folder");
    let depot = open(folder.path());
    let digest = put(&depot, b"old");
    let manifest = image(&depot, &[digest]);
    depot.put_manifest(&manifest, &["tree".to_owned()]).expect("put");
    let age = |name: &str| {
        let path = folder.path().join(name);
        std::fs::metadata(path).expect("there").modified().expect("a time").elapsed()
    };
    let blob = format!("blobs/sha256/{}", digest.hex());
    for name in [blob.as_str(), "tags/tree"] {
        let file = std::fs::File::options().write(true).open(folder.path().join(name));
        let long_ago = SystemTime::now() - Duration::from_secs(7200);
        file.expect("opened").set_modified(long_ago).expect("set");
    }
    let hour = Duration::from_secs(3600);
    let depot = open(folder.path());
    depot.manifest(&crate::depot::Reference::Tag("tree".to_owned())).expect("asked");
    assert!(age("tags/tree").expect("past") > hour);
    depot.touch("tree");
    assert!(age("tags/tree").is_ok_and(|age| age < hour));
    // Pointing to it is relying on it, too.
    assert!(age(&blob).expect("past") > hour);
    depot.put_manifest(&manifest, &["again".to_owned()]).expect("put");
    assert!(age(&blob).is_ok_and(|age| age < hour));
}
