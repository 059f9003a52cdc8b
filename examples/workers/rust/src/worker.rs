//! The connection to the primary, for the threads of a program.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::awp_v1::{capability, flag, key, Kind};
use crate::error::{clip, Ended, Error};
use crate::frame::Header;
use crate::incoming::Why;
use crate::limits::Limits;
use crate::message::{Body, Message};
use crate::msgpack::{encode, Map, Value};
use crate::outbox::Item;
use crate::outgoing::{Leaving, Progress, Reply};
use crate::session::{encode_envelope, Session, Wake, Welcome, DEPTH_OF_CONTROL};
use crate::shared::{Inner, Shared};

/// For how long STOP is waited for, after LEAVE.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most bytes that may wait to be written before answers wait too.
const MOST_QUEUED: usize = 1 << 20;

/// The most large answers that may wait to be written.
const MOST_LARGE: usize = 4;

/// The connection to the primary. Clones are the same.
#[derive(Clone)]
pub struct Worker {
    pub(crate) shared: Arc<Shared>,
}

impl Worker {
    // ---- messages ----

    /// Takes the next message out of the mailbox, and waits for it. None: the worker was told to
    /// stop and all that came before is taken, or the connection has ended.
    pub fn receive(&self) -> Option<Message> {
        self.receive_until(None).flatten()
    }

    /// As `receive`, for so long: an outer None says that nothing came.
    pub fn receive_for(&self, time: Duration) -> Option<Option<Message>> {
        self.receive_until(Some(Instant::now() + time))
    }

    fn receive_until(&self, until: Option<Instant>) -> Option<Option<Message>> {
        let mut inner = self.shared.lock();
        inner.wait_for(&self.shared.mail, until, |inner| {
            while let Some(message) = inner.mailbox.pop_front() {
                inner.session.release(message.cost);
                if message.expires.is_some_and(|end| end <= Instant::now()) {
                    let (channel, over) = message.call.as_ref().expect("only calls expire");
                    over.end(Why::Expired);
                    let error =
                        Error::new(crate::code::DEADLINE_EXCEEDED, "nobody took it in time");
                    inner.session.fail(*channel, message.number, &error);
                    continue;
                }
                return Some(Some(Message::new(self.clone(), message)));
            }
            let is_over = inner.session.ended.is_some();
            let is_done = inner.stopping.is_some() && inner.session.is_complete();
            (is_over || is_done).then_some(None)
        })
    }

    /// Sends a message. It waits for credit, not for anybody to read: the mailbox at the other end
    /// may be full. Handles in the body are used up, whether it succeeds or not.
    pub fn tell(&self, to: &Address, body: impl Into<Body>) -> Result<(), Error> {
        let wake = Wake::default();
        let message = self.leaving(Kind::Tell, to, body.into())?;
        let mut inner = self.shared.lock();
        let ticket = inner.session.submit(message, &wake)?;
        match inner.wait_for(&wake, None, |inner| inner.session.redeem(ticket, false)) {
            Some(Progress::Failed(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Sends a message and waits for its answer.
    pub fn call(&self, to: &Address, body: impl Into<Body>) -> Result<Reply, Error> {
        self.call_until(to, body.into(), None)
    }

    /// As `call`, for so long; then the callee is told that nobody waits any more.
    pub fn call_for(
        &self,
        to: &Address,
        body: impl Into<Body>,
        time: Duration,
    ) -> Result<Reply, Error> {
        self.call_until(to, body.into(), Some(Instant::now() + time))
    }

    fn call_until(&self, to: &Address, body: Body, until: Option<Instant>) -> Result<Reply, Error> {
        let wake = Wake::default();
        let mut message = self.leaving(Kind::Call, to, body)?;
        message.expires = until;
        let mut inner = self.shared.lock();
        let ticket = inner.session.submit(message, &wake)?;
        match inner.wait_for(&wake, until, |inner| inner.session.redeem(ticket, true)) {
            Some(Progress::Answered(answer)) => answer,
            Some(Progress::Failed(error)) => Err(error),
            _ => {
                inner.session.withdraw(ticket);
                Err(Error::new(
                    crate::code::DEADLINE_EXCEEDED,
                    "no answer in time",
                ))
            }
        }
    }

    fn leaving(&self, kind: Kind, to: &Address, body: Body) -> Result<Leaving, Error> {
        let (payload, handles) = self.encoded(body)?;
        Ok(Leaving {
            kind,
            to: to.clone(),
            payload,
            handles,
            expires: None,
            ticket: None,
        })
    }

    /// Encodes a body as deep as the primary reads.
    fn encoded(&self, body: Body) -> Result<(Vec<u8>, Vec<crate::Handle>), Error> {
        let depth = self.shared.lock().session.peer[crate::Limit::MaxDepth];
        body.encoded(depth)
    }

    /// Answers a call; waits while the primary does not read.
    pub(crate) fn reply(&self, channel: u32, number: u64, body: Body) -> Result<(), Error> {
        let encoded = self.encoded(body);
        let mut inner = self.shared.lock();
        let (payload, handles) = match encoded {
            Ok(parts) => parts,
            Err(error) => {
                inner.session.fail(channel, number, &error);
                return Err(error);
            }
        };
        inner.wait_for(&self.shared.room, None, |inner| {
            let session = &inner.session;
            let is_full = session.out.size > MOST_QUEUED || session.out.large.len() > MOST_LARGE;
            let waits =
                session.is_open(channel, number) && (is_full || !session.has_room(handles.len()));
            (!waits).then_some(())
        });
        inner.session.reply(channel, number, payload, handles)
    }

    // ---- what the primary knows and says ----

    /// What the primary said of this worker, and what it has said since.
    pub fn welcome(&self) -> Welcome {
        self.shared.lock().session.is.clone()
    }

    /// Says that the worker is up: from now on it is sent messages and connections.
    pub fn ready(&self, info: Map) -> Result<(), Error> {
        self.say(Kind::Ready, with_info(info))
    }

    /// Says that the application calls itself ready.
    pub fn serving(&self, info: Map) -> Result<(), Error> {
        self.say(Kind::Serving, with_info(info))
    }

    /// Asks to be told to stop.
    pub fn leave(&self, reason: crate::Reason) -> Result<(), Error> {
        self.say(
            Kind::Leave,
            Map::default().with(key::leave::REASON, reason as u8),
        )
    }

    /// Changes what this worker can receive.
    pub fn announce(&self, limits: Limits) -> Result<(), Error> {
        let done = self.shared.lock().session.announce(limits);
        done.then_some(()).ok_or_else(Error::stopping)
    }

    fn say(&self, kind: Kind, map: Map) -> Result<(), Error> {
        let mut inner = self.shared.lock();
        if inner.session.say(kind, 0, &[], &map.into()) {
            return Ok(());
        }
        Err(inner
            .session
            .ended
            .as_ref()
            .map_or_else(Error::stopping, Error::lost))
    }

    /// Has the primary log something. Levels are 10 for debug, 20 info, 30 warning, 40 error, 50
    /// critical. Records below the level that the primary wants are dropped, and so are those for
    /// which there is no room, because the primary does not read.
    pub fn log(&self, level: u8, logger: &str, text: &str, attributes: Map) {
        let mut inner = self.shared.lock();
        if !inner.session.has(capability::LOG) || level < inner.session.is.log_level {
            return;
        }
        if inner.session.out.size > MOST_QUEUED {
            inner.unlogged += 1; // nobody waits for a log (AWP-LO-2)
            return;
        }
        let dropped = std::mem::take(&mut inner.unlogged);
        if dropped > 0 {
            let text = format!("{dropped} log records were dropped: the primary did not read");
            inner.session.log(30, "awp", &text, Map::default());
        }
        inner.session.log(level, logger, text, attributes);
    }

    /// Whether the primary has told the worker to stop.
    pub fn is_stopping(&self) -> bool {
        self.shared.lock().stopping.is_some()
    }

    /// Why it has, as a number of section 21: [`crate::Reason`] has those that are known.
    pub fn stop_reason(&self) -> Option<u8> {
        self.shared.lock().stopping
    }

    /// Waits until the worker is told to stop, or the connection has ended.
    pub fn wait_stopping(&self) {
        self.shared
            .lock()
            .wait_for(&self.shared.changed, None, Inner::is_to_end);
    }

    /// By when a worker that was told to stop should be done; then what is open is answered for it.
    pub fn deadline(&self) -> Option<Instant> {
        self.shared.lock().hard
    }

    /// How the connection has ended; None: it lives.
    pub fn ended(&self) -> Option<Ended> {
        self.shared.lock().session.ended.clone()
    }

    // ---- the end ----

    /// Says why the worker is about to end.
    pub(crate) fn explain(&self, error: &Error) {
        let _ = self.say(Kind::ExitInfo, error.to_map());
    }

    /// Asks to be told to stop and waits for it, so that no connection is handed over in vain.
    pub(crate) fn wait_to_leave(&self) {
        if !self.is_stopping() && self.leave(crate::Reason::Normal).is_ok() {
            let until = Some(Instant::now() + PATIENCE);
            self.shared
                .lock()
                .wait_for(&self.shared.changed, until, Inner::is_to_end);
        }
    }

    /// Answers what is open, says good-bye, and waits until the connection has ended.
    pub fn close(&self) -> Ended {
        let mut inner = self.shared.lock();
        if !std::mem::replace(&mut inner.closed, true) {
            inner.session.close_ports();
            inner.abandon();
            // What has been promised is sent first; when STOP's deadline comes, good-bye is said.
            inner.wait_for(&self.shared.room, None, |inner| {
                let session = &inner.session;
                (session.is_leaving() || session.out.is_empty()).then_some(())
            });
            if !inner.session.is_leaving() {
                inner.session.goodbye(0);
            }
        }
        let ended = inner.wait_for(&self.shared.changed, None, Inner::see_end);
        ended.expect("it was waited for")
    }
}

impl Session {
    /// Sends a log record. Attributes that are too many are left out.
    fn log(&mut self, level: u8, logger: &str, text: &str, attributes: Map) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map_or(0.0, |time| time.as_secs_f64());
        let mut body = encode_envelope(&[level.into(), now.into(), clip(logger).into()]);
        let mut record = vec![Value::from(clip(text))];
        let (mut encoded, attributes) = (Vec::new(), Value::Map(attributes));
        let fits = encode(&mut encoded, &attributes, DEPTH_OF_CONTROL - 1).is_ok();
        if fits && encoded.len() > 1 && encoded.len() < 1 << 14 {
            record.push(attributes);
        }
        let record = Value::Array(record);
        encode(&mut body, &record, DEPTH_OF_CONTROL).expect("it was tried");
        let mut header = Header::new(Kind::Log, 0);
        header.flags = flag::OPTIONAL;
        self.send(Item::new(header, body));
    }

    /// Whether no message is missing a fragment.
    fn is_complete(&self) -> bool {
        self.partial.is_empty()
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.state as u8 >= crate::awp_v1::State::Closing as u8
    }
}

fn with_info(info: Map) -> Map {
    let map = Map::default();
    if info.is_empty() {
        return map;
    }
    map.with(key::ready::INFO, info)
}
