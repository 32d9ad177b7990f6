//! nginx with WebDAV, as Debian has it.

use std::process::Command;
use std::sync::Arc;

use crate::certificates::Certificates;
use crate::install::program;
use crate::server::{Place, Server, accepts, answers_http, folder, write};
use crate::{READER, WRITER};

/// The token that [`Auth::Bearer`] asks for.
pub const TOKEN: &str = "b9Mtw-bearer-secret";

/// What the server is to be like.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether only GET and HEAD are allowed; everything else is answered with 403.
    pub read_only: bool,
    /// Who may use it.
    pub auth: Auth,
    /// Folders that are there from the beginning; a PUT makes those it needs.
    pub folders: Vec<String>,
    /// Whether folders are listed, as JSON.
    pub listing: bool,
    /// Whether it speaks HTTPS, with a certificate of [`Server::certificates`].
    pub tls: bool,
    /// Whether it lets only those in who have a certificate of the same authority; with
    /// [`Options::tls`].
    pub clients: bool,
}

/// How it knows who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// It does not ask.
    #[default]
    None,
    /// Basic authentication: [`crate::WRITER`] and [`crate::READER`] may both do everything that
    /// the server allows.
    Basic,
    /// Only who sends `Authorization: Bearer` with [`TOKEN`].
    Bearer,
}

/// An nginx that runs.
#[derive(Debug)]
pub struct Nginx {
    /// The process.
    pub server: Server,
}

server!(Nginx);

/// Starts nginx with WebDAV on a folder.
///
/// # Panics
/// When it does not start, with what it printed.
#[must_use]
pub fn nginx_dav(options: &Options) -> Nginx {
    let options = options.clone();
    let certificates = options.tls.then(|| Arc::new(Certificates::make()));
    let tls = certificates.clone();
    let ready = if options.tls { accepts } else { answers_http };
    let prepare = move |place: &Place<'_>| {
        for name in ["data", "bodies"] {
            folder(&place.folder.join(name));
        }
        for name in &options.folders {
            folder(&place.folder.join("data").join(name));
        }
        let file = place.folder.join("nginx.conf");
        write(&file, &configuration(place, &options, tls.as_deref()));
        let mut command = Command::new(program("nginx"));
        command.arg("-p").arg(place.folder).arg("-e").arg("stderr").arg("-c").arg(file);
        command
    };
    let server = Server::launch("nginx", 1, ready, Box::new(prepare)).with(certificates);
    Nginx { server }
}

fn configuration(place: &Place<'_>, options: &Options, tls: Option<&Certificates>) -> String {
    let at = place.folder.display();
    let port = place.ports[0];
    let listen = tls.map_or_else(
        || format!("listen 127.0.0.1:{port};"),
        |tls| {
            let (chain, key) = (tls.server(), tls.server_key());
            let (chain, key) = (chain.display(), key.display());
            let mut text = format!(
                "listen 127.0.0.1:{port} ssl; ssl_certificate {chain}; ssl_certificate_key {key};"
            );
            if options.clients {
                let authority = tls.authority();
                let authority = authority.display();
                text += &format!(" ssl_client_certificate {authority}; ssl_verify_client on;");
            }
            text
        },
    );
    let auth = match options.auth {
        Auth::None => String::new(),
        Auth::Basic => {
            let plain =
                |login: crate::Login| format!("{}:{{PLAIN}}{}\n", login.user, login.password);
            write(&place.folder.join("htpasswd"), &(plain(WRITER) + &plain(READER)));
            format!("auth_basic test; auth_basic_user_file {at}/htpasswd;")
        }
        Auth::Bearer => format!("if ($http_authorization != \"Bearer {TOKEN}\") {{ return 401; }}"),
    };
    let rights = if options.read_only { "limit_except GET HEAD { deny all; }" } else { "" };
    let listing = if options.listing { "autoindex on; autoindex_format json;" } else { "" };
    format!(
        "daemon off; master_process off; worker_processes 1;
error_log stderr warn; pid {at}/pid; lock_file {at}/lock;
events {{ worker_connections 512; }}
http {{
    access_log {at}/access;
    client_body_temp_path {at}/bodies; proxy_temp_path {at}/bodies; fastcgi_temp_path {at}/bodies;
    uwsgi_temp_path {at}/bodies; scgi_temp_path {at}/bodies;
    client_max_body_size 0;
    server {{
        {listen}
        root {at}/data;
        location / {{
            {auth}
            {rights}
            {listing}
            dav_methods PUT DELETE MKCOL COPY MOVE;
            create_full_put_path on;
        }}
    }}
}}
"
    )
}

impl Nginx {
    /// `http://127.0.0.1:PORT`, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.certificates().is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.server.host())
    }

    /// One line for each request so far, as nginx writes it.
    #[must_use]
    pub fn access_log(&self) -> String {
        std::fs::read_to_string(self.server.folder().join("access")).unwrap_or_default()
    }
}
