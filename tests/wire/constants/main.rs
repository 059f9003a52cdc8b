// Prints what the generated module says of every state and kind, for comparison.
mod awp_v1;

use awp_v1::{Action, Kind, State};

const STATES: [State; 6] = [
    State::Handshake,
    State::Starting,
    State::Active,
    State::Stopping,
    State::Closing,
    State::Closed,
];

fn role(
    name: &str,
    receives: fn(State, Option<Kind>) -> (Action, State),
    at_eof: fn(State) -> (Action, State),
    may_send: fn(State, Kind) -> bool,
    sent: fn(State, Kind) -> State,
) {
    for state in STATES {
        let at = state as u8;
        let (action, next) = at_eof(state);
        println!("{name} {at} eof {} {}", action as u8, next as u8);
        for code in 0..=255 {
            let kind = Kind::from_code(code);
            let (action, next) = receives(state, kind);
            print!("{name} {at} {code} {} {}", action as u8, next as u8);
            if let Some(kind) = kind {
                let may = may_send(state, kind) as u8;
                print!(" {may} {}", sent(state, kind) as u8);
            }
            println!();
        }
    }
}

fn main() {
    role(
        "worker",
        awp_v1::worker_receives,
        awp_v1::worker_at_eof,
        awp_v1::worker_may_send,
        awp_v1::worker_sent,
    );
    role(
        "primary",
        awp_v1::primary_receives,
        awp_v1::primary_at_eof,
        awp_v1::primary_may_send,
        awp_v1::primary_sent,
    );
    for code in 0..=255 {
        if let Some(kind) = Kind::from_code(code) {
            let info = kind.info();
            println!(
                "{code} {} {} {} {}{}{}{}{}",
                info.name,
                info.capability.unwrap_or("-"),
                info.level,
                info.worker_sends as u8,
                info.primary_sends as u8,
                info.urgent as u8,
                info.charged as u8,
                info.handles as u8
            );
        }
    }
}
