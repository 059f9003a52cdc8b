//! Ports that workers share, as a program sees them.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use crate::awp_v1::{key, Handle as Kind};
use crate::conn::{Conn, Stream};
use crate::error::Error;
use crate::handle::Handle;
use crate::msgpack::{Map, Value};
use crate::ports::Mode;
use crate::shared::Shared;
use crate::sys;
use crate::worker::Worker;

/// What to listen on.
#[derive(Clone, Debug)]
pub struct Listen {
    request: Map,
}

impl Listen {
    /// A TCP port of a numeric address; "" are all of them. Port 0 is any free one, the same for
    /// all workers that ask with the same `key`.
    pub fn tcp(host: &str, port: u16) -> Self {
        Listen::inet("tcp", host, port).mode(Mode::Handoff)
    }

    /// A UDP port, which all workers have at once: see [`Listener::udp`].
    pub fn udp(host: &str, port: u16) -> Self {
        Listen::inet("udp", host, port).mode(Mode::Shared)
    }

    /// A Unix socket, by its absolute path.
    pub fn unix(path: &str) -> Self {
        let request = Map::default().with(key::listen::TRANSPORT, "unix");
        let request = request.with(key::listen::PATH, path);
        Listen { request }.mode(Mode::Handoff)
    }

    /// The map of LISTEN as it is (section 17).
    pub fn raw(request: Map) -> Self {
        Listen { request }
    }

    fn inet(transport: &str, host: &str, port: u16) -> Self {
        let mut request = Map::default().with(key::listen::TRANSPORT, transport);
        if !host.is_empty() {
            request.set(key::listen::HOST, host);
        }
        request.set(key::listen::PORT, port);
        Listen { request }
    }

    /// How the worker comes by its connections; by hand-off, if nothing is said.
    #[must_use]
    pub fn mode(self, mode: Mode) -> Self {
        self.with(key::listen::MODES, vec![Value::from(mode.name())])
    }

    /// How many connections this worker has open at once, at most, where the primary hands them
    /// over: who closes one gets the next. 1, if nothing is said.
    #[must_use]
    pub fn open(self, most: u32) -> Self {
        self.with(key::listen::CREDIT, most.max(1))
    }

    /// Another key of LISTEN, as `key`, `backlog` or `policy`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.request.set(key, value);
        self
    }
}

/// A port that workers share. Dropping it gives the port up.
pub struct Listener {
    shared: Arc<Shared>,
    number: u64,
    /// Where the port is bound, as LISTENING has it: `[host, port]` or a path.
    pub address: Value,
    /// The value that the first worker gave along (`data`).
    pub data: Value,
    mode: Mode,
    socket: Option<Arc<Handle>>,
    /// Can be read when the port has ended.
    end: UnixStream,
}

impl Worker {
    /// Asks the primary for a port, and waits until it is bound.
    pub fn listen(&self, what: &Listen) -> Result<Listener, Error> {
        let (end, wake) = UnixStream::pair()?;
        let mut inner = self.shared.lock();
        let number = inner.session.listen(&what.request, Some(wake))?;
        let found = inner.wait_for(&self.shared.changed, None, |inner| {
            let port = inner.session.ports.get(&number)?;
            if let Some(error) = port.end.clone() {
                inner.session.ports.remove(&number);
                return Some(Err(error));
            }
            let mode = port.mode?;
            let about = (port.address.clone(), port.data.clone(), port.socket.clone());
            Some(Ok((mode, about)))
        });
        let (mode, (address, data, socket)) = found.expect("it was waited for")?;
        Ok(Listener {
            shared: Arc::clone(&self.shared),
            number,
            address,
            data,
            mode,
            socket,
            end,
        })
    }
}

impl Listener {
    /// How connections come.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Host and port, of a socket that has them.
    pub fn host_and_port(&self) -> Option<(&str, u16)> {
        let pair = self.address.as_array()?;
        let port = u16::try_from(pair.get(1)?.as_u64()?).ok()?;
        Some((pair.first()?.as_str()?, port))
    }

    /// Takes a connection, and waits for it. Nobody else will serve it then. None: the port is
    /// closed, or the worker was told to stop.
    pub fn accept(&self) -> io::Result<Option<Conn>> {
        match &self.socket {
            Some(socket) => self.accept_beside_others(socket),
            None => Ok(self.accept_handed_over()),
        }
    }

    /// The UDP socket; it is non-blocking, and may be read by others before. It is the port's for
    /// longer than this worker listens.
    pub fn udp(&self) -> Option<io::Result<UdpSocket>> {
        let socket = self.socket.as_ref()?;
        (socket.known() == Some(Kind::UdpSocket))
            .then(|| Ok(UdpSocket::from(socket.fd.try_clone()?)))
    }

    fn accept_beside_others(&self, socket: &Handle) -> io::Result<Option<Conn>> {
        let fd = socket.fd.try_clone()?;
        let listener = match socket.known() {
            Some(Kind::TcpListener) => Acceptor::Tcp(fd.into()),
            Some(Kind::UnixListener) => Acceptor::Unix(fd.into()),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        loop {
            let [comes, ended] = sys::wait([socket.fd.as_fd(), self.end.as_fd()], false, None)?;
            if ended {
                return Ok(None);
            }
            if !comes {
                continue;
            }
            match listener.accept() {
                Ok(stream) => return Conn::new(stream, Vec::new()).map(Some),
                Err(error) if is_passing(&error) => {} // somebody else was faster, or it is gone
                Err(error) => return Err(error),
            }
        }
    }

    fn accept_handed_over(&self) -> Option<Conn> {
        let mut inner = self.shared.lock();
        loop {
            let taken = inner.wait_for(&self.shared.changed, None, |inner| {
                let port = inner.session.ports.get(&self.number)?;
                if port.end.is_some() {
                    return Some(None);
                }
                inner.session.take_connection(self.number).map(Some)
            });
            let (handle, mark) = taken.flatten()?;
            // Before it is touched, the primary has to be told (AWP-LI-2).
            let is_told = inner.wait_for(&self.shared.changed, None, |inner| {
                if inner.written >= mark {
                    return Some(true);
                }
                inner.session.ended.is_some().then_some(false)
            });
            if is_told != Some(true) {
                return None;
            }
            let Ok(mut conn) = handle.into_conn() else {
                inner.session.closed_connection(self.number, true);
                continue;
            };
            let (shared, number) = (Arc::clone(&self.shared), self.number);
            conn.on_close = Some(Box::new(move || {
                shared.lock().session.closed_connection(number, false)
            }));
            return Some(conn);
        }
    }

    /// Gives the port up: whoever waits in `accept` gets None, and connections that were not taken
    /// go to other workers.
    pub fn close(&self) {
        let why = Error::new(crate::code::CONNECTION_LOST, "the port is closed");
        self.shared.lock().session.close_port(self.number, &why);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
        self.shared.lock().session.ports.remove(&self.number);
    }
}

enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Acceptor::Tcp(listener) => listener.accept()?.0.into(),
            Acceptor::Unix(listener) => listener.accept()?.0.into(),
        })
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock)
}
