//! garage, an S3-compatible object store.

use std::path::Path;
use std::process::Command;

use crate::install::installed;
use crate::server::{Place, Server, answers_http, folder, run, write};

/// What signs requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The access key.
    pub id: &'static str,
    /// The secret key: it occurs nowhere else, so that tests can look for it in what is printed.
    pub secret: &'static str,
}

const WRITER: Key = Key {
    id: "GK31c2f218a2e44f485b94239e",
    secret: "b892c0665f0ada8a4755dae98baa3b133590e11dae3bcc1f9d769d67f16c3835",
};
const READER: Key = Key {
    id: "GK5f0c8be1cd12a4d07e3b9a61",
    secret: "3c1f3a9be3d0a7c5529d1a1f0e5be0a1c4a8f6d2b7e94c0d8f1b2a3c4d5e6f70",
};
const BUCKET: &str = "shared";
const REGION: &str = "garage";

/// A garage that runs, with one bucket.
#[derive(Debug)]
pub struct Garage {
    /// The process.
    pub server: Server,
}

server!(Garage);

/// Starts garage with an empty bucket.
///
/// # Panics
/// When it does not start, with what it printed.
#[must_use]
pub fn garage() -> Garage {
    let program = installed("garage", "bin/garage");
    let launched = program.clone();
    let server = Server::launch(
        "garage",
        2,
        answers_http,
        Box::new(move |place| {
            let file = place.folder.join("garage.toml");
            folder(&place.folder.join("data"));
            write(&file, &configuration(place));
            let mut command = Command::new(&launched);
            command.arg("-c").arg(file).args(["server", "--single-node", "--default-bucket"]);
            command.env("GARAGE_DEFAULT_ACCESS_KEY", WRITER.id);
            command.env("GARAGE_DEFAULT_SECRET_KEY", WRITER.secret);
            command.env("GARAGE_DEFAULT_BUCKET", BUCKET).env("RUST_LOG", "garage=info");
            command
        }),
    );
    let garage = Garage { server };
    garage.command(&program, &["key", "import", "--yes", "-n", "reader", READER.id, READER.secret]);
    garage.command(&program, &["bucket", "allow", "--read", BUCKET, "--key", READER.id]);
    garage
}

fn configuration(place: &Place<'_>) -> String {
    let at = place.folder.display();
    let [s3, rpc] = *place.ports else { unreachable!("two ports are asked for") };
    format!(
        "metadata_dir = '{at}/meta'
data_dir = '{at}/data'
db_engine = 'lmdb'
metadata_fsync = false
data_fsync = false
replication_factor = 1
rpc_bind_addr = '127.0.0.1:{rpc}'
rpc_public_addr = '127.0.0.1:{rpc}'
rpc_secret = '1799bccfd7411eddcf9ebd316bc1f5287ad12a68094e1c6ac6abde7e6feae1ec'
[s3_api]
s3_region = '{REGION}'
api_bind_addr = '127.0.0.1:{s3}'
"
    )
}

impl Garage {
    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.host())
    }

    /// What the region must be called.
    #[must_use]
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// The bucket, addressed by path: `ENDPOINT/BUCKET/KEY`.
    #[must_use]
    pub fn bucket(&self) -> &'static str {
        BUCKET
    }

    /// The key that may do everything.
    #[must_use]
    pub fn writer(&self) -> Key {
        WRITER
    }

    /// The key that may only read.
    #[must_use]
    pub fn reader(&self) -> Key {
        READER
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> String {
        let file = self.server.folder().join("garage.toml");
        run(Command::new(program).arg("-c").arg(file).args(arguments).env("RUST_LOG", "error"))
    }
}
