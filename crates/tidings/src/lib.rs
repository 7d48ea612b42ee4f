//! Command line, settings, listener, TLS, wiring, shutdown: what makes one process of the other crates.
//!
//! This crate wires and decides nothing about objects, requests or records. [`run`] is the program;
//! [`Server::start`] is a server without a process around it, for tests: it prints nothing, reads no
//! environment, catches no signal.

pub mod banner;
pub mod cli;
pub mod client;
pub mod config;
pub mod ellipses;
pub mod environment;
pub mod events;
pub mod fatal;
pub mod health;
pub mod listen;
pub mod server;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
pub mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

pub use config::Settings;
pub use fatal::Fatal;
pub use server::Server;

use cli::{Command, CommandLine, Flags};
use config::Output;
use environment::Variables;
use shutdown::Reason;

/// Runs the program with these arguments (the program's name first) and this environment, to its end.
///
/// Everything is told on standard error. A restart that `mc admin service restart` asked for does not return.
pub fn run(arguments: impl IntoIterator<Item = OsString>, process: &Variables) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let CommandLine { flags, command } = match cli::parse(arguments.iter().cloned()) {
        Ok(line) => line,
        Err(answer) => {
            // What was asked for goes to standard output, what went wrong to standard error.
            return match answer.print() {
                Ok(()) if answer.exit_code() == 0 => ExitCode::SUCCESS,
                _ if cli::is_verify(&arguments) => ExitCode::from(verify::UNUSABLE),
                _ => ExitCode::FAILURE,
            };
        }
    };
    install_crypto();
    let (environment, unread) = match environment::effective(process) {
        Ok(environment) => (environment, None),
        Err(fatal) => (process.clone(), Some(fatal)),
    };
    let output = Output::new(&flags, &environment);
    if let Some(fatal) = unread {
        return fail(&fatal, output);
    }
    match command {
        Some(Command::Health) => match health::ask(&flags, &environment) {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => {
                eprintln!("{reason}");
                ExitCode::FAILURE
            }
        },
        Some(Command::Verify { drives, remote }) => {
            verify::run(&drives, &remote, &environment, output.json, output.quiet)
        }
        Some(Command::Events { remote, command }) => {
            events::run(&command, &remote, &environment, output.json)
        }
        Some(Command::Server { drives }) => serve(&flags, &drives, environment, output),
        None => serve(&flags, &[], environment, output),
    }
}

/// Runs a server until it is told to end.
fn serve(flags: &Flags, drives: &[String], environment: Variables, output: Output) -> ExitCode {
    tidings_drives::huge_pages::hold_back();
    telemetry::install(output, &environment);
    let settings = match Settings::new(flags, drives, environment) {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            eprintln!("{}", cli::help());
            return ExitCode::FAILURE;
        }
        Err(fatal) => return fail(&fatal, output),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Fatal::new("Unable to start", error), output),
    };
    let reason = runtime.block_on(async {
        let server = Server::start(settings).await?;
        banner::print(server.summary(), output);
        Ok(shutdown::serve_until_told(server).await)
    });
    runtime.shutdown_timeout(shutdown::THREADS_PATIENCE);
    match reason {
        Ok(Reason::Restart) => {
            let error = shutdown::reexecute();
            fail(&Fatal::new("Unable to restart", error).remedy("Start the server again by hand."), output)
        }
        Ok(Reason::Signal | Reason::Stop) => ExitCode::SUCCESS,
        Err(fatal) => fail(&fatal, output),
    }
}

fn fail(fatal: &Fatal, output: Output) -> ExitCode {
    let lines = fatal.lines();
    if output.json {
        eprintln!("{}", telemetry::json_line("FATAL", lines.trim_start_matches("FATAL ")));
    } else {
        eprintln!("{lines}");
    }
    ExitCode::FAILURE
}

/// Makes aws-lc the process's cryptography. Later calls change nothing.
pub fn install_crypto() {
    // An error says that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
