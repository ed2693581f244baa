//! What this farm can do.

use bazel_remote_apis::build::bazel::remote::execution::v2::capabilities_server::Capabilities;
use bazel_remote_apis::build::bazel::remote::execution::v2::priority_capabilities::PriorityRange;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    ActionCacheUpdateCapabilities, CacheCapabilities, ExecutionCapabilities, GetCapabilitiesRequest,
    PriorityCapabilities, ServerCapabilities, compressor, digest_function, symlink_absolute_path_strategy,
};
use bazel_remote_apis::build::bazel::semver::SemVer;
use tonic::{Request, Response, Status};

use super::instance::{Instance, Trust};
use super::{BATCH_BYTES_MAX, BLOB_BYTES_MAX};

/// See [`Capabilities`].
pub(crate) struct CapabilitiesService;

#[tonic::async_trait]
impl Capabilities for CapabilitiesService {
    async fn get_capabilities(
        &self,
        request: Request<GetCapabilitiesRequest>,
    ) -> Result<Response<ServerCapabilities>, Status> {
        let instance = Instance::parse(&request.into_inner().instance_name)?;
        let functions = vec![
            digest_function::Value::Sha256.into(),
            digest_function::Value::Blake3.into(),
        ];
        let compressors = vec![compressor::Value::Zstd.into()];
        let version = |minor| {
            Some(SemVer {
                major: 2,
                minor,
                ..SemVer::default()
            })
        };
        Ok(Response::new(ServerCapabilities {
            cache_capabilities: Some(CacheCapabilities {
                digest_functions: functions.clone(),
                action_cache_update_capabilities: Some(ActionCacheUpdateCapabilities {
                    update_enabled: instance.trust == Trust::Trusted,
                }),
                max_batch_total_size_bytes: BATCH_BYTES_MAX as i64,
                max_cas_blob_size_bytes: BLOB_BYTES_MAX.cast_signed(),
                symlink_absolute_path_strategy: symlink_absolute_path_strategy::Value::Disallowed.into(),
                supported_compressors: compressors.clone(),
                supported_batch_update_compressors: compressors,
                ..CacheCapabilities::default()
            }),
            execution_capabilities: Some(ExecutionCapabilities {
                digest_function: digest_function::Value::Sha256.into(),
                exec_enabled: true,
                execution_priority_capabilities: Some(PriorityCapabilities {
                    priorities: vec![PriorityRange {
                        min_priority: i32::MIN,
                        max_priority: i32::MAX,
                    }],
                }),
                digest_functions: functions,
                ..ExecutionCapabilities::default()
            }),
            low_api_version: version(0),
            high_api_version: version(3),
            ..ServerCapabilities::default()
        }))
    }
}
