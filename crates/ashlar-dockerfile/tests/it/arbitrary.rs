//! Whatever the text is: no panic, no endless loop, and every place lies within the text.

use std::collections::BTreeMap;

use ashlar_dockerfile::{
    Configuration, Ignore, Platform, Request, Work, evaluate, ignore, matches, parse,
};
use ashlar_recipe::{Problem, Problems};
use proptest::prelude::*;

use super::corpus;

fn places(text: &str, problems: &[Problem]) {
    for problem in problems {
        for place in problem.place.iter().chain(&problem.related) {
            let range = place.span.range();
            assert!(range.start <= range.end && range.end <= text.len(), "{problem:?}");
            assert!(text.is_char_boundary(range.start), "{problem:?}");
            assert!(text.is_char_boundary(range.end), "{problem:?}");
        }
    }
}

fn checked<T>(text: &str, result: Result<T, Problems>) -> Option<T> {
    result
        .map_err(|problems| {
            assert!(!problems.list.is_empty());
            places(text, &problems.list);
            assert!(!problems.render_plain().is_empty());
        })
        .ok()
}

/// Parses and evaluates a text for each of its stages.
fn all(text: &str, on_build: &[String]) {
    let Some(file) = checked(text, parse("Dockerfile", text)) else { return };
    let warnings: Vec<Problem> = file.warnings().iter().map(|w| w.problem.clone()).collect();
    places(text, &warnings);
    let args: BTreeMap<String, String> = [("A".to_owned(), "a b/$c".to_owned())].into();
    for stage in file.stages().iter().take(5) {
        let target = stage.number.to_string();
        let request = Request {
            target: Some(&target),
            args: &args,
            platform: Platform::linux("amd64"),
            build_platform: Platform::linux("arm64"),
        };
        let mut bases =
            |_: &_| Ok(Configuration { on_build: on_build.to_vec(), ..Configuration::default() });
        let Some(image) = checked(text, evaluate(&file, &request, &mut bases)) else { continue };
        assert_eq!(image.target, image.stages.len() - 1);
        for (index, stage) in image.stages.iter().enumerate() {
            if let ashlar_dockerfile::Base::Stage(base) = stage.base {
                assert!(base < index);
            }
            for instruction in &stage.instructions {
                let range = instruction.place.span.range();
                assert!(range.start < range.end && range.end <= text.len());
                assert!(instruction.line <= instruction.last_line);
                assert!(!instruction.text.contains('\n'), "{}", instruction.text);
                match &instruction.work {
                    Work::Run(run) => {
                        assert!(!run.arguments.is_empty() && run.directory.starts_with('/'));
                        let names: Vec<&String> = run.env.iter().map(|(name, _)| name).collect();
                        let unique: std::collections::BTreeSet<_> = names.iter().collect();
                        assert_eq!(names.len(), unique.len());
                    }
                    Work::Copy(copy) => {
                        assert!(!copy.sources.is_empty() && copy.destination.starts_with('/'));
                        if let ashlar_dockerfile::From::Stage(from) = copy.from {
                            assert!(from < index);
                        }
                    }
                    Work::Workdir(workdir) => assert!(workdir.path.starts_with('/')),
                }
            }
        }
    }
}

/// Pieces that mean something, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "FROM ",
        "scratch",
        " AS a",
        "a",
        "\nRUN ",
        "\nCOPY ",
        "\nADD ",
        "\nENV ",
        "\nARG ",
        "A=1",
        "\nLABEL ",
        "\nUSER ",
        "\nWORKDIR ",
        "\nVOLUME ",
        "\nEXPOSE ",
        "\nCMD ",
        "\nENTRYPOINT ",
        "\nSHELL ",
        "\nHEALTHCHECK ",
        "CMD ",
        "NONE",
        "\nONBUILD ",
        "\nSTOPSIGNAL ",
        "\nMAINTAINER ",
        "\n",
        " ",
        "\t",
        "\r\n",
        "\\\n",
        "\\",
        "`",
        "`\n",
        "# escape=`\n",
        "# check=skip=all\n",
        "# syntax=x\n",
        "#",
        "<<EOF",
        "<<-'E F'",
        "<<",
        "EOF\n",
        "\nEOF\n",
        "[\"",
        "\"]",
        "[",
        "]",
        ", ",
        "\"",
        "'",
        "$",
        "${",
        "}",
        "${A:-",
        "${A##",
        "${A//",
        "/",
        "*",
        "?",
        "[a-",
        "--from=a",
        " --mount=",
        "type=cache,",
        "target=/x",
        "--network=none ",
        "--chmod=755 ",
        "--",
        "=",
        ",",
        "é",
        "日",
        "\u{feff}",
        "\0",
        "$A",
        "80/tcp",
        "1-65535",
        "..",
        "/./",
        "https://h/x.git#",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// A real file with some bytes cut, doubled or replaced.
fn mutated() -> impl Strategy<Value = String> {
    let files = corpus::files();
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..5usize, pieces()), 1..6);
    (prop::sample::select(files), edits).prop_map(|((_, text), edits)| {
        let mut text: Vec<char> = text.chars().collect();
        for (index, kind, piece) in edits {
            if text.is_empty() {
                break;
            }
            let at = index.index(text.len());
            match kind {
                0 => drop(text.remove(at)),
                1 => text.insert(at, '\n'),
                2 => text.truncate(at),
                3 => {
                    let end = (at + 20).min(text.len());
                    let copy: Vec<char> = text[at..end].to_vec();
                    text.splice(at..at, copy);
                }
                _ => {
                    let piece: String = piece.chars().take(12).collect();
                    text.splice(at..at, piece.chars());
                }
            }
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        all(&text, &[]);
    }

    #[test]
    fn any_instructions(text in pieces()) {
        all(&format!("FROM scratch\n{text}"), &[]);
        all(&text, &[]);
    }

    #[test]
    fn any_trigger(text in pieces()) {
        all("FROM debian AS a\nFROM debian\nRUN x\n", &[text]);
    }

    #[test]
    fn real_files_with_mistakes(text in mutated()) {
        all(&text, &[]);
    }

    #[test]
    fn any_ignore_file(text in "[a-c/*?!#\\\\\\[\\]^. \n-]{0,40}", path in "[a-c/]{0,12}") {
        if let Some(ignore) = checked(&text, ignore("i", &text)) {
            let path = path.trim_matches('/');
            // What is wanted below a folder is found when the folder is walked.
            if let Some((folder, _)) = path.rsplit_once('/')
                && !path.contains("//")
                && !ignore.is_ignored(path)
            {
                prop_assert!(ignore.may_hold(folder), "{text:?} {path}");
            }
        }
    }

    #[test]
    fn any_pattern(pattern in "[a-c/*?\\\\\\[\\]^-]{0,12}", path in "[a-c/]{0,12}") {
        // Without wildcards only the same path matches.
        if !ashlar_dockerfile::has_wildcards(&pattern) && !pattern.contains(']') {
            prop_assert_eq!(matches(&pattern, &path, false), pattern == path);
        }
        if matches(&pattern, &path, false) && !pattern.contains("**") {
            prop_assert!(matches(&pattern, &path, true));
        }
        let _either = Ignore::from_patterns([pattern.as_str()]);
    }

    /// What has no `$`, quote or escape means itself.
    #[test]
    fn plain_words_mean_themselves(word in "[a-zA-Z0-9/.:_{}#%-]{1,30}") {
        let text = format!("FROM scratch\nLABEL l={word}\n");
        prop_assert_eq!(&super::stage(&text).configuration.labels["l"], &word);
    }

    /// Whatever is between single quotes means itself.
    #[test]
    fn single_quotes_keep_all(word in "[a-z$\"\\\\{} ]{0,20}[a-z]") {
        let text = format!("FROM scratch\nLABEL l='{word}'\n");
        prop_assert_eq!(&super::stage(&text).configuration.labels["l"], &word);
    }

    /// A variable means its value, whatever is in it: values are not read again.
    #[test]
    fn values_are_not_expanded_again(value in "\\PC{0,30}") {
        let args = super::Asked::args(&[("V", &value)]);
        let image = args.image("FROM scratch\nARG V\nLABEL l=\"$V\" m=${V} n=x${V:-y}z\n").unwrap();
        let labels = &image.stages[0].configuration.labels;
        prop_assert_eq!(&labels["l"], &value);
        prop_assert_eq!(&labels["m"], &value);
        let middle = if value.is_empty() { "y" } else { &value };
        prop_assert_eq!(&labels["n"], &format!("x{middle}z"));
    }

    /// `#` and `%` take away what they match and nothing else.
    #[test]
    fn prefixes_and_suffixes(value in "[ab.]{0,8}", pattern in "[ab.*?]{0,5}") {
        let args = super::Asked::args(&[("V", &value)]);
        let text = format!(
            "FROM scratch\nARG V\nLABEL a=\"${{V#{pattern}}}\" b=\"${{V##{pattern}}}\" c=\"${{V%{pattern}}}\" d=\"${{V%%{pattern}}}\"\n"
        );
        let labels = args.image(&text).unwrap().stages[0].configuration.labels.clone();
        prop_assert!(value.ends_with(&labels["a"]) && labels["a"].ends_with(&labels["b"]));
        prop_assert!(value.starts_with(&labels["c"]) && labels["c"].starts_with(&labels["d"]));
        // What was taken away matches as a path of one part does.
        for (rest, from_start) in [("a", true), ("b", true), ("c", false), ("d", false)] {
            let rest = &labels[rest];
            let taken = if from_start {
                &value[..value.len() - rest.len()]
            } else {
                &value[rest.len()..]
            };
            if !taken.is_empty() {
                prop_assert!(matches(&pattern, taken, false), "{pattern} {taken}");
            }
        }
    }
}
