//! The layout of bazel-remote and ccache, beside a real ccache.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use ashlar_object::Digest;
use ashlar_store::{MemoryStore, RemoteError, Watch};
use ashlar_testbed::nginx::{Auth, Options, TOKEN};
use ashlar_testbed::proxy::{Answer, Fault, Rule, Way};
use ashlar_testbed::{Nginx, Proxy, nginx_dav, program};

use super::given::{bazel, definition, found, key, noise, result};
use super::shared::round_trip;
use crate::{Definition, Layout, Secret, open};

/// Compiles through ccache, and says how often it found the object at the server.
fn compile(server: &Nginx, folder: &Path) -> u64 {
    let source = folder.join("answer.c");
    std::fs::write(&source, "int answer(void) { return 42; }\n").unwrap();
    let ccache = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(program("ccache"));
        command
            .env("CCACHE_DIR", folder.join(name))
            .env("CCACHE_REMOTE_STORAGE", format!("http://{}|layout=bazel", server.address()))
            .current_dir(folder)
            .args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for name in ["first", "second"] {
        ccache(name, &["cc", "-c", "answer.c", "-o", "answer.o"]);
    }
    let stats = ccache("second", &["--print-stats"]);
    let line = stats.lines().find(|line| line.starts_with("remote_storage_hit")).unwrap();
    line.split_whitespace().last().unwrap().parse().unwrap()
}

#[test]
fn ccache_shares_the_server() {
    let server = nginx_dav(&Options::default());
    let folder = tempfile::tempdir().unwrap();
    assert!(compile(&server, folder.path()) > 0);
    let far = bazel(&format!("http://{}", server.address()));
    round_trip(&*far);
    // Both found each other's folder, and neither what is not its own.
    assert!(compile(&server, folder.path()) > 0);
}

#[test]
fn a_token_lets_in() {
    let server = nginx_dav(&Options { auth: Auth::Bearer, ..Options::default() });
    let url = format!("http://{}", server.address());
    let bazel = Definition { layout: Layout::Bazel, ..definition(&url) };
    let with = Definition { token: Some(Secret(TOKEN.to_owned())), ..bazel.clone() };
    round_trip(&*open(&with).unwrap());
    let without = open(&bazel).unwrap();
    assert!(matches!(without.steps(&[key("any")]), Err(RemoteError::Refused { .. })));
    assert!(matches!(without.test(), Err(RemoteError::Refused { .. })));
}

#[test]
fn what_is_only_read_says_so() {
    let server = nginx_dav(&Options { read_only: true, ..Options::default() });
    let far = bazel(&format!("http://{}", server.address()));
    let abilities = far.test().unwrap();
    assert!(abilities.read && abilities.write.is_err(), "{abilities:?}");
    let store = MemoryStore::new();
    let publications = [result(&store, "a", &[b"a"]), result(&store, "b", &[b"b"])];
    let pushed = far.push(&store, &publications, &Watch::NOBODY);
    assert!(pushed.iter().all(|p| matches!(p, Err(RemoteError::Refused { .. }))), "{pushed:?}");
}

#[test]
fn wrong_bytes_are_misses_and_busy_servers_are_asked_again() {
    let server = nginx_dav(&Options::default());
    let proxy = Proxy::http(server.address());
    let far = bazel(&format!("http://{}", proxy.host()));
    let from = MemoryStore::new();
    let big = noise(3 << 20, 8);
    let publications = [result(&from, "busy", &[b"busy"]), result(&from, "big", &[&big])];
    proxy.add(Rule::on("PUT", "/", Fault::Answer(Answer::status(503))).times(2));
    assert!(far.push(&from, &publications, &Watch::NOBODY).iter().all(Result::is_ok));

    let wanted: Vec<_> = publications.iter().map(found).collect();
    let path = format!("/cas/{}", Digest::of(&big).hex());
    proxy.add(Rule::on("GET", &path, Fault::Cut { way: Way::Down, after: 1 << 20 }).times(1));
    proxy.add(Rule::on("GET", "/cas/", Fault::Answer(Answer::status(500))).times(1));
    let pulled = far.pull(&MemoryStore::new(), &wanted, &Watch::NOBODY).unwrap();
    assert!(pulled.iter().all(Option::is_some));

    proxy.add(Rule::on("GET", &path, Fault::Flip { way: Way::Down, at: 1 << 20 }));
    let warnings = Mutex::new(Vec::new());
    let warn = |text: String| warnings.lock().unwrap().push(text);
    let watch = Watch { warn: &warn, ..Watch::NOBODY };
    let pulled = far.pull(&MemoryStore::new(), &wanted, &watch).unwrap();
    assert!(pulled[0].is_some() && pulled[1].is_none(), "{pulled:?}");
    assert_eq!(warnings.into_inner().unwrap().len(), 1);
}
