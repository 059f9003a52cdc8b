//! Control frames: what is in their maps and envelopes.

use std::time::Duration;

use crate::address::Address;
use crate::awp_v1::{envelope, error as code, key, Abort, Kind, MAJOR};
use crate::error::{Ended, Error};
use crate::handle::KINDS;
use crate::limits::Limit;
use crate::msgpack::{decode, Map, Value};
use crate::receive::Frame;
use crate::session::{Event, Session, Welcome};

/// Why a frame is not what its kind demands (AWP-FR-6).
type Wrong = &'static str;

const MALFORMED: Wrong = "not shaped as its kind demands";
const YEAR: f64 = 365.0 * 24.0 * 3600.0;

/// A list; nil in its place is an empty one.
pub fn list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(list) => Some(list),
        Value::Nil => Some(Vec::new()),
        _ => None,
    }
}

/// A map; nil in its place, or nothing, is an empty one.
pub fn map(value: Option<Value>) -> Option<Map> {
    match value {
        Some(Value::Map(map)) => Some(map),
        None | Some(Value::Nil) => Some(Map::default()),
        _ => None,
    }
}

/// Takes an element out of an envelope; one that is missing is nil (AWP-EV-1).
pub fn element(envelope: &mut [Value], place: usize) -> Value {
    envelope
        .get_mut(place)
        .map_or(Value::Nil, |value| std::mem::replace(value, Value::Nil))
}

/// What a number on the wire means; more than a year is a year.
pub fn milliseconds(ms: f64) -> Duration {
    Duration::from_secs_f64((ms / 1000.0).clamp(0.0, YEAR))
}

impl Session {
    /// Decodes the payload of a frame.
    pub(crate) fn payload_of(&self, frame: &Frame<'_>) -> Option<Value> {
        decode(frame.payload, self.local[Limit::MaxDepth], None).ok()
    }

    /// Decodes the envelope of a frame; None: it is not one.
    pub(crate) fn envelope_of(&self, frame: &Frame<'_>) -> Option<Vec<Value>> {
        decode(frame.envelope, self.local[Limit::MaxDepth], None)
            .ok()
            .and_then(list)
    }

    /// Takes the frames whose body is a map, or an envelope of numbers; says what is wrong.
    pub(crate) fn take_control(&mut self, frame: &Frame<'_>) -> Option<Wrong> {
        let done = match frame.kind {
            Kind::Welcome | Kind::Abort | Kind::Stop | Kind::Goodbye | Kind::Settings => {
                match self.payload_of(frame) {
                    Some(Value::Map(map)) => self.take_map(frame.kind, map),
                    _ => None,
                }
            }
            Kind::SettingsAck => {
                return (!self.in_force()).then_some("there is no SETTINGS");
            }
            Kind::ListenClose => {
                if let Some(port) = self.listeners.get(&frame.header.channel).copied() {
                    self.end_port(
                        port,
                        &Error::new(code::CONNECTION_LOST, "the port is closed"),
                    );
                }
                Some(())
            }
            Kind::Cancel => self
                .envelope_of(frame)
                .map(|_| self.take_cancel(frame.header.channel)),
            _ => self.take_numbers(frame),
        };
        done.is_none().then_some(MALFORMED)
    }

    fn take_map(&mut self, kind: Kind, map: Map) -> Option<()> {
        match kind {
            Kind::Welcome => self.take_welcome(map),
            Kind::Stop => {
                let deadline = match map.get(key::stop::DEADLINE) {
                    None | Some(Value::Nil) => None,
                    Some(deadline) => Some(milliseconds(deadline.as_number()?)),
                };
                self.stop(deadline, reason(map.get(key::stop::REASON)));
                Some(())
            }
            Kind::Goodbye => {
                let upto = map.get(key::goodbye::RECV)?.as_u64()?;
                if upto > self.sent {
                    return None;
                }
                self.fail_pending();
                self.stop(None, reason(map.get(key::goodbye::REASON)));
                Some(())
            }
            Kind::Abort => {
                let code = map.get(key::abort::CODE)?.as_u64()?;
                let detail = map.get(key::abort::DETAIL).and_then(Value::as_str);
                self.out.clear();
                self.close(Ended::Aborted {
                    code: u8::try_from(code).unwrap_or(u8::MAX),
                    detail: detail.unwrap_or_default().to_owned(),
                    here: false,
                });
                Some(())
            }
            _ => self.take_settings(map),
        }
    }

    /// What was not begun goes back, and nothing new is taken.
    fn stop(&mut self, deadline: Option<Duration>, reason: u8) {
        self.close_ports();
        for call in self.calls.values() {
            call.over.stop();
        }
        self.events.push_back(Event::Stop(deadline, reason));
    }

    fn take_numbers(&mut self, frame: &Frame<'_>) -> Option<()> {
        let mut parts = self.envelope_of(frame)?;
        if frame.kind == Kind::Down {
            return None; // its capability is never in force
        }
        let n = element(&mut parts, 0).as_u64()?;
        match frame.kind {
            Kind::Credit if frame.header.channel == 0 => self.take_credit(n),
            Kind::Ack if n > self.sent => return None,
            Kind::HandleAck => {
                let lost = list(element(&mut parts, envelope::handle_ack::LOST))?;
                if lost.iter().any(|number| number.as_u64().is_none()) || !self.departed.confirm(n)
                {
                    return None;
                }
                self.pump();
            }
            Kind::Unimplemented => {
                let error = Error::new(code::UNIMPLEMENTED, "the primary does not know this");
                self.answered(frame.header.channel, Err(error));
            }
            _ => {}
        }
        Some(())
    }

    fn take_welcome(&mut self, mut said: Map) -> Option<()> {
        let version = said
            .get(key::welcome::VERSION)?
            .as_array()?
            .first()?
            .as_u64()?;
        let id = said.get(key::welcome::WORKER)?.as_u64()?;
        let cluster = match said.get(key::welcome::CLUSTER)? {
            Value::Bin(cluster) if cluster.len() == 16 => cluster.clone(),
            _ => return None,
        };
        if id == 0 || id >= 1 << 20 {
            return None;
        }
        if version != u64::from(MAJOR) {
            self.abort(Abort::Version, "this worker speaks 1.0", None);
            return Some(());
        }
        let caps = names(said.get(key::welcome::CAPS))?;
        let offered = |name: &String| self.caps.iter().copied().find(|known| known == name);
        self.caps = caps.iter().map(offered).collect::<Option<_>>()?;
        let taken = names(said.get(key::welcome::HANDLES))?;
        let is_taken = |name: &str| taken.iter().any(|other| other == name);
        let kinds = KINDS.iter().filter(|(_, name)| is_taken(name));
        self.takes = kinds.map(|(kind, _)| *kind as u8).collect();
        let mut take = |name: &str| {
            let place = said.0.iter().position(|(key, _)| key == name)?;
            Some(said.0.swap_remove(place).1)
        };
        self.peer.update(&map(take(key::welcome::LIMITS))?)?;
        self.is = Welcome {
            id: id as u32,
            name: take(key::welcome::NAME).and_then(|name| Some(name.as_str()?.to_owned())),
            cluster,
            heartbeat: heartbeat(take(key::welcome::HEARTBEAT).as_ref())?,
            config: map(take(key::welcome::CONFIG))?,
            log_level: 0,
        };
        self.events.push_back(Event::Welcomed);
        Some(())
    }

    /// Puts settings in force and says so. A new window counts from that frame on, at the one that
    /// sends messages (AWP-SE-2).
    fn take_settings(&mut self, said: Map) -> Option<()> {
        let limits = map(said.get(key::settings::LIMITS).cloned())?;
        let config = map(said.get(key::settings::CONFIG).cloned())?;
        let level = match said.get(key::settings::LOG_LEVEL) {
            None | Some(Value::Nil) => None,
            Some(level) => Some(level.as_u64()?.min(255) as u8),
        };
        let pause = said.get(key::settings::HEARTBEAT);
        let heartbeat = heartbeat(pause)?;
        self.peer.update(&limits)?;
        if pause.is_some_and(|pause| *pause != Value::Nil) {
            self.is.heartbeat = heartbeat;
        }
        self.is.log_level = level.unwrap_or(self.is.log_level);
        for (name, value) in config.0 {
            self.is.config.set(&name, value);
        }
        self.answer(Kind::SettingsAck, 0, &[], &Value::Nil);
        self.events.push_back(Event::Configured(said));
        self.pump();
        Some(())
    }

    /// Ends a call, or a port, that failed there.
    pub(crate) fn take_error(&mut self, frame: &Frame<'_>) {
        let said = if frame.broken {
            None
        } else {
            self.payload_of(frame)
        };
        self.answered(frame.header.channel, Err(Error::from_value(said)));
    }

    /// A broken body spoils this message alone.
    pub(crate) fn take_undeliverable(&mut self, frame: &Frame<'_>) {
        if frame.broken {
            return;
        }
        let Some(mut parts) = self.envelope_of(frame) else {
            return;
        };
        let number = element(&mut parts, envelope::undeliverable::N).as_u64();
        let to = Address::from_wire(&element(&mut parts, envelope::undeliverable::TO));
        let (Some(number), Some(to)) = (number, to) else {
            return;
        };
        if number == 0 || number > self.sent {
            let detail = "a message that was never sent is undeliverable";
            return self.abort(Abort::ProtocolError, detail, Some(frame.raw));
        }
        let error = Error::from_value(self.payload_of(frame));
        self.events
            .push_back(Event::Undeliverable(number, to, error));
    }
}

fn heartbeat(value: Option<&Value>) -> Option<Duration> {
    match value {
        None | Some(Value::Nil) => Some(Duration::ZERO),
        Some(ms) => ms.as_number().map(milliseconds),
    }
}

/// Reasons are for display, so what is no number is 0.
fn reason(value: Option<&Value>) -> u8 {
    let n = value.and_then(Value::as_u64).unwrap_or(0);
    u8::try_from(n).unwrap_or(u8::MAX)
}

fn names(value: Option<&Value>) -> Option<Vec<String>> {
    match value {
        None | Some(Value::Nil) => Some(Vec::new()),
        Some(list) => list
            .as_array()?
            .iter()
            .map(|name| Some(name.as_str()?.to_owned()))
            .collect(),
    }
}
