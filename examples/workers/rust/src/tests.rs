//! The protocol's vectors, and a worker beside a primary of a few lines.

mod diagnostic;
mod json;
mod stage;
mod values;
mod vectors;
mod worker;
