//! The coordinator: an async shell around the scheduler of thresh-core.
