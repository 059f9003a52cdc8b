//! Messages and answers as they arrive, whole or in pieces (sections 11 to 14).

use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::awp_v1::HEADER_SIZE;
use crate::awp_v1::{
    capability, envelope, error as code, flag, meta, Abort, Handle as Kinds, Kind,
};
use crate::control::{element, list, map, milliseconds};
use crate::error::Error;
use crate::handle::{heads, Handle};
use crate::limits::Limit;
use crate::msgpack::{decode, Map, Value};
use crate::outgoing::Reply;
use crate::receive::Frame;
use crate::session::{Event, Session};

/// The least that a message costs.
pub const LEAST_COST: usize = 256;

/// What of an envelope does not count against `max_partial`.
const FREE_ENVELOPE: usize = 256;

/// A message that is complete and for somebody here.
pub struct Incoming {
    pub to: Address,
    pub from: Address,
    pub meta: Map,
    pub body: Value,
    pub handles: Vec<Handle>,
    /// Of a CALL: its channel, and how its caller is doing.
    pub call: Option<(u32, Arc<Over>)>,
    pub expires: Option<Instant>,
    pub number: u64,
    pub cost: usize,
}

/// Why nobody waits for an answer any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// The caller has given up.
    Cancelled,
    /// The time that the caller gave is over.
    Expired,
    /// The connection has ended.
    Lost,
    /// The call was answered.
    Answered,
}

/// What whoever works on a call may wait for.
#[derive(Default)]
pub struct Over {
    state: Mutex<(Option<Why>, bool)>,
    changed: Condvar,
}

impl Over {
    pub fn end(&self, why: Why) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.get_or_insert(why);
        self.changed.notify_all();
    }

    pub fn stop(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.changed.notify_all();
    }

    /// Waits so long, unless the call is over before, or the worker is to stop: (why, stopping).
    pub fn wait(&self, time: Duration) -> (Option<Why>, bool) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |state: &mut (Option<Why>, bool)| *state == (None, false);
        let waited = self.changed.wait_timeout_while(state, time, waits);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A call of the primary's that is not answered.
pub struct OpenCall {
    pub number: u64,
    pub over: Arc<Over>,
}

/// A TELL, CALL or REPLY of which not everything has been looked at. What is wrong with it is
/// remembered, and answered when it is complete: only then it has a number (AWP-MS-6).
pub struct Arriving {
    kind: Kind,
    channel: u32,
    /// What its cost is bounded by.
    window: usize,
    envelope: usize,
    to: Address,
    from: Address,
    meta: Map,
    handles: Vec<Handle>,
    payload: Vec<u8>,
    size: usize,
    wrong: Option<Error>,
}

impl Arriving {
    /// What counts against `max_partial` (section 13).
    fn held(&self) -> usize {
        self.payload.len() + self.envelope.saturating_sub(FREE_ENVELOPE)
    }

    fn spoil(&mut self, error: Error) {
        self.wrong.get_or_insert(error);
        self.handles = Vec::new();
        self.payload = Vec::new();
    }
}

impl Session {
    /// Takes a TELL, CALL or REPLY, or a fragment of one.
    pub(crate) fn take_message(&mut self, mut frame: Frame<'_>) {
        let channel = frame.header.channel;
        let kind = frame.kind;
        let in_pieces = frame.has(flag::FRAG);
        let begun = if channel == 0 {
            None
        } else {
            self.partial.remove(&channel)
        };
        let mut message = match begun {
            Some(message) => {
                if message.kind != kind || !in_pieces || frame.header.nfds > 0 {
                    let detail = "not the next fragment of the message on its channel";
                    return self.abort(Abort::ProtocolError, detail, Some(frame.raw));
                }
                self.kept -= message.held();
                message
            }
            None if kind == Kind::Reply && !self.pending.contains_key(&channel) => return,
            None if kind != Kind::Reply && channel != 0 && !self.is_free(channel) => {
                let detail = format!("channel {channel} is not free for a {kind:?}");
                return self.abort(Abort::ProtocolError, &detail, Some(frame.raw));
            }
            None if frame.has(flag::MORE) && self.partial.len() >= self.most_unfinished() => {
                let detail = "too many messages are not complete"; // AWP-LG-8
                return self.abort(Abort::LimitExceeded, detail, Some(frame.raw));
            }
            None => self.begin(&mut frame),
        };
        if !in_pieces {
            message.size = frame.payload.len();
            let most = self.local[Limit::MaxMessage];
            if message.wrong.is_none() && message.size + heads(&message.handles) > most {
                message.spoil(too_large(message.size, most));
            }
            return self.complete(message, frame.payload);
        }
        self.add_piece(&mut message, &frame);
        if frame.has(flag::MORE) {
            self.kept += message.held();
            self.partial.insert(channel, message);
            return;
        }
        let payload = std::mem::take(&mut message.payload);
        self.complete(message, &payload);
    }

    /// Whether the primary may open that channel (AWP-CH-2).
    fn is_free(&self, channel: u32) -> bool {
        channel % 2 == 0 && !self.calls.contains_key(&channel)
    }

    fn most_unfinished(&self) -> usize {
        self.local[Limit::MaxPartial] / 256
    }

    /// Looks at the first frame of a message: what its envelope says, and the state (AWP-LG-5).
    fn begin(&mut self, frame: &mut Frame<'_>) -> Arriving {
        let mut message = Arriving {
            kind: frame.kind,
            channel: frame.header.channel,
            window: self.local[Limit::Window],
            envelope: frame.envelope.len(),
            to: Address::default(),
            from: Address::default(),
            meta: Map::default(),
            handles: Vec::new(),
            payload: Vec::new(),
            size: 0,
            wrong: None,
        };
        let fds = std::mem::take(&mut frame.fds);
        if let Err(wrong) = self.read_envelope(&mut message, frame, fds) {
            message.spoil(wrong);
        } else if frame.refuse {
            message.spoil(Error::new(code::REFUSED, "the worker is stopping"));
        } else if frame.kind == Kind::Call && self.calls.len() >= self.local[Limit::MaxCalls] {
            message.spoil(Error::new(
                code::REFUSED,
                "too many calls are not answered yet",
            ));
        }
        message
    }

    /// Takes address, handles and meta map out of the envelope.
    fn read_envelope(
        &self,
        message: &mut Arriving,
        frame: &Frame<'_>,
        fds: Vec<OwnedFd>,
    ) -> Result<(), Error> {
        let broken = || Error::new(code::BAD_PAYLOAD, "a broken envelope");
        if frame.broken {
            return Err(Error::new(code::BAD_PAYLOAD, "a broken body"));
        }
        let mut parts = self.envelope_of(frame).ok_or_else(broken)?;
        let mut place = envelope::reply::HANDLES;
        if frame.kind != Kind::Reply {
            place = envelope::tell::HANDLES;
            let mut address = |place| Address::from_wire(&element(&mut parts, place));
            message.to = address(envelope::tell::TO).ok_or_else(broken)?;
            message.from = address(envelope::tell::FROM).ok_or_else(broken)?;
            if message.from.name.is_some() {
                return Err(broken());
            }
        }
        let entries = list(element(&mut parts, place)).ok_or_else(broken)?;
        message.meta = map(Some(element(&mut parts, place + 1))).ok_or_else(broken)?;
        if entries.len() != usize::from(frame.header.nfds) || !is_good(&message.meta, entries.len())
        {
            return Err(broken());
        }
        let name = message
            .meta
            .get(meta::message::NAME)
            .and_then(Value::as_str);
        message.from.name = name.map(str::to_owned);
        message.handles = self.read_handles(entries, fds, frame.lost)?;
        let size = message.envelope - heads(&message.handles);
        let most = self.local[Limit::MaxMeta];
        if size > most {
            return Err(too_large(size, most));
        }
        Ok(())
    }

    /// Pairs the entries of an envelope with the descriptors of the frame.
    pub(crate) fn read_handles(
        &self,
        entries: Vec<Value>,
        fds: Vec<OwnedFd>,
        lost: bool,
    ) -> Result<Vec<Handle>, Error> {
        let broken = || Error::new(code::BAD_PAYLOAD, "a broken description of a handle");
        let described: Vec<_> = entries
            .into_iter()
            .map(|entry| self.read_entry(entry))
            .collect::<Option<_>>()
            .ok_or_else(broken)?;
        if lost {
            return Err(Error::new(
                code::HANDLE_LOST,
                "the descriptors did not arrive",
            ));
        }
        let pairs = described.into_iter().zip(fds);
        Ok(pairs
            .map(|((kind, meta), fd)| Handle { kind, meta, fd })
            .collect())
    }

    /// Reads `[kind, meta]`.
    pub(crate) fn read_entry(&self, entry: Value) -> Option<(u8, Map)> {
        let Value::Array(mut pair) = entry else {
            return None;
        };
        let kind = u8::try_from(element(&mut pair, 0).as_u64()?).ok()?;
        let meta = map(Some(element(&mut pair, 1)))?;
        let is_stream = [Kinds::TcpSocket as u8, Kinds::UnixStream as u8].contains(&kind);
        match meta.get(meta::handle::HEAD) {
            None | Some(Value::Nil) => Some((kind, meta)),
            Some(Value::Bin(_)) if is_stream && self.has(capability::HANDLE_HEAD) => {
                Some((kind, meta))
            }
            _ => None,
        }
    }

    /// Adds a fragment, and turns the message down once it has grown too large (AWP-LG-3).
    fn add_piece(&mut self, message: &mut Arriving, frame: &Frame<'_>) {
        let piece = match decode(frame.payload, 0, None) {
            Ok(Value::Bin(piece)) if !frame.broken => piece,
            _ => {
                let error = Error::new(code::BAD_PAYLOAD, "a fragment that is not a bin");
                return message.spoil(error);
            }
        };
        message.size += piece.len();
        let (most, most_kept) = (self.local[Limit::MaxMessage], self.local[Limit::MaxPartial]);
        if message.wrong.is_some() {
            return;
        }
        if message.size + heads(&message.handles) > most {
            message.spoil(too_large(message.size, most));
        } else if self.kept + message.held() + piece.len() > most_kept {
            message.spoil(too_large(message.size, most_kept));
        } else {
            message.payload.extend_from_slice(&piece);
        }
    }

    /// Decodes a message that is there as a whole, and gives it to whom it is for.
    fn complete(&mut self, mut message: Arriving, payload: &[u8]) {
        let mut body = Value::Nil;
        if message.wrong.is_none() {
            let depth = self.local[Limit::MaxDepth];
            match decode(payload, depth, Some(message.handles.len())) {
                Ok(value) => body = value,
                Err(fault) => message.spoil(Error::new(code::BAD_PAYLOAD, fault.to_string())),
            }
        }
        if let Some(Err(error)) = message
            .handles
            .iter()
            .map(Handle::verify)
            .find(Result::is_err)
        {
            message.spoil(Error::new(code::UNSUPPORTED_HANDLE, error.to_string()));
        }
        if message.kind == Kind::Reply {
            let answer = match message.wrong {
                Some(error) => Err(error),
                None => Ok(Reply {
                    body,
                    handles: message.handles,
                }),
            };
            return self.answered(message.channel, answer);
        }
        self.received += 1;
        let size = HEADER_SIZE + message.envelope + message.size;
        let cost = size.max(LEAST_COST).min(message.window);
        let window = self.local[Limit::Window];
        if self.taken + cost > window {
            let detail = format!(
                "a message of {cost} bytes, with {} of {window} taken",
                self.taken
            );
            return self.abort(Abort::FlowViolation, &detail, None);
        }
        self.taken += cost;
        match message.wrong.take().or_else(|| self.refusal(&message.to)) {
            Some(error) => self.bounce(&message, cost, &error),
            None => self.accept(message, body, cost),
        }
    }

    /// Why a message has no mailbox to go to.
    fn refusal(&self, to: &Address) -> Option<Error> {
        let is_me = match &to.name {
            Some(name) => self.is.name.as_ref() == Some(name),
            None => to.id == 0 || to.id == u64::from(self.is.id) << 32,
        };
        if !is_me {
            return Some(Error::new(
                code::NO_SUCH_ACTOR,
                "nobody here has that address",
            ));
        }
        self.shut.then(Error::stopping)
    }

    fn accept(&mut self, message: Arriving, body: Value, cost: usize) {
        let number = self.received;
        let (mut call, mut expires) = (None, None);
        if message.kind == Kind::Call {
            let over = Arc::new(Over::default());
            if self.is_draining() {
                over.stop();
            }
            let ttl = message
                .meta
                .get(meta::message::TTL)
                .and_then(Value::as_number);
            expires = ttl.map(|ms| Instant::now() + milliseconds(ms));
            let open = OpenCall {
                number,
                over: Arc::clone(&over),
            };
            self.calls.insert(message.channel, open);
            call = Some((message.channel, over));
        }
        self.events.push_back(Event::Message(Incoming {
            to: message.to,
            from: message.from,
            meta: message.meta,
            body,
            handles: message.handles,
            call,
            expires,
            number,
            cost,
        }));
        // For a primary that sends faster than the clock ticks (AWP-MS-3).
        if self.received - self.acked >= 500 {
            self.acknowledge_messages();
        }
    }

    /// Answers a message that reaches no mailbox (AWP-MS-5).
    fn bounce(&mut self, message: &Arriving, cost: usize, error: &Error) {
        if message.kind == Kind::Call {
            self.answer(Kind::Error, message.channel, &[], &error.to_map().into());
        } else {
            let parts = [self.received.into(), message.to.wire()];
            self.answer(Kind::Undeliverable, 0, &parts, &error.to_map().into());
        }
        self.release(cost);
    }

    /// Ends a message that is not complete (AWP-LG-6), or asks a call to end.
    pub(crate) fn take_cancel(&mut self, channel: u32) {
        let is_message = |message: &Arriving| message.kind != Kind::Reply;
        if self.partial.get(&channel).is_some_and(is_message) {
            let message = self.partial.remove(&channel).expect("it was there");
            self.kept -= message.held();
            if message.kind == Kind::Call {
                let error = Error::new(code::CANCELLED, "");
                self.answer(Kind::Error, channel, &[], &error.to_map().into());
            }
        } else if let Some(call) = self.calls.get(&channel) {
            call.over.end(Why::Cancelled);
            self.events.push_back(Event::Cancelled(channel));
        }
    }

    /// Forgets the pieces of an answer that nobody waits for.
    pub(crate) fn drop_pieces(&mut self, channel: u32) {
        if let Some(message) = self.partial.remove(&channel) {
            self.kept -= message.held();
        }
    }
}

/// Whether the keys of a meta map are what they should be.
fn is_good(said: &Map, handles: usize) -> bool {
    let is_index = |value: &Value| value.as_u64().is_some_and(|index| index < handles as u64);
    said.0
        .iter()
        .all(|(key, value)| match (key.as_str(), value) {
            (_, Value::Nil) => true,
            (meta::message::TTL, value) => value.as_number().is_some(),
            (meta::message::HANDLE, value) => is_index(value),
            (meta::message::NAME, value) => value.as_str().is_some(),
            _ => true,
        })
}

pub fn too_large(size: usize, limit: usize) -> Error {
    Error {
        data: Some(
            Map::default()
                .with("size", size)
                .with("limit", limit)
                .into(),
        ),
        ..Error::new(
            code::TOO_LARGE,
            format!("{size} bytes, {limit} are allowed"),
        )
    }
}
