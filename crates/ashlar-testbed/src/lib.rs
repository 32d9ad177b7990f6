//! Real servers on loopback, and a proxy that misbehaves, for the tests of other rooms.
//!
//! Each server is started in a temporary folder on a port of its own, answers when the call
//! returns, and is gone when its value is dropped, when the test panics, and when the process that
//! runs the tests is killed. A server that is not installed fails the test with the command that
//! installs it: nothing is skipped.
//!
//! ```no_run
//! use ashlar_testbed::{Proxy, docker_registry, proxy::{Fault, Rule, Way}, registry::Options};
//!
//! let registry = docker_registry(&Options::default());
//! let proxy = Proxy::http(registry.address());
//! proxy.add(Rule::on("GET", "/v2/*/blobs/", Fault::Cut { way: Way::Down, after: 1000 }).times(1));
//! // A client that speaks to `proxy.host()` is cut off once in the middle of a blob.
//! assert!(proxy.requests().iter().all(|request| request.method != "DELETE"));
//! ```
//!
//! All of it panics when something does not work: these are tests.

#[macro_use]
mod server;

pub mod buildgrid;
mod casd;
pub mod certificates;
mod garage;
mod install;
pub mod nginx;
mod podman;
mod port;
pub mod proxy;
pub mod registry;
mod token;

pub use buildgrid::{BuildGrid, buildgrid};
pub use casd::{Casd, casd, casd_with_instance};
pub use certificates::Certificates;
pub use garage::{Garage, Key, garage};
pub use install::{SERVERS, archives, program, schemas};
pub use nginx::{Nginx, nginx_dav};
pub use podman::{Podman, podman, podman_partial, skopeo};
pub use proxy::Proxy;
pub use registry::{Registry, docker_registry};
pub use server::Server;

/// Someone who may use a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: &'static str,
    /// The password: a word that occurs nowhere else, so that tests can look for it in what a
    /// program prints.
    pub password: &'static str,
}

impl Login {
    /// What follows `Authorization: Basic `.
    #[must_use]
    pub fn basic(&self) -> String {
        token::base64(format!("{}:{}", self.user, self.password).as_bytes(), token::STANDARD)
    }
}

/// Who may read and write.
pub const WRITER: Login = Login { user: "writer", password: "w7Qkz-writer-secret" };

/// Who may only read, where the server tells them apart.
pub const READER: Login = Login { user: "reader", password: "r3Vxp-reader-secret" };
