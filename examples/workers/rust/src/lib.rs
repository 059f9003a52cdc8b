//! A worker's side of AWP 1.0, the protocol between an actorcluster primary and its workers:
//! messages, calls and open descriptors both ways, and ports that workers share. With std alone,
//! for Linux.
//!
//! [`run`] makes a program a worker; what it needs is in [`Worker`], which threads may share:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     awp::run(awp::Config::new("hello", "1.0"), |worker| {
//!         while let Some(mut message) = worker.receive() {
//!             let body = std::mem::replace(&mut message.body, awp::Value::Nil);
//!             message.reply(body)?;
//!         }
//!         Ok(())
//!     })
//! }
//! ```
//!
//! Two threads belong to a worker. One reads, and is never kept waiting by anybody: so PING is
//! answered whatever the program does. One writes, and sees to what is due later. All that they
//! know is in `session`, which does no input or output itself.
#![deny(unsafe_code)]

mod address;
mod awp_v1;
mod conn;
mod control;
mod error;
mod frame;
mod groups;
mod handle;
mod incoming;
mod lanes;
mod limits;
mod listener;
mod message;
mod msgpack;
mod outbox;
mod outgoing;
mod ports;
mod receive;
mod run;
mod session;
mod shared;
mod sys;
#[cfg(test)]
mod tests;
mod value;
mod wires;
mod worker;

pub use address::Address;
pub use awp_v1::{error as code, Abort, Handle as Kind, Reason};
pub use conn::{Conn, Stream};
pub use error::{Ended, Error};
pub use handle::Handle;
pub use incoming::Why;
pub use limits::{Limit, Limits};
pub use listener::{Listen, Listener};
pub use message::{Body, Message, Waited};
pub use outgoing::Reply;
pub use ports::Mode;
pub use run::{connect, is_worker, run, Config, ConnectError};
pub use session::Welcome;
pub use value::{Map, Value};
pub use worker::Worker;
