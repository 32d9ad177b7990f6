//! Archives and contexts that want out, and files that are not what they seem.

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::Path;

use ashlar_dockerfile::Ignore;
use ashlar_object::{Meta, Node, Tree};
use ashlar_source::digest_file;
use ashlar_store::{MemoryStore, Store as _};
use rustix::fs::{CWD, FileType, Mode};

use super::world::{World, chain, downloads, instruction, kept, write};
use crate::image::context::{ContextError, context, keep_contents};
use crate::image::copy::{CopyError, Downloaded, copy};
use crate::image::select::{context_part, part, select};

#[test]
fn archives_that_want_out_are_refused() {
    for (entries, reason) in [
        ("../e 644 0 E", "`..` component"),
        ("l -> /etc; l/e 644 0 E", "through a symbolic link"),
        ("l -> ../..; l/e 644 0 E", "through a symbolic link"),
        ("l = etc/passwd 644 0", "hard link"),
        ("l = /etc/passwd 644 0", "hard link"),
        ("/../e 644 0 E", "`..` component"),
        ("l = ../etc/passwd 644 0", "`..` component"),
        (".wh.passwd 644 0 E", "`/etc/.wh.passwd` cannot be in an image"),
        ("a/.wh..wh..opq 644 0 E", "cannot be in an image"),
    ] {
        let world = World::new(&[&format!("a.tar < {entries}"), "etc/passwd 644 root"]);
        let error = world.build("FROM scratch\nCOPY etc /etc\nADD a.tar /etc").unwrap_err();
        assert!(error.contains(reason), "{entries}: {error}");
    }
}

#[test]
fn an_archive_that_ends_early_is_an_error() {
    let world = World::new(&["a.tar < f 644 0 F; g 644 0 G"]);
    let path = world.folder().join("a.tar");
    let bytes = std::fs::read(&path).unwrap();
    let cut = World::new(&[]);
    std::fs::write(cut.folder().join("a.tar"), &bytes[..1200]).unwrap();
    let tree = context(cut.folder(), &Ignore::default(), &digest_file).unwrap();
    keep_contents(cut.folder(), &tree, &cut.store, &|| true).unwrap();
    let add = instruction("ADD a.tar /");
    let error = copy(&add, &tree, &BTreeMap::new(), &Tree::default(), &cut.store).unwrap_err();
    let text = chain(error);
    assert!(text.starts_with("cannot unpack `a.tar`: write COPY instead"), "{text}");
}

#[test]
fn what_no_context_can_have() {
    let folder = write(&["d/f 644 F"]);
    let read = |ignore: &str| {
        let ignore = ashlar_dockerfile::ignore("i", ignore).unwrap();
        context(folder.path(), &ignore, &digest_file)
    };
    let without = read("").unwrap();
    let _socket = UnixListener::bind(folder.path().join("d/socket")).unwrap();
    assert_eq!(read("").unwrap(), without, "sockets are left out");
    let fifo = folder.path().join("d/pipe");
    let mode = Mode::from_raw_mode(0o640);
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, mode, 0).unwrap();
    let pipe = Node::Fifo(Meta { mode: 0o640, extra: None });
    assert_eq!(read("").unwrap().get(&"d/pipe".parse().unwrap()), Some(&pipe));
    assert_eq!(read("d/pipe\n").unwrap(), without);
    let error = context_part(&read("").unwrap(), "d/pipe").unwrap_err();
    assert!(matches!(error, CopyError::Fifo(path) if path == "d/pipe"));
    let devices = |ignore: &str| {
        let ignore = ashlar_dockerfile::ignore("i", ignore).unwrap();
        context(Path::new("/dev"), &ignore, &digest_file)
    };
    let null = Path::new("/dev/null");
    assert!(matches!(devices("*\n!null\n"), Err(ContextError::Kind { path, .. }) if path == null));
    assert_eq!(devices("*\n").unwrap(), Tree::default().with_canonical_links());
    let none = folder.path().join("none");
    let missing = context(&none, &Ignore::default(), &digest_file);
    assert!(matches!(missing, Err(ContextError::NoFolder(path)) if path == none));
    let file = context(&folder.path().join("d/f"), &Ignore::default(), &digest_file);
    assert!(matches!(file, Err(ContextError::NoFolder(_))));
}

#[test]
fn a_file_that_changed_is_named() {
    let folder = write(&["a 644 A", "d/b 644 B", "c 644 C"]);
    let tree = context(folder.path(), &Ignore::default(), &digest_file).unwrap();
    let copy = instruction("COPY d/b /");
    let part = select(&copy, &tree).unwrap();
    let store = MemoryStore::new();
    let changed = folder.path().join("d/b");
    std::fs::write(&changed, "other").unwrap();
    let named = |result| matches!(result, Err(ContextError::Changed(path)) if path == changed);
    assert!(named(keep_contents(folder.path(), &part, &store, &|| true)));
    let stopped = keep_contents(folder.path(), &part, &store, &|| false);
    assert!(matches!(stopped, Err(ContextError::Stopped)));
    std::fs::remove_file(&changed).unwrap();
    // Nobody writes to it, ever.
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(CWD, &changed, FileType::Fifo, mode, 0).unwrap();
    assert!(named(keep_contents(folder.path(), &part, &store, &|| true)));
    std::fs::remove_file(&changed).unwrap();
    assert!(named(keep_contents(folder.path(), &part, &store, &|| true)));
    // The same content, but not of the context.
    let outside = write(&["b 644 B"]);
    std::os::unix::fs::symlink(outside.path().join("b"), &changed).unwrap();
    assert!(named(keep_contents(folder.path(), &part, &store, &|| true)));
    std::fs::remove_file(&changed).unwrap();
    std::fs::remove_dir(folder.path().join("d")).unwrap();
    std::os::unix::fs::symlink(outside.path(), folder.path().join("d")).unwrap();
    assert!(named(keep_contents(folder.path(), &part, &store, &|| true)));
    std::fs::remove_file(folder.path().join("d")).unwrap();
    std::fs::create_dir(folder.path().join("d")).unwrap();
    std::fs::write(&changed, "B").unwrap();
    keep_contents(folder.path(), &part, &store, &|| true).unwrap();
    let link = folder.path().join("l");
    std::os::unix::fs::symlink("c", &link).unwrap();
    let Some(node) = tree.get(&"c".parse().unwrap()) else { panic!("no file") };
    let behind = Tree::default().with(&"l".parse().unwrap(), node.clone());
    let other = MemoryStore::new();
    keep_contents(folder.path(), &behind, &other, &|| true).unwrap();
    assert!(other.missing(&behind.blobs()).unwrap().is_empty());
    // What nobody asked for is not kept, and what is there is not read again.
    assert_eq!(store.missing(&tree.blobs()).unwrap().len(), 2);
    std::fs::remove_file(&changed).unwrap();
    keep_contents(folder.path(), &part, &store, &|| true).unwrap();
}

#[test]
fn only_what_is_read_counts() {
    let digest = |files: &[&str], text: &str| {
        let world = World::new(files);
        select(&instruction(text), &world.context).unwrap().root_digest()
    };
    let one = &["d/a 644 A", "d/b 644 B", "e 644 E", "d/ 755"][..];
    for (text, files, same) in [
        ("COPY d/a /", &["d/a 644 A", "d/b 600 X", "d/ 700"][..], true),
        ("COPY d/a /", &["d/a 640 A"], false),
        ("COPY d/a /", &["d/a 644 X"], false),
        ("COPY d /", &["d/a 644 A", "d/b 644 B", "e 644 X", "d/ 700"], true),
        ("COPY d /", &["d/a 644 A", "d/b 644 B", "d/c 644 C"], false),
        ("COPY --exclude=c d /", &["d/a 644 A", "d/b 644 B", "d/c 644 C"], true),
        ("COPY --parents d/a /", &["d/a 644 A", "d/ 700"], false),
        ("COPY --parents d/a /", &["d/a 644 A", "d/b 600 B"], true),
        ("COPY d/[a] /", &["d/a 644 A", "d/b 600 B"], true),
        ("COPY d/? /", &["d/a 644 A", "d/b 644 B", "d/cc 644 C"], true),
    ] {
        let equal = digest(one, text) == digest(files, text);
        assert_eq!(equal, same, "{text} {files:?}");
    }
}

#[test]
fn parts_for_mounts() {
    let world = World::new(&["d/a 644 A", "d/s/b = d/a", "l -> d/s", "o -> ../../d", "x -> no"]);
    let tree = &world.context;
    keep_contents(world.folder(), tree, &world.store, &|| true).unwrap();
    let names = |source: &str| match part(tree, source) {
        Ok(Node::Dir(dir)) => world.lines(&Tree::from(dir)),
        Ok(Node::File(file)) => vec![format!("file {:o} {:?}", file.meta.mode, file.link)],
        other => vec![format!("{other:?}")],
    };
    assert_eq!(names("d"), ["a 644 A #1", "s/ 755", "s/b 644 A #1"]);
    assert_eq!(names("l"), ["b 644 A"]);
    assert_eq!(names("o"), names("d"), "there is nothing above the root");
    assert_eq!(names("l/b"), ["file 644 None"]);
    assert_eq!(names("").len(), 7);
    assert_eq!(names("."), names("/"));
    assert!(matches!(context_part(tree, "o"), Err(CopyError::Outside { .. })));
    assert!(matches!(context_part(tree, "l"), Ok(Node::Dir(_))));
    for missing in ["no", "x", "d/a/b", "d/none"] {
        assert!(part(tree, missing).is_err(), "{missing}");
    }
}

#[test]
fn downloads_are_files_of_their_own() {
    let store = MemoryStore::new();
    let build = |text: &str, got: Downloaded| {
        let all = downloads(&[(0, got)]);
        let none = Tree::default();
        copy(&instruction(text), &none, &all, &none, &store)
    };
    let world = World::new(&["a.tar < f 644 0 F", "d/g 755 G", "d/.git/h 644 H"]);
    keep_contents(world.folder(), &world.context, &store, &|| true).unwrap();
    let shown = |layer: Result<Tree, CopyError>| {
        let mut paths = Vec::new();
        layer.unwrap().walk(|entry| {
            let mode = match entry.node {
                Node::File(file) => format!(" {:o}", file.meta.mode),
                _ => "/".to_owned(),
            };
            paths.push(format!("{}{mode}", entry.path));
        });
        paths
    };
    let text = Downloaded::File(kept(&store, "text"));
    let url = "https://a.example/p/x.txt?q=/z#s";
    assert_eq!(shown(build(&format!("ADD {url} /d/"), text.clone())), ["d/", "d/x.txt 600"]);
    assert_eq!(shown(build(&format!("ADD --chmod=644 {url} /y"), text.clone())), ["y 644"]);
    let nameless = build("ADD https://a.example/ /d/", text.clone());
    assert!(matches!(nameless, Err(CopyError::NoName(_))));
    let Ok(Node::File(tar)) = part(&world.context, "a.tar") else { panic!("no archive") };
    let tar = Downloaded::File(tar.digest);
    let archive = "https://a.example/a.tar";
    assert_eq!(shown(build(&format!("ADD {archive} /d/"), tar.clone())), ["d/", "d/a.tar 600"]);
    assert_eq!(shown(build(&format!("ADD --unpack {archive} /d/"), tar)), ["d/", "d/f 644"]);
    let Ok(Node::Dir(folder)) = part(&world.context, "d") else { panic!("no folder") };
    let git = "ADD https://a.example/r.git#v1 /src";
    let tree = Downloaded::Tree(Tree::from(folder));
    assert_eq!(
        shown(build(git, tree)),
        ["src/", "src/.git/", "src/.git/h 644", "src/g 755"],
        "what is left out has been left out before"
    );
    let none = Tree::default();
    let error = copy(&instruction(git), &none, &BTreeMap::new(), &none, &store);
    assert!(matches!(error, Err(CopyError::NotDownloaded(_))));
}
