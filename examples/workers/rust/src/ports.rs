//! Ports that workers share, and the connections that come by them (section 17).

use std::collections::{BTreeSet, VecDeque};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::awp_v1::Kind;
use crate::awp_v1::{
    capability, envelope, error as code, key, worker_may_send, Abort, Handle as Kinds,
};
use crate::control::{element, list, map};
use crate::error::Error;
use crate::frame::Header;
use crate::handle::Handle;
use crate::msgpack::{encode, Map, Value};
use crate::outbox::Item;
use crate::receive::Frame;
use crate::session::{encode_envelope, numbers, Event, Session, DEPTH_OF_CONTROL};

/// How a worker comes by the connections of a port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// The primary accepts, and hands them over.
    Handoff,
    /// The worker accepts, beside others.
    Shared,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Handoff => "handoff",
            Mode::Shared => "shared",
        }
    }
}

/// A port that was asked for.
pub struct Port {
    pub channel: u32,
    /// The modes that may be chosen; None: any.
    modes: Option<Vec<String>>,
    /// Set by LISTENING.
    pub mode: Option<Mode>,
    pub address: Value,
    pub data: Value,
    /// The socket, in mode shared.
    pub socket: Option<Arc<Handle>>,
    /// Dropped at the end: whoever waits for its other end wakes up.
    wake: Option<UnixStream>,
    /// Why it has ended.
    pub end: Option<Error>,
    /// Connections that may still be handed over.
    credit: u64,
    /// The number of the next.
    next: u64,
    /// Handed over, and not taken.
    pub waiting: VecDeque<(u64, Handle)>,
    /// What CONN_REPLY has spoken of.
    replied: u64,
    /// Connections that were taken and closed again, and those of them that nobody ever saw.
    closed: u64,
    dropped: u64,
    /// Numbers that will never be taken, and of which no CONN_REPLY has spoken.
    rejected: BTreeSet<u64>,
}

impl Session {
    /// Asks for a port. `wake` is dropped when it ends.
    pub fn listen(&mut self, request: &Map, wake: Option<UnixStream>) -> Result<u64, Error> {
        if let Some(ended) = &self.ended {
            return Err(Error::lost(ended));
        }
        if !worker_may_send(self.state, Kind::Listen) {
            return Err(Error::stopping());
        }
        let mut body = vec![0xc0];
        encode(&mut body, &Value::Map(request.clone()), DEPTH_OF_CONTROL)
            .map_err(|fault| Error::new(code::BAD_PAYLOAD, fault.to_string()))?;
        let names = request.get(key::listen::MODES).and_then(Value::as_array);
        let text = |name: &Value| name.as_str().map(str::to_owned);
        let channel = self.open();
        let port = self.next_number();
        self.listeners.insert(channel, port);
        self.ports.insert(
            port,
            Port {
                channel,
                modes: names.map(|names| names.iter().filter_map(text).collect()),
                mode: None,
                address: Value::Nil,
                data: Value::Nil,
                socket: None,
                wake,
                end: None,
                credit: request
                    .get(key::listen::CREDIT)
                    .and_then(Value::as_u64)
                    .unwrap_or(1),
                next: 1,
                waiting: VecDeque::new(),
                replied: 0,
                closed: 0,
                dropped: 0,
                rejected: BTreeSet::new(),
            },
        );
        self.send(Item::new(Header::new(Kind::Listen, channel), body));
        Ok(port)
    }

    /// Learns that the port is bound.
    pub(crate) fn take_listening(&mut self, frame: Frame<'_>) {
        let Some(number) = self.listeners.get(&frame.header.channel).copied() else {
            return; // it crossed our LISTEN_CLOSE
        };
        let Some((mode, entries, said)) = self.read_listening(&frame, number) else {
            let detail = "LISTENING is not what was asked for";
            return self.abort(Abort::ProtocolError, detail, Some(frame.raw));
        };
        let socket = self
            .read_handles(entries, frame.fds, frame.lost)
            .and_then(|mut handles| {
                let socket = handles.pop();
                socket
                    .as_ref()
                    .map_or(Ok(()), Handle::verify)
                    .map_err(|error| Error::new(code::UNSUPPORTED_HANDLE, error.to_string()))?;
                let kinds = [Kinds::TcpListener, Kinds::UnixListener, Kinds::UdpSocket];
                let is_right =
                    |handle: &Handle| kinds.iter().any(|kind| *kind as u8 == handle.kind);
                if !socket.as_ref().map_or(true, is_right) {
                    return Err(Error::new(
                        code::UNSUPPORTED_HANDLE,
                        "nothing to accept from",
                    ));
                }
                Ok(socket)
            });
        match socket {
            // As if it were an ERROR (AWP-FD-5); the primary has to learn of it.
            Err(error) => self.close_port(number, &error),
            Ok(socket) => {
                let port = self.ports.get_mut(&number).expect("it is listed");
                port.mode = Some(mode);
                port.socket = socket.map(Arc::new);
                port.address = said
                    .get(key::listening::ADDRESS)
                    .cloned()
                    .unwrap_or(Value::Nil);
                port.data = said
                    .get(key::listening::DATA)
                    .cloned()
                    .unwrap_or(Value::Nil);
                self.events.push_back(Event::Ports);
            }
        }
    }

    /// Mode, handles and map of LISTENING, if it is an answer to what was asked (AWP-LI-5).
    fn read_listening(&self, frame: &Frame<'_>, number: u64) -> Option<(Mode, Vec<Value>, Map)> {
        let mut parts = self.envelope_of(frame)?;
        let entries = list(element(&mut parts, envelope::listening::HANDLES))?;
        let said = map(self.payload_of(frame))?;
        let name = said.get(key::listening::MODE)?.as_str()?;
        let (mode, needed, nfds) = match name {
            "handoff" => (Mode::Handoff, capability::LISTEN_HANDOFF, 0),
            "shared" => (Mode::Shared, capability::LISTEN_SHARED, 1),
            _ => return None,
        };
        let port = &self.ports[&number];
        let was_asked = port
            .modes
            .as_ref()
            .map_or(true, |modes| modes.iter().any(|one| one == name));
        let is_right = was_asked && self.has(needed) && port.mode.is_none();
        let all = entries.len() == nfds && usize::from(frame.header.nfds) == nfds;
        (is_right && all).then_some((mode, entries, said))
    }

    /// Queues connections that were handed over, or gives them back.
    pub(crate) fn take_connections(&mut self, frame: Frame<'_>) {
        let Some((first, described)) = self.read_connections(&frame) else {
            return self.abort(
                Abort::ProtocolError,
                "CONN: not shaped as it should be",
                Some(frame.raw),
            );
        };
        let count = described.len() as u64;
        let channel = frame.header.channel;
        let number = self.listeners.get(&channel).copied();
        let is_active = self.is_active();
        let port = number.and_then(|number| self.ports.get_mut(&number));
        if let Some(port) = &port {
            if first != port.next {
                let detail = format!("connection {first} in place of {}", port.next);
                return self.abort(Abort::ProtocolError, &detail, Some(frame.raw));
            }
        }
        let Some(port) = port.filter(|port| port.mode.is_some()) else {
            return self.reject_all(channel, first, count);
        };
        if count > port.credit {
            let detail = format!("{count} connections, {} are allowed", port.credit);
            return self.abort(Abort::FlowViolation, &detail, Some(frame.raw));
        }
        port.credit -= count;
        port.next += count;
        let number = number.expect("there is a port");
        let mut fds = frame.fds.into_iter();
        let mut turned_down = 0;
        for (place, (kind, meta)) in (first..).zip(described) {
            let handle = fds.next().map(|fd| Handle { kind, meta, fd });
            match handle {
                Some(handle) if !frame.refuse && is_connection(&handle) => {
                    port.waiting.push_back((place, handle));
                }
                _ => {
                    port.rejected.insert(place);
                    turned_down += 1;
                }
            }
        }
        if port.waiting.is_empty() {
            let upto = port.next - 1;
            self.speak_of(number, upto, None);
        }
        self.events.push_back(Event::Ports);
        if is_active && turned_down > 0 {
            self.ask_for(number, turned_down); // what is given back gives no credit
        }
    }

    /// The first number and the descriptions of a CONN.
    fn read_connections(&self, frame: &Frame<'_>) -> Option<(u64, Vec<(u8, Map)>)> {
        let mut parts = self.envelope_of(frame)?;
        let first = element(&mut parts, envelope::conn::FIRST).as_u64()?;
        let entries = list(element(&mut parts, envelope::conn::HANDLES))?;
        map(Some(element(&mut parts, envelope::conn::META)))?;
        let is_right = entries.len() == usize::from(frame.header.nfds);
        if first == 0 || entries.is_empty() || !is_right {
            return None;
        }
        let described = entries.into_iter().map(|entry| self.read_entry(entry));
        Some((first, described.collect::<Option<_>>()?))
    }

    fn reject_all(&mut self, channel: u32, first: u64, count: u64) {
        let rejected: Vec<u64> = (first..first + count).collect();
        let upto = first + count - 1;
        self.answer(
            Kind::ConnReply,
            channel,
            &[upto.into(), numbers(&rejected)],
            &Value::Nil,
        );
    }

    /// Speaks of all connections up to this one: taken, but for those that were turned down.
    fn speak_of(&mut self, number: u64, upto: u64, mark: Option<u64>) {
        let port = self.ports.get_mut(&number).expect("its owner has it");
        let later = port.rejected.split_off(&(upto + 1));
        let rejected: Vec<u64> = std::mem::replace(&mut port.rejected, later)
            .into_iter()
            .collect();
        port.replied = upto;
        let mut body = encode_envelope(&[upto.into(), numbers(&rejected)]);
        body.push(0xc0);
        let channel = port.channel;
        self.provoked(Kind::ConnReply, channel, body, mark);
    }

    /// Gives the primary credit for `n` more connections, and says how many are closed.
    fn ask_for(&mut self, number: u64, n: u64) {
        let Some(port) = self.ports.get_mut(&number) else {
            return;
        };
        if port.mode != Some(Mode::Handoff) || port.end.is_some() {
            return;
        }
        port.credit += n;
        let dropped = (port.dropped > 0).then_some(port.dropped);
        let parts = [n.into(), port.closed.into(), dropped.into()];
        let channel = port.channel;
        self.say(Kind::ConnCredit, channel, &parts, &Value::Nil);
    }

    /// Takes the oldest connection that waits. It must not be touched before the CONN_REPLY with
    /// this mark is written (AWP-LI-2).
    pub fn take_connection(&mut self, number: u64) -> Option<(Handle, u64)> {
        if !self.is_active() {
            return None;
        }
        let mark = self.next_number();
        let port = self.ports.get_mut(&number)?;
        let (place, handle) = port.waiting.pop_front()?;
        // Those behind it, if any, were turned down, or wait.
        let upto = if port.waiting.is_empty() {
            port.next - 1
        } else {
            place
        };
        self.speak_of(number, upto, Some(mark));
        Some((handle, mark))
    }

    /// Counts a connection as closed, and asks for another.
    pub fn closed_connection(&mut self, number: u64, unseen: bool) {
        let n = u64::from(self.is_active());
        if let Some(port) = self.ports.get_mut(&number) {
            port.closed += 1;
            port.dropped += u64::from(unseen);
            self.ask_for(number, n);
        }
    }

    /// Gives all ports up, and what waits at them goes back (AWP-ST-1).
    pub(crate) fn close_ports(&mut self) {
        let open: Vec<u64> = self.listeners.values().copied().collect();
        for number in open {
            self.close_port(number, &Error::stopping());
        }
    }

    /// Gives a port up. Connections that were not taken go to other workers.
    pub fn close_port(&mut self, number: u64, why: &Error) {
        let Some(port) = self
            .ports
            .get_mut(&number)
            .filter(|port| port.end.is_none())
        else {
            return;
        };
        let channel = port.channel;
        if !port.waiting.is_empty() {
            let waiting = std::mem::take(&mut port.waiting);
            port.rejected
                .extend(waiting.iter().map(|(place, _)| *place));
            let upto = port.next - 1;
            self.speak_of(number, upto, None);
        }
        self.say(Kind::ListenClose, channel, &[], &Value::Nil);
        self.end_port(number, why);
    }

    /// The end of a port. What waits is closed: the primary has a copy still.
    pub(crate) fn end_port(&mut self, number: u64, why: &Error) {
        let Some(port) = self.ports.get_mut(&number) else {
            return;
        };
        self.listeners.remove(&port.channel);
        port.end.get_or_insert_with(|| why.clone());
        port.waiting.clear();
        port.socket = None;
        port.wake = None;
        self.events.push_back(Event::Ports);
    }
}

/// Whether it is what it says, and something that is served.
fn is_connection(handle: &Handle) -> bool {
    let kinds = [Kinds::TcpSocket as u8, Kinds::UnixStream as u8];
    kinds.contains(&handle.kind) && handle.verify().is_ok()
}
