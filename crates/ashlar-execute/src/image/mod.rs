//! A command in an image: what it sees ([`View`]), who runs it ([`User`]).

mod user;
mod view;

pub use user::{User, UserError, resolve_owner};
pub use view::{ImageMount, ImageView, Mounted, Network, Owner, Secret, View};
