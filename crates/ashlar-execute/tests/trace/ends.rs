//! How commands end, stop and go on: as without a trace.

use std::fs;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ashlar_execute::trace::{Trace, TraceError};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::fixture::{Fixture, assert_touched, exists, helper};

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

/// Waits for what another process does.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process is there and no zombie.
fn lives(pid: Pid) -> bool {
    let file = format!("/proc/{}/stat", pid.as_raw_nonzero());
    test_kill_process(pid).is_ok()
        && fs::read_to_string(file).is_ok_and(|text| !text.contains(") Z"))
}

#[test]
fn tracing_works_here() {
    Trace { below: Vec::new(), helper: helper() }.available().unwrap();
}

#[test]
fn codes_and_signals_are_those_of_the_command() {
    let it = Fixture::new();
    it.write("in", "x");
    let script = |text: &str| {
        let mut command = it.command("/bin/sh");
        command.args(["-c", text]);
        it.run(command)
    };
    let (status, lines) = script("cat in; exit 7");
    assert_eq!(status.code(), Some(7));
    assert_touched(lines, &["read in"]);
    for (name, number) in [("TERM", 15), ("SEGV", 11), ("KILL", 9)] {
        let (status, lines) = script(&format!("cat in; kill -{name} $$; sleep 20"));
        assert_eq!(status.signal(), Some(number), "{name}");
        assert_touched(lines, &["read in"]);
    }
    let (status, _) = script("trap 'exit 5' USR1; kill -USR1 $$; sleep 20");
    assert_eq!(status.code(), Some(5));
}

#[test]
fn output_is_read_while_it_runs() {
    let it = Fixture::new();
    let mut command = it.command("/bin/sh");
    command.args(["-c", "head -c 300000 /dev/zero; echo error >&2"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut readers = Vec::new();
    it.trace()
        .run(command, &mut |child| {
            let mut out = child.stdout.take().unwrap();
            let mut err = child.stderr.take().unwrap();
            readers.push(std::thread::spawn(move || {
                let mut all = Vec::new();
                out.read_to_end(&mut all).unwrap();
                all.len()
            }));
            readers.push(std::thread::spawn(move || {
                let mut all = Vec::new();
                err.read_to_end(&mut all).unwrap();
                all.len()
            }));
        })
        .unwrap();
    let lengths: Vec<usize> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert_eq!(lengths, [300_000, 6]);
}

#[test]
fn a_child_that_is_stopped_and_goes_on() {
    let it = Fixture::new();
    it.write("in", "x");
    let source = r#"
        #include <fcntl.h>
        #include <signal.h>
        #include <sys/wait.h>
        #include <unistd.h>
        int main(void) {
            int status;
            pid_t pid = fork();
            if (pid == 0) { raise(SIGSTOP); _exit(open("in", O_RDONLY) < 0); }
            if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status)) return 1;
            if (waitpid(pid, &status, WUNTRACED | WNOHANG)) return 2;
            usleep(100000);
            if (access("in", R_OK) || waitpid(pid, &status, WNOHANG)) return 3;
            kill(pid, SIGCONT);
            if (waitpid(pid, &status, WCONTINUED) != pid || !WIFCONTINUED(status)) return 4;
            return waitpid(pid, &status, 0) != pid || status;
        }"#;
    let (_folder, program) = Fixture::compile(source, &[]);
    assert_touched(it.touched(it.command(program.to_str().unwrap())), &["read in"]);
}

#[test]
fn what_a_command_leaves_behind_goes_on_and_can_open_files() {
    let it = Fixture::new();
    it.write("late", "x");
    let start = Instant::now();
    let mut command = it.command("/bin/sh");
    let daemon = "sleep 1.5; cat late > copy; echo $$ > pid; exec sleep 30";
    command.args(["-c", &format!("setsid sh -c '{daemon}' >log 2>&1 &")]);
    // The thread that asked for the trace ends too.
    let lines = std::thread::scope(|scope| scope.spawn(|| it.touched(command)).join().unwrap());
    assert!(start.elapsed() < Duration::from_millis(1400), "{:?}", start.elapsed());
    assert!(!lines.iter().any(|line| line == "read late"), "{lines:?}");
    until("the daemon works", || {
        fs::read_to_string(it.path.join("pid")).is_ok_and(|text| text.ends_with('\n'))
    });
    assert_eq!(fs::read_to_string(it.path.join("copy")).unwrap(), "x");
    kill_process(pid(&fs::read_to_string(it.path.join("pid")).unwrap()), Signal::KILL).unwrap();
}

#[test]
fn killing_who_traces_kills_what_is_traced() {
    let it = Fixture::new();
    let script = "echo $$ > pid; sh -c 'echo $$ > child; sleep 30; true'; true";
    let mut outer = Command::new(helper());
    outer.args(["trace", "sh", "-c", script]).current_dir(&it.path);
    let mut outer = outer.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let number = |name: &str| fs::read_to_string(it.path.join(name)).unwrap_or_default();
    until("both run", || number("pid").ends_with('\n') && number("child").ends_with('\n'));
    let (parent, child) = (pid(&number("pid")), pid(&number("child")));
    assert!(lives(parent) && lives(child));
    outer.kill().unwrap();
    outer.wait().unwrap();
    until("both are gone", || !lives(parent) && !lives(child));
}

#[test]
fn a_program_that_is_not_there_is_said() {
    let it = Fixture::new();
    let error = it.trace().run(it.command("./none"), &mut |_| {}).unwrap_err();
    assert!(
        matches!(&error, TraceError::Start { source, .. }
            if source.kind() == std::io::ErrorKind::NotFound),
        "{error:?}"
    );
    let trace = Trace { below: Vec::new(), helper: it.path.join("helper") };
    let error = trace.available().unwrap_err();
    assert!(matches!(error, TraceError::Helper { .. }), "{error:?}");
}

#[test]
fn a_trace_within_a_trace_is_refused_with_advice() {
    let it = Fixture::new();
    let mut command = it.command(helper().to_str().unwrap());
    command.args(["trace", "sh", "-c", "true"]).stdout(Stdio::piped());
    let mut text = String::new();
    let (status, _) = it
        .trace()
        .run(command, &mut |child| {
            child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        })
        .unwrap();
    assert_eq!(status.code(), Some(3));
    assert!(text.contains("cannot be traced") && text.contains("outer trace"), "{text}");
    assert!(!exists(&it.path.join("none")));
}
