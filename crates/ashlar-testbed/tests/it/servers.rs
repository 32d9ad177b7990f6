//! Each server once.

use std::process::{Command, Stdio};

use ashlar_testbed::buildgrid::buildgrid_with;
use ashlar_testbed::{
    Proxy, READER, WRITER, buildgrid, casd, casd_with_instance, docker_registry, garage, nginx,
    nginx_dav, podman, podman_partial, program, registry, skopeo,
};

use crate::http::{ask, get};

/// Whether a process is there and no zombie.
fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

fn basic(login: ashlar_testbed::Login) -> String {
    format!("Authorization: Basic {}", login.basic())
}

#[test]
fn a_registry_answers_stops_starts_and_ends() {
    let mut registry = docker_registry(&registry::Options::default());
    assert_eq!(get(registry.address(), "/v2/").status, 200);
    let first = registry.server.pid().unwrap();
    registry.server.stop();
    assert!(!runs(first));
    assert!(ask(registry.address(), "GET", "/v2/", &[], b"").is_err());
    registry.server.start();
    assert_eq!(get(registry.address(), "/v2/").status, 200);
    let (second, folder) = (registry.server.pid().unwrap(), registry.server.folder().to_path_buf());
    drop(registry);
    assert!(!runs(second));
    assert!(!folder.exists());
}

#[test]
fn a_registry_asks_for_a_password() {
    let registry = docker_registry(&registry::Options {
        auth: registry::Auth::Basic,
        ..registry::Options::default()
    });
    assert_eq!(get(registry.address(), "/v2/").status, 401);
    for login in [WRITER, READER] {
        let answer = ask(registry.address(), "GET", "/v2/", &[&basic(login)], b"").unwrap();
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn a_registry_asks_for_tokens_and_tells_readers_from_writers() {
    let registry = docker_registry(&registry::Options {
        auth: registry::Auth::Token,
        ..registry::Options::default()
    });
    let refused = get(registry.address(), "/v2/");
    assert_eq!(refused.status, 401);
    let realm = refused.head.split("realm=\"").nth(1).unwrap().split('"').next().unwrap();
    let authority = realm.strip_prefix("http://").unwrap().strip_suffix("/token").unwrap();
    let authority = authority.parse().unwrap();
    let begin = |login: Option<ashlar_testbed::Login>| {
        let login = login.map(basic);
        let headers: Vec<&str> = login.iter().map(String::as_str).collect();
        let path = "/token?service=tests&scope=repository%3Aa%2Fb%3Apull,push";
        let given = ask(authority, "GET", path, &headers, b"").unwrap();
        assert_eq!(given.status, 200);
        let text = String::from_utf8(given.body).unwrap();
        let token = text.split('"').nth(3).unwrap().to_owned();
        let bearer = format!("Authorization: Bearer {token}");
        ask(registry.address(), "POST", "/v2/a/b/blobs/uploads/", &[&bearer], b"").unwrap().status
    };
    assert_eq!(begin(Some(WRITER)), 202);
    assert_eq!(begin(Some(READER)), 401);
    assert_eq!(begin(None), 401);
    assert_eq!(registry.tokens(), 3);
    let wrong = ashlar_testbed::Login { user: "writer", password: "wrong" };
    let refused = ask(authority, "GET", "/token?service=tests", &[&basic(wrong)], b"").unwrap();
    assert_eq!(refused.status, 401);
}

#[test]
fn a_registry_speaks_tls() {
    let registry =
        docker_registry(&registry::Options { tls: true, ..registry::Options::default() });
    let certificates = registry.certificates().unwrap();
    let url = format!("https://{}/v2/", registry.host());
    let curl = |authority: bool| {
        let mut command = Command::new(program("curl"));
        command.args(["--silent", "--fail", &url]).stdout(Stdio::null());
        if authority {
            command.arg("--cacert").arg(certificates.authority());
        }
        command.status().unwrap().success()
    };
    assert!(curl(true));
    assert!(!curl(false));
}

#[test]
fn nginx_keeps_what_is_put() {
    let nginx = nginx_dav(&nginx::Options { folders: vec!["ac".into()], ..Default::default() });
    assert_eq!(ask(nginx.address(), "PUT", "/a/b/c", &[], b"content").unwrap().status, 201);
    assert_eq!(get(nginx.address(), "/a/b/c").body, b"content");
    let part = ask(nginx.address(), "GET", "/a/b/c", &["Range: bytes=3-4"], b"").unwrap();
    assert_eq!((part.status, part.body), (206, b"te".to_vec()));
    assert_eq!(ask(nginx.address(), "DELETE", "/a/b/c", &[], b"").unwrap().status, 204);
    assert!(nginx.data().join("ac").is_dir() && !nginx.data().join("a/b/c").exists());
    assert!(nginx.access_log().contains("PUT /a/b/c"));
}

#[test]
fn nginx_refuses() {
    let reading = nginx_dav(&nginx::Options { read_only: true, ..Default::default() });
    assert_eq!(get(reading.address(), "/a").status, 404);
    assert_eq!(ask(reading.address(), "PUT", "/a", &[], b"x").unwrap().status, 403);
    let asking = nginx_dav(&nginx::Options { auth: nginx::Auth::Basic, ..Default::default() });
    assert_eq!(ask(asking.address(), "PUT", "/a", &[], b"x").unwrap().status, 401);
    assert_eq!(ask(asking.address(), "PUT", "/a", &[&basic(WRITER)], b"x").unwrap().status, 201);
    let bearer = nginx_dav(&nginx::Options { auth: nginx::Auth::Bearer, ..Default::default() });
    let token = format!("Authorization: Bearer {}", nginx::TOKEN);
    assert_eq!(ask(bearer.address(), "PUT", "/a", &[], b"x").unwrap().status, 401);
    assert_eq!(ask(bearer.address(), "PUT", "/a", &[&token], b"x").unwrap().status, 201);
}

#[test]
fn garage_lets_one_key_write_and_both_read() {
    let mut garage = garage();
    let object = format!("{}/{}/some/object", garage.endpoint(), garage.bucket());
    let curl = |key: ashlar_testbed::Key, more: &[&str]| {
        let output = Command::new(program("curl"))
            .args(["--silent", "--aws-sigv4", &format!("aws:amz:{}:s3", "garage")])
            .args(["--user", &format!("{}:{}", key.id, key.secret)])
            .args(["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"])
            .args(["--write-out", "%{http_code}", &object])
            .args(more)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    assert!(curl(garage.reader(), &["--upload-file", file]).ends_with("403"));
    assert_eq!(curl(garage.writer(), &["--upload-file", file]), "200");
    assert!(curl(garage.reader(), &[]).contains("ashlar-testbed"));
    garage.server.stop();
    garage.server.start();
    assert!(curl(garage.reader(), &[]).ends_with("200"));
}

/// A call over gRPC with nothing but an HTTP/2 client: the Capabilities of an instance.
fn capabilities(url: &str, instance: &str, more: &[&str]) -> String {
    let mut message = vec![0, 0, 0, 0];
    if instance.is_empty() {
        message.push(0);
    } else {
        let length = u8::try_from(instance.len()).unwrap();
        message.extend([length + 2, 0x0a, length]);
        message.extend(instance.bytes());
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("message");
    std::fs::write(&file, message).unwrap();
    let call = "build.bazel.remote.execution.v2.Capabilities/GetCapabilities";
    let output = Command::new(program("curl"))
        .args(["--silent", "--include", "--output", "-"])
        .args(["--http2-prior-knowledge", "--header", "Content-Type: application/grpc"])
        .args(["--header", "TE: trailers", "--data-binary", &format!("@{}", file.display())])
        .args(more)
        .arg(format!("{url}/{call}"))
        .output();
    String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
}

#[test]
fn casd_has_its_instance() {
    for (server, name) in [(casd(), ""), (casd_with_instance("other"), "other")] {
        let url = format!("http://{}", server.host());
        assert!(capabilities(&url, name, &[]).contains("grpc-status: 0"));
        assert!(!capabilities(&url, "unknown", &[]).contains("grpc-status: 0"));
    }
}

#[test]
fn buildgrid_has_its_instance() {
    let server = buildgrid("team/main");
    let url = format!("http://{}", server.host());
    assert!(capabilities(&url, "team/main", &[]).contains("grpc-status: 0"));
    assert!(!capabilities(&url, "unknown", &[]).contains("grpc-status: 0"));
}

#[test]
fn buildgrid_asks_for_certificates_and_tokens() {
    let server = buildgrid_with(&buildgrid::Options {
        tls: buildgrid::Tls::Mutual,
        token: true,
        ..Default::default()
    });
    let url = format!("https://{}", server.host());
    let certificates = server.certificates().unwrap();
    let path = |path: std::path::PathBuf| path.display().to_string();
    let authority = path(certificates.authority());
    let (chain, key) = (path(certificates.client()), path(certificates.client_key()));
    let header = |token: &str| format!("Authorization: Bearer {token}");
    let (good, old) = (header(&server.token()), header(&server.expired_token()));
    let all = ["--cacert", &authority, "--cert", &chain, "--key", &key, "--header", &good];
    assert!(capabilities(&url, "", &all).contains("grpc-status: 0"));
    assert!(capabilities(&url, "", &all[..6]).contains("grpc-status: 16"));
    let expired = [&all[..6], &["--header", &old]].concat();
    assert!(capabilities(&url, "", &expired).contains("grpc-status: 16"));
    let unknown = [&all[..2], &all[6..]].concat();
    assert_eq!(capabilities(&url, "", &unknown), "");
}

#[test]
fn servers_are_gone_when_the_process_is_killed() {
    // This very test in a process of its own, which prints the server and is then killed.
    const INNER: &str = "ASHLAR_TESTBED_INNER";
    if std::env::var_os(INNER).is_some() {
        let casd = casd();
        println!("\nserver {}\n", casd.server.pid().unwrap());
        std::thread::sleep(std::time::Duration::from_secs(60));
        return;
    }
    // What a killed process leaves behind.
    let left = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env("TMPDIR", left.path())
        .args(["--exact", "servers::servers_are_gone_when_the_process_is_killed", "--nocapture"])
        .env(INNER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(child.stdout.take().unwrap());
    let pid = std::io::BufRead::lines(output)
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("server ")?.parse().ok())
        .unwrap();
    assert!(runs(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    let begun = std::time::Instant::now();
    while runs(pid) {
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{pid} goes on");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn podman_and_skopeo_read_a_registry() {
    let registry = docker_registry(&registry::Options::default());
    let proxy = Proxy::http(registry.address());
    let folder = tempfile::tempdir().unwrap();
    let sources = folder.path().join("files");
    std::fs::create_dir_all(&sources).unwrap();
    std::fs::write(sources.join("greeting"), "hello\n").unwrap();
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let tar = folder.path().join("files.tar");
    run(Command::new("tar").arg("-C").arg(&sources).arg("-cf").arg(&tar).arg("."));
    let writer = podman();
    run(writer.command().arg("import").arg(&tar).arg("localhost/files:1"));
    let reference = format!("{}/files:1", proxy.host());
    let there = format!("docker://{reference}");
    let push = ["push", "--tls-verify=false", "--compression-format", "zstd:chunked"];
    run(writer.command().args(push).args(["localhost/files:1", &there]));
    let inspected = run(skopeo().args(["inspect", "--tls-verify=false", &there]));
    assert!(inspected.contains("\"Layers\""), "{inspected}");
    let raw = run(skopeo().args(["inspect", "--raw", "--tls-verify=false", &there]));
    let config = raw.split("\"digest\":\"").nth(1).unwrap().split('"').next().unwrap();
    for (reader, ranges) in [(podman(), false), (podman_partial(), true)] {
        proxy.reset();
        run(reader.command().args(["pull", "--tls-verify=false", &reference]));
        let mut layers = proxy.requests_to("GET", "/v2/files/blobs/");
        layers.retain(|request| !request.path.ends_with(config));
        assert_eq!(layers.iter().all(|it| it.header("range").is_some()), ranges, "{layers:?}");
        let archive = folder.path().join("exported.tar");
        reader.export(&reference, &archive);
        let extract = run(Command::new("tar").arg("-xOf").arg(&archive).arg("greeting"));
        assert_eq!(extract, "hello");
    }
}
