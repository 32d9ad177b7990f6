//! Instructions that only change the configuration, and the history.

use std::time::Duration;

use ashlar_dockerfile::Configuration;

use super::{Asked, stage, words};

fn configuration(text: &str) -> Configuration {
    stage(&format!("FROM scratch\n{text}\n")).configuration
}

#[test]
fn what_runs_in_a_container() {
    let sh = |command: &str| Some(words(&["/bin/sh", "-c", command]));
    for (text, entrypoint, command) in [
        ("CMD [\"a\", \"b\"]", None, Some(words(&["a", "b"]))),
        ("CMD a b", None, sh("a b")),
        ("CMD []", None, Some(vec![])),
        ("ENTRYPOINT [\"a\"]", Some(words(&["a"])), None),
        ("ENTRYPOINT a b", sh("a b"), None),
        ("ENTRYPOINT [\"a\"]\nENTRYPOINT []", None, None),
        ("CMD [\"c\"]\nENTRYPOINT [\"e\"]", Some(words(&["e"])), Some(words(&["c"]))),
        ("ENTRYPOINT [\"e\"]\nCMD [\"c\"]", Some(words(&["e"])), Some(words(&["c"]))),
        ("SHELL [\"/bin/bash\", \"-c\"]\nCMD a", None, Some(words(&["/bin/bash", "-c", "a"]))),
        ("CMD a \\\n  b", None, sh("a   b")),
    ] {
        let found = configuration(text);
        assert_eq!((found.entrypoint, found.command), (entrypoint, command), "{text}");
    }
}

#[test]
fn pairs() {
    for (text, expected) in [
        ("LABEL a=b", &[("a", "b")][..]),
        ("LABEL a=b c=\"d e\" 'f g'=h", &[("a", "b"), ("c", "d e"), ("f g", "h")]),
        ("LABEL a=\"x \\\ny\"", &[("a", "x y")]),
        ("LABEL a b c", &[("a", "b c")]),
        ("LABEL a=", &[("a", "")]),
        ("LABEL a=\"\\\"q\\\"\"", &[("a", "\"q\"")]),
        ("LABEL com.example.x=y=z", &[("com.example.x", "y=z")]),
        ("LABEL a=1\nLABEL a=2", &[("a", "2")]),
    ] {
        let found = configuration(text).labels;
        let found: Vec<(&str, &str)> =
            found.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(found, expected, "{text}");
    }
    // The examples of the reference.
    let found =
        configuration("ENV MY_NAME=\"John Doe\" MY_DOG=Rex\\ The\\ Dog \\\n    MY_CAT=fluffy");
    for (name, value) in [("MY_NAME", "John Doe"), ("MY_DOG", "Rex The Dog"), ("MY_CAT", "fluffy")]
    {
        assert_eq!(found.variable(name), Some(value));
    }
    let old = configuration("ENV ONE TWO= THREE=world");
    assert_eq!(old.variable("ONE"), Some("TWO= THREE=world"));
}

#[test]
fn ports_volumes_and_others() {
    let c = configuration(
        "EXPOSE 80 53/udp 90-92/tcp 8080:81\nVOLUME /a /b\nVOLUME [\"/c d\"]\nSTOPSIGNAL 9\nUSER u:g\nMAINTAINER A B <c>",
    );
    let ports: Vec<&str> = c.exposed_ports.iter().map(String::as_str).collect();
    assert_eq!(ports, ["53/udp", "80/tcp", "81/tcp", "90/tcp", "91/tcp", "92/tcp"]);
    assert_eq!(c.volumes.iter().map(String::as_str).collect::<Vec<_>>(), ["/a", "/b", "/c d"]);
    assert_eq!(c.stop_signal.as_deref(), Some("9"));
    assert_eq!(c.user.as_deref(), Some("u:g"));
    assert_eq!(c.author.as_deref(), Some("A B <c>"));
}

#[test]
fn checks_of_health() {
    let c = configuration(
        "HEALTHCHECK --interval=5m --timeout=3s --start-period=1m30s --start-interval=500ms --retries=4 CMD curl -f x || exit 1",
    );
    let check = c.healthcheck.unwrap();
    assert_eq!(check.test, ["CMD-SHELL", "curl -f x || exit 1"]);
    assert_eq!(check.interval, Some(Duration::from_secs(300)));
    assert_eq!(check.timeout, Some(Duration::from_secs(3)));
    assert_eq!(check.start_period, Some(Duration::from_secs(90)));
    assert_eq!(check.start_interval, Some(Duration::from_millis(500)));
    assert_eq!(check.retries, Some(4));
    let exec = configuration("HEALTHCHECK CMD [\"a\", \"b\"]").healthcheck.unwrap();
    assert_eq!(exec.test, ["CMD", "a", "b"]);
    assert_eq!(exec.interval, None);
    let none = configuration("HEALTHCHECK CMD a\nHEALTHCHECK none").healthcheck.unwrap();
    assert_eq!(none.test, ["NONE"]);
}

#[test]
fn what_every_image_has() {
    let c = configuration("RUN x");
    assert_eq!(c.variable("PATH"), Some(Configuration::DEFAULT_PATH));
    assert_eq!(c.working_directory.as_deref(), Some("/"));
    assert_eq!(c.shell, None);
}

#[test]
fn the_history() {
    let text = "\
FROM scratch
ARG A=1
ENV E=\"a b\"
WORKDIR /w
RUN make \\
  all
COPY --chown=1 a b/
LABEL l=1
USER u
CMD [\"c\", \"d\"]
ENTRYPOINT e
EXPOSE 80
VOLUME /v
STOPSIGNAL SIGINT
SHELL [\"/s\", \"-c\"]
ONBUILD RUN x
";
    let stage = stage(text);
    let found: Vec<(&str, Option<usize>)> =
        stage.history.iter().map(|h| (h.created_by.as_str(), h.instruction)).collect();
    assert_eq!(
        found,
        [
            ("ARG A=1", None),
            ("ENV E=a b", None),
            ("WORKDIR /w", Some(0)),
            ("RUN |1 A=1 /bin/sh -c make   all", Some(1)),
            ("COPY --chown=1 a b/", Some(2)),
            ("LABEL l=1", None),
            ("USER u", None),
            ("CMD [\"c\" \"d\"]", None),
            ("ENTRYPOINT [\"/bin/sh\" \"-c\" \"e\"]", None),
            ("EXPOSE 80", None),
            ("VOLUME [/v]", None),
            ("STOPSIGNAL SIGINT", None),
            ("SHELL [/s -c]", None),
            ("ONBUILD RUN x", None),
        ]
    );
    let with = Asked::args(&[("A", "2")]).image("FROM scratch\nARG A B\nRUN x\n").unwrap();
    let history: Vec<&str> = with.stages[0].history.iter().map(|h| h.created_by.as_str()).collect();
    assert_eq!(history, ["ARG A=2 B", "RUN |1 A=2 /bin/sh -c x"]);
}
