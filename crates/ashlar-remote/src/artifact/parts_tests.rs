use ashlar_object::{Digest, File, Meta};

use super::*;

fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().fold(Tree::default(), |tree, (path, text)| {
        let file = File::new(Digest::of(text.as_bytes()), Meta::FILE);
        tree.with(&path.parse().unwrap(), Node::File(file))
    })
}

fn paths(tree: &Tree) -> Vec<String> {
    let mut paths = Vec::new();
    tree.walk(|entry| {
        if !matches!(entry.node, Node::Dir(_)) {
            paths.push(entry.path.to_string());
        }
    });
    paths
}

fn arch(name: &str) -> Part {
    Part::arch(name).unwrap()
}

#[test]
fn architectures_have_several_names() {
    for (text, name) in [
        ("amd64", "amd64"),
        ("x86_64", "amd64"),
        ("linux/aarch64", "arm64"),
        ("linux/arm64/v8", "arm64"),
        ("linux-mlarge/arm64", "arm64"),
        ("s390x", "s390x"),
    ] {
        assert_eq!(arch(text).to_string(), name);
    }
    for text in ["", "linux/", "AMD64", "common", "source", "a b"] {
        let error = Part::arch(text).unwrap_err().to_string();
        assert_eq!(error, format!("`{text}` is no architecture: amd64, arm64, ppc64le, s390x, …"));
    }
}

#[test]
fn folders_inside_the_common_one_stay_where_they_are() {
    let given = [
        (Part::Common, "/p".into()),
        (arch("amd64"), "/p/deps/x86_64".into()),
        (arch("arm64"), "/p/deps/aarch64".into()),
        (Part::Source, "/p/deps/x86_64/src".into()),
        (Part::Source, "/p/deps/src".into()),
    ];
    let (folders, layout) = arrange(&given).unwrap();
    assert_eq!(layout, Layout::Together);
    let found: Vec<_> = folders
        .iter()
        .map(|folder| {
            let without: Vec<_> = folder.without.iter().map(ToString::to_string).collect();
            format!("{} {} -[{}]", folder.part, folder.at, without.join(" "))
        })
        .collect();
    assert_eq!(
        found,
        [
            "common  -[deps/x86_64 deps/aarch64 deps/x86_64/src deps/src]",
            "amd64 deps/x86_64 -[src]",
            "arm64 deps/aarch64 -[]",
            "source deps/x86_64/src -[]",
            "source deps/src -[]",
        ]
    );
}

#[test]
fn folders_elsewhere_lie_apart() {
    let given = [(arch("amd64"), "/a".into()), (Part::Common, "/ab".into())];
    let (folders, layout) = arrange(&given).unwrap();
    assert_eq!(layout, Layout::Apart);
    assert!(folders.iter().all(|folder| folder.at.is_root() && folder.without.is_empty()));
    let twice = [(arch("amd64"), "/a".into()), (arch("arm64"), "/a".into())];
    assert_eq!(arrange(&twice).unwrap_err().to_string(), "/a is given twice");
    let two = [(Part::Common, "/a".into()), (Part::Common, "/b".into())];
    assert_eq!(arrange(&two).unwrap_err().to_string(), "there are two common parts: /a and /b");
    let mixed = [
        (Part::Common, "/p".into()),
        (Part::Source, "/p/src".into()),
        (Part::Source, "/elsewhere".into()),
    ];
    assert_eq!(
        arrange(&mixed).unwrap_err().to_string(),
        "the folders of the part source are partly inside the common folder (/p/src) and partly \
         not (/elsewhere): where its files belong is not clear"
    );
}

#[test]
fn each_part_is_the_common_tree_with_its_own_files() {
    let given = [
        (Part::Common, "/p".into()),
        (arch("amd64"), "/p/deps/x86_64".into()),
        (Part::Source, "/p/deps/src".into()),
    ];
    let (folders, _) = arrange(&given).unwrap();
    let mut common = tree(&[("bom.json", "bom")]);
    let closed = Dir::new(BTreeMap::new(), Meta { mode: 0o750, extra: None }, false);
    common = common.with(&"deps".parse().unwrap(), Node::Dir(Arc::new(closed)));
    let trees = [common, tree(&[("repo/a.rpm", "a")]), tree(&[("a.src.rpm", "src")])];
    let all = compose(folders.into_iter().zip(trees).collect()).unwrap();
    let found: Vec<_> =
        all.iter().map(|(part, tree)| format!("{part} {}", paths(tree).join(" "))).collect();
    assert_eq!(
        found,
        [
            "common bom.json",
            "amd64 bom.json deps/x86_64/repo/a.rpm",
            "source bom.json deps/src/a.src.rpm"
        ]
    );
    // The folder above is as it was.
    let Some(Node::Dir(deps)) = all[1].1.get(&"deps".parse().unwrap()) else { panic!("deps") };
    assert_eq!(deps.meta().mode, 0o750);
}

#[test]
fn two_folders_with_different_files_at_one_path_are_refused() {
    let given = [(Part::Common, "/c".into()), (arch("amd64"), "/a".into())];
    let (folders, _) = arrange(&given).unwrap();
    let trees = [tree(&[("same", "1"), ("x", "1")]), tree(&[("same", "1"), ("x", "2")])];
    let error = compose(folders.into_iter().zip(trees).collect()).unwrap_err().to_string();
    assert_eq!(error, "common and amd64 both have `x`, and it is not the same");
}

#[test]
fn what_is_alike_in_several_parts_is_found_once() {
    let common = tree(&[("common", "c")]);
    let one = tree(&[("common", "c"), ("all", "1"), ("d/two", "2"), ("d/x", "one"), ("own", "1")]);
    let two =
        tree(&[("common", "c"), ("all", "1"), ("d/two", "2"), ("d/x", "other"), ("mine", "")]);
    let three = tree(&[("common", "c"), ("all", "1"), ("d/two", "3"), ("d/x", "other")]);
    let found: Vec<_> = shared(&common, &[&one, &two, &three])
        .into_iter()
        .map(|(members, tree)| format!("{members:?} {}", paths(&tree).join(" ")))
        .collect();
    assert_eq!(found, ["[0, 1, 2] all", "[0, 1] d/two", "[1, 2] d/x"]);
    assert!(shared(&common, &[&one]).is_empty());
}
