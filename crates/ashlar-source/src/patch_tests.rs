use super::*;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (1..=20).map(|n| format!("line {n}\n")).collect();
    std::fs::create_dir(folder.path().join("src")).unwrap();
    std::fs::write(folder.path().join("src/a.c"), text).unwrap();
    folder
}

fn patch(text: &str) -> Patch {
    Patch { name: "fix.patch".to_owned(), bytes: text.as_bytes().to_vec(), strip: 1 }
}

fn applied(folder: &Path, text: &str, rules: Rules) -> Result<(), PatchError> {
    match apply(folder, &[patch(text)], rules) {
        Ok(()) => Ok(()),
        Err(SourceError::Patch(e)) => Err(e),
        Err(other) => panic!("{other}"),
    }
}

const GOOD: &str =
    "--- a/src/a.c\n+++ b/src/a.c\n@@ -9,3 +9,3 @@\n line 9\n-line 10\n+LINE 10\n line 11\n";

#[test]
fn applies_and_leaves_nothing_beside() {
    let folder = folder();
    applied(folder.path(), GOOD, Rules::Project).unwrap();
    let text = std::fs::read_to_string(folder.path().join("src/a.c")).unwrap();
    assert!(text.contains("LINE 10\n"));
    assert_eq!(std::fs::read_dir(folder.path().join("src")).unwrap().count(), 1);
    // Where lines have moved, a project's patch still fits and leaves no copy.
    let moved = GOOD
        .replace("@@ -9,3 +9,3 @@", "@@ -2,3 +2,3 @@")
        .replace("line 10", "LINE 10")
        .replace("+LINE 10", "+TEN");
    applied(folder.path(), &moved, Rules::Project).unwrap();
    assert_eq!(std::fs::read_dir(folder.path().join("src")).unwrap().count(), 1);
}

#[test]
fn the_failing_hunk_is_named() {
    let folder = folder();
    let two = format!("{GOOD}@@ -15,3 +15,3 @@\n line 15\n-line sixteen\n+x\n line 17\n");
    let error = applied(folder.path(), &two, Rules::Project).unwrap_err();
    let PatchError::Hunk { patch, file, hunk, line } = error else { panic!("{error}") };
    assert_eq!((patch.as_str(), file.as_str(), hunk, line), ("fix.patch", "src/a.c", 2, 15));
    let left: Vec<_> = std::fs::read_dir(folder.path().join("src")).unwrap().collect();
    assert_eq!(left.len(), 1, "no .rej and no .orig: {left:?}");
}

#[test]
fn fuzz_is_for_projects_only() {
    let fuzzy = GOOD
        .replace(" line 9\n", " line nine\n")
        .replace("@@ -9,3 +9,3 @@", "@@ -8,4 +8,4 @@\n line 8");
    assert!(matches!(
        applied(folder().path(), &fuzzy, Rules::Debian),
        Err(PatchError::Hunk { .. })
    ));
    applied(folder().path(), &fuzzy, Rules::Project).unwrap();
}

#[test]
fn missing_files_and_patches_applied_before_are_told() {
    let folder = folder();
    let other = GOOD.replace("a.c", "none.c");
    let error = applied(folder.path(), &other, Rules::Project).unwrap_err();
    let PatchError::NoFile { file, strip, .. } = &error else { panic!("{error}") };
    assert_eq!((file.as_str(), *strip), ("a/src/none.c", 1));
    applied(folder.path(), GOOD, Rules::Project).unwrap();
    let error = applied(folder.path(), GOOD, Rules::Project).unwrap_err();
    let PatchError::Applied { file, .. } = &error else { panic!("{error}") };
    assert_eq!(file, "src/a.c");
}

#[test]
fn files_come_go_and_are_renamed() {
    let folder = folder();
    let text = "diff --git a/new b/new\nnew file mode 100755\n--- /dev/null\n+++ b/new\n\
                @@ -0,0 +1 @@\n+fresh\n\
                diff --git a/src/a.c b/src/b.c\nsimilarity index 100%\nrename from src/a.c\n\
                rename to src/b.c\n";
    applied(folder.path(), text, Rules::Project).unwrap();
    assert_eq!(std::fs::read(folder.path().join("new")).unwrap(), b"fresh\n");
    assert!(folder.path().join("src/b.c").exists() && !folder.path().join("src/a.c").exists());
    let text = "--- a/new\n+++ /dev/null\n@@ -1 +0,0 @@\n-fresh\n";
    applied(folder.path(), text, Rules::Project).unwrap();
    assert!(!folder.path().join("new").exists());
}

#[test]
fn nothing_outside_is_changed() {
    let folder = folder();
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::os::unix::fs::symlink("../src", inner.join("link")).unwrap();
    let names = ["a/../src/a.c", "a//etc/x", "a/link/a.c", "\"a/..\\057src/a.c\"", "a/\\..//../x"];
    for name in names {
        let text = GOOD.replace("a/src/a.c", name).replace("b/src/a.c", name);
        let error = applied(&inner, &text, Rules::Project).unwrap_err();
        if name != "a//etc/x" {
            assert!(matches!(error, PatchError::Escapes { .. }), "{name}: {error}");
        }
    }
    let text = std::fs::read_to_string(folder.path().join("src/a.c")).unwrap();
    assert!(!text.contains("LINE"));
    // A deleted comment of another language only looks like a header.
    let text = "--- a/q.sql\n+++ b/q.sql\n@@ -1,2 +1 @@\n--- ../../x\n select\n";
    std::fs::write(inner.join("q.sql"), "-- ../../x\nselect\n").unwrap();
    applied(&inner, text, Rules::Project).unwrap();
}

#[test]
fn scripts_for_ed_are_never_run() {
    let folder = folder();
    let marker = folder.path().join("ran");
    let script = format!("--- a/src/a.c\n+++ b/src/a.c\n1,2d\n!touch {}\n", marker.display());
    let short = format!("1a\nx\n.\n!touch {}\n", marker.display());
    for text in [script, short] {
        let error = applied(folder.path(), &text, Rules::Project).unwrap_err();
        assert!(matches!(error, PatchError::Empty { .. }), "{error}");
    }
    for name in ["src/a.c", "a/src/a.c"] {
        let mixed = format!("{GOOD}Index: {name}\n1,2d\n!touch {}\n", marker.display());
        let error = applied(folder.path(), &mixed, Rules::Project).unwrap_err();
        assert!(matches!(error, PatchError::Script { line: 9, .. }), "{error}");
        let first = format!("Index: {name}\n1,2d\n.\n{GOOD}");
        let error = applied(folder.path(), &first, Rules::Project).unwrap_err();
        assert!(matches!(error, PatchError::Script { line: 2, .. }), "{error}");
    }
    let text = std::fs::read_to_string(folder.path().join("src/a.c")).unwrap();
    assert!(text.starts_with("line 1\n") && !marker.exists());
    // Nor is a remark above a patch, or git's version below it, taken for one.
    let remark = format!("7d\nin a remark\n{GOOD}-- \n2.39.5\n");
    applied(folder.path(), &remark, Rules::Project).unwrap();
}

#[test]
fn hunks_are_found_whatever_the_encoding_of_what_follows() {
    let bytes = b"--- a/f\n+++ b/f\n@@ -1,2 +1 @@ na\xefve\n--- ../../x\n select\n";
    let outline = Outline::read(bytes);
    assert_eq!(outline.files, [b"a/f".to_vec(), b"b/f".to_vec()]);
}

#[test]
fn context_diffs_apply() {
    let folder = folder();
    let text = "*** a/src/a.c\t2000-01-01\n--- b/src/a.c\t2000-01-01\n***************\n\
                *** 9,11 ****\n  line 9\n! line 10\n  line 11\n--- 9,11 ----\n  line 9\n\
                ! LINE 10\n  line 11\n";
    applied(folder.path(), text, Rules::Project).unwrap();
    let text = std::fs::read_to_string(folder.path().join("src/a.c")).unwrap();
    assert!(text.contains("LINE 10\n"));
}

#[test]
fn empty_patches_are_a_matter_of_taste() {
    let folder = folder();
    applied(folder.path(), "Description: nothing\n", Rules::Debian).unwrap();
    applied(folder.path(), "", Rules::Project).unwrap();
    let error = applied(folder.path(), "Description: nothing\n", Rules::Project).unwrap_err();
    assert!(matches!(error, PatchError::Empty { .. }));
}

#[test]
fn series_have_comments_and_options() {
    let lines = series("# c\n\na.patch # why\nb.patch -p0\n c#d.patch\t-pab\nx.patch -R\n");
    let found: Vec<_> = lines.iter().map(|l| (l.number, l.name, l.strip)).collect();
    let expected = [
        (3, "a.patch", Ok(None)),
        (4, "b.patch", Ok(Some(0))),
        (5, "c#d.patch", Ok(Some(1))),
        (6, "x.patch", Err("-R")),
    ];
    assert_eq!(found, expected);
}
