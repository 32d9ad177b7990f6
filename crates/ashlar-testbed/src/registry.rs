//! `docker-registry`, the registry that Debian has.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::certificates::Certificates;
use crate::install::program;
use crate::server::{Place, Server, accepts, answers_http, folder, run, write};
use crate::token::{Authority, REALM};

/// What a registry is to be like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Who may use it.
    pub auth: Auth,
    /// Whether manifests and blobs can be deleted.
    pub delete: bool,
    /// Whether it refuses every write, as when it is being maintained.
    pub read_only: bool,
    /// Whether it speaks HTTPS, with a certificate of [`Server::certificates`].
    pub tls: bool,
}

/// How a registry knows who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// It does not ask.
    #[default]
    None,
    /// Basic authentication: [`crate::WRITER`] and [`crate::READER`] may both do everything.
    Basic,
    /// Tokens from a server of their own: [`crate::WRITER`] may do everything, [`crate::READER`]
    /// and who does not say who they are may pull.
    Token,
}

/// A registry that runs.
#[derive(Debug)]
pub struct Registry {
    /// The process.
    pub server: Server,
    authority: Option<Authority>,
}

server!(Registry);

/// Both users with their passwords, as `htpasswd -nbBC 4` prints them.
const HTPASSWD: &str = "\
writer:$2y$04$RcRPWQ5IemRC96LMufMrJuYJqSjNvgnFQEB8Ih3ipWlQGBIjdXCfC
reader:$2y$04$B2lGYVZyEEEfhERCebTVMOCEIXWl0oL7HPuVu1mghpGX2yIH5nmge
";

/// Starts a registry with nothing in it.
///
/// # Panics
/// When it does not start, with what it printed.
#[must_use]
pub fn docker_registry(options: &Options) -> Registry {
    let options = *options;
    let certificates = options.tls.then(|| Arc::new(Certificates::make()));
    let authority = (options.auth == Auth::Token).then(Authority::start);
    let tls = certificates.clone();
    let token = authority.as_ref().map(|it| (it.realm(), it.bundle()));
    let server = Server::launch(
        "docker-registry",
        1,
        // With TLS only the handshake would tell more; its listener is its last step.
        if options.tls { accepts } else { answers_http },
        Box::new(move |place| {
            let file = place.folder.join("config.yml");
            folder(&place.folder.join("data"));
            write(&file, &configuration(place, options, tls.as_deref(), token.as_ref()));
            let mut command = Command::new(program("docker-registry"));
            command.arg("serve").arg(file);
            command
        }),
    )
    .with(certificates);
    Registry { server, authority }
}

fn configuration(
    place: &Place<'_>,
    options: Options,
    tls: Option<&Certificates>,
    token: Option<&(String, PathBuf)>,
) -> String {
    let at = place.folder.display();
    let port = place.ports[0];
    let mut text = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {at}/data}}\n  \
         delete: {{enabled: {}}}\n  maintenance:\n    readonly: {{enabled: {}}}\n    \
         uploadpurging: {{enabled: false}}\nhttp:\n  addr: 127.0.0.1:{port}\n  secret: test\n",
        options.delete, options.read_only
    );
    if let Some(tls) = tls {
        let (chain, key) = (tls.server(), tls.server_key());
        let (chain, key) = (chain.display(), key.display());
        // Writing to a string does not fail.
        let _ = writeln!(text, "  tls: {{certificate: {chain}, key: {key}}}");
    }
    match (options.auth, token) {
        (Auth::Basic, _) => {
            write(&place.folder.join("htpasswd"), HTPASSWD);
            let _ = writeln!(text, "auth: {{htpasswd: {{realm: test, path: {at}/htpasswd}}}}");
        }
        (Auth::Token, Some((realm, bundle))) => {
            let bundle = bundle.display();
            let _ = writeln!(
                text,
                "auth: {{token: {{realm: '{realm}', service: {REALM}, issuer: {REALM}, \
                 rootcertbundle: {bundle}}}}}"
            );
        }
        (Auth::None | Auth::Token, _) => {}
    }
    text
}

impl Registry {
    /// How many tokens were asked for, with [`Auth::Token`].
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.authority.as_ref().map_or(0, Authority::given)
    }

    /// The requests for tokens: method, path with query, and the body of a form.
    #[must_use]
    pub fn token_requests(&self) -> Vec<String> {
        self.authority.as_ref().map(Authority::requests).unwrap_or_default()
    }

    /// How long tokens hold from now on; they hold for five minutes otherwise.
    pub fn set_token_seconds(&self, seconds: u64) {
        if let Some(authority) = &self.authority {
            authority.set_seconds(seconds);
        }
    }

    /// The file a blob is in, whether it is there or not.
    #[must_use]
    pub fn blob(&self, hex: &str) -> PathBuf {
        let begin = hex.get(..2).unwrap_or_default();
        self.data().join(format!("docker/registry/v2/blobs/sha256/{begin}/{hex}/data"))
    }

    /// How many bytes all its blobs have.
    #[must_use]
    pub fn stored(&self) -> u64 {
        size(&self.data().join("docker/registry/v2/blobs"))
    }

    /// Removes blobs that no manifest refers to, with the registry's own command. Nobody may push
    /// meanwhile; it is stopped for it and started again.
    pub fn collect_garbage(&mut self) {
        self.server.stop();
        run(Command::new(program("docker-registry"))
            .arg("garbage-collect")
            .arg(self.server.folder().join("config.yml")));
        self.server.start();
    }
}

fn size(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
