//! Dockerfiles as tables: what is written, and what it means by the reference.

mod arbitrary;
mod configuration;
mod copying;
mod corpus;
mod expansion;
mod mistakes;
mod running;
mod stages;

use std::collections::BTreeMap;

use ashlar_dockerfile::{
    Base, Configuration, Copy, Image, Instruction, Platform, Request, Run, Stage, Work, evaluate,
    parse,
};

/// What is asked for in a test.
#[derive(Default)]
struct Asked {
    target: Option<&'static str>,
    args: BTreeMap<String, String>,
    base: Configuration,
}

impl Asked {
    fn args(args: &[(&str, &str)]) -> Self {
        let args = args.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Self { args, ..Self::default() }
    }

    fn target(target: &'static str) -> Self {
        Self { target: Some(target), ..Self::default() }
    }

    /// The image, or the mistakes as a person reads them.
    fn image(&self, text: &str) -> Result<Image, String> {
        let file = parse("Dockerfile", text).map_err(|problems| problems.render_plain())?;
        let request = Request {
            target: self.target,
            args: &self.args,
            platform: Platform::linux("amd64"),
            build_platform: Platform::linux("arm64"),
        };
        let mut bases = |base: &Base| match base {
            Base::Image { reference, .. } if reference.starts_with("missing") => {
                Err("there is none".to_owned())
            }
            _ => Ok(self.base.clone()),
        };
        evaluate(&file, &request, &mut bases).map_err(|problems| problems.render_plain())
    }

    fn mistakes(&self, text: &str) -> String {
        match self.image(text) {
            Ok(_) => panic!("nothing is wrong in\n{text}"),
            Err(mistakes) => mistakes,
        }
    }
}

fn image(text: &str) -> Image {
    Asked::default().image(text).unwrap_or_else(|mistakes| panic!("{text}\n{mistakes}"))
}

/// The last stage.
fn stage(text: &str) -> Stage {
    image(text).stages.pop().unwrap()
}

fn instructions(text: &str) -> Vec<Instruction> {
    stage(text).instructions
}

/// The `RUN`s of the last stage.
fn runs(text: &str) -> Vec<Run> {
    let run = |i: Instruction| match i.work {
        Work::Run(run) => Some(run),
        _ => None,
    };
    instructions(text).into_iter().filter_map(run).collect()
}

fn run(text: &str) -> Run {
    runs(text).pop().unwrap()
}

/// The last `COPY` or `ADD` of the last stage.
fn copy(text: &str) -> Copy {
    let copy = |i: Instruction| match i.work {
        Work::Copy(copy) => Some(copy),
        _ => None,
    };
    instructions(text).into_iter().filter_map(copy).next_back().unwrap()
}

/// The rules that warnings are about, in order.
fn rules(text: &str) -> Vec<&'static str> {
    image(text).warnings.iter().map(|warning| warning.rule.name()).collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
