//! What std cannot do: descriptors beside bytes, and what a descriptor is. All `unsafe` of this
//! crate is here.
//!
//! Every value of the kernel's below is the same on the architectures that are named, and every
//! structure the same for glibc and musl; others would need a table of their own, and do not
//! compile.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_short, c_ulong, c_void};
use std::fs::File;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

#[cfg(not(all(
    target_os = "linux",
    target_endian = "little",
    any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "riscv64",
        target_arch = "loongarch64"
    )
)))]
compile_error!("sys.rs has the numbers of Linux on x86, ARM, RISC-V and LoongArch");

/// How many descriptors fit into one message of a Unix socket.
pub const MOST_FDS: usize = 253;

const SOL_SOCKET: c_int = 1;
const SCM_RIGHTS: c_int = 1;
const MSG_CTRUNC: c_int = 0x8;
const MSG_DONTWAIT: c_int = 0x40;
const MSG_NOSIGNAL: c_int = 0x4000;
const MSG_CMSG_CLOEXEC: c_int = 0x4000_0000;
const F_GETFD: c_int = 1;
const F_SETFD: c_int = 2;
const F_GETFL: c_int = 3;
const F_SETFL: c_int = 4;
const F_GET_SEALS: c_int = 1034;
const FD_CLOEXEC: c_int = 1;
const O_ACCMODE: c_int = 3;
const O_NONBLOCK: c_int = 0o4000;
const ETOOMANYREFS: i32 = 109;
const POLLIN: c_short = 1;
const POLLOUT: c_short = 4;

#[repr(C)]
struct IoVec {
    base: *mut c_void,
    len: usize,
}

#[repr(C)]
struct MsgHdr {
    name: *mut c_void,
    name_len: u32,
    iov: *mut IoVec,
    iov_len: usize,
    control: *mut c_void,
    control_len: usize,
    flags: c_int,
}

#[repr(C)]
struct PollFd {
    fd: c_int,
    events: c_short,
    revents: c_short,
}

extern "C" {
    fn recvmsg(fd: c_int, message: *mut MsgHdr, flags: c_int) -> isize;
    fn sendmsg(fd: c_int, message: *const MsgHdr, flags: c_int) -> isize;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn getsockopt(
        fd: c_int,
        level: c_int,
        name: c_int,
        value: *mut c_void,
        size: *mut u32,
    ) -> c_int;
    fn poll(fds: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
    fn _exit(status: c_int) -> !;
}

/// The head of a control message: its length, level and type.
const HEAD: usize = mem::size_of::<usize>() + 8;

const fn aligned(size: usize) -> usize {
    (size + mem::size_of::<usize>() - 1) & !(mem::size_of::<usize>() - 1)
}

/// Memory for control messages, aligned as the kernel wants it: room for all descriptors, and for
/// a message of another kind beside them.
struct Control([usize; Self::WORDS]);

impl Control {
    const WORDS: usize = (aligned(HEAD + 4 * MOST_FDS) + 128) / mem::size_of::<usize>();

    fn bytes(&self) -> &[u8] {
        // SAFETY: any bytes of an array of integers may be read.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), mem::size_of_val(&self.0)) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let size = mem::size_of_val(&self.0);
        // SAFETY: and written, as every value of them is an integer.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), size) }
    }
}

fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// What one `recvmsg` gave.
pub struct Received {
    pub size: usize,
    pub fds: Vec<OwnedFd>,
    pub truncated: bool,
}

/// Waits for bytes, and takes the descriptors beside them, close-on-exec from the start.
pub fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<Received> {
    let mut control = Control([0; Control::WORDS]);
    let mut part = IoVec {
        base: bytes.as_mut_ptr().cast(),
        len: bytes.len(),
    };
    let mut message = MsgHdr {
        name: ptr::null_mut(),
        name_len: 0,
        iov: &mut part,
        iov_len: 1,
        control: control.0.as_mut_ptr().cast(),
        control_len: mem::size_of_val(&control.0),
        flags: 0,
    };
    // SAFETY: all pointers are to memory of the sizes beside them, which outlives the call.
    let size = unsafe { recvmsg(socket.as_raw_fd(), &mut message, MSG_CMSG_CLOEXEC) };
    let size = usize::try_from(size).map_err(|_| io::Error::last_os_error())?;
    let used = message.control_len.min(mem::size_of_val(&control.0));
    Ok(Received {
        size,
        fds: rights(&control.bytes()[..used]),
        truncated: message.flags & MSG_CTRUNC != 0,
    })
}

/// The descriptors in all control messages.
fn rights(mut control: &[u8]) -> Vec<OwnedFd> {
    let mut found = Vec::new();
    while control.len() >= HEAD {
        let word = mem::size_of::<usize>();
        let size = usize::from_ne_bytes(control[..word].try_into().expect("a word"));
        let level = number(&control[word..]);
        let kind = number(&control[word + 4..]);
        if size < HEAD || size > control.len() {
            break;
        }
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS) {
            for fd in control[HEAD..size].chunks_exact(4) {
                // SAFETY: the kernel has just made it for us, and nobody else knows of it.
                found.push(unsafe { OwnedFd::from_raw_fd(number(fd)) });
            }
        }
        control = &control[aligned(size).min(control.len())..];
    }
    found
}

fn number(bytes: &[u8]) -> c_int {
    c_int::from_ne_bytes(bytes[..4].try_into().expect("four bytes"))
}

/// Sends what it can without waiting, the descriptors beside the first byte.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    assert!(fds.len() <= MOST_FDS, "more descriptors than fit");
    let mut control = Control([0; Control::WORDS]);
    let size = HEAD + 4 * fds.len();
    let head = control.bytes_mut();
    let word = mem::size_of::<usize>();
    head[..word].copy_from_slice(&size.to_ne_bytes());
    head[word..word + 4].copy_from_slice(&SOL_SOCKET.to_ne_bytes());
    head[word + 4..HEAD].copy_from_slice(&SCM_RIGHTS.to_ne_bytes());
    for (place, fd) in head[HEAD..].chunks_exact_mut(4).zip(fds) {
        place.copy_from_slice(&fd.as_raw_fd().to_ne_bytes());
    }
    let mut part = IoVec {
        base: bytes.as_ptr().cast_mut().cast(),
        len: bytes.len(),
    };
    let none = fds.is_empty();
    let message = MsgHdr {
        name: ptr::null_mut(),
        name_len: 0,
        iov: &mut part,
        iov_len: 1,
        control: if none {
            ptr::null_mut()
        } else {
            control.0.as_mut_ptr().cast()
        },
        control_len: if none { 0 } else { aligned(size) },
        flags: 0,
    };
    // SAFETY: as above; the kernel only reads.
    let sent = unsafe { sendmsg(socket.as_raw_fd(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Whether too many descriptors of this user are in flight just now (AWP-FD-8).
pub fn is_crowded(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ETOOMANYREFS)
}

/// Waits until one of them can be read (or, for `to_write`, written), or has ended, and says which.
pub fn wait<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    to_write: bool,
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    let events = if to_write { POLLOUT } else { POLLIN };
    let mut entries = fds.map(|fd| PollFd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    });
    let timeout = timeout.map_or(-1, |time| {
        c_int::try_from(time.as_millis() + 1).unwrap_or(c_int::MAX) // rather longer than not at all
    });
    // SAFETY: the array has as many entries as it says.
    let result = unsafe { poll(entries.as_mut_ptr(), N as c_ulong, timeout) };
    match checked(result) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        Err(_) => Ok([false; N]),
        Ok(_) => Ok(entries.map(|entry| entry.revents != 0)),
    }
}

/// Takes a descriptor over that this process inherited, and marks it close-on-exec; None: it is not
/// open.
pub fn inherited(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: asks about a number, and changes a flag of what it means.
    if unsafe { fcntl(fd, F_GETFD) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 } {
        return None;
    }
    // SAFETY: it is open, and its number came with the promise that it is for us alone.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An option of a socket that is a number.
pub fn option(socket: BorrowedFd<'_>, name: c_int) -> io::Result<c_int> {
    let (mut value, mut size) = (0 as c_int, mem::size_of::<c_int>() as u32);
    let place: *mut c_int = &mut value;
    // SAFETY: there is room for as many bytes as it says.
    let result = unsafe {
        getsockopt(
            socket.as_raw_fd(),
            SOL_SOCKET,
            name,
            place.cast(),
            &mut size,
        )
    };
    checked(result).map(|_| value)
}

/// Whether it was opened for reading (0), writing (1) or both (2).
pub fn access(fd: BorrowedFd<'_>) -> io::Result<c_int> {
    // SAFETY: asks about an open descriptor.
    checked(unsafe { fcntl(fd.as_raw_fd(), F_GETFL) }).map(|flags| flags & O_ACCMODE)
}

/// Sets the blocking mode, which all have that hold a duplicate.
pub fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    // SAFETY: asks about an open descriptor.
    let flags = checked(unsafe { fcntl(fd.as_raw_fd(), F_GETFL) })?;
    let wanted = if on {
        flags | O_NONBLOCK
    } else {
        flags & !O_NONBLOCK
    };
    if wanted != flags {
        // SAFETY: the same; the third argument is an integer, as F_SETFL wants it.
        checked(unsafe { fcntl(fd.as_raw_fd(), F_SETFL, wanted) })?;
    }
    Ok(())
}

/// Lends a descriptor as a file, whatever it is: std has what `fstat` says of files alone.
pub fn as_file<T>(fd: BorrowedFd<'_>, look: impl FnOnce(&File) -> T) -> T {
    // SAFETY: it is open for as long as it is borrowed, and this file never closes it.
    look(&ManuallyDrop::new(unsafe {
        File::from_raw_fd(fd.as_raw_fd())
    }))
}

/// Whether it is a file in memory.
pub fn can_be_sealed(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: asks about an open descriptor.
    unsafe { fcntl(fd.as_raw_fd(), F_GET_SEALS) >= 0 }
}

/// Ends the process at once, whatever its threads are doing.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: it does not return.
    unsafe { _exit(status) }
}

/// Descriptors that std cannot make, for tests.
#[cfg(test)]
pub mod made {
    use super::{c_int, checked};
    use std::ffi::{c_char, c_uint};
    use std::os::fd::{FromRawFd, OwnedFd};

    extern "C" {
        fn pipe2(fds: *mut c_int, flags: c_int) -> c_int;
        fn memfd_create(name: *const c_char, flags: c_uint) -> c_int;
    }

    const O_CLOEXEC: c_int = 0o2_000_000;
    const MFD_CLOEXEC: c_uint = 1;

    /// The end to read from, and the other.
    pub fn pipe() -> (OwnedFd, OwnedFd) {
        let mut fds = [0; 2];
        // SAFETY: there is room for two, and they are nobody else's.
        unsafe {
            checked(pipe2(fds.as_mut_ptr(), O_CLOEXEC)).expect("a pipe");
            (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]))
        }
    }

    pub fn memory_file() -> OwnedFd {
        // SAFETY: the name ends with a zero, and the descriptor is nobody else's.
        unsafe {
            let fd = checked(memfd_create(b"test\0".as_ptr().cast(), MFD_CLOEXEC));
            OwnedFd::from_raw_fd(fd.expect("a file"))
        }
    }
}
