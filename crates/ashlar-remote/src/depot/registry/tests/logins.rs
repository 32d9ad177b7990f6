//! Who may do what, how that is found out, and that nobody reads the passwords.

use std::path::{Path, PathBuf};

use ashlar_testbed::proxy::{Answer as Served, Fault, Rule};
use ashlar_testbed::registry::Auth;
use ashlar_testbed::{Login, READER, WRITER};
use tempfile::TempDir;

use super::*;

/// An auth file with these entries.
fn file(folder: &Path, name: &str, document: &serde_json::Value) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, document.to_string()).expect("written");
    path
}

/// The credentials of somebody for a place.
fn login(folder: &TempDir, key: &str, who: &Login) -> Credentials {
    let document = json!({"auths": {key: {"auth": who.basic()}}});
    let name = format!("{}.json", who.user);
    Credentials { files: vec![file(folder.path(), &name, &document)], programs: Vec::new() }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// None of the passwords, in no form, is in a text.
fn assert_silent(text: &str) {
    for who in [WRITER, READER] {
        assert!(!text.contains(who.password), "{text}");
        assert!(!text.contains(&who.basic()), "{text}");
    }
}

#[test]
fn basic_authentication() {
    let registry = docker_registry(&Kind { auth: Auth::Basic, ..Kind::default() });
    let folder = folder();
    let host = registry.host();
    let depot = depot(&host, &login(&folder, &host, &WRITER));
    let digest = put(&depot, &content(450_000, 1));
    assert!(depot.has_blob(&digest).expect("asked"));
    let manifest = manifest(&depot, "x", None);
    depot.put_manifest(&manifest, &["x".to_owned()]).expect("put");

    let nobody = anonymous(&host);
    let error = nobody.has_blob(&digest).expect_err("it is refused");
    assert!(matches!(error, RemoteError::Refused { .. }), "{error:?}");
    assert!(all(&error).contains(&format!("no credentials for {host}/team/firmware")), "{error}");
    let wrong = Login { password: "wr0ng-passw0rd", ..WRITER };
    let denied = super::depot(&host, &login(&folder, &host, &wrong));
    for error in [
        denied.has_blob(&digest).map(drop).expect_err("refused"),
        denied.open_blob(&digest, 0..10).map(drop).expect_err("refused"),
        denied.manifest(&tag("x")).map(drop).expect_err("refused"),
        denied.tags().map(drop).expect_err("refused"),
        denied.put_blob(&digest, &bytes(b"x"), &Watch::NOBODY).expect_err("refused"),
    ] {
        assert!(matches!(error, RemoteError::Refused { .. }), "{error:?}");
        assert!(!all(&error).contains("wr0ng"), "{error:?}");
        assert!(all(&error).contains("not accepted"), "{error:?}");
    }
    let why = denied.may_write().expect("asked").expect_err("refused");
    assert!(!why.contains("wr0ng"), "{why}");
    // In the address, too.
    let url = format!("oci://{}:{}@{host}/team/firmware", WRITER.user, WRITER.password);
    let given = Registry::open(&url, &options(), &Credentials::default(), None).expect("open");
    assert!(given.has_blob(&digest).expect("asked"));
    assert_silent(given.place());
    assert_silent(&format!("{:?}", given.client));
}

#[test]
fn an_upload_that_goes_on_elsewhere_goes_without_what_lets_us_in() {
    let (registry, elsewhere) = (Proxy::alone(), Proxy::alone());
    let to = format!("{}/upload?state=1", elsewhere.url());
    let leads: ashlar_testbed::proxy::Ask = Arc::new(move |request| {
        Some(match request.header("authorization") {
            Some(_) => Served::status(202).header("Location", &to),
            None => Served::status(401).header("WWW-Authenticate", "Basic realm=\"here\""),
        })
    });
    registry.add(Rule::on("POST", "/", Fault::Ask(leads)));
    registry.add(Rule::on("HEAD", "/", Fault::Answer(Served::status(404))));
    // It asks for it, too.
    let wants = Served::status(401).header("WWW-Authenticate", "Basic realm=\"there\"");
    elsewhere.add(Rule::on("PATCH", "/", Fault::Answer(Served::status(503))).times(1));
    elsewhere.add(Rule::on(
        "PATCH",
        "/",
        Fault::Answer(Served::status(202).header("Location", "/u")),
    ));
    elsewhere.add(Rule::on("PUT", "/", Fault::Answer(Served::status(201))).times(2));
    elsewhere.add(Rule::on("*", "/", Fault::Answer(wants)));
    let folder = folder();
    let host = registry.host();
    let depot = depot(&host, &login(&folder, &host, &WRITER));
    // Whole, in parts, asked for how far it came, and given up.
    put(&depot, &content(1000, 1));
    put(&depot, &content(300_000, 2));
    assert!(!depot.mount_blob(&Digest::of(b"x"), "team/other").expect("asked"));
    assert_eq!(depot.may_write().expect("asked"), Ok(()));
    let error = depot.put_blob(&Digest::of(b"y"), &bytes(b"y"), &Watch::NOBODY);
    assert!(matches!(error, Err(RemoteError::Refused { .. })), "{error:?}");

    assert!(registry.requests().iter().any(|one| one.header("authorization").is_some()));
    for method in ["PUT", "PATCH", "GET", "DELETE"] {
        let sent = elsewhere.requests_to(method, "/");
        assert!(!sent.is_empty(), "{method}");
        assert!(sent.iter().all(|one| one.header("authorization").is_none()), "{method}");
    }
}

#[test]
fn tokens_are_fetched_for_what_is_done_and_kept() {
    let registry = docker_registry(&Kind { auth: Auth::Token, delete: true, ..Kind::default() });
    let folder = folder();
    let host = registry.host();
    let depot = depot(&host, &login(&folder, &host, &WRITER));
    let digest = put(&depot, &content(900_000, 1));
    for _ in 0..5 {
        assert!(depot.has_blob(&digest).expect("asked"));
    }
    let manifest = manifest(&depot, "x", None);
    depot.put_manifest(&manifest, &["x".to_owned()]).expect("put");
    assert!(depot.manifest(&tag("x")).expect("asked").is_some());
    assert_eq!(registry.tokens(), 2, "one to write, one to read: {:?}", registry.token_requests());
    assert!(depot.remove_tag("x", None).expect("removed"));
    assert_eq!(registry.tokens(), 3, "{:?}", registry.token_requests());

    let reader = super::depot(&host, &login(&folder, &host, &READER));
    assert!(get(&reader, &digest, 0..1000).len() == 1000);
    let why = reader.may_write().expect("asked").expect_err("it may not");
    assert_silent(&why);
    let error = reader.put_blob(&digest, &bytes(b"x"), &Watch::NOBODY).expect_err("refused");
    assert!(matches!(error, RemoteError::Refused { .. }), "{error:?}");
    let nobody = anonymous(&host);
    assert!(nobody.has_blob(&digest).expect("everybody may read"));
    let wrong = Login { password: "wr0ng-passw0rd", ..WRITER };
    let wrong = super::depot(&host, &login(&folder, &host, &wrong));
    let error = wrong.has_blob(&digest).expect_err("refused");
    assert!(matches!(error, RemoteError::Refused { .. }), "{error:?}");
    assert!(all(&error).contains("log in again") || all(&error).contains("not accepted"));
    assert!(!all(&error).contains("wr0ng"), "{error:?}");
    for error in
        [error, reader.remove_tag("y", None).map(drop).err().unwrap_or(RemoteError::Stopped)]
    {
        assert_silent(&all(&error));
    }
    assert_silent(&registry.server.log());
}

#[test]
fn a_token_that_expired_is_fetched_anew() {
    let registry = docker_registry(&Kind { auth: Auth::Token, ..Kind::default() });
    let proxy = Proxy::http(registry.address());
    let folder = folder();
    let host = proxy.host();
    let depot = depot(&host, &login(&folder, &host, &WRITER));
    let digest = put(&depot, &content(300_000, 1));
    let before = registry.tokens();
    // In the middle of an upload and of a download the registry takes the token no longer.
    let challenge = registry_challenge(&depot, &proxy);
    let expired = Served::status(401).header("WWW-Authenticate", &challenge);
    proxy.add(Rule::on("PATCH", "/", Fault::Answer(expired.clone())).skip(1).times(1));
    let blob = content(900_000, 2);
    let second = put(&depot, &blob);
    // One without token, and one for each blob.
    assert_eq!(proxy.requests_to("POST", "/v2/").len(), 3, "the upload went on");
    proxy.add(Rule::on("GET", "/v2/*/blobs/", Fault::Answer(expired)).times(1));
    assert!(get(&depot, &second, 0..900_000) == blob);
    assert!(registry.tokens() > before, "{:?}", registry.token_requests());
    // By its time, too.
    registry.set_token_seconds(1);
    let short = super::depot(&host, &login(&folder, &host, &WRITER));
    assert!(short.has_blob(&digest).expect("asked"));
    let before = registry.tokens();
    std::thread::sleep(Duration::from_millis(1100));
    assert!(short.has_blob(&digest).expect("asked"));
    assert!(registry.tokens() > before);
}

/// What the registry says to whoever has no token.
fn registry_challenge(depot: &Registry, proxy: &Proxy) -> String {
    let url = depot.address.join("/v2/").expect("an address");
    let answer = depot.client.send(&Request::get(url), None).expect("an answer");
    assert!(!proxy.requests().is_empty());
    let challenge = answer.header("www-authenticate").expect("it asks for a token");
    format!("{challenge},scope=\"repository:team/firmware:pull,push\"")
}

#[test]
fn mounting_asks_for_both_repositories() {
    let registry = docker_registry(&Kind { auth: Auth::Token, ..Kind::default() });
    let folder = folder();
    let host = registry.host();
    let credentials = login(&folder, &host, &WRITER);
    let url = format!("oci://{host}/other/things");
    let other = Registry::open(&url, &options(), &credentials, None).expect("open");
    let digest = put(&other, &content(1000, 1));
    assert!(depot(&host, &credentials).mount_blob(&digest, "other/things").expect("asked"));
    let requests = registry.token_requests();
    let last = requests.last().expect("there were some");
    assert!(last.contains("other%2Fthings%3Apull"), "{last}");
}

#[test]
fn identity_tokens_are_sent_as_a_form() {
    let registry = docker_registry(&Kind { auth: Auth::Token, ..Kind::default() });
    let folder = folder();
    let host = registry.host();
    let document = json!({"auths": {&host: {"identitytoken": "1dentity"}}});
    let files = vec![file(folder.path(), "i.json", &document)];
    let depot = depot(&host, &Credentials { files, programs: Vec::new() });
    assert!(!depot.has_blob(&Digest::of(b"x")).expect("asked"));
    let requests = registry.token_requests();
    assert!(requests[0].starts_with("POST /token "), "{requests:?}");
    assert!(requests[0].contains("grant_type=refresh_token"), "{requests:?}");
    assert!(requests[0].contains("refresh_token=1dentity"), "{requests:?}");
    // A token that is sent as it is comes from whoever opens the depot.
    let token = Secret("n0nsense".to_owned());
    let url = format!("oci://{host}/team/firmware");
    let given = Registry::open(&url, &options(), &Credentials::default(), Some(&token));
    let error = given.expect("open").has_blob(&Digest::of(b"x")).expect_err("it is no token");
    assert!(matches!(error, RemoteError::Refused { .. }), "{error:?}");
    assert!(!all(&error).contains("n0nsense"));
}

fn password(found: Option<Credential>) -> Option<(String, String)> {
    match found? {
        Credential::Password(user, password) => Some((user, password)),
        other => panic!("{other:?} is no password"),
    }
}

#[test]
fn the_longest_entry_and_the_first_file_win() {
    let folder = folder();
    let entry = |user: &str| {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:p:{user}"));
        json!({"auth": auth})
    };
    let first = json!({"auths": {
        "r.example": entry("host"),
        "r.example/a": entry("folder"),
        "r.example/a/b": entry("repository"),
        "empty.example": {},
        "https://old.example/v1/": entry("old"),
        "https://index.docker.io/v1/": entry("hub"),
        "plain.example": {"username": "named", "password": "p:named"},
    }});
    let second = json!({"auths": {"r.example/z": entry("late"), "empty.example": entry("second")}});
    let files = vec![
        folder.path().join("missing.json"),
        file(folder.path(), "first.json", &first),
        file(folder.path(), "second.json", &second),
    ];
    let credentials = Credentials { files, programs: Vec::new() };
    let of = |host: &str, repository: &str| {
        let found = password(credentials.of(host, repository).expect("read"));
        if let Some((user, password)) = &found {
            assert_eq!(*password, format!("p:{user}"));
        }
        found.map(|(user, _)| user)
    };
    let is = |host, repository, user: Option<&str>| {
        assert_eq!(of(host, repository).as_deref(), user, "{host}/{repository}");
    };
    is("r.example", "a/b", Some("repository"));
    is("r.example", "a/b/c", Some("repository"));
    is("r.example", "a/bc", Some("folder"));
    is("r.example", "z", Some("host"));
    is("empty.example", "a", Some("second"));
    is("old.example", "a", Some("old"));
    is("docker.io", "library/x", Some("hub"));
    is("plain.example", "a", Some("named"));
    is("other.example", "a", None);
    is("r.example:5000", "a", None);
}

#[test]
fn wrong_files_are_named_without_what_is_in_them() {
    let folder = folder();
    for (name, text) in [
        ("broken.json", r#"{"auths": {"h": {"auth": "c2VjcmV0LXBhc3M6"}, } "#),
        ("type.json", r#"{"auths": {"h": {"auth": 7, "password": "secret-pass"}}}"#),
        ("code.json", r#"{"auths": {"h": {"auth": "secret-pass!!"}}}"#),
        ("colon.json", r#"{"auths": {"h": {"auth": "c2VjcmV0LXBhc3M="}}}"#),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        let credentials = Credentials { files: vec![path], programs: Vec::new() };
        let error = credentials.of("h", "x").expect_err(name);
        assert!(matches!(error, RemoteError::Address { .. }), "{error:?}");
        assert!(all(&error).contains(name), "{error}");
        for secret in ["secret-pass", "c2Vjcm"] {
            assert!(!all(&error).contains(secret), "{error:?}");
        }
    }
}

#[test]
fn helper_programs_are_asked() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let program = |name: &str, script: &str| {
        let path = folder.path().join(format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("it may run");
    };
    program(
        "good",
        r#"read host; test "$1" = get && echo "{\"ServerURL\":\"$host\",\"Username\":\"u-$host\",\"Secret\":\"s3cret\"}""#,
    );
    program("token", r#"echo '{"Username":"<token>","Secret":"1d"}'"#);
    program("none", "echo 'credentials not found in native keychain'; exit 1");
    program("bad", "echo 's3cret is wrong'; echo s3cret >&2; exit 1");
    program("noise", "echo s3cret");
    let document = json!({
        "auths": {"b.example": {}, "n.example": {"auth": WRITER.basic()}},
        "credHelpers": {
            "t.example": "token", "n.example": "none", "b.example": "bad", "x.example": "../good",
            "m.example": "missing", "o.example": "noise",
        },
        "credsStore": "good",
    });
    let credentials = Credentials {
        files: vec![file(folder.path(), "config.json", &document)],
        programs: vec![folder.path().join("nowhere"), folder.path().to_owned()],
    };
    let of = |host: &str| credentials.of(host, "a");
    let expected = ("u-any.example:5".to_owned(), "s3cret".to_owned());
    assert_eq!(password(of("any.example:5").expect("asked")), Some(expected));
    assert_eq!(of("t.example").expect("asked"), Some(Credential::Identity("1d".to_owned())));
    let (user, _) = password(of("n.example").expect("asked")).expect("in the file");
    assert_eq!(user, WRITER.user);
    for host in ["b.example", "x.example", "m.example", "o.example"] {
        let error = of(host).expect_err(host);
        assert!(matches!(error, RemoteError::Address { .. }), "{error:?}");
        assert!(!all(&error).contains("s3cret"), "{error:?}");
    }
}

#[test]
fn the_environment_names_the_files() {
    let of = |pairs: &[(&str, &str)]| {
        let found = Credentials::from_variables(|name| {
            pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into())
        });
        found.files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(of(&[]), Vec::<String>::new());
    assert_eq!(of(&[("REGISTRY_AUTH_FILE", "/r.json"), ("HOME", "/h")]), ["/r.json"]);
    assert_eq!(
        of(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/u")]),
        [
            "/run/u/containers/auth.json",
            "/h/.config/containers/auth.json",
            "/h/.docker/config.json"
        ]
    );
    assert_eq!(
        of(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c"), ("DOCKER_CONFIG", "/d")]),
        ["/c/containers/auth.json", "/d/config.json"]
    );
}
