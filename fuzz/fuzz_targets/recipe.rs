//! Whatever the bytes of a project's files are, the answer is a project or problems that can be
//! shown on a terminal. A NUL divides the bytes: project file, lock file, modules.

#![no_main]

use std::io;

use ashlar_recipe::{Loader, Lock, load};
use libfuzzer_sys::fuzz_target;

/// A project file and modules in memory.
struct Files<'a> {
    project: &'a [u8],
    modules: Vec<(String, &'a [u8])>,
}

impl Loader for Files<'_> {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        if path == "ashlar.toml" {
            return Ok(self.project.to_vec());
        }
        let found = self.modules.iter().find(|(name, _)| name == path);
        found.map(|(_, bytes)| bytes.to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn modules(&self) -> io::Result<Vec<String>> {
        Ok(self.modules.iter().map(|(name, _)| name.clone()).collect())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.split(|byte| *byte == 0);
    let project = parts.next().unwrap_or_default();
    let lock = parts.next().unwrap_or_default();
    let modules = parts.take(26).zip('a'..='z');
    let files = Files {
        project,
        modules: modules.map(|(b, n)| (format!("modules/{n}.toml"), b)).collect(),
    };
    if let Err(problems) = load(&files, &[("debug".to_owned(), "true".to_owned())]) {
        assert!(!problems.list.is_empty());
        let shown = problems.render_plain();
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
    }
    if let Ok(lock) = std::str::from_utf8(lock)
        && let Ok(read) = Lock::parse(lock)
    {
        let again = Lock::parse(&read.to_text()).expect("what we write can be read");
        assert_eq!(again, read);
    }
});
