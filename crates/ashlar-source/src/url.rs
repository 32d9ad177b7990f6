//! Files at addresses.

use std::path::Path;

use crate::SourceError;

/// Why a file at an address cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// Not 64 hexadecimal digits.
    #[error("`{0}` is not a SHA-256: 64 hexadecimal digits")]
    Sha256(String),
    /// An address that cannot be used.
    #[error("`{url}` {what}")]
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The server answered with an error.
    #[error("{url}: the server answered {status}")]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// No whole answer.
    #[error("{url}: {}", source)]
    Transport {
        /// The address.
        url: String,
        /// Why not.
        source: Box<ureq::Error>,
    },
    /// The connection broke off or stalled, again and again.
    #[error("{url}: the transfer broke off after {got} bytes")]
    Broken {
        /// The address.
        url: String,
        /// How many bytes had come.
        got: u64,
        /// What the connection said last.
        source: std::io::Error,
    },
    /// The file is not the one that was meant.
    #[error("{url} has the wrong content: expected SHA-256 {expected}, got {got}")]
    Checksum {
        /// The address.
        url: String,
        /// The SHA-256 it should have.
        expected: String,
        /// The SHA-256 it has.
        got: String,
    },
    /// A local file cannot be read.
    #[error("cannot read {url}")]
    File {
        /// The address.
        url: String,
        /// Why not.
        source: std::io::Error,
    },
    /// None of several addresses gives the file.
    #[error("no address has the file:{}", .0.iter().map(|e| format!("\n  {e}")).collect::<String>())]
    All(Vec<UrlError>),
}

impl UrlError {
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Checksum { .. } => Some(
                "the file was changed where it is served, or the checksum in the module is wrong: \
                 compare with what its makers publish before you change `sha256`"
                    .to_owned(),
            ),
            Self::All(all) => all.iter().find_map(Self::advice),
            Self::Status { status: 404 | 410, .. } => {
                Some("the file is gone from there: correct `url` or add `mirrors`".to_owned())
            }
            Self::Status { .. }
            | Self::Transport { .. }
            | Self::Broken { .. }
            | Self::File { .. }
            | Self::Address { .. }
            | Self::Sha256(_) => None,
        }
    }
}

/// The last part of an address, for a file that is not unpacked.
pub(crate) fn file_name(url: &str) -> Result<String, UrlError> {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let name = path.rsplit('/').next().unwrap_or_default();
    match ashlar_object::Name::new(name.as_bytes()) {
        Ok(_) => Ok(name.to_owned()),
        Err(_) => {
            Err(UrlError::Address { url: url.to_owned(), what: "does not end in a file name" })
        }
    }
}

/// Gets the file from the first address that has it. `local_only` leaves out all but `file:`.
pub(crate) fn download(
    urls: &[&str],
    sha256: &[u8; 32],
    local_only: bool,
    to: &Path,
) -> Result<(), SourceError> {
    let _unused = (sha256, local_only, to);
    Err(UrlError::Address { url: urls.concat(), what: "cannot be fetched yet" }.into())
}
