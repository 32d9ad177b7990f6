//! Certificates: whom to trust, and who we are.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use ashlar_store::RemoteError;

/// What TLS is configured with, from files that were read when the remote was opened.
#[derive(Debug, Default)]
pub(super) struct Identity {
    trusted: Vec<CertificateDer<'static>>,
    own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// [`RemoteError::Address`] when one cannot be read or has nothing in it.
    pub fn read(
        place: &str,
        ca: Option<&Path>,
        certificate: Option<&Path>,
        key: Option<&Path>,
    ) -> Result<Self, RemoteError> {
        let wrong = |path: &Path, why: &dyn std::fmt::Display| RemoteError::Address {
            place: place.to_owned(),
            why: format!("{}: {why}", path.display()),
        };
        let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, RemoteError> {
            let read: Result<Vec<_>, _> =
                CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
            let read = read.map_err(|error| wrong(path, &error))?;
            if read.is_empty() {
                return Err(wrong(path, &"no certificate in PEM form is in it"));
            }
            Ok(read)
        };
        let trusted = ca.map(certificates).transpose()?.unwrap_or_default();
        let own = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), key) => {
                // Certificate and key may be in one file.
                let key = key.unwrap_or(certificate);
                let read = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
                Some((certificates(certificate)?, read))
            }
            (None, Some(key)) => {
                return Err(wrong(key, &"a key without its certificate; give `certificate` too"));
            }
        };
        Ok(Self { trusted, own })
    }

    /// The configuration, with the roots of this machine when they are wanted: reading them takes
    /// some milliseconds.
    pub fn configuration(&self, machine: bool) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        if machine {
            // Files that cannot be read are no reason to fail: the connection tells what is not
            // trusted, when it needs one of them.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        for certificate in &self.trusted {
            roots.add(certificate.clone()).map_err(|error| format!("`ca`: {error}"))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        match &self.own {
            None => Ok(builder.with_no_client_auth()),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|error| format!("the client certificate: {error}")),
        }
    }
}
