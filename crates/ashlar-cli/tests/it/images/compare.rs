//! The same Dockerfiles through buildah and through Ashlar: the same files, and the same
//! configuration. `tests/dockerfiles` has one folder for each feature:
//!
//! | in a case | what |
//! |---|---|
//! | `Dockerfile` | what both build |
//! | `Dockerfile.oracle` | the same in older words, where buildah 1.28 has no own answer |
//! | `context/`, `prepare` | the context; a script that makes in it what git cannot keep |
//! | `arguments` | further arguments of both programs, one in a line |
//!
//! The files of Ashlar's image are read by buildah too, from the OCI layout that Ashlar writes.
//! What is meant to differ stands in `known.rs`, each with its reason.

mod case;
mod files;
mod known;
mod oracle;
mod ours;
mod settings;

use std::collections::BTreeSet;
use std::time::Instant;

use case::Case;
use oracle::Oracle;

/// Groups: one test for each, beside one another. What a case's name begins with says which it is in.
const GROUPS: &[(&str, &[&str])] = &[
    ("stages", &["stages-", "base-", "scratch-", "onbuild"]),
    ("arguments", &["arg-", "env-"]),
    ("modifiers", &["modifier-", "syntax-", "label", "expose", "healthcheck"]),
    ("copying", &["copy-"]),
    ("adding", &["add-", "ignore-"]),
    ("running", &["run-", "mount-", "shell"]),
    ("users", &["user-", "workdir"]),
    ("settings", &["cmd-", "entrypoint-", "volume", "stopsignal", "maintainer"]),
    ("files", &["file-", "files-", "links-", "link-"]),
    ("folders", &["folder-", "xattr-", "capability", "set-uid", "sticky", "special-"]),
];

/// Compares the cases of a group, and says all that differs at once.
fn compare(group: &str) {
    let Some(oracle) = Oracle::new() else { return };
    let (_, prefixes) = GROUPS.iter().find(|(name, _)| *name == group).unwrap();
    let begun = Instant::now();
    let mut wrong = Vec::new();
    let mut compared = 0;
    for case in case::all().iter().filter(|case| prefixes.iter().any(|p| case.name.starts_with(p)))
    {
        compared += 1;
        if let Err(message) = one(&oracle, case) {
            wrong.push(format!("{}: {message}", case.name));
        }
    }
    let seconds = begun.elapsed().as_secs_f32();
    println!("{group}: {compared} Dockerfiles compared with buildah in {seconds:.1} s");
    assert!(compared > 0, "no case is in the group {group}");
    assert!(wrong.is_empty(), "{} of {compared} differ\n{}", wrong.len(), wrong.join("\n"));
}

/// Builds one case with both programs and compares what came out.
fn one(oracle: &Oracle, case: &Case) -> Result<(), String> {
    let place = case.lay_out(oracle.folder());
    let theirs = oracle.build(case, &place)?;
    let found = match ours::build(case, &place, oracle) {
        Ok(layout) => differences(&theirs, &oracle.read_layout(&layout)?),
        Err(message) => vec![format!("refused: buildah builds it | ashlar {message}")],
    };
    known::check(&case.name, &found)
}

/// An image, as compared.
struct Image {
    files: files::Files,
    settings: settings::Settings,
}

/// What differs, a line for each.
fn differences(theirs: &Image, ours: &Image) -> Vec<String> {
    let mut lines = files::differences(&theirs.files, &ours.files);
    lines.extend(settings::differences(&theirs.settings, &ours.settings));
    lines
}

macro_rules! groups {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            compare(stringify!($name));
        }
    )*

        const TESTED: &[&str] = &[$(stringify!($name)),*];
    };
}

groups!(stages arguments modifiers copying adding running users settings files folders);

mod table {
    use super::*;

    #[test]
    fn every_case_is_in_one_group_and_every_group_is_a_test() {
        let all = case::all();
        assert!(all.len() >= 64, "{} cases", all.len());
        for case in &all {
            let groups = GROUPS.iter().filter(|(_, prefixes)| {
                prefixes.iter().any(|prefix| case.name.starts_with(prefix))
            });
            assert_eq!(groups.count(), 1, "{} has to be in exactly one group", case.name);
        }
        let named: BTreeSet<&str> = GROUPS.iter().map(|(name, _)| *name).collect();
        assert_eq!(named, TESTED.iter().copied().collect());
        for known in known::KNOWN.iter().chain(known::OPEN) {
            let named = all.iter().any(|case| case.name == known.case);
            assert!(named, "there is no case {}", known.case);
        }
    }

    /// The comparison itself can fail: two images that differ in each way are told apart.
    #[test]
    fn a_difference_of_each_kind_is_seen() {
        let Some(oracle) = Oracle::new() else { return };
        let build = |name: &str, text: &str| {
            let case = Case::written(name, &format!("ARG BASE\nFROM ${{BASE}}\n{text}"));
            oracle.build(&case, &case.lay_out(oracle.folder())).unwrap()
        };
        let one = build(
            "one",
            "RUN mkdir /d && for f in mode owner group content kind xattr gone a same caps; do echo x > /d/$f; done; \
             ln -s one /d/target; ln /d/a /d/b; cp /d/a /d/c; ln /d/same /d/again; setfattr -n user.x -v 1 /d/xattr\n\
             ENV A=1 B=2\nLABEL a=1\nUSER bin\nWORKDIR /d\nENTRYPOINT [\"x\"]\nCMD [\"y\"]\nEXPOSE 1\nVOLUME /v\n\
             STOPSIGNAL 9\nHEALTHCHECK CMD a\nSHELL [\"/bin/ash\", \"-c\"]\nONBUILD ENV X=a\n",
        );
        let two = build(
            "two",
            "RUN mkdir /d && for f in mode owner group content xattr new a same caps; do echo x > /d/$f; done; \
             ln -s two /d/target; cp /d/a /d/b; ln /d/a /d/c; ln /d/same /d/again; setfattr -n user.x -v 2 /d/xattr; \
             chmod 600 /d/mode; chown 1 /d/owner; chgrp 1 /d/group; echo y > /d/content; mkdir /d/kind; \
             setcap cap_chown+ep /d/caps\n\
             ENV A=1 B=3\nLABEL a=2\nUSER root\nWORKDIR /\nENTRYPOINT [\"z\"]\nCMD [\"z\"]\nEXPOSE 2\nVOLUME /w\n\
             STOPSIGNAL 10\nHEALTHCHECK CMD b\nSHELL [\"/bin/busybox\", \"sh\", \"-c\"]\nONBUILD ENV X=b\n",
        );
        assert_eq!(differences(&one, &one), Vec::<String>::new());
        let found = differences(&one, &two);
        let places: Vec<&str> = found.iter().map(|line| known::place(line)).collect();
        assert_eq!(
            places,
            [
                "d/b",
                "d/c",
                "d/caps",
                "d/content",
                "d/gone",
                "d/group",
                "d/kind",
                "d/mode",
                "d/new",
                "d/owner",
                "d/target",
                "d/xattr",
                "Cmd",
                "Entrypoint",
                "Env",
                "ExposedPorts",
                "Healthcheck",
                "Labels",
                "OnBuild",
                "Shell",
                "StopSignal",
                "User",
                "Volumes",
                "WorkingDir",
            ],
            "{found:#?}"
        );
    }
}
