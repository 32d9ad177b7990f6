use std::process::Command;

use ashlar_object::RelPath;
use ashlar_store::MemoryStore;

use super::*;

struct Made(tempfile::TempDir);

impl Made {
    fn new(files: &[(&str, &str)]) -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, content)| made.write(name, content));
        made
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn git(&self, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.path()).env("GIT_CONFIG_GLOBAL", "/dev/null").args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn tree(&self, path: &str) -> Tree {
        path_tree(self.path(), Path::new(path), &digest_file).unwrap()
    }

    fn names(&self, path: &str) -> Vec<String> {
        let mut names = Vec::new();
        self.tree(path).walk(|entry| {
            if !matches!(entry.node, Node::Dir(_)) {
                names.push(entry.path.to_string());
            }
        });
        names
    }
}

fn project_error(error: SourceError) -> ProjectError {
    match error {
        SourceError::Project(e) => e,
        other => panic!("{other}"),
    }
}

const RULES: &str = "*.o\n/src/made/\n!keep.o\n";

fn files() -> Made {
    let made = Made::new(&[
        (".gitignore", RULES),
        ("src/a.c", "a"),
        ("src/a.o", "o"),
        ("src/keep.o", "k"),
        ("src/made/m", "m"),
        ("src/deep/.gitignore", "x\n"),
        ("src/deep/x", "x"),
        ("src/deep/y", "y"),
        ("src/.hidden", "h"),
    ]);
    std::fs::create_dir(made.path().join("src/empty")).unwrap();
    made
}

const SEEN: [&str; 5] = [".hidden", "a.c", "deep/.gitignore", "deep/y", "keep.o"];

#[test]
fn sees_what_git_does_not_ignore() {
    let made = files();
    made.git(&["init", "--quiet"]);
    assert_eq!(made.names("src"), SEEN);
    made.write(".git/info/exclude", "a.c\n");
    assert_eq!(made.names("src"), [".hidden", "deep/.gitignore", "deep/y", "keep.o"]);
    // What a person ignores everywhere is no matter of the project.
    made.write(".git/info/exclude", "");
    made.git(&["config", "core.excludesFile", "/proc/self/cmdline"]);
    assert_eq!(made.names("src"), SEEN);
    // The same files in no repository, as from an archive of the project.
    std::fs::remove_dir_all(made.path().join(".git")).unwrap();
    assert_eq!(made.names("src"), SEEN);
}

#[test]
fn tracked_files_are_never_ignored() {
    for version in ["2", "4"] {
        let made = files();
        made.git(&["init", "--quiet"]);
        made.git(&["config", "index.version", version]);
        made.git(&["add", "--force", "src/a.o", "src/made/m", "src/a.c"]);
        let with = [".hidden", "a.c", "a.o", "deep/.gitignore", "deep/y", "keep.o", "made/m"];
        assert_eq!(made.names("src"), with, "version {version}");
        std::fs::remove_file(made.path().join("src/a.o")).unwrap();
        assert!(!made.names("src").contains(&"a.o".to_owned()));
        made.git(&["update-index", "--split-index"]);
        assert!(made.names("src").contains(&"made/m".to_owned()), "split, version {version}");
        assert_eq!(made.names("src/made"), ["m"]);
    }
}

#[test]
fn every_change_that_matters_changes_the_tree() {
    let made = Made::new(&[("s/a", "1"), ("s/b", "2")]);
    let link = made.path().join("s/link");
    std::os::unix::fs::symlink("a", &link).unwrap();
    let mut seen = vec![made.tree("s").digest()];
    let mut changed = |made: &Made| {
        let digest = made.tree("s").digest();
        assert!(!seen.contains(&digest));
        seen.push(digest);
    };
    made.write("s/a", "9");
    changed(&made);
    std::fs::rename(made.path().join("s/b"), made.path().join("s/c")).unwrap();
    changed(&made);
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(made.path().join("s/c"), mode(0o700)).unwrap();
    changed(&made);
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("c", &link).unwrap();
    changed(&made);
    made.write("s/new", "untracked");
    changed(&made);
    // And what does not matter, does not.
    let before = made.tree("s").digest();
    std::fs::set_permissions(made.path().join("s/c"), mode(0o755)).unwrap();
    std::fs::set_permissions(made.path().join("s/a"), mode(0o600)).unwrap();
    std::fs::create_dir(made.path().join("s/empty")).unwrap();
    made.write("other", "x");
    assert_eq!(made.tree("s").digest(), before);
}

#[test]
fn odd_names_and_single_files() {
    let made = Made::new(&[("s/x", "1"), ("one.tar", "archive")]);
    let raw = std::ffi::OsStr::from_bytes(b"raw\xff");
    std::fs::write(made.path().join("s").join(raw), "r").unwrap();
    let tree = made.tree("s");
    assert!(tree.get(&RelPath::parse(b"raw\xff").unwrap()).is_some());
    assert_eq!(made.names("one.tar"), ["one.tar"]);
    let many = Made::new(&[]);
    (0..200).for_each(|n| many.write(&format!("s/{n:03}"), &n.to_string()));
    let tree = many.tree("s");
    let Some(Node::File(file)) = tree.get(&"123".parse().unwrap()) else { panic!() };
    assert_eq!(file.digest, Digest::of(b"123"));
}

#[test]
fn what_cannot_be_a_source_is_refused_by_name() {
    let made = Made::new(&[("s/x", "1"), ("ignored/f", "1"), (".gitignore", "*\n")]);
    let error = |path: &str| {
        project_error(path_tree(made.path(), Path::new(path), &digest_file).unwrap_err())
    };
    assert!(matches!(error("none"), ProjectError::Missing(_)));
    assert!(matches!(error("../"), ProjectError::Outside(_)));
    assert!(matches!(error("/etc"), ProjectError::Outside(_)));
    assert!(matches!(error("ignored"), ProjectError::Ignored(_)));
    std::os::unix::fs::symlink("/etc", made.path().join("out")).unwrap();
    assert!(matches!(error("out"), ProjectError::Outside(_)));
    std::fs::remove_file(made.path().join(".gitignore")).unwrap();
    let socket = made.path().join("s/socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let ProjectError::Kind { path, what } = error("s") else { panic!("a socket") };
    assert!(path.ends_with("s/socket"));
    assert_eq!(what, "a socket");
}

#[test]
fn keeping_notices_changes() {
    let made = Made::new(&[("s/a", "1"), ("s/d/b", "2")]);
    let store = MemoryStore::new();
    let tree = made.tree("s");
    made.write("s/d/b", "changed meanwhile");
    let keep = || keep_path(&store, made.path(), Path::new("s"), &tree);
    assert!(matches!(project_error(keep().unwrap_err()), ProjectError::Changed(_)));
    std::fs::remove_file(made.path().join("s/d/b")).unwrap();
    assert!(matches!(project_error(keep().unwrap_err()), ProjectError::Changed(_)));
    made.write("s/d/b", "2");
    let digest = keep().unwrap();
    assert_eq!(digest, tree.digest());
    assert!(store.missing(&tree.blobs()).unwrap().is_empty());
    // What the store has need not be there any more.
    std::fs::remove_file(made.path().join("s/a")).unwrap();
    assert_eq!(keep().unwrap(), digest);
}

fn matched(made: &Made, globs: &[&str]) -> Result<Vec<String>, ProjectError> {
    let globs: Vec<_> = globs.iter().map(|&g| g.to_owned()).collect();
    let found = files_matching(made.path(), &globs).map_err(project_error)?;
    Ok(found.into_iter().map(|(name, _)| name).collect())
}

#[test]
fn globs_in_order() {
    let made = Made::new(&[
        ("c/b.sh", ""),
        ("c/a.sh", ""),
        ("c/deep/z.sh", ""),
        ("x", ""),
        (".git/c.sh", ""),
    ]);
    assert_eq!(matched(&made, &["x", "c/*.sh"]).unwrap(), ["x", "c/a.sh", "c/b.sh"]);
    assert_eq!(matched(&made, &["c/b.sh", "./c/*"]).unwrap(), ["c/b.sh", "c/a.sh"]);
    assert_eq!(matched(&made, &["**/*.sh"]).unwrap(), ["c/a.sh", "c/b.sh", "c/deep/z.sh"]);
    assert!(
        matches!(matched(&made, &["x", "none/*"]), Err(ProjectError::NoMatch(g)) if g == "none/*")
    );
    assert!(matches!(matched(&made, &["c"]), Err(ProjectError::NoMatch(_))));
    assert!(matches!(matched(&made, &["../*"]), Err(ProjectError::Outside(_))));
    assert!(matches!(matched(&made, &["a[", "x"]), Err(ProjectError::Glob { .. })));
}

#[test]
fn series_stand_for_their_patches() {
    let made = Made::new(&[
        ("p/series", "b.patch\n# no\nsub/a.patch -p0\n"),
        ("p/b.patch", "b"),
        ("p/sub/a.patch", "a"),
        ("q/1.patch", "1"),
    ]);
    let found = find_patches(made.path(), &["p/series".into(), "q/*".into()], 2).unwrap();
    let found: Vec<_> = found.iter().map(|p| (p.name.as_str(), p.bytes[0], p.strip)).collect();
    assert_eq!(found, [("p/b.patch", b'b', 2), ("p/sub/a.patch", b'a', 0), ("q/1.patch", b'1', 2)]);
    let error = |series: &str| {
        made.write("p/series", series);
        project_error(find_patches(made.path(), &["p/series".into()], 1).unwrap_err())
    };
    assert!(matches!(error("none.patch\n"), ProjectError::NoPatch { .. }));
    assert!(matches!(error("b.patch\n../x\n"), ProjectError::Series { line: 2, .. }));
    assert!(matches!(error("b.patch -R\n"), ProjectError::Series { line: 1, .. }));
}
