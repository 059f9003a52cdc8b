//! The ways to other workers. The primary holds what it cannot pass on, and with it our credit: so
//! that one worker that is stuck does not hold up what is for all others, at most half of the
//! window is given to one address before the primary says that it has passed everything on
//! (AWP-MS-14, AWP-MS-15). What is for the primary itself has no lane.

use std::collections::VecDeque;

use crate::address::Address;
use crate::awp_v1::{capability, Kind};
use crate::limits::Limit;
use crate::outgoing::Leaving;
use crate::session::Session;

#[derive(Default)]
pub struct Lane {
    /// What messages cost of which it is not known that they were passed on.
    unknown: usize,
    /// Messages that wait until it is.
    queue: VecDeque<Leaving>,
    asking: bool,
}

impl Session {
    /// Puts a message into its lane, and behind all others if there is room in it.
    pub(crate) fn route(&mut self, message: Leaving) {
        if message.to.is_primary() || !self.has(capability::CALL) {
            self.queue.push_back(message);
            return self.pump();
        }
        let to = message.to.clone();
        self.lanes
            .entry(to.clone())
            .or_default()
            .queue
            .push_back(message);
        self.advance(&to);
    }

    fn advance(&mut self, to: &Address) {
        let window = self.peer[Limit::Window];
        let Some(mut lane) = self.lanes.remove(to) else {
            return;
        };
        while let Some(message) = lane.queue.front() {
            let cost = self.price(message.envelope().len() + message.payload.len());
            if lane.unknown > 0 && lane.unknown + cost > window / 2 {
                break;
            }
            lane.unknown += cost;
            self.queue.extend(lane.queue.pop_front());
        }
        if lane.unknown >= window / 4 && !lane.asking {
            lane.asking = true;
            self.queue.push_back(Leaving {
                kind: Kind::Call,
                to: to.clone(),
                payload: vec![0xc0],
                handles: Vec::new(),
                expires: None,
                ticket: None,
            });
        }
        self.lanes.insert(to.clone(), lane);
        self.pump();
    }

    /// What was sent before the question, which is about to leave.
    pub(crate) fn asked_lane(&self, to: &Address) -> usize {
        let before: usize = self
            .queue
            .iter()
            .filter(|other| other.to == *to)
            .map(|message| self.price(message.envelope().len() + message.payload.len()))
            .sum();
        self.lanes
            .get(to)
            .map_or(0, |lane| lane.unknown.saturating_sub(before))
    }

    /// The answer to the question. Whatever it is, an error too, it is about what was sent before.
    pub(crate) fn passed_on(&mut self, to: &Address, before: usize) {
        let Some(lane) = self.lanes.get_mut(to) else {
            return;
        };
        lane.asking = false;
        lane.unknown -= before.min(lane.unknown);
        if lane.unknown == 0 && lane.queue.is_empty() {
            self.lanes.remove(to);
        } else if self.ended.is_none() {
            self.advance(to);
        }
    }

    /// Takes a message back that waits in its lane, and says whether it was there.
    pub(crate) fn leave_lanes(
        &mut self,
        remove: impl Fn(&mut VecDeque<Leaving>) -> Option<Leaving>,
    ) -> bool {
        let found = self
            .lanes
            .values_mut()
            .find_map(|lane| remove(&mut lane.queue));
        let Some(message) = found else {
            return false;
        };
        self.advance(&message.to);
        true
    }
}
