//! Builds through a proxy that misbehaves, in front of real servers that want to know who asks.
//! Whatever happens: the outputs are right, the remote is named, nobody waits for long, and no
//! credential is seen anywhere.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ashlar_testbed::proxy::{Answer, Fault, Rule, Way};
use ashlar_testbed::{Proxy, WRITER, nginx, registry};

use super::{from, project, tally};
use crate::support::{Project, Ran};

/// How long nothing may move.
const STALL: &str = "timeout = \"1s\"\n";
/// No run takes longer, whatever the remote does.
const BOUND: Duration = Duration::from_secs(12);
/// How many cases run at once.
const AT_ONCE: usize = 4;

/// What a proxy stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Registry,
    Web,
    Farm,
}

/// What a run under a fault is to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// It is overcome: as if nothing had been.
    Overcome,
    /// It is done without, and this is said.
    Without(&'static str),
}
use Expect::{Overcome, Without};

/// Servers with a result in them, and what everybody is to get.
struct Bed {
    registry: ashlar_testbed::Registry,
    web: ashlar_testbed::Nginx,
    farm: ashlar_testbed::Casd,
    app: String,
    big: Vec<u8>,
}

/// A project as each case has it: one of its own, the same in all that counts.
struct Case {
    project: Project,
    proxy: Proxy,
    _logins: tempfile::TempDir,
    secrets: Vec<String>,
}

fn big() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..300_000).map(|_| step()).collect()
}

/// A project whose remote is behind a proxy.
fn case(bed: &Bed, kind: Kind, repository: &str) -> Case {
    let logins = tempfile::tempdir().unwrap();
    let (server, more) = match kind {
        Kind::Registry => (bed.registry.address(), ""),
        Kind::Web => (bed.web.address(), "token_env = \"TEAM_TOKEN\"\n"),
        Kind::Farm => (bed.farm.address(), ""),
    };
    let (proxy, url) = match kind {
        Kind::Registry => {
            let proxy = Proxy::http(server);
            let url = format!("oci://{}/firmware/{repository}", proxy.host());
            (proxy, url)
        }
        Kind::Web => {
            let proxy = Proxy::http(server);
            let url = format!("{}/{repository}", proxy.url());
            (proxy, url)
        }
        Kind::Farm => {
            let proxy = Proxy::tcp(server);
            let url = format!("reapi://{}/{repository}", proxy.host());
            (proxy, url)
        }
    };
    let mut project = project(&url, &format!("{STALL}{more}"));
    project.file("src/app/big.bin", big());
    project.edit(
        "modules/app.toml",
        "cat app.txt",
        "cat big.bin app.txt > $DESTDIR/big.bin; cat app.txt",
    );
    let code = WRITER.basic();
    let auth = logins.path().join("auth.json");
    let text = format!("{{\"auths\": {{\"{}\": {{\"auth\": \"{code}\"}}}}}}", proxy.host());
    std::fs::write(&auth, text).unwrap();
    let secrets = vec![WRITER.password.to_owned(), code, nginx::TOKEN.to_owned()];
    project.env.push(("REGISTRY_AUTH_FILE".to_owned(), auth.to_str().unwrap().to_owned()));
    project.env.push(("TEAM_TOKEN".to_owned(), nginx::TOKEN.to_owned()));
    Case { project, proxy, _logins: logins, secrets }
}

impl Case {
    fn store(&self, store: &str) -> PathBuf {
        self.project.root.parent().unwrap().join(store)
    }

    /// Runs the program, which has to end in time and to keep secrets.
    fn run(&self, store: &str, args: &[&str]) -> Ran {
        let began = Instant::now();
        let mut command = self.project.command(args);
        let ran = Ran::of(&command.env("ASHLAR_STORE", self.store(store)).output().unwrap());
        let took = began.elapsed();
        assert!(took < BOUND, "{args:?} took {took:?}\n{}{}", ran.out, ran.err);
        for secret in &self.secrets {
            let seen = ran.out.contains(secret) || ran.err.contains(secret);
            assert!(!seen, "{secret} is shown:\n{}{}", ran.out, ran.err);
        }
        ran
    }

    /// What was built is what it should be, whoever built it.
    fn assert_right(&self, bed: &Bed, store: &str, about: &str) {
        let dest = self.store("out");
        self.run(store, &["checkout", "--force", "app", dest.to_str().unwrap()]).good();
        let app = std::fs::read_to_string(dest.join("bin/app")).unwrap();
        assert_eq!(app, bed.app, "{about}");
        assert!(std::fs::read(dest.join("big.bin")).unwrap() == bed.big, "{about}");
    }

    /// Nothing on the disk has a secret in it: stores, logs, the project.
    fn assert_discreet(&self) {
        for secret in &self.secrets {
            let mut grep = std::process::Command::new("grep");
            let found = grep.args(["-rqF", secret]).arg(self.project.root.parent().unwrap());
            assert_eq!(found.status().unwrap().code(), Some(1), "{secret} is on the disk");
        }
    }
}

fn bed() -> Bed {
    let mut bed = Bed {
        registry: ashlar_testbed::docker_registry(&registry::Options {
            auth: registry::Auth::Basic,
            ..registry::Options::default()
        }),
        web: ashlar_testbed::nginx_dav(&nginx::Options {
            auth: nginx::Auth::Bearer,
            ..nginx::Options::default()
        }),
        farm: ashlar_testbed::casd(),
        app: String::new(),
        // Not what the source has, which everybody has.
        big: [&big()[..], b"application\n"].concat(),
    };
    for kind in [Kind::Registry, Kind::Web, Kind::Farm] {
        let case = case(&bed, kind, repository(kind));
        let ran = case.run("first", &["build", "--json", "--require-push"]).good();
        assert_eq!(tally(&ran, "team")["pushed"], 5, "{kind:?}");
        bed.app = case.project.read("src/app/app.txt") + &"library\n".repeat(3);
        case.assert_right(&bed, "first", "without faults");
        case.assert_discreet();
    }
    bed
}

/// The one that is filled. A farm has only one instance.
fn repository(kind: Kind) -> &'static str {
    if kind == Kind::Farm { "" } else { "results" }
}

/// Does something for each of many cases, a few at once.
fn each<T: Sync>(cases: &[T], run: impl Fn(usize, &T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(number) else { return };
                    run(number, case);
                }
            });
        }
    });
}

fn cut(after: u64) -> Fault {
    Fault::Cut { way: Way::Down, after }
}

fn stall(after: u64) -> Fault {
    Fault::Stall { way: Way::Down, after }
}

fn flip(at: u64) -> Fault {
    Fault::Flip { way: Way::Down, at }
}

fn answer(status: u16) -> Fault {
    Fault::Answer(Answer::status(status))
}

/// Nobody is let in, and who tried is told what was tried.
fn telling() -> Fault {
    Fault::Ask(Arc::new(|request| {
        let sent = request.header("authorization").unwrap_or("nothing").to_owned();
        let body = format!("{{\"errors\": [{{\"code\": \"DENIED\", \"message\": \"{sent}\"}}]}}");
        let answer = Answer::status(401).header("WWW-Authenticate", "Basic realm=\"x\"");
        Some(answer.body(body))
    }))
}

fn after_a_second(status: u16) -> Fault {
    Fault::Answer(Answer::status(status).header("Retry-After", "1"))
}

/// A blob, at a registry and on a web server.
const BLOBS: &str = "*/blobs/";
/// A pointer to a result.
const MANIFESTS: &str = "/v2/*/manifests/";

#[test]
fn builds_that_read() {
    use Kind::{Farm, Registry, Web};
    let bed = bed();
    let blobs = |fault| Rule::on("GET", BLOBS, fault);
    let short = || Fault::Answer(Answer::status(200).body("short"));
    let unused = Without("cannot be used");
    let gone = Without("remote team is not used any more in this run");
    let unread = Without("remote team is not read any more in this run");
    let cases: Vec<(Kind, Vec<Rule>, Expect)> = vec![
        (Registry, vec![blobs(cut(9_000)).times(3)], Overcome),
        (Registry, vec![blobs(stall(9_000)).times(1)], Overcome),
        (Registry, vec![Rule::on("GET", "/v2/", answer(500)).times(2)], Overcome),
        (Registry, vec![Rule::on("*", "/v2/", after_a_second(429)).skip(3).times(1)], Overcome),
        (Registry, vec![blobs(flip(4_000))], unused),
        (Registry, vec![blobs(short())], unused),
        (Registry, vec![Rule::on("GET", MANIFESTS, flip(300))], Without("/manifests/")),
        (Registry, vec![Rule::on("GET", MANIFESTS, cut(100))], gone),
        (Registry, vec![blobs(stall(0))], gone),
        (Registry, vec![blobs(cut(0))], gone),
        (Registry, vec![Rule::on("*", "/v2/", answer(500))], gone),
        (Registry, vec![Rule::on("*", "/v2/", telling())], unread),
        (Web, vec![blobs(cut(9_000)).times(3)], Overcome),
        (Web, vec![Rule::on("GET", "/", answer(503)).times(2)], Overcome),
        (Web, vec![blobs(flip(4_000))], unused),
        (Web, vec![blobs(stall(0))], gone),
        (Web, vec![Rule::on("*", "/", telling())], unread),
        (Farm, vec![Rule::connections(cut(60_000)).times(1)], Overcome),
        (Farm, vec![Rule::connections(stall(60_000))], gone),
        (Farm, vec![Rule::connections(stall(0))], gone),
        (Farm, vec![Rule::connections(cut(0))], gone),
    ];
    each(&cases, |number, (kind, rules, expect)| {
        let about = format!("case {number}: {kind:?} {rules:?}");
        let case = case(&bed, *kind, repository(*kind));
        rules.iter().for_each(|rule| case.proxy.add(rule.clone()));
        let args = ["build", "app", "--remote", "team=read"];
        let ran = case.run("reader", &args);
        assert_eq!(ran.code, 0, "{about}\n{}", ran.err);
        case.assert_right(&bed, "reader", &about);
        let built = ran.err.contains("built app");
        match expect {
            Overcome => {
                assert!(!ran.err.contains("warning") && !built, "{about}\n{}", ran.err);
            }
            Without(said) => {
                assert!(ran.err.contains(said) && built, "{about}\n{}", ran.err);
                let named = ran.err.contains("team") || ran.err.contains(&case.proxy.host());
                assert!(named, "{about}\n{}", ran.err);
                // One wait, and once said.
                let times = usize::from([gone, unread].contains(expect));
                let said = ran.err.matches("any more in this run").count();
                assert_eq!(said, times, "{about}\n{}", ran.err);
            }
        }
        case.assert_discreet();
    });
}

#[test]
fn builds_that_must_read() {
    use Kind::{Farm, Registry};
    let bed = bed();
    let cases: Vec<(Kind, Option<Rule>)> = vec![
        (Registry, None),
        (Farm, None),
        (Registry, Some(Rule::on("GET", BLOBS, flip(4_000)))),
        (Registry, Some(Rule::on("*", "/v2/", telling()))),
        (Registry, Some(Rule::on("GET", BLOBS, stall(0)))),
    ];
    each(&cases, |number, (kind, rule)| {
        let about = format!("case {number}: {kind:?} {rule:?}");
        let case = case(&bed, *kind, repository(*kind));
        match rule {
            Some(rule) => case.proxy.add(rule.clone()),
            None => case.proxy.refuse(),
        }
        let mut args = vec!["build", "app", "--remote", "team=read"];
        if rule.is_none() {
            // A dead port: done without, when nobody insists.
            let ran = case.run("other", &args).good();
            assert!(ran.err.contains("remote team is not used any more"), "{about}\n{}", ran.err);
            case.assert_right(&bed, "other", &about);
        }
        args.push("--require-remote");
        let ran = case.run("reader", &args);
        assert_eq!(ran.code, 4, "{about}\n{}", ran.err);
        assert!(ran.err.contains("team") && !ran.err.contains("built app"), "{about}\n{}", ran.err);
        case.assert_discreet();
    });
}

#[test]
fn builds_that_write() {
    use Kind::{Registry, Web};
    let bed = bed();
    let up_cut = |after| Fault::Cut { way: Way::Up, after };
    let up_stall = |after| Fault::Stall { way: Way::Up, after };
    let up_flip = |at| Fault::Flip { way: Way::Up, at };
    let failed = Without("not pushed to team");
    let uploads = "*/blobs/";
    let cases: Vec<(Kind, Vec<Rule>, Expect)> = vec![
        (Registry, vec![Rule::on("*", uploads, up_cut(50_000)).times(2)], Overcome),
        (Registry, vec![Rule::on("*", uploads, up_stall(50_000)).times(1)], Overcome),
        (Registry, vec![Rule::on("PUT", MANIFESTS, answer(500)).times(2)], Overcome),
        (Registry, vec![Rule::on("PUT", MANIFESTS, cut(0)).times(2)], Overcome),
        (Registry, vec![Rule::on("POST", "/v2/", after_a_second(429)).times(1)], Overcome),
        (Registry, vec![Rule::on("*", uploads, up_flip(20_000))], failed),
        (Registry, vec![Rule::on("PUT", MANIFESTS, answer(500))], failed),
        (Registry, vec![Rule::on("POST", "/v2/", telling())], failed),
        (Web, vec![Rule::on("PUT", BLOBS, up_cut(50_000)).times(2)], Overcome),
        (Web, vec![Rule::on("PUT", "/", answer(500)).times(2)], Overcome),
        (Web, vec![Rule::on("PUT", BLOBS, answer(507))], failed),
    ];
    each(&cases, |number, (kind, rules, expect)| {
        let about = format!("case {number}: {kind:?} {rules:?}");
        let case = case(&bed, *kind, &format!("case-{number}"));
        rules.iter().for_each(|rule| case.proxy.add(rule.clone()));
        let ran = case.run("writer", &["build", "app"]);
        assert_eq!(ran.code, 0, "{about}\n{}", ran.err);
        assert!(ran.err.contains("built app"), "{about}\n{}", ran.err);
        case.assert_right(&bed, "writer", &about);
        match expect {
            Overcome => assert!(!ran.err.contains("not pushed"), "{about}\n{}", ran.err),
            Without(said) => {
                assert!(ran.err.contains(said), "{about}\n{}", ran.err);
                let ran = case.run("writer", &["build", "app", "--require-push"]);
                assert_eq!(ran.code, 4, "{about}\n{}", ran.err);
            }
        }
        case.assert_discreet();
        // Who comes later finds all of it or nothing, and what failed is made up for.
        case.proxy.clear();
        let ran = case.run("reader", &["build", "app", "--json", "--remote", "team=read"]).good();
        assert!(!ran.err.contains("warning"), "{about}\n{}", ran.err);
        case.assert_right(&bed, "reader", &about);
        if *expect == Overcome {
            assert_eq!(from(&ran), "app:team", "{about}");
        }
        case.run("writer", &["push", "app"]).good();
        let ran = case.run("last", &["build", "app", "--json", "--require-remote"]).good();
        assert_eq!(from(&ran), "app:team", "{about}");
    });
}
