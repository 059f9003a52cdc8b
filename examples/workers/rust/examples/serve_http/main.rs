//! A web server: HTTP/1.1 on a port that workers share, as a worker of a primary, or by itself
//! where there is none.
//!
//! It answers four calls: "count" with the number of requests; "log" with its access log, as a
//! handle; `["echo", value]` with the value; and a message that brings a connection makes it serve
//! that one too. Told to stop, it ends the requests that are under way; who has connected and not
//! asked yet may do so for a while.
//!
//! With `ACCESS_LOG` in the environment its log is appended to that file, a line for each request
//! before anything else is done, by one write. `MAX_CONNECTIONS` may be open at once, 256 without.
//!
//! ```text
//! serve_http [--port N] [--shared]
//! ```

mod http;

use std::error::Error as StdError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use awp::{Address, Conn, Error, Handle, Kind, Listen, Map, Message, Mode, Value, Worker};

use http::{Incoming, Reader};

const HOST: &str = "127.0.0.1";

/// How many connections are open at once, at most.
const OPEN: u32 = 256;

/// For how long a client may say nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// For how long the first request of a connection is waited for, once the worker is to stop.
const FIRST_REQUEST: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let (mut port, mut mode) = (8000, Mode::Handoff);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--shared" => mode = Mode::Shared,
            "--port" => match words.next().and_then(|number| number.parse().ok()) {
                Some(number) => port = number,
                None => return usage(),
            },
            _ => return usage(),
        }
    }
    if !awp::is_worker() {
        return match alone(port) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("serve_http: {error}");
                ExitCode::FAILURE
            }
        };
    }
    awp::run(awp::Config::new("serve_http", "1.0"), |worker| {
        let most = std::env::var("MAX_CONNECTIONS");
        let most = most.ok().and_then(|number| number.parse().ok());
        let what = Listen::tcp(HOST, port)
            .mode(mode)
            .open(most.unwrap_or(OPEN));
        serve(worker, &what)
    })
}

fn usage() -> ExitCode {
    eprintln!("usage: serve_http [--port N] [--shared]");
    ExitCode::from(2)
}

/// The server without a primary.
fn alone(port: u16) -> io::Result<()> {
    let site = Arc::new(Site::new("nobody's worker")?);
    let listener = TcpListener::bind((HOST, port))?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming().flatten() {
        let (site, fresh) = (Arc::clone(&site), Fresh::new(&site));
        thread::Builder::new().spawn(move || {
            let _ = stream.set_read_timeout(Some(PATIENCE));
            drop(site.talk(stream, fresh));
        })?;
    }
    Ok(())
}

/// The server as a worker.
fn serve(worker: &Worker, what: &Listen) -> Result<(), Box<dyn StdError>> {
    let name = worker.welcome().name.unwrap_or_default();
    let site = Arc::new(Site::new(&name)?);
    let listener = Arc::new(worker.listen(what)?);
    let (host, port) = listener
        .host_and_port()
        .ok_or("a port without an address")?;
    let place = format!("{host}:{port}");
    worker.log(
        20,
        "serve_http",
        "listening",
        Map::default().with("address", place.as_str()),
    );
    let (accepts, accepting, logs) = (Arc::clone(&site), Arc::clone(&listener), worker.clone());
    let accepting = thread::Builder::new().spawn(move || loop {
        match accepting.accept() {
            Ok(Some(conn)) => accepts.welcome(conn, &logs),
            Ok(None) => return,
            Err(error) => {
                logs.log(40, "serve_http", &error.to_string(), Map::default());
                thread::sleep(Duration::from_millis(50)); // out of descriptors, most likely
            }
        }
    })?;
    worker.tell(&Address::primary(), Map::default().with("serving", place))?;
    worker.serving(Map::default())?;
    while let Some(message) = worker.receive() {
        answer(worker, &site, message);
    }
    let _ = accepting.join(); // what it has taken counts
    site.finish(worker.deadline());
    Ok(())
}

/// Answers one message; what it does not know is dropped, and so answered by `not_handled`.
fn answer(worker: &Worker, site: &Arc<Site>, mut message: Message) {
    let is_connection = |handle: &Handle| handle.known() == Some(Kind::TcpSocket);
    let done = if message.handles.first().is_some_and(is_connection) {
        match message.handles.remove(0).into_conn() {
            Ok(conn) => {
                site.welcome(conn, worker);
                message.reply(())
            }
            Err(error) => return message.fail(&error.into()),
        }
    } else if let Some(value) = echoed(&message.body) {
        message.reply(value)
    } else {
        match message.body.as_str() {
            Some("count") => message.reply(site.count().requests),
            Some("log") => match site.log.try_clone().and_then(Handle::try_from) {
                Ok(log) => message.reply(log),
                Err(error) => return message.fail(&error.into()),
            },
            _ => return,
        }
    };
    if let Err(error) = done {
        worker.log(
            30,
            "serve_http",
            &format!("no answer: {error}"),
            Map::default(),
        );
    }
}

fn echoed(body: &Value) -> Option<Value> {
    match body {
        Value::Array(words) => match words.as_slice() {
            [Value::Str(word), value] if word == "echo" => Some(value.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// Answers requests, counts them, and writes an access log.
struct Site {
    name: String,
    log: File,
    count: Mutex<Count>,
    idle: Condvar,
}

#[derive(Default)]
struct Count {
    requests: u64,
    /// Requests that are under way.
    busy: u64,
    /// Connections on which nothing was asked so far.
    fresh: u64,
    /// No more are begun.
    stopping: bool,
}

impl Site {
    fn new(name: &str) -> io::Result<Self> {
        let log = match std::env::var_os("ACCESS_LOG") {
            Some(path) => OpenOptions::new()
                .create(true)
                .read(true)
                .append(true)
                .open(path)?,
            None => Self::own_log()?,
        };
        Ok(Site {
            name: name.to_owned(),
            log,
            count: Mutex::default(),
            idle: Condvar::new(),
        })
    }

    fn own_log() -> io::Result<File> {
        let id = (
            std::process::id(),
            SystemTime::now().duration_since(UNIX_EPOCH),
        );
        let unique = format!(
            "access-{}-{}.log",
            id.0,
            id.1.unwrap_or_default().as_nanos()
        );
        let path = std::env::temp_dir().join(unique);
        let log = OpenOptions::new()
            .create_new(true)
            .read(true)
            .append(true)
            .open(&path)?;
        fs::remove_file(path)?; // it lives as long as it is open
        Ok(log)
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a connection, in a thread of its own.
    fn welcome(self: &Arc<Self>, mut conn: Conn, worker: &Worker) {
        let (site, fresh) = (Arc::clone(self), Fresh::new(self));
        let talk = move || {
            conn.set_read_timeout(Some(PATIENCE));
            drop(site.talk(conn, fresh)); // a client that is gone has its reasons
        };
        if let Err(error) = thread::Builder::new().spawn(talk) {
            worker.log(
                40,
                "serve_http",
                &Error::from(error).to_string(),
                Map::default(),
            );
        }
    }

    /// One request after another, until the client or the worker has had enough.
    fn talk(&self, stream: impl Read + Write, fresh: Fresh) -> io::Result<()> {
        let mut reader = Reader::new(stream);
        let mut fresh = Some(fresh);
        while reader.wait()? {
            let Some(_under_way) = UnderWay::begin(self, fresh.is_some()) else {
                return Ok(()); // the client may ask somebody else
            };
            fresh = None;
            let keep = match reader.request()? {
                Incoming::Broken(status) => {
                    reader.respond(status, "", false)?;
                    return Ok(());
                }
                Incoming::Request(request) => {
                    let number = self.record(&request.method, &request.path)?;
                    let size = reader.skip_body(&request)?;
                    let page = format!(
                        "hello from {}, process {}, request {number} of {size} bytes\n",
                        self.name,
                        std::process::id()
                    );
                    let keep = request.keep && !self.count().stopping;
                    let page = if request.method == "HEAD" { "" } else { &page };
                    reader.respond("200 OK", page, keep)?;
                    keep
                }
            };
            if !keep {
                return Ok(());
            }
        }
        Ok(())
    }

    fn record(&self, method: &str, path: &str) -> io::Result<u64> {
        let number = {
            let mut count = self.count();
            count.requests += 1;
            count.requests
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        (&self.log).write_all(format!("{now} {method} {path}\n").as_bytes())?;
        Ok(number)
    }

    /// Ends the requests that are under way, for so long; and waits a while for first ones.
    fn finish(&self, deadline: Option<Instant>) {
        let now = Instant::now();
        let end = deadline.unwrap_or(now + PATIENCE);
        let mut count = self.count();
        count.stopping = true;
        loop {
            let until = match (count.busy, count.fresh) {
                (0, 0) => return,
                (0, _) => end.min(now + FIRST_REQUEST),
                _ => end,
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            count = self
                .idle
                .wait_timeout(count, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// A connection on which nothing was asked so far.
struct Fresh(Arc<Site>);

impl Fresh {
    fn new(site: &Arc<Site>) -> Self {
        site.count().fresh += 1;
        Fresh(Arc::clone(site))
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        self.0.count().fresh -= 1;
        self.0.idle.notify_all();
    }
}

/// A request that is under way.
struct UnderWay<'a>(&'a Site);

impl<'a> UnderWay<'a> {
    fn begin(site: &'a Site, is_first: bool) -> Option<Self> {
        let mut count = site.count();
        if count.stopping && !is_first {
            return None;
        }
        count.busy += 1;
        Some(UnderWay(site))
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.count().busy -= 1;
        self.0.idle.notify_all();
    }
}
