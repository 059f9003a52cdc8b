//! A program as a worker: from its environment to its exit status.

use std::env;
use std::error::Error as StdError;
use std::fmt;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex};

use crate::address::Address;
use crate::error::{Ended, Error};
use crate::limits::Limits;
use crate::msgpack::Map;
use crate::session::Session;
use crate::shared::{Inner, Shared};
use crate::sys;
use crate::wires;
use crate::worker::Worker;

type OnSettings = Box<dyn Fn(&Map) + Send + Sync>;
type OnUndeliverable = Box<dyn Fn(u64, &Address, &Error) + Send + Sync>;

/// How a worker presents itself, and whom it tells what.
pub struct Config {
    /// Of the program, for display.
    pub name: String,
    /// Of the program, for display.
    pub version: String,
    /// What this worker can receive; what the primary's user says goes before.
    pub limits: Limits,
    /// Called when the primary changes settings, with those that it names. It must not block.
    pub on_settings: OnSettings,
    /// Called for a message that found nobody: its number, where it went, why. It must not block.
    pub on_undeliverable: OnUndeliverable,
}

impl Config {
    /// A worker that tells nobody anything.
    pub fn new(name: &str, version: &str) -> Self {
        Config {
            name: name.to_owned(),
            version: version.to_owned(),
            limits: Limits::default(),
            on_settings: Box::new(|_| {}),
            on_undeliverable: Box::new(|_, _, _| {}),
        }
    }
}

/// Why there is no connection to a primary.
#[derive(Debug)]
pub enum ConnectError {
    /// Nobody has started this program as a worker.
    NotAWorker,
    /// What the environment says of the connection is of no use.
    Useless(String),
    /// It ended before the primary took the worker in.
    Ended(Ended),
}

impl ConnectError {
    /// The exit status that the primary expects then.
    fn status(&self) -> u8 {
        match self {
            ConnectError::NotAWorker | ConnectError::Useless(_) => 2,
            ConnectError::Ended(ended) => ended.status(),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::NotAWorker => {
                write!(
                    f,
                    "no {CHANNEL}: not started as a worker, a primary has to do that"
                )
            }
            ConnectError::Useless(why) => write!(f, "{CHANNEL} is of no use: {why}"),
            ConnectError::Ended(ended) => ended.fmt(f),
        }
    }
}

impl StdError for ConnectError {}

const CHANNEL: &str = "ACTORCLUSTER_CHANNEL";

/// Whether a primary has started this program.
pub fn is_worker() -> bool {
    env::var_os(CHANNEL).is_some()
}

/// Runs a function as a worker, and says good-bye when it returns: at once if it failed, otherwise
/// when the worker is told to stop. Gives the exit status that the primary expects: 0 after a good
/// end, and when the primary is gone; 2 if nobody has started this as a worker.
///
/// It changes the environment (AWP-TR-2), so it is for the beginning of `main`, before there are
/// other threads.
pub fn run(
    config: Config,
    function: impl FnOnce(&Worker) -> Result<(), Box<dyn StdError>>,
) -> ExitCode {
    let program = config.name.clone();
    let worker = match connect(config) {
        Ok(worker) => worker,
        Err(error) => {
            eprintln!("{program}: {error}");
            return ExitCode::from(error.status());
        }
    };
    let done = match worker.ready(Map::default()) {
        Ok(()) => function(&worker), // a panic ends the process: no good-bye
        Err(_) => Ok(()),            // told to stop already
    };
    let mut status = 0;
    match &done {
        Err(error) if worker.ended().is_none() && !worker.is_stopping() => {
            eprintln!("{program}: {error}");
            status = 1;
            let known = error.downcast_ref::<Error>().cloned();
            worker.explain(&known.unwrap_or_else(|| Error::app(error.to_string())));
        }
        _ => worker.wait_to_leave(),
    }
    let ended = worker.close();
    if let Ended::Aborted { .. } = ended {
        eprintln!("{program}: {ended}");
    }
    ExitCode::from(ended.status().max(status))
}

/// Finds the connection to the primary in the environment, and introduces the worker. Then it is to
/// call [`Worker::ready`], and in the end [`Worker::close`].
///
/// It changes the environment (AWP-TR-2), so there must be no other threads yet.
pub fn connect(mut config: Config) -> Result<Worker, ConnectError> {
    let take = |name: &str| {
        let name = format!("ACTORCLUSTER_{name}");
        let value = env::var(&name).ok();
        env::remove_var(name); // nobody else's business (AWP-TR-2)
        value
    };
    let is_worker = is_worker();
    let channel = take("CHANNEL").unwrap_or_default();
    let id = take("WORKER_ID").and_then(|id| id.parse().ok());
    let token = take("TOKEN");
    config.limits.parse(&take("LIMITS").unwrap_or_default());
    let lane = take("LANE");
    if !is_worker {
        return Err(ConnectError::NotAWorker);
    }
    if let Some(lane) = lane {
        let why = format!("handles would come by a lane of form {lane}");
        return Err(ConnectError::Useless(why));
    }
    let useless = |why: String| ConnectError::Useless(format!("{channel}: {why}"));
    let stream = open(&channel).map_err(useless)?;
    let exit: fn(i32) = |status| sys::exit_now(status);
    start(config, stream, id, token.as_deref(), exit)
}

/// Opens `fd:N` or `unix:/path` (section 2).
fn open(channel: &str) -> Result<UnixStream, String> {
    if let Some(path) = channel.strip_prefix("unix:") {
        return UnixStream::connect(path).map_err(|error| error.to_string());
    }
    let fd = channel
        .strip_prefix("fd:")
        .and_then(|digits| digits.parse::<u32>().ok());
    let fd = fd
        .and_then(|fd| i32::try_from(fd).ok())
        .ok_or("neither fd:N nor unix:/path")?;
    let stream = sys::inherited(fd)
        .map(UnixStream::from)
        .ok_or("it is not open")?;
    match stream.peer_addr() {
        Ok(_) => Ok(stream),
        Err(error) => Err(error.to_string()),
    }
}

/// Introduces the worker on a connection, and waits to be taken in.
pub(crate) fn start(
    config: Config,
    stream: UnixStream,
    id: Option<u32>,
    token: Option<&str>,
    exit: fn(i32),
) -> Result<Worker, ConnectError> {
    let mut session = Session::new(config.limits.clone());
    let program = Map::default()
        .with("name", config.name.as_str())
        .with("version", config.version.as_str())
        .with("lang", "rust")
        .with("os", env::consts::OS);
    session.hello(id, token, program);
    let shared = Arc::new(Shared {
        inner: Mutex::new(Inner::new(session)),
        config,
        writable: Condvar::new(),
        mail: Condvar::new(),
        room: Condvar::new(),
        changed: Condvar::new(),
    });
    let failed = |error: std::io::Error| ConnectError::Useless(error.to_string());
    wires::start(&shared, stream, exit).map_err(failed)?;
    let mut inner = shared.lock();
    let ended = inner.wait_for(&shared.changed, None, |inner| {
        let is_welcome = inner.session.ended.is_none() && inner.session.is.id != 0;
        is_welcome
            .then_some(None)
            .or_else(|| inner.see_end().map(Some))
    });
    drop(inner);
    match ended.flatten() {
        Some(ended) => Err(ConnectError::Ended(ended)),
        None => Ok(Worker { shared }),
    }
}
