//! Connections that came from elsewhere.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::awp_v1::meta;
use crate::handle::Handle;
use crate::msgpack::Value;
use crate::sys;

/// A stream of bytes, of one kind or the other.
#[derive(Debug)]
pub enum Stream {
    /// By TCP.
    Tcp(TcpStream),
    /// By a Unix socket.
    Unix(UnixStream),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Stream::Tcp(stream)
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Stream::Unix(stream)
    }
}

/// Calls a method of whichever stream it is.
macro_rules! either {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($inner) => $call,
            Stream::Unix($inner) => $call,
        }
    };
}

/// A connection, which waits. What its sender had read of it is read first. Dropping it closes it;
/// the primary then learns that there is room for another.
///
/// The socket is in non-blocking mode and stays so, as others may have it, too (AWP-FD-9): it is
/// here that somebody waits.
pub struct Conn {
    stream: Option<Stream>,
    head: Vec<u8>,
    read: usize,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    pub(crate) on_close: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Conn {
    pub(crate) fn new(stream: Stream, head: Vec<u8>) -> io::Result<Self> {
        either!(&stream, inner => inner.set_nonblocking(true))?;
        Ok(Conn {
            stream: Some(stream),
            head,
            read: 0,
            read_timeout: None,
            write_timeout: None,
            on_close: None,
        })
    }

    fn stream(&self) -> &Stream {
        self.stream.as_ref().expect("there until it is given away")
    }

    /// Ends one direction, or both.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        either!(self.stream(), inner => inner.shutdown(how))
    }

    /// For how long a read may wait; None: for ever.
    pub fn set_read_timeout(&mut self, time: Option<Duration>) {
        self.read_timeout = time;
    }

    /// For how long a write may wait; None: for ever.
    pub fn set_write_timeout(&mut self, time: Option<Duration>) {
        self.write_timeout = time;
    }

    /// Tries until it need not wait, or has waited for too long.
    fn insist(
        &mut self,
        to_write: bool,
        mut attempt: impl FnMut(&mut Stream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let timeout = if to_write {
            self.write_timeout
        } else {
            self.read_timeout
        };
        let until = timeout.map(|time| Instant::now() + time);
        let stream = self.stream.as_mut().expect("there until it is given away");
        loop {
            match attempt(stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let fd = either!(&*stream, inner => inner.as_fd());
            sys::wait([fd], to_write, left)?;
        }
    }

    /// The connection as a handle, to be sent on. What was not read of its head goes along; a
    /// reader that has taken more than it used loses that.
    pub fn into_handle(mut self) -> io::Result<Handle> {
        let stream = self.stream.take().expect("there until it is given away");
        let mut handle = match stream {
            Stream::Tcp(inner) => Handle::try_from(inner)?,
            Stream::Unix(inner) => Handle::try_from(inner)?,
        };
        let left = self.head.split_off(self.read);
        if !left.is_empty() {
            handle.meta.set(meta::handle::HEAD, Value::Bin(left));
        }
        Ok(handle)
    }
}

impl Read for Conn {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.read < self.head.len() {
            let n = (&self.head[self.read..]).read(into)?;
            self.read += n;
            return Ok(n);
        }
        self.insist(false, |stream| either!(stream, inner => inner.read(into)))
    }
}

impl Write for Conn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.insist(true, |stream| either!(stream, inner => inner.write(bytes)))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(self.stream(), inner => inner.as_fd())
    }
}

impl From<Stream> for OwnedFd {
    fn from(stream: Stream) -> Self {
        either!(stream, inner => inner.into())
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.stream = None; // first closed, then counted as closed
        if let Some(on_close) = self.on_close.take() {
            on_close();
        }
    }
}
