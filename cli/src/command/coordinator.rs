//! `thresh coordinator`.

use std::io::Write;

use thresh_coordinator::{Coordinator, CoordinatorConfig};
use thresh_core::schedule::Policy;
use tokio::net::TcpListener;

use crate::args::CoordinatorArgs;
use crate::failure::Failure;
use crate::interrupt::interrupts;

/// Serves a farm until the program is asked to end.
///
/// # Errors
/// The address or the data folder cannot be used.
pub(crate) async fn serve(args: CoordinatorArgs) -> Result<(), Failure> {
    let listener = TcpListener::bind(args.listen).await.map_err(|cause| {
        Failure::environment(format!(
            "listen on {}: {cause}; choose another address with --listen, or end what listens there",
            args.listen
        ))
    })?;
    let address = listener
        .local_addr()
        .map_err(|cause| Failure::environment(format!("listen: {cause}")))?;
    let config = CoordinatorConfig {
        data_dir: args.data.clone(),
        policy: Policy::default(),
        in_place_only: false,
        version: crate::version::LONG.to_owned(),
    };
    let coordinator = Coordinator::start(config)
        .await
        .map_err(|error| Failure::of(error.fault(), &error))?;
    let mut interrupts =
        interrupts().map_err(|cause| Failure::environment(format!("catch signals: {cause}")))?;
    let mut serving = tokio::spawn(coordinator.serve(listener));
    // Whoever started the program may wait for this line to learn the port.
    let _ = writeln!(
        std::io::stderr(),
        "thresh coordinator {} listens on http://{address}, data in {}",
        crate::version::LONG,
        args.data.display()
    );
    tokio::select! {
        served = &mut serving => {
            let error = match served {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => Failure::of(error.fault(), &error),
                Err(cause) => Failure::internal(format!("serve: {cause}")),
            };
            return Err(error);
        }
        _ = interrupts.changed() => {}
    }
    coordinator.shutdown().await;
    Ok(())
}
