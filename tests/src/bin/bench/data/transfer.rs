//! How fast bytes go in and out, beside `cp` and BLAKE3 of the same bytes and an engine that keeps them as they are, and what
//! the coordinator holds meanwhile.

use crate::Options;
use crate::figure::Figure;
use crate::measure::median;
use bazel_remote_apis::google::bytestream::{ReadRequest, WriteRequest};
use rayon::prelude::*;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use thresh_cas::{BlobName, DigestFunction, digest_many, pack};
use thresh_core::chunk::CHUNK_BYTES_MAX;
use thresh_core::digest::Digest;
use thresh_tests::casd::Casd;
use thresh_tests::farm::Farm;
use thresh_tests::reapi::Client;
use thresh_tests::running::peak_memory_kib;
use thresh_tests::thresh::binary;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Bytes that go in and out in each repeat, and those during which memory is watched.
const BYTES: u64 = 512 << 20;
const LARGE_BYTES: u64 = 2 << 30;
/// Bytes in one message.
const PIECE_BYTES: usize = 1 << 20;
/// The least of the slower of `cp` and BLAKE3 that is wanted.
const SHARE: f64 = 0.7;
/// The most memory of a coordinator, in MiB.
const MEMORY_MAX: f64 = 256.0;

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let temp = tempfile::tempdir_in("/var/tmp").expect("a temp folder can be made");
    let runtime = Runtime::new().expect("a runtime can be made");
    let file = temp.path().join("bytes");
    let length = gather(&file, BYTES);
    let names = ["cp", "BLAKE3", "upload", "download", "verify"];
    let mut rates = names.map(|_| Vec::new());
    let zeros = temp.path().join("zeros");
    let created = File::create(&zeros).and_then(|file| file.set_len(length));
    created.expect("the file can be written");
    let mut of_zeros = [Vec::new(), Vec::new()];
    let mut of_casd = [Vec::new(), Vec::new()];
    for repeat in 0..options.repeats {
        let folder = temp.path().join(format!("farm-{repeat}"));
        let seconds = one(&runtime, &file, &folder);
        for (rates, seconds) in rates.iter_mut().zip(seconds) {
            rates.push(length as f64 / seconds / f64::from(1 << 20));
        }
        fs::remove_dir_all(&folder).expect("the farm's files can be removed");
        let [_, _, up, down, _] = one(&runtime, &zeros, &folder);
        for (rates, seconds) in of_zeros.iter_mut().zip([up, down]) {
            rates.push(length as f64 / seconds / f64::from(1 << 20));
        }
        fs::remove_dir_all(&folder).expect("the farm's files can be removed");
        let seconds = by_casd(&runtime, &file, &folder);
        for (rates, seconds) in of_casd.iter_mut().zip(seconds) {
            rates.push(length as f64 / seconds / f64::from(1 << 20));
        }
        fs::remove_dir_all(&folder).expect("the engine's files can be removed");
    }
    let packed = pack_rate(&file);
    let rates = rates.map(median);
    let of_zeros = of_zeros.map(median);
    let slower = rates[0].min(rates[1]);
    let mut figures = Vec::new();
    for (name, rate) in names.into_iter().zip(rates) {
        let figure = Figure::new(
            format!("data: {name} of {} MiB of programs", length >> 20),
            rate,
            "MiB/s",
        );
        figures.push(match name {
            "cp" | "BLAKE3" => figure,
            _ => figure
                .at_least(SHARE * slower)
                .beside(slower)
                .because(reason(packed, of_zeros)),
        });
    }
    let title = format!(
        "data: zstd alone, on all cores, of {} MiB of programs",
        length >> 20
    );
    figures.push(Figure::new(title, packed, "MiB/s"));
    let of_casd = of_casd.map(median);
    for (what, rates) in [("of zeros", of_zeros), ("by buildbox-casd", of_casd)] {
        for (name, rate) in ["upload", "download"].into_iter().zip(rates) {
            let title = format!("data: {name} of {} MiB {what}", length >> 20);
            figures.push(Figure::new(title, rate, "MiB/s"));
        }
    }
    figures.push(memory(&runtime, temp.path()));
    figures
}

/// What keeps bytes from going in and out as fast as they can be copied.
fn reason(packed: f64, [up, down]: [f64; 2]) -> String {
    format!(
        "blobs rest compressed, and zstd alone packs {packed:.0} MiB a second on these cores; streams of zeros, which cost \
         next to nothing to pack, come in at {up:.0} and go out at {down:.0}"
    )
}

/// How fast chunks of a file are packed, and nothing else is done.
fn pack_rate(file: &Path) -> f64 {
    let content = fs::read(file).expect("the file can be read");
    let chunks: Vec<&[u8]> = content.chunks(CHUNK_BYTES_MAX / 2).collect();
    let seconds = timed(|| {
        let packed = chunks
            .par_iter()
            .map(|chunk| pack(Digest::of(chunk), chunk).data.len());
        assert!(packed.sum::<usize>() > 0);
    });
    content.len() as f64 / seconds / f64::from(1 << 20)
}

/// Makes a file of programs, one behind the other. Returns its length in bytes.
fn gather(file: &Path, bytes: u64) -> u64 {
    let programs = binary().parent().expect("the binary is in a folder");
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in [programs.to_owned(), programs.join("deps")] {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| entry.path()).filter(|path| path.is_file()));
    }
    found.sort();
    let (mut out, mut left) = (File::create(file).expect("the file can be written"), bytes);
    for path in found.iter().cycle().take(found.len() * 8) {
        let source = File::open(path).expect("a program can be read");
        left -= std::io::copy(&mut source.take(left), &mut out).expect("the file can be written");
        if left == 0 {
            break;
        }
    }
    out.flush().expect("the file can be written");
    bytes - left
}

/// Seconds of each way.
fn one(runtime: &Runtime, file: &Path, folder: &Path) -> [f64; 5] {
    fs::create_dir_all(folder).expect("the folder can be made");
    let copied = timed(|| {
        let copied = Command::new("cp")
            .arg("--reflink=never")
            .arg(file)
            .arg(folder.join("copy"))
            .status();
        assert!(copied.expect("cp can be started").success());
    });
    let mut digest = None;
    let hashed = timed(|| digest = Some(named(file)));
    let name = digest.expect("it was hashed");
    let farm = Farm::start(folder);
    let client = connect(runtime, &farm);
    let up = timed(|| runtime.block_on(upload(&client, file, &name)));
    let down = timed(|| runtime.block_on(download(&client, &name, &folder.join("back"))));
    let data = farm.coordinator_data();
    drop(farm);
    let verified = timed(|| {
        let verified = Command::new(binary())
            .args(["cas", "verify", "--data"])
            .arg(data)
            .output();
        assert!(verified.expect("thresh can be started").status.success());
    });
    [copied, hashed, up, down, verified]
}

/// Seconds up and down of an engine that keeps what comes uncompressed, by its only digest function.
fn by_casd(runtime: &Runtime, file: &Path, folder: &Path) -> [f64; 2] {
    let casd = Casd::start(folder, 2);
    let function = DigestFunction::Sha256;
    let name = BlobName::of(function, &fs::read(file).expect("the file can be read"));
    let client = runtime.block_on(Client::connect(&casd.url(), "", function));
    let client = client.expect("the engine answers");
    let up = timed(|| runtime.block_on(upload(&client, file, &name)));
    let down = timed(|| runtime.block_on(download(&client, &name, &folder.join("back"))));
    [up, down]
}

fn connect(runtime: &Runtime, farm: &Farm) -> Client {
    let url = farm.url();
    let client = Client::connect(&url, "bench", DigestFunction::Blake3);
    runtime.block_on(client).expect("the farm answers")
}

fn timed(act: impl FnOnce()) -> f64 {
    let began = Instant::now();
    act();
    began.elapsed().as_secs_f64()
}

/// By the digest that `b3sum` prints, on all cores as it does.
fn named(file: &Path) -> BlobName {
    let digested = digest_many(&[file.to_owned()], &mut thresh_cas::DigestMemo::default());
    let digested = digested.expect("the file can be read").remove(0);
    BlobName::blake3(digested.digest, digested.size)
}

async fn upload(client: &Client, file: &Path, name: &BlobName) {
    let resource = format!("uploads/bench/{}", client.resource(name, false));
    let (pieces, stream) = mpsc::channel(4);
    let (mut source, size) = (File::open(file).expect("the file can be read"), name.size);
    let reading = tokio::task::spawn_blocking(move || {
        let mut position = 0;
        while position < size {
            let mut data = Vec::with_capacity(PIECE_BYTES);
            let read = (&mut source).take(PIECE_BYTES as u64).read_to_end(&mut data);
            let read = read.expect("the file can be read") as u64;
            let request = WriteRequest {
                resource_name: resource.clone(),
                write_offset: position.cast_signed(),
                finish_write: position + read == size,
                data,
            };
            position += read;
            if pieces.blocking_send(request).is_err() {
                break;
            }
        }
    });
    let written = client.streams().write(ReceiverStream::new(stream)).await;
    reading.await.expect("reading does not panic");
    let written = written.expect("the farm takes it").into_inner().committed_size;
    assert_eq!(written, size.cast_signed());
}

async fn download(client: &Client, name: &BlobName, to: &Path) {
    let request = ReadRequest {
        resource_name: client.resource(name, false),
        ..ReadRequest::default()
    };
    let mut stream = client
        .streams()
        .read(request)
        .await
        .expect("it is there")
        .into_inner();
    let (pieces, mut waiting) = mpsc::channel::<Vec<u8>>(4);
    let to = to.to_owned();
    let writing = tokio::task::spawn_blocking(move || {
        let mut file = File::create(to).expect("the file can be written");
        while let Some(piece) = waiting.blocking_recv() {
            file.write_all(&piece).expect("the file can be written");
        }
        file.metadata().expect("it is there").len()
    });
    while let Some(message) = stream.message().await.expect("it comes whole") {
        pieces.send(message.data).await.expect("it is written");
    }
    drop(pieces);
    assert_eq!(writing.await.expect("writing does not panic"), name.size);
}

/// The most memory of a coordinator through which much passes, in and out.
fn memory(runtime: &Runtime, folder: &Path) -> Figure {
    let file = folder.join("large");
    let length = gather(&file, LARGE_BYTES);
    let name = named(&file);
    let farm = Farm::start(&folder.join("large-farm"));
    let client = connect(runtime, &farm);
    runtime.block_on(upload(&client, &file, &name));
    runtime.block_on(download(&client, &name, &folder.join("large-back")));
    let kib = peak_memory_kib(farm.coordinator_id()).expect("the coordinator lives");
    let title = format!(
        "data: coordinator's memory while {} MiB pass in and out",
        length >> 20
    );
    Figure::new(title, kib as f64 / 1_024.0, "MiB").at_most(MEMORY_MAX)
}
