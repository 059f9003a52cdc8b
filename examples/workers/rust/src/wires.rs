//! The two threads of a worker: one reads the connection, one writes it.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Ended;
use crate::outbox::Batch;
use crate::shared::{Inner, Shared};
use crate::sys;

/// How much is read at a time.
const READ: usize = 64 << 10;

/// How often a writer that cannot write looks whether there is still somebody to write to.
const LOOK: Duration = Duration::from_millis(100);

/// How long the last words may take that nobody reads.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long a program may go on whose connection has ended (AWP-ST-3).
const GRACE: Duration = Duration::from_secs(1);

/// Starts the threads. `exit` ends the process of a program that goes on without a primary.
pub fn start(shared: &Arc<Shared>, stream: UnixStream, exit: fn(i32)) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let stream = Arc::new(stream);
    let (reads, writes) = (Arc::clone(shared), Arc::clone(shared));
    let input = Arc::clone(&stream);
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    thread("awp reads").spawn(move || {
        let _guard = AbortOnPanic;
        read(&reads, &input);
    })?;
    thread("awp writes").spawn(move || {
        let _guard = AbortOnPanic;
        write(&writes, &stream);
        drop(stream);
        writes.lock().over = true;
        writes.changed.notify_all();
        watch(&writes, exit);
    })?;
    Ok(())
}

/// A worker that cannot speak with its primary any more is none.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// Takes in what comes until the connection ends.
fn read(shared: &Shared, stream: &UnixStream) {
    let mut bytes = vec![0; READ];
    loop {
        let got = sys::receive(stream.as_fd(), &mut bytes);
        let mut inner = shared.lock();
        match got {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(got) if got.size > 0 => {
                inner
                    .session
                    .receive(&bytes[..got.size], got.fds, got.truncated);
            }
            _ => {
                // An end that is not orderly is an end all the same (AWP-TR-6).
                inner.session.eof();
                inner.session.close(Ended::Lost); // unless it has ended in good order
            }
        }
        shared.room.notify_all(); // a handle may have been acknowledged
        if inner.session.ended.is_some() {
            return;
        }
    }
}

/// Sends what the session has to say, and closes the connection in the end.
fn write(shared: &Shared, stream: &UnixStream) {
    let (mut is_broken, mut is_half) = (false, false);
    loop {
        let mut inner = shared.lock();
        inner.on_time();
        let batch = inner.session.next_batch();
        let is_over = inner.session.ended.is_some();
        if !batch.bytes.is_empty() {
            drop(inner);
            // An end of file comes behind what can still be read, so nothing is said of failures.
            is_broken = is_broken || push(shared, stream, &batch).is_err();
            finish(shared, batch);
            continue;
        }
        if is_over {
            break;
        }
        if inner.session.is_leaving() && !is_half {
            is_half = true;
            drop(inner);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            continue;
        }
        let until = inner.next_time();
        let has_work = |inner: &mut Inner| {
            let is_new = inner.next_time() != until;
            let session = &inner.session;
            let has_ended = session.ended.is_some() || session.is_leaving() && !is_half;
            (is_new || has_ended || !session.out.is_empty()).then_some(())
        };
        inner.wait_for(&shared.writable, until, has_work);
    }
    let _ = stream.shutdown(std::net::Shutdown::Both); // the reader may be waiting for more
}

/// Writes a batch. The descriptors go with its first bytes, and never again (AWP-FD-2).
fn push(shared: &Shared, stream: &UnixStream, batch: &Batch) -> io::Result<()> {
    let mut fds: Vec<_> = batch.handles.iter().map(AsFd::as_fd).collect();
    let mut rest = &batch.bytes[..];
    let mut patience = None;
    while !rest.is_empty() {
        match sys::send(stream.as_fd(), rest, &fds) {
            Ok(n) => {
                rest = &rest[n..];
                fds.clear();
                continue;
            }
            Err(error) if sys::is_crowded(&error) => std::thread::sleep(LOOK / 10), // AWP-FD-8
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sys::wait([stream.as_fd()], true, Some(LOOK))?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if shared.lock().session.ended.is_some() {
            let until = *patience.get_or_insert(Instant::now() + LAST_WORDS);
            if Instant::now() > until {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
    Ok(())
}

fn finish(shared: &Shared, batch: Batch) {
    let mut inner = shared.lock();
    if let Some(mark) = batch.mark {
        inner.written = inner.written.max(mark);
        shared.changed.notify_all();
    }
    shared.room.notify_all();
    drop(batch); // and its handles, if nobody acknowledges them
}

/// Ends a process that goes on although its connection has ended.
fn watch(shared: &Shared, exit: fn(i32)) {
    let mut inner = shared.lock();
    let until = Some(Instant::now() + GRACE);
    let is_seen = inner.wait_for(&shared.writable, until, |inner| inner.seen.then_some(()));
    let status = inner.session.ended.as_ref().map_or(0, Ended::status);
    drop(inner);
    if is_seen.is_none() {
        exit(i32::from(status));
    }
}

impl Inner {
    /// Does what is due by now.
    fn on_time(&mut self) {
        let now = Instant::now();
        let is_due = |time: &mut Option<Instant>| match time {
            Some(due) if *due <= now => time.take().is_some(),
            _ => false,
        };
        if is_due(&mut self.flush_at) {
            self.session.flush();
        }
        if is_due(&mut self.force_at) && !self.session.is_leaving() {
            self.abandon();
            self.session.goodbye(0);
        }
    }

    /// When something is due next.
    fn next_time(&self) -> Option<Instant> {
        [self.flush_at, self.force_at].into_iter().flatten().min()
    }
}
