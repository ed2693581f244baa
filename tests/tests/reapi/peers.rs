use super::Ground;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use thresh_tests::reapi::peers;

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    output
}

#[test]
fn buildgrids_client_uploads_executes_and_downloads() {
    let ground = Ground::new(1);
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("data.txt"), "from bgd").unwrap();
    let bgd = |arguments: &[&str]| {
        let mut command = Command::new(peers().join("bgd"));
        run(command.args(arguments).current_dir(temp.path()))
    };
    let url = ground.farm.url();
    bgd(&[
        "cas",
        "--remote",
        &url,
        "--instance-name",
        "shop",
        "upload-dir",
        "root",
    ]);
    let script = "tr a-z A-Z < data.txt > made";
    let execute = [
        "execute",
        "--remote",
        &url,
        "--instance-name",
        "shop",
        "command",
        "--enable-action-cache",
        "--output-file",
        "made",
        "--output-directory",
        "got",
        "root",
        "--",
        "/bin/sh",
        "-c",
        script,
    ];
    for _ in 0..2 {
        bgd(&execute);
        assert_eq!(
            fs::read_to_string(temp.path().join("got/made")).unwrap(),
            "FROM BGD"
        );
        fs::remove_dir_all(temp.path().join("got")).unwrap();
    }
}

struct Bazel {
    program: PathBuf,
    folder: tempfile::TempDir,
    url: String,
}

impl Bazel {
    fn call(&self, arguments: &[&str]) -> Output {
        let workspace = self.folder.path().join("workspace");
        let mut command = Command::new(&self.program);
        command
            .arg(format!(
                "--output_user_root={}",
                self.folder.path().join("bazel").display()
            ))
            .args(["--host_jvm_args=-Xmx512m", "--max_idle_secs=30"])
            .args(arguments)
            .current_dir(workspace)
            .env("HOME", self.folder.path());
        run(&mut command)
    }

    fn build(&self) -> String {
        let executor = format!("--remote_executor={}", self.url.replace("http:", "grpc:"));
        let output = self.call(&[
            "build",
            &executor,
            "--remote_instance_name=shop",
            "--spawn_strategy=remote",
            "//:made",
        ]);
        String::from_utf8(output.stderr).unwrap()
    }

    fn made(&self) -> String {
        fs::read_to_string(self.folder.path().join("workspace/bazel-bin/made.txt")).unwrap()
    }
}

impl Drop for Bazel {
    fn drop(&mut self) {
        // The server would stay for a while.
        self.call(&["shutdown"]);
    }
}

fn write(folder: &Path, name: &str, content: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(name), content).unwrap();
}

#[test]
fn bazel_builds_on_the_farm_and_then_finds_what_it_built() {
    let ground = Ground::new(1);
    let bazel = Bazel {
        program: peers().join("bazel"),
        folder: tempfile::tempdir().unwrap(),
        url: ground.farm.url(),
    };
    let workspace = bazel.folder.path().join("workspace");
    write(&workspace, "WORKSPACE", "workspace(name = \"demo\")\n");
    write(&workspace, "input.txt", "from bazel\n");
    let rule = r#"genrule(name = "made", srcs = ["input.txt"], outs = ["made.txt"], cmd = "cat $< > $@; pwd >> $@")"#;
    write(&workspace, "BUILD", rule);
    let built = bazel.build();
    assert!(built.contains("1 remote."), "{built}");
    assert_eq!(bazel.made(), "from bazel\n/thresh/action\n");
    bazel.call(&["clean"]);
    let again = bazel.build();
    assert!(again.contains("1 remote cache hit"), "{again}");
    assert_eq!(bazel.made(), "from bazel\n/thresh/action\n");
}
