//! What is wrong is said with its line, and what to do.

use super::Context;

#[test]
fn mistakes_name_file_line_and_advice() {
    let cases = [
        ("RUNN true\n", "Dockerfile:4", "did you mean `RUN`?"),
        ("COPY --form=x a b\n", "Dockerfile:4", "--from"),
        ("COPY missing /x\n", "line 4", "missing"),
        ("COPY ../x /x\n", "Dockerfile:4", "context"),
        ("COPY --from=nowhere /a /b\n", "Dockerfile:4", "nowhere"),
        ("RUN <<EOF\ntrue\n", "Dockerfile:4", "EOF"),
        ("RUN --mount=type=ssh true\n", "Dockerfile:4", "ssh"),
        ("ADD https://example.invalid/x /x\n", "line 4", "--checksum"),
        ("ADD https://example.invalid/x.git#main /x\n", "line 4", "#COMMIT"),
    ];
    for (lines, place, word) in cases {
        let context = Context::new(lines);
        let ran = context.0.run(&["image", "build", "."]).exits(2);
        assert!(ran.err.contains(place), "{lines}: {place} is not in\n{}", ran.err);
        assert!(ran.err.contains(word), "{lines}: {word} is not in\n{}", ran.err);
        assert!(!context.0.store.join("work/any").exists());
    }
}

#[test]
fn links_do_not_lead_out_of_the_context() {
    let context = Context::new("COPY way/file /file\n");
    std::fs::create_dir(context.beside("outside")).unwrap();
    std::fs::write(context.beside("outside").join("file"), "outside\n").unwrap();
    context.0.link("way", "../outside");
    let ran = context.0.run(&["image", "build", "."]).exits(2);
    assert!(ran.err.contains("way"), "{}", ran.err);
}

#[test]
fn a_command_that_fails_shows_its_last_words() {
    let context = Context::new("RUN echo the last words >&2; exit 7\n");
    let ran = context.0.run(&["image", "build", "."]).exits(1);
    assert!(ran.err.contains("the last words") && ran.err.contains("exited with 7"), "{}", ran.err);
}

#[test]
fn there_is_no_network_unless_it_is_asked_for() {
    let context = Context::new("RUN ls /sys/class/net > /nets || cat /proc/net/dev > /nets\n");
    let alone = context.file(&[], "nets");
    context.write("RUN --network=none true && cat /proc/net/dev > /nets\n");
    let none = context.file(&["--network", "default"], "nets");
    context.write("RUN cat /proc/net/dev > /nets\n");
    let machine = context.file(&["--network", "default"], "nets");
    let own = std::fs::read_to_string("/proc/net/dev").unwrap();
    let count = |text: &str| text.lines().filter(|line| line.contains(':')).count();
    assert_eq!(count(&none), 1, "{none}");
    assert_eq!(count(&machine), count(&own), "{machine}");
    assert!(!alone.contains("eth0"), "{alone}");
}
