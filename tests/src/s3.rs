//! An S3-compatible server: moto's, which keeps everything in memory.

use crate::farm::free_address;
use crate::thresh::repository;
use crate::wait;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long it may take to start.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// The bucket that there is.
const BUCKET: &str = "blobs";

/// A server with one bucket. It ends when this is dropped.
#[derive(Debug)]
pub struct S3 {
    address: SocketAddr,
    log: PathBuf,
    process: Child,
}

impl S3 {
    /// Starts one, with its log in `folder`, and makes the bucket.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn start(folder: &Path) -> Self {
        let (address, log) = (free_address(), folder.join("s3.log"));
        let mut server = Self {
            address,
            process: launch(address, &log),
            log,
        };
        server.wait();
        server
    }

    fn wait(&mut self) {
        wait::until("the S3 server", START_LIMIT, || {
            let ended = self.process.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "the S3 server ended: {ended:?}");
            TcpStream::connect(self.address).ok()
        });
        assert_eq!(
            self.ask("PUT", &format!("/{BUCKET}")).0,
            200,
            "the bucket is made"
        );
    }

    /// Ends it; what it kept is gone.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again, with nothing in its bucket.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn restart(&mut self) {
        self.process = launch(self.address, &self.log);
        self.wait();
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A place in its bucket, as `--blobs` takes it.
    pub fn url(prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// What names the server at `address`, and somebody whom it believes.
    pub fn variables(address: SocketAddr) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ENDPOINT_URL", format!("http://{address}")),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "tests".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "tests".to_owned()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// The names of all objects.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn objects(&self) -> Vec<String> {
        let (status, answer) = self.ask("GET", &format!("/{BUCKET}?list-type=2"));
        assert_eq!(status, 200, "objects are listed");
        let text = String::from_utf8(answer).expect("a listing is text");
        let keys = text.split("<Key>").skip(1);
        let names = keys.filter_map(|rest| Some(rest.split_once("</Key>")?.0.to_owned()));
        names.collect()
    }

    /// Puts other bytes of the same length in the place of every object.
    ///
    /// # Panics
    /// When it cannot be done.
    pub fn damage(&self) {
        let python = program().with_file_name("python");
        let done = Command::new(python)
            .args(["-c", DAMAGE, BUCKET])
            .envs(Self::variables(self.address))
            .status();
        assert!(
            done.is_ok_and(|status| status.success()),
            "objects are overwritten"
        );
    }

    /// How often a part of an object was read.
    pub fn parts_read(&self) -> usize {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let reads = log
            .lines()
            .filter(|line| line.contains("GET /") && line.contains(" 206 "));
        reads.count()
    }

    fn ask(&self, method: &str, path: &str) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).expect("the S3 server listens");
        stream
            .set_read_timeout(Some(ANSWER_LIMIT))
            .expect("the limit is not zero");
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Length: 0\r\n\r\n",
            self.address
        );
        stream.write_all(head.as_bytes()).expect("the S3 server reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the S3 server answers");
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n");
        let content = answer.split_off(end.expect("an answer has a head") + 4);
        let head = String::from_utf8_lossy(&answer);
        let status = head
            .split_whitespace()
            .nth(1)
            .and_then(|status| status.parse().ok());
        (status.expect("an answer has a status"), content)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Who is not known may make objects, and not overwrite those of others.
const DAMAGE: &str = "
import boto3, sys
s3 = boto3.client('s3')
for item in s3.list_objects_v2(Bucket=sys.argv[1])['Contents']:
    content = s3.get_object(Bucket=sys.argv[1], Key=item['Key'])['Body'].read()
    s3.put_object(Bucket=sys.argv[1], Key=item['Key'], Body=bytes(byte ^ 1 for byte in content))
";

fn program() -> PathBuf {
    let script = Command::new(repository().join("scripts/s3"))
        .stderr(Stdio::inherit())
        .output()
        .expect("the script can be started");
    assert!(script.status.success(), "scripts/s3 failed");
    let program = String::from_utf8(script.stdout).expect("a path of this repository is text");
    PathBuf::from(program.trim())
}

fn launch(address: SocketAddr, log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log);
    let log = log.expect("the log can be written");
    Command::new(program())
        .args(["-H", &address.ip().to_string(), "-p", &address.port().to_string()])
        .stdout(log.try_clone().expect("a file can be shared"))
        .stderr(log)
        .spawn()
        .expect("moto_server can be started")
}
