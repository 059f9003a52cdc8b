//! Messages and answers on their way out: credit, order, fragments (sections 11 to 14).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::awp_v1::{capability, error as code, meta, worker_may_send, Abort, Kind, HEADER_SIZE};
use crate::error::Error;
use crate::frame::Header;
use crate::handle::{entries, heads, Handle};
use crate::incoming::{too_large, Why, LEAST_COST};
use crate::limits::Limit;
use crate::msgpack::{encode, Map, Value};
use crate::outbox::{Item, FRAGMENT};
use crate::session::{encode_envelope, Session, Wake, DEPTH_OF_CONTROL};

/// The answer to a call of ours.
#[derive(Debug)]
pub struct Reply {
    /// What it says.
    pub body: Value,
    /// The handles that came along; the body refers to them.
    pub handles: Vec<Handle>,
}

/// A TELL or CALL that waits for credit.
pub struct Leaving {
    pub kind: Kind,
    pub to: Address,
    pub payload: Vec<u8>,
    pub handles: Vec<Handle>,
    pub expires: Option<Instant>,
    /// Who waits for it; None: it is the question of a lane.
    pub ticket: Option<u64>,
}

/// The message that is leaving in fragments.
pub struct Sending {
    pub channel: u32,
    pub ticket: Option<u64>,
    cost: usize,
    handles: usize,
}

/// A call that waits for its answer.
pub struct Pending {
    pub ticket: Option<u64>,
    /// Of the question of a lane: to whom, and what was sent there before.
    pub lane: Option<(Address, usize)>,
}

/// How far a message is.
pub enum Progress {
    Waiting,
    /// It has its credit, and is on its way.
    Begun,
    Failed(Error),
    Answered(Result<Reply, Error>),
}

/// What a thread waits for.
pub struct Ticket {
    pub progress: Progress,
    wake: Wake,
}

impl Ticket {
    fn set(&mut self, progress: Progress) {
        self.progress = progress;
        self.wake.notify_all();
    }

    /// Fails it, if nothing better has become of it.
    pub fn fail(&mut self, error: &Error) {
        match self.progress {
            Progress::Waiting => self.set(Progress::Failed(error.clone())),
            Progress::Begun => self.set(Progress::Answered(Err(error.clone()))),
            Progress::Failed(_) | Progress::Answered(_) => {}
        }
    }
}

impl Leaving {
    /// The encoded envelope, as it would be if it left now.
    pub fn envelope(&self) -> Vec<u8> {
        let mut said = Value::Nil;
        if self.ticket.is_none() {
            said = Map::default().with(meta::message::ROOM, true).into();
        } else if let Some(expires) = self.expires {
            let left = expires.saturating_duration_since(Instant::now());
            said = Map::default().with(meta::message::TTL, in_ms(left)).into();
        }
        encode_envelope(&[self.to.wire(), Value::Nil, entries(&self.handles), said])
    }
}

fn in_ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl Session {
    /// Puts a message into the queue, or says why it can never be sent. Whoever gets the ticket
    /// gives it back by `redeem` or `withdraw`.
    pub fn submit(&mut self, mut message: Leaving, wake: &Wake) -> Result<u64, Error> {
        self.check(&message)?;
        let ticket = self.next_number();
        message.ticket = Some(ticket);
        let waits = Ticket {
            progress: Progress::Waiting,
            wake: Arc::clone(wake),
        };
        self.tickets.insert(ticket, waits);
        self.route(message);
        Ok(ticket)
    }

    fn check(&self, message: &Leaving) -> Result<(), Error> {
        if let Some(ended) = &self.ended {
            return Err(Error::lost(ended));
        }
        if !worker_may_send(self.state, message.kind) {
            return Err(Error::new(
                code::REFUSED,
                format!("not in state {:?}", self.state),
            ));
        }
        if message
            .kind
            .info()
            .capability
            .is_some_and(|needed| !self.has(needed))
        {
            return Err(Error::new(
                code::UNIMPLEMENTED,
                "the capability is not in force",
            ));
        }
        self.check_size(&message.envelope(), &message.payload, &message.handles)
    }

    /// Whether the primary takes a message or an answer of this size, with these handles.
    fn check_size(&self, envelope: &[u8], payload: &[u8], handles: &[Handle]) -> Result<(), Error> {
        let size = payload.len() + heads(handles);
        let large = self.is_large(envelope, payload);
        let mut most = self.peer[Limit::MaxMessage];
        if large && self.has(capability::FRAG) {
            most = most.min(self.peer[Limit::MaxPartial]);
        } else if large {
            most = most.min(self.peer[Limit::MaxFrame].saturating_sub(envelope.len()));
        }
        if size > most {
            return Err(too_large(size, most));
        }
        let said = envelope.len() - heads(handles);
        if said > self.peer[Limit::MaxMeta] || envelope.len() + 64 > self.peer[Limit::MaxFrame] {
            return Err(too_large(said, self.peer[Limit::MaxMeta]));
        }
        self.check_handles(handles)
    }

    /// Whether the primary takes such handles (AWP-HA-1).
    fn check_handles(&self, handles: &[Handle]) -> Result<(), Error> {
        if handles.is_empty() {
            return Ok(());
        }
        let unsupported = |text: &str| Err(Error::new(code::UNSUPPORTED_HANDLE, text));
        if !self.has(capability::HANDLE_SEND) {
            return unsupported("handle.send is not in force");
        }
        let most = self.peer[Limit::MaxFds].min(self.peer[Limit::FdsInFlight]);
        if handles.len() > most {
            return Err(too_large(handles.len(), most));
        }
        if handles
            .iter()
            .any(|handle| !self.takes.contains(&handle.kind))
        {
            return unsupported("the primary takes no handle of that kind");
        }
        if heads(handles) > 0 && !self.has(capability::HANDLE_HEAD) {
            return unsupported("handle.head is not in force");
        }
        encode(&mut Vec::new(), &entries(handles), DEPTH_OF_CONTROL)
            .map_err(|fault| Error::new(code::BAD_PAYLOAD, fault.to_string()))
    }

    /// Whether something goes in fragments.
    fn is_large(&self, envelope: &[u8], payload: &[u8]) -> bool {
        let whole = envelope.len() + payload.len();
        whole > self.peer[Limit::MaxFrame] || payload.len() > FRAGMENT && self.has(capability::FRAG)
    }

    /// Whether so many descriptors may be in flight (AWP-FD-8).
    pub fn has_room(&self, handles: usize) -> bool {
        handles == 0
            || !self.has(capability::HANDLE_ACK)
            || self.departed.in_flight + handles <= self.peer[Limit::FdsInFlight]
    }

    /// What a message costs, in one frame or in many (section 14).
    pub(crate) fn price(&self, size: usize) -> usize {
        (HEADER_SIZE + size)
            .max(LEAST_COST)
            .min(self.peer[Limit::Window])
    }

    /// Lets messages go for which there is credit (AWP-FC-1). While one leaves in fragments the
    /// next has to wait, and so messages keep their order, and their numbers (AWP-LG-2, AWP-MS-6).
    pub(crate) fn pump(&mut self) {
        while self.sending.is_none() {
            let Some(message) = self.queue.front() else {
                return;
            };
            let envelope = message.envelope();
            let cost = self.price(envelope.len() + message.payload.len());
            if self.spent + cost > self.peer[Limit::Window] || !self.has_room(message.handles.len())
            {
                return;
            }
            let message = self.queue.pop_front().expect("it was there");
            self.dispatch(message, envelope, cost);
        }
    }

    fn dispatch(&mut self, message: Leaving, mut envelope: Vec<u8>, cost: usize) {
        self.spent += cost;
        self.departed.in_flight += message.handles.len();
        let large = self.is_large(&envelope, &message.payload);
        let mut channel = 0;
        if message.kind == Kind::Call || large {
            channel = self.open();
        }
        if message.kind == Kind::Call {
            let lane = message
                .ticket
                .is_none()
                .then(|| self.asked_lane(&message.to));
            let pending = Pending {
                ticket: message.ticket,
                lane: lane.map(|before| (message.to, before)),
            };
            self.pending.insert(channel, pending);
        }
        let header = Header::new(message.kind, channel);
        let handles = message.handles.len();
        let mut item = if large {
            let mut item = Item::new(header, envelope);
            item.header.nfds = handles as u8;
            item.payload = message.payload;
            item
        } else {
            envelope.extend_from_slice(&message.payload);
            Item::new(header, envelope)
        };
        item.handles = Arc::new(message.handles);
        if large {
            self.sending = Some(Sending {
                channel,
                ticket: message.ticket,
                cost,
                handles,
            });
            self.out.large.push_back(item);
        } else {
            self.sent += 1;
            self.send(item);
        }
        self.progress(message.ticket, Progress::Begun);
    }

    fn progress(&mut self, ticket: Option<u64>, progress: Progress) {
        if let Some(ticket) = ticket.and_then(|ticket| self.tickets.get_mut(&ticket)) {
            ticket.set(progress);
        }
    }

    /// How far a message is, and nobody waits for it any more; None: it still waits, for credit or,
    /// if `to_end`, for its answer.
    pub fn redeem(&mut self, ticket: u64, to_end: bool) -> Option<Progress> {
        match self.tickets.get(&ticket)?.progress {
            Progress::Waiting => None,
            Progress::Begun if to_end => None,
            _ => self.tickets.remove(&ticket).map(|ticket| ticket.progress),
        }
    }

    /// Takes back a message that nobody wants sent any more, as far as that is possible: before it
    /// began, without a trace; in fragments, by CANCEL (AWP-LG-6); a call that is complete, by
    /// CANCEL too.
    pub fn withdraw(&mut self, ticket: u64) {
        self.tickets.remove(&ticket);
        let is_it = |message: &Leaving| message.ticket == Some(ticket);
        let remove = |queue: &mut VecDeque<Leaving>| {
            let place = queue.iter().position(is_it)?;
            queue.remove(place)
        };
        if remove(&mut self.queue).is_some() {
            return self.pump(); // it may have been in the way
        }
        if self.leave_lanes(remove) {
            return;
        }
        let found = self.sending.take();
        match found {
            Some(sending) if sending.ticket == Some(ticket) => self.abandon(sending),
            other => {
                self.sending = other;
                let is_call = |pending: &Pending| pending.ticket == Some(ticket);
                let open = self.pending.iter().find(|(_, pending)| is_call(pending));
                if let Some(channel) = open.map(|(channel, _)| *channel) {
                    self.say(Kind::Cancel, channel, &[], &Value::Nil);
                }
            }
        }
    }

    /// Gives up the message that is leaving in fragments.
    fn abandon(&mut self, sending: Sending) {
        let item = self
            .out
            .remove_large(sending.channel, [Kind::Tell, Kind::Call]);
        self.spent -= sending.cost;
        if item.is_some_and(|item| item.begun) {
            self.say(Kind::Cancel, sending.channel, &[], &Value::Nil);
        } else {
            self.departed.in_flight -= sending.handles;
            self.pending.remove(&sending.channel);
        }
        self.pump();
    }

    /// Takes back what messages of ours had cost (AWP-FC-6).
    pub(crate) fn take_credit(&mut self, n: u64) {
        if n > self.spent as u64 {
            let detail = format!("{n} bytes of credit, {} were spent", self.spent);
            return self.abort(Abort::FlowViolation, &detail, None);
        }
        self.spent -= n as usize;
        self.pump();
    }

    /// Ends a call, or the question for a port; one that is not open is none of them (AWP-CH-3).
    pub(crate) fn answered(&mut self, channel: u32, answer: Result<Reply, Error>) {
        if let (Some(port), Err(error)) = (self.listeners.get(&channel).copied(), &answer) {
            return self.end_port(port, error);
        }
        let Some(pending) = self.pending.remove(&channel) else {
            return;
        };
        self.drop_pieces(channel);
        if let Some((to, before)) = pending.lane {
            return self.passed_on(&to, before);
        }
        if self
            .sending
            .as_ref()
            .is_some_and(|sending| sending.channel == channel)
        {
            // Answered before it was complete: the rest would mean nothing.
            let sending = self.sending.take().expect("it is there");
            self.abandon(sending);
        }
        self.progress(pending.ticket, Progress::Answered(answer));
    }

    /// Fails the calls that nobody will answer any more (AWP-CA-6).
    pub(crate) fn fail_pending(&mut self) {
        let error = Error::new(code::CONNECTION_LOST, "the primary says nothing more");
        for (_, pending) in std::mem::take(&mut self.pending) {
            if let Some((to, before)) = pending.lane {
                self.passed_on(&to, before);
            }
            self.progress(pending.ticket, Progress::Answered(Err(error.clone())));
        }
    }

    // ---- answers ----

    /// Answers a call of the primary's (AWP-CA-1). Answers cost no credit.
    pub fn reply(
        &mut self,
        channel: u32,
        number: u64,
        payload: Vec<u8>,
        handles: Vec<Handle>,
    ) -> Result<(), Error> {
        if !self.is_open(channel, number) {
            return Err(Error::new(
                code::CONNECTION_LOST,
                "the call is not open any more",
            ));
        }
        let mut envelope = encode_envelope(&[entries(&handles)]);
        if let Err(error) = self.check_size(&envelope, &payload, &handles) {
            self.fail(channel, number, &error);
            return Err(error);
        }
        self.end_call(channel);
        self.departed.in_flight += handles.len();
        let large = self.is_large(&envelope, &payload);
        let header = Header::new(Kind::Reply, channel);
        if large {
            let mut item = Item::new(header, envelope);
            item.header.nfds = handles.len() as u8;
            item.payload = payload;
            item.handles = Arc::new(handles);
            self.out.large.push_back(item);
        } else {
            envelope.extend_from_slice(&payload);
            let mut item = Item::new(header, envelope);
            item.handles = Arc::new(handles);
            self.send(item);
        }
        Ok(())
    }

    /// Answers a call with an error.
    pub fn fail(&mut self, channel: u32, number: u64, error: &Error) {
        if !self.is_open(channel, number) {
            return;
        }
        self.end_call(channel);
        let mut said = Value::from(error.to_map());
        if encode(&mut Vec::new(), &said, DEPTH_OF_CONTROL).is_err() {
            said = Error {
                data: None,
                ..error.clone()
            }
            .to_map()
            .into();
        }
        self.say(Kind::Error, channel, &[], &said);
    }

    pub fn is_open(&self, channel: u32, number: u64) -> bool {
        self.calls
            .get(&channel)
            .is_some_and(|call| call.number == number)
    }

    fn end_call(&mut self, channel: u32) {
        if let Some(call) = self.calls.remove(&channel) {
            call.over.end(Why::Answered);
        }
        self.credit(); // what the call cost is known to be free before its answer is
    }

    /// Answers all that is open, for a worker that ends.
    pub fn fail_all(&mut self, error: &Error) {
        let open: Vec<_> = self
            .calls
            .iter()
            .map(|(channel, call)| (*channel, call.number))
            .collect();
        for (channel, number) in open {
            self.fail(channel, number, error);
        }
    }
}
