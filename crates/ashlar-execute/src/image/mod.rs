//! A command in an image: what it sees ([`View`]), who runs it ([`User`]), and how.
//!
//! | module | what lives there |
//! |---|---|
//! | `view` | what a request says |
//! | `user` | who `USER` and `--chown` mean |
//! | `prepare` | everything staged, and what the helper is told (`spec`) |
//! | `mounts` | in the helper: the root and the mounts |
//! | `leak` | secrets in what the command made |
//! | `gateway` | the socket by which a command without a network reaches who runs it |
//! | `first`, `system`, `become_user` | in the sandbox: its first process, `/proc` and `/dev`, the command |

mod become_user;
mod first;
mod gateway;
mod leak;
mod mounts;
mod prepare;
mod spec;
mod system;
mod user;
mod view;

pub(crate) use first::{First, start};
pub use gateway::{Entrance, GATEWAY_PORT, Gateway};
pub(crate) use leak::find as find_secret;
pub use leak::{Leak, SHORTEST_SECRET};
pub(crate) use mounts::assemble;
pub(crate) use prepare::{Checkpoints, prepare};
pub(crate) use spec::ImageSpec;
pub(crate) use user::MOST as MOST_ID;
pub use user::{User, UserError, resolve_owner};
pub use view::{ImageMount, ImageView, Mounted, Network, Owner, Secret, View};
