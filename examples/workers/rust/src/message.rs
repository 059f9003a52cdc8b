//! Messages, as a program sees them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::awp_v1::error as code;
use crate::error::Error;
use crate::handle::Handle;
use crate::incoming::{Incoming, Over, Why};
use crate::msgpack::{encode, Map, Value};
use crate::worker::Worker;

/// What a message says, and the handles that go with it: `Value::Handle(0)` means the first.
#[derive(Debug)]
pub struct Body {
    /// What it says.
    pub value: Value,
    /// They are used up when it is sent.
    pub handles: Vec<Handle>,
}

impl<T: Into<Value>> From<T> for Body {
    fn from(value: T) -> Body {
        Body {
            value: value.into(),
            handles: Vec::new(),
        }
    }
}

impl From<Handle> for Body {
    fn from(handle: Handle) -> Body {
        Body {
            value: Value::Handle(0),
            handles: vec![handle],
        }
    }
}

impl Body {
    pub(crate) fn encoded(self, depth: usize) -> Result<(Vec<u8>, Vec<Handle>), Error> {
        let mut payload = Vec::new();
        encode(&mut payload, &self.value, depth)
            .map_err(|fault| Error::new(code::BAD_PAYLOAD, fault.to_string()))?;
        Ok((payload, self.handles))
    }
}

/// A message that arrived: somebody tells something, or calls and waits. A call that is dropped
/// without an answer is answered by `not_handled`; handles that nobody has taken out are closed.
pub struct Message {
    /// What it says.
    pub body: Value,
    /// The handles that came along; `Value::Handle(0)` in the body means the first.
    pub handles: Vec<Handle>,
    /// What the sender took this worker for: its name, its id, or nothing at all.
    pub to: Address,
    /// Whom a message goes to that is an answer.
    pub from: Address,
    /// The meta map, see section 11.
    pub meta: Map,
    worker: Worker,
    number: u64,
    call: Option<(u32, Arc<Over>)>,
    expires: Option<Instant>,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Waited {
    /// The time is over.
    Elapsed,
    /// The worker was told to stop.
    Stopping,
    /// Nobody waits for the answer any more.
    Over(Why),
}

impl Message {
    pub(crate) fn new(worker: Worker, message: Incoming) -> Self {
        Message {
            body: message.body,
            handles: message.handles,
            to: message.to,
            from: message.from,
            meta: message.meta,
            worker,
            number: message.number,
            call: message.call,
            expires: message.expires,
        }
    }

    /// Whether somebody waits for an answer.
    pub fn is_call(&self) -> bool {
        self.call.is_some()
    }

    /// Whether nobody waits for the answer any more, and why.
    pub fn is_over(&self) -> Option<Why> {
        match self.wait(Duration::ZERO) {
            Waited::Over(why) => Some(why),
            Waited::Elapsed | Waited::Stopping => None,
        }
    }

    /// Waits so long, unless there is no more sense in it: because the caller has given up, or its
    /// time is over, or the worker is to stop.
    pub fn wait(&self, time: Duration) -> Waited {
        let Some((_, over)) = &self.call else {
            std::thread::sleep(time);
            return Waited::Elapsed;
        };
        let left = self
            .expires
            .map(|end| end.saturating_duration_since(Instant::now()));
        match over.wait(left.map_or(time, |left| left.min(time))) {
            (Some(why), _) => Waited::Over(why),
            (None, true) => Waited::Stopping,
            (None, false) if left.is_some_and(|left| left <= time) => Waited::Over(Why::Expired),
            (None, false) => Waited::Elapsed,
        }
    }

    /// Answers the call; a message that is none wants no answer, and gets none. It waits while the
    /// primary does not read.
    pub fn reply(mut self, body: impl Into<Body>) -> Result<(), Error> {
        match self.call.take() {
            Some((channel, _)) => self.worker.reply(channel, self.number, body.into()),
            None => Ok(()),
        }
    }

    /// Answers the call with an error.
    pub fn fail(mut self, error: &Error) {
        self.fail_with(error);
    }

    fn fail_with(&mut self, error: &Error) {
        if let Some((channel, _)) = self.call.take() {
            self.worker
                .shared
                .lock()
                .session
                .fail(channel, self.number, error);
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.fail_with(&Error::new(code::NOT_HANDLED, "nobody answers this")); // AWP-CA-5
    }
}
