//! A server in a process of its own, over drives in a directory that goes with it.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::Client;
use super::eventually;

/// The built server: `TIDINGS_BIN`, or the one beside this test's own binary.
pub(crate) fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("TIDINGS_BIN") {
        return PathBuf::from(path);
    }
    let own = std::env::current_exe().expect("a test knows its own path");
    let profile = own.parent().and_then(Path::parent).expect("the test binary lies in <profile>/deps");
    profile.join("tidings")
}

/// A server that runs, was stopped, or was killed; its drives stay until it is dropped.
pub(crate) struct Server {
    directory: TempDir,
    /// What names the drives on the command line, relative to the directory.
    arguments: Vec<String>,
    port: u16,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Server {
    /// A server over so many drives, not started yet.
    pub(crate) fn over(drives: usize) -> Server {
        let drives = if drives == 1 { "d1".to_owned() } else { format!("d{{1...{drives}}}") };
        Server {
            directory: TempDir::new().unwrap(),
            arguments: vec![drives],
            port: free_port(),
            environment: Vec::new(),
            child: None,
        }
    }

    /// Sets a variable of its environment from the next start on.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Server {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As [`Server::with`], of a server that was started before.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Names its drives in this way from the next start on.
    pub(crate) fn give(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    }

    /// Starts it and waits until it answers.
    pub(crate) async fn started(mut self) -> Server {
        self.start().await;
        self
    }

    /// Starts it, again if it was stopped or killed, and waits until it answers.
    pub(crate) async fn start(&mut self) {
        assert!(self.child.is_none(), "the server runs already");
        self.child = Some(self.command().spawn().unwrap());
        let url = format!("{}/minio/health/live", self.endpoint());
        let log = self.log();
        let child = self.child.as_mut().expect("it was started just now");
        eventually(&format!("the server to answer; its log is {}", log.display()), || {
            if let Some(status) = child.try_wait().unwrap() {
                let said = std::fs::read_to_string(&log).unwrap();
                panic!("the server left with {status} before it answered:\n{said}");
            }
            let url = url.clone();
            async move { reqwest::get(url).await.is_ok_and(|answer| answer.status() == 200).then_some(()) }
        })
        .await;
    }

    /// The command that starts it: the drives as they were given, the environment cleared of ours.
    pub(crate) fn command(&self) -> Command {
        let home = self.directory.path();
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = Command::new(binary());
        command
            .args(["server", "--address", &format!("127.0.0.1:{}", self.port)])
            .args(self.arguments.iter().map(|argument| home.join(argument)))
            .env_clear()
            .env("HOME", home)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command
    }

    /// `http://127.0.0.1:port`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A client with the root's keys.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.endpoint())
    }

    /// What it wrote to stderr, over all its starts.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }

    /// The directory of a drive, counted from 1.
    pub(crate) fn drive(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("d{number}"))
    }

    /// The directory that holds the drives and the log.
    pub(crate) fn home(&self) -> &Path {
        self.directory.path()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// Kills it: SIGKILL, nothing is flushed or drained.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks it to stop and waits for it.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the server runs");
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a process id is not 0");
        kill_process(pid, Signal::TERM).unwrap();
        let left = eventually("the server to stop", || {
            let status = child.try_wait().unwrap();
            async move { status }
        });
        left.await
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line =
            status.lines().find(|line| line.starts_with("VmRSS:")).expect("a process has a VmRSS line");
        let kibibytes: u64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap();
        kibibytes * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs a command that is expected to end by itself; its status and what it wrote to stderr.
pub(crate) async fn run_to_end(mut command: Command) -> (ExitStatus, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = tokio::task::spawn_blocking(move || {
        let deadline = std::time::Instant::now() + Duration::from_secs(super::PATIENCE_S);
        while child.try_wait().unwrap().is_none() {
            assert!(std::time::Instant::now() < deadline, "the command did not end by itself");
            std::thread::yield_now();
        }
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap();
    let text = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (ended.status, text)
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The command line of `tidings events …`, as root of a server.
pub(crate) fn events(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(["events", "--endpoint", &server.endpoint()]).args(arguments);
    command.env("TIDINGS_ACCESS_KEY", "minioadmin").env("TIDINGS_SECRET_KEY", "minioadmin");
    command
}
