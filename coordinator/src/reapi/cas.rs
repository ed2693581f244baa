//! Blobs in messages, and trees.

use bazel_remote_apis::build::bazel::remote::execution::v2::content_addressable_storage_server::ContentAddressableStorage;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    self, BatchReadBlobsRequest, BatchReadBlobsResponse, BatchUpdateBlobsRequest, BatchUpdateBlobsResponse,
    FindMissingBlobsRequest, FindMissingBlobsResponse, GetTreeRequest, GetTreeResponse,
    batch_read_blobs_response, batch_update_blobs_request, batch_update_blobs_response, compressor,
};
use prost::Message;
use rayon::prelude::*;
use thresh_cas::{BlobName, DigestFunction, PackStore, folders};
use tokio_stream::Iter;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::BATCH_BYTES_MAX;
use super::instance::Instance;
use super::outgoing::{Outgoing, Unsent};
use super::state::{Reapi, blocking};
use super::status;
use super::uploads::decoder;
use super::wire::{function_from_wire, name_from_wire};

/// Bytes of folders in one message, if it is not a single one: clients take 4 MiB by default.
const PAGE_BYTES_MAX: usize = 2 << 20;
/// The compression of what is sent: Zstandard's own default.
pub(super) const ZSTD_LEVEL: i32 = 3;

/// See [`ContentAddressableStorage`].
pub(crate) struct CasService {
    reapi: Reapi,
}

impl CasService {
    pub(crate) fn new(reapi: Reapi) -> Self {
        Self { reapi }
    }
}

#[tonic::async_trait]
impl ContentAddressableStorage for CasService {
    async fn find_missing_blobs(
        &self,
        request: Request<FindMissingBlobsRequest>,
    ) -> Result<Response<FindMissingBlobsResponse>, Status> {
        let FindMissingBlobsRequest {
            instance_name,
            blob_digests,
            digest_function,
        } = request.into_inner();
        Instance::parse(&instance_name)?;
        let function = function_from_wire(digest_function)?;
        let names = blob_digests
            .iter()
            .map(|digest| name_from_wire("blob_digests", function, Some(digest)));
        let names = names.collect::<Result<Vec<BlobName>, _>>()?;
        let blobs = self.reapi.blobs.clone();
        // Also for few of them: where packs rest elsewhere, one may have to be asked for.
        let missing = blocking(move || {
            let missing = names.iter().filter(|name| blobs.locate(name).is_none());
            Ok(missing.map(BlobName::to_wire).collect())
        });
        Ok(Response::new(FindMissingBlobsResponse {
            missing_blob_digests: missing.await?,
        }))
    }

    async fn batch_update_blobs(
        &self,
        request: Request<BatchUpdateBlobsRequest>,
    ) -> Result<Response<BatchUpdateBlobsResponse>, Status> {
        let BatchUpdateBlobsRequest {
            instance_name,
            requests,
            digest_function,
        } = request.into_inner();
        Instance::parse(&instance_name)?;
        let function = function_from_wire(digest_function)?;
        let blobs = self.reapi.blobs.clone();
        let responses = blocking(move || {
            let put = requests.into_par_iter().map(|request| {
                let digest = request.digest.clone();
                let stored = put(&blobs, function, request);
                batch_update_blobs_response::Response {
                    digest,
                    status: Some(status_of(stored)),
                }
            });
            Ok(put.collect())
        });
        let responses = responses.await?;
        self.reapi.note_stored();
        Ok(Response::new(BatchUpdateBlobsResponse { responses }))
    }

    async fn batch_read_blobs(
        &self,
        request: Request<BatchReadBlobsRequest>,
    ) -> Result<Response<BatchReadBlobsResponse>, Status> {
        let BatchReadBlobsRequest {
            instance_name,
            digests,
            acceptable_compressors,
            digest_function,
        } = request.into_inner();
        Instance::parse(&instance_name)?;
        let function = function_from_wire(digest_function)?;
        let names = digests
            .iter()
            .map(|digest| name_from_wire("digests", function, Some(digest)));
        let names = names.collect::<Result<Vec<BlobName>, _>>()?;
        let bytes = names
            .iter()
            .fold(0, |sum: u64, name| sum.saturating_add(name.size));
        if bytes > BATCH_BYTES_MAX as u64 {
            return Err(Status::invalid_argument(format!(
                "{bytes} bytes are wanted at once, {BATCH_BYTES_MAX} at most; read large blobs as streams"
            )));
        }
        let zstd = acceptable_compressors.contains(&compressor::Value::Zstd.into());
        let blobs = self.reapi.blobs.clone();
        let responses = blocking(move || Ok(names.par_iter().map(|name| read(&blobs, name, zstd)).collect()));
        Ok(Response::new(BatchReadBlobsResponse {
            responses: responses.await?,
        }))
    }

    type GetTreeStream = ReceiverStream<Result<GetTreeResponse, Status>>;

    async fn get_tree(
        &self,
        request: Request<GetTreeRequest>,
    ) -> Result<Response<Self::GetTreeStream>, Status> {
        let GetTreeRequest {
            instance_name,
            root_digest,
            page_token,
            digest_function,
            ..
        } = request.into_inner();
        Instance::parse(&instance_name)?;
        let function = function_from_wire(digest_function)?;
        let root = name_from_wire("root_digest", function, root_digest.as_ref())?;
        if !page_token.is_empty() {
            return Err(Status::invalid_argument(
                "no page token was ever given: trees are sent whole",
            ));
        }
        let blobs = self.reapi.blobs.clone();
        let permit = self.reapi.stream()?;
        // What is wrong with the root is the answer itself.
        let read = self.reapi.reading(move || match blobs.locate(&root) {
            None => Err(Status::not_found(format!(
                "input root {root} is not in the store"
            ))),
            Some(_) => {
                let mut folders = folders(&blobs, &root);
                let first = folders.next().transpose().map_err(status::of_tree)?;
                let rest = folders.map(|folder| folder.map_err(status::of_tree));
                Ok(first.into_iter().map(Ok).chain(rest))
            }
        });
        let (mut folders, reapi) = (read.await?, self.reapi.clone());
        Ok(Response::new(Outgoing::start(move |pages| {
            let _permit = permit;
            // Clients that are slow to take folders hold up nobody who reads.
            let next = || match pages.wait_for(reapi.reading_place()) {
                Ok(_place) => folders.next(),
                Err(status) => Some(Err(status)),
            };
            send_pages(std::iter::from_fn(next), pages)
        })))
    }

    async fn split_blob(
        &self,
        _: Request<v2::SplitBlobRequest>,
    ) -> Result<Response<v2::SplitBlobResponse>, Status> {
        Err(Status::unimplemented("blobs are not split for clients"))
    }

    type GetChunkMappingStream = Iter<std::vec::IntoIter<Result<v2::GetChunkMappingResponse, Status>>>;

    async fn get_chunk_mapping(
        &self,
        _: Request<v2::GetChunkMappingRequest>,
    ) -> Result<Response<Self::GetChunkMappingStream>, Status> {
        Err(Status::unimplemented("blobs are not split for clients"))
    }

    async fn splice_blob(
        &self,
        _: Request<v2::SpliceBlobRequest>,
    ) -> Result<Response<v2::SpliceBlobResponse>, Status> {
        Err(Status::unimplemented("blobs are not put together for clients"))
    }

    async fn register_chunk_mapping(
        &self,
        _: Request<tonic::Streaming<v2::RegisterChunkMappingRequest>>,
    ) -> Result<Response<v2::RegisterChunkMappingResponse>, Status> {
        Err(Status::unimplemented("blobs are not put together for clients"))
    }
}

/// Sends folders, several in a message.
fn send_pages(
    folders: impl Iterator<Item = Result<v2::Directory, Status>>,
    pages: &Outgoing<GetTreeResponse>,
) -> Result<(), Unsent> {
    let (mut page, mut bytes) = (GetTreeResponse::default(), 0);
    for folder in folders {
        let folder = folder?;
        let length = folder.encoded_len();
        if bytes + length > PAGE_BYTES_MAX && !page.directories.is_empty() {
            pages.send(std::mem::take(&mut page))?;
            bytes = 0;
        }
        page.directories.push(folder);
        bytes += length;
    }
    pages.send(page)
}

fn status_of(done: Result<(), Status>) -> bazel_remote_apis::google::rpc::Status {
    done.map_or_else(|status| status::to_wire(&status), |()| Default::default())
}

fn put(
    blobs: &PackStore,
    function: DigestFunction,
    request: batch_update_blobs_request::Request,
) -> Result<(), Status> {
    let name = name_from_wire("digest", function, request.digest.as_ref())?;
    if name.size > BATCH_BYTES_MAX as u64 {
        let problem = format!("blob {name} is too long for a message; write it as a stream");
        return Err(Status::invalid_argument(problem));
    }
    let stored = match compressor::Value::try_from(request.compressor) {
        Ok(compressor::Value::Identity) => blobs.ingest(&name, &request.data[..]),
        Ok(compressor::Value::Zstd) => {
            let decoder = decoder(&request.data[..]);
            // No more of it is unpacked than the name says.
            blobs.ingest(
                &name,
                decoder.map_err(|cause| Status::invalid_argument(cause.to_string()))?,
            )
        }
        _ => return Err(Status::invalid_argument("the compressor is not served; zstd is")),
    };
    stored.map(drop).map_err(|error| status::of_received(&error))
}

fn read(blobs: &PackStore, name: &BlobName, zstd: bool) -> batch_read_blobs_response::Response {
    let found = blobs.locate(name);
    let found = found.ok_or_else(|| Status::not_found(format!("blob {name} is not in the store")));
    let content = found.and_then(|digest| blobs.read_whole(&digest).map_err(|error| status::of_blob(&error)));
    let mut response = batch_read_blobs_response::Response {
        digest: Some(name.to_wire()),
        ..Default::default()
    };
    match content {
        Err(status) => response.status = Some(status::to_wire(&status)),
        Ok(content) => {
            response.status = Some(Default::default());
            let packed = zstd
                .then(|| zstd::bulk::compress(&content, ZSTD_LEVEL).ok())
                .flatten();
            match packed.filter(|packed| packed.len() < content.len()) {
                Some(packed) => {
                    response.data = packed;
                    response.compressor = compressor::Value::Zstd.into();
                }
                None => response.data = content,
            }
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use thresh_proto::testing::fuzz;

    use super::*;

    #[test]
    fn what_comes_compressed_is_what_its_name_says_or_refused() {
        // A blob of one chunk, and one of several.
        for (length, function, inputs) in [
            (1_000, DigestFunction::Sha256, 2_000),
            (600_000, DigestFunction::Blake3, 400),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let store = PackStore::open(folder.path()).unwrap();
            let content: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
            let name = BlobName::of(function, &content);
            let put = |bytes: &[u8]| {
                let request = batch_update_blobs_request::Request {
                    digest: Some(name.to_wire()),
                    data: bytes.to_vec(),
                    compressor: compressor::Value::Zstd.into(),
                };
                put(&store, function, request)
            };
            let valid = zstd::encode_all(&content[..], ZSTD_LEVEL).unwrap();
            put(&valid[..valid.len() - 1]).unwrap_err();
            assert_eq!(store.locate(&name), None);
            put(&valid).unwrap();
            fuzz(inputs, &valid, |bytes| match put(bytes) {
                Ok(()) => {
                    let digest = store.locate(&name).expect("it was just stored");
                    assert!(store.read_whole(&digest).unwrap() == content);
                    assert!(zstd::decode_all(bytes).unwrap() == content);
                }
                Err(refused) => assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}"),
            });
        }
    }
}
