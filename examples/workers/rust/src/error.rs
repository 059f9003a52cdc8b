//! What goes wrong with messages, and with the connection.

use std::fmt;

use crate::awp_v1::{error as code, key, Abort};
use crate::msgpack::{Map, Value};

/// The failure of a call, of a listener, or of a message (section 12).
///
/// A program that answers a call by one chooses the code; what it says is for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// What went wrong, for programs: see [`crate::code`].
    pub code: String,
    /// What went wrong, for people.
    pub message: String,
    /// More about it, for programs that know the code.
    pub data: Option<Value>,
    /// The name of the failure in its own language, for people.
    pub kind: Option<String>,
}

/// The most bytes of a text for people: an ERROR has to fit into one frame (section 13).
const MOST_TEXT: usize = 4096;

impl Error {
    /// An error with that code and text.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Error {
            code: code.to_owned(),
            message: message.into(),
            data: None,
            kind: None,
        }
    }

    /// A failure of the application.
    pub fn app(message: impl Into<String>) -> Self {
        Error::new(code::APP, message)
    }

    pub(crate) fn lost(why: &Ended) -> Self {
        Error::new(code::CONNECTION_LOST, why.to_string())
    }

    pub(crate) fn stopping() -> Self {
        Error::new(code::STOPPING, "the worker was told to stop")
    }

    /// The error map.
    pub(crate) fn to_map(&self) -> Map {
        let mut map = Map::default().with(key::error::CODE, clip(&self.code));
        if !self.message.is_empty() {
            map.set(key::error::MESSAGE, clip(&self.message));
        }
        if let Some(data) = &self.data {
            map.set(key::error::DATA, data.clone());
        }
        if let Some(kind) = &self.kind {
            let remote = Map::default().with("type", clip(kind)).with("lang", "rust");
            map.set(key::error::REMOTE, remote);
        }
        map
    }

    /// Reads an error map; what is not one is a failure too.
    pub(crate) fn from_value(value: Option<Value>) -> Self {
        let Some(Value::Map(map)) = value else {
            return Error::new(code::BAD_PAYLOAD, "an ERROR without an error map");
        };
        let text = |name: &str| map.get(name).and_then(Value::as_str);
        let Some(code) = text(key::error::CODE) else {
            return Error::new(code::BAD_PAYLOAD, "an ERROR without a code");
        };
        let remote = map.get(key::error::REMOTE).and_then(Value::as_map);
        Error {
            code: code.to_owned(),
            message: text(key::error::MESSAGE).unwrap_or_default().to_owned(),
            data: map
                .get(key::error::DATA)
                .filter(|data| **data != Value::Nil)
                .cloned(),
            kind: remote
                .and_then(|remote| remote.get("type")?.as_str())
                .map(str::to_owned),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error {
            kind: Some("std::io::Error".to_owned()),
            ..Error::app(error.to_string())
        }
    }
}

/// How a connection has ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ended {
    /// In good order, both sides having said good-bye.
    Closed,
    /// The primary is gone without a word.
    Lost,
    /// One side has given it up.
    Aborted {
        /// Why: a number of section 21; [`Abort`] has those that are known.
        code: u8,
        /// Why, for people.
        detail: String,
        /// Whether this side gave up.
        here: bool,
    },
}

impl Ended {
    /// The exit status that the primary expects then.
    pub fn status(&self) -> u8 {
        u8::from(matches!(self, Ended::Aborted { .. }))
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Closed => f.write_str("the connection is closed"),
            Ended::Lost => f.write_str("the primary is gone"),
            Ended::Aborted { code, detail, here } => {
                let who = if *here { "worker" } else { "primary" };
                write!(f, "the {who} gave the connection up: ")?;
                match Abort::from_code(*code) {
                    Some(known) => write!(f, "{known:?}: {detail}"),
                    None => write!(f, "code {code}: {detail}"),
                }
            }
        }
    }
}

impl std::error::Error for Ended {}

/// The beginning of a text that may be too long for one frame.
pub(crate) fn clip(text: &str) -> &str {
    if text.len() <= MOST_TEXT {
        return text;
    }
    let mut end = MOST_TEXT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
