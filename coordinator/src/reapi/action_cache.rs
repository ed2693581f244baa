//! Results of actions, for clients that execute them themselves, too.

use bazel_remote_apis::build::bazel::remote::execution::v2::action_cache_server::ActionCache;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    ActionResult, GetActionResultRequest, UpdateActionResultRequest,
};
use tonic::{Request, Response, Status};

use super::instance::{Instance, Trust};
use super::state::Reapi;
use super::wire::{function_from_wire, name_from_wire};

/// See [`ActionCache`].
pub(crate) struct ActionCacheService {
    reapi: Reapi,
}

impl ActionCacheService {
    pub(crate) fn new(reapi: Reapi) -> Self {
        Self { reapi }
    }
}

#[tonic::async_trait]
impl ActionCache for ActionCacheService {
    async fn get_action_result(
        &self,
        request: Request<GetActionResultRequest>,
    ) -> Result<Response<ActionResult>, Status> {
        let request = request.into_inner();
        let instance = Instance::parse(&request.instance_name)?;
        let function = function_from_wire(request.digest_function)?;
        let action = name_from_wire("action_digest", function, request.action_digest.as_ref())?;
        match self.reapi.result(&instance, &action).await? {
            Some(result) => Ok(Response::new(result)),
            None => Err(Status::not_found(format!(
                "no result of action {action} is known"
            ))),
        }
    }

    async fn update_action_result(
        &self,
        request: Request<UpdateActionResultRequest>,
    ) -> Result<Response<ActionResult>, Status> {
        let request = request.into_inner();
        let instance = Instance::parse(&request.instance_name)?;
        let function = function_from_wire(request.digest_function)?;
        let action = name_from_wire("action_digest", function, request.action_digest.as_ref())?;
        if instance.trust != Trust::Trusted {
            return Err(Status::permission_denied(format!(
                "instance {:?} brings no results of its own: only what this farm has executed counts there; \
                 use the instance {}/trusted where that is right",
                request.instance_name, instance.project
            )));
        }
        let result = request.action_result;
        let result = result.ok_or_else(|| Status::invalid_argument("field `action_result` is missing"))?;
        self.reapi.keep_result(&instance, &action, &result).await?;
        Ok(Response::new(result))
    }
}
