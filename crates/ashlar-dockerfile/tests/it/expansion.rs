//! Variables, quotes and escapes.

use super::{Asked, stage};

/// What `ENV R=…` gives, with some variables set; `None` where it is refused.
fn value(word: &str) -> Option<String> {
    let text = format!(
        "FROM scratch\nENV PWD=/home EMPTY= FILE=a.tar.gz DIR=/usr/lib/x STARS=a*b UNI=日本\nENV R={word}\n"
    );
    let image = Asked::default().image(&text).ok()?;
    image.stages[0].configuration.variable("R").map(str::to_owned)
}

#[test]
fn words_and_what_they_mean() {
    for (word, expected) in [
        // Quotes and escapes.
        ("hello", Some("hello")),
        ("he'll'o", Some("hello")),
        ("he\\'llo", Some("he'llo")),
        ("abc\\tdef", Some("abctdef")),
        ("\"abc\\tdef\"", Some("abc\\tdef")),
        ("\"abc\\\\tdef\"", Some("abc\\tdef")),
        ("'abc\\tdef'", Some("abc\\tdef")),
        ("\"hel'lo\"", Some("hel'lo")),
        ("'hello\\'", Some("hello\\")),
        ("\"''\"", Some("''")),
        ("a\\ b", Some("a b")),
        ("\"a b\"", Some("a b")),
        ("''", Some("")),
        ("a=b=c", Some("a=b=c")),
        ("\"hello", None),
        ("'hello", None),
        // Variables.
        ("$PWD", Some("/home")),
        ("${PWD}", Some("/home")),
        ("he${PWD}xx", Some("he/homexx")),
        ("he\\$PWD", Some("he$PWD")),
        ("he\\\\$PWD", Some("he\\/home")),
        ("\"he\\$PWD\"", Some("he$PWD")),
        ("'$PWD'", Some("$PWD")),
        ("\"'$PWD'\"", Some("'/home'")),
        ("\\${PWD}", Some("${PWD}")),
        ("$PWDx", Some("")),
        ("$.", Some("$.")),
        ("$", Some("$")),
        ("$1x", Some("x")),
        ("$EMPTY", Some("")),
        ("$UNI", Some("日本")),
        // Modifiers.
        ("${X:-word}", Some("word")),
        ("${X-word}", Some("word")),
        ("${EMPTY:-word}", Some("word")),
        ("${EMPTY-word}", Some("")),
        ("${PWD:-word}", Some("/home")),
        ("${X:+word}", Some("")),
        ("${X+word}", Some("")),
        ("${EMPTY:+word}", Some("")),
        ("${EMPTY+word}", Some("word")),
        ("${PWD:+word}", Some("word")),
        ("${X:-${Y:-yyy}}", Some("yyy")),
        ("${X:-$PWD}", Some("/home")),
        ("${PWD:+${PWD}:}x", Some("/home:x")),
        ("${X:-\\$PWD}", Some("$PWD")),
        ("\"${X:-a b}\"", Some("a b")),
        ("${FILE#*.}", Some("tar.gz")),
        ("${FILE##*.}", Some("gz")),
        ("${FILE%.*}", Some("a.tar")),
        ("${FILE%%.*}", Some("a")),
        ("${DIR##*/}", Some("x")),
        ("${DIR#/usr}", Some("/lib/x")),
        ("${DIR%/?}", Some("/usr/lib")),
        ("${DIR#no}", Some("/usr/lib/x")),
        ("${STARS#a\\*}", Some("b")),
        ("${FILE/./-}", Some("a-tar.gz")),
        ("${FILE//./-}", Some("a-tar-gz")),
        ("${DIR/\\/usr/}", Some("/lib/x")),
        ("${DIR//\\//:}", Some(":usr:lib:x")),
        ("${FILE/z*/Z}", Some("a.tar.gZ")),
        ("${FILE//a*r/X}", Some("X.gz")),
        ("${FILE/nothing/X}", Some("a.tar.gz")),
        ("${UNI%本}", Some("日")),
        ("${PWD?no}", Some("/home")),
        ("${X?no}", None),
        ("${EMPTY:?no}", None),
        ("${EMPTY?no}", Some("")),
        // What is no substitution.
        ("${}", None),
        ("${PWD", None),
        ("${PWD:}", None),
        ("${PWD:=x}", None),
        ("${PWD:x}", None),
        ("${PWD!}", None),
        ("${PWD/a}", None),
        ("${:-x}", None),
        ("${{a}", None),
        ("${X:-${PWD}", None),
    ] {
        assert_eq!(value(word).as_deref(), expected, "{word}");
    }
}

#[test]
fn nesting_and_size_have_bounds() {
    let deep = format!("{}x{}", "${X:-".repeat(1000), "}".repeat(1000));
    assert_eq!(value(&deep), None);
    let fine = format!("{}x{}", "${X:-".repeat(20), "}".repeat(20));
    assert_eq!(value(&fine).as_deref(), Some("x"));
    let mut bomb = String::from("FROM scratch\nENV A0=0123456789abcdef\n");
    for n in 1..40 {
        bomb.push_str(&format!("ENV A{n}=$A{0}$A{0}$A{0}$A{0}\n", n - 1));
    }
    let mistakes = Asked::default().mistakes(&bomb);
    assert!(mistakes.contains("longer than 1 MiB"), "{mistakes}");
}

#[test]
fn one_env_sees_the_environment_before_it() {
    // The example of the reference: "def will have the value hello, not bye".
    let stage = stage("FROM scratch\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\n");
    let configuration = stage.configuration;
    for (name, expected) in [("abc", "bye"), ("def", "hello"), ("ghi", "bye")] {
        assert_eq!(configuration.variable(name), Some(expected), "{name}");
    }
}

#[test]
fn a_backtick_escapes_where_the_directive_says_so() {
    let stage = stage("# escape=`\nFROM scratch\nENV A=x`$y B=a\\b `\n C=d\n");
    assert_eq!(stage.configuration.variable("A"), Some("x$y"));
    assert_eq!(stage.configuration.variable("B"), Some("a\\b"));
}

#[test]
fn which_instructions_are_expanded() {
    let text = "\
FROM scratch
ENV V=val
LABEL l=$V
EXPOSE 80$EMPTY ${P:-81/udp}
VOLUME /$V
USER $V
WORKDIR /$V
STOPSIGNAL ${S:-SIGINT}
COPY a$V b$V/
ADD --chown=$V:$V --chmod=0${M:-644} x$V y/
RUN echo $V
CMD echo $V
ENTRYPOINT [\"$V\"]
SHELL [\"$V\"]
ONBUILD RUN echo $V
HEALTHCHECK CMD echo $V
";
    let stage = stage(text);
    let c = &stage.configuration;
    assert_eq!(c.labels["l"], "val");
    assert_eq!(c.exposed_ports.iter().collect::<Vec<_>>(), ["80/tcp", "81/udp"]);
    assert!(c.volumes.contains("/val"));
    assert_eq!(c.user.as_deref(), Some("val"));
    assert_eq!(c.working_directory.as_deref(), Some("/val"));
    assert_eq!(c.stop_signal.as_deref(), Some("SIGINT"));
    let command = c.command.as_ref().unwrap();
    assert_eq!(command, &["/bin/sh", "-c", "echo $V"], "ENTRYPOINT leaves the CMD of its stage");
    assert_eq!(c.entrypoint.as_ref().unwrap(), &["$V"]);
    assert_eq!(c.on_build, ["RUN echo $V"]);
    assert_eq!(c.healthcheck.as_ref().unwrap().test, ["CMD-SHELL", "echo $V"]);
    let texts: Vec<&str> = stage.instructions.iter().map(|i| i.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "WORKDIR /val",
            "COPY aval bval/",
            "ADD --chown=val:val --chmod=0644 xval y/",
            "RUN echo $V"
        ]
    );
}
