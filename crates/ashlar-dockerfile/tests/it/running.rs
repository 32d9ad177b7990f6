//! `RUN`: forms, environment, mounts.

use ashlar_dockerfile::{From, Network, RunMount, Sharing};

use super::{Asked, Work, image, run, runs, words};

fn arguments(text: &str) -> Vec<String> {
    run(&format!("FROM scratch\n{text}")).arguments
}

#[test]
fn forms_of_a_command() {
    for (text, expected) in [
        ("RUN make all", &["/bin/sh", "-c", "make all"][..]),
        ("run   make   all  ", &["/bin/sh", "-c", "make   all"]),
        ("RUN [\"make\", \"a b\", \"\\u0041\\n\"]", &["make", "a b", "A\n"]),
        ("RUN [ \"make\" ]  ", &["make"]),
        ("RUN ['make']", &["/bin/sh", "-c", "['make']"]),
        ("RUN [ -e /x ] && y", &["/bin/sh", "-c", "[ -e /x ] && y"]),
        ("RUN [[ -e /x ]]", &["/bin/sh", "-c", "[[ -e /x ]]"]),
        ("RUN a \\\n  b", &["/bin/sh", "-c", "a   b"]),
        ("RUN a \\  \n  # comment\n\n  && b", &["/bin/sh", "-c", "a   && b"]),
        ("RUN a \\\r\n b\r\n", &["/bin/sh", "-c", "a  b"]),
        ("RUN a \\\n # comment \\\n && b", &["/bin/sh", "-c", "a  && b"]),
        ("RUN echo # no comment", &["/bin/sh", "-c", "echo # no comment"]),
        ("RUN echo \"a\\tb\" 'c'", &["/bin/sh", "-c", "echo \"a\\tb\" 'c'"]),
        ("RUN echo $X ${Y:-z}", &["/bin/sh", "-c", "echo $X ${Y:-z}"]),
        ("RUN echo end\\\\\nUSER 1", &["/bin/sh", "-c", "echo end\\\\"]),
        ("R\\\nUN x", &["/bin/sh", "-c", "x"]),
        ("SHELL [\"/bin/bash\", \"-ec\"]\nRUN x | y", &["/bin/bash", "-ec", "x | y"]),
        ("SHELL [\"/bin/bash\", \"-ec\"]\nRUN [\"x\"]", &["x"]),
        ("RUN --network=none x --network=host", &["/bin/sh", "-c", "x --network=host"]),
        ("RUN a \\", &["/bin/sh", "-c", "a"]),
    ] {
        assert_eq!(arguments(text), expected, "{text}");
    }
}

#[test]
fn heredocs() {
    for (text, expected) in [
        // A heredoc alone is the script.
        ("RUN <<EOF\na\n  b\nEOF\n", "a\n  b\n"),
        ("RUN <<-EOF\n\ta\n\t\tb\n\tEOF\n", "a\nb\n"),
        ("RUN <<'EOF'\n$x\nEOF\n", "$x\n"),
        ("RUN <<EOF\n# no comment\n\nx \\\ny\nEOF\n", "# no comment\n\nx \\\ny\n"),
        // Otherwise the shell gets all of it.
        ("RUN cat <<EOF > /x\na\nEOF\n", "cat <<EOF > /x\na\nEOF"),
        ("RUN cat <<A <<B\n1\nA\n2\nB\n", "cat <<A <<B\n1\nA\n2\nB"),
        ("RUN python3 - <<\"EOF\"\nprint(1)\nEOF\n", "python3 - <<\"EOF\"\nprint(1)\nEOF"),
        ("RUN cat <<-EOF\n\ta\n\tEOF\n", "cat <<-EOF\n\ta\nEOF"),
        ("RUN cat 3<<EOF\na\nEOF\n", "cat 3<<EOF\na\nEOF"),
        ("RUN cat << EOF\na\nEOF\n", "cat << EOF\na\nEOF"),
        // No heredocs.
        ("RUN echo '<<EOF'", "echo '<<EOF'"),
        ("RUN cat <<< x", "cat <<< x"),
        ("RUN echo $((1<<2))", "echo $((1<<2))"),
        ("RUN echo a<<b", "echo a<<b"),
    ] {
        let expected = words(&["/bin/sh", "-c", expected]);
        assert_eq!(arguments(text), expected, "{text}");
    }
    let two = runs("FROM scratch\nRUN <<EOF\nx\nEOF\nRUN y\n");
    assert_eq!(two.len(), 2);
    assert_eq!(two[1].arguments[2], "y");
}

#[test]
fn a_heredoc_that_names_its_program() {
    let run = run(
        "FROM scratch\nSHELL [\"/no\", \"-c\"]\nRUN <<-EOF\n\t#!/usr/bin/awk -f\n\tBEGIN {}\n\tEOF\n",
    );
    let script = run.script.unwrap();
    assert_eq!(run.arguments, ["/run/heredoc/EOF"]);
    assert_eq!(script.path, "/run/heredoc/EOF");
    assert_eq!(script.content, "#!/usr/bin/awk -f\nBEGIN {}\n");
}

fn env(asked: &Asked, text: &str) -> Vec<String> {
    let image = asked.image(text).unwrap();
    let instructions = &image.stages[image.target].instructions;
    let Some(Work::Run(run)) = instructions.iter().rev().map(|i| &i.work).next() else { panic!() };
    let path =
        |(name, value): &(String, String)| (name != "PATH").then(|| format!("{name}={value}"));
    run.env.iter().filter_map(path).collect()
}

#[test]
fn what_a_command_sees_of_arguments() {
    let none = Asked::default();
    let given = Asked::args(&[("A", "given"), ("B", "given")]);
    for (asked, text, expected) in [
        (&none, "ARG A=1\nRUN x", &["A=1"][..]),
        (&none, "ARG A\nRUN x", &[]),
        (&given, "ARG A=1\nRUN x", &["A=given"]),
        (&given, "ARG A\nRUN x", &["A=given"]),
        (&given, "RUN x\nARG A", &[]),
        // ENV always overrides ARG, whichever comes first.
        (&given, "ARG A\nENV A=env\nRUN x", &["A=env"]),
        (&given, "ENV A=env\nARG A\nRUN x", &["A=env"]),
        // The example of the reference for a default with ENV.
        (&none, "ARG A\nENV A=${A:-v1.0.0}\nRUN x", &["A=v1.0.0"]),
        (&given, "ARG A\nENV A=${A:-v1.0.0}\nRUN x", &["A=given"]),
        (&none, "ENV B=2\nARG A=1\nRUN x", &["B=2", "A=1"]),
        (&none, "ARG A=1 B=2 C\nRUN x", &["A=1", "B=2"]),
        (&none, "ARG A=1\nARG B=$A-2\nRUN x", &["A=1", "B=1-2"]),
        (&none, "ARG A=1\nARG A\nRUN x", &["A=1"]),
        (&none, "ARG A=1\nARG A=2\nRUN x", &["A=2"]),
        (&none, "ARG A=\"a b\"\nRUN x", &["A=a b"]),
        (&none, "ENV A=1\nENV B=2\nENV A=3\nRUN x", &["A=3", "B=2"]),
        (&none, "ENV A a value  with $B spaces\nRUN x", &["A=a value  with  spaces"]),
    ] {
        let found = env(asked, &format!("FROM scratch\n{text}\n"));
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn arguments_of_the_whole_file() {
    let none = Asked::default();
    let given = Asked::args(&[("A", "given")]);
    for (asked, text, expected) in [
        // Not inherited unless asked for.
        (&none, "ARG A=1\nFROM scratch\nRUN x", &[][..]),
        (&none, "ARG A=1\nFROM scratch\nARG A\nRUN x", &["A=1"]),
        (&none, "ARG A=1\nFROM scratch\nARG A=2\nRUN x", &["A=2"]),
        (&given, "ARG A=1\nFROM scratch\nARG A=2\nRUN x", &["A=given"]),
        (&none, "ARG A=1\nARG B=$A/2\nFROM scratch\nARG B\nRUN x", &["B=1/2"]),
        // A stage inherits the arguments of the stage it is made from, and of no other.
        (&none, "FROM scratch AS a\nARG A=1\nFROM a\nRUN x", &["A=1"]),
        (&none, "FROM scratch AS a\nARG A=1\nFROM scratch\nCOPY --from=a x y\nRUN x", &[]),
        // What every file has.
        (&none, "FROM scratch\nARG TARGETPLATFORM\nRUN x", &["TARGETPLATFORM=linux/amd64"]),
        (
            &none,
            "FROM scratch\nARG BUILDARCH\nARG TARGETARCH TARGETOS\nRUN x",
            &["BUILDARCH=arm64", "TARGETARCH=amd64", "TARGETOS=linux"],
        ),
        (&none, "FROM scratch\nRUN x", &[]),
    ] {
        assert_eq!(env(asked, text), expected, "{text}");
    }
}

#[test]
fn proxies_are_not_part_of_the_environment() {
    let asked = Asked::args(&[("HTTP_PROXY", "p"), ("no_proxy", "q"), ("https_proxy", "r")]);
    let image = asked.image("FROM scratch\nARG https_proxy\nRUN x\n").unwrap();
    let stage = &image.stages[0];
    let Work::Run(run) = &stage.instructions[0].work else { panic!() };
    let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
    assert_eq!(run.proxies, [pair("HTTP_PROXY", "p"), pair("no_proxy", "q")]);
    assert!(run.env.contains(&pair("https_proxy", "r")), "declared, so it is an argument");
    let history: Vec<&str> = stage.history.iter().map(|h| h.created_by.as_str()).collect();
    assert_eq!(history, ["ARG https_proxy=r", "RUN |1 https_proxy=r /bin/sh -c x"]);
    assert!(image.warnings.is_empty(), "{:?}", image.warnings);
}

#[test]
fn where_and_as_whom() {
    let run = run("FROM scratch\nWORKDIR /a\nWORKDIR b/../c\nUSER 1:2\nRUN --network=host x\n");
    assert_eq!((run.directory.as_str(), run.user.as_deref()), ("/a/c", Some("1:2")));
    assert_eq!(run.network, Network::Host);
    let path = run.env.iter().find(|(name, _)| name == "PATH").unwrap();
    assert_eq!(path.1, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
}

fn mount(text: &str) -> RunMount {
    let file =
        format!("FROM scratch AS one\nFROM scratch\nENV V=val\nWORKDIR /w\nRUN --mount={text} x\n");
    run(&file).mounts.pop().unwrap()
}

#[test]
fn mounts() {
    let bind = |from, source: &str, target: &str, writable| RunMount::Bind {
        from,
        source: source.into(),
        target: target.into(),
        writable,
    };
    for (text, expected) in [
        ("type=bind", bind(From::Context, "", "/w", false)),
        ("target=/x", bind(From::Context, "", "/x", false)),
        ("type=bind,dst=x,src=a/b/", bind(From::Context, "a/b", "/w/x", false)),
        ("source=/,destination=/x,rw", bind(From::Context, "", "/x", true)),
        ("type=bind,target=/x,readonly=false", bind(From::Context, "", "/x", true)),
        ("from=one,target=/x", bind(From::Stage(0), "", "/x", false)),
        ("type=bind,from=0,target=/$V", bind(From::Stage(0), "", "/val", false)),
        ("type=bind,from=module:m,target=/x", bind(From::Module("m".into()), "", "/x", false)),
        ("\"type=bind,target=/x\"", bind(From::Context, "", "/x", false)),
        (
            "type=tmpfs,target=/t,size=64m",
            RunMount::Tmpfs { target: "/t".into(), size: Some(64 << 20) },
        ),
        ("type=checkpoint,target=build", RunMount::Checkpoint { target: "/w/build".into() }),
        (
            "type=cache,target=/c",
            RunMount::Cache {
                id: "/c".into(),
                target: "/c".into(),
                from: None,
                source: String::new(),
                sharing: Sharing::Shared,
                mode: 0o755,
                uid: 0,
                gid: 0,
                read_only: false,
            },
        ),
        (
            "type=cache,id=$V,target=/c,sharing=locked,mode=0700,uid=1,gid=2,ro,from=one,source=s",
            RunMount::Cache {
                id: "val".into(),
                target: "/c".into(),
                from: Some(From::Stage(0)),
                source: "s".into(),
                sharing: Sharing::Locked,
                mode: 0o700,
                uid: 1,
                gid: 2,
                read_only: true,
            },
        ),
    ] {
        assert_eq!(mount(text), expected, "{text}");
    }
    let secret =
        |id: &str, target: Option<&str>, env: Option<&str>, required, mode| RunMount::Secret {
            id: id.into(),
            target: target.map(str::to_owned),
            env: env.map(str::to_owned),
            required,
            mode,
            uid: 0,
            gid: 0,
        };
    for (text, expected) in [
        ("type=secret,id=t", secret("t", Some("/run/secrets/t"), None, false, 0o400)),
        ("type=secret,target=/etc/t", secret("t", Some("/etc/t"), None, false, 0o400)),
        ("type=secret,id=t,env=T", secret("t", None, Some("T"), false, 0o400)),
        (
            "type=secret,id=t,env=T,target=/t,required,mode=0440",
            secret("t", Some("/t"), Some("T"), true, 0o440),
        ),
    ] {
        assert_eq!(mount(text), expected, "{text}");
    }
}

#[test]
fn texts_and_lines() {
    let image = image(
        "FROM scratch\n\nRUN --network=none a \\\n   b\nRUN <<EOF\nx\nEOF\nRUN [\"a\",\"b\"]\n",
    );
    let found: Vec<_> = image.stages[0]
        .instructions
        .iter()
        .map(|i| (i.line, i.last_line, i.text.as_str()))
        .collect();
    assert_eq!(
        found,
        [(3, 4, "RUN --network=none a    b"), (5, 7, "RUN <<EOF"), (8, 8, "RUN [\"a\", \"b\"]"),]
    );
}
