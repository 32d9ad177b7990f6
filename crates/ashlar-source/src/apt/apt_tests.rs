use std::process::Command;

use super::*;

/// An archive on this machine: some packages and one source.
struct Archive(tempfile::TempDir);

impl Archive {
    fn new() -> Self {
        let archive = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(archive.folder()).unwrap();
        archive
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("archive")
    }

    fn deb(&self, name: &str, version: &str, fields: &str) {
        let tree = self.0.path().join("tree");
        std::fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: M <m@example.org>\n\
             {fields}Description: d\n d\n"
        );
        std::fs::write(tree.join("DEBIAN/control"), control).unwrap();
        let file = self.folder().join(format!("{name}_{version}_all.deb"));
        let mut command = Command::new("dpkg-deb");
        command.args(["-Znone", "--root-owner-group", "-b"]).arg(&tree).arg(file);
        assert!(command.output().unwrap().status.success());
    }

    fn apt(&self) -> Apt {
        local_repository(&self.folder(), "stone").unwrap();
        let sources = format!(
            "Types: deb\nURIs: file:{}\nSuites: ./\nTrusted: yes\n",
            self.folder().display()
        );
        let apt = Apt::with_sources(self.0.path().join("state"), sources);
        apt.update().unwrap();
        apt
    }
}

fn small() -> Archive {
    let archive = Archive::new();
    archive.deb("base", "1", "Essential: yes\n");
    archive.deb("lib", "1:2~rc1+b", "Depends: base\n");
    archive.deb("lib-dev", "1:2", "Depends: lib (>= 1:1)\n");
    archive.deb("tool", "3", "Depends: lib\nRecommends: never\n");
    archive.deb("test-only", "3", "");
    archive.deb("never", "3", "");
    archive.deb("against-lib", "3", "Conflicts: lib\n");
    archive
}

fn ids(found: &[(String, LockedFile)]) -> Vec<&str> {
    found.iter().map(|(id, _)| id.as_str()).collect()
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn no_control(file: &LockedFile) -> Result<String, SourceError> {
    panic!("{} is in the index", file.path)
}

#[test]
fn resolves_whole_sets() {
    let archive = small();
    let apt = archive.apt();
    let found = apt.resolve_packages("stone", &strings(&["?essential", "tool"])).unwrap();
    assert_eq!(ids(&found), ["base_1_all", "lib_1:2~rc1+b_all", "tool_3_all"]);
    let file = &found[1].1;
    assert_eq!(file.path, "lib_1:2~rc1+b_all.deb");
    let bytes = std::fs::read(archive.folder().join(&file.path)).unwrap();
    let digest = Digest::of(&bytes);
    assert_eq!((file.sha256.as_str(), file.size), (digest.hex().as_str(), digest.size));
    let found = apt.resolve_base("stone", "essential", &strings(&["test-only"])).unwrap();
    assert_eq!(ids(&found), ["base_1_all", "test-only_3_all"]);
    let error = |result: Result<_, SourceError>| match result {
        Err(SourceError::Apt(e)) => e,
        Err(other) => panic!("{other}"),
        Ok(found) => panic!("{found:?}"),
    };
    let no = error(apt.resolve_packages("stone", &strings(&["unheard-of"])));
    assert!(matches!(&no, AptError::Resolve { words, .. } if words.contains("unheard-of")), "{no}");
    assert!(matches!(error(apt.resolve_packages("sand", &[])), AptError::NoSuite { .. }));
    assert!(matches!(error(apt.resolve_base("stone", "x", &[])), AptError::NoVariant(_)));
    for name in ["-o", "tool-", "lib/x", "tool=3", ""] {
        let no = error(apt.resolve_packages("stone", &strings(&[name])));
        assert!(matches!(no, AptError::Resolve { .. }), "{name}: {no}");
    }
}

#[test]
fn tools_are_what_the_base_lacks() {
    let archive = small();
    let apt = archive.apt();
    let base = apt.resolve_packages("stone", &strings(&["base", "lib"])).unwrap();
    let request = ToolRequest {
        suite: "stone",
        base: &base,
        tools: &strings(&["tool"]),
        satisfy: &strings(&["lib-dev (>= 1:1), test-only <!nocheck>", "never [no-such-arch]"]),
        provided: &[],
        profiles: &[],
    };
    let found = |request: &ToolRequest<'_>| {
        apt.resolve_tools(request, &mut no_control)
            .map(|found| found.into_iter().map(|(id, _)| id).collect::<Vec<_>>())
    };
    assert_eq!(found(&request).unwrap(), ["lib-dev_1:2_all", "test-only_3_all", "tool_3_all"]);
    let nocheck = strings(&["nocheck"]);
    let without = ToolRequest { profiles: &nocheck, ..request };
    assert_eq!(found(&without).unwrap(), ["lib-dev_1:2_all", "tool_3_all"]);

    // What modules make is not taken from the archive, what it needs is.
    let (nothing, provided) = (strings(&[]), strings(&["tool", "ours"]));
    let ours = strings(&["ours (>= 5), tool"]);
    let bare = apt.resolve_packages("stone", &strings(&["base"])).unwrap();
    let local = ToolRequest {
        base: &bare,
        tools: &nothing,
        satisfy: &ours,
        provided: &provided,
        ..request
    };
    assert_eq!(found(&local).unwrap(), ["lib_1:2~rc1+b_all"]);

    let conflict = ToolRequest { tools: &strings(&["against-lib"]), ..request };
    let error = found(&conflict).unwrap_err();
    assert!(matches!(error, SourceError::Apt(AptError::Resolve { .. })), "{error}");
    let none = ToolRequest { tools: &nothing, satisfy: &nothing, ..request };
    assert_eq!(found(&none).unwrap(), Vec::<String>::new());
}

#[test]
fn a_base_older_than_the_index_is_read_from_its_packages() {
    let archive = small();
    let apt = archive.apt();
    let base = apt.resolve_packages("stone", &strings(&["base", "lib"])).unwrap();
    let old = archive.folder().join("lib_1:2~rc1+b_all.deb");
    let aside = archive.0.path().join("aside.deb");
    std::fs::rename(old, &aside).unwrap();
    archive.deb("lib", "1:7", "Depends: base\n");
    let apt = {
        drop(apt);
        archive.apt()
    };
    let request = ToolRequest {
        suite: "stone",
        base: &base,
        tools: &strings(&["tool"]),
        satisfy: &[],
        provided: &[],
        profiles: &[],
    };
    assert_eq!(apt.gone(&request).unwrap(), [base[1].1.clone()]);
    let found = apt.resolve_tools(&request, &mut |_| control_fields(&aside)).unwrap();
    assert_eq!(ids(&found), ["tool_3_all"]);
}

#[test]
fn sources_come_with_build_dependencies() {
    let archive = small();
    let stanza = |version: &str| {
        let hash = "ab".repeat(32);
        format!(
            "Package: src\nFormat: 3.0 (quilt)\nBinary: src\nArchitecture: any\nVersion: {version}\n\
             Build-Depends: a (>= 1),\n b [amd64] <!x>\nBuild-Depends-Indep: c\n\
             Checksums-Sha256:\n {hash} 3 src_{version}.tar.xz\n {hash} 2 src_{version}.tar.xz.asc\n \
             {hash} 1 src_{version}.dsc\nFiles:\n {md5} 1 src_{version}.dsc\n\
             Directory: pool/s\n\n",
            md5 = "cd".repeat(16),
        )
    };
    let sources = [stanza("1.9"), stanza("1.10~rc1"), stanza("1.10"), stanza("1.2")].concat();
    local_repository(&archive.folder(), "stone").unwrap();
    std::fs::write(archive.folder().join("Sources"), &sources).unwrap();
    let release = archive.folder().join("Release");
    let digest = Digest::of(sources.as_bytes());
    let text = std::fs::read_to_string(&release).unwrap();
    std::fs::write(&release, format!("{text} {} {} Sources\n", digest.hex(), digest.size)).unwrap();
    let stanza = format!(
        "Types: deb\nURIs: file:{}\nSuites: ./\nTrusted: yes\n",
        archive.folder().display()
    );
    let apt = Apt::with_sources(archive.0.path().join("state"), stanza);
    assert!(matches!(apt.resolve_source("src"), Err(SourceError::Apt(AptError::NoIndex))));
    apt.update().unwrap();
    let locked = apt.resolve_source("src").unwrap();
    assert_eq!(locked.version, "1.10");
    assert_eq!(locked.build_depends, ["a (>= 1)", "b [amd64] <!x>", "c"]);
    let paths: Vec<_> = locked.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["pool/s/src_1.10.dsc", "pool/s/src_1.10.tar.xz"]);
    for name in ["nothing", "-o", "src=1"] {
        assert!(matches!(apt.resolve_source(name), Err(SourceError::Apt(AptError::NoSource(_)))));
    }
}

#[test]
fn files_are_checked_and_their_absence_told() {
    let archive = small();
    let apt = archive.apt();
    let found = apt.resolve_packages("stone", &strings(&["base", "lib"])).unwrap();
    let wanted = wanted(&found);
    let folder = tempfile::tempdir().unwrap();
    let download = || {
        let mut got = Vec::new();
        let mut keep = |path: &Path, digest| {
            assert_eq!(digest_of(path), digest);
            got.push(digest);
            Ok(())
        };
        let result = apt.download(&wanted, folder.path(), &mut keep, &|| false);
        (got.len(), result)
    };
    let (count, result) = download();
    result.unwrap();
    assert_eq!(count, 2);
    let path = archive.folder().join(&found[1].1.path);
    std::fs::write(&path, "wrong").unwrap();
    let (count, result) = download();
    let error = result.unwrap_err();
    assert!(matches!(error, SourceError::Apt(AptError::Checksum { .. })), "{error}");
    assert_eq!(count, 1, "what is right is kept");
    std::fs::remove_file(&path).unwrap();
    let error = download().1.unwrap_err();
    let SourceError::Apt(AptError::Gone(paths)) = &error else { panic!("{error}") };
    assert_eq!(paths, &[found[1].1.path.clone()]);
    assert!(error.advice().unwrap().contains("ashlar lock --update"));
}

/// The files of packages that were found, with their digests.
fn wanted<T>(found: &[(T, LockedFile)]) -> Vec<(&LockedFile, Digest)> {
    let digest = |file: &LockedFile| Digest::from_hex(&file.sha256, file.size).unwrap();
    found.iter().map(|(_, file)| (file, digest(file))).collect()
}

/// Serves a folder; the address.
fn serve(folder: PathBuf) -> String {
    serve_until(folder, usize::MAX)
}

/// Serves a folder, and says nothing to whoever comes after so many answers; the address.
fn serve_until(folder: PathBuf, most: usize) -> String {
    use std::io::{BufRead as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let root = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for (count, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            if count >= most {
                silent.push(stream);
                continue;
            }
            let mut lines = std::io::BufReader::new(stream.try_clone().unwrap()).lines();
            let Some(Ok(first)) = lines.next() else { continue };
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let path = first.split(' ').nth(1).unwrap_or_default();
            let path = path.replace("%2b", "+").replace("%7e", "~").replace("%3a", ":");
            let (status, body) = match std::fs::read(folder.join(path.trim_start_matches('/'))) {
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            // A client that hangs up has what it wants.
            stream.write_all(&[head.into_bytes(), body].concat()).ok();
        }
    });
    root
}

#[test]
fn files_come_over_the_network_from_the_root_that_has_them() {
    let archive = small();
    local_repository(&archive.folder(), "stone").unwrap();
    let other = archive.0.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let sources =
        format!("Types: deb\nURIs: {}\nSuites: ./\nTrusted: yes\n", serve(archive.folder()));
    let apt = Apt::with_sources(archive.0.path().join("state"), sources.clone());
    apt.update().unwrap();
    let found = apt.resolve_packages("stone", &strings(&["base", "tool"])).unwrap();
    let wanted = wanted(&found);
    // `tool` is in the second archive only, `base` in both but wrong in the first.
    std::fs::rename(archive.folder().join("tool_3_all.deb"), other.join("tool_3_all.deb")).unwrap();
    std::fs::rename(archive.folder().join("base_1_all.deb"), other.join("base_1_all.deb")).unwrap();
    std::fs::write(archive.folder().join("base_1_all.deb"), "wrong").unwrap();
    let download = |apt: &Apt| {
        let folder = tempfile::tempdir().unwrap();
        let mut got = 0;
        let mut keep = |path: &Path, digest| {
            assert_eq!(digest_of(path), digest);
            got += 1;
            Ok(())
        };
        let result = apt.download(&wanted, folder.path(), &mut keep, &|| false);
        (got, result)
    };
    let (got, result) = download(&apt);
    let error = result.unwrap_err();
    assert_eq!(got, 1, "what is there is had");
    assert!(matches!(error, SourceError::Apt(AptError::Checksum { .. })), "{error}");
    std::fs::remove_file(archive.folder().join("base_1_all.deb")).unwrap();
    let error = download(&apt).1.unwrap_err();
    assert!(
        matches!(&error, SourceError::Apt(AptError::Gone(paths)) if paths.len() == 2),
        "{error}"
    );

    std::fs::write(archive.folder().join("base_1_all.deb"), "wrong").unwrap();
    let second = format!("\nTypes: deb\nURIs: {}\nSuites: ./\nTrusted: yes\n", serve(other));
    let both = Apt::with_sources(archive.0.path().join("state"), sources + &second);
    let (got, result) = download(&both);
    result.unwrap();
    assert_eq!(got, 3);

    let nobody = "Types: deb\nURIs: http://127.0.0.1:9\nSuites: ./\nTrusted: yes\n";
    let nobody = Apt::with_sources(archive.0.path().join("state"), nobody.to_owned());
    let error = nobody.update().unwrap_err();
    assert!(matches!(error, SourceError::Apt(AptError::Update { .. })), "{error}");
    let error = download(&nobody).1.unwrap_err();
    assert!(matches!(error, SourceError::Apt(AptError::Download { .. })), "{error}");
}

#[test]
fn a_server_that_says_nothing_is_left_and_what_came_is_kept() {
    let archive = small();
    local_repository(&archive.folder(), "stone").unwrap();
    let apt = archive.apt();
    let found = apt.resolve_packages("stone", &strings(&["base", "lib"])).unwrap();
    let wanted = wanted(&found);
    // One file is given, and then nothing more is said.
    let root = serve_until(archive.folder(), 1);
    let sources = format!("Types: deb\nURIs: {root}\nSuites: ./\nTrusted: yes\n");
    let apt = Apt::with_sources(archive.0.path().join("silent"), sources);
    let folder = tempfile::tempdir().unwrap();
    let began = std::time::Instant::now();
    let stop = || began.elapsed() > std::time::Duration::from_secs(2);
    let mut got = Vec::new();
    let mut keep = |_: &Path, digest| {
        got.push(digest);
        Ok(())
    };
    let result = apt.download(&wanted, folder.path(), &mut keep, &stop);
    assert!(matches!(result, Err(SourceError::Stopped)), "{result:?}");
    assert!(began.elapsed() < std::time::Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(got, [wanted[0].1]);
}

fn digest_of(path: &Path) -> Digest {
    Digest::of(&std::fs::read(path).unwrap())
}
