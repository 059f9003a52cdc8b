//! Descriptors on their way in, and on their way out (sections 4 and 16).

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::handle::Handle;

/// What one `recvmsg` brought beside its bytes.
struct Group {
    fds: Vec<OwnedFd>,
    truncated: bool,
}

/// The groups that no frame has claimed, oldest first (AWP-FD-3).
#[derive(Default)]
pub struct Groups {
    waiting: VecDeque<Group>,
    /// Descriptors in them.
    pub unclaimed: usize,
    /// Frames with descriptors so far, for HANDLE_ACK (AWP-HA-4).
    pub frames: u64,
    /// How many of them were acknowledged.
    pub acked: u64,
    /// Those that were lost since.
    pub lost: Vec<u64>,
}

impl Groups {
    pub fn add(&mut self, fds: Vec<OwnedFd>, truncated: bool) {
        self.unclaimed += fds.len();
        self.waiting.push_back(Group { fds, truncated });
    }

    /// Takes the oldest group for a frame that declares `n` descriptors. None: it is not there, or
    /// not whole; then it is closed, and no other takes its place (AWP-FD-5).
    pub fn claim(&mut self, n: usize) -> Option<Vec<OwnedFd>> {
        self.frames += 1;
        let group = self.waiting.pop_front();
        if let Some(group) = group {
            self.unclaimed -= group.fds.len();
            if !group.truncated && group.fds.len() >= n {
                return Some(group.fds);
            }
        }
        self.lost.push(self.frames);
        None
    }

    pub fn clear(&mut self) {
        self.waiting.clear();
        self.unclaimed = 0;
    }
}

/// Frames with handles that are sent and not acknowledged: the copies are kept until the primary
/// has its own (AWP-HA-3).
#[derive(Default)]
pub struct Departures {
    frames: u64,
    kept: VecDeque<Arc<Vec<Handle>>>,
    /// Descriptors of these, and of frames that wait to be sent.
    pub in_flight: usize,
}

impl Departures {
    pub fn keep(&mut self, handles: &Arc<Vec<Handle>>) {
        self.frames += 1;
        self.kept.push_back(Arc::clone(handles));
    }

    /// Takes a HANDLE_ACK; false: it speaks of what was never sent.
    pub fn confirm(&mut self, upto: u64) -> bool {
        if upto > self.frames {
            return false;
        }
        while self.frames - (self.kept.len() as u64) < upto {
            let handles = self.kept.pop_front().expect("as many as are counted");
            self.in_flight -= handles.len();
        }
        true
    }

    pub fn clear(&mut self) {
        self.kept.clear();
    }
}
