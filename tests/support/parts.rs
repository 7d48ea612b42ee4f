//! The real servers that tests speak to, by their scripts in `tests/parts`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::server::{Server, free_port};

/// `tests/`.
fn tests() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a script of `tests/parts` and gives what it printed.
pub(crate) async fn part(script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(tests().join("parts").join(script));
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit());
    let what = format!("{script} {}", arguments.join(" "));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{what} failed: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// A port or path of the parts, by the name its scripts export it under.
pub(crate) async fn setting(name: &'static str) -> String {
    if let Ok(value) = std::env::var(name) {
        return value;
    }
    let script = format!(". '{}' && printf %s \"${name}\"", tests().join("parts/common.sh").display());
    let output =
        tokio::task::spawn_blocking(move || Command::new("bash").args(["-c", &script]).output().unwrap());
    String::from_utf8(output.await.unwrap().stdout).unwrap()
}

/// A certificate that nobody signed, and its key, in a directory that goes with the answer.
pub(crate) async fn of_nobody() -> (tempfile::TempDir, [String; 2]) {
    let directory = tempfile::TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    part("certs.sh", &["self-signed", directory.path().to_str().unwrap()]).await;
    let files = [path("public.crt"), path("private.key")];
    (directory, files)
}

/// A name that no other run uses.
pub(crate) fn unique(what: &str) -> String {
    static NAMES: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}-{}", std::process::id(), free_port(), NAMES.fetch_add(1, Ordering::Relaxed))
}

/// Lays the authority of the parts' certificates where the server looks for it.
pub(crate) async fn trusting_the_parts(server: &Server) {
    let authorities = server.home().join(".minio/certs/CAs");
    std::fs::create_dir_all(&authorities).unwrap();
    std::fs::copy(PathBuf::from(setting("CA_CERT").await), authorities.join("parts.crt")).unwrap();
}
