//! A server of ours that a command restarts: what `--endpoint` with `--restart-command` does to any, done to this one.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::options::Foreign;
use crate::support::server::{binary, free_port};

/// See the module header. It is killed when this is dropped.
pub(crate) struct Commanded {
    directory: TempDir,
    foreign: Foreign,
}

impl Commanded {
    /// Starts one with a webhook, to where somebody listens. `environment` configures that webhook.
    pub(crate) async fn started(environment: &[(&str, String)], arn: &str) -> Commanded {
        let (directory, port) = (TempDir::new().unwrap(), free_port());
        let script = directory.path().join("restart.sh");
        std::fs::write(&script, restart_script(directory.path(), environment, port)).unwrap();
        let foreign = Foreign {
            endpoint: format!("http://127.0.0.1:{port}"),
            access_key: "minioadmin".to_owned(),
            secret_key: "minioadmin".to_owned(),
            sink: String::new(),
            arn: arn.to_owned(),
            restart_command: Some(format!("sh '{}' $SIGNAL", script.display())),
        };
        let commanded = Commanded { directory, foreign };
        commanded.foreign.restart("KILL").await;
        commanded.foreign.answers().await;
        commanded
    }

    pub(crate) fn foreign(&self) -> &Foreign {
        &self.foreign
    }
}

impl Drop for Commanded {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.directory.path().join("pid")).unwrap_or_default();
        let Some(pid) = pid.trim().parse().ok().and_then(Pid::from_raw) else { return };
        if executable(pid).is_some_and(|path| path == std::fs::canonicalize(binary()).unwrap_or_default()) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn executable(pid: Pid) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).ok()
}

/// Ends the server, if it runs, with the signal that is its argument, waits for its end, and starts it in the
/// background. It has ended when nobody but a dead first thread, for which nobody waits, is left: it holds its port
/// for a moment after it was killed.
fn restart_script(directory: &Path, environment: &[(&str, String)], port: u16) -> String {
    let (home, binary) = (directory.display(), binary());
    let environment: String = environment.iter().map(|(name, value)| format!(" {name}='{value}'")).collect();
    format!(
        "cd '{home}' || exit 1\n\
         if [ -e pid ]; then\n\
         \x20   pid=$(cat pid)\n\
         \x20   kill -\"$1\" \"$pid\" || exit 1\n\
         \x20   while [ -e \"/proc/$pid\" ] && ! {{ [ \"$(ls \"/proc/$pid/task\" 2>/dev/null | wc -l)\" -le 1 ] &&\n\
         \x20       grep -q '^State:.Z' \"/proc/$pid/status\" 2>/dev/null; }}; do sleep 0.02; done\n\
         fi\n\
         env -i HOME='{home}'{environment} '{}' server --address 127.0.0.1:{port} d1 d2 d3 d4 >>server.log 2>&1 &\n\
         echo $! >pid\n",
        binary.display()
    )
}
