//! One rule each. Where `buildah` is true, buildah makes exactly the same.

use super::world::{World, buildah};
use super::{copying, flags};

pub struct Case {
    pub name: &'static str,
    pub files: &'static [&'static str],
    pub text: &'static str,
    pub expected: Result<&'static [&'static str], &'static str>,
    pub buildah: bool,
}

pub const fn same(
    name: &'static str,
    files: &'static [&'static str],
    text: &'static str,
    expected: &'static [&'static str],
) -> Case {
    Case { name, files, text, expected: Ok(expected), buildah: true }
}

pub const fn own(
    name: &'static str,
    files: &'static [&'static str],
    text: &'static str,
    expected: &'static [&'static str],
) -> Case {
    Case { name, files, text, expected: Ok(expected), buildah: false }
}

pub const fn wrong(
    name: &'static str,
    files: &'static [&'static str],
    text: &'static str,
    message: &'static str,
) -> Case {
    Case { name, files, text, expected: Err(message), buildah: false }
}

pub const D: &[&str] =
    &["d/a 644 A", "d/b 755 B", "d/sub/s 600 S", "d/l -> a", "d/empty/ 711", "f 644 F"];

fn all() -> impl Iterator<Item = &'static Case> {
    copying::CASES.iter().chain(flags::CASES)
}

#[test]
fn one_rule_each() {
    for case in all() {
        let world = World::new(case.files);
        let built = world.build(case.text).map(|root| world.lines(&root));
        match (&case.expected, &built) {
            (Ok(expected), Ok(lines)) => assert_eq!(lines, expected, "{}", case.name),
            (Err(message), Err(error)) => {
                assert!(error.contains(message), "{}: {error}", case.name);
            }
            _ => panic!("{}: {built:?}", case.name),
        }
    }
}

#[test]
#[ignore = "takes a minute: every case that should be as with buildah, built by buildah"]
fn as_buildah_has_it() {
    let mut different = Vec::new();
    for case in all().filter(|case| case.buildah) {
        let world = World::new(case.files);
        let ours = world.build(case.text).map(|root| world.lines(&root));
        let theirs = buildah(case.name, world.folder(), case.text);
        if ours != theirs {
            different.push(format!("{}\n  ours   {ours:?}\n  theirs {theirs:?}", case.name));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
