//! Programs of all kinds: static, with threads, started in every way.

use std::fs;

use crate::fixture::{Fixture, assert_touched, exists};

#[test]
fn a_static_program_and_what_it_starts() {
    let it = Fixture::new();
    it.write("in", "x");
    let mut command = it.command("busybox");
    command.args(["sh", "-c", "busybox cat in; busybox cat none; true"]);
    assert_touched(it.touched(command), &["read in", "absent none"]);
}

#[test]
fn descriptors_of_folders() {
    let it = Fixture::new();
    it.write("folder/in", "x");
    it.write("folder/sub/old", "x");
    let source = r#"
        #define _GNU_SOURCE
        #include <fcntl.h>
        #include <stdio.h>
        #include <sys/stat.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        #include <stdint.h>
        int main(void) {
            int folder = open("folder", O_RDONLY | O_DIRECTORY);
            struct stat st;
            struct { uint64_t flags, mode, resolve; } how = { O_RDONLY, 0, 0 };
            char buffer[64];
            if (openat(folder, "in", O_RDONLY) < 0) return 1;
            if (fstatat(folder, "none", &st, 0) == 0) return 2;
            if (syscall(SYS_openat2, folder, "sub/old", &how, sizeof how) < 0) return 3;
            if (renameat(folder, "sub/old", folder, "sub/new")) return 4;
            if (readlinkat(folder, "sub/no-link", buffer, sizeof buffer) >= 0) return 5;
            if (fchdir(folder)) return 6;
            if (access("x", R_OK) == 0) return 7;
            if (mkdirat(folder, "made", 0777)) return 8;
            if (fstat(folder, &st)) return 9;
            return 0;
        }"#;
    let (_folder, program) = Fixture::compile(source, &[]);
    assert_touched(
        it.touched(it.command(program.to_str().unwrap())),
        &[
            "read folder/in",
            "absent folder/none",
            "read folder/sub/old",
            "wrote folder/sub/old",
            "wrote folder/sub/new",
            "absent folder/sub/no-link",
            "absent folder/x",
            "wrote folder/made",
        ],
    );
}

#[test]
fn one_thread_opens_and_another_runs_a_program() {
    let it = Fixture::new();
    it.write("one", "x");
    it.write("two", "x");
    let source = r#"
        #include <fcntl.h>
        #include <pthread.h>
        #include <stdlib.h>
        #include <unistd.h>
        static void *opens(void *name) {
            for (;;) { int file = open(name, O_RDONLY); if (file < 0) exit(1); close(file); }
        }
        static void *runs(void *unused) {
            usleep(50000);
            execl("/bin/cat", "cat", "two", (char *)0);
            exit(2);
        }
        int main(void) {
            pthread_t one, other;
            pthread_create(&one, 0, opens, "one");
            pthread_create(&other, 0, runs, 0);
            pthread_join(other, 0);
            return 3;
        }"#;
    let (_folder, program) = Fixture::compile(source, &["-pthread", "-static"]);
    for _ in 0..5 {
        assert_touched(
            it.touched(it.command(program.to_str().unwrap())),
            &["read one", "read two"],
        );
    }
}

#[test]
fn a_thread_that_changes_the_folder_of_all() {
    let it = Fixture::new();
    it.write("a/in", "x");
    it.write("b/in", "x");
    let source = r#"
        #include <fcntl.h>
        #include <pthread.h>
        #include <unistd.h>
        static void *moves(void *name) { return chdir(name) ? "" : 0; }
        static int move(char *name) {
            pthread_t thread;
            void *result;
            pthread_create(&thread, 0, moves, name);
            pthread_join(thread, &result);
            return result != 0;
        }
        int main(void) {
            if (move("a") || open("in", O_RDONLY) < 0) return 1;
            if (move("../b") || open("in", O_RDONLY) < 0) return 2;
            return 0;
        }"#;
    let (_folder, program) = Fixture::compile(source, &["-pthread"]);
    assert_touched(it.touched(it.command(program.to_str().unwrap())), &["read a/in", "read b/in"]);
}

#[test]
fn children_by_vfork_spawn_and_clone() {
    let it = Fixture::new();
    for name in ["one", "two", "three"] {
        it.write(name, "x");
    }
    let source = r#"
        #define _GNU_SOURCE
        #include <fcntl.h>
        #include <sched.h>
        #include <signal.h>
        #include <spawn.h>
        #include <sys/syscall.h>
        #include <sys/wait.h>
        #include <unistd.h>
        #include <stdint.h>
        extern char **environ;
        int main(void) {
            int status;
            pid_t pid = vfork();
            if (pid == 0) { execl("/bin/cat", "cat", "one", (char *)0); _exit(1); }
            if (waitpid(pid, &status, 0) != pid || status) return 1;
            char *arguments[] = { "cat", "two", 0 };
            if (posix_spawn(&pid, "/bin/cat", 0, 0, arguments, environ)) return 2;
            if (waitpid(pid, &status, 0) != pid || status) return 3;
            uint64_t clone3[8] = { 0, 0, 0, 0, SIGCHLD };
            pid = syscall(435, clone3, sizeof clone3);
            if (pid == 0) _exit(open("three", O_RDONLY) < 0);
            if (waitpid(pid, &status, 0) != pid || status) return 4;
            return 0;
        }"#;
    let (_folder, program) = Fixture::compile(source, &[]);
    assert_touched(
        it.touched(it.command(program.to_str().unwrap())),
        &["read one", "read two", "read three"],
    );
}

#[test]
fn calls_of_32_bit_programs_are_traced_too() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let it = Fixture::new();
    it.write("in", "x");
    // A whole 32-bit program would need a 32-bit C library; the old door into the kernel is open
    // to 64-bit ones as well, for pointers below 4 GB.
    let source = r#"
        static int call(int number, const char *name, int a) {
            int result;
            __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(name), "c"(a), "d"(0) : "memory");
            return result;
        }
        int main(void) {
            if (call(5, "in", 0) < 0) return call(5, "in", 0) == -38 ? 9 : 1;
            return call(33, "none", 4) != -2;
        }"#;
    let (_folder, program) = Fixture::compile(source, &["-static", "-no-pie"]);
    assert_touched(it.touched(it.command(program.to_str().unwrap())), &["read in", "absent none"]);
}

#[test]
fn rings_are_refused() {
    let it = Fixture::new();
    let source = r#"
        #include <errno.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int main(void) { char room[256] = {0}; return !(syscall(425, 1, room) < 0 && errno == ENOSYS); }"#;
    let (_folder, program) = Fixture::compile(source, &[]);
    it.touched(it.command(program.to_str().unwrap()));
}

#[test]
fn thousands_of_children() {
    let it = Fixture::new();
    it.write("in", "x");
    let source = r#"
        #include <fcntl.h>
        #include <stdio.h>
        #include <sys/wait.h>
        #include <unistd.h>
        int main(void) {
            int status;
            for (int i = 0; i < 3000; i += 30) {
                for (int j = 0; j < 30; j++) {
                    if (fork()) continue;
                    char name[32];
                    snprintf(name, sizeof name, "none-%d", i + j);
                    _exit(open("in", O_RDONLY) < 0 || access(name, F_OK) == 0);
                }
                for (int j = 0; j < 30; j++) if (wait(&status) < 0 || status) return 1;
            }
            return 0;
        }"#;
    let (_folder, program) = Fixture::compile(source, &[]);
    let lines = it.touched(it.command(program.to_str().unwrap()));
    assert_eq!(lines.iter().filter(|line| line.starts_with("absent none-")).count(), 3000);
    assert_eq!(lines.len(), 3001);
}

#[test]
fn huge_argument_lists_and_names_across_pages() {
    let it = Fixture::new();
    let deep = "d".repeat(200);
    let names: Vec<String> = (0..15).map(|n| format!("{deep}{n}")).collect();
    it.write(&format!("{}/in", names.join("/")), "x");
    let mut command = it.command("cat");
    // A name that ends in the next page, wherever it begins.
    for _ in 0..100 {
        command.arg(format!("{}/in", names.join("/")));
    }
    command.stdout(std::process::Stdio::null());
    assert_touched(it.touched(command), &[&format!("read {}/in", names.join("/"))]);
    let mut command = it.command("/bin/true");
    command.args((0..50_000).map(|n| format!("argument-{n}")));
    assert_touched(it.touched(command), &[]);
}

#[test]
fn a_compiler_run_by_make() {
    let it = Fixture::new();
    it.write("Makefile", "prog: main.c lib.h\n\tgcc -Iinc -o prog main.c\n");
    it.write("main.c", "#include \"lib.h\"\nint main(void) { return N; }\n");
    it.write("lib.h", "#include <hidden.h>\n");
    it.write("inc/hidden.h", "#define N 0\n");
    let lines = it.touched(it.command("make"));
    for line in ["read main.c", "read lib.h", "read inc/hidden.h", "read Makefile", "wrote prog"] {
        assert!(lines.iter().any(|one| one == line), "{line}: {lines:?}");
    }
    // It looks in every folder for headers, in order.
    assert!(lines.iter().any(|one| one == "absent inc/stdc-predef.h"), "{lines:?}");
    assert!(!lines.iter().any(|one| one == "read prog"), "{lines:?}");
    assert!(exists(&it.path.join("prog")));
}

#[test]
fn a_program_in_another_root() {
    let it = Fixture::new();
    it.write("root/folder/in", "x");
    fs::create_dir(it.path.join("root/bin")).unwrap();
    fs::copy("/bin/busybox", it.path.join("root/bin/busybox")).unwrap();
    std::os::unix::fs::symlink("/folder/in", it.path.join("root/link")).unwrap();
    // Several times: a child may be heard of before its parent says that it started it.
    for _ in 0..20 {
        let mut command = it.command("busybox");
        command.args(["chroot", "root", "/bin/busybox", "sh", "-c"]);
        command.arg("/bin/busybox cat /link; cd folder; /bin/busybox cat in");
        let lines = it.touched(command);
        for line in ["ran root/bin/busybox", "read root/link", "read root/folder/in"] {
            assert!(lines.iter().any(|one| one == line), "{line}: {lines:?}");
        }
    }
}

#[test]
fn the_same_name_in_two_roots() {
    let it = Fixture::new();
    it.write("real/in", "x");
    std::os::unix::fs::symlink("real", it.path.join("link")).unwrap();
    let inside = format!("root{}/link/in", it.path.display());
    it.write(&inside, "x");
    fs::create_dir(it.path.join("root/bin")).unwrap();
    fs::copy("/bin/busybox", it.path.join("root/bin/busybox")).unwrap();
    let mut command = it.command("busybox");
    let cat = "cat $PWD/link/in";
    let script = format!("busybox chroot root /bin/busybox {cat}; busybox {cat}");
    command.args(["sh", "-c", &script]);
    let lines = it.touched(command);
    for line in [&format!("read {inside}"), "read link", "read real/in"] {
        assert!(lines.iter().any(|one| one == line), "{line}: {lines:?}");
    }
}

#[test]
fn a_program_in_a_sandbox_of_its_own() {
    let it = Fixture::new();
    it.write("in", "x");
    std::os::unix::fs::symlink("/etc/hostname", it.path.join("link")).unwrap();
    it.write("etc/hostname", "another file by that name");
    let mut command = it.command("bwrap");
    command.args(["--bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--ro-bind"]);
    command.arg(it.path.join("etc")).arg("/etc").args(["--unshare-pid", "--"]);
    command.args(["sh", "-c", "cat in; cd /etc; cat hostname"]).arg("sh");
    let mut trace = it.trace();
    trace.below.push("/etc".into());
    let (status, touched) = trace.run(command, &mut |_| {}).unwrap();
    assert!(status.success());
    let read = |path: &std::path::Path| {
        touched
            .iter()
            .any(|one| one.path == path && one.touch == ashlar_execute::trace::Touch::Read)
    };
    // What is called so inside.
    assert!(read(&it.path.join("in")) && read("/etc/hostname".as_ref()), "{touched:?}");
}
