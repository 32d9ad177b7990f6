//! Tests of the lock file.

use proptest::prelude::*;

use super::*;

fn file(path: &str, size: u64) -> LockedFile {
    LockedFile { path: path.into(), sha256: "0a".repeat(32), size }
}

fn example() -> Lock {
    let deb = LockedDeb {
        version: "1:1.2.13.dfsg-1".into(),
        build_depends: vec!["debhelper (>= 13)".into()],
        files: vec![file("pool/main/z/zlib/zlib_1.2.13.dfsg-1.dsc", 2524)],
    };
    let base = LockedBase {
        asked: vec!["bookworm".into(), "buildd".into()],
        architecture: "amd64".into(),
        packages: vec!["bash_5.2.15-2+b7_amd64".into()],
    };
    let tools = LockedTools {
        base: "debian".into(),
        asked: vec!["flex".into()],
        packages: vec!["flex_2.6.4-8.2_amd64".into()],
    };
    let package = ["bash_5.2.15-2+b7_amd64", "flex_2.6.4-8.2_amd64"];
    Lock {
        version: VERSION,
        base: [("debian".to_owned(), base)].into(),
        tools: vec![tools],
        source: [("zlib".to_owned(), deb)].into(),
        package: package.map(|id| (id.to_owned(), file("pool/main/x.deb", 7))).into(),
    }
}

fn refused(text: &str) -> String {
    Lock::parse(text).unwrap_err().render_plain()
}

#[test]
fn text_and_back() {
    let lock = example();
    let text = lock.to_text();
    assert_eq!(Lock::parse(&text).unwrap(), lock);
    let zeros = "0a".repeat(32);
    let expected = format!(
        r#"# What names were resolved to: Debian packages and sources with their checksums.
# Written by `ashlar lock`; keep it under version control, do not edit it.
version = 1

[base.debian]
asked = [
    "bookworm",
    "buildd",
]
architecture = "amd64"
packages = [
    "bash_5.2.15-2+b7_amd64",
]

[[tools]]
base = "debian"
asked = [
    "flex",
]
packages = [
    "flex_2.6.4-8.2_amd64",
]

[source.zlib]
version = "1:1.2.13.dfsg-1"
build_depends = [
    "debhelper (>= 13)",
]
files = [
    {{ path = "pool/main/z/zlib/zlib_1.2.13.dfsg-1.dsc", sha256 = "{zeros}", size = 2524 }},
]

[package]
"bash_5.2.15-2+b7_amd64" = {{ path = "pool/main/x.deb", sha256 = "{zeros}", size = 7 }}
"flex_2.6.4-8.2_amd64" = {{ path = "pool/main/x.deb", sha256 = "{zeros}", size = 7 }}
"#
    );
    assert_eq!(text, expected);
}

#[test]
fn refuses_a_newer_version() {
    assert_eq!(
        refused("version = 2\n[new]\nx = 1\n"),
        "ashlar.lock:1:11: the lock file has version 2, and this is for 1
  version = 2
            ^
  help: a newer Ashlar wrote it: use that, or write it anew with `ashlar lock`
"
    );
}

#[test]
fn refuses_what_is_spoiled() {
    for bad in ["", "version = 0", "version = \"1\"", "version = -1", "version = ", "x = 1"] {
        assert!(refused(bad).contains("ashlar lock"), "{bad}");
    }
    assert_eq!(
        refused("version = 1\n[base.debian]\nasked = 3\n"),
        "ashlar.lock:3:9: invalid type: integer `3`, expected a sequence
  asked = 3
          ^
  help: it is written by `ashlar lock`, which can write it anew
"
    );
    let text = example().to_text();
    let dangling = text.replacen("    \"flex_", "    \"gone_", 1);
    assert!(refused(&dangling).contains(":21:5: `gone_2.6.4-8.2_amd64` is named, but not in"));
    let escaping = text.replacen("pool/main/z", "pool/../z", 1);
    assert!(refused(&escaping).contains("is not a plain path"));
    let sum = text.replacen("0a0a", "XX", 1);
    assert!(refused(&sum).contains("is not an SHA-256 sum"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_text_survives(name in "\\PC{0,12}|[\\x00-\\x7f]{0,6}", asked in "[\\x00-\\x7f\u{80}-\u{ff}]{0,8}", size in 0..=i64::MAX as u64) {
        let mut lock = example();
        lock.package.insert(name.clone(), file("pool/a", size));
        lock.source.insert(name, LockedDeb { version: asked.clone(), ..LockedDeb::default() });
        lock.tools[0].asked = vec![asked];
        prop_assert_eq!(Lock::parse(&lock.to_text()).unwrap(), lock);
    }
}
