//! Generates the wire types. protox parses the .proto files in Rust, so no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "thresh/v1/blobs.proto",
        "thresh/v1/observed.proto",
        "thresh/v1/records.proto",
        "thresh/v1/runs.proto",
        "thresh/v1/shard.proto",
        "thresh/v1/work.proto",
    ];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .compile_fds(protox::compile(files, ["."])?)?;
    Ok(())
}
