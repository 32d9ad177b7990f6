//! `COPY`, `ADD` and `WORKDIR`.

use ashlar_dockerfile::{CopySource, From, Unpack, Work, Workdir};

use super::{copy, instructions};

fn sources(text: &str) -> Vec<String> {
    let shown = |source: CopySource| match source {
        CopySource::Path(path) => path,
        CopySource::Heredoc { name, content } => format!("<<{name}:{content}"),
        CopySource::Url { url } => format!("url {url}"),
        CopySource::Git { repository, reference, folder } => {
            format!("git {repository} {reference:?} {folder:?}")
        }
    };
    copy(&format!("FROM scratch\nENV V=val\n{text}\n")).sources.into_iter().map(shown).collect()
}

#[test]
fn sources_relative_to_their_root() {
    for (text, expected) in [
        ("COPY a /x", &["a"][..]),
        ("COPY ./a/ /x", &["a/"]),
        ("COPY /a//b/../c /x", &["a/c"]),
        ("COPY . /x", &["."]),
        ("COPY / /x", &["."]),
        ("COPY a/.. /x", &["."]),
        ("COPY a b* c? x/", &["a", "b*", "c?"]),
        ("COPY [\"a b\", \"c\", \"x/\"]", &["a b", "c"]),
        ("COPY $V/${W:-w} x/", &["val/w"]),
        ("COPY --parents a/./b/c x/", &["a/./b/c"]),
        ("COPY --parents ./a/**/b x/", &["a/**/b"]),
        ("COPY --parents ./x/a.txt x/", &["x/a.txt"]),
        ("COPY a/./b x/", &["a/b"]),
    ] {
        assert_eq!(sources(text), expected, "{text}");
    }
}

#[test]
fn documents() {
    for (text, expected) in [
        ("COPY <<EOF /x\na $V\nEOF", &["<<EOF:a val\n"][..]),
        ("COPY <<\"EOF\" /x\na $V\nEOF", &["<<EOF:a $V\n"]),
        ("COPY <<'EOF' /x\na $V\nEOF", &["<<EOF:a $V\n"]),
        ("COPY <<-EOF /x\n\ta\n\t\tb\n\tEOF", &["<<EOF:a\nb\n"]),
        ("COPY <<a.txt <<b.txt /x/\n1\na.txt\n2\nb.txt", &["<<a.txt:1\n", "<<b.txt:2\n"]),
        ("COPY a <<b c /x/\n1\nb", &["a", "<<b:1\n", "c"]),
        ("COPY <<EOF /x\nEOF", &["<<EOF:"]),
        // Quotes mean nothing in a document; a backslash takes what follows as it is.
        ("COPY <<EOF /x\n\"it's\" \\$V \\\\ $\nEOF", &["<<EOF:\"it's\" $V \\ $\n"]),
        ("ADD <<EOF /x\n#!/bin/sh\n# comment\nEOF", &["<<EOF:#!/bin/sh\n# comment\n"]),
    ] {
        assert_eq!(sources(text), expected, "{text}");
    }
}

#[test]
fn what_add_fetches() {
    for (text, expected) in [
        ("ADD https://h/x.tar /x", "url https://h/x.tar"),
        ("ADD https://h/x.git /x", "git https://h/x.git None None"),
        ("ADD https://h/x.git#v1 /x", "git https://h/x.git Some(\"v1\") None"),
        ("ADD https://h/x.git#v1:sub/dir /x", "git https://h/x.git Some(\"v1\") Some(\"sub/dir\")"),
        ("ADD https://h/x.git#:sub /x", "git https://h/x.git None Some(\"sub\")"),
        ("ADD git@h:u/x.git /x", "git git@h:u/x.git None None"),
        ("ADD x.tar /x", "x.tar"),
    ] {
        assert_eq!(sources(text), [expected], "{text}");
    }
}

#[test]
fn destinations() {
    for (text, expected, folder) in [
        ("COPY a /x", "/x", false),
        ("COPY a /x/", "/x", true),
        ("COPY a x", "/w/x", false),
        ("COPY a .", "/w", true),
        ("COPY a ./", "/w", true),
        ("COPY a ./x/./y/", "/w/x/y", true),
        ("COPY a ..", "/", true),
        ("COPY a /", "/", true),
        ("COPY a ../../x", "/x", false),
        ("COPY [\"a\", \"b c\"]", "/w/b c", false),
    ] {
        let copy = copy(&format!("FROM scratch\nWORKDIR /w\n{text}\n"));
        assert_eq!(
            (copy.destination.as_str(), copy.destination_is_folder),
            (expected, folder),
            "{text}"
        );
    }
}

#[test]
fn flags() {
    let all = copy(
        "FROM scratch AS Base\nFROM scratch\nARG U=me\nCOPY --from=base --chown=$U:1 --chmod=u=rwX,go+r \
         --link --parents --exclude=*.o --exclude=b/** a b/\n",
    );
    assert_eq!(all.from, From::Stage(0));
    assert_eq!(all.chown.as_deref(), Some("me:1"));
    assert_eq!(all.chmod.as_deref(), Some("u=rwX,go+r"));
    assert!(all.link && all.parents);
    assert_eq!(all.exclude, ["*.o", "b/**"]);
    assert_eq!(all.unpack, Unpack::Never);
    let none = copy("FROM scratch\nCOPY --link=false a b\n");
    assert!(!none.link && !none.parents && none.chown.is_none() && none.from == From::Context);
    for (text, expected) in [
        ("ADD a b", Unpack::Local),
        ("ADD --unpack a b", Unpack::Always),
        ("ADD --unpack=true a b", Unpack::Always),
        ("ADD --unpack=false a b", Unpack::Never),
        ("COPY a b", Unpack::Never),
    ] {
        assert_eq!(copy(&format!("FROM scratch\n{text}\n")).unpack, expected, "{text}");
    }
    let sum = "0123456789abcdef".repeat(4);
    let add =
        copy(&format!("FROM scratch\nARG S={sum}\nADD --checksum=sha256:$S https://h/x /x\n"));
    assert_eq!(add.checksum, Some(format!("sha256:{sum}")));
    assert!(copy("FROM scratch\nADD --keep-git-dir=true https://h/x.git /x\n").keep_git_dir);
}

#[test]
fn where_files_come_from() {
    for (text, expected) in [
        ("COPY --from=0 a b", From::Stage(0)),
        ("COPY --from=ONE a b", From::Stage(0)),
        ("COPY --from=module:tools a b", From::Module("tools".into())),
        ("COPY --from=base:debian a b", From::Debian("debian".into())),
        ("COPY --from=scratch a b", From::Scratch),
    ] {
        let copy = copy(&format!("FROM scratch AS one\nFROM scratch\n{text}\n"));
        assert_eq!(copy.from, expected, "{text}");
    }
    let image = copy("FROM scratch\nCOPY --from=example.test:5000/a/b:1 a b\n");
    assert!(
        matches!(image.from, From::Image { reference, .. } if reference == "example.test:5000/a/b:1")
    );
}

#[test]
fn folders_of_workdir() {
    let text = "FROM scratch\nENV D=/d\nWORKDIR /a/\nWORKDIR b\nWORKDIR $D/e\nWORKDIR \"x y\"\nWORKDIR ..\n";
    let found: Vec<Work> = instructions(text).into_iter().map(|i| i.work).collect();
    let expected: Vec<Work> = ["/a", "/a/b", "/d/e", "/d/e/x y", "/d/e"]
        .map(|path| Work::Workdir(Workdir { path: path.into(), user: None }))
        .into();
    assert_eq!(found, expected);
}
