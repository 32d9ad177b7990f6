//! A server of the Remote Execution API, version 2: its content-addressable storage, its byte
//! streams and its action cache.
//!
//! | file | what lives there |
//! |---|---|
//! | `address.rs` | address, certificates, headers |
//! | `call.rs` | how long a request may take, and what its failure means |
//! | `stream.rs` | blobs too large for a message |
//! | `wire.rs` | messages |

mod address;
mod call;
mod stream;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ashlar_object::Digest;
use ashlar_store::{Abilities, RemoteError, Watch};
use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use bazel_remote_apis::google::bytestream::byte_stream_client::ByteStreamClient;
use futures_util::{StreamExt as _, stream as futures};
use prost::Message as _;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};

use self::address::{Address, Headers, channel};
use self::call::{drive, explain, failure, patient};
use super::wire::{self, Capabilities};
use super::{Arrival, Bounds, Cas, Incoming, Opener, Probe, permission, push::again};
use crate::http::retry::{Failure, Patience, Policy, run};
use crate::{Definition, Secret};

/// How many requests to the action cache are under way at once.
const ENTRIES: usize = 16;

/// The slowest connection that is still worth while, in bytes a second: a request with much in it
/// may take as much longer.
const SLOWEST: u64 = 64 << 10;

/// The largest answer that is taken: a batch, with room for servers that count otherwise.
const ANSWER: usize = 16 << 20;

type Service = InterceptedService<Channel, Headers>;

/// A server.
#[derive(Debug)]
pub(crate) struct Reapi {
    place: String,
    instance: String,
    stall: Duration,
    /// What must not be shown, should a server repeat it.
    secret: Option<Secret>,
    service: Service,
    known: Mutex<Option<Arc<Capabilities>>>,
}

impl Reapi {
    /// The server that a definition names. It is not contacted yet.
    ///
    /// # Errors
    /// [`RemoteError::Address`] when the address, a certificate or the token cannot be used.
    pub fn new(definition: &Definition) -> Result<Self, RemoteError> {
        let address = Address::parse(&definition.url).map_err(|why| RemoteError::Address {
            place: definition.name.clone(),
            why: why.to_owned(),
        })?;
        let channel = channel(&address, definition)?;
        let headers =
            Headers::new(definition.token.as_ref().map(|t| t.0.as_str())).ok_or_else(|| {
                RemoteError::Address {
                    place: address.place(),
                    why: "the token has characters that no header can have".to_owned(),
                }
            })?;
        Ok(Self {
            place: address.place(),
            instance: address.instance,
            stall: definition.timeout,
            secret: definition.token.clone(),
            service: InterceptedService::new(channel, headers),
            known: Mutex::new(None),
        })
    }

    fn storage(
        &self,
    ) -> api::content_addressable_storage_client::ContentAddressableStorageClient<Service> {
        api::content_addressable_storage_client::ContentAddressableStorageClient::new(
            self.service.clone(),
        )
        .max_decoding_message_size(ANSWER)
    }

    fn action_cache(&self) -> api::action_cache_client::ActionCacheClient<Service> {
        api::action_cache_client::ActionCacheClient::new(self.service.clone())
            .max_decoding_message_size(ANSWER)
    }

    fn streams(&self) -> ByteStreamClient<Service> {
        ByteStreamClient::new(self.service.clone()).max_decoding_message_size(ANSWER)
    }

    /// What a resource of the server is called.
    fn resource(&self, rest: &str) -> String {
        if self.instance.is_empty() { rest.to_owned() } else { format!("{}/{rest}", self.instance) }
    }

    /// How long a request with so many bytes in it or in its answer may take.
    fn allowed(&self, bytes: u64) -> Duration {
        self.stall + Duration::from_secs(bytes / SLOWEST)
    }

    fn policy(&self) -> Policy {
        Policy::within(self.stall * 2)
    }

    fn failure(&self, what: &str, status: &Status) -> Failure {
        failure(&self.place, what, &explain(status, self.secret.as_ref()), status)
    }

    fn wrong(&self, what: &str, why: impl Into<String>) -> RemoteError {
        RemoteError::Wrong { place: self.place.clone(), what: what.to_owned(), why: why.into() }
    }

    /// What the server can do, asked once.
    fn capabilities(&self) -> Result<Arc<Capabilities>, RemoteError> {
        // Held while asking, so that a server that is not there is waited for once.
        let mut known = super::pull::lock(&self.known);
        if let Some(known) = &*known {
            return Ok(Arc::clone(known));
        }
        let capabilities = Arc::new(self.ask()?);
        *known = Some(Arc::clone(&capabilities));
        Ok(capabilities)
    }

    fn ask(&self) -> Result<Capabilities, RemoteError> {
        let what = "what it can do";
        let capabilities = run(Policy::within(self.stall), &self.place, None, |_| {
            let asked = drive(
                patient(self.stall, async {
                    api::capabilities_client::CapabilitiesClient::new(self.service.clone())
                        .get_capabilities(api::GetCapabilitiesRequest {
                            instance_name: self.instance.clone(),
                        })
                        .await
                }),
                &Watch::NOBODY,
            )?;
            match asked {
                Ok(answer) => Ok(Capabilities::read(answer.into_inner())),
                Err(status) if status.code() == Code::Unimplemented => Ok(Capabilities::unknown()),
                Err(status) if matches!(status.code(), Code::InvalidArgument | Code::NotFound) => {
                    Err(Failure::Lasting(RemoteError::Address {
                        place: self.place.clone(),
                        why: format!(
                            "it knows no instance `{}`: {}",
                            self.instance,
                            explain(&status, self.secret.as_ref())
                        ),
                    }))
                }
                Err(status) => Err(self.failure(what, &status)),
            }
        })?;
        if capabilities.sha256 {
            Ok(capabilities)
        } else {
            Err(RemoteError::Address {
                place: self.place.clone(),
                why: "it does not know blobs by SHA-256".to_owned(),
            })
        }
    }

    async fn entry(&self, action: &Digest) -> Result<Option<Vec<u8>>, Status> {
        let request = api::GetActionResultRequest {
            instance_name: self.instance.clone(),
            action_digest: Some(wire::digest(action)),
            ..api::GetActionResultRequest::default()
        };
        let mut client = self.action_cache();
        match patient(self.stall, client.get_action_result(request)).await {
            Ok(answer) => Ok(Some(answer.into_inner().encode_to_vec())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    async fn put_entry(&self, action: &Digest, entry: &[u8]) -> Result<(), Status> {
        let result = api::ActionResult::decode(entry)
            .map_err(|e| Status::invalid_argument(e.to_string()))?;
        let request = api::UpdateActionResultRequest {
            instance_name: self.instance.clone(),
            action_digest: Some(wire::digest(action)),
            action_result: Some(result),
            ..api::UpdateActionResultRequest::default()
        };
        let mut client = self.action_cache();
        patient(self.stall, client.update_action_result(request)).await.map(|_| ())
    }

    /// Asks many things at once, and again those that failed for the moment. One answer for each,
    /// in their order; with `all_or_none` the first that fails for good ends it.
    fn many<'a, I: Sync, T>(
        &'a self,
        what: &str,
        items: &'a [I],
        watch: &Watch<'_>,
        ask: impl AsyncFn(&'a I) -> Result<T, Status>,
    ) -> Vec<Result<T, RemoteError>> {
        let mut answers: Vec<Option<Result<T, RemoteError>>> = items.iter().map(|_| None).collect();
        let mut left: Vec<usize> = (0..items.len()).collect();
        let mut patience = Patience::new(self.policy(), &self.place);
        while !left.is_empty() {
            let mut again_later = Vec::new();
            let mut last = None;
            let round = async {
                let ask = &ask;
                let mut answered = futures::iter(left.iter().copied())
                    .map(|index| async move { (index, ask(&items[index]).await) })
                    .buffer_unordered(ENTRIES);
                while let Some((index, answer)) = answered.next().await {
                    match answer {
                        Ok(answer) => answers[index] = Some(Ok(answer)),
                        Err(status) => match self.failure(what, &status) {
                            Failure::Lasting(error) => {
                                let ends = error.is_lasting();
                                answers[index] = Some(Err(error));
                                if ends {
                                    break;
                                }
                            }
                            transient @ Failure::Transient { .. } => {
                                again_later.push(index);
                                last = Some(transient);
                                // Whoever is not there does not have to be asked by all.
                                if again_later.len() > ENTRIES {
                                    break;
                                }
                            }
                        },
                    }
                }
            };
            let driven = drive(round, watch);
            let before = left.len();
            let ended =
                answers.iter().flatten().find_map(|a| a.as_ref().err().filter(|e| e.is_lasting()));
            let stop = match (driven, ended, last) {
                (Err(error), ..) => Some(error),
                (_, Some(error), _) => Some(again(error)),
                (_, _, Some(transient)) => {
                    left.retain(|index| answers[*index].is_none());
                    if left.len() < before {
                        patience.progress();
                    }
                    patience.after(transient, Some(watch)).err()
                }
                (_, _, None) => None,
            };
            left.retain(|index| answers[*index].is_none());
            if let Some(error) = stop {
                for index in left.drain(..) {
                    answers[index] = Some(Err(again(&error)));
                }
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or(Err(RemoteError::Stopped))).collect()
    }
}

impl Cas for Reapi {
    fn place(&self) -> &str {
        &self.place
    }

    fn abilities(&self, probe: &Probe) -> Result<Abilities, RemoteError> {
        let capabilities = self.capabilities()?;
        // Reading is refused here or nowhere.
        self.entries(&[probe.digest], &Watch::NOBODY)?;
        let write = if capabilities.update {
            let blob = [(probe.digest, probe.action.clone())];
            let put =
                self.write_batch(&blob, &Watch::NOBODY).into_iter().try_for_each(|r| r.map(|_| ()));
            put.and_then(|()| {
                let entry = [(probe.digest, probe.entry.clone())];
                self.put_entries(&entry, &Watch::NOBODY).into_iter().collect::<Result<(), _>>()
            })
        } else {
            self.writable()
        };
        let write = permission(write)?;
        let mut facts = capabilities.facts.clone();
        facts.insert(0, ("instance".to_owned(), format!("`{}`", self.instance)));
        Ok(Abilities { read: true, write, facts })
    }

    fn wants_directories(&self) -> bool {
        // casd holds results back that lack one below the root.
        true
    }

    fn bounds(&self) -> Result<Bounds, RemoteError> {
        Ok(self.capabilities()?.bounds)
    }

    fn writable(&self) -> Result<(), RemoteError> {
        if self.capabilities()?.update {
            return Ok(());
        }
        Err(RemoteError::Refused {
            place: self.place.clone(),
            what: "results".to_owned(),
            why: "its action cache takes none from clients".to_owned(),
        })
    }

    fn missing(&self, digests: &[Digest], watch: &Watch<'_>) -> Result<Vec<Digest>, RemoteError> {
        let mut missing = Vec::new();
        for part in digests.chunks(wire::DIGESTS) {
            let answer = run(self.policy(), &self.place, Some(watch), |_| {
                let request = api::FindMissingBlobsRequest {
                    instance_name: self.instance.clone(),
                    blob_digests: part.iter().map(wire::digest).collect(),
                    ..api::FindMissingBlobsRequest::default()
                };
                let mut client = self.storage();
                let allowed = self.allowed(72 * part.len() as u64);
                drive(patient(allowed, client.find_missing_blobs(request)), watch)?
                    .map_err(|status| self.failure("which blobs it lacks", &status))
            })?;
            let named = answer.into_inner().missing_blob_digests;
            missing.extend(named.iter().filter_map(wire::read_digest));
        }
        Ok(missing)
    }

    fn read_batch(
        &self,
        digests: &[Digest],
        watch: &Watch<'_>,
    ) -> Result<Vec<Arrival>, RemoteError> {
        let capabilities = self.capabilities()?;
        let zstd = i32::from(api::compressor::Value::Zstd);
        let size = digests.iter().map(|digest| digest.size).sum();
        run(self.policy(), &self.place, Some(watch), |_| {
            let request = api::BatchReadBlobsRequest {
                instance_name: self.instance.clone(),
                digests: digests.iter().map(wire::digest).collect(),
                acceptable_compressors: capabilities.zstd.then_some(zstd).into_iter().collect(),
                ..api::BatchReadBlobsRequest::default()
            };
            let mut client = self.storage();
            let answer =
                drive(patient(self.allowed(size), client.batch_read_blobs(request)), watch)?
                    .map_err(|status| self.failure("to give blobs", &status))?;
            let responses = answer.into_inner().responses;
            // A blob that is refused is no miss.
            for response in &responses {
                let status = response.status.clone().unwrap_or_default();
                let status = Status::new(Code::from(status.code), status.message);
                if matches!(
                    status.code(),
                    Code::PermissionDenied
                        | Code::Unauthenticated
                        | Code::Unavailable
                        | Code::ResourceExhausted
                        | Code::Aborted
                        | Code::DeadlineExceeded
                ) {
                    return Err(self.failure("to give a blob", &status));
                }
            }
            Ok(responses.into_iter().filter_map(wire::arrival).collect())
        })
    }

    fn read<'a>(&'a self, digest: &Digest, watch: &Watch<'a>) -> Box<dyn Incoming + 'a> {
        Box::new(stream::Download::new(self, *digest, *watch))
    }

    fn write_batch(
        &self,
        blobs: &[(Digest, Vec<u8>)],
        watch: &Watch<'_>,
    ) -> Vec<Result<u64, RemoteError>> {
        let mut done: Vec<Option<Result<u64, RemoteError>>> = blobs.iter().map(|_| None).collect();
        let result = run(self.policy(), &self.place, Some(watch), |_| {
            self.try_batch(blobs, &mut done, watch)
        });
        let rest = result.err().unwrap_or(RemoteError::Stopped);
        done.into_iter().map(|done| done.unwrap_or_else(|| Err(again(&rest)))).collect()
    }

    fn write(
        &self,
        digest: &Digest,
        open: Opener<'_>,
        watch: &Watch<'_>,
    ) -> Result<(), RemoteError> {
        stream::upload(self, digest, open, watch)
    }

    fn entries(
        &self,
        actions: &[Digest],
        watch: &Watch<'_>,
    ) -> Result<Vec<Option<Vec<u8>>>, RemoteError> {
        self.capabilities()?;
        let answers =
            self.many("to be read", actions, watch, async |action| self.entry(action).await);
        answers.into_iter().collect()
    }

    fn put_entries(
        &self,
        entries: &[(Digest, Vec<u8>)],
        watch: &Watch<'_>,
    ) -> Vec<Result<(), RemoteError>> {
        self.many("a result", entries, watch, async |(action, entry)| {
            self.put_entry(action, entry).await
        })
    }
}

impl Reapi {
    /// Sends what of a batch is not there yet.
    fn try_batch(
        &self,
        blobs: &[(Digest, Vec<u8>)],
        done: &mut [Option<Result<u64, RemoteError>>],
        watch: &Watch<'_>,
    ) -> Result<(), Failure> {
        let what = "blobs";
        let compress = self.capabilities()?.zstd_batches;
        let left: Vec<usize> = (0..blobs.len()).filter(|index| done[*index].is_none()).collect();
        let requests: Vec<_> = left
            .iter()
            .map(|index| wire::upload(&blobs[*index].0, &blobs[*index].1, compress))
            .collect();
        let sizes: Vec<u64> = requests.iter().map(|request| request.data.len() as u64).collect();
        let request = api::BatchUpdateBlobsRequest {
            instance_name: self.instance.clone(),
            requests,
            ..api::BatchUpdateBlobsRequest::default()
        };
        let mut client = self.storage();
        let allowed = self.allowed(sizes.iter().sum());
        let answer = drive(patient(allowed, client.batch_update_blobs(request)), watch)?
            .map_err(|status| self.failure(what, &status))?;
        let mut statuses = std::collections::HashMap::new();
        for response in answer.into_inner().responses {
            if let Some(digest) = response.digest.as_ref().and_then(wire::read_digest) {
                let status = response.status.unwrap_or_default();
                statuses.insert(digest, Status::new(Code::from(status.code), status.message));
            }
        }
        let mut later = Ok(());
        for (index, size) in left.into_iter().zip(sizes) {
            let answer = match statuses.get(&blobs[index].0) {
                None => Err(self.wrong(what, "a blob was not answered for")),
                Some(status) if status.code() == Code::Ok => Ok(size),
                Some(status) => match self.failure("a blob", status) {
                    Failure::Lasting(error) => Err(error),
                    transient @ Failure::Transient { .. } => {
                        later = Err(transient);
                        continue;
                    }
                },
            };
            done[index] = Some(answer);
        }
        later
    }
}
