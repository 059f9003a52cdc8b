//! Frames that wait to be sent.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::awp_v1::{flag, Kind};
use crate::frame::Header;
use crate::handle::Handle;
use crate::msgpack::bin_head;

/// How much of a large message goes in one frame: other frames pass between.
pub const FRAGMENT: usize = 256 << 10;

/// When a batch is closed.
const ENOUGH: usize = 64 << 10;

/// A frame that waits to be sent, or what is left of a message in fragments.
pub struct Item {
    pub header: Header,
    pub handles: Arc<Vec<Handle>>,
    /// Of a message in fragments: the envelope.
    pub body: Vec<u8>,
    /// Of a message in fragments: its payload, and how much of that is sent.
    pub payload: Vec<u8>,
    pub done: usize,
    /// Of a message in fragments: its first one is sent.
    pub begun: bool,
    /// An answer that the primary can ask for as often as it likes.
    pub provoked: bool,
    /// A number that is told when the frame is written.
    pub mark: Option<u64>,
}

impl Item {
    pub fn new(header: Header, body: Vec<u8>) -> Self {
        Item {
            header,
            handles: Arc::default(),
            body,
            payload: Vec::new(),
            done: 0,
            begun: false,
            provoked: false,
            mark: None,
        }
    }

    fn size(&self) -> usize {
        crate::awp_v1::HEADER_SIZE + self.body.len()
    }
}

/// Three queues. Urgent frames go first; then those that keep their order; and with each round one
/// fragment of one large message, so that none holds up the others for long.
#[derive(Default)]
pub struct Outbox {
    urgent: VecDeque<Item>,
    ordered: VecDeque<Item>,
    pub large: VecDeque<Item>,
    /// Bytes in `urgent` and `ordered`.
    pub size: usize,
    /// Bytes of provoked answers among them.
    pub provoked: usize,
    /// READY waits: nothing may overtake it (AWP-MS-4).
    holds_ready: bool,
}

/// What one `sendmsg` takes: frames behind each other, and the descriptors of the first of them
/// (AWP-FD-1).
#[derive(Default)]
pub struct Batch {
    pub bytes: Vec<u8>,
    pub handles: Arc<Vec<Handle>>,
    /// The highest mark in it.
    pub mark: Option<u64>,
    /// The kinds of messages in fragments that are complete with it.
    pub completed: Vec<Kind>,
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.ordered.is_empty() && self.large.is_empty()
    }

    pub fn push(&mut self, item: Item, urgent: bool) {
        self.size += item.size();
        if item.provoked {
            self.provoked += item.size();
        }
        self.holds_ready |= item.header.kind == Kind::Ready as u8;
        if urgent && !self.holds_ready {
            self.urgent.push_back(item);
        } else {
            self.ordered.push_back(item);
        }
    }

    pub fn clear(&mut self) {
        *self = Outbox::default();
    }

    /// Takes the large message of that channel out, if it is one of these kinds.
    pub fn remove_large(&mut self, channel: u32, kinds: [Kind; 2]) -> Option<Item> {
        let is_it = |item: &Item| {
            item.header.channel == channel
                && kinds.iter().any(|kind| *kind as u8 == item.header.kind)
        };
        let place = self.large.iter().position(is_it)?;
        self.large.remove(place)
    }

    /// Takes a batch out of the queues.
    pub fn next(&mut self, max_frame: usize) -> Batch {
        let mut batch = Batch::default();
        for urgent in [true, false] {
            while batch.bytes.len() < ENOUGH {
                let queue = if urgent {
                    &mut self.urgent
                } else {
                    &mut self.ordered
                };
                let Some(item) = queue.front() else {
                    break;
                };
                if !item.handles.is_empty() && !batch.bytes.is_empty() {
                    return batch; // its descriptors have to go with the first byte
                }
                let item = queue.pop_front().expect("it was there");
                self.size -= item.size();
                if item.provoked {
                    self.provoked -= item.size();
                }
                self.holds_ready &= item.header.kind != Kind::Ready as u8;
                batch.add(&item, item.header, &[&item.body]);
            }
        }
        if let Some(item) = self.large.front() {
            if batch.bytes.len() < ENOUGH && (item.handles.is_empty() || batch.bytes.is_empty()) {
                self.fragment(&mut batch, max_frame);
            }
        }
        batch
    }

    /// Adds the next piece of the oldest large message (AWP-LG-1).
    fn fragment(&mut self, batch: &mut Batch, max_frame: usize) {
        const BIN_HEAD: usize = 5;
        let item = self.large.front_mut().expect("there is one");
        let envelope = std::mem::replace(&mut item.body, vec![0xc0]);
        let left = item.payload.len() - item.done;
        let size = FRAGMENT
            .min(max_frame.saturating_sub(envelope.len() + BIN_HEAD).max(1))
            .min(left);
        let mut head = Vec::with_capacity(BIN_HEAD);
        bin_head(&mut head, size).expect("a fragment is short");
        let mut header = item.header;
        header.flags |= flag::FRAG;
        if size < left {
            header.flags |= flag::MORE;
        }
        let piece = &item.payload[item.done..item.done + size];
        batch.add(item, header, &[&envelope, &head, piece]);
        item.done += size;
        item.begun = true;
        item.handles = Arc::default();
        item.header.nfds = 0;
        if size == left {
            let kind = Kind::from_code(item.header.kind).expect("a message");
            batch.completed.push(kind);
            self.large.pop_front();
        }
    }
}

impl Batch {
    fn add(&mut self, item: &Item, mut header: Header, parts: &[&[u8]]) {
        header.length = parts.iter().map(|part| part.len()).sum::<usize>() as u32;
        header.write(&mut self.bytes);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        if !item.handles.is_empty() {
            self.handles = Arc::clone(&item.handles);
        }
        self.mark = self.mark.max(item.mark);
    }
}
