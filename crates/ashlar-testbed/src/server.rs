//! One process that serves, from its start to its end.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::install::program;
use crate::port::Port;

/// How long a server may take until it answers. Python on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often another port is tried.
const ATTEMPTS: usize = 4;

/// Where a server runs: what its command line and its configuration are made of.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    /// A folder of its own.
    pub(crate) folder: &'a Path,
    /// Ports of its own, as many as were asked for.
    pub(crate) ports: &'a [u16],
}

/// Makes the command that serves, and the files it needs.
type Prepare = Box<dyn Fn(&Place<'_>) -> Command + Send + Sync>;
/// Whether it answers.
type Ready = fn(SocketAddr) -> bool;

/// A server that runs in a temporary folder. It ends when this is dropped.
///
/// It ends too when the process ends in which it was started, however that happens. Dropping is
/// not done for what a `static` holds: its folder is left behind.
pub struct Server {
    name: &'static str,
    prepare: Prepare,
    ready: Ready,
    ports: Vec<Port>,
    running: Option<Child>,
    folder: TempDir,
    certificates: Option<Arc<Certificates>>,
}

/// Gives a kind of server what all have.
macro_rules! server {
    ($kind:ty) => {
        impl std::ops::Deref for $kind {
            type Target = $crate::Server;

            fn deref(&self) -> &$crate::Server {
                &self.server
            }
        }
    };
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.name, self.address())
    }
}

impl Server {
    /// Starts it on free ports.
    pub(crate) fn launch(name: &'static str, ports: usize, ready: Ready, prepare: Prepare) -> Self {
        let folder = tempfile::Builder::new()
            .prefix(&format!("ashlar-{name}-"))
            .tempdir()
            .unwrap_or_else(|error| panic!("no temporary folder for {name}: {error}"));
        let take = || (0..ports).map(|_| Port::take()).collect();
        let mut server =
            Self { name, prepare, ready, ports: take(), running: None, folder, certificates: None };
        for attempt in 1.. {
            match server.try_start() {
                Ok(()) => return server,
                Err(why) if attempt == ATTEMPTS => panic!("{why}"),
                // Someone else may have taken a port meanwhile.
                Err(_) => server.ports = take(),
            }
        }
        unreachable!("the loop has no other end")
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.ports[0].address()
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.address().to_string()
    }

    /// With what it shows to those who connect.
    pub(crate) fn with(mut self, certificates: Option<Arc<Certificates>>) -> Self {
        self.certificates = certificates;
        self
    }

    /// Its certificate and the authority that signed it, where it speaks TLS; of a `BuildGrid` a
    /// client's, too.
    #[must_use]
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_deref()
    }

    /// The folder it serves or keeps everything in that it is given.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// The folder with everything it keeps.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.log_file()).map_or_else(
            |error| error.to_string(),
            |log| String::from_utf8_lossy(&log).into_owned(),
        )
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Child::id)
    }

    /// Ends it at once; its folder and its port stay.
    pub fn stop(&mut self) {
        if let Some(child) = self.running.take() {
            end(child);
        }
    }

    /// Starts it again after [`Server::stop`], on the same port, with what it kept.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(&mut self) {
        if self.running.is_none()
            && let Err(why) = self.try_start()
        {
            panic!("{why}");
        }
    }

    fn log_file(&self) -> PathBuf {
        self.folder().join("log")
    }

    fn try_start(&mut self) -> Result<(), String> {
        let ports: Vec<u16> = self.ports.iter().map(|port| port.number).collect();
        let command = (self.prepare)(&Place { folder: self.folder(), ports: &ports });
        let (name, address) = (self.name, self.address());
        let failed = |what: &str, log: &str| format!("{name} {what} on {address}; its log:\n{log}");
        let log = File::options().create(true).append(true).open(self.log_file());
        let child = log
            .and_then(|log| spawn(guarded(&command, self.folder(), log)?))
            .map_err(|error| failed(&format!("cannot be started: {error}"), ""))?;
        self.running = Some(child);
        let begun = Instant::now();
        while !(self.ready)(self.address()) {
            let ended = self.running.as_mut().map(Child::try_wait);
            if let Some(Ok(Some(status))) = ended {
                self.running = None;
                return Err(failed(&format!("ended with {status}"), &self.log()));
            }
            if begun.elapsed() > PATIENCE {
                let log = self.log();
                self.stop();
                return Err(failed("does not answer", &log));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Ends a child with everything in its group, and waits for it.
fn end(mut child: Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Not yet waited for: the id is still its own. That it is gone already is no error.
        let _gone = kill_process_group(group, Signal::KILL);
    }
    let _status = child.wait();
}

/// The same command in a process group of its own, with an environment of its own, killed by the
/// kernel when the thread ends that started it.
fn guarded(command: &Command, folder: &Path, log: File) -> io::Result<Command> {
    let mut guarded = Command::new(program("setpriv"));
    guarded.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program());
    guarded.args(command.get_args());
    guarded.env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    guarded.env("HOME", folder).env("TMPDIR", folder).env("LC_ALL", "C.UTF-8");
    guarded.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    guarded.current_dir(folder).process_group(0);
    guarded.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(guarded)
}

/// Starts a command in a thread that lives as long as this process: the threads that tests run in
/// end earlier than what they share.
fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, Sender<io::Result<Child>>);
    static STARTER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, ordered) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in ordered {
                // Whoever asked is waiting.
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (reply, replied) = channel();
    let sent = starter.lock().unwrap_or_else(PoisonError::into_inner).send((command, reply));
    sent.map_err(io::Error::other)?;
    replied.recv().map_err(io::Error::other)?
}

/// Whether something accepts connections.
pub(crate) fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

/// Whether something answers HTTP, whatever it answers.
pub(crate) fn answers_http(address: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        io::Result::Ok(answer == *b"HTTP/")
    };
    ask().unwrap_or(false)
}

/// Whether something answers HTTP/2 with its settings.
pub(crate) fn answers_http2(address: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        // The preface, and an empty frame of settings: RFC 9113, 3.4.
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
        let mut frame = [0; 9];
        stream.read_exact(&mut frame)?;
        io::Result::Ok(frame[3] == 4)
    };
    ask().unwrap_or(false)
}

/// Writes a file of the server's folder.
pub(crate) fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Makes a folder, and those above it.
pub(crate) fn folder(path: &Path) {
    fs::create_dir_all(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Runs a command that has to succeed; what it prints.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
