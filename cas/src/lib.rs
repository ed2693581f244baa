//! Content-addressed blobs on disk, file digests and input manifests.
