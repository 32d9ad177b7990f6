//! The program that the tests start: the helper process of a sandbox, and a build of one command
//! that can be killed or run as somebody else.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use ashlar_execute::trace::{Trace, internal_trace};
use ashlar_execute::{
    Cancel, Executor as _, ImageMount, ImageView, Jobs, Keep, Kept, Mounted, Outcome, Owner,
    Request, Rights, Root, Sandbox, SandboxOptions, View, internal_sandbox, reexec_command, rights,
};
use ashlar_object::Command;
use ashlar_store::{Capture, LocalStore, OpenOptions, Store as _};

/// Who is root inside when the machine's root runs this.
const BASE: u32 = 524_288;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["internal-sandbox"] => internal_sandbox(),
        ["internal-trace", ..] => internal_trace(std::env::args_os().skip(2)),
        ["trace", program, arguments @ ..] => trace(program, arguments),
        ["run", store, script] => run(Path::new(store), script, false),
        ["run-many-ids", store, script] => run(Path::new(store), script, true),
        ["run-image", store, script] => run_image(Path::new(store), script, 0),
        ["run-image-as", store, script] => run_image(Path::new(store), script, 1000),
        ["shell", store, script] => shell(Path::new(store), script),
        _ => ExitCode::from(2),
    }
}

/// Runs a script on the machine's own file system and prints how it ended.
fn run(store: &Path, script: &str, many_ids: bool) -> ExitCode {
    if rights() == Rights::Plain {
        let status = reexec_command().expect("unshare").status().expect("a process");
        return ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1));
    }
    let (sandbox, request) = prepare(store, script, many_ids);
    let jobs = Jobs::new(2).expect("a pipe");
    match sandbox.run(&request, &jobs, &Cancel::new()) {
        Ok(finished) => {
            println!("{:?}", finished.outcome);
            ExitCode::from(u8::from(!matches!(finished.outcome, Outcome::Succeeded(_))))
        }
        Err(error) => {
            println!("{error:?}");
            ExitCode::from(3)
        }
    }
}

/// Runs a script in an image that has nothing but busybox and what the script makes, and prints
/// how it ended, with a checkpoint in `/work`; further on a terminal: a shell script in what it left when it failed.
fn run_image(store: &Path, script: &str, uid: u32) -> ExitCode {
    if rights() == Rights::Plain {
        let status = reexec_command().expect("unshare").status().expect("a process");
        return ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1));
    }
    let (sandbox, mut request) = prepare(store, script, false);
    let root = image_root(store, &store.with_extension("root"));
    request.root = Root::Layers(vec![root]);
    request.keep = Keep::Changes;
    request.command.arguments[0] = "/bin/sh".into();
    let mut view = ImageView::default();
    view.user.uid = uid;
    let what = Mounted::Checkpoint { seed: None, made: Owner::FOLDER };
    view.mounts.push(ImageMount { at: "/work".into(), what });
    request.view = View::Image(Box::new(view));
    let jobs = Jobs::new(2).expect("a pipe");
    let code = match sandbox.run(&request, &jobs, &Cancel::new()) {
        Ok(finished) => {
            println!("{:?}", finished.outcome);
            u8::from(!matches!(finished.outcome, Outcome::Succeeded(_)))
        }
        Err(error) => {
            println!("{error:?}");
            3
        }
    };
    let Ok(after) = std::env::var("AFTER_FAILURE") else { return ExitCode::from(code) };
    request.command.arguments[2] = after;
    let code = sandbox.shell_after_failure(&request).expect("a shell").expect("a failed command");
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Busybox and the folders of a root.
fn image_root(store: &Path, folder: &Path) -> Kept {
    let owner_base = if rights() == Rights::RealRoot { BASE } else { 0 };
    let options = OpenOptions { owner_base, read_only: false };
    let store = LocalStore::open(store, options).expect("a store");
    for name in ["bin", "tmp", "etc"] {
        std::fs::create_dir_all(folder.join(name)).expect("a folder");
    }
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    std::fs::set_permissions(folder.join("tmp"), open).expect("a mode");
    std::fs::copy("/bin/busybox", folder.join("bin/busybox")).expect("busybox");
    for name in ["sh", "sleep", "cat", "ls", "id", "stat", "rm", "mkdir", "chmod", "ln"] {
        std::os::unix::fs::symlink("busybox", folder.join("bin").join(name)).expect("a link");
    }
    let status = std::process::Command::new("chown")
        .args(["-hR", &format!("{owner_base}:{owner_base}")])
        .arg(folder)
        .status();
    assert!(status.expect("chown").success());
    let (digest, tree) = store.keep_folder(folder, Capture::Root).expect("a tree");
    Kept { digest, tree }
}

/// Runs a script on the terminal of this process.
fn shell(store: &Path, script: &str) -> ExitCode {
    let (sandbox, request) = prepare(store, script, false);
    let code = sandbox.shell(&request).expect("an exit code");
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn prepare(store: &Path, script: &str, many_ids: bool) -> (Sandbox, Request) {
    let owner_base = if rights() == Rights::RealRoot { BASE } else { 0 };
    let options = OpenOptions { owner_base, read_only: false };
    let store = Arc::new(LocalStore::open(store, options).expect("a store"));
    let options = SandboxOptions {
        owner_base,
        helper: std::env::current_exe().expect("a path"),
        keep_failed: std::env::var_os("AFTER_FAILURE").is_some(),
        on_output: Arc::new(|_, lines| print!("{}", String::from_utf8_lossy(lines))),
    };
    let sandbox = Sandbox::new(store, options);
    let request = Request {
        label: "test".into(),
        root: Root::Host(Vec::new()),
        source: None,
        mounts: Vec::new(),
        command: Command {
            arguments: ["sh", "-euc", script].map(str::to_owned).to_vec(),
            ..Command::default()
        },
        keep: Keep::Outputs,
        timeout: None,
        many_ids,
        held_jobs: None,
        view: View::Module,
    };
    (sandbox, request)
}

/// Runs a command traced and prints what it touched.
fn trace(program: &str, arguments: &[&str]) -> ExitCode {
    let trace = Trace { below: Vec::new(), helper: std::env::current_exe().expect("a path") };
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    match trace.run(command, &mut |_| {}) {
        Ok((status, touched)) => {
            for one in touched {
                println!("{:?} {}", one.touch, one.path.display());
            }
            ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
        }
        Err(error) => {
            println!("{error:?}");
            ExitCode::from(3)
        }
    }
}
