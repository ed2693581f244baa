//! The Remote Execution API of a farm: what its clients may expect, what they may do wrong, and real clients.

#![expect(
    clippy::unwrap_used,
    reason = "a fault in a test's own helpers is a failed test"
)]

mod askers;
mod blobs;
mod engine;
mod execution;
mod full_disk;
mod objects;
mod peers;
mod results;
mod reuse;

use thresh_cas::DigestFunction;
use thresh_tests::farm::Farm;
use thresh_tests::reapi::Client;

/// A farm and what talks with it.
struct Ground {
    farm: Farm,
    runtime: tokio::runtime::Runtime,
    _temp: tempfile::TempDir,
}

impl Ground {
    fn new(workers: u32) -> Self {
        let temp = tempfile::tempdir().unwrap();
        Self {
            farm: Farm::with_workers(temp.path(), workers, 2),
            runtime: tokio::runtime::Runtime::new().unwrap(),
            _temp: temp,
        }
    }

    fn client(&self, instance: &str, function: DigestFunction) -> Client {
        let url = self.farm.url();
        let connecting = Client::connect(&url, instance, function);
        self.runtime.block_on(connecting).unwrap()
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

const BOTH: [DigestFunction; 2] = [DigestFunction::Blake3, DigestFunction::Sha256];

/// Bytes that cannot be compressed.
fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut state = 0x9E37_79B9_7F4A_7C15 ^ u64::from(seed);
    for byte in &mut bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state.to_le_bytes()[0];
    }
    bytes
}
