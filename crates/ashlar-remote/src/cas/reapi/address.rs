//! Where a server is, and how it is reached: address, certificates, headers.

use std::net::IpAddr;
use std::path::Path;

use ashlar_store::RemoteError;
use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use prost::Message as _;
use rustls::pki_types::CertificateDer;
use tonic::metadata::{Ascii, Binary, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::Definition;
use crate::runtime::runtime;

/// How much one answer may have on its way to us. Every read and batch has its own share of it.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// An address of the form `reapi://HOST:PORT[/INSTANCE]` or `reapis://…`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub host: String,
    pub port: u16,
    /// May have slashes, may be empty.
    pub instance: String,
    pub tls: bool,
}

impl Address {
    /// Reads one. The error says what is wrong, without the address, which may have a secret in it.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let (tls, rest) = match url.split_once("://") {
            Some(("reapi", rest)) => (false, rest),
            Some(("reapis", rest)) => (true, rest),
            _ => return Err("it is not of the form reapi://HOST:PORT[/INSTANCE] or reapis://…"),
        };
        let (authority, instance) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err("credentials are not written into the address; name a token instead");
        }
        if instance.contains(['?', '#']) {
            return Err("a `?` or `#` cannot be part of an instance name");
        }
        let url = url::Url::parse(&format!("http://{authority}/"))
            .map_err(|_| "its host or port makes no sense")?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("it has no host")?;
        // `port()` leaves out what is usual for HTTP.
        let named = authority.rsplit(']').next().is_some_and(|end| end.contains(':'));
        let port = match (named, url.port(), tls) {
            (true, port, _) => port.unwrap_or(80),
            (false, _, true) => 443,
            (false, _, false) => return Err("it has no port"),
        };
        let instance = instance.trim_matches('/').to_owned();
        Ok(Self { host: host.to_owned(), port, instance, tls })
    }

    /// As it is shown.
    pub fn place(&self) -> String {
        let Self { host, port, instance, tls } = self;
        let scheme = if *tls { "reapis" } else { "reapi" };
        let slash = if instance.is_empty() { "" } else { "/" };
        format!("{scheme}://{host}:{port}{slash}{instance}")
    }

    fn is_loopback(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

/// A connection that is made when it is first used, and again when it was cut.
pub(super) fn channel(address: &Address, definition: &Definition) -> Result<Channel, RemoteError> {
    let bad = |why: String| RemoteError::Address { place: address.place(), why };
    if definition.token.is_some() && !address.tls && !address.is_loopback() && !definition.insecure
    {
        return Err(bad(
            "a token would be sent in the open; use reapis://, or allow it with `insecure`"
                .to_owned(),
        ));
    }
    let scheme = if address.tls { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{}:{}", address.host, address.port))
        .map_err(|_| bad("its host or port makes no sense".to_owned()))?
        .connect_timeout(definition.timeout)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .user_agent(concat!("ashlar/", env!("CARGO_PKG_VERSION")))
        .map_err(|e| bad(e.to_string()))?;
    let endpoint = if address.tls {
        let tls = tls(definition).map_err(bad)?;
        endpoint.tls_config(tls).map_err(|e| {
            let cause = std::error::Error::source(&e).map(ToString::to_string);
            bad(format!("a certificate or key cannot be used: {}", cause.unwrap_or_default()))
        })?
    } else if definition.ca.is_some() || definition.certificate.is_some() {
        return Err(bad("certificates are of use only with reapis://".to_owned()));
    } else {
        endpoint
    };
    let runtime =
        runtime().map_err(|e| bad(format!("the network threads cannot be started: {e}")))?;
    let _inside = runtime.enter();
    Ok(endpoint.connect_lazy())
}

fn tls(definition: &Definition) -> Result<ClientTlsConfig, String> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
    };
    let mut roots = rustls::RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs.into_iter().map(CertificateDer::into_owned));
    let mut tls = ClientTlsConfig::new().trust_anchors(roots.roots);
    if let Some(ca) = &definition.ca {
        tls = tls.ca_certificate(Certificate::from_pem(read(ca)?));
    }
    match (&definition.certificate, &definition.key) {
        (Some(certificate), Some(key)) => {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        (None, None) => {}
        (Some(_), None) => return Err("the client certificate has no key beside it".to_owned()),
        (None, Some(_)) => return Err("the key has no client certificate beside it".to_owned()),
    }
    Ok(tls)
}

/// What goes with every request.
#[derive(Clone)]
pub(super) struct Headers {
    token: Option<MetadataValue<Ascii>>,
    metadata: MetadataValue<Binary>,
}

impl Headers {
    /// `None` when the token cannot be a header.
    pub fn new(token: Option<&str>) -> Option<Self> {
        let token = match token {
            None => None,
            Some(token) => {
                let mut value = MetadataValue::try_from(format!("Bearer {}", token.trim())).ok()?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let metadata = api::RequestMetadata {
            tool_details: Some(api::ToolDetails {
                tool_name: "ashlar".to_owned(),
                tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            }),
            tool_invocation_id: serial(),
            ..api::RequestMetadata::default()
        };
        Some(Self { token, metadata: MetadataValue::from_bytes(&metadata.encode_to_vec()) })
    }
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Headers")
    }
}

impl tonic::service::Interceptor for Headers {
    fn call(
        &mut self,
        mut request: tonic::Request<()>,
    ) -> Result<tonic::Request<()>, tonic::Status> {
        let headers = request.metadata_mut();
        if let Some(token) = &self.token {
            headers.insert("authorization", token.clone());
        }
        headers.insert_bin(
            "build.bazel.remote.execution.v2.requestmetadata-bin",
            self.metadata.clone(),
        );
        Ok(request)
    }
}

/// A random UUID, as upload names and invocations want one.
pub(super) fn serial() -> String {
    use std::hash::{BuildHasher as _, Hasher as _};
    // The seeds of hashers are the randomness of the standard library.
    let dice = || std::hash::RandomState::new().build_hasher().finish();
    let (a, b) = (dice(), dice());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        0x8000 | (b >> 48) & 0x3fff,
        b & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_say_where_and_which() {
        let parsed = |url| Address::parse(url).map(|a| (a.place(), a.instance));
        for (url, instance) in [
            ("reapi://127.0.0.1:8980", ""),
            ("reapi://cache.example:80/main", "main"),
            ("reapi://[::1]:8980/team/linux x86", "team/linux x86"),
            ("reapis://cache.example:443/a", "a"),
        ] {
            assert_eq!(parsed(url), Ok((url.to_owned(), instance.to_owned())));
        }
        assert_eq!(
            parsed("reapis://cache.example/").map(|p| p.0),
            Ok("reapis://cache.example:443".to_owned())
        );
        for bad in
            ["reapi://host", "reapi://:1", "grpc://host:1", "reapi://u:p@host:1", "reapi://h:x"]
        {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn serials_differ_and_look_like_uuids() {
        let (a, b) = (serial(), serial());
        assert_ne!(a, b);
        let parts: Vec<_> = a.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
    }
}
