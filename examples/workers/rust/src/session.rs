//! The protocol without the connection: bytes and descriptors go in by `receive`, frames come out
//! of the outbox, and what arrived is told as events. It knows no thread, and of clocks only the
//! one that `ttl` is counted by. So the vectors of the protocol are played to it as they are.
//!
//! The files divide it: frames arrive in `receive`, the maps of control frames in `control`,
//! messages in `incoming`; messages leave by `outgoing` and `lanes`; ports are in `ports`,
//! descriptors in `groups`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::address::Address;
use crate::awp_v1::{
    capability, key, worker_at_eof, worker_may_send, worker_sent, Abort, Action, Kind, State,
    MAJOR, MINOR,
};
use crate::error::{clip, Ended, Error};
use crate::frame::Header;
use crate::groups::{Departures, Groups};
use crate::handle::KINDS;
use crate::incoming::{Arriving, Incoming, OpenCall};
use crate::lanes::Lane;
use crate::limits::{Limit, Limits};
use crate::msgpack::{encode, Map, Value};
use crate::outbox::{Batch, Item, Outbox};
use crate::outgoing::{Leaving, Pending, Sending, Ticket};
use crate::ports::Port;

/// The capabilities of level 2, which are offered.
pub const OFFERED: [&str; 11] = [
    capability::MSG,
    capability::CALL,
    capability::FRAG,
    capability::ACK,
    capability::LOG,
    capability::HANDLE,
    capability::HANDLE_SEND,
    capability::HANDLE_ACK,
    capability::HANDLE_HEAD,
    capability::LISTEN_HANDOFF,
    capability::LISTEN_SHARED,
];

/// Deep enough for every frame but messages.
pub const DEPTH_OF_CONTROL: usize = 64;

/// The most bytes of answers that are kept for a primary that does not read them (AWP-LM-2).
const MOST_UNREAD: usize = 8 << 20;

/// What the primary said of this worker, and what it has said since.
#[derive(Clone, Debug, Default)]
pub struct Welcome {
    /// The worker's id, 1 or more.
    pub id: u32,
    /// The worker's name, if it has one.
    pub name: Option<String>,
    /// New for every start of a primary.
    pub cluster: Vec<u8>,
    /// Time between two PINGs; zero: there are none.
    pub heartbeat: Duration,
    /// What the primary's user wants this worker to know.
    pub config: Map,
    /// The lowest level that is worth a log record.
    pub log_level: u8,
}

/// What arrived.
pub enum Event {
    Welcomed,
    Configured(Map),
    Stop(Option<Duration>, u8),
    Message(Incoming),
    /// The caller of the call on this channel has given up.
    Cancelled(u32),
    Undeliverable(u64, Address, Error),
    /// Something has changed with a port, or its connections.
    Ports,
    Ended,
}

pub struct Session {
    pub state: State,
    /// Offered until WELCOME comes, in force from then on.
    pub caps: Vec<&'static str>,
    pub local: Limits,
    pub peer: Limits,
    /// Kinds of handles that the primary takes.
    pub takes: Vec<u8>,
    pub is: Welcome,
    pub events: VecDeque<Event>,
    /// The mailbox takes nothing any more.
    pub shut: bool,

    pub(crate) buffer: Vec<u8>,
    pub(crate) arrived: Groups,
    pub(crate) unknown: u32,
    pub out: Outbox,
    /// The last channel that was opened here.
    pub(crate) last_id: u32,
    /// A number for what has to be found again: tickets and ports.
    pub(crate) counter: u64,
    pub ports: HashMap<u64, Port>,
    pub(crate) listeners: HashMap<u32, u64>,

    pub(crate) calls: HashMap<u32, OpenCall>,
    pub(crate) partial: HashMap<u32, Arriving>,
    /// Bytes in `partial`.
    pub(crate) kept: usize,
    /// Messages that are complete, and those of them that an ACK went out for.
    pub received: u64,
    pub(crate) acked: u64,
    /// Window bytes that the primary has not got back, and those of them that it may have.
    pub(crate) taken: usize,
    pub(crate) due: usize,

    pub(crate) tickets: HashMap<u64, Ticket>,
    pub pending: HashMap<u32, Pending>,
    pub(crate) lanes: HashMap<Address, Lane>,
    /// Messages that wait for credit, and the one that is leaving in fragments.
    pub(crate) queue: VecDeque<Leaving>,
    pub(crate) sending: Option<Sending>,
    pub(crate) sent: u64,
    /// Window bytes that have not come back.
    pub(crate) spent: usize,
    /// SETTINGS that are not acknowledged.
    pub(crate) asked: VecDeque<Limits>,
    pub departed: Departures,
    /// Set in CLOSED.
    pub ended: Option<Ended>,
}

impl Session {
    pub fn new(limits: Limits) -> Self {
        Session {
            state: State::Handshake,
            caps: OFFERED.to_vec(),
            local: limits.bounded(),
            peer: Limits::default(),
            takes: Vec::new(),
            is: Welcome::default(),
            events: VecDeque::new(),
            shut: false,
            buffer: Vec::new(),
            arrived: Groups::default(),
            unknown: 0,
            out: Outbox::default(),
            last_id: u32::MAX, // so that the first is 1
            counter: 0,
            ports: HashMap::new(),
            listeners: HashMap::new(),
            calls: HashMap::new(),
            partial: HashMap::new(),
            kept: 0,
            received: 0,
            acked: 0,
            taken: 0,
            due: 0,
            tickets: HashMap::new(),
            pending: HashMap::new(),
            lanes: HashMap::new(),
            queue: VecDeque::new(),
            sending: None,
            sent: 0,
            spent: 0,
            asked: VecDeque::new(),
            departed: Departures::default(),
            ended: None,
        }
    }

    pub fn has(&self, capability: &str) -> bool {
        self.caps.contains(&capability)
    }

    pub fn is_over(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether it may still be given connections, and asked for more.
    pub fn is_active(&self) -> bool {
        self.state == State::Active
    }

    pub fn is_draining(&self) -> bool {
        self.state as u8 >= State::Stopping as u8
    }

    pub(crate) fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    // ---- sending ----

    /// Queues a frame, unless the state forbids it (section 18): then it is dropped.
    pub(crate) fn send(&mut self, mut item: Item) -> bool {
        let kind = Kind::from_code(item.header.kind).expect("only known kinds are sent");
        if !worker_may_send(self.state, kind) {
            return false;
        }
        item.header.nfds = item.handles.len() as u8;
        // CANCEL is urgent, but must not overtake what it takes back (AWP-MS-4).
        self.out
            .push(item, kind.info().urgent && kind != Kind::Cancel);
        self.state = worker_sent(self.state, kind);
        true
    }

    /// Queues a frame whose body cannot fail to encode.
    pub fn say(&mut self, kind: Kind, channel: u32, envelope: &[Value], payload: &Value) -> bool {
        let body = encode_body(envelope, payload);
        self.send(Item::new(Header::new(kind, channel), body))
    }

    /// As `say`, for frames that the primary can provoke at will: what it does not read of them is
    /// bounded (AWP-LM-2).
    pub(crate) fn answer(&mut self, kind: Kind, channel: u32, envelope: &[Value], payload: &Value) {
        let body = encode_body(envelope, payload);
        self.provoked(kind, channel, body, None);
    }

    pub(crate) fn provoked(&mut self, kind: Kind, channel: u32, body: Vec<u8>, mark: Option<u64>) {
        let mut item = Item::new(Header::new(kind, channel), body);
        item.provoked = true;
        item.mark = mark;
        self.send(item);
        if self.out.provoked > MOST_UNREAD && !self.is_over() {
            self.abort(
                Abort::LimitExceeded,
                "the primary does not read the answers",
                None,
            );
        }
    }

    /// What one `sendmsg` is to take; empty: there is nothing to send.
    pub fn next_batch(&mut self) -> Batch {
        let batch = self.out.next(self.peer[Limit::MaxFrame]);
        for kind in &batch.completed {
            if *kind != Kind::Reply {
                self.sent += 1;
                self.sending = None;
                self.pump();
            }
        }
        if !batch.handles.is_empty() && self.has(capability::HANDLE_ACK) {
            self.departed.keep(&batch.handles);
        }
        batch
    }

    /// Gives the connection up: nothing goes out any more but this.
    pub fn abort(&mut self, code: Abort, detail: &str, header: Option<&[u8]>) {
        let mut map = Map::default()
            .with(key::abort::CODE, code as u8)
            .with(key::abort::DETAIL, clip(detail));
        if let Some(header) = header {
            map.set(key::abort::FRAME, Value::Bin(header.to_vec()));
        }
        self.out.clear();
        self.say(Kind::Abort, 0, &[], &map.into());
        self.close(Ended::Aborted {
            code: code as u8,
            detail: detail.to_owned(),
            here: true,
        });
    }

    /// Ends everything that was opened on the connection.
    pub fn close(&mut self, why: Ended) {
        if self.ended.is_some() {
            return;
        }
        self.state = State::Closed;
        self.arrived.clear();
        self.departed.clear();
        self.buffer = Vec::new();
        self.partial.clear();
        self.queue.clear();
        self.lanes.clear();
        let error = Error::lost(&why);
        self.ended = Some(why);
        self.pending.clear();
        for ticket in self.tickets.values_mut() {
            ticket.fail(&error);
        }
        for (_, call) in self.calls.drain() {
            call.over.end(crate::incoming::Why::Lost);
        }
        let ports: Vec<u64> = self.ports.keys().copied().collect();
        for port in ports {
            self.end_port(port, &error);
        }
        self.events.push_back(Event::Ended);
    }

    // ---- channels ----

    /// Finds a channel that is free (AWP-CH-1, AWP-CH-4).
    pub(crate) fn open(&mut self) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(2); // odd, and 1 comes behind the highest
            let id = self.last_id;
            let is_sending = self
                .sending
                .as_ref()
                .is_some_and(|sending| sending.channel == id);
            let is_open = self.pending.contains_key(&id) || self.listeners.contains_key(&id);
            if !is_sending && !is_open {
                return id;
            }
        }
    }

    // ---- bring-up and end ----

    pub fn hello(&mut self, worker: Option<u32>, token: Option<&str>, program: Map) {
        let version = Value::Array(vec![MAJOR.into(), MINOR.into()]);
        let handles = KINDS.iter().map(|(_, name)| Value::from(*name));
        let caps = OFFERED.iter().map(|name| Value::from(*name));
        let mut map = Map::default()
            .with(key::hello::VERSIONS, vec![version])
            .with(key::hello::CAPS, caps.collect::<Vec<_>>())
            .with(key::hello::HANDLES, handles.collect::<Vec<_>>())
            .with(key::hello::LIMITS, self.local.announced())
            .with(key::hello::PID, std::process::id())
            .with(key::hello::IMPL, program);
        if let Some(worker) = worker {
            map.set(key::hello::WORKER, worker);
        }
        if let Some(token) = token {
            map.set(key::hello::TOKEN, token);
        }
        self.say(Kind::Hello, 0, &[], &map.into());
    }

    /// Says good-bye; after it nothing is sent (AWP-ST-2, AWP-ST-5).
    pub fn goodbye(&mut self, reason: u8) {
        self.partial.clear();
        self.kept = 0;
        self.out.large.clear(); // they would never end
        self.flush();
        let map = Map::default()
            .with(key::goodbye::RECV, self.received)
            .with(key::goodbye::REASON, reason);
        self.say(Kind::Goodbye, 0, &[], &map.into());
    }

    /// The end of the stream.
    pub fn eof(&mut self) {
        match worker_at_eof(self.state).0 {
            Action::Abort => self.close(Ended::Lost),
            Action::Deliver => self.close(Ended::Closed),
            Action::Ignore | Action::Refuse => {}
        }
    }

    /// Changes what this side can receive. What is raised holds at once, as the primary may go by
    /// it as soon as it hears of it; the window, and what is lowered, when it says so (AWP-SE-2).
    pub fn announce(&mut self, limits: Limits) -> bool {
        let limits = limits.bounded();
        let map = Map::default().with(key::settings::LIMITS, limits.all());
        if !self.say(Kind::Settings, 0, &[], &map.into()) {
            return false;
        }
        self.local.raise(&limits);
        self.asked.push_back(limits);
        true
    }

    /// SETTINGS_ACK; false: there is no SETTINGS.
    pub(crate) fn in_force(&mut self) -> bool {
        let Some(limits) = self.asked.pop_front() else {
            return false;
        };
        self.local = limits;
        for later in &self.asked {
            self.local.raise(later); // it may be in force there already
        }
        true
    }

    // ---- what is gathered ----

    /// Whether something waits for `flush`.
    pub fn has_gathered(&self) -> bool {
        self.due > 0 || self.acked < self.received
    }

    /// Gives back what a message cost, when it has left the mailbox (AWP-FC-4).
    pub fn release(&mut self, cost: usize) {
        self.due += cost;
        if self.due >= self.local[Limit::Window] / 4 {
            self.credit();
        }
    }

    pub(crate) fn credit(&mut self) {
        if self.due > 0 {
            let n = std::mem::take(&mut self.due);
            self.taken -= n;
            self.say(Kind::Credit, 0, &[n.into()], &Value::Nil);
        }
    }

    pub(crate) fn acknowledge_messages(&mut self) {
        if self.acked < self.received && self.has(capability::ACK) {
            self.say(Kind::Ack, 0, &[self.received.into()], &Value::Nil);
        }
        self.acked = self.received;
    }

    /// Tells the primary which frames with descriptors have arrived (AWP-HA-4).
    pub(crate) fn acknowledge_handles(&mut self) {
        if self.arrived.acked == self.arrived.frames {
            return;
        }
        self.arrived.acked = self.arrived.frames;
        let lost = std::mem::take(&mut self.arrived.lost);
        if self.has(capability::HANDLE_ACK) {
            let lost = numbers(&lost);
            self.say(
                Kind::HandleAck,
                0,
                &[self.arrived.frames.into(), lost],
                &Value::Nil,
            );
        }
    }

    /// Sends the credit and the acknowledgements that have gathered.
    pub fn flush(&mut self) {
        self.credit();
        self.acknowledge_messages();
        self.acknowledge_handles();
    }
}

/// An array of numbers; of none: nil.
pub fn numbers(list: &[u64]) -> Value {
    if list.is_empty() {
        return Value::Nil;
    }
    Value::Array(list.iter().map(|n| Value::from(*n)).collect())
}

/// Encodes an envelope; nil at its end is left out, and of nothing nil is left.
pub fn encode_envelope(envelope: &[Value]) -> Vec<u8> {
    let end = envelope
        .iter()
        .rposition(|value| *value != Value::Nil)
        .map_or(0, |last| last + 1);
    let head = match end {
        0 => Value::Nil,
        _ => Value::Array(envelope[..end].to_vec()),
    };
    let mut body = Vec::new();
    // Only what an application put into the description of a handle could fail, and was tried.
    encode(&mut body, &head, DEPTH_OF_CONTROL).unwrap_or_else(|_| body = vec![0xc0]);
    body
}

fn encode_body(envelope: &[Value], payload: &Value) -> Vec<u8> {
    let mut body = encode_envelope(envelope);
    let start = body.len();
    if encode(&mut body, payload, DEPTH_OF_CONTROL).is_err() {
        body.truncate(start);
        body.push(0xc0);
    }
    body
}

/// Where a thread waits for its ticket.
pub type Wake = Arc<std::sync::Condvar>;
