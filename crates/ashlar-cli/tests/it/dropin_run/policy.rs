//! Who reads and who writes: modes, patterns, remotes.

use super::Tree;

const OUT: [&str; 4] = ["-i", "in", "-O", "out"];

/// The outcome, and whether the result is kept.
#[track_caller]
fn went(tree: &Tree, mode: &str, script: &str) -> (String, bool) {
    let (ran, event) = tree.event(&[&["--cache", mode], &OUT[..]].concat(), script);
    ran.good();
    (event["outcome"].as_str().unwrap_or("nothing").to_owned(), event["kept"] == true)
}

#[test]
fn off_read_write_and_both() {
    let tree = Tree::new();
    tree.file("in", "1");
    let went = |mode: &str| went(&tree, mode, "cp in out");
    assert_eq!(went("off"), ("nothing".to_owned(), false));
    assert!(!tree.store.exists());
    assert_eq!(went("read"), ("built".to_owned(), false));
    assert_eq!(went("write"), ("built".to_owned(), true));
    assert_eq!(went("write"), ("built".to_owned(), true));
    assert_eq!(went("read"), ("hit".to_owned(), true));
    assert_eq!(went("readwrite"), ("hit".to_owned(), true));
    // The first pattern that fits decides, and the rest is for others.
    assert_eq!(went("off,o*=read"), ("hit".to_owned(), true));
    assert_eq!(went("write,x*=read"), ("built".to_owned(), true));
    assert_eq!(went("readwrite,o*=off"), ("built".to_owned(), false));
    assert_eq!(went("o*=write,out=read"), ("built".to_owned(), true));
    let other = tree.folder.path();
    let args = ["-C", "tree", "run", "--cache", "off", "-O", "out", "--", "cp", "in", "there"];
    let ran = { tree.command(crate::support::ASHLAR, &args) }.current_dir(other).status().unwrap();
    assert!(ran.success() && tree.path("there").exists());
}

#[test]
fn the_environment_says_it_for_a_whole_makefile() {
    let mut tree = Tree::new();
    tree.file("in", "1");
    tree.set("ASHLAR_CACHE", "read");
    assert_eq!(tree.outcome(&OUT, "cp in out"), "built");
    assert_eq!(tree.outcome(&OUT, "cp in out"), "built");
    tree.set("ASHLAR_CACHE", "");
    assert_eq!(tree.outcome(&OUT, "cp in out"), "built");
    assert_eq!(tree.outcome(&OUT, "cp in out"), "hit");
}

#[test]
fn the_file_takes_rights_and_gives_none() {
    let tree = Tree::new();
    tree.file("in", "1");
    let went = |mode: &str| went(&tree, mode, "cp in out");
    tree.file("ashlar-run.toml", "[cache]\n\"o*\" = \"read\"\n");
    assert_eq!(went("readwrite"), ("built".to_owned(), false));
    assert_eq!(went("write"), ("built".to_owned(), false));
    tree.file("ashlar-run.toml", "[cache]\n\"o*\" = \"readwrite\"\n");
    assert_eq!(went("read"), ("built".to_owned(), false));
    tree.file("ashlar-run.toml", "[cache]\n\"x*\" = \"off\"\n");
    assert_eq!(went("readwrite"), ("built".to_owned(), true));
    tree.file("ashlar-run.toml", "[cache]\n\"o*\" = \"off\"\n");
    assert_eq!(went("readwrite"), ("built".to_owned(), false));
}

#[test]
fn what_is_not_committed_stays_at_home_also_behind_others() {
    let tree = Tree::new();
    let far = tree.folder.path().join("far");
    let remote = format!(
        "[project]\nname = \"x\"\n[[remote]]\nname = \"team\"\nwrite = \"clean\"\nurl = \"dir:{}\"\n",
        far.display()
    );
    tree.file("ashlar.toml", &remote);
    tree.file(".gitignore", "/lib\n/app\n");
    tree.file("in", "1");
    tree.commit();
    let lib = |tree: &Tree| tree.outcome(&["-i", "in", "-O", "lib"], "cp in lib");
    let app = |tree: &Tree| tree.outcome(&["--uses", "lib", "-O", "app"], "cp lib app");
    // Another machine: it sees what came to the remote.
    let seen = |text: &str| {
        let mut other = tree.beside();
        other.store = tree.folder.path().join("other store");
        other.file("ashlar.toml", &remote);
        other.file("in", text);
        let seen = (lib(&other), app(&other));
        std::fs::remove_dir_all(&other.store).unwrap();
        std::fs::remove_dir_all(&other.root).unwrap();
        seen
    };
    let (hit, built) = ("hit".to_owned(), "built".to_owned());
    assert_eq!((lib(&tree), app(&tree)), (built.clone(), built.clone()));
    assert_eq!(seen("1"), (hit.clone(), hit.clone()));
    tree.file("in", "2");
    assert_eq!((lib(&tree), app(&tree)), (built.clone(), built.clone()));
    assert_eq!(seen("2"), (built.clone(), built.clone()));
    // Committed, it goes there with the next result that is made.
    tree.file("in", "3");
    tree.commit();
    assert_eq!((lib(&tree), app(&tree)), (built.clone(), built));
    assert_eq!(seen("3"), (hit.clone(), hit));
}
