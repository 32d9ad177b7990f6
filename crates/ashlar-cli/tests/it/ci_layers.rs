//! `examples/ci-layers` as a CI system runs it: each job in a fresh checkout, with real sources, and
//! nobody to answer a question.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ashlar_testbed::{archives, program};

use crate::support::{ASHLAR, Ran};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/ci-layers");

/// A repository, the place where jobs check it out, and what they share.
struct Ci {
    folder: tempfile::TempDir,
    /// Where what is committed lies.
    committed: PathBuf,
    /// Where each job checks it out.
    checkout: PathBuf,
    /// Where the archives come from.
    archives: PathBuf,
}

/// What a job did.
struct Job {
    ran: Ran,
    /// `build musl`, `extract zlib`, … in order, as the makefile says them.
    steps: Vec<String>,
}

impl Ci {
    fn new() -> Self {
        assert!(program("patch").is_file());
        let folder = tempfile::Builder::new().prefix("ashlar-test-").tempdir().unwrap();
        let committed = folder.path().join("committed");
        let checkout = folder.path().join("checkout");
        let some = folder.path().join("archives");
        copy(Path::new(EXAMPLE), &committed);
        copy(&archives(), &some);
        Self { folder, committed, checkout, archives: some }
    }

    /// A job of its own machine: nothing is there but what is committed, with times of now.
    fn check_out(&self) {
        if self.checkout.exists() {
            std::fs::remove_dir_all(&self.checkout).unwrap();
        }
        copy(&self.committed, &self.checkout);
        for args in [
            &["init", "--quiet", "--initial-branch=main"][..],
            &["add", "--all"],
            &["commit", "--quiet", "--message=all"],
        ] {
            let mut git = self.command("git");
            git.args(["-c", "user.name=x", "-c", "user.email=x@localhost"]).args(args);
            Ran::of(&git.output().unwrap()).good();
        }
    }

    /// A program in the checkout, that knows nothing of the CI system this may run in.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("ASHLAR", ASHLAR)
            .env("ASHLAR_STORE", self.folder.path().join("store"))
            .env("ARCHIVES", &self.archives)
            .current_dir(&self.checkout)
            .stdin(Stdio::null());
        command
    }

    /// Runs the job in the checkout as it is.
    fn job(&self) -> Job {
        Job::of(Ran::of(&self.command("ci/job").output().unwrap()))
    }

    /// Runs the job in a fresh checkout.
    fn fresh_job(&self) -> Job {
        self.check_out();
        self.job()
    }

    /// Runs the job in a fresh checkout until it says something, and ends it as CI systems do.
    fn cancelled_job(&self, at: &str) -> Job {
        self.check_out();
        let mut command = self.command("ci/job");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let mut err = child.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut err, &mut bytes).unwrap();
            bytes
        });
        let mut out = String::new();
        let mut cancelled = false;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if line.contains(at) && !cancelled {
                cancelled = true;
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            }
            out.push_str(&line);
            out.push('\n');
        }
        assert!(cancelled, "the job never came to {at:?}:\n{out}");
        let status = child.wait().unwrap();
        let stderr = reader.join().unwrap();
        Job::of(Ran::of(&std::process::Output { status, stdout: out.into_bytes(), stderr }))
    }

    /// Commits a change.
    #[track_caller]
    fn commit(&self, path: &str, from: &str, to: &str) {
        edit(&self.committed.join(path), from, to);
    }

    /// What the programs say that were built.
    fn works(&self) -> String {
        let mut words = self.command(self.checkout.join("install/popt/bin/poptwords"));
        let words = Ran::of(&words.arg("a 'b c'").output().unwrap()).good().out;
        let mut kexec = self.command(self.checkout.join("install/kexec/sbin/kexec"));
        let kexec = Ran::of(&kexec.arg("--version").output().unwrap()).good().out;
        assert!(kexec.starts_with("kexec-tools 2."), "{kexec}");
        words
    }

    /// Nothing that git has was touched, and nothing new is seen by it.
    #[track_caller]
    fn is_clean(&self) {
        let status =
            Ran::of(&self.command("git").args(["status", "--porcelain"]).output().unwrap());
        assert_eq!(status.good().out, "");
    }
}

impl Job {
    fn of(ran: Ran) -> Self {
        let all = format!("{}{}", ran.out, ran.err);
        // What `patch` asks when something is applied already.
        for question in ["Assume -R", "Apply anyway", "previously applied", "File to patch"] {
            assert!(!all.contains(question), "{question:?} was asked:\n{all}");
        }
        let steps = ran.out.lines().filter_map(|line| line.strip_prefix(">>> "));
        let steps = steps.filter(|step| !step.starts_with("patch ")).map(str::to_owned).collect();
        Self { ran, steps }
    }

    /// It succeeded, and did these steps for these modules in this order, and nothing else.
    #[track_caller]
    fn did(&self, wanted: &[(&str, &[&str])]) {
        assert_eq!(self.ran.code, 0, "\nstdout:\n{}\nstderr:\n{}", self.ran.out, self.ran.err);
        self.steps(wanted);
    }

    #[track_caller]
    fn steps(&self, wanted: &[(&str, &[&str])]) {
        let all = wanted
            .iter()
            .flat_map(|(module, steps)| steps.iter().map(move |step| format!("{step} {module}")));
        let all: Vec<String> = all.collect();
        assert_eq!(self.steps, all, "\nstdout:\n{}\nstderr:\n{}", self.ran.out, self.ran.err);
    }
}

const ALL: &[&str] = &["download", "verify", "extract", "configure", "build"];
/// With the archive there and verified.
const UNPACKED: &[&str] = &["extract", "configure", "build"];

#[test]
fn each_job_builds_what_changed_and_nothing_else() {
    let ci = Ci::new();
    half_way(&ci);
    nothing_changed(&ci);
    only_the_middle_layer(&ci);
    a_patch(&ci);
    only_the_compiler(&ci);
    preparing(&ci);
    another_version(&ci);
}

/// A job is cancelled, the next one fails because an archive cannot be had: what was finished is
/// kept each time, and the next one goes on there.
fn half_way(ci: &Ci) {
    let job = ci.cancelled_job(">>> configure popt");
    assert_ne!(job.ran.code, 0);
    let begun = &["download", "verify", "extract", "configure"];
    job.steps(&[("musl", ALL), ("zlib", ALL), ("popt", begun)]);

    let lacking = ci.archives.join("kexec-tools_2.0.25.orig.tar.xz");
    let aside = ci.folder.path().join("kexec");
    std::fs::rename(&lacking, &aside).unwrap();
    let job = ci.fresh_job();
    assert_ne!(job.ran.code, 0);
    job.steps(&[("popt", &["configure", "build"]), ("kexec", &["download"])]);
    std::fs::rename(&aside, &lacking).unwrap();

    ci.fresh_job().did(&[("kexec", ALL)]);
    assert_eq!(ci.works(), "[a][b c]\n");
    ci.is_clean();
}

/// The same again, elsewhere.
fn nothing_changed(ci: &Ci) {
    for _ in 0..2 {
        ci.fresh_job().did(&[]);
        assert_eq!(ci.works(), "[a][b c]\n");
        ci.is_clean();
    }
    // And once more where everything is there.
    ci.job().did(&[]);
}

/// What the seed had: a module's options change, so that only a smaller layer hits. What comes back
/// must have its downloads and stamps with it; nothing that is patched is patched again.
fn only_the_middle_layer(ci: &Ci) {
    ci.commit("modules/popt", "./configure", "CFLAGS=-Os ./configure");
    ci.fresh_job().did(&[("popt", UNPACKED), ("kexec", UNPACKED)]);
    assert_eq!(ci.works(), "[a][b c]\n");
    ci.is_clean();
    ci.fresh_job().did(&[]);
}

/// A patch is edited: the archive is the same, and the stamps are younger than the patch.
fn a_patch(ci: &Ci) {
    let patch = "patches/popt-1.19+dfsg/0001-poptwords.patch";
    ci.commit(patch, "\"[%s]\"", "\"<%s>\"");
    ci.fresh_job().did(&[("popt", UNPACKED), ("kexec", UNPACKED)]);
    assert_eq!(ci.works(), "<a><b c>\n");

    // Where the tree is still there, it concerns nothing else.
    ci.commit(patch, "\"<%s>\"", "\"(%s)\"");
    edit(&ci.checkout.join(patch), "\"<%s>\"", "\"(%s)\"");
    ci.job().did(&[("popt", UNPACKED)]);
    assert_eq!(ci.works(), "(a)(b c)\n");
    ci.fresh_job().did(&[]);
    assert_eq!(ci.works(), "(a)(b c)\n");

    // Back again: that is kept too, and is put over the other.
    ci.commit(patch, "\"(%s)\"", "\"<%s>\"");
    ci.fresh_job().did(&[]);
    assert_eq!(ci.works(), "<a><b c>\n");
}

/// A module below the others changes.
fn only_the_compiler(ci: &Ci) {
    ci.commit("modules/zlib", "CFLAGS=-O2", "CFLAGS=-O1");
    ci.fresh_job().did(&[("zlib", UNPACKED), ("popt", UNPACKED), ("kexec", UNPACKED)]);
    assert_eq!(ci.works(), "<a><b c>\n");
}

/// Who only prepares a workspace does nothing when everything is kept already.
fn preparing(ci: &Ci) {
    ci.check_out();
    let ran = Ran::of(&ci.command("ci/prepare").output().unwrap()).good();
    assert!(!ran.out.contains(">>>"), "{}", ran.out);
    for made in ["build", "install", "packages", "crossgcc"] {
        assert!(!ci.checkout.join(made).exists(), "{made} was restored for nothing");
    }
    // Without a hit there is something to prepare.
    ci.commit("modules/kexec", "./configure", "./configure --without-xen");
    ci.check_out();
    let mut asked = ci.command(ASHLAR);
    Ran::of(&asked.args(["cache", "skip-if-hit", "modules"]).output().unwrap()).exits(1);
    let mut asked = ci.command(ASHLAR);
    let asked = asked.args(["cache", "skip-if-hit", "modules", "--", "echo", "preparing"]);
    assert_eq!(Ran::of(&asked.output().unwrap()).good().out, "preparing\n");
}

/// The manual kill switch: nothing that was kept is used.
fn another_version(ci: &Ci) {
    ci.commit("ashlar-cache.toml", "version = \"1\"", "version = \"2\"");
    ci.check_out();
    let mut restore = ci.command(ASHLAR);
    Ran::of(&restore.args(["cache", "restore"]).output().unwrap()).good();
    assert!(!ci.checkout.join("build").exists());
}

#[track_caller]
fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{} has no {from:?}:\n{text}", path.display());
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// Copies a folder with modes, and times of now; not what git does not have.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let made = ["build", "install", "packages", "crossgcc", ".apt", ".git"];
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(&name)).unwrap();
        } else if !made.contains(&name.to_str().unwrap()) {
            copy(&entry.path(), &to.join(&name));
        }
    }
}
