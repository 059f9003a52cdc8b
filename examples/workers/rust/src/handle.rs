//! Open descriptors that go with messages (section 16).

use std::fs::File;
use std::io::{self, IsTerminal};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};

use crate::awp_v1::{handle_name, meta, Handle as Kind};
use crate::conn::Conn;
use crate::msgpack::{Map, Value};
use crate::sys;

/// An open descriptor and what it is. Dropping it closes the descriptor.
#[derive(Debug)]
pub struct Handle {
    /// What it is: a number of section 16; [`Kind`] has those that are known.
    pub kind: u8,
    /// The description that travels along: `peer`, `local`, `name`, `shared` and others.
    pub meta: Map,
    pub(crate) fd: OwnedFd,
}

/// The kinds of handles that this crate takes, with their names.
pub(crate) const KINDS: [(Kind, &str); 15] = [
    (Kind::TcpSocket, handle_name::TCP_SOCKET),
    (Kind::TcpListener, handle_name::TCP_LISTENER),
    (Kind::UdpSocket, handle_name::UDP_SOCKET),
    (Kind::UnixStream, handle_name::UNIX_STREAM),
    (Kind::UnixListener, handle_name::UNIX_LISTENER),
    (Kind::UnixDgram, handle_name::UNIX_DGRAM),
    (Kind::UnixSeqpacket, handle_name::UNIX_SEQPACKET),
    (Kind::PipeRead, handle_name::PIPE_READ),
    (Kind::PipeWrite, handle_name::PIPE_WRITE),
    (Kind::File, handle_name::FILE),
    (Kind::Memfd, handle_name::MEMFD),
    (Kind::Tty, handle_name::TTY),
    (Kind::Eventfd, handle_name::EVENTFD),
    (Kind::Pidfd, handle_name::PIDFD),
    (Kind::Opaque, handle_name::OPAQUE),
];

impl Handle {
    /// A handle over a descriptor, which is the receiver's once it is sent.
    pub fn new(kind: Kind, fd: impl Into<OwnedFd>) -> io::Result<Self> {
        let fd = fd.into();
        if socket_of(kind).is_some() {
            sys::set_nonblocking(fd.as_fd(), true)?; // so they travel (AWP-FD-9)
        }
        Ok(Handle {
            kind: kind as u8,
            meta: Map::default(),
            fd,
        })
    }

    /// What it is, if that is known.
    pub fn known(&self) -> Option<Kind> {
        Kind::from_code(self.kind)
    }

    /// The descriptor, for whoever wants it.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// The connection; what its sender had read of it comes first.
    pub fn into_conn(self) -> io::Result<Conn> {
        let head = self.head().to_vec();
        match self.known() {
            Some(Kind::TcpSocket) => Conn::new(TcpStream::from(self.fd).into(), head),
            Some(Kind::UnixStream) => Conn::new(UnixStream::from(self.fd).into(), head),
            _ => Err(mismatch()),
        }
    }

    /// The inode, as `fstat` has it.
    pub fn inode(&self) -> io::Result<u64> {
        sys::as_file(self.fd.as_fd(), |file| Ok(file.metadata()?.ino()))
    }

    /// What its sender had read of a connection.
    pub(crate) fn head(&self) -> &[u8] {
        match self.meta.get(meta::handle::HEAD) {
            Some(Value::Bin(head)) => head,
            _ => &[],
        }
    }

    /// How it stands in an envelope.
    pub(crate) fn entry(&self) -> Value {
        let mut entry = vec![Value::from(self.kind)];
        if !self.meta.is_empty() {
            entry.push(Value::Map(self.meta.clone()));
        }
        Value::Array(entry)
    }

    /// Whether the descriptor is what the handle says (AWP-HA-2). Of a kind that is unknown, as of
    /// a future version, nobody can tell.
    pub(crate) fn verify(&self) -> io::Result<()> {
        match self.known() {
            None => Err(mismatch()),
            Some(kind) if is_kind(kind, self.fd.as_fd())? => Ok(()),
            Some(_) => Err(mismatch()),
        }
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

macro_rules! handles {
    ($($from:ty => $kind:ident;)*) => {
        $(impl TryFrom<$from> for Handle {
            type Error = io::Error;

            fn try_from(of: $from) -> io::Result<Handle> {
                Handle::new(Kind::$kind, of)
            }
        })*
    };
}

handles! {
    TcpStream => TcpSocket;
    TcpListener => TcpListener;
    UnixStream => UnixStream;
    UnixListener => UnixListener;
    File => File;
}

fn mismatch() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the descriptor is something else",
    )
}

/// Counts the bytes that are no part of the envelope's limit (AWP-HA-7).
pub(crate) fn heads(handles: &[Handle]) -> usize {
    handles.iter().map(|handle| handle.head().len()).sum()
}

/// How handles stand in an envelope.
pub(crate) fn entries(handles: &[Handle]) -> Value {
    if handles.is_empty() {
        return Value::Nil;
    }
    Value::Array(handles.iter().map(Handle::entry).collect())
}

const SO_TYPE: i32 = 3;
const SO_ACCEPTCONN: i32 = 30;
const SO_DOMAIN: i32 = 39;
const AF_UNIX: i32 = 1;
const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;
const STREAM: i32 = 1;
const DGRAM: i32 = 2;
const SEQPACKET: i32 = 5;

/// What the socket of a kind is made of: whether it is of the Internet, its type, whether it
/// listens.
pub(crate) fn socket_of(kind: Kind) -> Option<(bool, i32, bool)> {
    Some(match kind {
        Kind::TcpSocket => (true, STREAM, false),
        Kind::TcpListener => (true, STREAM, true),
        Kind::UdpSocket => (true, DGRAM, false),
        Kind::UnixStream => (false, STREAM, false),
        Kind::UnixListener => (false, STREAM, true),
        Kind::UnixDgram => (false, DGRAM, false),
        Kind::UnixSeqpacket => (false, SEQPACKET, false),
        _ => return None,
    })
}

fn is_kind(kind: Kind, fd: BorrowedFd<'_>) -> io::Result<bool> {
    if let Some((inet, r#type, listens)) = socket_of(kind) {
        let Ok(domain) = sys::option(fd, SO_DOMAIN) else {
            return Ok(false); // no socket at all
        };
        let right = if inet {
            [AF_INET, AF_INET6]
        } else {
            [AF_UNIX; 2]
        };
        return Ok(right.contains(&domain)
            && sys::option(fd, SO_TYPE)? == r#type
            && (sys::option(fd, SO_ACCEPTCONN)? == 1) == listens);
    }
    let (format, is_terminal) = sys::as_file(fd, |file| {
        io::Result::Ok((file.metadata()?.file_type(), file.is_terminal()))
    })?;
    Ok(match kind {
        Kind::PipeRead => format.is_fifo() && sys::access(fd)? != 1,
        Kind::PipeWrite => format.is_fifo() && sys::access(fd)? != 0,
        Kind::File => format.is_file(),
        Kind::Memfd => format.is_file() && sys::can_be_sealed(fd),
        Kind::Tty => is_terminal,
        Kind::Eventfd => link_of(fd)?.contains("eventfd"),
        Kind::Pidfd => link_of(fd)?.contains("pidfd"),
        _ => true,
    })
}

/// What /proc calls a descriptor that has no name in any directory.
fn link_of(fd: BorrowedFd<'_>) -> io::Result<String> {
    use std::os::fd::AsRawFd;
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    Ok(link.to_string_lossy().into_owned())
}
