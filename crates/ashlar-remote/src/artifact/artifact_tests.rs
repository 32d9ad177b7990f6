//! Artifacts through a directory, whole ways. Registries and the program are tested elsewhere.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use ashlar_store::{Moved, Watch, survey};

use super::*;

struct Ground {
    folder: tempfile::TempDir,
}

/// What moved and what was said.
#[derive(Default)]
struct Heard {
    moved: Mutex<Moved>,
    said: Mutex<Vec<String>>,
}

impl Heard {
    fn with<T>(&self, work: impl FnOnce(&Watch<'_>) -> T) -> T {
        let moved = |more| *self.moved.lock().unwrap() += more;
        let warn = |text| self.said.lock().unwrap().push(text);
        work(&Watch { go_on: &|| true, moved: &moved, warn: &warn })
    }

    fn bytes(&self) -> u64 {
        self.moved.lock().unwrap().bytes
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }
}

impl Ground {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A folder with everything that outputs may have, and some bytes that do not compress.
    fn sample(&self, folder: &str) {
        for (path, text) in [("a/one", "1"), ("a/b/one again", "1"), ("empty", ""), ("su", "su")] {
            self.write(&format!("{folder}/{path}"), text);
        }
        self.write(&format!("{folder}/large"), noise(folder.len() as u64, 3 << 20));
        fs::set_permissions(self.at(folder).join("su"), fs::Permissions::from_mode(0o4755))
            .unwrap();
        symlink("a/one", self.at(folder).join("link")).unwrap();
        fs::create_dir(self.at(folder).join("hollow")).unwrap();
    }

    fn create(&self, pieces: &[(&str, &str)]) -> Create {
        let piece =
            |(name, path): &(&str, &str)| Piece { name: (*name).to_owned(), path: self.at(path) };
        Create {
            target: format!("dir:{}", self.at("depot").display()).parse().unwrap(),
            format: Format::Native,
            pieces: pieces.iter().map(piece).collect(),
            composite: None,
            expires_after: None,
            allow_missing: false,
            level: None,
            anew: false,
            sign: None,
        }
    }

    fn use_(&self, reference: &Reference, to: &str, how: &Restore<'_>) -> Result<Heard, String> {
        let heard = Heard::default();
        let wanted = Wanted { reference: reference.clone(), destination: self.at(to) };
        let mut done = heard.with(|watch| restore(&[wanted], how, &Access::default(), watch));
        match done.pop().unwrap() {
            Ok(_) => Ok(heard),
            Err(error) => Err(error.to_string()),
        }
    }

    fn same(&self, one: &str, other: &str) {
        let tree = |path: &str| survey(&self.at(path), &[]).unwrap().tree().clone();
        assert_eq!(ashlar_object::diff(&tree(one), &tree(other)), []);
    }

    fn names(&self, path: &str) -> Vec<String> {
        let tree = survey(&self.at(path), &[]).unwrap();
        let mut names = Vec::new();
        tree.tree().walk(|entry| {
            if !matches!(entry.node, ashlar_object::Node::Dir(_)) {
                names.push(entry.path.to_string());
            }
        });
        names
    }
}

/// Bytes that do not compress.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    std::iter::repeat_with(|| next().to_le_bytes()).flatten().take(size).collect()
}

fn made(wanted: &Create) -> (Vec<Reference>, Heard) {
    let heard = Heard::default();
    let done = heard.with(|watch| create(wanted, &Access::default(), watch)).unwrap();
    (done.into_iter().map(|one| one.reference.unwrap()).collect(), heard)
}

#[test]
fn a_tree_goes_and_comes_and_the_next_one_moves_only_what_is_new() {
    let ground = Ground::new();
    ground.sample("one");
    let wanted = ground.create(&[("SOURCE", "one")]);
    let (first, heard) = made(&wanted);
    assert!(heard.bytes() > 3 << 20, "{}", heard.bytes());
    let heard = ground.use_(&first[0], "out", &Restore::default()).unwrap();
    assert!(heard.bytes() > 3 << 20);
    ground.same("one", "out");

    // Unchanged, with new times: nothing moves, and the reference is the same.
    fs::write(ground.at("one/a/one"), "1").unwrap();
    let (again, heard) = made(&wanted);
    assert_eq!((again, heard.bytes()), (first.clone(), 0));

    ground.write("one/new", "new");
    fs::remove_file(ground.at("one/a/b/one again")).unwrap();
    let (second, heard) = made(&wanted);
    assert_ne!(second, first);
    assert!(heard.bytes() < 20_000, "{}", heard.bytes());
    ground.use_(&second[0], "out2", &Restore::default()).unwrap();
    ground.same("one", "out2");
    // The first is still what it was.
    ground
        .use_(&first[0], "out", &Restore { existing: Existing::Replace, ..Restore::default() })
        .unwrap();
    assert!(ground.at("out/a/b/one again").exists() && !ground.at("out/new").exists());
}

#[test]
fn what_the_store_has_is_not_moved() {
    let ground = Ground::new();
    ground.sample("one");
    let (references, _) = made(&ground.create(&[("SOURCE", "one")]));
    let store = ashlar_store::MemoryStore::new();
    ashlar_store::put(&store, &fs::read(ground.at("one/large")).unwrap()).unwrap();
    let how = Restore { store: Some(&store), ..Restore::default() };
    let heard = ground.use_(&references[0], "out", &how).unwrap();
    assert!(heard.bytes() < 20_000, "{}", heard.bytes());
    assert_eq!(heard.moved.lock().unwrap().already, 3 << 20);
    ground.same("one", "out");
}

fn run(program: &str, args: &[&str]) -> std::process::Output {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn archives_are_the_same_whoever_makes_them_and_plain_tar_reads_them() {
    let ground = Ground::new();
    ground.sample("one");
    ground.sample("two");
    fs::copy(ground.at("one/large"), ground.at("two/large")).unwrap();
    let touched = fs::File::options().write(true).open(ground.at("two/a/one")).unwrap();
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let mut wanted = ground.create(&[("ONE", "one"), ("TWO", "two")]);
    wanted.format = Format::TrustedArtifact;
    let (references, _) = made(&wanted);
    assert_eq!(references[0], references[1]);
    let hex = references[0].to_string().split_once("@sha256:").unwrap().1.to_owned();
    let blob = ground.at("depot/blobs/sha256").join(&hex);
    let sum = run("sha256sum", &[blob.to_str().unwrap()]).stdout;
    assert!(sum.starts_with(hex.as_bytes()));
    fs::create_dir(ground.at("tar")).unwrap();
    let (to, from) = (ground.at("tar"), blob.to_str().unwrap());
    run("tar", &["-C", to.to_str().unwrap(), "-zxpf", from]);
    ground.same("one", "tar");
    ground.use_(&references[0], "out", &Restore::default()).unwrap();
    ground.same("one", "out");
    // Nothing is sent twice.
    let (_, heard) = made(&wanted);
    assert_eq!(heard.bytes(), 0);
}

/// What `tar` itself makes is laid out as `tar` itself would, the set-uid bit and hard links too.
#[test]
fn what_plain_tar_wrote_is_read_as_plain_tar_reads_it() {
    let ground = Ground::new();
    ground.sample("one");
    fs::hard_link(ground.at("one/large"), ground.at("one/large too")).unwrap();
    let archive = ground.at("archive.tar.gz");
    let one = ground.at("one");
    let (one, file) = (one.to_str().unwrap(), archive.to_str().unwrap());
    run("tar", &["--create", "--use-compress-program=gzip -n", "--file", file, "-C", one, "."]);
    let bytes = fs::read(&archive).unwrap();
    let digest = ashlar_object::Digest::of(&bytes);
    let blobs = ground.at("depot/blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(digest.hex()), &bytes).unwrap();
    let text = format!("dir:{}@sha256:{}", ground.at("depot").display(), digest.hex());
    let reference: Reference = text.parse().unwrap();
    ground.use_(&reference, "out", &Restore::default()).unwrap();
    ground.same("one", "out");
    let meta = |path: &str| fs::metadata(ground.at(path)).unwrap();
    assert_eq!(meta("out/su").mode() & 0o7777, 0o4755);
    assert_eq!(meta("out/su").mtime(), meta("one/su").mtime());
    assert_eq!(meta("out/large").ino(), meta("out/large too").ino());

    // One byte that is another: nothing appears.
    let mut bad = bytes;
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(blobs.join(digest.hex()), &bad).unwrap();
    let error = ground.use_(&reference, "bad", &Restore::default()).err().unwrap();
    let expected = format!(
        "dir:{} has a damaged archive sha256:{}: its bytes are not what its digest says",
        ground.at("depot").display(),
        digest.hex()
    );
    assert_eq!(error, expected);
    assert!(!ground.at("bad").exists());
}

/// The folder that a prefetch leaves: packages of two architectures, their sources, the rest.
fn prefetch(ground: &Ground) {
    ground.write("prefetch/output/bom.json", "{}");
    ground.write("prefetch/output/deps/pip/one.whl", noise(1, 200_000));
    ground.write("prefetch/output/deps/rpm/x86_64/base/a.rpm", noise(2, 400_000));
    ground.write("prefetch/output/deps/rpm/aarch64/base/a.rpm", noise(3, 300_000));
    ground.write("prefetch/output/deps/rpm/x86_64/sources/a.src.rpm", noise(4, 900_000));
    ground.write("prefetch/cachi2.env", "X=1");
}

fn composite(ground: &Ground, parts: &[(&str, &str)]) -> Create {
    let part = |(part, path): &(&str, &str)| {
        let part = match *part {
            "common" => Part::Common,
            "source" => Part::Source,
            arch => Part::arch(arch).unwrap(),
        };
        (part, ground.at(path))
    };
    let parts = parts.iter().map(part).collect();
    Create { composite: Some(("CACHI2".to_owned(), parts)), ..ground.create(&[]) }
}

fn arch(name: &str) -> Restore<'static> {
    let part = if name == "source" { Part::Source } else { Part::arch(name).unwrap() };
    Restore { selection: Selection::Parts(vec![part]), ..Restore::default() }
}

#[test]
fn of_a_prefetch_each_architecture_moves_only_its_own() {
    let ground = Ground::new();
    prefetch(&ground);
    let wanted = composite(
        &ground,
        &[
            ("common", "prefetch"),
            ("amd64", "prefetch/output/deps/rpm/x86_64"),
            ("arm64", "prefetch/output/deps/rpm/aarch64"),
            ("source", "prefetch/output/deps/rpm/x86_64/sources"),
        ],
    );
    let (references, _) = made(&wanted);
    let reference = &references[0];

    let heard = ground.use_(reference, "arm", &arch("aarch64")).unwrap();
    assert_eq!(
        ground.names("arm"),
        [
            "cachi2.env",
            "output/bom.json",
            "output/deps/pip/one.whl",
            "output/deps/rpm/aarch64/base/a.rpm"
        ]
    );
    assert!((500_000..530_000).contains(&heard.bytes()), "{}", heard.bytes());
    let heard = ground.use_(reference, "amd", &arch("linux/amd64")).unwrap();
    assert!((600_000..630_000).contains(&heard.bytes()), "{}", heard.bytes());
    let heard = ground.use_(reference, "src", &arch("source")).unwrap();
    assert!((1_100_000..1_130_000).contains(&heard.bytes()), "{}", heard.bytes());
    assert!(ground.at("src/output/deps/rpm/x86_64/sources/a.src.rpm").exists());
    let all = Restore { selection: Selection::All, ..Restore::default() };
    ground.use_(reference, "all", &all).unwrap();
    ground.same("prefetch", "all");

    let error = ground.use_(reference, "no", &Restore::default()).err().unwrap();
    let parts = "has several parts (common, amd64, arm64, source)";
    assert_eq!(error, format!("{reference} {parts}, and nothing says which of them are wanted"));
    let error = ground.use_(reference, "no", &arch("s390x")).err().unwrap();
    let parts = "it has common, amd64, arm64, source";
    assert_eq!(error, format!("{reference} has no part for s390x: {parts}"));
    assert!(!ground.at("no").exists());

    // Unchanged: the same reference, and nothing moves.
    let (again, heard) = made(&wanted);
    assert_eq!((&again[0], heard.bytes()), (reference, 0));

    // One new package for one architecture, one new file for all.
    ground.write("prefetch/output/deps/rpm/aarch64/base/b.rpm", noise(9, 50_000));
    ground.write("prefetch/output/new", noise(10, 10_000));
    let (second, heard) = made(&wanted);
    assert!((60_000..100_000).contains(&heard.bytes()), "{}", heard.bytes());
    ground.use_(&second[0], "all2", &all).unwrap();
    ground.same("prefetch", "all2");
    ground.use_(&second[0], "arm2", &arch("arm64")).unwrap();
    assert_eq!(ground.names("arm2").len(), 6);
    // And a file that moves from one part to the common one, which folding must not lose.
    fs::rename(
        ground.at("prefetch/output/deps/rpm/aarch64/base/b.rpm"),
        ground.at("prefetch/output/b.rpm"),
    )
    .unwrap();
    let (third, _) = made(&wanted);
    ground.use_(&third[0], "all3", &all).unwrap();
    ground.same("prefetch", "all3");
    // Many revisions: layers do not become more and more.
    for round in 0..20_u64 {
        ground.write("prefetch/output/deps/rpm/aarch64/base/a.rpm", noise(100 + round, 300_000));
        let (last, _) = made(&wanted);
        if round % 7 == 6 {
            let to = format!("round{round}");
            ground.use_(&last[0], &to, &all).unwrap();
            ground.same("prefetch", &to);
        }
    }
}

#[test]
fn parts_from_elsewhere_share_layers_and_lie_apart() {
    let ground = Ground::new();
    for name in ["amd64", "arm64", "s390x"] {
        ground.write(&format!("{name}/noarch.rpm"), noise(1, 200_000));
        ground.write(
            &format!("{name}/own.rpm"),
            noise(name.len() as u64 * 7 + u64::from(name.as_bytes()[1]), 50_000),
        );
    }
    for name in ["amd64", "arm64"] {
        ground.write(&format!("{name}/two.rpm"), noise(2, 100_000));
    }
    ground.write("src/a.src.rpm", noise(3, 10_000));
    let parts = [("amd64", "amd64"), ("arm64", "arm64"), ("s390x", "s390x"), ("source", "src")];
    let (references, heard) = made(&composite(&ground, &parts));
    // Each content once: 200 + 100 + 3 × 50 + 10.
    assert!((460_000..490_000).contains(&heard.bytes()), "{}", heard.bytes());
    ground.use_(&references[0], "one", &arch("s390x")).unwrap();
    ground.same("s390x", "one");
    ground.use_(&references[0], "two", &arch("amd64")).unwrap();
    ground.same("amd64", "two");
    let all = Restore { selection: Selection::All, ..Restore::default() };
    ground.use_(&references[0], "all", &all).unwrap();
    for (part, folder) in parts {
        let there = if part == "source" { "source" } else { folder };
        ground.same(folder, &format!("all/{there}"));
    }
}

#[test]
fn folders_say_that_nothing_is_to_be_handed_on() {
    let ground = Ground::new();
    ground.sample("one");
    ground.write("skip/.skip-trusted-artifacts", "");
    let heard = Heard::default();
    let wanted = ground.create(&[("ONE", "one"), ("SKIP", "skip")]);
    let done = heard.with(|watch| create(&wanted, &Access::default(), watch)).unwrap();
    assert!(done[0].reference.is_some() && done[1].reference.is_none());
    let skip = ground.at("skip");
    let expected = format!("{} is skipped: it has a file .skip-trusted-artifacts", skip.display());
    assert_eq!(heard.said(), std::slice::from_ref(&expected));
    let heard =
        ground.use_(done[0].reference.as_ref().unwrap(), "skip", &Restore::default()).unwrap();
    assert_eq!(heard.said(), [expected]);
    assert_eq!(ground.names("skip"), [".skip-trusted-artifacts"]);
}

#[test]
fn what_is_not_there_is_refused_or_empty_as_it_is_asked_for() {
    let ground = Ground::new();
    for format in [Format::Native, Format::TrustedArtifact] {
        let mut wanted = Create { format, ..ground.create(&[("NONE", "nowhere")]) };
        let error = create(&wanted, &Access::default(), &Watch::NOBODY).unwrap_err().to_string();
        let nowhere = ground.at("nowhere");
        assert_eq!(error, format!("{} is not there, or may not be read", nowhere.display()));
        wanted.allow_missing = true;
        let (references, heard) = made(&wanted);
        assert_eq!(heard.said().len(), 1);
        let to = format!("{format:?}");
        ground.use_(&references[0], &to, &Restore::default()).unwrap();
        assert!(ground.names(&to).is_empty());
        assert!(ground.at(&to).is_dir());
    }
}

#[test]
fn a_single_file_is_an_artifact_too() {
    let ground = Ground::new();
    ground.write("a/file", "text");
    ground.write("a/other", "other");
    for format in [Format::Native, Format::TrustedArtifact] {
        let (references, _) = made(&Create { format, ..ground.create(&[("FILE", "a/file")]) });
        let to = format!("{format:?}");
        ground.use_(&references[0], &to, &Restore::default()).unwrap();
        assert_eq!(ground.names(&to), ["file"]);
    }
}

#[test]
fn damaged_layers_are_never_used() {
    let ground = Ground::new();
    ground.sample("one");
    let (references, _) = made(&ground.create(&[("SOURCE", "one")]));
    let blobs = ground.at("depot/blobs/sha256");
    let files: Vec<PathBuf> =
        fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().path()).collect();
    let largest = files.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let whole = fs::read(largest).unwrap();
    let mut bad = whole.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    for bytes in [&bad[..], &whole[..whole.len() / 2], &whole[..1000], b""] {
        fs::write(largest, bytes).unwrap();
        ground.use_(&references[0], "out", &Restore::default()).err().unwrap();
        assert!(!ground.at("out").exists());
    }
    fs::remove_file(largest).unwrap();
    let error = ground.use_(&references[0], "out", &Restore::default()).err().unwrap();
    let lost = largest.file_name().unwrap().to_str().unwrap();
    let expected = format!("cannot be used: the blob sha256:{lost} is not there");
    assert!(error.ends_with(&expected), "{error}");
    fs::write(largest, whole).unwrap();
    ground.use_(&references[0], "out", &Restore::default()).unwrap();
    let left: Vec<_> =
        fs::read_dir(ground.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn two_at_once_in_one_folder_never_mix() {
    let ground = Ground::new();
    ground.sample("one");
    ground.write("two/only", "two");
    let (references, _) = made(&ground.create(&[("ONE", "one"), ("TWO", "two")]));
    for round in 0..6 {
        let to = format!("out{round}");
        let how = Restore { existing: Existing::Replace, ..Restore::default() };
        std::thread::scope(|scope| {
            for reference in &references {
                let (ground, to, how) = (&ground, &to, &how);
                scope.spawn(move || ground.use_(reference, to, how).unwrap());
            }
        });
        let names = ground.names(&to);
        assert!(names == ["only"] || names == ground.names("one"), "{names:?}");
        let refused = ground.use_(&references[0], &to, &Restore::default()).err().unwrap();
        assert!(refused.contains("is not empty: it has "), "{refused}");
    }
}

#[test]
fn hostile_archives_reach_nothing_outside() {
    let ground = Ground::new();
    ground.write("outside/file", "outside");
    let outside = ground.at("outside");
    let header = |name: &str, kind: u8, link: &str, size: usize| {
        let mut block = [0_u8; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(b"0000644");
        block[108..115].copy_from_slice(b"0000000");
        block[116..123].copy_from_slice(b"0000000");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[136..147].copy_from_slice(b"00000000000");
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let mut all = block.to_vec();
        all.extend(std::iter::repeat_n(b'x', size.div_ceil(512) * 512));
        all
    };
    let away = outside.to_str().unwrap();
    let file = |name: &str| header(name, b'0', "", 4);
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("absolute", vec![file(&format!("{away}/new"))]),
        ("up", vec![file("../outside/new")]),
        ("through a link", vec![header("l", b'2', away, 0), file("l/new")]),
        (
            "through two",
            vec![
                header("d", b'5', "", 0),
                header("d/l", b'2', "../../outside", 0),
                file("d/l/new"),
            ],
        ),
        ("folder through a link", vec![header("l", b'2', away, 0), header("l/new", b'5', "", 0)]),
        ("hard link out", vec![header("h", b'1', "../outside/file", 0)]),
        ("hard link absolute", vec![header("h", b'1', &format!("{away}/file"), 0)]),
        (
            "hard link through a link",
            vec![header("l", b'2', away, 0), header("h", b'1', "l/file", 0)],
        ),
        ("file in place of a link", vec![header("l", b'2', &format!("{away}/file"), 0), file("l")]),
        ("device", vec![header("null", b'3', "", 0)]),
        ("FIFO", vec![header("fifo", b'6', "", 0)]),
    ];
    let blobs = ground.at("depot/blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    for (what, entries) in cases {
        let mut tar = entries.concat();
        tar.extend([0; 1024]);
        fs::write(ground.at("hostile.tar"), &tar).unwrap();
        let hostile = ground.at("hostile.tar");
        let zipped = run("gzip", &["-nc", hostile.to_str().unwrap()]).stdout;
        let digest = ashlar_object::Digest::of(&zipped);
        fs::write(blobs.join(digest.hex()), &zipped).unwrap();
        let text = format!("dir:{}@sha256:{}", ground.at("depot").display(), digest.hex());
        let error = ground.use_(&text.parse().unwrap(), "out", &Restore::default());
        let error = error.err().unwrap_or_else(|| panic!("{what} was taken"));
        assert!(!ground.at("out").exists(), "{what}: {error}");
        assert_eq!(ground.names("outside"), ["file"], "{what}");
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "outside", "{what}");
    }
}

/// A registry that is cut off, answers 500 and says wrong bytes: what comes is right or nothing.
#[test]
fn a_bad_connection_costs_time_and_never_a_wrong_file() {
    use ashlar_testbed::Proxy;
    use ashlar_testbed::proxy::{Answer, Fault, Rule, Way};
    let ground = Ground::new();
    ground.sample("one");
    let registry = ashlar_testbed::docker_registry(&ashlar_testbed::registry::Options::default());
    for format in [Format::Native, Format::TrustedArtifact] {
        let proxy = Proxy::http(registry.address());
        let target = format!("{}/flaky/{}", proxy.host(), format!("{format:?}").to_lowercase());
        let wanted =
            Create { target: target.parse().unwrap(), format, ..ground.create(&[("ONE", "one")]) };
        proxy.add(
            Rule::on("*", "/v2/*/blobs/uploads/", Fault::Answer(Answer::status(500))).times(1),
        );
        let cut = Fault::Cut { way: Way::Up, after: 700_000 };
        proxy.add(Rule::on("PUT", "/v2/*/blobs/uploads/*", cut).times(1));
        let (references, _) = made(&wanted);
        proxy.clear();

        let cut = Fault::Cut { way: Way::Down, after: 700_000 };
        // The first go to small things, which it does not reach.
        proxy.add(Rule::on("GET", "/v2/*/blobs/*", cut).times(5));
        proxy.reset();
        let to = format!("{format:?}");
        ground.use_(&references[0], &to, &Restore::default()).unwrap();
        ground.same("one", &to);
        let down: u64 = proxy.requests().iter().map(|request| request.down).sum();
        assert!(down < 5 << 20, "not from the beginning: {down}");
        let parts: Vec<u64> = proxy.requests().iter().map(|request| request.down).collect();
        assert!(parts.iter().any(|down| (500_000..=700_000).contains(down)), "{parts:?}");
        proxy.clear();

        let flip = Fault::Flip { way: Way::Down, at: 1_000_000 };
        proxy.add(Rule::on("GET", "/v2/*/blobs/*", flip));
        let to = format!("{format:?}-wrong");
        ground.use_(&references[0], &to, &Restore::default()).err().unwrap();
        assert!(!ground.at(&to).exists());
    }
}

fn tags(ground: &Ground) -> Vec<String> {
    let entries = fs::read_dir(ground.at("depot/tags")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_is_made_without_a_tag_has_one_of_its_own() {
    let ground = Ground::new();
    ground.write("one/a", "a");
    let wanted = ground.create(&[("ONE", "one")]);
    for _ in 0..2 {
        let (made, _) = made(&wanted);
        let text = made[0].to_string();
        let own = format!("artifact-{}", text.rsplit(':').next().unwrap());
        assert!(tags(&ground).contains(&own), "{own}: {:?}", tags(&ground));
        // Also when the tree was there already.
        fs::remove_file(ground.at("depot/tags").join(own)).unwrap();
    }
}

#[test]
fn what_goes_after_a_while_is_nothing_to_build_upon() {
    let ground = Ground::new();
    ground.write("one/a", "a");
    let mut wanted = ground.create(&[("ONE", "one")]);
    wanted.pieces.clear();
    wanted.composite = Some(("ONE".to_owned(), vec![(Part::Common, ground.at("one"))]));
    wanted.expires_after = Some("1d".to_owned());
    let (short, _) = made(&wanted);
    assert!(!tags(&ground).iter().any(|tag| tag.starts_with("near-")), "{:?}", tags(&ground));
    wanted.expires_after = None;
    let (long, _) = made(&wanted);
    assert_ne!(short, long);
    for blob in fs::read_dir(ground.at("depot/blobs/sha256")).unwrap() {
        let name = blob.as_ref().unwrap().file_name().into_string().unwrap();
        if !long[0].to_string().ends_with(&name) {
            continue;
        }
        let index = fs::read_to_string(blob.unwrap().path()).unwrap();
        let index: serde_json::Value = serde_json::from_str(&index).unwrap();
        let part = index["manifests"][0]["digest"].as_str().unwrap().replace("sha256:", "");
        let part = fs::read_to_string(ground.at("depot/blobs/sha256").join(part)).unwrap();
        assert!(!part.contains("quay.expires-after"), "{part}");
        return;
    }
    panic!("there is no index");
}

#[test]
fn nested_folders_are_refused() {
    let ground = Ground::new();
    ground.write("one/a", "a");
    let (made, _) = made(&ground.create(&[("ONE", "one")]));
    let wanted = |to: &str| Wanted { reference: made[0].clone(), destination: ground.at(to) };
    let wanted = [wanted("out"), wanted("out/in"), wanted("outer")];
    let done = restore(&wanted, &Restore::default(), &Access::default(), &Watch::NOBODY);
    assert_eq!(done.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, false, true]);
    assert!(!ground.at("out").exists() && ground.at("outer/a").exists());
}

#[test]
fn what_another_left_under_the_tag_of_a_tree_is_not_signed() {
    let ground = Ground::new();
    ground.write("one/a", "a");
    let key = ground.at("key.pem");
    let pkcs8 = ring::signature::Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new());
    let text =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pkcs8.unwrap().as_ref());
    fs::write(&key, format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"))
        .unwrap();
    let mut wanted = ground.create(&[("ONE", "one")]);
    wanted.level = Some(19);
    let (foreign, _) = made(&wanted);
    wanted.level = Some(1);
    assert_eq!(made(&wanted).0, foreign);
    wanted.sign = Some(key);
    wanted.pieces[0].name = "OTHER".to_owned();
    let (own, _) = made(&wanted);
    assert_ne!(own, foreign);
    // What this key has signed is used again.
    wanted.level = Some(19);
    assert_eq!(made(&wanted).0, own);
}

#[path = "create_tests.rs"]
mod create_tests;

#[path = "composite_tests.rs"]
mod composite_tests;

#[path = "hostile_tests.rs"]
mod hostile_tests;
