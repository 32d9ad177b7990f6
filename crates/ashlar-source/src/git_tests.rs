use std::path::PathBuf;

use super::*;

/// A repository in a folder, as people make them.
struct Made {
    folder: PathBuf,
}

impl Made {
    fn new(folder: PathBuf) -> Self {
        std::fs::create_dir(&folder).unwrap();
        let made = Self { folder };
        made.git(&["init", "--quiet", "--initial-branch=main"]);
        made
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(&self.folder)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .args(["-c", "user.name=n", "-c", "user.email=e@example.org"])
            .args(["-c", "protocol.file.allow=always", "-c", "core.autocrlf=false"])
            .args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message=m"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn url(&self) -> String {
        format!("file://{}", self.folder.display())
    }
}

struct Place {
    folder: tempfile::TempDir,
    count: std::cell::Cell<u32>,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), count: std::cell::Cell::new(0) }
    }

    fn made(&self, name: &str) -> Made {
        Made::new(self.folder.path().join(name))
    }

    fn export(
        &self,
        url: &str,
        commit: &str,
        submodules: bool,
        offline: bool,
    ) -> Result<PathBuf, SourceError> {
        self.count.set(self.count.get() + 1);
        let to = self.folder.path().join(format!("out{}", self.count.get()));
        let clones = self.folder.path().join("clones");
        let wanted = Wanted { url, commit, submodules };
        export(&wanted, &clones, offline, &to, &|| false).map(|()| to)
    }
}

#[test]
fn the_tree_is_the_commits_and_no_filter_has_a_say() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let made = place.made("r");
    made.write("text", "one\ntwo\n");
    made.write("hidden/by/export", "x");
    made.write("ident", "$Id$\n");
    made.write(".gitattributes", "text eol=crlf\nhidden export-ignore\nident ident\n");
    made.write("run", "#!/bin/sh\n");
    let run = made.folder.join("run");
    std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("text", made.folder.join("link")).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"raw\xff\n");
    std::fs::write(made.folder.join(odd), "r").unwrap();
    let first = made.commit();
    made.write("text", "later\n");
    made.commit();

    let out = place.export(&made.url(), &first, false, false).unwrap();
    assert_eq!(std::fs::read(out.join("text")).unwrap(), b"one\ntwo\n");
    assert_eq!(std::fs::read(out.join("ident")).unwrap(), b"$Id$\n");
    assert_eq!(std::fs::read(out.join("hidden/by/export")).unwrap(), b"x");
    assert_eq!(std::fs::read(out.join(odd)).unwrap(), b"r");
    assert_eq!(std::fs::read_link(out.join("link")).unwrap(), Path::new("text"));
    let mode = |name: &str| out.join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("run"), mode("text")), (0o755, 0o644));
    assert!(!out.join(".git").exists());

    // A second time nothing is fetched, so it does not matter that nobody is there.
    std::fs::remove_dir_all(&made.folder).unwrap();
    place.export(&made.url(), &first, false, true).unwrap();
    let other = "0".repeat(40);
    let offline = place.export(&made.url(), &other, false, true);
    assert!(matches!(offline, Err(SourceError::Offline { .. })), "{offline:?}");
    let gone = place.export(&made.url(), &other, false, false);
    assert!(matches!(gone, Err(SourceError::Git(GitError::Fetch { .. }))), "{gone:?}");
}

#[test]
fn what_is_no_commit_is_refused() {
    let place = Place::new();
    let made = place.made("r");
    made.write("f", "x");
    made.commit();
    let tree = made.git(&["rev-parse", "HEAD^{tree}"]);
    for (commit, url) in [("main", made.url()), ("-x", made.url()), (&tree[..12], made.url())] {
        let error = place.export(&url, commit, false, false).unwrap_err();
        assert!(matches!(error, SourceError::Git(GitError::Id(_))), "{error}");
    }
    for commit in [tree, "1".repeat(40)] {
        let error = place.export(&made.url(), &commit, false, false).unwrap_err();
        assert!(matches!(error, SourceError::Git(GitError::NoCommit { .. })), "{error}");
    }
    let error = place.export("--upload-pack=x", &"1".repeat(40), false, false).unwrap_err();
    assert!(matches!(error, SourceError::Git(GitError::Address(_))), "{error}");
}

#[test]
fn submodules_are_fetched_at_their_commits() {
    let place = Place::new();
    let inner = place.made("inner");
    inner.write("i", "inner");
    inner.commit();
    let sub = place.made("sub");
    sub.write("s", "sub");
    sub.git(&["submodule", "add", "--quiet", "../inner", "deps/inner"]);
    let at = sub.commit();
    let made = place.made("r");
    made.git(&["submodule", "add", "--quiet", "../sub", "x y"]);
    let commit = made.commit();
    sub.write("s", "later");
    assert_ne!(sub.commit(), at);

    let out = place.export(&made.url(), &commit, true, false).unwrap();
    assert_eq!(std::fs::read(out.join("x y/s")).unwrap(), b"sub");
    assert_eq!(std::fs::read(out.join("x y/deps/inner/i")).unwrap(), b"inner");
    let out = place.export(&made.url(), &commit, false, false).unwrap();
    assert_eq!(std::fs::read_dir(out.join("x y")).unwrap().count(), 0);

    // A submodule has no right to name folders of this machine.
    let url = sub.url();
    made.git(&["config", "--file", ".gitmodules", "submodule.x y.url", &url]);
    let local = made.commit();
    std::fs::remove_dir_all(place.folder.path().join("clones")).unwrap();
    let error = place.export(&made.url(), &local, true, false).unwrap_err();
    assert!(matches!(error, SourceError::Git(GitError::Fetch { .. })), "{error}");
    assert!(error.to_string().contains("transport 'file' not allowed"), "{error}");

    made.git(&["rm", "--quiet", "--cached", ".gitmodules"]);
    made.git(&["commit", "--quiet", "--message=m"]);
    let bare = made.git(&["rev-parse", "HEAD"]);
    let error = place.export(&made.url(), &bare, true, false).unwrap_err();
    assert!(matches!(error, SourceError::Git(GitError::NoSubmodule { .. })), "{error}");
}

#[test]
fn relative_addresses_of_submodules() {
    let of = |base: &str, url: &str| {
        Repository { url: base.to_owned(), local: false }.submodule(url).url
    };
    assert_eq!(of("https://h/a/b.git", "../c.git"), "https://h/a/c.git");
    assert_eq!(of("https://h/a/b.git/", "../../c"), "https://h/c");
    assert_eq!(of("https://h/a", "./c"), "https://h/a/c");
    assert_eq!(of("git@h:a/b", "../c"), "git@h:a/c");
    assert_eq!(of("https://h/a", "https://i/c"), "https://i/c");
    assert!(is_local("/x") && is_local("file:///x") && is_local("../x"));
    assert!(!is_local("https://h/x") && !is_local("git@h:x") && !is_local("ext::sh -c x"));
}

#[test]
fn a_repository_inside_a_commit_is_refused() {
    let place = Place::new();
    let made = place.made("r");
    made.write("f", "x");
    made.commit();
    let blob = made.git(&["rev-parse", "HEAD:f"]);
    let mut mktree = Command::new("git");
    mktree.arg("-C").arg(&made.folder).arg("mktree");
    let mut child = mktree.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let line = format!("100644 blob {blob}\t.GIT\n");
    child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    let commit = made.git(&["commit-tree", tree.trim(), "-m", "m"]);
    made.git(&["update-ref", "refs/heads/evil", &commit]);
    let error = place.export(&made.url(), &commit, false, false).unwrap_err();
    assert!(matches!(error, SourceError::Git(GitError::Entry { .. })), "{error}");
}

#[test]
fn a_server_that_says_nothing_is_left_and_git_with_it() {
    for scheme in ["git", "http"] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}/some.git", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            // What is asked is read, until whoever asks hangs up.
            let (mut stream, _) = listener.accept().unwrap();
            std::io::copy(&mut stream, &mut std::io::sink()).unwrap()
        });
        let place = Place::new();
        let began = std::time::Instant::now();
        let stop = || began.elapsed() > Duration::from_millis(500);
        let commit = "1".repeat(40);
        let wanted = Wanted { url: &url, commit: &commit, submodules: false };
        let (clones, to) = (place.folder.path().join("clones"), place.folder.path().join("out"));
        let error = export(&wanted, &clones, false, &to, &stop).unwrap_err();
        assert!(matches!(error, SourceError::Stopped), "{error}");
        assert!(server.join().unwrap() > 0, "{scheme}");
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        // Nobody waits for a clone that another process is filling.
        let name = Digest::of(url.as_bytes()).short();
        let other = File::open(clones.join(format!("{name}.lock"))).unwrap();
        other.lock().unwrap();
        let again = export(&wanted, &clones, false, &to.join("again"), &stop).unwrap_err();
        assert!(matches!(again, SourceError::Stopped), "{again}");
    }
}
