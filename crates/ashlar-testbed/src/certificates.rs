//! Certificates for loopback, signed by an authority that nobody else knows.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::install::program;
use crate::server::{run, write};

/// An authority, a server's certificate for `127.0.0.1`, `localhost` and `cache.example` (which is
/// nowhere, but may be behind a proxy), and a client's; ECDSA P-256, valid for a day, all PEM. They are gone when this is dropped.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Makes new ones.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn make() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("ashlar-certificates-")
            .tempdir()
            .unwrap_or_else(|error| panic!("no temporary folder for certificates: {error}"));
        let at = |name: &str| folder.path().join(name);
        self_signed(&at("ca.pem"), &at("ca.key"), "Ashlar tests");
        let names =
            "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:cache.example\nextendedKeyUsage=";
        for (who, usage) in [("server", "serverAuth"), ("client", "clientAuth")] {
            write(&at("extensions"), &format!("{names}{usage}\n"));
            run(openssl()
                .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
                .args(["-nodes", "-subj"])
                .arg(format!("/CN={who}"))
                .arg("-keyout")
                .arg(at(&format!("{who}.key")))
                .arg("-out")
                .arg(at("request")));
            run(openssl()
                .args(["x509", "-req", "-days", "1", "-CAcreateserial", "-CA"])
                .arg(at("ca.pem"))
                .arg("-CAkey")
                .arg(at("ca.key"))
                .arg("-extfile")
                .arg(at("extensions"))
                .arg("-in")
                .arg(at("request"))
                .arg("-out")
                .arg(at(&format!("{who}.pem"))));
        }
        Self { folder }
    }

    /// The folder they are in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The authority's certificate, which a client must be told to trust.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The server's certificate.
    #[must_use]
    pub fn server(&self) -> PathBuf {
        self.folder.path().join("server.pem")
    }

    /// The server's key.
    #[must_use]
    pub fn server_key(&self) -> PathBuf {
        self.folder.path().join("server.key")
    }

    /// A client's certificate.
    #[must_use]
    pub fn client(&self) -> PathBuf {
        self.folder.path().join("client.pem")
    }

    /// A client's key.
    #[must_use]
    pub fn client_key(&self) -> PathBuf {
        self.folder.path().join("client.key")
    }
}

pub(crate) fn openssl() -> Command {
    Command::new(program("openssl"))
}

/// Makes an ECDSA P-256 key and a certificate that it signs itself.
pub(crate) fn self_signed(certificate: &Path, key: &Path, name: &str) {
    run(openssl()
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "1", "-subj"])
        .arg(format!("/CN={name}"))
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(certificate));
}
