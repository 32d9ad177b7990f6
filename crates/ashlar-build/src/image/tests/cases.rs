//! One rule each. Where `buildah` is true, buildah makes exactly the same.

use super::world::{World, buildah};

struct Case {
    name: &'static str,
    files: &'static [&'static str],
    text: &'static str,
    expected: Result<&'static [&'static str], &'static str>,
    buildah: bool,
}

const fn same(
    name: &'static str,
    files: &'static [&'static str],
    text: &'static str,
    expected: &'static [&'static str],
) -> Case {
    Case { name, files, text, expected: Ok(expected), buildah: true }
}

const fn own(
    name: &'static str,
    files: &'static [&'static str],
    text: &'static str,
    expected: &'static [&'static str],
) -> Case {
    Case { name, files, text, expected: Ok(expected), buildah: false }
}

const fn wrong(
    name: &'static str,
    files: &'static [&'static str],
    text: &'static str,
    message: &'static str,
) -> Case {
    Case { name, files, text, expected: Err(message), buildah: false }
}

const D: &[&str] =
    &["d/a 644 A", "d/b 755 B", "d/sub/s 600 S", "d/l -> a", "d/empty/ 711", "f 644 F"];

const CASES: &[Case] = &[
    same("file to file", D, "FROM scratch\nCOPY f /x", &["x 644 F"]),
    same("file to new folder", D, "FROM scratch\nCOPY f /x/", &["x/ 755", "x/f 644 F"]),
    same(
        "file below new folders",
        D,
        "FROM scratch\nCOPY d/b /x/y/z",
        &["x/ 755", "x/y/ 755", "x/y/z 755 B"],
    ),
    same(
        "file to folder that is there",
        D,
        "FROM scratch\nCOPY d/a /x/\nCOPY f /x",
        &["x/ 755", "x/a 644 A", "x/f 644 F"],
    ),
    same("file over file", D, "FROM scratch\nCOPY d/b /x\nCOPY f /x", &["x 644 F"]),
    same(
        "content of a folder",
        D,
        "FROM scratch\nCOPY d /x",
        &[
            "x/ 755",
            "x/a 644 A",
            "x/b 755 B",
            "x/empty/ 711",
            "x/l -> a",
            "x/sub/ 755",
            "x/sub/s 600 S",
        ],
    ),
    same(
        "folder keeps no mode",
        &["d/ 700", "d/a 644 A"],
        "FROM scratch\nCOPY d /x/",
        &["x/ 755", "x/a 644 A"],
    ),
    same(
        "folder over folder takes the mode of those within",
        &["one/s/ 700", "one/s/a 644 A", "two/s/ 750", "two/s/b 644 B"],
        "FROM scratch\nCOPY one /x\nCOPY two /x",
        &["x/ 755", "x/s/ 750", "x/s/a 644 A", "x/s/b 644 B"],
    ),
    same(
        "folder that is there keeps its mode",
        &["d/s/ 700", "e/ 711", "e/f 644 F"],
        "FROM scratch\nCOPY d /\nCOPY e /s/",
        &["s/ 700", "s/f 644 F"],
    ),
    same(
        "several sources",
        D,
        "FROM scratch\nCOPY f d/a d/sub /x/",
        &["x/ 755", "x/a 644 A", "x/f 644 F", "x/s 600 S"],
    ),
    same(
        "wildcards",
        &["a.c 644 1", "b.c 644 2", "c.h 644 3", "x.c/y 644 4"],
        "FROM scratch\nCOPY *.c /o/",
        &["o/ 755", "o/a.c 644 1", "o/b.c 644 2", "o/y 644 4"],
    ),
    same(
        "wildcards in the middle",
        &["p/1/f 644 1", "p/2/g 644 2", "p/3 644 3"],
        "FROM scratch\nCOPY p/*/[fg] /o/",
        &["o/ 755", "o/f 644 1", "o/g 644 2"],
    ),
    same(
        "a wildcard for one file renames",
        &["abc 644 1"],
        "FROM scratch\nCOPY a* /o",
        &["o 644 1"],
    ),
    same("what may be missing", D, "FROM scratch\nCOPY f optional* /x/", &["x/ 755", "x/f 644 F"]),
    same(
        "the whole context",
        &["a/b 600 B", "c -> a", "e/ 700"],
        "FROM scratch\nCOPY . /",
        &["a/ 755", "a/b 600 B", "c -> a", "e/ 700"],
    ),
    same(
        "the whole context but",
        &[
            "a/b 600 B",
            "a/k 644 K",
            "e/x 644 X",
            "e/y/z 644 Z",
            ".dockerignore 644 a\n!a/k\ne/*\n!e/y\n",
        ],
        "FROM scratch\nCOPY . /x",
        &[
            "x/ 755",
            "x/.dockerignore 644 a|!a/k|e/*|!e/y|",
            "x/a/ 755",
            "x/a/k 644 K",
            "x/e/ 755",
            "x/e/y/ 755",
            "x/e/y/z 644 Z",
        ],
    ),
    same(
        "folders are made for the owner",
        D,
        "FROM scratch\nCOPY --chown=7:8 d/a /p/q/",
        &["p/ 755 7:8", "p/q/ 755 7:8", "p/q/a 644 7:8 A"],
    ),
    same(
        "owner of all",
        D,
        "FROM scratch\nCOPY --chown=7:8 d /p",
        &[
            "p/ 755 7:8",
            "p/a 644 7:8 A",
            "p/b 755 7:8 B",
            "p/empty/ 711 7:8",
            "p/l -> a 7:8",
            "p/sub/ 755 7:8",
            "p/sub/s 600 7:8 S",
        ],
    ),
    same(
        "a number alone is user and group",
        D,
        "FROM scratch\nCOPY --chown=9 f /",
        &["f 644 9:9 F"],
    ),
    same(
        "owner by name",
        &["etc/passwd 644 root:x:0:0::/:\napp:x:5:6::/:\n", "etc/group 644 g:x:77:\n", "f 644 F"],
        "FROM scratch\nCOPY etc /etc\nCOPY --chown=app:g f /\nCOPY --chown=app f /h",
        &[
            "etc/ 755",
            "etc/group 644 g:x:77:|",
            "etc/passwd 644 root:x:0:0::/:|app:x:5:6::/:|",
            "f 644 5:77 F",
            "h 644 5:6 F",
        ],
    ),
    wrong("an owner nobody knows", D, "FROM scratch\nCOPY --chown=app f /", "no user `app`"),
    same(
        "mode of all",
        D,
        "FROM scratch\nCOPY --chmod=750 d/sub f /x/",
        &["x/ 755", "x/f 750 F", "x/s 750 S"],
    ),
    same(
        "mode of folders within",
        &["d/s/f 644 F"],
        "FROM scratch\nCOPY --chmod=711 d /x",
        &["x/ 755", "x/s/ 711", "x/s/f 711 F"],
    ),
    own(
        "mode in words",
        &["d/s/f 644 F", "d/g 755 G", "d/l -> g"],
        "FROM scratch\nCOPY --chmod=go-r,a+X,u+s d /x",
        &["x/ 755", "x/g 4711 G", "x/l -> g", "x/s/ 4711", "x/s/f 4600 F"],
    ),
    same(
        "set-uid of the context",
        &["d/f 4755 F", "d/s/ 2775", "d/t/ 1777"],
        "FROM scratch\nCOPY d /",
        &["f 755 F", "s/ 775", "t/ 1777"],
    ),
    same("set-uid by choice", D, "FROM scratch\nCOPY --chmod=4711 f /", &["f 4711 F"]),
    same(
        "hard links within one source",
        &["d/a 644 A", "d/s/b = d/a", "d/c 644 A"],
        "FROM scratch\nCOPY d /x\nCOPY d/a d/s /y/",
        &[
            "x/ 755",
            "x/a 644 A #1",
            "x/c 644 A",
            "x/s/ 755",
            "x/s/b 644 A #1",
            "y/ 755",
            "y/a 644 A",
            "y/b 644 A",
        ],
    ),
    same(
        "one of two hard links is replaced",
        &["d/a 644 A", "d/b = d/a"],
        "FROM scratch\nCOPY d /x\nCOPY d/a /x/",
        &["x/ 755", "x/a 644 A", "x/b 644 A"],
    ),
    same(
        "hard links once more",
        &["d/a 644 A", "d/b = d/a"],
        "FROM scratch\nCOPY d /x\nCOPY d /x",
        &["x/ 755", "x/a 644 A #1", "x/b 644 A #1"],
    ),
    same(
        "more hard links than before",
        &["d/a 644 A", "d/b = d/a", "e/a = d/a", "e/b = d/a", "e/c = d/a"],
        "FROM scratch\nCOPY d /x\nCOPY e /x",
        &["x/ 755", "x/a 644 A #2", "x/b 644 A #2", "x/c 644 A #2"],
    ),
    same(
        "fewer hard links than before",
        &["d/a 644 A", "d/b = d/a", "e/a = d/a", "e/b = d/a", "e/c = d/a"],
        "FROM scratch\nCOPY e /x\nCOPY d /x",
        &["x/ 755", "x/a 644 A #1", "x/b 644 A #1", "x/c 644 A"],
    ),
    same(
        "destination through links",
        &[
            "r/usr/lib/o 644 O",
            "r/lib -> usr/lib",
            "r/abs -> /usr/lib",
            "r/up -> ../../../usr",
            "f 644 F",
        ],
        "FROM scratch\nCOPY r /\nCOPY f /lib/\nCOPY f /abs/g\nCOPY f /up/n/",
        &[
            "abs -> /usr/lib",
            "lib -> usr/lib",
            "up -> ../../../usr",
            "usr/ 755",
            "usr/lib/ 755",
            "usr/lib/f 644 F",
            "usr/lib/g 644 F",
            "usr/lib/o 644 O",
            "usr/n/ 755",
            "usr/n/f 644 F",
        ],
    ),
    same(
        "destination is a link to a folder",
        &["r/d/o 644 O", "r/l -> d", "s/n 644 N"],
        "FROM scratch\nCOPY r /\nCOPY s /l",
        &["d/ 755", "d/n 644 N", "d/o 644 O", "l -> d"],
    ),
    same(
        "destination is a link to a file",
        &["r/o 644 O", "r/l -> o", "f 644 F"],
        "FROM scratch\nCOPY r /\nCOPY f /l",
        &["l 644 F", "o 644 O"],
    ),
    same(
        "destination is a link to nothing",
        &["r/l -> n", "f 644 F"],
        "FROM scratch\nCOPY r /\nCOPY f /l",
        &["l -> n", "n/ 755", "n/f 644 F"],
    ),
    same(
        "folder within over a link",
        &["r/usr/lib/o 644 O", "r/lib -> usr/lib", "s/lib/n 644 N"],
        "FROM scratch\nCOPY r /\nCOPY s /",
        &["lib/ 755", "lib/n 644 N", "usr/ 755", "usr/lib/ 755", "usr/lib/o 644 O"],
    ),
    same(
        "file within over a folder",
        &["r/x/y 644 Y", "s/x 644 X"],
        "FROM scratch\nCOPY r /o\nCOPY s /o",
        &["o/ 755", "o/x 644 X"],
    ),
    same(
        "folder within over a file",
        &["r/x/y 644 Y", "s/x 644 X"],
        "FROM scratch\nCOPY s /o\nCOPY r /o",
        &["o/ 755", "o/x/ 755", "o/x/y 644 Y"],
    ),
    same(
        "link within over a folder",
        &["r/x/y 644 Y", "s/x -> z"],
        "FROM scratch\nCOPY r /\nCOPY s /",
        &["x -> z"],
    ),
    same(
        "file over a folder, and a folder over that",
        &["r/x/y 644 Y", "s/x 644 X", "t/x/z 644 Z"],
        "FROM scratch\nCOPY r /\nCOPY s t /",
        &["x/ 755", "x/z 644 Z"],
    ),
    wrong(
        "folder to a file",
        D,
        "FROM scratch\nCOPY f /x\nCOPY d /x",
        "`/x` is a file in the image",
    ),
    wrong(
        "file below a file",
        D,
        "FROM scratch\nCOPY f /x\nCOPY f /x/y",
        "`/x` is a file in the image",
    ),
    wrong(
        "file to a file with a slash",
        D,
        "FROM scratch\nCOPY f /x\nCOPY d/a /x/",
        "`/x` is a file in the image",
    ),
    wrong(
        "several files for one name",
        D,
        "FROM scratch\nCOPY d/? /x",
        "write `/x/`, with a slash at the end",
    ),
    same(
        "several folders need no slash",
        &["p/1/f 644 1", "p/2/g 644 2"],
        "FROM scratch\nCOPY p/* /x",
        &["x/ 755", "x/f 644 1", "x/g 644 2"],
    ),
    wrong("nothing", D, "FROM scratch\nCOPY d/aa /x", "there is no `d/aa` to copy"),
    wrong(
        "nearly nothing",
        &["src/main.rs 644 x"],
        "FROM scratch\nCOPY src/mian.rs /x",
        "did you mean `src/main.rs`?",
    ),
    wrong("a pattern for nothing", D, "FROM scratch\nCOPY no* /x/", "there is no `no*` to copy"),
    same(
        "link to a file is followed",
        &["s -> d/a", "d/a 644 A"],
        "FROM scratch\nCOPY s /x/\nCOPY s /y",
        &["x/ 755", "x/s 644 A", "y 644 A"],
    ),
    same(
        "link to a folder is followed",
        &["s -> d", "d/a 644 A", "d/l -> /etc"],
        "FROM scratch\nCOPY s /x/\nCOPY s/a /y/",
        &["x/ 755", "x/a 644 A", "x/l -> /etc", "y/ 755", "y/a 644 A"],
    ),
    wrong(
        "link out of the context",
        &["s -> ../f"],
        "FROM scratch\nCOPY s /x",
        "leads out of what is copied from, through the symbolic link `s`",
    ),
    wrong(
        "absolute link in the context",
        &["s -> /etc", "etc/passwd 644 P"],
        "FROM scratch\nCOPY s/passwd /x",
        "through the symbolic link `s`",
    ),
    wrong(
        "link in a folder out of the context",
        &["d/s -> ../../f"],
        "FROM scratch\nCOPY d/* /x",
        "through the symbolic link `d/s`",
    ),
    wrong(
        "link to nothing",
        &["s -> no"],
        "FROM scratch\nCOPY s /x",
        "`s` is a symbolic link to `no`",
    ),
    wrong("links in a circle", &["s -> t", "t -> s"], "FROM scratch\nCOPY s /x", "leads to itself"),
    same(
        "from a stage",
        &["d/a 4755 A", "d/b = d/a", "d/l -> a"],
        "FROM scratch AS s\nCOPY --chown=3:4 --chmod=4751 d /p/q\nFROM scratch\nCOPY --from=s /p /p\nCOPY --from=s p/q/a /\nCOPY --from=s --chown=1:2 /p/q /r",
        &[
            "a 4751 3:4 A",
            "p/ 755",
            "p/q/ 755 3:4",
            "p/q/a 4751 3:4 A #1",
            "p/q/b 4751 3:4 A #1",
            "p/q/l -> a 3:4",
            "r/ 755 1:2",
            "r/a 4751 1:2 A #1",
            "r/b 4751 1:2 A #1",
            "r/l -> a 1:2",
        ],
    ),
    same(
        "links of a stage begin at its root",
        &["r/usr/f 644 F", "r/a -> /usr", "r/b -> ../../usr/f"],
        "FROM scratch AS s\nCOPY r /\nFROM scratch\nCOPY --from=s /a/f /x\nCOPY --from=s /b /y",
        &["x 644 F", "y 644 F"],
    ),
    same(
        "archive",
        &["a.tar < in/ 700 7; in/x 4755 7 X; in/y = in/x 4755 7; l -> in; i/m/p 644 0 P"],
        "FROM scratch\nADD a.tar /o/p\nADD --chown=1 --chmod=600 a.tar /q/\nCOPY a.tar /no/tar/",
        &[
            "no/ 755",
            "no/tar/ 755",
            "no/tar/a.tar 644 4608 bytes",
            "o/ 755",
            "o/p/ 755",
            "o/p/i/ 755",
            "o/p/i/m/ 755",
            "o/p/i/m/p 644 P",
            "o/p/in/ 700 7:7",
            "o/p/in/x 4755 7:7 X #1",
            "o/p/in/y 4755 7:7 X #1",
            "o/p/l -> in",
            "q/ 755 1:1",
            "q/i/ 755 1:1",
            "q/i/m/ 755 1:1",
            "q/i/m/p 644 P",
            "q/in/ 700 7:7",
            "q/in/x 4755 7:7 X #1",
            "q/in/y 4755 7:7 X #1",
            "q/l -> in",
        ],
    ),
    same(
        "archive says what its folder is",
        &["a.tar < ./ 700 9; f 644 0 F", "d/s/ 711"],
        "FROM scratch\nCOPY d /\nADD a.tar /s\nADD a.tar /t",
        &["s/ 700 9:9", "s/f 644 F", "t/ 700 9:9", "t/f 644 F"],
    ),
    same(
        "archive leaves folders alone that it does not name",
        &["a.tar < s/f 644 0 F; t/ 755 0; t/g 644 0 G", "d/s/ 711", "d/t/ 711"],
        "FROM scratch\nCOPY d /\nADD a.tar /",
        &["s/ 711", "s/f 644 F", "t/ 755", "t/g 644 G"],
    ),
    same(
        "archive through links below",
        &["a.tar < lib/f 644 0 F", "d/usr/lib/o 644 O", "d/lib -> usr/lib"],
        "FROM scratch\nCOPY d /\nADD a.tar /",
        &["lib -> usr/lib", "usr/ 755", "usr/lib/ 755", "usr/lib/f 644 F", "usr/lib/o 644 O"],
    ),
    same(
        "archive over a link",
        &["a.tar < lib/ 750 0; lib/f 644 0 F", "d/usr/lib/o 644 O", "d/lib -> usr/lib"],
        "FROM scratch\nCOPY d /\nADD a.tar /",
        &["lib/ 750", "lib/f 644 F", "usr/ 755", "usr/lib/ 755", "usr/lib/o 644 O"],
    ),
    same(
        "archives in folders stay",
        &["d/a.tar < f 644 0 F", "e.tar <", "g.gz 644 g"],
        "FROM scratch\nADD d /d\nADD e.tar g.gz /e/",
        &["d/ 755", "d/a.tar 644 2048 bytes", "e/ 755", "e/e.tar 644 1024 bytes", "e/g.gz 644 g"],
    ),
    own(
        "archive that stays",
        &["f.txt 644 no"],
        "FROM scratch\nADD --unpack=false f.txt /\nADD f.txt /g",
        &["f.txt 644 no", "g 644 no"],
    ),
    wrong(
        "archive to a file",
        &["a.tar < f 644 0 F", "f 644 F"],
        "FROM scratch\nCOPY f /x\nADD a.tar /x",
        "`/x` is a file in the image",
    ),
    own(
        "heredocs",
        &[],
        "FROM scratch\nCOPY <<a <<\"b\" /x/\n  one\n\n$HOME two\na\n$HOME\nb\nCOPY --chmod=755 --chown=1:2 <<E /y\n#!/bin/sh\nE\n",
        &["x/ 755", "x/a 644   one|| two|", "x/b 644 $HOME|", "y 755 1:2 #!/bin/sh|"],
    ),
    own(
        "parents",
        &["x/a 644 1", "y/ 750", "y/z/ 700", "y/z/b 644 2", "y/c 644 3"],
        "FROM scratch\nCOPY --parents x/a y/z /o/\nCOPY --parents --chown=1 y/c /o",
        &[
            "o/ 755",
            "o/x/ 755",
            "o/x/a 644 1",
            "o/y/ 750",
            "o/y/c 644 1:1 3",
            "o/y/z/ 700",
            "o/y/z/b 644 2",
        ],
    ),
    own(
        "parents from a pivot",
        &["a/b/c/d 644 D", "a/b/e 644 E", "a/l -> b"],
        "FROM scratch\nCOPY --parents ./a/./b/c /o\nCOPY --parents a/l/./* /p",
        &[
            "o/ 755",
            "o/b/ 755",
            "o/b/c/ 755",
            "o/b/c/d 644 D",
            "p/ 755",
            "p/c/ 755",
            "p/c/d 644 D",
            "p/e 644 E",
        ],
    ),
    own(
        "parents with wildcards",
        &["a/1.c 644 1", "a/b/2.c 644 2", "a/b/x.h 644 x", "3.c 644 3"],
        "FROM scratch\nCOPY --parents **/*.c /o\nCOPY --parents a/*/*.h /p",
        &[
            "o/ 755",
            "o/3.c 644 3",
            "o/a/ 755",
            "o/a/1.c 644 1",
            "o/a/b/ 755",
            "o/a/b/2.c 644 2",
            "p/ 755",
            "p/a/ 755",
            "p/a/b/ 755",
            "p/a/b/x.h 644 x",
        ],
    ),
    wrong(
        "parents of nothing",
        D,
        "FROM scratch\nCOPY --parents d/no /o",
        "there is no `d/no` to copy",
    ),
    own(
        "exclude",
        &["d/a.txt 644 1", "d/b.md 644 2", "d/s/c.txt 644 3", "d/s/e.md 644 4", "d/t/k.txt 644 5"],
        "FROM scratch\nCOPY --exclude=*.txt --exclude=s/*.md d /x\nCOPY --exclude=**/*.txt d /y\nCOPY --exclude=a.* --exclude=t d/* /z/\nCOPY --exclude=d/s --parents d /p",
        &[
            "p/ 755",
            "p/d/ 755",
            "p/d/a.txt 644 1",
            "p/d/b.md 644 2",
            "p/d/t/ 755",
            "p/d/t/k.txt 644 5",
            "x/ 755",
            "x/b.md 644 2",
            "x/s/ 755",
            "x/s/c.txt 644 3",
            "x/t/ 755",
            "x/t/k.txt 644 5",
            "y/ 755",
            "y/b.md 644 2",
            "y/s/ 755",
            "y/s/e.md 644 4",
            "y/t/ 755",
            "z/ 755",
            "z/b.md 644 2",
            "z/c.txt 644 3",
            "z/e.md 644 4",
            "z/k.txt 644 5",
        ],
    ),
    own(
        "link does not see what is below",
        &["r/usr/lib/o 644 O", "r/lib -> usr/lib", "r/s/ 711", "f 644 F"],
        "FROM scratch\nCOPY r /\nCOPY --link f /lib/\nCOPY --link f /s/\nCOPY --link f /usr/lib",
        &[
            "lib/ 755",
            "lib/f 644 F",
            "s/ 711",
            "s/f 644 F",
            "usr/ 755",
            "usr/lib/ 755",
            "usr/lib/f 644 F",
            "usr/lib/o 644 O",
        ],
    ),
    same(
        "work folder",
        &["r/usr/lib/o 644 O", "r/lib -> usr/lib", "r/s/ 711"],
        "FROM scratch\nCOPY r /\nWORKDIR /s\nWORKDIR /lib/a/b\nWORKDIR c",
        &[
            "lib -> usr/lib",
            "s/ 711",
            "usr/ 755",
            "usr/lib/ 755",
            "usr/lib/a/ 755",
            "usr/lib/a/b/ 755",
            "usr/lib/a/b/c/ 755",
            "usr/lib/o 644 O",
        ],
    ),
    wrong(
        "work folder at a file",
        D,
        "FROM scratch\nCOPY f /x\nWORKDIR /x",
        "`/x` is a file in the image",
    ),
    wrong(
        "work folder below a file",
        D,
        "FROM scratch\nCOPY f /x\nWORKDIR /x/y",
        "`/x` is a file in the image",
    ),
    wrong(
        "a name that deletes",
        &["d/s/.wh.q 644 x"],
        "FROM scratch\nCOPY d /x",
        "`/x/s/.wh.q` cannot be in an image",
    ),
    wrong(
        "a destination that deletes",
        D,
        "FROM scratch\nCOPY f /.wh.x",
        "`/.wh.x` cannot be in an image",
    ),
];

#[test]
fn one_rule_each() {
    for case in CASES {
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
    for case in CASES.iter().filter(|case| case.buildah) {
        let world = World::new(case.files);
        let ours = world.build(case.text).map(|root| world.lines(&root));
        let theirs = buildah(case.name, world.folder(), case.text);
        if ours != theirs {
            different.push(format!("{}\n  ours   {ours:?}\n  theirs {theirs:?}", case.name));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
