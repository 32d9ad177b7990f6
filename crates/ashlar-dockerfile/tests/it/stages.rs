//! Stages, bases, platforms, `ONBUILD`.

use ashlar_dockerfile::{Base, Configuration, From, Image, Platform, Work};

use super::{Asked, image, rules, words};

fn numbers(image: &Image) -> Vec<usize> {
    image.stages.iter().map(|stage| stage.number).collect()
}

const FIVE: &str = "\
FROM scratch AS a
RUN a
FROM scratch AS b
RUN b
FROM a AS c
COPY --from=1 x y
FROM scratch AS d
RUN --mount=from=a,target=/m d
FROM scratch
COPY --from=d x y
";

#[test]
fn only_stages_that_the_target_needs() {
    for (target, expected) in [
        (None, &[0, 3, 4][..]),
        (Some("a"), &[0]),
        (Some("b"), &[1]),
        (Some("C"), &[0, 1, 2]),
        (Some("d"), &[0, 3]),
        (Some("2"), &[0, 1, 2]),
        (Some("4"), &[0, 3, 4]),
    ] {
        let image = Asked { target, ..Asked::default() }.image(FIVE).unwrap();
        assert_eq!(numbers(&image), expected, "{target:?}");
        assert_eq!(image.target, image.stages.len() - 1);
    }
    let image = image(FIVE);
    // Indexes are those of the stages that are needed, not those of the file.
    let Work::Copy(copy) = &image.stages[2].instructions[0].work else { panic!() };
    assert_eq!(copy.from, From::Stage(1));
    let c = Asked::target("c").image(FIVE).unwrap();
    assert_eq!(c.stages[2].base, Base::Stage(0));
}

#[test]
fn bases() {
    let amd = Platform::linux("amd64");
    let reference = |reference: &str, platform: &Platform| Base::Image {
        reference: reference.into(),
        platform: platform.clone(),
    };
    for (text, expected) in [
        ("FROM scratch", Base::Scratch),
        ("from debian", reference("debian", &amd)),
        ("FROM debian:12 AS x", reference("debian:12", &amd)),
        ("FROM debian:12 as x", reference("debian:12", &amd)),
        ("FROM h.test:5000/a/b:c", reference("h.test:5000/a/b:c", &amd)),
        ("FROM golang AS golang", reference("golang", &amd)),
        ("FROM module:tools", Base::Module("tools".into())),
        ("FROM base:debian", Base::Debian("debian".into())),
        ("FROM oci:images/x:1", reference("oci:images/x:1", &amd)),
        ("ARG T=12\nFROM debian:$T", reference("debian:12", &amd)),
        ("ARG T\nFROM debian:${T:-11}", reference("debian:11", &amd)),
        ("FROM debian${T:+:$T}", reference("debian", &amd)),
        ("FROM --platform=linux/arm64 debian", reference("debian", &Platform::linux("arm64"))),
        ("FROM --platform=$BUILDPLATFORM debian", reference("debian", &Platform::linux("arm64"))),
        ("FROM --platform=linux/$TARGETARCH debian", reference("debian", &amd)),
    ] {
        assert_eq!(image(text).stages[0].base, expected, "{text}");
    }
    let given = Asked::args(&[("T", "13")]).image("ARG T=12\nFROM debian:$T\n").unwrap();
    assert_eq!(given.stages[0].base, reference("debian:13", &amd));
}

#[test]
fn each_base_is_asked_for_once() {
    let text = "FROM debian AS a\nFROM debian\nCOPY --from=a x y\nCOPY --from=tools:1 x y\nRUN --mount=from=tools:1,target=/t x\nFROM other:1 AS unneeded\n";
    let file = ashlar_dockerfile::parse("Dockerfile", text).unwrap();
    let mut asked = Vec::new();
    let request = ashlar_dockerfile::Request {
        target: Some("1"),
        args: &std::collections::BTreeMap::new(),
        platform: Platform::linux("amd64"),
        build_platform: Platform::linux("amd64"),
    };
    ashlar_dockerfile::evaluate(&file, &request, &mut |base| {
        asked.push(base.clone());
        Ok(Configuration::default())
    })
    .unwrap();
    let names: Vec<String> = asked.iter().map(|base| format!("{base:?}")).collect();
    assert_eq!(asked.len(), 2, "{names:?}");
}

#[test]
fn what_a_base_gives() {
    let base = Configuration {
        env: vec![("PATH".into(), "/bin".into()), ("A".into(), "base".into())],
        user: Some("me".into()),
        working_directory: Some("/home".into()),
        entrypoint: Some(words(&["/e"])),
        command: Some(words(&["c"])),
        shell: Some(words(&["/bin/bash", "-c"])),
        ..Configuration::default()
    };
    let asked = Asked { base: base.clone(), ..Asked::default() };
    let image = asked.image("FROM x\nARG A=arg\nRUN $A\nCOPY a .\nENTRYPOINT [\"n\"]\n").unwrap();
    let stage = &image.stages[0];
    let Work::Run(run) = &stage.instructions[0].work else { panic!() };
    assert_eq!(run.env, base.env, "ENV of the base overrides ARG");
    assert_eq!((run.directory.as_str(), run.user.as_deref()), ("/home", Some("me")));
    assert_eq!(run.arguments, ["/bin/bash", "-c", "$A"]);
    let Work::Copy(copy) = &stage.instructions[1].work else { panic!() };
    assert_eq!(copy.destination, "/home");
    assert_eq!(stage.base_configuration, base);
    assert_eq!(stage.configuration.command, None, "ENTRYPOINT resets the CMD of the base");
}

#[test]
fn triggers_of_a_base() {
    let base = Configuration {
        on_build: words(&["ARG V=1", "COPY --from=tools x$V y", "RUN <<EOF\nmake\nEOF"]),
        ..Configuration::default()
    };
    let asked = Asked { base, ..Asked::default() };
    let image = asked.image("FROM scratch AS tools\nFROM debian\nRUN after\n").unwrap();
    assert_eq!(numbers(&image), [0, 1], "a trigger may need a stage");
    let stage = &image.stages[1];
    let texts: Vec<&str> = stage.instructions.iter().map(|i| i.text.as_str()).collect();
    assert_eq!(texts, ["COPY --from=tools x1 y", "RUN <<EOF", "RUN after"]);
    assert_eq!(stage.instructions[0].place.span.range(), 27..33, "they stand at the FROM");
    assert_eq!((stage.instructions[1].line, stage.instructions[1].last_line), (2, 2));
    assert!(stage.configuration.on_build.is_empty());
}

#[test]
fn triggers_of_a_stage() {
    let text = "FROM scratch AS a\nONBUILD RUN one\nONBUILD COPY <<EOF /x\nhi\nEOF\nRUN two\nFROM a AS b\nFROM b\nRUN three\n";
    let image = image(text);
    let texts = |stage: usize| -> Vec<&str> {
        image.stages[stage].instructions.iter().map(|i| i.text.as_str()).collect()
    };
    assert_eq!(texts(0), ["RUN two"]);
    assert_eq!(texts(1), ["RUN one", "COPY <<EOF /x"], "in the stage made from it");
    assert_eq!(texts(2), ["RUN three"], "and not again in the next one");
    assert_eq!(image.stages[0].configuration.on_build, ["RUN one", "COPY <<EOF /x\nhi\nEOF"]);
}

#[test]
fn platforms_are_those_of_the_base() {
    let image =
        image("FROM --platform=$BUILDPLATFORM scratch AS a\nFROM a\nFROM a\nCOPY --from=1 x y\n");
    let platforms: Vec<String> = image.stages.iter().map(|s| s.platform.to_string()).collect();
    assert_eq!(platforms, ["linux/arm64"; 3]);
}

#[test]
fn warnings() {
    for (text, expected) in [
        ("FROM scratch\nRUN a\n", &[][..]),
        ("FROM scratch as a\n", &["FromAsCasing"]),
        ("from scratch as a\n", &[]),
        ("FROM scratch AS Abc\n", &["StageNameCasing"]),
        ("FROM scratch AS scratch\n", &["ReservedStageName"]),
        ("FROM scratch\nrun a\nRUN b\n", &["ConsistentInstructionCasing"]),
        ("FROM scratch\nMAINTAINER me\n", &["MaintainerDeprecated"]),
        ("FROM scratch\nENV a b\nLABEL a b\n", &["LegacyKeyValueFormat"; 2]),
        ("FROM scratch\nRUN a \\\n\n b\n", &["NoEmptyContinuation"]),
        ("FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]\n", &["MultipleInstructionsDisallowed"]),
        ("FROM scratch\nCMD a\n", &["JSONArgsRecommended"]),
        ("FROM scratch\nSHELL [\"s\"]\nCMD a\n", &[]),
        ("FROM scratch\nENV API_TOKEN=x\nARG DB_PASSWORD\n", &["SecretsUsedInArgOrEnv"; 2]),
        ("FROM scratch\nENV TOKEN_FILE=x PUBLIC_KEY=y MONKEY=z\n", &[]),
        ("FROM scratch\nCOPY $NOWHERE/x y\n", &["UndefinedVar"]),
        ("FROM scratch\nARG X\nCOPY x$X ${Y:-y}\n", &[]),
        ("FROM scratch\nWORKDIR a\nWORKDIR b\n", &["WorkdirRelativePath"]),
        ("FROM --platform=$TARGETPLATFORM scratch\n", &["RedundantTargetPlatform"]),
        ("FROM scratch\nEXPOSE 127.0.0.1:80:80\n", &["ExposeInvalidFormat"]),
        ("FROM scratch\nRUN [\"a\", 'b\"]\n", &["InvalidExecForm"]),
        ("# check=skip=UndefinedVar\nFROM scratch\nCOPY $NOWHERE/x y\n", &[]),
        ("# check=skip=all\nFROM scratch as a\nMAINTAINER me\n", &[]),
    ] {
        assert_eq!(rules(text), expected, "{text}");
    }
    let asked = Asked::args(&[("VERSON", "1"), ("no_proxy", "x"), ("SOURCE_DATE_EPOCH", "0")]);
    let image = asked.image("FROM scratch\nARG VERSION\n").unwrap();
    assert_eq!(image.warnings.len(), 1);
    let problem = &image.warnings[0].problem;
    assert_eq!(problem.message, "`Dockerfile` declares no argument `VERSON`");
    assert_eq!(problem.help.as_deref(), Some("did you mean `VERSION`?"));
    let error = Asked::default().mistakes("# check=error=true\nFROM scratch as a\n");
    assert!(error.contains("different cases"), "{error}");
    let later =
        Asked::default().mistakes("# check=error=true\nFROM scratch\nCOPY $NO x\nCMD [\"a\"]\n");
    assert!(later.contains("nothing sets"), "{later}");
}
