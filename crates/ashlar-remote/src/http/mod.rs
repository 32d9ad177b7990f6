//! The one HTTP client of this room: who is asked, how often, for how long, with which credentials,
//! and what of it may be shown.
//!
//! | file | what lives there |
//! |---|---|
//! | `client.rs` | [`Client`]: one attempt, redirects, stalls; [`Client::send`] with retries |
//! | `request.rs` | [`Request`], [`Payload`], [`Answer`] and the error an answer stands for |
//! | `retry.rs` | what is worth another attempt, and when; for protocols over gRPC as well |
//! | `download.rs` | [`Download`]: a body as a reader that goes on where it was cut |
//! | `pace.rs` | how slowly a body may come |
//! | `upload.rs` | a part of a blob as a body, with what was sent of it |
//! | `authorize.rs` | [`Authorize`]: the header that lets us in |
//! | `tls.rs` | certificates |
//! | `shown.rs` | addresses and answers without credentials |

mod authorize;
mod client;
mod download;
mod pace;
mod request;
pub(crate) mod retry;
mod shown;
mod tls;
mod upload;

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;

pub(crate) use authorize::{Authorize, Fixed, user_of};
pub(crate) use client::{Client, Options};
pub(crate) use download::{Download, remote_error};
pub(crate) use request::{Answer, Payload, Request};
#[cfg(test)]
pub(crate) use shown::all;
pub(crate) use shown::{innermost, is_loopback, shown, without_user};
