//! HUB: a server that speaks as the Hub does, on this machine.
//!
//! In: nothing but Python (see `scripts/hub_server.py`). Out: repositories of a test's own, a cache of its own, and the program
//! told of both.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::fixture::{Folder, Run, command};

/// Repositories and a cache; gone when dropped. The current folder of the program is `here`.
pub struct Hub {
    folder: Folder,
    server: Option<(Child, u16)>,
}

impl Hub {
    /// Not yet served.
    pub fn new() -> Hub {
        let folder = Folder::new();
        ["root", "home", "here"].iter().for_each(|name| std::fs::create_dir(folder.path(name)).unwrap());
        Hub { folder, server: None }
    }

    /// Serves the repositories, with what goes wrong.
    pub fn serve(&mut self, faults: &[&str]) {
        self.stop();
        let _ = std::fs::remove_file(self.folder.path("log"));
        let mut python = Command::new("python3");
        python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/hub_server.py")).arg(self.folder.path("root"));
        python.arg("--log").arg(self.folder.path("log")).args(faults);
        let mut server = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python starts");
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| panic!("the server did not start: {line:?}"));
        self.server = Some((server, port));
    }

    /// Nobody answers any more.
    pub fn stop(&mut self) {
        if let Some((mut server, _)) = self.server.take() {
            drop(server.stdin.take());
            server.wait().unwrap();
        }
    }

    /// Where a file of a repository's revision is to be put.
    pub fn file(&self, repository: &str, revision: &str, file: &str) -> PathBuf {
        let path = self.folder.path("root").join(repository).join(revision.replace('/', "%2F")).join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub fn here(&self, name: &str) -> PathBuf {
        self.folder.path("here").join(name)
    }

    pub fn home(&self, name: &str) -> PathBuf {
        self.folder.path("home").join(name)
    }

    /// The program, told where the Hub is.
    pub fn command(&self, arguments: &[&dyn AsRef<OsStr>]) -> Command {
        let port = self.server.as_ref().map_or(1, |(_, port)| *port);
        let mut command = command(arguments);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("HF_") || variable == "HUGGINGFACE_HUB_CACHE" {
                command.env_remove(variable);
            }
        }
        command.env("HF_ENDPOINT", format!("http://127.0.0.1:{port}")).env("HF_HOME", self.home(""));
        command.env("NO_PROXY", "127.0.0.1,localhost").current_dir(self.here(""));
        command
    }

    pub fn run(&self, arguments: &[&dyn AsRef<OsStr>]) -> Run {
        Run::of(&mut self.command(arguments))
    }

    /// Folds on the CPU.
    pub fn fold(&self, arguments: &[&dyn AsRef<OsStr>]) -> Run {
        self.run(&[&[&"--device" as &dyn AsRef<OsStr>, &"cpu"], arguments].concat())
    }

    /// Downloads so far: requests for files, without those that only ask.
    pub fn downloads(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.folder.path("log")).unwrap_or_default();
        let files = log.lines().filter(|line| line.starts_with("GET /signed/") || line.contains("/resolve-cache/"));
        let name =
            |line: &str| line.splitn(if line.contains("/signed/") { 6 } else { 8 }, '/').last().unwrap().to_owned();
        let mut names = files.filter(|line| line.starts_with("GET")).map(name).collect::<Vec<_>>();
        names.sort();
        names
    }

    /// The folders of commits of a repository in the cache.
    pub fn snapshots(&self, repository: &str) -> Vec<PathBuf> {
        let folder = self.home("hub").join(format!("models--{}", repository.replace('/', "--"))).join("snapshots");
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop();
    }
}
