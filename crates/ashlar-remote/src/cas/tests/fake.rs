//! A server of the Remote Execution API in memory that does what real ones rarely do on request:
//! compresses, cuts uploads and knows how far they came, is busy, lies.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use ashlar_object::Digest;
use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use bazel_remote_apis::google::bytestream as bs;
use bazel_remote_apis::google::rpc;
use futures_util::{Stream, StreamExt as _, stream};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::cas::wire;
use crate::runtime::runtime;

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What it is to do, and what it has seen.
#[derive(Default)]
pub struct State {
    pub blobs: HashMap<Digest, Vec<u8>>,
    pub entries: HashMap<Digest, api::ActionResult>,
    /// Whether it announces and uses zstd.
    pub zstd: bool,
    /// Uploads are cut after so many bytes of the blob, once.
    pub cut_upload: Option<usize>,
    /// Downloads are cut after so many bytes of what is sent, once.
    pub cut_download: Option<usize>,
    /// So many requests are answered with this.
    pub fail: Option<(u32, Code)>,
    /// So many blobs of batches are answered with this.
    pub fail_blobs: Option<(u32, Code)>,
    /// What every request has to carry.
    pub authorization: Option<String>,
    /// What uploads have so far, by name, uncompressed.
    pub partial: HashMap<String, Vec<u8>>,
    /// `write_offset` of the first message of each upload.
    pub write_offsets: Vec<i64>,
    /// `read_offset` of each download.
    pub read_offsets: Vec<i64>,
    /// Bytes that came compressed, and that went so.
    pub compressed: u64,
    /// How large batches were.
    pub batches: Vec<u64>,
    /// Whether every request said who asks.
    pub metadata: bool,
}

#[derive(Clone)]
pub struct Fake(Arc<Mutex<State>>);

impl Fake {
    /// Starts it. It ends with the process.
    pub fn start(state: State) -> (Self, SocketAddr) {
        Self::launch(state, None)
    }

    /// The same with TLS.
    pub fn start_tls(state: State, identity: Identity) -> (Self, SocketAddr) {
        Self::launch(state, Some(ServerTlsConfig::new().identity(identity)))
    }

    fn launch(state: State, tls: Option<ServerTlsConfig>) -> (Self, SocketAddr) {
        use api::action_cache_server::ActionCacheServer;
        use api::capabilities_server::CapabilitiesServer;
        use api::content_addressable_storage_server::ContentAddressableStorageServer;
        use bs::byte_stream_server::ByteStreamServer;
        let fake = Self(Arc::new(Mutex::new(state)));
        let runtime = runtime().unwrap();
        let _inside = runtime.enter();
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = incoming.local_addr().unwrap();
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        let serving = server
            .add_service(CapabilitiesServer::new(fake.clone()))
            .add_service(ActionCacheServer::new(fake.clone()))
            .add_service(ContentAddressableStorageServer::new(fake.clone()))
            .add_service(ByteStreamServer::new(fake.clone()))
            .serve_with_incoming(incoming);
        runtime.spawn(serving);
        (fake, address)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Whether this request is answered at all.
    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let mut state = self.state();
        let headers = request.metadata();
        state.metadata =
            headers.get_bin("build.bazel.remote.execution.v2.requestmetadata-bin").is_some();
        if let Some(wanted) = &state.authorization {
            let given = headers.get("authorization").and_then(|value| value.to_str().ok());
            if given != Some(wanted.as_str()) {
                return Err(Status::unauthenticated(format!("{given:?} is not let in")));
            }
        }
        if let Some((times, code)) = &mut state.fail
            && *times > 0
        {
            *times -= 1;
            return Err(Status::new(*code, "on request"));
        }
        Ok(())
    }
}

fn digest(message: Option<&api::Digest>) -> Result<Digest, Status> {
    message.and_then(wire::read_digest).ok_or_else(|| Status::invalid_argument("that is no digest"))
}

/// The compression and digest at the end of a resource name.
fn resource(name: &str) -> (bool, Digest) {
    let parts: Vec<_> = name.rsplitn(3, '/').collect();
    let digest = format!("{}/{}", parts[1], parts[0]).parse().unwrap();
    (parts[2].ends_with("compressed-blobs/zstd"), digest)
}

#[tonic::async_trait]
impl api::capabilities_server::Capabilities for Fake {
    async fn get_capabilities(
        &self,
        request: Request<api::GetCapabilitiesRequest>,
    ) -> Result<Response<api::ServerCapabilities>, Status> {
        self.admit(&request)?;
        let zstd = self.state().zstd;
        let compressors = if zstd { vec![api::compressor::Value::Zstd as i32] } else { vec![] };
        Ok(Response::new(api::ServerCapabilities {
            cache_capabilities: Some(api::CacheCapabilities {
                digest_functions: vec![api::digest_function::Value::Sha256 as i32],
                action_cache_update_capabilities: Some(api::ActionCacheUpdateCapabilities {
                    update_enabled: true,
                }),
                max_batch_total_size_bytes: 100_000,
                supported_compressors: compressors.clone(),
                supported_batch_update_compressors: compressors,
                ..api::CacheCapabilities::default()
            }),
            ..api::ServerCapabilities::default()
        }))
    }
}

#[tonic::async_trait]
impl api::action_cache_server::ActionCache for Fake {
    async fn get_action_result(
        &self,
        request: Request<api::GetActionResultRequest>,
    ) -> Result<Response<api::ActionResult>, Status> {
        self.admit(&request)?;
        let digest = digest(request.get_ref().action_digest.as_ref())?;
        let entry = self.state().entries.get(&digest).cloned();
        entry.map(Response::new).ok_or_else(|| Status::not_found("no such result"))
    }

    async fn update_action_result(
        &self,
        request: Request<api::UpdateActionResultRequest>,
    ) -> Result<Response<api::ActionResult>, Status> {
        self.admit(&request)?;
        let request = request.into_inner();
        let digest = digest(request.action_digest.as_ref())?;
        let result = request.action_result.unwrap_or_default();
        self.state().entries.insert(digest, result.clone());
        Ok(Response::new(result))
    }
}

#[tonic::async_trait]
impl api::content_addressable_storage_server::ContentAddressableStorage for Fake {
    async fn find_missing_blobs(
        &self,
        request: Request<api::FindMissingBlobsRequest>,
    ) -> Result<Response<api::FindMissingBlobsResponse>, Status> {
        self.admit(&request)?;
        let state = self.state();
        let mut missing_blob_digests = request.into_inner().blob_digests;
        missing_blob_digests.retain(|d| !state.blobs.contains_key(&digest(Some(d)).unwrap()));
        Ok(Response::new(api::FindMissingBlobsResponse { missing_blob_digests }))
    }

    async fn batch_update_blobs(
        &self,
        request: Request<api::BatchUpdateBlobsRequest>,
    ) -> Result<Response<api::BatchUpdateBlobsResponse>, Status> {
        self.admit(&request)?;
        let mut state = self.state();
        let mut responses = Vec::new();
        let mut total = 0;
        for blob in request.into_inner().requests {
            let name = digest(blob.digest.as_ref())?;
            assert_ne!(name, Digest::EMPTY, "the empty blob is never sent");
            total += name.size;
            let mut status = rpc::Status::default();
            match &mut state.fail_blobs {
                Some((times, code)) if *times > 0 => {
                    *times -= 1;
                    status.code = *code as i32;
                }
                _ => {
                    let bytes = if blob.compressor == api::compressor::Value::Zstd as i32 {
                        state.compressed += blob.data.len() as u64;
                        zstd::decode_all(&blob.data[..]).unwrap()
                    } else {
                        blob.data
                    };
                    assert_eq!(Digest::of(&bytes), name);
                    state.blobs.insert(name, bytes);
                }
            }
            let digest = blob.digest;
            let status = Some(status);
            responses.push(api::batch_update_blobs_response::Response { digest, status });
        }
        state.batches.push(total);
        Ok(Response::new(api::BatchUpdateBlobsResponse { responses }))
    }

    async fn batch_read_blobs(
        &self,
        request: Request<api::BatchReadBlobsRequest>,
    ) -> Result<Response<api::BatchReadBlobsResponse>, Status> {
        self.admit(&request)?;
        let request = request.into_inner();
        let zstd = api::compressor::Value::Zstd as i32;
        let mut state = self.state();
        let compress = state.zstd && request.acceptable_compressors.contains(&zstd);
        let mut responses = Vec::new();
        for name in request.digests {
            let bytes = state.blobs.get(&digest(Some(&name))?).cloned();
            let code = if bytes.is_some() { Code::Ok } else { Code::NotFound };
            let mut data = bytes.unwrap_or_default();
            if compress {
                data = zstd::encode_all(&data[..], 3).unwrap();
                state.compressed += data.len() as u64;
            }
            responses.push(api::batch_read_blobs_response::Response {
                digest: Some(name),
                data,
                compressor: if compress { zstd } else { 0 },
                status: Some(rpc::Status { code: code as i32, ..rpc::Status::default() }),
            });
        }
        Ok(Response::new(api::BatchReadBlobsResponse { responses }))
    }

    type GetTreeStream = Streamed<api::GetTreeResponse>;

    async fn get_tree(
        &self,
        _: Request<api::GetTreeRequest>,
    ) -> Result<Response<Self::GetTreeStream>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    type GetChunkMappingStream = Streamed<api::GetChunkMappingResponse>;

    async fn get_chunk_mapping(
        &self,
        _: Request<api::GetChunkMappingRequest>,
    ) -> Result<Response<Self::GetChunkMappingStream>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn register_chunk_mapping(
        &self,
        _: Request<Streaming<api::RegisterChunkMappingRequest>>,
    ) -> Result<Response<api::RegisterChunkMappingResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn split_blob(
        &self,
        _: Request<api::SplitBlobRequest>,
    ) -> Result<Response<api::SplitBlobResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn splice_blob(
        &self,
        _: Request<api::SpliceBlobRequest>,
    ) -> Result<Response<api::SpliceBlobResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }
}

#[tonic::async_trait]
impl bs::byte_stream_server::ByteStream for Fake {
    type ReadStream = Streamed<bs::ReadResponse>;

    async fn read(
        &self,
        request: Request<bs::ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        self.admit(&request)?;
        let request = request.into_inner();
        let (compressed, digest) = resource(&request.resource_name);
        let mut state = self.state();
        state.read_offsets.push(request.read_offset);
        let blob = state.blobs.get(&digest).ok_or_else(|| Status::not_found("no such blob"))?;
        let mut data = blob[request.read_offset as usize..].to_vec();
        if compressed {
            data = zstd::encode_all(&data[..], 1).unwrap();
            state.compressed += data.len() as u64;
        }
        let cut = state.cut_download.take().filter(|cut| *cut < data.len());
        data.truncate(cut.unwrap_or(data.len()));
        let mut messages: Vec<_> =
            data.chunks(50_000).map(|data| Ok(bs::ReadResponse { data: data.to_vec() })).collect();
        if cut.is_some() {
            messages.push(Err(Status::unavailable("cut on request")));
        }
        Ok(Response::new(Box::pin(stream::iter(messages))))
    }

    async fn write(
        &self,
        request: Request<Streaming<bs::WriteRequest>>,
    ) -> Result<Response<bs::WriteResponse>, Status> {
        self.admit(&request)?;
        let mut messages = request.into_inner();
        let mut first = None;
        let mut data = Vec::new();
        let mut finished = false;
        while let Some(message) = messages.next().await {
            let message = message?;
            let (name, begin) = first.get_or_insert_with(|| {
                self.state().write_offsets.push(message.write_offset);
                (message.resource_name.clone(), message.write_offset)
            });
            assert_eq!(message.write_offset, *begin + data.len() as i64);
            data.extend(message.data);
            finished |= message.finish_write;
            let mut state = self.state();
            if let Some(cut) = state.cut_upload.filter(|cut| data.len() >= *cut) {
                state.cut_upload = None;
                data.truncate(cut);
                let kept = state.partial.entry(name.clone()).or_default();
                if resource(name).0 {
                    // As much as can be uncompressed of it.
                    let mut decoder = zstd::stream::read::Decoder::new(&data[..]).unwrap();
                    // It ends in the middle, which is no success.
                    let _ = std::io::Read::read_to_end(&mut decoder, kept);
                } else {
                    kept.extend(data);
                }
                return Err(Status::unavailable("cut on request"));
            }
        }
        let (name, _) = first.ok_or_else(|| Status::invalid_argument("nothing came"))?;
        if !finished {
            return Err(Status::invalid_argument("it was not finished"));
        }
        let (compressed, digest) = resource(&name);
        let mut state = self.state();
        let mut bytes = state.partial.remove(&name).unwrap_or_default();
        let size = data.len() as i64;
        if compressed {
            state.compressed += data.len() as u64;
            data = zstd::decode_all(&data[..]).unwrap();
        }
        bytes.extend(data);
        if Digest::of(&bytes) != digest {
            return Err(Status::invalid_argument("that is another blob"));
        }
        let committed_size = if compressed { size } else { bytes.len() as i64 };
        state.blobs.insert(digest, bytes);
        Ok(Response::new(bs::WriteResponse { committed_size }))
    }

    async fn query_write_status(
        &self,
        request: Request<bs::QueryWriteStatusRequest>,
    ) -> Result<Response<bs::QueryWriteStatusResponse>, Status> {
        self.admit(&request)?;
        let state = self.state();
        let kept = state.partial.get(&request.get_ref().resource_name);
        let committed_size = kept.map_or(0, Vec::len) as i64;
        Ok(Response::new(bs::QueryWriteStatusResponse { committed_size, complete: false }))
    }
}
