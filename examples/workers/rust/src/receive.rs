//! Frames as they arrive: headers, descriptors, the table of states.

use std::os::fd::OwnedFd;

use crate::awp_v1::{
    capability, flag, worker_receives, Abort, Action, Body, Channel, Kind, KindInfo, State,
    HEADER_SIZE,
};
use crate::frame::{split, Header};
use crate::limits::Limit;
use crate::msgpack::{Fault, Value};
use crate::session::Session;

/// How many unknown frames without OPTIONAL are answered (AWP-EV-2).
const MOST_UNKNOWN: u32 = 1000;

/// A buffer that is larger than this is given back once it is empty.
const LARGE_BUFFER: usize = 2 << 20;

/// A frame that the tables let pass.
pub struct Frame<'a> {
    pub header: Header,
    pub kind: Kind,
    /// The header, for ABORT.
    pub raw: &'a [u8],
    pub envelope: &'a [u8],
    pub payload: &'a [u8],
    pub fds: Vec<OwnedFd>,
    /// Its descriptors did not arrive.
    pub lost: bool,
    /// It is not to be begun.
    pub refuse: bool,
    /// Its body is no msgpack.
    pub broken: bool,
}

impl Frame<'_> {
    pub fn has(&self, flag: u8) -> bool {
        self.header.has(flag)
    }
}

impl Session {
    /// Takes what one `recvmsg` gave.
    pub fn receive(&mut self, data: &[u8], fds: Vec<OwnedFd>, truncated: bool) {
        if self.is_over() {
            return;
        }
        if truncated || !fds.is_empty() {
            self.arrived.add(fds, truncated);
            self.strays();
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.extend_from_slice(data);
        let mut at = 0;
        while !self.is_over() && buffer.len() - at >= HEADER_SIZE {
            let raw = &buffer[at..at + HEADER_SIZE];
            let Some(header) = self.check_header(raw) else {
                return;
            };
            let Some(body) = buffer.get(at + HEADER_SIZE..at + header.end()) else {
                break;
            };
            self.frame(header, raw, body);
            at += header.end();
        }
        if self.is_over() {
            return;
        }
        buffer.drain(..at);
        if buffer.is_empty() && buffer.capacity() > LARGE_BUFFER {
            buffer = Vec::new();
        }
        self.buffer = buffer;
        self.acknowledge_handles();
    }

    /// Looks at a header before anything of its body is kept (AWP-FR-4, AWP-FR-5).
    fn check_header(&mut self, raw: &[u8]) -> Option<Header> {
        let Some(header) = Header::parse(raw) else {
            self.abort(
                Abort::BadSignature,
                "this is not the header of a frame",
                Some(raw),
            );
            return None;
        };
        let most = self.local[Limit::MaxFrame];
        if header.length as usize > most {
            let detail = format!("{} bytes, {most} are allowed", header.length);
            self.abort(Abort::FrameTooLarge, &detail, Some(raw));
            return None;
        }
        let nfds = usize::from(header.nfds);
        if nfds > 0 && (nfds > self.local[Limit::MaxFds] || !self.takes_handles()) {
            let detail = "descriptors where there may be none, or too many";
            self.abort(Abort::FdViolation, detail, Some(raw));
            return None;
        }
        Some(header)
    }

    fn takes_handles(&self) -> bool {
        self.state as u8 >= State::Active as u8 && self.has(capability::HANDLE)
    }

    /// Ends a connection on which descriptors come that nobody asked for (AWP-FD-6).
    fn strays(&mut self) {
        let n = self.arrived.unclaimed;
        if n > 0 && !self.takes_handles() {
            self.abort(
                Abort::FdViolation,
                "descriptors where there may be none",
                None,
            );
        } else if n > 4 * self.local[Limit::MaxFds] {
            self.abort(
                Abort::FdViolation,
                "descriptors that no frame declares",
                None,
            );
        }
    }

    /// Takes one whole frame, by the table of section 18.
    fn frame(&mut self, header: Header, raw: &[u8], body: &[u8]) {
        let kind = Kind::from_code(header.kind);
        let (action, next) = worker_receives(self.state, kind);
        let nfds = usize::from(header.nfds);
        let (mut fds, mut lost) = (Vec::new(), false);
        if nfds > 0 {
            match self.arrived.claim(nfds) {
                Some(group) => fds = group,
                None => lost = true,
            }
        }
        let no_handles = kind.is_some_and(|kind| !kind.info().handles);
        if fds.len() > nfds || nfds > 0 && no_handles {
            let detail = format!("{} descriptors with {kind:?}", fds.len());
            return self.abort(Abort::FdViolation, &detail, Some(raw));
        }
        match (action, kind) {
            (Action::Ignore, _) => return,
            (Action::Abort, _) => {
                let detail = format!("{kind:?} in {:?}", self.state);
                return self.abort(Abort::StateViolation, &detail, Some(raw));
            }
            (_, None) => return self.stranger(header),
            _ => {}
        }
        let kind = kind.expect("others have returned");
        let info = kind.info();
        if let Some(wrong) = self.misplaced(&header, kind, &info) {
            return self.abort(
                Abort::ProtocolError,
                &format!("{kind:?} {wrong}"),
                Some(raw),
            );
        }
        let mut frame = Frame {
            header,
            kind,
            raw,
            envelope: &[],
            payload: body,
            fds,
            lost,
            refuse: action == Action::Refuse,
            broken: false,
        };
        if info.body != Body::Opaque {
            match split(body) {
                Ok(parts) => (frame.envelope, frame.payload) = parts,
                Err(Fault::Unknown) if info.body == Body::Data => frame.broken = true,
                Err(fault) => {
                    let code = match fault {
                        Fault::Length => Abort::BadLength,
                        _ => Abort::ProtocolError,
                    };
                    return self.abort(code, &fault.to_string(), Some(raw));
                }
            }
        }
        self.state = next;
        self.deliver(frame);
    }

    /// Answers a kind that is unknown (AWP-EV-2).
    fn stranger(&mut self, header: Header) {
        if header.has(flag::OPTIONAL) {
            return;
        }
        self.answer(
            Kind::Unimplemented,
            header.channel,
            &[header.kind.into()],
            &Value::Nil,
        );
        self.unknown += 1;
        if self.unknown > MOST_UNKNOWN {
            self.abort(Abort::LimitExceeded, "too many unknown frames", None);
        }
    }

    /// What is wrong with a frame's flags, capability or channel, if anything is.
    fn misplaced(&self, header: &Header, kind: Kind, info: &KindInfo) -> Option<&'static str> {
        let in_pieces = header.has(flag::FRAG);
        let is_message = matches!(kind, Kind::Tell | Kind::Call | Kind::Reply);
        if info
            .capability
            .is_some_and(|capability| !self.has(capability))
        {
            return Some("needs a capability that is not in force");
        }
        if header.has(flag::MORE) && !in_pieces || in_pieces && !is_message {
            return Some("cannot come in fragments like this");
        }
        if in_pieces && !self.has(capability::FRAG) {
            return Some("comes in fragments, which are not in force");
        }
        let on_zero = header.channel == 0;
        match info.channel {
            Channel::Zero if !on_zero => Some("has no channel"),
            Channel::Optional if on_zero == in_pieces => {
                Some("has a channel in fragments, and no other")
            }
            Channel::Opens | Channel::Uses if on_zero => Some("needs a channel"),
            _ => None,
        }
    }

    fn deliver(&mut self, frame: Frame<'_>) {
        match frame.kind {
            // From where the connection is read (AWP-PI-1).
            Kind::Ping => {
                let body = frame.payload.to_vec();
                self.provoked(Kind::Pong, frame.header.channel, body, None);
            }
            Kind::Pong => {}
            Kind::Tell | Kind::Call | Kind::Reply => self.take_message(frame),
            Kind::Error => self.take_error(&frame),
            Kind::Undeliverable => self.take_undeliverable(&frame),
            Kind::Listening => self.take_listening(frame),
            Kind::Conn => self.take_connections(frame),
            _ => {
                let wrong = self.take_control(&frame);
                if let (Some(wrong), false) = (wrong, self.is_over()) {
                    let detail = format!("{:?}: {wrong}", frame.kind);
                    self.abort(Abort::ProtocolError, &detail, Some(frame.raw));
                }
            }
        }
    }
}
