//! Programs that keep credentials for others: `docker-credential-NAME get`.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ashlar_store::RemoteError;

use super::credentials::Credential;

/// How long a helper may take. Some ask a service on the network; none may ask a person.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much of an answer is read.
const LIMIT: u64 = 1 << 20;

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Asks a helper who we are to a host. `None` when it does not know.
pub(super) fn get(
    folders: &[PathBuf],
    name: &str,
    host: &str,
) -> Result<Option<Credential>, RemoteError> {
    let program = format!("docker-credential-{name}");
    let wrong = |why: String| RemoteError::Address { place: program.clone(), why };
    if name.is_empty() || name.contains('/') {
        return Err(wrong("this is no name of a credential helper".to_owned()));
    }
    let found = folders.iter().map(|folder| folder.join(&program)).find(|path| path.is_file());
    let Some(path) = found else {
        return Err(wrong(format!(
            "an auth file names this helper for {host}, and it is not in the PATH; install it, or \
             log in without it"
        )));
    };
    let mut child = Command::new(path)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| wrong(format!("it cannot be started: {error}")))?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read has its reasons, and its answer tells.
        let _ = input.write_all(format!("{host}\n").as_bytes());
    }
    let (success, said) = finish(&mut child)
        .map_err(|error| wrong(format!("it did not tell who we are to {host}: {error}")))?;
    if !success {
        // The protocol has no code for this, only these words on the standard output.
        let said = String::from_utf8_lossy(&said).to_lowercase();
        if said.contains("not found") || said.contains("no credentials") {
            return Ok(None);
        }
        return Err(wrong(format!("it failed when asked who we are to {host}; try it by hand")));
    }
    let answer: Answer = serde_json::from_slice(&said)
        .map_err(|_| wrong(format!("its answer about {host} is not the JSON it should be")))?;
    Ok(match (answer.username.as_str(), answer.secret.as_str()) {
        (_, "") => None,
        ("<token>", token) => Some(Credential::Identity(token.to_owned())),
        (user, password) => Some(Credential::Password(user.to_owned(), password.to_owned())),
    })
}

/// Waits for the end of a helper, not for ever.
fn finish(child: &mut Child) -> std::io::Result<(bool, Vec<u8>)> {
    let late = || {
        let why = format!("it took longer than {} s", PATIENCE.as_secs());
        std::io::Error::new(std::io::ErrorKind::TimedOut, why)
    };
    let (give, take) = std::sync::mpsc::channel();
    let output = child.stdout.take();
    // Not joined: something that the helper left behind may hold its output open.
    std::thread::spawn(move || {
        let mut said = Vec::new();
        let read = output.map_or(Ok(0), |output| output.take(LIMIT).read_to_end(&mut said));
        // Nobody listens any more when it took too long.
        let _ = give.send(read.map(|_| said));
    });
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Err(late());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
    let said = take.recv_timeout(left).map_err(|_| late())??;
    Ok((status.success(), said))
}
