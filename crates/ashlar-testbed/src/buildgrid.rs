//! `BuildGrid`: content and action cache over gRPC, with TLS and tokens.

use std::process::Command;
use std::sync::Arc;

use crate::certificates::Certificates;
use crate::install::installed;
use crate::server::{Place, Server, accepts, answers_http2, folder, write};
use crate::token::hs256;

/// What signs the tokens it accepts.
const SECRET: &str = "0d3f7a55c1e94b0f8d62a1b7c9e4f013";

/// What the server is to be like.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The name of its one instance; may be empty, may have slashes.
    pub instance: String,
    /// How it is spoken to.
    pub tls: Tls,
    /// Whether it asks for a token: [`BuildGrid::token`].
    pub token: bool,
    /// Whether results can be written.
    pub read_only: bool,
}

/// How it is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// In plain text.
    #[default]
    None,
    /// With a certificate of the server's.
    Server,
    /// With one of the server's and one of the client's.
    Mutual,
}

/// A `BuildGrid` that runs.
#[derive(Debug)]
pub struct BuildGrid {
    /// The process.
    pub server: Server,
}

server!(BuildGrid);

/// Starts `BuildGrid` with one instance and nothing in it.
///
/// # Panics
/// When it does not start, with what it printed.
#[must_use]
pub fn buildgrid(instance: &str) -> BuildGrid {
    buildgrid_with(&Options { instance: instance.to_owned(), ..Options::default() })
}

/// Starts `BuildGrid` as it is to be.
///
/// # Panics
/// When it does not start, with what it printed.
#[must_use]
pub fn buildgrid_with(options: &Options) -> BuildGrid {
    let options = options.clone();
    // Through its Python: the environment is moved after it was made, and the program's first line
    // still names the old place.
    let python = installed("BuildGrid", "python/buildgrid/bin/python");
    let program = installed("BuildGrid", "python/buildgrid/bin/bgd");
    let certificates = (options.tls != Tls::None).then(|| Arc::new(Certificates::make()));
    let tls = certificates.clone();
    let ready = if options.tls == Tls::None { answers_http2 } else { accepts };
    let prepare = move |place: &Place<'_>| {
        let file = place.folder.join("buildgrid.yml");
        folder(&place.folder.join("data"));
        write(&file, &configuration(place, &options, tls.as_deref()));
        let mut command = Command::new(&python);
        command.arg(&program).args(["server", "start"]).arg(file);
        command
    };
    let server = Server::launch("BuildGrid", 1, ready, Box::new(prepare)).with(certificates);
    BuildGrid { server }
}

fn configuration(place: &Place<'_>, options: &Options, tls: Option<&Certificates>) -> String {
    let at = place.folder.display();
    let port = place.ports[0];
    let credentials = tls.map_or_else(
        || "    insecure-mode: true\n".to_owned(),
        |tls| {
            let (chain, key) = (tls.server(), tls.server_key());
            let (chain, key) = (chain.display(), key.display());
            let clients = if options.tls == Tls::Mutual {
                format!("      tls-client-certs: {}\n", tls.authority().display())
            } else {
                String::new()
            };
            format!(
                "    insecure-mode: false\n    credentials:\n      tls-server-key: {key}\n      \
                 tls-server-cert: {chain}\n{clients}"
            )
        },
    );
    let authorization = if options.token {
        write(&place.folder.join("secret"), SECRET);
        format!("authorization: {{method: jwt, algorithm: hs256, secret: {at}/secret}}\n")
    } else {
        String::new()
    };
    let (instance, writable) = (&options.instance, !options.read_only);
    format!(
        "server:
  - !channel
    address: '127.0.0.1:{port}'
{credentials}{authorization}storages:
  - !disk-storage &storage
    path: {at}/data
caches:
  - !lru-action-cache &cache
    storage: *storage
    max-cached-refs: 1000000
    allow-updates: {writable}
    cache-failed-actions: true
instances:
  - name: '{instance}'
    services:
      - !action-cache
        cache: *cache
      - !cas
        storage: *storage
      - !bytestream
        storage: *storage
thread-pool-size: 32
"
    )
}

impl BuildGrid {
    /// A token that it accepts for an hour.
    #[must_use]
    pub fn token(&self) -> String {
        let now = crate::token::now();
        hs256(SECRET, &format!(r#"{{"sub":"tests","iat":{now},"exp":{}}}"#, now + 3600))
    }

    /// A token that is signed as it must be and does not hold any more.
    #[must_use]
    pub fn expired_token(&self) -> String {
        hs256(SECRET, r#"{"sub":"tests","iat":1,"exp":2}"#)
    }
}
