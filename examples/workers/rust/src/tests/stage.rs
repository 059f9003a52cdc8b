//! A session under test: what it is told, what it tells.

use std::collections::HashMap;
use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;

use super::diagnostic::{unhex, value_of};
use super::json::Json;
use crate::address::Address;
use crate::awp_v1::{capability, key, Kind as FrameKind, HEADER_SIZE};
use crate::frame::{split, Header};
use crate::handle::KINDS;
use crate::limits::Limits;
use crate::msgpack::decode;
use crate::outgoing::{Leaving, Progress};
use crate::session::{Event, Session, Wake, OFFERED};
use crate::{sys, Ended, Error, Handle, Kind, Map, Value};

/// A frame that went out.
pub struct Sent {
    pub header: Header,
    pub body: Vec<u8>,
}

pub struct Stage {
    pub session: Session,
    pub events: Vec<Map>,
    /// The descriptors of the vector, by inode, and the numbers that they had.
    pub names: HashMap<u64, String>,
    pub fds: HashMap<String, RawFd>,
    /// Messages are kept, and so their handles stay open.
    kept: Vec<Handle>,
    calls: Vec<(u32, u64)>,
    ports: Vec<(u32, u64, usize)>,
}

impl Stage {
    pub fn new(steps: &[Json]) -> Self {
        let mut stage = Stage {
            session: Session::new(Limits::default()),
            events: Vec::new(),
            names: HashMap::new(),
            fds: HashMap::new(),
            kept: Vec::new(),
            calls: Vec::new(),
            ports: Vec::new(),
        };
        for step in steps {
            stage.say(&unhex(step.get("send").text()));
            stage.hear(&unhex(step.get("receive").text()), Vec::new(), false);
        }
        stage.drain();
        stage.events.clear();
        stage
    }

    /// What the implementation says in a prelude.
    fn say(&mut self, mut raw: &[u8]) {
        while let Some(header) = raw.get(..HEADER_SIZE).and_then(Header::parse) {
            let (envelope, payload) = split(&raw[HEADER_SIZE..header.end()]).expect("well formed");
            let _ = envelope;
            raw = &raw[header.end()..];
            let said = decode(payload, 64, None).expect("well formed");
            let map = said.as_map().cloned().unwrap_or_default();
            let session = &mut self.session;
            let kind = FrameKind::from_code(header.kind).expect("a known kind");
            match kind {
                FrameKind::Hello => self.set(&map),
                FrameKind::Ready => {
                    session.say(kind, 0, &[], &said);
                }
                FrameKind::Goodbye => session.goodbye(0),
                FrameKind::Settings => {
                    let limits = session.local.clone();
                    session.announce(limits);
                }
                FrameKind::Tell | FrameKind::Call => {
                    if header.nfds > 0 {
                        session.departed.keep(&Arc::default()); // of which only the number counts
                    }
                    if kind == FrameKind::Call {
                        session.last_id = header.channel.wrapping_sub(2);
                    }
                    let message = Leaving {
                        kind,
                        to: Address::primary(),
                        payload: payload.to_vec(),
                        handles: Vec::new(),
                        expires: None,
                        ticket: None,
                    };
                    let ticket = session.submit(message, &Wake::default()).expect("it goes");
                    self.calls.push((header.channel, ticket));
                }
                FrameKind::Listen => {
                    session.last_id = header.channel.wrapping_sub(2);
                    // One vector gets another mode than it asked for, which is not its point.
                    let mut map = map.clone();
                    map.0.retain(|entry| entry.0 != key::listen::MODES);
                    let port = session.listen(&map, None).expect("it goes");
                    self.ports.push((header.channel, port, 0));
                }
                FrameKind::ListenClose => {
                    let port = session.listeners[&header.channel];
                    session.close_port(port, &Error::app("closed"));
                    self.ports.clear();
                }
                _ => {} // answers, which it gives by itself
            }
        }
    }

    /// Makes the session what the HELLO of a prelude says.
    fn set(&mut self, hello: &Map) {
        let mut limits = Limits::default();
        if let Some(announced) = hello.get(key::hello::LIMITS).and_then(Value::as_map) {
            limits.update(announced).expect("numbers");
        }
        self.session = Session::new(limits);
        self.session.hello(None, None, Map::default());
        let caps = hello
            .get(key::hello::CAPS)
            .and_then(Value::as_array)
            .unwrap_or_default();
        let known = OFFERED.into_iter().chain([capability::MONITOR]);
        let is_said = |name: &&str| caps.iter().any(|other| other.as_str() == Some(name));
        self.session.caps = known.filter(is_said).collect();
    }

    /// Takes what one read gives, and notes what comes of it.
    pub fn hear(&mut self, data: &[u8], fds: Vec<OwnedFd>, truncated: bool) {
        if data.is_empty() {
            return;
        }
        self.session.receive(data, fds, truncated);
        self.note();
    }

    fn event(&mut self, name: &str, fields: Map) {
        self.events.push(fields.with("event", name));
    }

    pub fn note(&mut self) {
        while let Some(event) = self.session.events.pop_front() {
            match event {
                Event::Welcomed => self.welcomed(),
                Event::Configured(map) => {
                    self.event("SettingsChanged", Map::default().with("settings", map));
                }
                Event::Stop(deadline, reason) => {
                    let fields = Map::default()
                        .with("deadline", deadline.map(|time| time.as_secs_f64()))
                        .with("reason", reason);
                    self.event("Stop", fields);
                }
                Event::Message(message) => self.message(message),
                Event::Cancelled(channel) => {
                    let fields = Map::default().with("channel", channel).with("reason", ());
                    self.event("Cancelled", fields);
                }
                Event::Undeliverable(number, to, error) => {
                    let fields = Map::default()
                        .with("number", number)
                        .with("to", to.wire())
                        .with("error", described(&error));
                    self.event("Undeliverable", fields);
                }
                Event::Ports => self.note_ports(),
                Event::Ended => self.note_end(),
            }
        }
        for (channel, ticket) in std::mem::take(&mut self.calls) {
            match self.session.redeem(ticket, true) {
                None => self.calls.push((channel, ticket)),
                Some(Progress::Answered(Ok(reply))) => {
                    let fields = Map::default()
                        .with("channel", channel)
                        .with("body", self.plain(reply.body, &reply.handles))
                        .with("handles", self.handles(&reply.handles))
                        .with("meta", Map::default());
                    self.kept.extend(reply.handles);
                    self.event("ReplyReceived", fields);
                }
                Some(Progress::Answered(Err(error))) if self.session.ended.is_none() => {
                    let fields = Map::default().with("channel", channel);
                    self.event("ErrorReceived", fields.with("error", described(&error)));
                }
                Some(_) => {}
            }
        }
    }

    fn welcomed(&mut self) {
        let is = self.session.is.clone();
        let names = |mut names: Vec<&str>| {
            names.sort_unstable();
            names.into_iter().map(Value::from).collect::<Vec<_>>()
        };
        let takes = &self.session.takes;
        let taken = KINDS.iter().filter(|kind| takes.contains(&(kind.0 as u8)));
        let fields = Map::default()
            .with("version", vec![1.into(), 0.into()])
            .with("worker", is.id)
            .with("cluster", Value::Bin(is.cluster))
            .with("capabilities", names(self.session.caps.clone()))
            .with("handles", names(taken.map(|kind| kind.1).collect()))
            .with("heartbeat", is.heartbeat.as_secs_f64())
            .with("config", is.config);
        self.event("Welcome", fields);
    }

    fn message(&mut self, message: crate::incoming::Incoming) {
        let mut fields = Map::default()
            .with("to", message.to.wire())
            .with("sender", Address::id(message.from.id).wire())
            .with("body", self.plain(message.body, &message.handles))
            .with("handles", self.handles(&message.handles))
            .with("charge", message.cost)
            .with("number", message.number)
            .with("meta", message.meta);
        self.kept.extend(message.handles);
        match message.call {
            Some((channel, _)) => {
                fields.set("channel", channel);
                self.event("CallReceived", fields);
            }
            None => self.event("TellReceived", fields),
        }
    }

    fn note_ports(&mut self) {
        for (channel, number, told) in std::mem::take(&mut self.ports) {
            let port = &self.session.ports[&number];
            let fields = Map::default().with("channel", channel);
            if let Some(error) = &port.end {
                let ours = [crate::code::STOPPING, crate::code::CONNECTION_LOST]; // not ERROR
                if !ours.contains(&error.code.as_str()) {
                    self.event("ErrorReceived", fields.with("error", described(error)));
                }
                continue;
            }
            let Some(mode) = port.mode else {
                self.ports.push((channel, number, told));
                continue;
            };
            if told == 0 {
                let handle = port.socket.as_ref().map(|socket| self.name(socket));
                let fields = fields
                    .with("mode", mode.name())
                    .with("address", port.address.clone())
                    .with("data", port.data.clone())
                    .with("handle", handle);
                self.event("Listening", fields);
                self.ports.push((channel, number, 1));
                continue;
            }
            let count = port.waiting.len();
            if count + 1 > told {
                let list = port
                    .waiting
                    .iter()
                    .map(|(_, handle)| self.name(handle).into());
                let fields = fields
                    .with("first", port.waiting[0].0)
                    .with("handles", list.collect::<Vec<Value>>())
                    .with("meta", Map::default());
                self.event("Connections", fields);
            }
            self.ports.push((channel, number, count + 1));
        }
    }

    fn note_end(&mut self) {
        if let Some(Ended::Aborted {
            code,
            detail,
            here: false,
        }) = self.session.ended.clone()
        {
            let detail = Some(detail).filter(|detail| !detail.is_empty());
            let fields = Map::default().with("code", code);
            self.event("Aborted", fields.with("detail", detail));
        }
    }

    fn name(&self, handle: &Handle) -> String {
        let inode = handle.inode().expect("it is open");
        format!("handle {}", self.names[&inode])
    }

    fn handles(&self, handles: &[Handle]) -> Vec<Value> {
        handles
            .iter()
            .map(|handle| self.name(handle).into())
            .collect()
    }

    fn plain(&self, value: Value, handles: &[Handle]) -> Value {
        match value {
            Value::Handle(index) => self.name(&handles[usize::from(index)]).into(),
            Value::Array(list) => list
                .into_iter()
                .map(|one| self.plain(one, handles))
                .collect::<Vec<_>>()
                .into(),
            Value::Map(Map(entries)) => {
                let one = |(key, value)| (key, self.plain(value, handles));
                Map(entries.into_iter().map(one).collect()).into()
            }
            other => other,
        }
    }

    /// All frames that wait.
    pub fn drain(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        loop {
            let batch = self.session.next_batch();
            let mut raw = &batch.bytes[..];
            if raw.is_empty() {
                return all;
            }
            while !raw.is_empty() {
                let header = Header::parse(raw).expect("a frame");
                let body = raw[HEADER_SIZE..header.end()].to_vec();
                raw = &raw[header.end()..];
                all.push(Sent { header, body });
            }
        }
    }

    /// Makes the descriptors of a read, each of the kind that the vector expects.
    pub fn open(&mut self, names: &[Json], kinds: &HashMap<String, Kind>) -> Vec<OwnedFd> {
        let mut fds = Vec::new();
        for name in names.iter().map(Json::text) {
            let fd = open(kinds.get(name).copied().unwrap_or(Kind::TcpSocket));
            self.fds.insert(name.to_owned(), fd.as_raw_fd());
            self.names
                .insert(inode(fd.as_raw_fd()).expect("it is open"), name.to_owned());
            fds.push(fd);
        }
        fds
    }

    pub fn is_open(&self, name: &str) -> bool {
        let inode = self.fds.get(name).and_then(|fd| inode(*fd));
        inode.is_some_and(|inode| self.names.get(&inode).is_some_and(|other| other == name))
    }
}

fn inode(fd: RawFd) -> Option<u64> {
    std::fs::metadata(format!("/proc/self/fd/{fd}"))
        .ok()
        .map(|status| status.ino())
}

/// An error map as the specification has it, without what is not known.
fn described(error: &Error) -> Map {
    let mut map = error.to_map();
    if error.message.is_empty() {
        map.set("message", ());
    }
    map
}

fn open(kind: Kind) -> OwnedFd {
    let fd: OwnedFd = match kind {
        Kind::TcpSocket => {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("it is bound");
            TcpStream::connect(address).expect("it listens").into()
        }
        Kind::TcpListener => TcpListener::bind("127.0.0.1:0").expect("a port").into(),
        Kind::UdpSocket => UdpSocket::bind("127.0.0.1:0").expect("a port").into(),
        Kind::UnixStream => UnixStream::pair().expect("a pair").0.into(),
        Kind::UnixListener => {
            let name = format!(
                "awp-{}-{:?}",
                std::process::id(),
                std::thread::current().id()
            );
            let address = SocketAddr::from_abstract_name(name).expect("a name");
            UnixListener::bind_addr(&address)
                .expect("nobody has it")
                .into()
        }
        Kind::PipeRead => sys::made::pipe().0,
        Kind::PipeWrite => sys::made::pipe().1,
        Kind::Memfd => sys::made::memory_file(),
        _ => File::open("/proc/self/exe").expect("it is there").into(),
    };
    fd
}

/// The kinds of the descriptors that a vector names.
pub fn kinds_in(json: &Json, found: &mut HashMap<String, Kind>) {
    match json {
        Json::List(list) => list.iter().for_each(|one| kinds_in(one, found)),
        Json::Object(entries) => {
            for (key, inner) in entries {
                if key == "$handle" {
                    let code = value_of(&inner.list()[1]).as_i64().expect("a number");
                    let kind = Kind::from_code(code as u8).expect("a known kind");
                    found.insert(inner.list()[0].text().to_owned(), kind);
                } else {
                    kinds_in(inner, found);
                }
            }
        }
        _ => {}
    }
}
