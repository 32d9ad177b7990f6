//! Whole projects, and how fast many modules load.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::time::Instant;

use super::*;

/// Files in memory.
#[derive(Default)]
pub(crate) struct Files(pub BTreeMap<String, Vec<u8>>);

impl Loader for Files {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn modules(&self) -> io::Result<Vec<String>> {
        Ok(self.0.keys().filter(|path| path.starts_with("modules/")).cloned().collect())
    }
}

/// A project with `count` modules, each with up to three dependencies.
fn generated(count: usize) -> Files {
    let project = "[project]\nname = \"many\"\n[base.debian]\nsuite = \"bookworm\"\n[options.debug]\ntype = \"bool\"\n";
    let mut files = Files::default();
    files.0.insert("ashlar.toml".into(), project.into());
    for n in 0..count {
        let mut text =
            format!("description = \"Module number {n}\"\nbase = \"debian\"\ndepends = [");
        for step in [1, 7, 100] {
            if n % (step + 1) != 0 && n >= step {
                write!(text, "\"group{}/module-{}\", ", (n - step) % 100, n - step).unwrap();
            }
        }
        write!(
            text,
            "]\ntools = [\"flex\", \"bison\"]\nuses = [\"debug\"]\nenv = {{ CFLAGS = \"-O2\" }}\n[source]\npath = \"src/module-{n}\"\n\
             [build]\nkind = \"autotools\"\nconfigure = [\"--disable-nls\"]\ntimeout = \"30m\"\n[outputs]\nexpect = [\"usr/lib/lib{n}.so*\"]\n"
        )
        .unwrap();
        files.0.insert(format!("modules/group{}/module-{n}.toml", n % 100), text.into());
    }
    files
}

#[test]
fn many_modules_load_alike_on_all_threads() {
    let files = generated(3 * FEW);
    let project = load(&files, &[]).unwrap();
    assert_eq!(project.modules.len(), 3 * FEW);
    assert_eq!(project.default.len(), 3 * FEW);
    let module = &project.modules["group3/module-103"];
    let depends: Vec<&str> = module.depends.iter().map(crate::ModuleName::as_str).collect();
    assert_eq!(depends, ["group2/module-102", "group96/module-96", "group3/module-3"]);
    assert!(std::ptr::eq(
        module.depends[0].as_str(),
        project.modules["group2/module-102"].name.as_str()
    ));
}

/// Nanoseconds that this thread has been on a processor: a busy machine does not change them.
fn on_processor() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = on_processor();
    let done = work();
    println!("{what:10} {:7.1} ms", (on_processor() - start) as f64 / 1e6);
    done
}

/// `cargo test --release -p ashlar-recipe -- --ignored --nocapture`
#[test]
#[ignore = "prints figures, which mean something in release mode only"]
fn speed() {
    let files = generated(30_000);
    let project = || parse_project(&files.0["ashlar.toml"]).unwrap();
    for _ in 0..3 {
        let modules: Vec<written::Module> = timed("parse", || {
            let paths = files.0.iter().filter(|(path, _)| path.starts_with("modules/"));
            paths.map(|(path, bytes)| parse_module(path, bytes).unwrap()).collect()
        });
        let kept = timed("encode", || postcard::to_stdvec(&modules).unwrap());
        let again: Vec<written::Module> = timed("decode", || postcard::from_bytes(&kept).unwrap());
        assert_eq!(again, modules);
        let resolved = timed("resolve", || resolve(project(), again, &[]).unwrap());
        assert_eq!(resolved.modules.len(), 30_000);
        timed("drop", || drop(resolved));
        let start = Instant::now();
        load(&files, &[]).unwrap();
        println!("load, on all processors, on the clock {:.1?}", start.elapsed());
    }
}
