//! `--pin`: what commands download is recorded, and replayed by content.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ashlar_testbed::docker_registry;
use ashlar_testbed::registry::Options;

use super::{Context, outcome, wait};

/// Files that are served on an address of this machine that programs ask a proxy for.
struct Site {
    server: Child,
    folder: tempfile::TempDir,
    url: String,
}

impl Site {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let mut server = Command::new("python3")
            .args(["-u", "-m", "http.server", "--bind", "127.0.0.2", "0", "--directory"])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 is installed");
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.split(" port ").nth(1).unwrap().split(' ').next().unwrap();
        Self { url: format!("http://127.0.0.2:{port}"), server, folder }
    }

    fn set(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn stop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // A test may have ended it.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A command that gets files and lays them end to end.
fn get(site: &Site, names: &[&str]) -> String {
    let each = names
        .iter()
        .map(|name| format!("/bin/busybox wget -q -O - {}/{name} >> /got", site.url))
        .collect::<Vec<_>>();
    format!("RUN --network=default {}\n", each.join(" && "))
}

fn pins(context: &Context) -> String {
    std::fs::read_to_string(context.0.root.join("ashlar-image.pins")).unwrap_or_default()
}

#[test]
fn what_is_recorded_is_the_same_on_another_machine_when_the_servers_changed() {
    let registry = docker_registry(&Options::default());
    let remote = format!("team=oci://{}/images/cache", registry.host());
    let remote = ["--remote", remote.as_str()];
    let mut site = Site::new(&[("a", "a then\n"), ("b", "b then\n")]);
    let lines = format!("{}RUN cat /got > /copy\n{}", get(&site, &["a", "b"]), get(&site, &["a"]));
    let one = Context::new(&lines);
    let ran = one.build(&["--pin", "--require-push", remote[0], remote[1]]).good();
    assert_eq!((&ran.summary()["built"], &ran.summary()["hit"]), (&5.into(), &0.into()));
    let text = pins(&one);
    assert_eq!(text.matches("[[run]]").count(), 2, "{text}");
    assert_eq!(text.matches(&format!("{}/a\"", site.url)).count(), 2, "{text}");
    // What is written down is no input: nothing is done again.
    let ran = one.build(&["--pin"]).good();
    assert_eq!(ran.summary()["built"], 0);
    assert_eq!(pins(&one), text);
    let digest = pinned_digest(&one);

    site.set("a", "a now\n");
    let two = one.elsewhere();
    let ran = two.build(&["--pin", "--pin-mode", "replay", remote[0], remote[1]]).good();
    assert_eq!(ran.summary()["built"], 0);
    assert_eq!(pinned_digest(&two), digest);
    // Without a server, what lies below changed: the contents come from the remote.
    site.stop();
    let three = one.elsewhere();
    three.write(&format!("RUN echo new > /new\n{lines}"));
    let args = ["--pin", "--pin-mode", "replay", remote[0], remote[1]];
    let ran = three.build(&args).good();
    assert_eq!(outcome(&ran, "a >> /got && "), "built");
    assert_eq!(three.file(&["--pin"], "got"), "a then\nb then\na then\n");
    assert_eq!(pins(&three), text);
}

fn pinned_digest(context: &Context) -> String {
    let folder = tempfile::tempdir_in(context.0.root.parent().unwrap()).unwrap();
    let output = format!("oci:{}", folder.path().join("layout").display());
    let events = context.build(&["--pin", "--output", &output]).good().events();
    let image = events.iter().find(|event| event["event"] == "image").unwrap();
    image["digest"].as_str().unwrap().to_owned()
}

#[test]
fn what_changed_is_refused_until_it_is_recorded_anew() {
    let site = Site::new(&[("a", "one\n"), ("b", "b\n")]);
    let one = Context::new(&get(&site, &["a", "b"]));
    assert_eq!(one.file(&["--pin"], "got"), "one\nb\n");
    // Nothing but the address has the content: it is asked for, and is the same.
    let two = one.elsewhere();
    assert_eq!(two.file(&["--pin"], "got"), "one\nb\n");
    site.set("a", "another\n");
    let three = one.elsewhere();
    let said = three.0.run(&["image", "build", "--pin", "."]).exits(1).err;
    assert!(said.contains(&format!("{}/a changed since it was recorded", site.url)), "{said}");
    assert!(said.contains("--pin-mode update"), "{said}");
    // Where it was built, nothing happened.
    assert_eq!(one.build(&["--pin"]).good().summary()["built"], 0);
    let before = pins(&one);
    assert_eq!(three.file(&["--pin", "--pin-mode", "update"], "got"), "another\nb\n");
    assert_ne!(pins(&three), before);
    let ran = one.0.run(&["image", "plan", "--json", "--pin", "."]).good();
    let line = ran.events().into_iter().find(|line| line["line"] == 4).unwrap();
    assert_eq!((&line["network"], &line["downloads"]), (&"pinned".into(), &2.into()));
    // The new file on the first machine: why names what differs.
    one.0.file("ashlar-image.pins", pins(&three));
    let why = one.0.run(&["image", "why", "--pin", "."]).good().out;
    assert!(why.contains(&format!("download GET {}/a", site.url)), "{why}");
    assert!(!why.contains(&format!("{}/b", site.url)), "{why}");
    let ran = one.build(&["--pin"]).good();
    assert_eq!(outcome(&ran, "wget"), "built");
}

#[test]
fn what_was_not_recorded_or_cannot_be_is_refused() {
    let site = Site::new(&[("a", "a\n"), ("b", "b\n")]);
    // It asks for another file when there is one in the context, which does not decide what it is.
    let lines = format!(
        "COPY files /files\nRUN --network=default /bin/busybox wget -q -O /got {}/$(cat /files/*)\n",
        site.url
    );
    let context = Context::new(&lines);
    context.0.file("files/name", "a");
    context.build(&["--pin"]).good();
    context.0.file("files/name", "b");
    let ran = context.build(&["--pin"]).exits(1);
    let said = format!("{}{}", ran.err, ran.out);
    assert!(
        said.contains(&format!("it asked for {}/b, which ashlar-image.pins", site.url)),
        "{said}"
    );
    context.build(&["--pin", "--pin-mode", "update"]).good();

    let before = pins(&context);
    context.write(&format!("{lines}{}", get(&site, &["none"])));
    // A command that fails has nothing to be recorded.
    context.build(&["--pin"]).exits(1);
    assert_eq!(pins(&context), before);
    let ran = context.build(&["--pin", "--pin-mode", "replay"]).exits(2);
    assert!(ran.err.contains("line 6"), "{}", ran.err);
    // A tunnel hides what goes through it, and a command that goes on without is no better.
    context.write(
        "RUN --network=default printf 'CONNECT a.test:443 HTTP/1.1\\r\\n\\r\\n' | \
         /bin/busybox nc 127.0.0.1 3128 | grep 'HTTP/1.1 403 ashlar'\n",
    );
    let said = context.0.run(&["image", "build", "--pin", "."]).exits(1).err;
    assert!(said.contains("a.test:443") && said.contains("http sources"), "{said}");
    assert_eq!(pins(&context), before);
    // Without the option the network is the machine's.
    context.write(&get(&site, &["a"]));
    assert_eq!(context.file(&[], "got"), "a\n");
}

#[test]
fn a_replayed_command_goes_on_where_the_budget_stopped_it() {
    let site = Site::new(&[("a", "a\n")]);
    let one = Context::new(&format!(
        "RUN --network=default --mount=type=checkpoint,target=/work cd /work; \
         [ -e got ] || {{ busybox wget -q -O part {}/a && mv part got; }}; for n in 1 2 3 4; do \
         [ -e $n ] || {{ sleep 1; touch $n; echo $n >> order; }}; done; cat got order > /got\n",
        site.url
    ));
    // What is recorded begins with nothing, so nothing is recorded before there is time for all.
    let short = ["--pin", "--budget", "3s", "--grace", "1"];
    one.build(&short).exits(5);
    one.build(&short).exits(5);
    assert_eq!(pins(&one), "");
    one.build(&["--pin"]).good();
    let text = pins(&one);
    let two = one.elsewhere();
    let mut runs = 0;
    while two.build(&short).code == 5 {
        runs += 1;
        assert!(runs < 6, "it never ends");
    }
    assert!((1..=4).contains(&runs), "{runs} runs stopped");
    assert_eq!(two.file(&["--pin"], "got"), "a\n1\n2\n3\n4\n");
    assert_eq!(pins(&two), text);
}

#[test]
fn a_recording_that_is_killed_is_begun_anew() {
    let site = Site::new(&[("a", "a\n"), ("b", "b\n")]);
    let again = get(&site, &["b"]).replace(" && ", " ");
    let context =
        Context::new(&format!("{}{again}RUN --network=default sleep 60\n", get(&site, &["a"])));
    let mut child = context.begin(&["--pin"]);
    wait("two commands are recorded", || pins(&context).matches("[[run]]").count() == 2);
    child.kill().unwrap();
    child.wait().unwrap();
    let text = pins(&context);
    context.write(&format!("{}{again}RUN --network=default echo done\n", get(&site, &["a"])));
    let ran = context.build(&["--pin"]).good();
    assert_eq!(outcome(&ran, "/b >> /got"), "hit");
    assert_eq!(ran.summary()["built"], 1);
    assert!(pins(&context).len() > text.len());
}

#[test]
fn caches_do_not_hide_what_is_downloaded_and_order_does_not_show() {
    let site = Site::new(&[]);
    for number in 0..8 {
        site.set(&number.to_string(), &format!("{number}\n").repeat(10_000));
    }
    let line = format!(
        "RUN --network=default --mount=type=cache,target=/cache for n in 7 6 5 4 3 2 1 0; do \
         [ -e /cache/$n ] || /bin/busybox wget -q -O /cache/$n {}/$n & done; wait; \
         cat /cache/* | sha256sum > /sum\n",
        site.url
    );
    let one = Context::new(&line);
    one.build(&["--pin"]).good();
    let text = pins(&one);
    assert_eq!(text.matches("url = ").count(), 8, "{text}");
    // The cache is full by now on this machine.
    one.write(&line.replace("; cat", ";cat"));
    one.build(&["--network", "default"]).good();
    one.write(&line);
    one.build(&["--pin", "--pin-mode", "update"]).good();
    assert_eq!(pins(&one), text);
}

#[test]
fn a_wrong_file_of_pins_is_refused_with_its_line() {
    let site = Site::new(&[("a", "a\n")]);
    let context = Context::new(&get(&site, &["a"]));
    context.build(&["--pin=there.pins"]).good();
    let text = context.0.read("there.pins");
    context.0.file("there.pins", text.replace("sha256 = \"", "sha256 = \"x"));
    let ran = context.build(&["--pin=there.pins"]).exits(2);
    assert!(ran.err.contains("there.pins:12") && ran.err.contains("block"), "{}", ran.err);
    context.0.file("there.pins", text.replace("version = 1", "version = 9"));
    context.build(&["--pin=there.pins"]).exits(2);
    context.build(&["--pin-mode", "replay"]).exits(2);
}

/// Programs with the libraries that they need, from this machine.
fn copy_programs(root: &Path, programs: &[&str]) {
    for program in programs {
        let linked = Command::new("ldd").arg(program).output().unwrap();
        let text = String::from_utf8_lossy(&linked.stdout).into_owned();
        let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
        for path in libraries.chain([*program]) {
            let to = root.join(path.trim_start_matches('/'));
            if !to.exists() {
                std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                std::fs::copy(path, &to).unwrap_or_else(|e| panic!("{path}: {e}"));
            }
        }
    }
}

/// A package with one file, in a repository that is served.
fn package(site: &Site, version: &str) {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    std::fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    std::fs::create_dir_all(tree.join("usr/share")).unwrap();
    std::fs::write(tree.join("usr/share/greeting"), format!("hello {version}\n")).unwrap();
    let control = format!(
        "Package: greeting\nVersion: {version}\nArchitecture: all\nMaintainer: A <a@a.test>\n\
         Description: a greeting\n"
    );
    std::fs::write(tree.join("DEBIAN/control"), control).unwrap();
    for entry in std::fs::read_dir(site.folder.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let deb = site.folder.path().join(format!("greeting_{version}_all.deb"));
    let made = Command::new("dpkg-deb").arg("--build").args([&tree, &deb]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let list = Command::new("dpkg-scanpackages").arg(".").current_dir(site.folder.path()).output();
    let list = String::from_utf8(list.expect("dpkg-dev is installed").stdout).unwrap();
    let digest = ashlar_object::Digest::of(list.as_bytes());
    site.set("Packages", &list);
    site.set(
        "Release",
        &format!(
            "Suite: test\nDate: Sat, 01 Jan 2000 00:00:00 UTC\nSHA256:\n {} {} Packages\n",
            digest.hex(),
            digest.size
        ),
    );
}

#[test]
fn apt_installs_the_same_package_later() {
    let site = Site::new(&[]);
    package(&site, "1");
    let one = Context::new("");
    let root = one.0.root.join("rootfs");
    copy_programs(
        &root,
        &[
            "/usr/bin/apt-get",
            "/usr/lib/apt/methods/http",
            "/usr/lib/apt/methods/store",
            "/usr/bin/dpkg",
            "/usr/bin/dpkg-deb",
            "/usr/bin/dpkg-split",
            "/usr/bin/tar",
            "/usr/bin/rm",
            "/sbin/ldconfig",
            "/sbin/start-stop-daemon",
        ],
    );
    one.0.link("rootfs/bin/diff", "busybox");
    for folder in ["var/lib/dpkg/updates", "var/lib/dpkg/info", "var/lib/apt/lists/partial"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    for folder in ["var/cache/apt/archives/partial", "var/log/apt", "etc/apt/apt.conf.d"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    std::fs::create_dir_all(root.join("usr/share/dpkg")).unwrap();
    for table in ["cputable", "tupletable", "ostable", "abitable"] {
        let name = format!("usr/share/dpkg/{table}");
        std::fs::copy(Path::new("/").join(&name), root.join(&name)).unwrap();
    }
    one.0.file("rootfs/var/lib/dpkg/status", "");
    one.0.file("rootfs/etc/apt/apt.conf", "APT::Sandbox::User \"root\";\n");
    one.0.file("rootfs/etc/apt/sources.list", format!("deb [trusted=yes] {} ./\n", site.url));
    one.write(
        "RUN --network=default apt-get update && apt-get install -y greeting && \
         rm -r /var/lib/apt/lists/* /var/cache/apt/* /var/log/*\n",
    );
    one.build(&["--pin"]).good();
    let text = pins(&one);
    // What it looks for and does not find is recorded as well.
    assert!(text.contains("/InRelease\", status = 404"), "{text}");
    assert!(text.contains("greeting_1_all.deb\", sha256"), "{text}");
    assert_eq!(one.file(&["--pin"], "usr/share/greeting"), "hello 1\n");
    // The repository goes on; the contents are in the store.
    package(&site, "2");
    one.0.file("rootfs/new", "something below changes\n");
    let ran = one.build(&["--pin"]).good();
    assert_eq!(outcome(&ran, "apt-get"), "built");
    assert_eq!(one.file(&["--pin"], "usr/share/greeting"), "hello 1\n");
    assert_eq!(pins(&one), text);
    // A machine that has none of it cannot do the same, and says why.
    let two = one.elsewhere();
    let ran = two.build(&["--pin"]).exits(1);
    let said = |what: &str| ran.out.contains(what);
    assert!(said(" changed since it was recorded") || said(" is gone"), "{}", ran.out);
    assert_eq!(two.file(&["--pin", "--pin-mode", "update"], "usr/share/greeting"), "hello 2\n");
}
