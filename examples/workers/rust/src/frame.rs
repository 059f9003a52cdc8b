//! Frames: sixteen bytes of header, then envelope and payload (section 3).

use crate::awp_v1::{Kind, HEADER_SIZE};
use crate::msgpack::{skip, Fault};

/// What stands before every body. The kind is a number, as it may be one that nobody knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    pub length: u32,
    pub kind: u8,
    pub flags: u8,
    pub nfds: u8,
    pub channel: u32,
}

impl Header {
    pub fn new(kind: Kind, channel: u32) -> Self {
        Header {
            length: 0,
            kind: kind as u8,
            flags: 0,
            nfds: 0,
            channel,
        }
    }

    /// Reads sixteen bytes; None: their signature is not that of a frame.
    pub fn parse(b: &[u8]) -> Option<Self> {
        if b[0] != 0x95 || b[1] != 0xce || b[6] != 0xce || b[11] != 0xce {
            return None;
        }
        Some(Header {
            length: u32::from_be_bytes([b[2], b[3], b[4], b[5]]),
            kind: b[7],
            flags: b[8],
            nfds: b[9],
            channel: u32::from_be_bytes([b[12], b[13], b[14], b[15]]),
        })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0x95, 0xce]);
        out.extend_from_slice(&self.length.to_be_bytes());
        out.extend_from_slice(&[0xce, self.kind, self.flags, self.nfds, 0, 0xce]);
        out.extend_from_slice(&self.channel.to_be_bytes());
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// How long the frame is, header and all.
    pub fn end(&self) -> usize {
        HEADER_SIZE + self.length as usize
    }
}

/// Finds the border between envelope and payload, and that they fill the body (AWP-FR-3).
pub fn split(body: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let border = skip(body)?;
    let (envelope, payload) = body.split_at(border);
    if skip(payload)? != payload.len() {
        return Err(Fault::Length);
    }
    Ok((envelope, payload))
}
