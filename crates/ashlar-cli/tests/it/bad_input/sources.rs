//! Sources that are not there or not what they should be. The step fails: exit code 1.

use std::io::Write as _;

use snapbox::str;

use super::{says, with};
use crate::support::Project;

/// A project whose module `x` has a file of this name and content as its source.
fn with_file(name: &str, bytes: &[u8]) -> Project {
    let project = with("");
    project.file(name, bytes);
    let output =
        std::process::Command::new("sha256sum").arg(project.root.join(name)).output().unwrap();
    let sum = String::from_utf8(output.stdout).unwrap()[..64].to_owned();
    address(&project, name, &sum);
    project
}

fn address(project: &Project, name: &str, sum: &str) {
    project.module(
        "x",
        &format!(
            "[source]\nurl = \"file://{}/{name}\"\nsha256 = \"{sum}\"\n[build]\nkind = \"import\"\n",
            project.root.display()
        ),
    );
}

/// A tar archive of entries: type flag, name, link target, content.
fn tar(entries: &[(u8, &str, &str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (kind, name, target, content) in entries {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[148..156].fill(b' ');
        header[156] = *kind;
        header[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(header);
        archive.extend(*content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// A zip archive of one stored file.
fn zip(name: &str, content: &[u8]) -> Vec<u8> {
    let number = |n: usize, bytes: usize| n.to_le_bytes()[..bytes].to_vec();
    let mut crc = !0_u32;
    for byte in content {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let common = [
        &number(20, 2)[..],
        &[0; 8],
        &(!crc).to_le_bytes(),
        &number(content.len(), 4),
        &number(content.len(), 4),
        &number(name.len(), 2),
        &number(0, 2),
    ]
    .concat();
    let local = [b"PK\x03\x04", &common[..], name.as_bytes(), content].concat();
    let central = [b"PK\x01\x02\x14\0", &common[..], &[0; 14], name.as_bytes()].concat();
    let end = [
        &b"PK\x05\x06\0\0\0\0\x01\0\x01\0"[..],
        &number(central.len(), 4),
        &number(local.len(), 4),
        &[0, 0],
    ]
    .concat();
    [local, central, end].concat()
}

#[test]
fn the_archives_of_these_tests_are_archives() {
    let project = with_file("good.tar", &tar(&[(b'0', "dir/file", "", b"content\n")]));
    assert_eq!(project.outcomes(&["x"]), "x:built");
    assert_eq!(project.output("x", "file"), "content\n");
    let project = with_file("good.zip", &zip("dir/file", b"content\n"));
    assert_eq!(project.outcomes(&["x"]), "x:built");
    assert_eq!(project.output("x", "file"), "content\n");
}

#[test]
fn archives_that_escape() {
    for (name, bytes, expected) in [
        (
            "up.tar",
            tar(&[(b'0', "../../evil", "", b"evil")]),
            str![[r#"
1 module to build
building x (source)
failed x (source) after [TIME]: cannot unpack up.tar: the entry `../../evil` cannot be inside the destination: it has a `.` or `..` component
  help: do not use this archive: no honest one is like that
1 module: 1 failed in [TIME]

"#]],
        ),
        (
            "root.tar",
            tar(&[(b'0', "/tmp/evil", "", b"evil")]),
            str![[r#"
1 module to build
building x (source)
failed x (source) after [TIME]: cannot unpack root.tar: the entry `/tmp/evil` cannot be inside the destination: it has an absolute path
  help: do not use this archive: no honest one is like that
1 module: 1 failed in [TIME]

"#]],
        ),
        (
            "link.tar",
            tar(&[(b'2', "l", "/tmp", b""), (b'0', "l/evil", "", b"evil")]),
            str![[r#"
1 module to build
building x (source)
failed x (source) after [TIME]: cannot unpack link.tar: the entry `l/evil` cannot be inside the destination: it has a link or file of the archive on its way
  help: do not use this archive: no honest one is like that
1 module: 1 failed in [TIME]

"#]],
        ),
        (
            "hard.tar",
            tar(&[(b'1', "l", "/etc/passwd", b"")]),
            str![[r#"
1 module to build
building x (source)
failed x (source) after [TIME]: cannot unpack hard.tar: the entry `l → /etc/passwd` cannot be inside the destination: it has an absolute path
  help: do not use this archive: no honest one is like that
1 module: 1 failed in [TIME]

"#]],
        ),
        (
            "device.tar",
            tar(&[(b'3', "null", "", b"")]),
            str![[r#"
1 module to build
building x (source)
failed x (source) after [TIME]: cannot unpack device.tar: the entry `null` is a character device
1 module: 1 failed in [TIME]

"#]],
        ),
        (
            "up.zip",
            zip("../../evil", b"evil"),
            str![[r#"
1 module to build
building x (source)
failed x (source) after [TIME]: cannot unpack up.zip: the entry `../../evil` cannot be inside the destination: it has a `.` or `..` component
  help: do not use this archive: no honest one is like that
1 module: 1 failed in [TIME]

"#]],
        ),
        (
            "root.zip",
            zip("/tmp/evil", b"evil"),
            str![[r#"
1 module to build
building x (source)
failed x (source) after [TIME]: cannot unpack root.zip: the entry `/tmp/evil` cannot be inside the destination: it has an absolute path
  help: do not use this archive: no honest one is like that
1 module: 1 failed in [TIME]

"#]],
        ),
    ] {
        let project = with_file(name, &bytes);
        says(&project, 1, expected);
        assert!(!project.root.parent().unwrap().join("evil").exists());
    }
    assert!(!std::path::Path::new("/tmp/evil").exists());
}

#[test]
fn archives_that_are_broken() {
    let whole = tar(&[(b'0', "file", "", &[7; 5000])]);
    for (name, bytes) in [
        ("short.tar", &whole[..3000]),
        ("shorter.tar", &whole[..700]),
        ("none.zip", b"PK\x03\x04nonsense"),
    ] {
        let project = with_file(name, bytes);
        let ran = project.run(&["build", "x"]).exits(1);
        assert!(ran.err.contains(&format!("cannot unpack {name}")), "{}", ran.err);
    }
}

#[test]
fn what_is_fetched_is_not_what_was_expected() {
    let project = with("");
    project.file("file", "content\n");
    address(&project, "file", &"0".repeat(64));
    let ran = project.run(&["build", "x"]).exits(1);
    for part in [
        &*"0".repeat(64),
        // sha256sum of `content` and a newline
        "434728a410a78f56fc1b5899c3593436e61ab0c731e9072d95e96db290205e53",
        "file:///",
        "help: the file was changed where it is served",
    ] {
        assert!(ran.err.contains(part), "{part} is not in {}", ran.err);
    }
    address(&project, "none", &"0".repeat(64));
    says(
        &project,
        1,
        str![[r#"
1 module to build
building x (source)
failed x (source) after [TIME]: cannot read file://[ROOT]/project/none: No such file or directory (os error 2)
1 module: 1 failed in [TIME]

"#]],
    );
    address(&project, "file", "xyz");
    assert!(project.run(&["build", "x"]).exits(2).err.contains("modules/x.toml:3:10: "));
}

#[test]
fn repositories_and_commits_that_are_not_there() {
    let git = |url: &str, commit: &str| {
        with(&format!(
            "[source]\ngit = \"{url}\"\ncommit = \"{commit}\"\n[build]\nkind = \"import\"\n"
        ))
    };
    let commit = "0123456789".repeat(4);
    let project = git("file:///nonexistent/repository", &commit);
    let ran = project.run(&["build", "x"]).exits(1);
    let ran = ran.says(&format!("cannot fetch {commit} from file:///nonexistent/repository"));
    assert!(ran.err.contains("failed x (source)"), "{}", ran.err);
    let project = git("file:///nonexistent/repository", "main");
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:3:10: `main` is not a full commit id
  commit = "main"
           ^^^^^^
  help: write all 40 (or 64) hexadecimal digits, as `git rev-parse` prints them: branches and tags move, short ids become ambiguous

"#]],
    );
    let project = git("--upload-pack=evil", &commit);
    project.run(&["build", "x"]).exits(2);
}

#[test]
fn patches_that_do_not_apply() {
    let project = with(
        "[source]\npath = \"src/lib\"\npatches = [\"one.patch\", \"two.patch\"]\n[build]\nkind = \"import\"\n",
    );
    project.file("src/lib/other.txt", "a\nb\nc\nd\ne\nf\ng\nh\n");
    project.file("one.patch", "--- a/lib.txt\n+++ b/lib.txt\n@@ -1 +1 @@\n-library\n+LIBRARY\n");
    project.file(
        "two.patch",
        "--- a/other.txt\n+++ b/other.txt\n@@ -1,2 +1,2 @@\n-a\n+A\n b\n@@ -6,3 +6,3 @@\n f\n-x\n+G\n h\n",
    );
    // Something that could be asked would now be read.
    let mut command = project.command(&["build", "x"]);
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"y\ny\ny\n").unwrap();
    let ran = crate::support::Ran::of(&child.wait_with_output().unwrap()).exits(1);
    crate::snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
1 module to build
building x (source)
failed x (source) after [TIME]: the patch two.patch does not apply: hunk 2 of other.txt failed at line 6
  help: refresh the patch against this version of the source
1 module: 1 failed in [TIME]

"#]],
    );
    let log = project.run(&["log", "x", "--step", "source"]).good();
    assert!(log.out.contains("two.patch"), "{}", log.out);
    assert_eq!(project.read("src/lib/lib.txt"), "library\n");
    project.file("two.patch", "this is no patch\n");
    says(
        &project,
        1,
        str![[r#"
1 module to build
building x (source)
failed x (source) after [TIME]: two.patch has no patch in it
1 module: 1 failed in [TIME]

"#]],
    );
    project.file("two.patch", "--- a/../../evil\n+++ b/../../evil\n@@ -0,0 +1 @@\n+evil\n");
    says(
        &project,
        1,
        str![[r#"
1 module to build
building x (source)
failed x (source) after [TIME]: the patch two.patch would change `a/../../evil`, which has `..` in it
1 module: 1 failed in [TIME]

"#]],
    );
}

#[test]
fn offline_names_what_is_missing() {
    let project = with_file("file", b"content\n");
    project.build(&["x"]);
    // What the store has is found by its digest, wherever it is said to come from.
    project.edit("modules/x.toml", "file://", "https://example.org");
    project.edit("modules/x.toml", "[source]\n", "salt = \"1\"\n[source]\n");
    project.build(&["--offline", "x"]);
    let text = project.read("modules/x.toml");
    let start = text.find("sha256 = \"").unwrap() + 10;
    let end = start + text[start..].find('"').unwrap();
    project.file("modules/x.toml", format!("{}{}{}", &text[..start], "1".repeat(64), &text[end..]));
    let ran = project.run(&["--offline", "build", "x"]).exits(1);
    ran.says("this run is offline").says("https://example.org").says("run once without");
}
