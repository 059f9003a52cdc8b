//! What the threads of a program and those of the worker share.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Ended, Error};
use crate::incoming::Incoming;
use crate::run::Config;
use crate::session::{Event, Session};

/// For how long credit and acknowledgements may gather.
const TICK: Duration = Duration::from_millis(20);

/// What all threads know.
pub struct Inner {
    pub session: Session,
    pub mailbox: VecDeque<Incoming>,
    /// STOP has come, for this reason.
    pub stopping: Option<u8>,
    /// When good-bye is said for a program that does not, and before which it should have.
    pub force_at: Option<Instant>,
    pub hard: Option<Instant>,
    /// When what has gathered is sent.
    pub flush_at: Option<Instant>,
    /// The highest mark that was written.
    pub written: u64,
    /// The connection has ended, and the last words are written.
    pub over: bool,
    /// The program has seen that: it is not to be ended by force.
    pub seen: bool,
    /// Log records that were dropped.
    pub unlogged: u64,
    /// `close` was called.
    pub closed: bool,
}

/// What belongs to one connection.
pub struct Shared {
    pub inner: Mutex<Inner>,
    pub config: Config,
    /// There may be something to write, or to wait for.
    pub writable: Condvar,
    /// There may be a message.
    pub mail: Condvar,
    /// There may be room for answers: something was written, or acknowledged.
    pub room: Condvar,
    /// A connection may be touched; a port has changed; the worker is to stop, or has ended.
    pub changed: Condvar,
}

/// The session, to be worked with; what that left to be done is seen to in the end.
pub struct Locked<'a> {
    shared: &'a Shared,
    guard: Option<MutexGuard<'a, Inner>>,
    /// What is for callbacks, which are called without the lock.
    told: Vec<Event>,
}

impl std::ops::Deref for Locked<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        self.guard.as_ref().expect("held until the end")
    }
}

impl std::ops::DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Inner {
        self.guard.as_mut().expect("held until the end")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.settle();
        self.guard = None;
        for event in self.told.drain(..) {
            match event {
                Event::Configured(map) => (self.shared.config.on_settings)(&map),
                Event::Undeliverable(number, to, error) => {
                    (self.shared.config.on_undeliverable)(number, &to, &error);
                }
                _ => {}
            }
        }
    }
}

impl<'a> Locked<'a> {
    /// Takes what the session told, and wakes whom it concerns.
    fn settle(&mut self) {
        let shared = self.shared;
        let inner = &mut **self.guard.as_mut().expect("held until the end");
        while let Some(event) = inner.session.events.pop_front() {
            match event {
                Event::Message(message) => {
                    inner.mailbox.push_back(message);
                    shared.mail.notify_one();
                }
                Event::Cancelled(channel) => inner.cancelled(channel),
                Event::Stop(within, reason) => {
                    inner.stop(within, reason);
                    shared.changed.notify_all();
                    shared.writable.notify_one(); // the deadline is the writer's to keep
                }
                Event::Ended => {
                    inner.mailbox.clear();
                    shared.mail.notify_all();
                    shared.room.notify_all();
                    shared.changed.notify_all();
                }
                Event::Welcomed | Event::Ports => shared.changed.notify_all(),
                other => self.told.push(other),
            }
        }
        if inner.stopping.is_some() {
            shared.mail.notify_all(); // there may be nothing more to come
        }
        if inner.flush_at.is_none() && inner.session.has_gathered() {
            inner.flush_at = Some(Instant::now() + TICK);
            shared.writable.notify_one();
        }
        if !inner.session.out.is_empty() || inner.session.ended.is_some() {
            shared.writable.notify_one();
        }
    }

    /// Waits until `ready` gives something, or a point in time.
    pub fn wait_for<T>(
        &mut self,
        condvar: &Condvar,
        until: Option<Instant>,
        mut ready: impl FnMut(&mut Inner) -> Option<T>,
    ) -> Option<T> {
        loop {
            if let Some(found) = ready(self) {
                return Some(found);
            }
            self.settle();
            let guard = self.guard.take().expect("held until the end");
            self.guard = Some(match until {
                None => condvar.wait(guard).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        self.guard = Some(guard);
                        return None;
                    }
                    condvar
                        .wait_timeout(guard, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            });
        }
    }
}

impl Inner {
    pub fn new(session: Session) -> Self {
        Inner {
            session,
            mailbox: VecDeque::new(),
            stopping: None,
            force_at: None,
            hard: None,
            flush_at: None,
            written: 0,
            over: false,
            seen: false,
            unlogged: 0,
            closed: false,
        }
    }

    /// A call that nobody has begun is answered at once when its caller gives up.
    fn cancelled(&mut self, channel: u32) {
        let is_it =
            |message: &Incoming| message.call.as_ref().is_some_and(|call| call.0 == channel);
        let Some(place) = self.mailbox.iter().position(is_it) else {
            return;
        };
        let message = self.mailbox.remove(place).expect("it was there");
        self.session.release(message.cost);
        let error = Error::new(crate::code::CANCELLED, "the caller gave up");
        self.session.fail(channel, message.number, &error);
    }

    /// STOP: what is begun has so long. A part of the time is for what comes when it is over.
    fn stop(&mut self, within: Option<Duration>, reason: u8) {
        self.stopping.get_or_insert(reason);
        let Some(within) = within else {
            return;
        };
        let now = Instant::now();
        let hard = now + (within - (within / 5).min(Duration::from_secs(1)));
        if self.hard.map_or(true, |other| hard < other) {
            self.hard = Some(hard);
            self.force_at = Some(now + (within - (within / 10).min(Duration::from_millis(500))));
        }
    }

    /// How the connection has ended, for a program that goes on without it.
    pub fn see_end(&mut self) -> Option<Ended> {
        self.seen = self.over;
        self.session.ended.clone().filter(|_| self.over)
    }

    pub fn is_to_end(&mut self) -> Option<()> {
        (self.stopping.is_some() || self.session.ended.is_some()).then_some(())
    }

    /// Answers all that is open, for a worker that ends. That a call was not begun may be said of
    /// those in the mailbox alone: somebody else may do what they ask for.
    pub fn abandon(&mut self) {
        self.session.shut = true;
        for message in std::mem::take(&mut self.mailbox) {
            self.session.release(message.cost);
            if let Some((channel, _)) = message.call {
                self.session
                    .fail(channel, message.number, &Error::stopping());
            }
        }
        let error = Error::new(
            crate::code::NOT_HANDLED,
            "the worker ends, and was not done",
        );
        self.session.fail_all(&error);
    }
}

impl Shared {
    pub fn lock(&self) -> Locked<'_> {
        let guard = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Locked {
            shared: self,
            guard: Some(guard),
            told: Vec::new(),
        }
    }
}
