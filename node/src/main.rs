//! `revd`: parses its flags, starts the server, waits for a signal.

use std::io::Write;
use std::process::ExitCode;

use revd::config::{self, Config, Parsed, Stop};
use revd::driver::Ended;
use revd::log;
use revd::server::{Server, StartError};
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::signal::unix::{Signal, SignalKind, signal};

fn main() -> ExitCode {
    revd_disk::report_bus_errors();
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    match Config::read(std::env::args_os().skip(1), environment) {
        Ok(parsed) => run(parsed),
        Err(stop) => explain(&stop),
    }
}

/// What to say when there is nothing to run.
fn explain(stop: &Stop) -> ExitCode {
    match stop {
        Stop::Help => {
            eprint!("{}", config::usage());
            print(&config::help())
        }
        Stop::Version => print(&config::version()),
        Stop::Usage(message) => {
            eprintln!("{message}\n\n{}", config::usage());
            ExitCode::from(2)
        }
        Stop::Refused(error) => {
            log::start(log::Settings::default());
            tracing::warn!(error = %error, "failed to verify flags");
            ExitCode::FAILURE
        }
    }
}

/// A reader that has seen enough closes its pipe, which is no failure.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn run(parsed: Parsed) -> ExitCode {
    log::start(parsed.config.log);
    let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    tracing::info!(args = log::list(arguments).as_slice(), "Running: ");
    for notice in &parsed.notices {
        notice.log();
    }
    // It accepts connections and hears signals; clients are served by threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail("cannot start the runtime", &error),
    };
    let end = runtime.block_on(serve(parsed.config));
    // What still runs are connections that did not end in time.
    runtime.shutdown_background();
    match end {
        End::Signal(number) => die_of(number),
        End::Removed => ExitCode::SUCCESS,
        End::Failure => ExitCode::FAILURE,
    }
}

/// How often a member begins anew that has lost something, before somebody has to look at it.
const STARTS: usize = 4;

/// How the server came to its end.
enum End {
    /// It was told to stop.
    Signal(i32),
    /// The member was removed from its cluster.
    Removed,
    /// It could not start or not go on, and has said why.
    Failure,
}

async fn serve(config: Config) -> End {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        fail("cannot listen to signals", "the system refused");
        return End::Failure;
    };
    for _ in 0..STARTS {
        if let Some(end) = serve_once(&config, &mut terminate, &mut interrupt).await {
            return end;
        }
    }
    fail("the member cannot go on", "it has lost what it had too often");
    End::Failure
}

/// Serves until the end; `None` if the member has lost something and has to begin anew.
async fn serve_once(
    config: &Config,
    terminate: &mut Signal,
    interrupt: &mut Signal,
) -> Option<End> {
    let data_dir = config.data_dir.display().to_string();
    let started = tokio::select! {
        started = Server::start(config.clone()) => started,
        number = any(terminate, interrupt) => return Some(End::Signal(number)),
    };
    let mut server = match started {
        Ok(server) => server,
        Err(StartError::Lost) => return None,
        Err(StartError::Removed) => {
            removed(&data_dir);
            return Some(End::Removed);
        }
        Err(error) => {
            // Etcd's words for whatever happens in a start.
            fail("discovery failed", &error);
            return Some(End::Failure);
        }
    };
    tokio::select! {
        number = any(terminate, interrupt) => {
            server.stop().await;
            Some(End::Signal(number))
        }
        ended = server.ended() => match ended {
            Ok(Ended::Lost) => {
                server.stop().await;
                None
            }
            Ok(_) => {
                removed(&data_dir);
                server.stop().await;
                Some(End::Removed)
            }
            Err(reason) => {
                fail("the member cannot go on", &reason);
                Some(End::Failure)
            }
        }
    }
}

/// Says, in etcd's words, that the member does not belong to its cluster any more.
fn removed(data_dir: &str) {
    tracing::error!(error = %StartError::Removed, "server error");
    tracing::warn!("data-dir" = data_dir, "data-dir used by this member must be removed");
}

/// Waits for the first of the two signals.
async fn any(terminate: &mut Signal, interrupt: &mut Signal) -> i32 {
    let (number, name) = tokio::select! {
        _ = terminate.recv() => (SIGTERM, "terminated"),
        _ = interrupt.recv() => (SIGINT, "interrupt"),
    };
    tracing::info!(signal = name, "received signal; shutting down");
    number
}

fn fail(message: &str, error: impl std::fmt::Display) -> ExitCode {
    log::fatal!(error = %error, "{message}");
    ExitCode::FAILURE
}

/// Ends the process by the signal that it got, so that whoever waits sees why it ended. The first
/// process of a container cannot be ended so.
fn die_of(number: i32) -> ExitCode {
    if std::process::id() != 1 {
        // It returns only if the signal does not end a process.
        drop(signal_hook::low_level::emulate_default_handler(number));
    }
    ExitCode::SUCCESS
}
