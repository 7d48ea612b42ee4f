//! The server under load: started over four fresh directories, or one that runs already.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::Outcome;
use crate::connection::Connection;
use crate::options::Options;
use crate::requests::{Body, Signer};

/// How long a server may take to answer its first request, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a server that starts is asked whether it answers.
const ASK_INTERVAL: Duration = Duration::from_micros(250);

/// A process whose costs are looked at from outside.
#[derive(Clone, Copy)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// Processor time so far, in seconds, its own and the kernel's for it. Counted in hundredths.
    ///
    /// # Errors
    ///
    /// The process is gone.
    pub(crate) fn cpu_seconds(self) -> Outcome<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // The name of the program, in parentheses, may hold blanks.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Resident memory, in bytes.
    ///
    /// # Errors
    ///
    /// The process is gone.
    pub(crate) fn resident_bytes(self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS line")?;
        let kibibytes: u64 = line.split_whitespace().nth(1).ok_or("an empty VmRSS line")?.parse()?;
        Ok(kibibytes * 1024)
    }
}

/// A server.
pub(crate) struct Server {
    /// `host:port`.
    pub(crate) authority: String,
    /// Signs for it.
    pub(crate) signer: Signer,
    /// Its process, when that is known.
    pub(crate) process: Option<Process>,
    /// What this run started; nothing for a server that ran already.
    own: Option<Own>,
}

struct Own {
    child: Child,
    folder: TempDir,
}

impl Server {
    /// Starts a server over fresh drives and waits until it answers a signed request.
    ///
    /// # Errors
    ///
    /// There is no binary, or it does not answer in time.
    pub(crate) async fn start(options: &Options) -> Outcome<Server> {
        Server::start_with(options, &[]).await
    }

    /// As [`Server::start`], with these variables in its environment.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) async fn start_with(options: &Options, variables: &[(String, String)]) -> Outcome<Server> {
        if let Some(endpoint) = &options.endpoint {
            let process = options.pid.map(Process);
            return Ok(Server {
                authority: endpoint.clone(),
                signer: Signer::new(endpoint),
                process,
                own: None,
            });
        }
        let folder = tempfile::Builder::new().prefix("tidings-bench").tempdir_in(&options.folder)?;
        let port = free_port()?;
        let authority = format!("127.0.0.1:{port}");
        let child = spawn(options, folder.path(), &authority, variables)?;
        let process = Some(Process(child.id()));
        let signer = Signer::new(&authority);
        let mut server = Server { authority, signer, process, own: Some(Own { child, folder }) };
        server.answers().await?;
        Ok(server)
    }

    /// Ends it by a signal and starts it again over the same drives, to which `meanwhile` may do something: how long
    /// until it answers a signed request.
    ///
    /// # Errors
    ///
    /// It does not end or does not answer, or this run did not start it.
    pub(crate) async fn restart(
        &mut self,
        options: &Options,
        signal: Signal,
        meanwhile: impl FnOnce(&Path) -> std::io::Result<()>,
    ) -> Outcome<Duration> {
        let own = self.own.as_mut().ok_or("a server that ran already is not restarted")?;
        let status = own.end(signal)?;
        if signal == Signal::TERM && !status.success() {
            return Err(format!("the server ended with {status}").into());
        }
        meanwhile(own.folder.path())?;
        let began = Instant::now();
        own.child = spawn(options, own.folder.path(), &self.authority, &[])?;
        self.process = Some(Process(own.child.id()));
        self.answers().await?;
        Ok(began.elapsed())
    }

    /// Waits until it answers a signed request.
    async fn answers(&mut self) -> Outcome<()> {
        let gives_up = Instant::now() + PATIENCE;
        loop {
            if let Ok(mut connection) = Connection::open(&self.authority).await {
                connection.exchange(self.signer.request(Method::GET, "/", &Body::none())?).await?;
                return Ok(());
            }
            let left = self.own.as_mut().and_then(|own| own.child.try_wait().ok().flatten());
            if left.is_some() || Instant::now() >= gives_up {
                let log = self.folder().map(|folder| std::fs::read_to_string(folder.join("server.log")));
                return Err(format!("the server does not answer; it said {log:?}").into());
            }
            tokio::time::sleep(ASK_INTERVAL).await;
        }
    }

    /// The folder its drives lie in, when this run started it.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.own.as_ref().map(|own| own.folder.path())
    }

    /// Bytes of disk its drives take, when this run started it.
    pub(crate) fn disk_bytes(&self) -> Option<u64> {
        let mut blocks = 0;
        visit(self.folder()?, &mut |path| blocks += path.metadata().map_or(0, |metadata| metadata.blocks()));
        Some(blocks * 512)
    }

    /// Makes the kernel forget what it holds of the drives' files. False when they are not ours to reach.
    pub(crate) fn forget_cached(&self) -> bool {
        let Some(folder) = self.folder() else {
            return false;
        };
        rustix::fs::sync();
        visit(folder, &mut |path| {
            if let Ok(file) = File::open(path) {
                // A file that is not forgotten makes a cold read warm, which the table would show.
                let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
            }
        });
        true
    }

    /// Ends it, if this run started it, and removes its drives.
    ///
    /// # Errors
    ///
    /// It does not end in time, or not well.
    pub(crate) fn stop(mut self) -> Outcome<()> {
        let Some(own) = &mut self.own else {
            return Ok(());
        };
        match own.end(Signal::TERM)? {
            status if status.success() => Ok(()),
            status => Err(format!("the server ended with {status}").into()),
        }
    }
}

impl Own {
    /// Sends a signal and waits until the process ended.
    fn end(&mut self, signal: Signal) -> Outcome<ExitStatus> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).ok_or("a process id is not 0")?;
        kill_process(pid, signal)?;
        let gives_up = Instant::now() + PATIENCE;
        while Instant::now() < gives_up {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err("the server does not end".into())
    }
}

/// Starts the process over the drives in a folder.
fn spawn(
    options: &Options,
    folder: &Path,
    authority: &str,
    variables: &[(String, String)],
) -> Outcome<Child> {
    let child = Command::new(binary(options)?)
        .args(["server", "--address", authority])
        .arg(folder.join("d{1...4}"))
        .env_clear()
        .env("HOME", folder)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(folder.join("server.log"))?)
        .spawn()?;
    Ok(child)
}

impl Drop for Own {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's binary: what was asked for, else the release build beside this program.
fn binary(options: &Options) -> Outcome<PathBuf> {
    if let Some(path) = &options.server {
        return Ok(path.clone());
    }
    let own = std::env::current_exe()?;
    let profile = own.parent().and_then(Path::parent).ok_or("this program lies in <profile>/deps")?;
    Ok(profile.join("tidings"))
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Visits every file below a folder.
fn visit(folder: &Path, see: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => visit(&path, see),
            Ok(kind) if kind.is_file() => see(&path),
            _ => {}
        }
    }
}
