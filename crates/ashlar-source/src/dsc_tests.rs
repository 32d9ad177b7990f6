use std::process::Command;

use ashlar_store::MemoryStore;

use super::*;

/// A package that `dpkg-source` builds; it is also the one to compare with.
struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    fn new(format: &str, version: &str) -> Self {
        let made = Self { folder: tempfile::tempdir().unwrap() };
        made.write("x-1/main.c", &(1..30).map(|n| format!("line {n}\n")).collect::<String>());
        made.write("x-1/debian/upstream-has-one", "to be dropped");
        if version.contains('-') {
            made.tar("x_1.orig.tar.gz", "x-1");
        }
        std::fs::remove_file(made.path("x-1/debian/upstream-has-one")).unwrap();
        made.write("x-1/debian/source/format", &format!("{format}\n"));
        let control = "Source: x\nMaintainer: M <m@example.org>\nStandards-Version: 4.6.1\n\n\
                       Package: x\nArchitecture: any\nDescription: x\n x\n";
        made.write("x-1/debian/control", control);
        let changelog = format!(
            "x ({version}) unstable; urgency=low\n\n  * x\n\n -- M <m@example.org>  \
             Sat, 01 Jan 2000 00:00:00 +0000\n"
        );
        made.write("x-1/debian/changelog", &changelog);
        made.write("x-1/debian/rules", "#!/usr/bin/make -f\n");
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), content).unwrap();
    }

    fn tar(&self, archive: &str, what: &str) {
        self.run("tar", &["-caf", archive, what]);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(program);
        let output = command.current_dir(self.folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Builds, and unpacks with dpkg-source and with ours.
    fn unpack_both(&self) -> Result<(), SourceError> {
        self.run("dpkg-source", &["-q", "-b", "x-1"]);
        let store = MemoryStore::new();
        let mut parts = Vec::new();
        let mut dsc = String::new();
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_file() {
                let digest = ashlar_store::put(&store, &std::fs::read(&path).unwrap()).unwrap();
                let (sha256, size) = (digest.hex(), digest.size);
                if name.ends_with(".dsc") {
                    dsc.clone_from(&name);
                }
                parts.push((LockedFile { path: format!("pool/{name}"), sha256, size }, digest));
            }
        }
        let parts: Vec<_> = parts.iter().map(|(file, digest)| (file, *digest)).collect();
        let work = self.path("work");
        std::fs::create_dir(&work).unwrap();
        let ours = unpack(&store, &parts, &work)?;
        self.run("dpkg-source", &["-q", "--no-check", "-x", &dsc, "theirs"]);
        remove(&self.path("theirs/.pc"))?;
        let mut diff = Command::new("diff");
        let output = diff.arg("-r").arg(&ours).arg(self.path("theirs")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let rules = ours.join("debian/rules").metadata().unwrap();
        assert_eq!(rules.permissions().mode() & 0o777, 0o755);
        Ok(())
    }

    /// Changes upstream's file and records that as a patch of the series.
    fn add_patch(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path("x-1/main.c")).unwrap();
        self.write("old/main.c", &text);
        self.write("new/main.c", &text.replace(from, to));
        self.write("new/added.c", "added\n");
        let mut diff = Command::new("diff");
        diff.current_dir(self.folder.path()).args(["-Nru", "old", "new"]);
        let patch = String::from_utf8(diff.output().unwrap().stdout).unwrap();
        std::fs::remove_dir_all(self.path("old")).unwrap();
        std::fs::remove_dir_all(self.path("new")).unwrap();
        self.write(&format!("x-1/debian/patches/{name}"), &patch);
        let series = std::fs::read_to_string(self.path("x-1/debian/patches/series"));
        let series = series.unwrap_or_default() + name + " # why\n";
        self.write("x-1/debian/patches/series", &series);
    }
}

#[test]
fn quilt_with_patches_and_components() {
    let made = Made::new("3.0 (quilt)", "1-1");
    made.write("c-2/part", "component");
    made.tar("x_1.orig-data.tar.xz", "c-2");
    made.write("x-1/data/part", "component");
    made.add_patch("first.patch", "line 5\n", "LINE 5\n");
    made.unpack_both().unwrap();
    let main = std::fs::read_to_string(made.path("work/orig/x-1/main.c")).unwrap();
    assert!(main.contains("LINE 5\n"));
    assert!(made.path("work/orig/x-1/added.c").exists());
    assert!(made.path("work/orig/x-1/data/part").exists());
    assert!(!made.path("work/orig/x-1/debian/upstream-has-one").exists());
}

#[test]
fn native_and_old_formats() {
    Made::new("3.0 (native)", "1").unpack_both().unwrap();
    Made::new("1.0", "1").unpack_both().unwrap();
    let old = Made::new("1.0", "1-1");
    old.write("x-1/debian/upstream-has-one", "to be dropped");
    old.write("x-1/main.c", "changed by the diff\n");
    old.unpack_both().unwrap();
}

#[test]
fn a_package_must_be_what_its_lock_says() {
    let store = MemoryStore::new();
    let put = |name: &str, bytes: &[u8]| {
        let digest = ashlar_store::put(&store, bytes).unwrap();
        let (sha256, size) = (digest.hex(), digest.size);
        (LockedFile { path: name.to_owned(), sha256, size }, digest)
    };
    let tar = put("p/x_1.tar.gz", b"archive");
    let dsc = |format: &str, sha256: &str| {
        format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nFormat: {format}\nSource: x\n\
             Checksums-Sha256:\n {sha256} 7 x_1.tar.gz\n {sha256} 7 x_1.tar.gz.asc\n\n\
             -----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n"
        )
    };
    let work = tempfile::tempdir().unwrap();
    let result = |dsc: &str| {
        let dsc = put("p/x_1.dsc", dsc.as_bytes());
        let parts = [(&dsc.0, dsc.1), (&tar.0, tar.1)];
        unpack(&store, &parts, work.path()).unwrap_err()
    };
    let right = tar.0.sha256.clone();
    let error = result(&dsc("3.0 (git)", &right));
    assert!(matches!(error, SourceError::Dsc(DscError::Format { .. })), "{error}");
    let error = result(&dsc("3.0 (native)", &"0".repeat(64)));
    assert!(matches!(error, SourceError::Dsc(DscError::Differs { .. })), "{error}");
    let error = result(&dsc("3.0 (native)", &right));
    assert!(matches!(error, SourceError::Unpack(..)), "{error}");
    let error = result("no stanza");
    assert!(matches!(error, SourceError::Dsc(DscError::Malformed { .. })), "{error}");
    let error = unpack(&store, &[(&tar.0, tar.1)], work.path()).unwrap_err();
    assert!(matches!(error, SourceError::Dsc(DscError::NoDsc(_))), "{error}");
}

#[test]
fn names_of_components() {
    assert_eq!(component("x_1.orig-data.tar.xz"), Some("data"));
    assert_eq!(component("x_1.orig.tar.xz"), None);
    assert_eq!(component("x_1.orig-...tar.xz"), None);
}
