//! Modules that are images: one build, one key for all.

use super::Context;
use crate::support::{Project, Ran};

/// A library, an image that everything stands on, and one over it that has the library.
fn project() -> Context {
    let context = Context(Project::sample());
    let project = &context.0;
    project.file(
        "images/system/Dockerfile",
        "FROM base:busybox\nRUN [\"/bin/mkdir\", \"-p\", \"/tmp\"]\nENV PLACE=/srv\n\
         WORKDIR /srv\n",
    );
    project.module("system", "[build]\nkind = \"image\"\ncontext = \"images/system\"\n");
    project.file(
        "images/tools/Dockerfile",
        "FROM module:system AS first\nARG GREETING\nCOPY notes /notes\n\
         RUN echo $GREETING $PLACE > /greeting\n\
         FROM first AS second\nCOPY --from=module:lib /usr/lib/lib.txt lib.txt\n\
         RUN sort lib.txt > sorted\nCMD [\"cat\", \"sorted\"]\n",
    );
    project.file("images/tools/notes", "notes\n");
    project.module(
        "tools",
        "depends = [\"system\", \"lib\"]\n[build]\nkind = \"image\"\ncontext = \"images/tools\"\n\
         args = { GREETING = \"hello\" }\n",
    );
    context
}

/// The outcome of a step of a module, by a part of its name.
#[track_caller]
fn step(ran: &Ran, module: &str, part: &str) -> String {
    let events = ran.events();
    let of = |event: &&serde_json::Value| {
        event["event"] == "step"
            && event["module"] == module
            && event["step"].as_str().unwrap().contains(part)
    };
    let found = events.iter().find(of);
    found.unwrap_or_else(|| panic!("{module} {part} is not in\n{}", ran.out))["outcome"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// A file of the image of a module.
fn file(context: &Context, module: &str, path: &str) -> String {
    let folder = tempfile::tempdir_in(context.0.root.parent().unwrap()).unwrap();
    let output = format!("rootfs:{}", folder.path().join("files").display());
    context.0.run(&["image", "build", "--module", module, "--output", &output]).good();
    std::fs::read_to_string(folder.path().join("files").join(path)).unwrap()
}

#[test]
fn a_build_makes_images_with_everything_else() {
    let context = project();
    // Of the system its layers are needed, and not the word that it is an image.
    assert_eq!(context.0.outcomes(&["tools"]), "lib:built tools:built");
    let ran = context.0.run(&["build", "--json", "system", "tools"]).good();
    assert_eq!(ran.summary()["modules"], 2, "instructions are no modules");
    assert_eq!(ran.summary()["built"], 1);
    assert_eq!(context.0.outcomes(&["tools"]), "tools:hit");
    assert_eq!(file(&context, "tools", "greeting"), "hello /srv\n");
    assert_eq!(file(&context, "tools", "srv/sorted"), "library\n");
    let ran = context.0.run(&["image", "build", "--json", "--module", "tools"]).good();
    assert_eq!(ran.summary()["built"], 0, "the build has made its layers");
}

#[test]
fn an_edit_does_again_what_reads_it() {
    let context = project();
    context.0.outcomes(&["tools"]);
    context.0.edit("src/lib/lib.txt", "library", "another library");
    let ran = context.0.run(&["build", "--json", "tools"]).good();
    assert_eq!(step(&ran, "lib", "build"), "built");
    assert_eq!(step(&ran, "tools", "COPY --from=module:lib"), "built");
    assert_eq!(step(&ran, "tools", "RUN sort"), "built");
    assert_eq!(step(&ran, "tools", "RUN echo"), "hit");
    assert_eq!(file(&context, "tools", "srv/sorted"), "another library\n");
    // What only changes the configuration makes no layer.
    context.0.edit("images/tools/Dockerfile", "CMD [\"cat\", \"sorted\"]", "CMD [\"cat\"]");
    let ran = context.0.run(&["build", "--json", "tools"]).good();
    assert_eq!(step(&ran, "tools", "build"), "built");
    assert_eq!(step(&ran, "tools", "RUN sort"), "hit");
    // A file below all that comes out as it was.
    context.0.edit("images/system/Dockerfile", "/tmp\"]", "/tmp\", \"/tmp/\"]");
    let ran = context.0.run(&["build", "--json", "tools"]).good();
    assert_eq!(step(&ran, "tools", "RUN echo"), "cutoff");
    assert_eq!(step(&ran, "tools", "RUN sort"), "cutoff");
}

#[test]
fn commands_that_ask_know_images() {
    let context = project();
    let run = |args: &[&str]| context.0.run(args).good().out;
    assert!(run(&["plan", "tools"]).contains("build  tools"), "{}", run(&["plan", "tools"]));
    assert!(run(&["list"]).contains("tools"));
    assert!(run(&["graph", "tools"]).contains("\"tools\" -> \"system\""));
    context.0.outcomes(&["tools"]);
    assert!(run(&["show", "--files", "tools"]).contains("image.json"));
    context.0.edit("images/tools/notes", "notes", "other notes");
    let why = run(&["why", "tools"]);
    assert!(why.contains("notes"), "{why}");
    let why = run(&["image", "why", "--module", "tools"]);
    assert!(why.contains("notes"), "{why}");
    let plan = run(&["image", "plan", "--module", "tools"]);
    assert!(plan.contains("first: FROM module:system"), "{plan}");
    let shell = ["image", "shell", "--module", "tools", "--at", "4", "--", "cat", "/greeting"];
    assert_eq!(run(&shell), "hello /srv\n");
}

#[test]
fn an_image_over_another_has_its_configuration_and_history() {
    let context = project();
    let layout = context.beside("layout");
    let output = format!("oci:{}:1", layout.display());
    context.0.run(&["image", "build", "--module", "tools", "--output", &output]).good();
    let said = std::process::Command::new("skopeo")
        .args(["inspect", "--config", &output])
        .output()
        .expect("skopeo is installed");
    let config: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(config["config"]["WorkingDir"], "/srv");
    let filled = config["history"].as_array().unwrap().iter();
    let filled = filled.filter(|entry| entry["empty_layer"] != true).count();
    assert_eq!(filled, config["rootfs"]["diff_ids"].as_array().unwrap().len());
    // A Dockerfile that is no module begins with it too.
    context.0.file("images/own/Dockerfile", "FROM module:tools\nRUN cat sorted > own\n");
    let folder = context.beside("own");
    let output = format!("rootfs:{}", folder.display());
    context.0.run(&["image", "build", "--output", &output, "images/own"]).good();
    assert_eq!(std::fs::read_to_string(folder.join("srv/own")).unwrap(), "library\n");
}

#[test]
fn another_machine_finds_the_image_and_brings_its_layers_when_they_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let remote = format!("team=dir:{}", folder.path().display());
    let one = project();
    one.0.run(&["build", "tools", "--remote", &remote, "--require-push"]).good();
    let two = one.elsewhere();
    std::fs::copy(one.0.root.join("ashlar.toml"), two.0.root.join("ashlar.toml")).unwrap();
    assert_eq!(two.0.outcomes(&["tools", "--remote", &remote]), "tools:hit");
    let args = ["image", "build", "--json", "--module", "tools", "--remote", &remote];
    let ran = two.0.run(&args).good();
    assert_eq!(ran.summary()["built"], 0);
    assert_eq!(file(&two, "tools", "greeting"), "hello /srv\n");
}

#[test]
fn mistakes_say_where_and_what_to_do() {
    let context = project();
    let refused = |args: &[&str], words: &[&str]| {
        let ran = context.0.run(args).exits(2);
        for word in words {
            assert!(ran.err.contains(word), "{word} is not in\n{}", ran.err);
        }
    };
    refused(&["image", "build", "--module", "tool"], &["no module `tool`", "`tools`"]);
    refused(&["image", "build", "--module", "lib"], &["`lib` is no image", "`script`"]);
    refused(&["checkout", "tools", "dest"], &["tools is an image", "--output rootfs:DIR"]);
    refused(&["shell", "tools"], &["tools is an image", "ashlar image shell --module tools"]);
    context.0.edit("modules/tools.toml", "\"system\", ", "");
    refused(
        &["build", "tools"],
        &["images/tools/Dockerfile:1", "modules/tools.toml", "add \"system\" to its `depends`"],
    );
    context.0.edit("modules/tools.toml", "depends = [", "depends = [\"system\", ");
    context.0.edit("modules/tools.toml", "images/tools", "images/tolls");
    refused(&["build", "tools"], &["modules/tools.toml", "images/tolls"]);
    context.0.edit("modules/tools.toml", "images/tolls", "images/tools");
    context.0.edit("modules/system.toml", "[build]", "depends = [\"tools\"]\n[build]");
    refused(&["build", "tools"], &["in a cycle: system -> tools -> system"]);
}
