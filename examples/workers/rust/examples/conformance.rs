//! The actor of annex A of the specification: it does what a test kit tells it to.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use awp::{code, Address, Body, Conn, Error, Handle, Listen, Listener, Map, Message, Value};
use awp::{Waited, Why, Worker};

/// For how long connections are served after STOP.
const GRACE: Duration = Duration::from_millis(500);

/// Threads that wait need little.
const STACK: usize = 64 << 10;

fn main() -> ExitCode {
    awp::run(awp::Config::new("conformance", "1.0"), |worker| {
        let mut actor = Actor {
            worker: worker.clone(),
            listeners: Vec::new(),
            cancelled: Arc::default(),
            busy: Arc::default(),
        };
        while let Some(message) = worker.receive() {
            actor.take(message);
        }
        actor.busy.wait(GRACE);
        Ok(())
    })
}

struct Actor {
    worker: Worker,
    listeners: Vec<Arc<Listener>>,
    /// Sleeps that their callers have ended.
    cancelled: Arc<AtomicU64>,
    busy: Arc<Busy>,
}

impl Actor {
    fn take(&mut self, mut message: Message) {
        let mut words = match std::mem::replace(&mut message.body, Value::Nil) {
            Value::Array(words) => words.into_iter(),
            _ => Vec::new().into_iter(),
        };
        let name = words.next().unwrap_or(Value::Nil);
        let argument = words.next().unwrap_or(Value::Nil);
        let name = name.as_str().unwrap_or_default();
        if name == "sleep" {
            return self.sleep(message, milliseconds(&argument));
        }
        match self.obey(name, argument, &mut message) {
            // A caller that is gone has its reasons.
            Ok(body) => drop(message.reply(body)),
            Err(error) => message.fail(&error),
        }
    }

    fn obey(&mut self, name: &str, argument: Value, message: &mut Message) -> Result<Body, Error> {
        Ok(match name {
            "echo" => {
                let handles = std::mem::take(&mut message.handles);
                Body {
                    value: argument,
                    handles,
                }
            }
            "fail" => return Err(Error::app(argument.as_str().unwrap_or_default())),
            "cancel_state" => self.cancelled.load(Ordering::SeqCst).into(),
            "tell_back" => self.tell_back(&argument)?,
            "log" => {
                let pair = argument.as_array().unwrap_or_default();
                let level = pair.first().and_then(Value::as_u64).unwrap_or(0);
                let text = pair.get(1).and_then(Value::as_str).unwrap_or_default();
                let level = u8::try_from(level).unwrap_or(u8::MAX);
                self.worker.log(level, "conformance", text, Map::default());
                ().into()
            }
            "crash" => std::process::abort(),
            "exit" => std::process::exit(argument.as_i64().unwrap_or(0) as i32),
            "take_handle" => taken(std::mem::take(&mut message.handles))?,
            "give_handle" => given(argument.as_u64().unwrap_or(0))?,
            "listen" => self.listen(argument)?,
            "unlisten" => {
                let closed = self.listeners.len();
                self.listeners
                    .drain(..)
                    .for_each(|listener| listener.close());
                closed.into()
            }
            _ => return Err(Error::new(code::NOT_HANDLED, "no such command")),
        })
    }

    /// Waits, and is ended by whatever ends the call.
    fn sleep(&self, message: Message, time: Duration) {
        let cancelled = Arc::clone(&self.cancelled);
        let error = match self.busy.spawn(move || match message.wait(time) {
            Waited::Elapsed => drop(message.reply(())),
            Waited::Stopping => message.fail(&Error::new(code::STOPPING, "")),
            Waited::Over(Why::Cancelled) => {
                cancelled.fetch_add(1, Ordering::SeqCst);
                message.fail(&Error::new(code::CANCELLED, ""));
            }
            Waited::Over(_) => message.fail(&Error::new(code::DEADLINE_EXCEEDED, "")),
        }) {
            Ok(()) => return,
            Err(error) => error,
        };
        eprintln!("conformance: {error}"); // the message is dropped, and so answered
    }

    fn tell_back(&self, argument: &Value) -> Result<Body, Error> {
        let pair = argument.as_array().unwrap_or_default();
        let n = pair.first().and_then(Value::as_i64).unwrap_or(0);
        let body = pair.get(1).cloned().unwrap_or(Value::Nil);
        for i in 1..=n {
            self.worker
                .tell(&Address::primary(), vec![i.into(), body.clone()])?;
        }
        Ok(n.into())
    }

    fn listen(&mut self, argument: Value) -> Result<Body, Error> {
        let Value::Map(request) = argument else {
            return Err(Error::new(code::NOT_HANDLED, "no map"));
        };
        let listener = Arc::new(self.worker.listen(&Listen::raw(request))?);
        let address = listener.address.clone();
        self.listeners.push(Arc::clone(&listener));
        let (worker, busy) = (self.worker.clone(), Arc::clone(&self.busy));
        thread::spawn(move || serve(&worker, &listener, &busy));
        Ok(address.into())
    }
}

fn milliseconds(value: &Value) -> Duration {
    let ms = value.as_f64().filter(|ms| ms.is_finite()).unwrap_or(0.0);
    Duration::from_secs_f64(ms.clamp(0.0, 1e9) / 1e3)
}

/// Kind and inode of each handle, which is closed.
fn taken(handles: Vec<Handle>) -> Result<Body, Error> {
    let mut list = Vec::new();
    for handle in handles {
        list.push(Value::from(vec![
            handle.kind.into(),
            handle.inode()?.into(),
        ]));
    }
    Ok(list.into())
}

/// Sockets that listen.
fn given(n: u64) -> Result<Body, Error> {
    let open = |_| Ok(Handle::try_from(TcpListener::bind("127.0.0.1:0")?)?);
    let handles = (0..n).map(open).collect::<Result<Vec<_>, Error>>()?;
    let references: Vec<_> = (0..handles.len())
        .map(|index| Value::Handle(index as u8))
        .collect();
    Ok(Body {
        value: references.into(),
        handles,
    })
}

/// Takes connections as they come.
fn serve(worker: &Worker, listener: &Listener, busy: &Arc<Busy>) {
    let id = worker.welcome().id;
    loop {
        match listener.accept() {
            Ok(Some(conn)) => {
                // One for which there is no thread is closed.
                if let Err(error) = busy.spawn(move || drop(talk(conn, id))) {
                    eprintln!("conformance: {error}");
                }
            }
            Ok(None) => return,
            Err(error) => {
                eprintln!("conformance: {error}");
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn talk(mut conn: Conn, id: u32) -> io::Result<()> {
    conn.write_all(format!("{id}\n").as_bytes())?;
    let mut bytes = [0; 16 << 10];
    loop {
        match conn.read(&mut bytes)? {
            0 => return Ok(()),
            n => conn.write_all(&bytes[..n])?,
        }
    }
}

/// Counts the threads that work.
#[derive(Default)]
struct Busy {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Busy {
    fn spawn(self: &Arc<Self>, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        *self.count.lock().expect("nobody panics with it") += 1;
        let one = One(Arc::clone(self));
        thread::Builder::new().stack_size(STACK).spawn(move || {
            let _one = one;
            work();
        })?;
        Ok(())
    }

    fn wait(&self, time: Duration) {
        let count = self.count.lock().expect("nobody panics with it");
        drop(
            self.changed
                .wait_timeout_while(count, time, |count| *count > 0),
        );
    }
}

struct One(Arc<Busy>);

impl Drop for One {
    fn drop(&mut self) {
        *self.0.count.lock().expect("nobody panics with it") -= 1;
        self.0.changed.notify_all();
    }
}
