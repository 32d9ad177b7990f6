//! Dockerfiles as people write them, in `tests/corpus`: each parses without a mistake, and each of
//! its stages can be evaluated.

use std::path::Path;

use ashlar_dockerfile::{Configuration, Platform, Request, evaluate, parse};

/// The files, by name.
pub(super) fn files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<(String, String)> = entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn every_stage_can_be_evaluated() {
    let files = files();
    assert!(files.len() >= 30, "{}", files.len());
    for (name, text) in files {
        let file = parse(&name, &text).unwrap_or_else(|problems| panic!("{problems}"));
        for stage in file.stages() {
            let target = stage.number.to_string();
            let request = Request {
                target: Some(&target),
                args: &std::collections::BTreeMap::new(),
                platform: Platform::linux("amd64"),
                build_platform: Platform::linux("amd64"),
            };
            let image = evaluate(&file, &request, &mut |_| Ok(Configuration::default()))
                .unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(image.stages[image.target].number, stage.number);
            // Every instruction of the file is in the history.
            for stage in &image.stages {
                let written = stage.history.iter().filter(|h| h.instruction.is_some()).count();
                assert_eq!(written, stage.instructions.len(), "{name}");
            }
        }
    }
}
