//! What a command downloads, recorded and replayed by content: a proxy that the command is shown
//! instead of a network.
//!
//! A [`Recorder`] asks the servers, hands on what comes while it comes, and knows at the end what
//! was answered to each request ([`Recorder::finish`]). A [`Replayer`] answers from what was
//! recorded and from the store, and asks nobody. Both are served by [`serve()`].
//!
//! | module | what lives there |
//! |---|---|
//! | `ask` | a request of the command |
//! | `upstream` | asking a server, or the machine's own proxy |
//! | `download` | one answer that arrives, for all who wait for it |
//! | `record`, `replay` | who answers |
//! | `again` | contents that are not in the store any more |
//! | `answer` | an answer on its way to the command: whole, in part, or not at all because it is known there |
//! | `serve` | connections |
//!
//! What both do alike, so that a command cannot tell them apart: whole contents are asked for and
//! recorded, and parts and conditions are answered here; an answer without success has no content;
//! of the fields of an answer those of [`ashlar_recipe::PINNED_FIELDS`] are handed on.
//!
//! Absent: what runs the command, where pins are written, keys.

mod again;
mod answer;
mod ask;
mod download;
mod record;
mod replay;
mod serve;
mod upstream;

#[cfg(test)]
mod tests;

pub(crate) use again::fetch_again;
pub use record::{PinError, Recorder};
pub use replay::Replayer;
pub use serve::{Answers, serve};
pub use upstream::{Proxies, percent_decoded};
