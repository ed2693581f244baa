//! The store in a SQL database.

mod audits;
mod cases;
mod database;
mod engine;
mod epoch;
mod history;
mod journal;
mod kept;
mod marks;
mod passes;
mod postgres;
mod quarantine;
mod record;
mod rows;
mod runs;
mod schema;
mod sqlite;
mod store;
mod sweep;
#[cfg(test)]
mod tests;

pub use store::SqlStore;
