//! The harness for tests of the whole program.
//!
//! Tests here start the real `thresh` binary on copies of the workspaces in `fixtures/`, never in place.
//! [`model`] says what each case of the parity fixture must come to; [`oracle`] asks `cargo nextest`.

pub mod arguments;
pub mod buildgrid;
pub mod casd;
pub mod compare;
pub mod events;
pub mod farm;
pub mod gate;
pub mod model;
pub mod namespace;
pub mod nobody;
pub mod oracle;
pub mod packages;
pub mod planners;
pub mod postgres;
pub mod proxy;
pub mod reapi;
pub mod reuse;
pub mod running;
pub mod s3;
pub mod sim;
pub mod status;
pub mod table;
pub mod thresh;
pub mod timings;
pub mod wait;
pub mod workspace;
