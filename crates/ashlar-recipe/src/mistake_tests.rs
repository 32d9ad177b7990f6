//! Every mistake with the very text that a user reads.

mod build;
mod cache;
mod graph;
mod image;
mod project;
mod remote;
mod shape;
mod source;

use crate::load::load;
use crate::load::tests::Files;

const PROJECT: &str = r#"[project]
name = "p"
[base.debian]
suite = "bookworm"
[options.debug]
type = "bool"
[options.level]
type = "enum"
values = ["low", "high"]
"#;
const GROUP: &str = "[build]\nkind = \"group\"\n";
const SCRIPT: &str = "[build]\nkind = \"script\"\nsteps = [\"true\"]\n";

fn files(project: &str, modules: &[(&str, &str)]) -> Files {
    let mut files = Files::default();
    files.0.insert("ashlar.toml".into(), project.into());
    for (file, text) in modules {
        files.0.insert((*file).into(), (*text).into());
    }
    files
}

fn refused(given: &str, modules: &[(&str, &str)], options: &[(&str, &str)], expected: &str) {
    let options: Vec<_> = options.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    let problems = load(&files(given, modules), &options).unwrap_err();
    assert_eq!(problems.render_plain(), expected);
}
