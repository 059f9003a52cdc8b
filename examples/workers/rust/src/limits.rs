//! What one side can receive (section 15).

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use crate::awp_v1::{default, floor, limit};
use crate::msgpack::{Map, Value};
use crate::sys::MOST_FDS;

/// One of the limits that this crate goes by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limit {
    /// Bytes of the body of one frame.
    MaxFrame,
    /// Bytes of one whole encoded message.
    MaxMessage,
    /// Bytes of all messages that have not come as a whole.
    MaxPartial,
    /// Bytes of messages that nobody has taken out of the mailbox.
    Window,
    /// How deep arrays and maps stand in one another.
    MaxDepth,
    /// Descriptors of one frame.
    MaxFds,
    /// Descriptors that are sent and not acknowledged.
    FdsInFlight,
    /// Calls that are not answered.
    MaxCalls,
    /// Bytes of what stands before the message: addresses, handles, meta map.
    MaxMeta,
}

const COUNT: usize = 9;

/// Name, default and floor of each, in the order of [`Limit`].
const TABLE: [(&str, u32, u32); COUNT] = [
    (limit::MAX_FRAME, default::MAX_FRAME, floor::MAX_FRAME),
    (limit::MAX_MESSAGE, default::MAX_MESSAGE, floor::MAX_MESSAGE),
    (limit::MAX_PARTIAL, default::MAX_PARTIAL, floor::MAX_PARTIAL),
    (limit::WINDOW, default::WINDOW, floor::WINDOW),
    (limit::MAX_DEPTH, default::MAX_DEPTH, floor::MAX_DEPTH),
    (limit::MAX_FDS, default::MAX_FDS, floor::MAX_FDS),
    (
        limit::FDS_IN_FLIGHT,
        default::FDS_IN_FLIGHT,
        floor::FDS_IN_FLIGHT,
    ),
    (limit::MAX_CALLS, default::MAX_CALLS, floor::MAX_CALLS),
    (limit::MAX_META, default::MAX_META, floor::MAX_META),
];

/// The deepest nesting that the decoder, which calls itself, is let into.
const DEEPEST: usize = 512;

/// What one side can receive. The default is that of the specification.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    values: [usize; COUNT],
    /// Limits on what a worker of this crate never receives, as it was told them.
    others: BTreeMap<String, usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            values: TABLE.map(|(_, default, _)| default as usize),
            others: BTreeMap::new(),
        }
    }
}

impl Index<Limit> for Limits {
    type Output = usize;

    fn index(&self, which: Limit) -> &usize {
        &self.values[which as usize]
    }
}

impl IndexMut<Limit> for Limits {
    fn index_mut(&mut self, which: Limit) -> &mut usize {
        &mut self.values[which as usize]
    }
}

impl Limits {
    /// Raises what is below its floor, and lowers what this crate cannot take.
    pub(crate) fn bounded(mut self) -> Self {
        for (value, (_, _, floor)) in self.values.iter_mut().zip(TABLE) {
            *value = (*value).clamp(floor as usize, i32::MAX as usize);
        }
        self[Limit::MaxFds] = self[Limit::MaxFds].min(MOST_FDS);
        self[Limit::MaxDepth] = self[Limit::MaxDepth].min(DEEPEST);
        self
    }

    /// The map of HELLO: what differs from the defaults.
    pub(crate) fn announced(&self) -> Map {
        let mut map = Map::default();
        for ((name, default, _), value) in TABLE.iter().zip(self.values) {
            if value != *default as usize {
                map.set(name, value);
            }
        }
        for (name, value) in &self.others {
            map.set(name, *value);
        }
        map
    }

    /// The map of SETTINGS.
    pub(crate) fn all(&self) -> Map {
        let mut map = Map::default();
        for ((name, _, _), value) in TABLE.iter().zip(self.values) {
            map.set(name, value);
        }
        map
    }

    /// Takes a map of limits; None: one is not a number.
    pub(crate) fn update(&mut self, map: &Map) -> Option<()> {
        for ((name, _, floor), value) in TABLE.iter().zip(&mut self.values) {
            match map.get(name) {
                None | Some(Value::Nil) => {}
                Some(said) => {
                    let said = said.as_u64()?.min(i32::MAX as u64) as usize;
                    *value = said.max(*floor as usize);
                }
            }
        }
        self[Limit::MaxDepth] = self[Limit::MaxDepth].min(DEEPEST);
        Some(())
    }

    /// Takes the variable ACTORCLUSTER_LIMITS (AWP-TR-8). What it cannot read it passes over.
    pub(crate) fn parse(&mut self, text: &str) {
        for word in text.split_whitespace() {
            let Some((name, value)) = word.split_once('=') else {
                continue;
            };
            let Ok(value) = value.parse::<u32>() else {
                continue;
            };
            match TABLE.iter().position(|row| row.0 == name) {
                Some(place) => self.values[place] = value as usize,
                None => {
                    self.others.insert(name.to_owned(), value as usize);
                }
            }
        }
    }

    /// Raises each, but the window, to what it is in others.
    pub(crate) fn raise(&mut self, others: &Limits) {
        for (place, value) in others.values.iter().enumerate() {
            if place != Limit::Window as usize {
                self.values[place] = self.values[place].max(*value);
            }
        }
    }
}
