//! `examples/firmware`, as it is, shared between two stores through every kind of remote.
//! Building it takes minutes and the network, so that `scripts/share-firmware` runs this, and
//! nobody else.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use ashlar_testbed::{nginx, registry};
use serde_json::Value;

use crate::support::{ASHLAR, Ran};

/// The modules of `all`.
const ALL: usize = 20;
/// The modules of `minimal`.
const MINIMAL: usize = 6;

/// A project in a folder that stays, and what it is shared through.
struct Firmware {
    project: PathBuf,
    text: String,
}

impl Firmware {
    /// Runs the program over a store.
    fn run(&self, store: &Path, env: &[(&str, &str)], args: &[&str]) -> Ran {
        let mut command = Command::new(ASHLAR);
        command.arg("-C").arg(&self.project).args(args);
        command.env("ASHLAR_STORE", store).envs(env.iter().copied());
        Ran::of(&command.output().unwrap()).good()
    }

    /// The first store leaves everything there; empty ones find it.
    fn share(&self, first: &Path, what: &str, remote: &str, env: &[(&str, &str)]) {
        let text = format!("{}\n[[remote]]\nname = \"team\"\nwrite = true\n{remote}", self.text);
        std::fs::write(self.project.join("ashlar.toml"), text).unwrap();
        let began = Instant::now();
        let pushed = self.run(first, env, &["push", "--json", "all"]);
        let team = of_team(&pushed);
        assert_eq!((&team["failed"], &team["unsent"]), (&0.into(), &0.into()), "{what}: {team}");
        let took = began.elapsed().as_secs_f32();
        let begin = format!("{what}: pushed {} results in {took:.1} s", team["pushed"]);

        let folder = first.parent().unwrap();
        for (target, modules) in [("minimal", MINIMAL), ("all", ALL)] {
            let empty = tempfile::Builder::new().prefix("second-").tempdir_in(folder).unwrap();
            let began = Instant::now();
            let args = ["build", "--json", target, "--require-remote", "--remote", "team=read"];
            let ran = self.run(empty.path(), env, &args);
            let summary = ran.summary();
            assert_eq!(summary["hit"], modules, "{what}, {target}: {summary}");
            assert_eq!(summary["built"], 0, "{what}, {target}: {summary}");
            let events = ran.events();
            let steps: Vec<&Value> = events.iter().filter(|e| e["event"] == "step").collect();
            assert_eq!(steps.len(), modules, "{what}: nothing beneath the targets is looked at");
            for step in steps {
                assert_eq!((&step["outcome"], &step["from"]), (&"hit".into(), &"team".into()));
            }
            // From the targets down: nothing that only led to them is brought.
            let team = of_team(&ran);
            assert_eq!(team["pulled"], modules, "{what}, {target}: {team}");
            self.run(empty.path(), env, &["store", "verify"]);
            let (bytes, took) = (&team["pulled_bytes"], began.elapsed().as_secs_f32());
            eprintln!("{begin}; {target}: {modules} hits, {bytes} bytes in {took:.1} s");
        }
    }
}

fn of_team(ran: &Ran) -> Value {
    let all = ran.events();
    let team = all.into_iter().find(|e| e["event"] == "remote" && e["remote"] == "team");
    team.unwrap_or_else(|| panic!("nothing of the remote in:\n{}", ran.out))
}

#[test]
#[ignore = "builds twenty modules: scripts/share-firmware runs it"]
fn two_stores_share_the_firmware_through_each_kind_of_remote() {
    let folder = std::env::var_os("ASHLAR_SHARE").expect("scripts/share-firmware says where");
    let folder = PathBuf::from(folder);
    let project = folder.join("firmware");
    let text = std::fs::read_to_string(project.join("ashlar.toml")).unwrap();
    let firmware = Firmware { project, text };
    let first = folder.join("store");
    let built = firmware.run(&first, &[], &["build", "--json", "all"]).summary();
    eprintln!("first store: {} built, {} hits", built["built"], built["hit"]);

    let cache = tempfile::tempdir_in(&folder).unwrap();
    let url = format!("url = \"dir:{}\"\n", cache.path().display());
    firmware.share(&first, "a directory", &url, &[]);
    drop(cache);

    let server = ashlar_testbed::docker_registry(&registry::Options::default());
    let url = format!("url = \"oci://{}/firmware/results\"\n", server.host());
    firmware.share(&first, "a registry", &url, &[]);
    drop(server);

    let server = ashlar_testbed::nginx_dav(&nginx::Options::default());
    let url = format!("url = \"{}/results\"\n", server.url());
    firmware.share(&first, "a web server", &url, &[]);
    drop(server);

    let server = ashlar_testbed::garage();
    let (endpoint, region) = (server.endpoint(), server.region());
    let bucket = server.bucket();
    let url = format!("url = \"s3://{bucket}/x\"\nendpoint = {endpoint:?}\nregion = {region:?}\n");
    let key = server.writer();
    let login = [("AWS_ACCESS_KEY_ID", key.id), ("AWS_SECRET_ACCESS_KEY", key.secret)];
    firmware.share(&first, "a bucket", &url, &login);
    drop(server);

    let server = ashlar_testbed::casd();
    let url = format!("url = \"reapi://{}\"\n", server.host());
    firmware.share(&first, "a farm", &url, &[]);

    std::fs::write(firmware.project.join("ashlar.toml"), &firmware.text).unwrap();
}
