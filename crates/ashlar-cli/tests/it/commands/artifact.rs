//! `ashlar artifact`, against a real registry, real tar and real skopeo.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ashlar_testbed::registry::{Options, Registry};
use ashlar_testbed::{docker_registry, skopeo};
use snapbox::str;

use crate::snapshot;
use crate::support::{ASHLAR, Project, Ran};

mod events;
mod mounted;

/// A folder to work in and a registry beside it.
struct Pipeline {
    project: Project,
    registry: Registry,
}

impl Pipeline {
    fn new() -> Self {
        let pipeline =
            Self { project: Project::empty(), registry: docker_registry(&Options::default()) };
        pipeline.sample("src");
        pipeline
    }

    /// A folder with set-uid bits, links, empty files and folders, and bytes that do not compress.
    fn sample(&self, folder: &str) {
        let file = |path: &str, bytes: &[u8]| self.project.file(&format!("{folder}/{path}"), bytes);
        file("a/one", b"1\n");
        file("a/b/one again", b"1\n");
        file("empty", b"");
        file("su", b"su\n");
        file("large", &noise(7, 2 << 20));
        self.project.chmod(&format!("{folder}/su"), 0o4755);
        self.project.link(&format!("{folder}/link"), "a/one");
        fs::create_dir_all(self.at(folder).join("hollow")).unwrap();
    }

    fn at(&self, path: &str) -> PathBuf {
        self.project.root.join(path)
    }

    fn store(&self) -> String {
        format!("{}/team/ci", self.registry.host())
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.project.run(&[&["artifact"], args].concat())
    }

    /// Makes an artifact and gives its reference.
    fn create(&self, args: &[&str]) -> String {
        let ran = self.run(&[&["create", "--store", &self.store()], args].concat()).good();
        ran.out.split_whitespace().last().unwrap().to_owned()
    }

    fn shell(&self, script: &str) -> String {
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(&self.project.root)
            .env("HOST", self.registry.host())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Both folders have the same files with the same modes and contents.
    fn same(&self, one: &str, other: &str) {
        let list = "find . -mindepth 1 -printf '%y %m %l %P\\n' | sort; find . -type f -print0 | sort -z | xargs -0r sha256sum";
        let all = |folder: &str| self.shell(&format!("cd '{folder}'; {list}"));
        assert_eq!(all(one), all(other));
    }

    /// The whole of what was said, with what differs from run to run named.
    #[track_caller]
    fn says(&self, ran: &Ran, expected: snapbox::data::Inline) {
        let text = format!("{}{}", ran.out, ran.err).replace(&self.registry.host(), "[HOST]");
        snapshot::eq(&self.project, &text, expected);
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

#[test]
fn a_tree_goes_from_task_to_task() {
    let pipeline = Pipeline::new();
    let store = format!("{}:build-1", pipeline.store());
    let ran = pipeline
        .run(&["create", "--store", &store, "SOURCE=src", "--result", "SOURCE=result"])
        .good();
    pipeline.says(
        &ran,
        str![[r#"
SOURCE oci:[HOST]/team/ci@sha256:[KEY]
sent [..] MiB

"#]],
    );
    // No newline, no tag.
    let reference = fs::read_to_string(pipeline.at("result")).unwrap();
    assert_eq!(format!("SOURCE {reference}\n"), ran.out);
    assert!(!reference.contains("build-1"));
    let ran = pipeline.run(&["use", &format!("{reference}=deep/down/out")]).good();
    pipeline.says(
        &ran,
        str![[r#"
deep/down/out: 5 files, 2.0 MiB
fetched [..] MiB

"#]],
    );
    pipeline.same("src", "deep/down/out");
    let ran = pipeline.run(&["create", "--store", &store, "SOURCE=src"]).good();
    pipeline.says(
        &ran,
        str![[r#"
SOURCE oci:[HOST]/team/ci@sha256:[KEY]
sent 0 bytes, 2.0 MiB there already

"#]],
    );
    let ran = pipeline.run(&["verify", &reference]).good();
    pipeline.says(
        &ran,
        str![[r#"
checked 1 blob, [..] MiB and 3 contents: all is well

"#]],
    );
    let ran = pipeline.run(&["inspect", "--files", &reference]).good();
    pipeline.says(
        &ran,
        str![[r#"
oci:[HOST]/team/ci@sha256:[KEY]
  native, 0 signatures
  files: 6 files, 2.0 MiB in 2.0 MiB of layers
    sha256:[KEY]    2.0 MiB
    d0755            0 a
    d0755            0 a/b
    -0644            2 a/b/one again
    -0644            2 a/one
    -0644            0 empty
    d0755            0 hollow
    -0644      2097152 large
    l0777            0 link -> a/one
    -4755            3 su

"#]],
    );
    // Other tools take it for an image.
    let image = format!("docker://{store}");
    let found = skopeo().args(["inspect", "--tls-verify=false", &image]).output().unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    assert!(String::from_utf8_lossy(&found.stdout).contains("\"Layers\""));
}

/// What Konflux' own tasks do, in our words: fetch the blob that the reference names, and tar.
const STOCK_USE: &str = r#"
ref=$(cat result); name=${ref#oci:}; repo=${name%@*}; repo=${repo#*/}
mkdir -p stock
curl -sf "http://$HOST/v2/$repo/blobs/${name#*@}" | tar -C stock -zxpf -
"#;

/// The other way: tar, gzip, one blob, one manifest, the digest of the blob into the result.
const STOCK_CREATE: &str = r#"
tar --create --use-compress-program='gzip -n' --file ../SOURCE.tgz --directory=src .
digest=sha256:$(sha256sum ../SOURCE.tgz | cut -d' ' -f1)
upload() {
    url=$(curl -sf -D- -o/dev/null -X POST "http://$HOST/v2/team/ci/blobs/uploads/" | tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
    curl -sf -X PUT -H 'Content-Type: application/octet-stream' --data-binary "@$1" "$url&digest=$2"
}
upload ../SOURCE.tgz "$digest"
echo -n "oci:$HOST/team/ci@$digest" > stock-result
"#;

#[test]
fn archives_go_both_ways_between_us_and_the_stock_tasks() {
    let pipeline = Pipeline::new();
    let format = ["--format", "trusted-artifact", "--expires-after", "5d"];
    let args = [&format[..], &["result=src", "--result", "result=result"]].concat();
    let reference = pipeline.create(&args);
    assert_eq!(fs::read_to_string(pipeline.at("result")).unwrap(), reference);
    pipeline.shell(STOCK_USE);
    pipeline.same("src", "stock");
    pipeline.run(&["use", &format!("{reference}=ours")]).good();
    pipeline.same("src", "ours");
    // Whoever makes it from the same files, whenever: the same reference.
    pipeline.shell("cp -r --preserve=mode,links src again; touch -d 2001-01-01 again/a/one");
    let again = [&format[..], &["OTHER=again"]].concat();
    assert_eq!(pipeline.create(&again), reference);

    pipeline.shell(STOCK_CREATE);
    let stock = fs::read_to_string(pipeline.at("stock-result")).unwrap();
    pipeline.run(&["use", &format!("{stock}=from-stock")]).good();
    pipeline.same("src", "from-stock");
    pipeline.run(&["verify", &stock]).good();
    let ran = pipeline.run(&["inspect", &stock]).good();
    pipeline.says(
        &ran,
        str![[r#"
oci:[HOST]/team/ci@sha256:[KEY]
  archive, 0 signatures
  files: 6 files, 2.0 MiB in 2.0 MiB of layers
    sha256:[KEY]    2.0 MiB

"#]],
    );
}

#[test]
fn the_result_may_be_named_by_its_file_as_in_the_stock_tasks() {
    let pipeline = Pipeline::new();
    let file = pipeline.at("results-SOURCE");
    let piece = format!("{}=src", file.display());
    let reference = pipeline.create(&["--format", "trusted-artifact", &piece]);
    assert_eq!(fs::read_to_string(file).unwrap(), reference);
}

#[test]
fn of_a_composite_artifact_only_what_is_wanted_comes() {
    let pipeline = Pipeline::new();
    let file = |path: &str, seed, size| pipeline.project.file(path, noise(seed, size));
    file("p/output/deps/rpm/x86_64/a.rpm", 1, 300_000);
    file("p/output/deps/rpm/aarch64/a.rpm", 2, 200_000);
    file("p/output/deps/rpm/src/a.src.rpm", 3, 500_000);
    pipeline.project.file("p/output/bom.json", "{}\n");
    let reference = pipeline.create(&[
        "CACHI2=p",
        "--arch",
        "amd64=p/output/deps/rpm/x86_64",
        "--arch",
        "arm64=p/output/deps/rpm/aarch64",
        "--source",
        "p/output/deps/rpm/src",
    ]);
    let pair = |to: &str| format!("{reference}={to}");
    let ran = pipeline.run(&["use", &pair("arm"), "--arch", "linux/aarch64"]).good();
    pipeline.says(
        &ran,
        str![[r#"
arm: 2 files, 195.3 KiB
fetched [..] KiB

"#]],
    );
    assert_eq!(
        pipeline.shell("cd arm; find -type f | sort"),
        "./output/bom.json\n./output/deps/rpm/aarch64/a.rpm\n"
    );
    pipeline.run(&["use", &pair("all"), "--all"]).good();
    pipeline.same("p", "all");
    let ran = pipeline.run(&["use", &pair("none")]).exits(2);
    pipeline.says(&ran, str![[r#"
fetched 0 bytes
error: oci:[HOST]/team/ci@sha256:[KEY] has several parts (common, amd64, arm64, source), and nothing says which of them are wanted
  help: --arch ARCH, --source, or --all; what all need always comes along

"#]]);
    let ran = pipeline.run(&["use", &pair("none"), "--arch", "s390x"]).exits(2);
    pipeline.says(
        &ran,
        str![[r#"
fetched 0 bytes
error: oci:[HOST]/team/ci@sha256:[KEY] has no part for s390x: it has common, amd64, arm64, source

"#]],
    );
    let ran = pipeline.run(&["use", &pair("none"), "--arch", "PDP 11"]).exits(2);
    pipeline.says(
        &ran,
        str![[r#"
error: `PDP 11` is no architecture: amd64, arm64, ppc64le, s390x, …

"#]],
    );
    assert!(!pipeline.at("none").exists());
    let ran = pipeline.run(&["inspect", &reference]).good();
    assert!(ran.out.contains("also in common, arm64, source"), "{}", ran.out);
    pipeline.run(&["verify", &reference]).good();
}

#[test]
fn what_is_refused_is_said() {
    let pipeline = Pipeline::new();
    let reference = pipeline.create(&["SOURCE=src"]);
    let use_ = |to: &str, more: &[&str]| {
        let pair = format!("{reference}={to}");
        pipeline.run(&[&["use", &pair], more].concat())
    };
    symlink("/", pipeline.at("slash")).unwrap();
    for root in ["/", "/usr/..", "slash"] {
        let ran = use_(root, &["--replace"]).exits(2);
        let expected = format!(
            "fetched 0 bytes\nerror: {root} is the root of this machine's files\n  help: name a folder for the files\n"
        );
        assert_eq!(ran.err, expected);
    }
    pipeline.project.file("full/kept", "kept\n");
    pipeline.says(
        &use_("full", &[]).exits(2),
        str![[r#"
fetched 0 bytes
error: [ROOT]/project/full is not empty: it has kept
  help: --merge puts the new files among them, --replace removes them

"#]],
    );
    pipeline.project.file("mixed/a", "a file\n");
    pipeline.says(
        &use_("mixed", &["--merge"]).exits(2),
        str![[r#"
fetched [..] MiB
error: [ROOT]/project/mixed cannot be merged with what is there: a is a file there and a folder here
  help: --replace removes what is there

"#]],
    );
    use_("full", &["--merge"]).good();
    assert!(pipeline.at("full/kept").exists() && pipeline.at("full/su").exists());
    use_("full", &["--replace"]).good();
    pipeline.same("src", "full");

    // An empty reference is no error: the task before had nothing to hand on.
    let ran = pipeline.run(&["use", "=nothing"]).good();
    assert_eq!(ran.err, "warning: no reference is given for nothing: it is skipped\n");
    assert!(!pipeline.at("nothing").exists());

    let gone = format!("oci:{}@sha256:{}", pipeline.store(), "0".repeat(64));
    pipeline.says(
        &pipeline.run(&["use", &format!("{gone}=gone")]).exits(4),
        str![[r#"
fetched 0 bytes
error: oci:[HOST]/team/ci@sha256:[KEY] is not there

"#]],
    );
    assert!(!pipeline.at("gone").exists());
    let store = pipeline.store();
    pipeline.says(
        &pipeline.run(&["create", "--store", &store, "X=nowhere"]).exits(2),
        str![[r#"
error: nowhere is not there, or may not be read
  help: --allow-missing makes an empty artifact of it

"#]],
    );
    pipeline.run(&["create", "--store", &store, "X=nowhere", "--allow-missing"]).good();
    for (args, says) in [
        (&["create", "--store", &store, "src"][..], "error: `src` names no folder\n"),
        (&["create", "--store", &store], "error: nothing is to be made\n"),
        (
            &["create", "--store", "ci", "X=src"],
            "error: `ci` has no repository: HOST[:PORT]/NAME\n",
        ),
        (
            &["create", "--store", &store, "X=src", "X=src"],
            "error: two artifacts have the name X\n",
        ),
        (
            &["create", "--store", &store, "X=src", "--result", "Y=f"],
            "error: there is a result for Y, which is not made\n",
        ),
        (
            &["create", "--store", &store, "X=src", "Y=src", "--arch", "amd64=src"],
            "error: --arch, --common and --source make one artifact, and there are several names\n",
        ),
        (
            &[
                "create",
                "--store",
                &store,
                "X",
                "--arch",
                "amd64=src",
                "--format",
                "trusted-artifact",
            ],
            "error: an archive has no parts:",
        ),
        (
            &["use", "oci:h/n=x"],
            "error: `oci:h/n` is no reference of the form oci:REPOSITORY@sha256:<64 hex digits>\n",
        ),
    ] {
        pipeline.run(args).exits(2).says(says);
    }
}

#[test]
fn a_folder_says_that_nothing_is_handed_on() {
    let pipeline = Pipeline::new();
    pipeline.project.file("skip/.skip-trusted-artifacts", "");
    let store = pipeline.store();
    let args = ["create", "--store", &store, "SKIP=skip", "--result", "SKIP=result", "SOURCE=src"];
    pipeline.says(
        &pipeline.run(&args).good(),
        str![[r#"
SOURCE oci:[HOST]/team/ci@sha256:[KEY]
warning: skip is skipped: it has a file .skip-trusted-artifacts
sent [..] MiB

"#]],
    );
    assert!(!pipeline.at("result").exists());
}

#[test]
fn signatures_are_made_and_asked_for() {
    let pipeline = Pipeline::new();
    pipeline.shell("for k in ci other; do openssl genpkey -algorithm ed25519 -out $k.key 2>&1; openssl pkey -in $k.key -pubout -out $k.pub; done");
    for format in ["native", "trusted-artifact"] {
        let out = |name: &str| format!("{name}-{format}");
        let plain = pipeline.create(&["--format", format, "P=rootfs"]);
        let pair = format!("{plain}={}", out("plain"));
        let ran = pipeline.run(&["use", &pair, "--verify", "ci.pub"]).exits(4);
        pipeline.says(
            &ran,
            str![[r#"
fetched 0 bytes
error: oci:[HOST]/team/ci@sha256:[KEY] is not to be trusted: it is not signed

"#]],
        );
        assert!(!pipeline.at(&out("plain")).exists());
        let signed = pipeline.create(&["--format", format, "--sign", "ci.key", "S=src"]);
        let pair = format!("{signed}={}", out("signed"));
        let ran = pipeline.run(&["use", &pair, "--verify", "other.pub"]).exits(4);
        ran.says("is not to be trusted: it is signed, but with none of the keys that are required");
        pipeline.run(&["use", &pair, "--verify", "other.pub", "--verify", "ci.pub"]).good();
        pipeline.run(&["verify", &signed, "--key", "ci.pub"]).good().says("and it is signed");

        // A copy is signed as well, in another repository and in a directory.
        for to in [format!("{}/other/copy:v1", pipeline.registry.host()), "dir:copy".to_owned()] {
            let copied = pipeline.run(&["copy", &signed, &to]).good();
            let copied = copied.out.trim().to_owned();
            let hash = |reference: &str| reference.split_once("@sha256:").unwrap().1.to_owned();
            assert_eq!(hash(&copied), hash(&signed));
            pipeline.run(&["verify", &copied, "--key", "ci.pub"]).good();
        }
    }
}

#[test]
fn programs_get_json() {
    let pipeline = Pipeline::new();
    let store = pipeline.store();
    let ran = pipeline.run(&["create", "--json", "--store", &store, "SOURCE=src"]).good();
    let made = &ran.events()[0];
    assert_eq!((&made["event"], &made["name"]), (&"artifact".into(), &"SOURCE".into()));
    assert_eq!(made["content"], 2_097_159);
    let reference = made["reference"].as_str().unwrap();
    let ran = pipeline.run(&["use", "--json", &format!("{reference}=out")]).good();
    assert_eq!(ran.events()[0]["files"], 5);
    let ran = pipeline.run(&["inspect", "--json", "--files", reference]).good();
    assert_eq!(ran.events()[0]["files"].as_array().unwrap().len(), 9);
}

/// The most memory that a run had, in KiB.
fn peak(pipeline: &Pipeline, args: &[&str]) -> u64 {
    let mut child = Command::new(ASHLAR)
        .arg("artifact")
        .args(args)
        .current_dir(&pipeline.project.root)
        .env("ASHLAR_STORE", &pipeline.project.store)
        .env("TMPDIR", &pipeline.project.root)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    loop {
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success());
            return most;
        }
        // It only grows, so the last look before the end sees nearly all of it.
        let now = fs::read_to_string(&status).unwrap_or_default();
        let now = now.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = now.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
        most = most.max(now.unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// `bench/run artifact` does the same with one of 3.9 GB.
#[test]
fn memory_does_not_grow_with_the_artifact() {
    let pipeline = Pipeline::new();
    fs::create_dir(pipeline.at("big")).unwrap();
    // Half of it does not compress, half of it is holes.
    for part in 0..2 {
        let file = fs::File::create(pipeline.at("big").join(format!("part-{part}"))).unwrap();
        for piece in 0..4_u64 {
            let bytes = noise(part * 4 + piece, 16 << 20);
            std::os::unix::fs::FileExt::write_all_at(&file, &bytes, piece * (32 << 20)).unwrap();
        }
        file.set_len(1 << 27).unwrap();
    }
    let store = pipeline.store();
    let base = peak(&pipeline, &["create", "--store", &store, "SMALL=src/a"]);
    for format in ["native", "trusted-artifact"] {
        let args = ["create", "--store", &store, "BIG=big", "--format", format];
        let create = peak(&pipeline, &[&args[..], &["--result", "BIG=big-result"]].concat());
        let reference = fs::read_to_string(pipeline.at("big-result")).unwrap();
        let use_ = peak(&pipeline, &["use", &format!("{reference}=restored"), "--replace"]);
        eprintln!("{format}: base {base} KiB, create {create} KiB, use {use_} KiB");
        assert!(create < base + (64 << 10) && use_ < base + (64 << 10), "{base} {create} {use_}");
        pipeline.shell("diff -r big restored");
    }
}
