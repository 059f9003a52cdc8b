//! A worker beside a primary of a few lines. What needs a process is tested by the kit.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::awp_v1::{capability, Kind, HEADER_SIZE};
use crate::frame::{split, Header};
use crate::msgpack::{decode, encode};
use crate::run::start;
use crate::session::{encode_envelope, OFFERED};
use crate::{code, Address, Config, Ended, Map, Value, Worker};

/// The other side of the connection.
struct Primary(UnixStream);

impl Primary {
    fn say(&mut self, kind: Kind, channel: u32, envelope: &[Value], payload: impl Into<Value>) {
        let mut body = encode_envelope(envelope);
        encode(&mut body, &payload.into(), 64).expect("it is short");
        let mut header = Header::new(kind, channel);
        header.length = body.len() as u32;
        let mut raw = Vec::new();
        header.write(&mut raw);
        raw.extend(body);
        self.0.write_all(&raw).expect("the worker reads");
    }

    /// The next frame: kind, channel, envelope, payload.
    fn hear(&mut self) -> (Kind, u32, Vec<Value>, Value) {
        let mut raw = [0; HEADER_SIZE];
        self.0.read_exact(&mut raw).expect("there is one");
        let header = Header::parse(&raw).expect("a frame");
        let mut body = vec![0; header.length as usize];
        self.0.read_exact(&mut body).expect("a whole one");
        let (envelope, payload) = split(&body).expect("well formed");
        let envelope = decode(envelope, 64, None).expect("well formed");
        let kind = Kind::from_code(header.kind).expect("a known kind");
        let payload = decode(payload, 64, None).expect("well formed");
        (
            kind,
            header.channel,
            crate::control::list(envelope).expect("a list"),
            payload,
        )
    }

    /// The next frame of that kind; others mean nothing.
    fn wait(&mut self, kind: Kind) -> (u32, Vec<Value>, Value) {
        loop {
            let (other, channel, envelope, payload) = self.hear();
            if other == kind {
                return (channel, envelope, payload);
            }
        }
    }
}

/// A worker that is ready, and its primary.
fn pair(caps: &[&str], config: Config) -> (Worker, Primary) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let said = Map::default()
        .with("version", vec![1.into(), 0.into()])
        .with("worker", 7)
        .with("name", "web")
        .with("cluster", Value::Bin(vec![0; 16]))
        .with(
            "caps",
            caps.iter()
                .map(|name| Value::from(*name))
                .collect::<Vec<_>>(),
        )
        .with("limits", Map::default().with("window", 65_536));
    let mut primary = Primary(theirs);
    primary.say(Kind::Welcome, 0, &[], said);
    let no_exit: fn(i32) = |_| {};
    let worker = start(config, ours, Some(7), None, no_exit).expect("it is welcome");
    worker.ready(Map::default()).expect("it goes");
    primary.wait(Kind::Ready);
    (worker, primary)
}

fn usual() -> (Worker, Primary) {
    pair(&OFFERED, Config::new("test", "0"))
}

/// Ends a worker as a primary does.
fn end(worker: Worker, mut primary: Primary) {
    primary.say(Kind::Stop, 0, &[], Map::default());
    let closing = thread::spawn(move || worker.close());
    primary.wait(Kind::Goodbye);
    primary.say(Kind::Goodbye, 0, &[], Map::default().with("recv", 0));
    drop(primary);
    assert_eq!(Ended::Closed, closing.join().expect("no panic"));
}

#[test]
fn a_call_is_answered_by_whoever_has_it() {
    let (worker, mut primary) = usual();
    primary.say(Kind::Call, 2, &[], "first");
    primary.say(Kind::Call, 4, &[], "second");
    primary.say(Kind::Call, 6, &["nobody".into()], ());
    let (_, _, refused) = primary.wait(Kind::Error);
    assert_eq!(
        Some(&Value::from(code::NO_SUCH_ACTOR)),
        refused.as_map().expect("a map").get("code")
    );
    let message = worker.receive().expect("there are two");
    assert_eq!(Value::from("first"), message.body);
    drop(worker.receive());
    let (channel, _, said) = primary.wait(Kind::Error);
    let code = said.as_map().expect("a map").get("code").cloned();
    assert_eq!((4, Some(code::NOT_HANDLED.into())), (channel, code));
    message.reply("here").expect("somebody waits");
    assert_eq!((2, vec![], "here".into()), primary.wait(Kind::Reply));
    assert!(worker.receive_for(Duration::ZERO).is_none());
    end(worker, primary);
}

#[test]
fn a_call_that_is_not_answered_in_time_is_taken_back() {
    let (worker, mut primary) = usual();
    let to = Address::primary();
    let error = worker
        .call_for(&to, "what?", Duration::from_millis(1))
        .expect_err("no answer");
    assert_eq!(code::DEADLINE_EXCEEDED, error.code);
    let (channel, _, _) = primary.wait(Kind::Call);
    assert_eq!(channel, primary.wait(Kind::Cancel).0);
    end(worker, primary);
}

#[test]
fn a_sender_waits_for_credit() {
    let (worker, mut primary) = usual();
    let sender = worker.clone();
    let (told, tells) = mpsc::channel();
    let sending: JoinHandle<()> = thread::spawn(move || {
        for n in 0..5 {
            sender
                .tell(&Address::primary(), "x".repeat(20_000))
                .expect("it goes");
            told.send(n).expect("somebody counts");
        }
    });
    for _ in 0..3 {
        primary.wait(Kind::Tell);
    }
    for n in 0..3 {
        assert_eq!(Ok(n), tells.recv_timeout(Duration::from_secs(60)));
    }
    primary.say(Kind::Ping, 0, &[], ());
    primary.wait(Kind::Pong); // and no fourth before it
    assert!(tells.try_recv().is_err());
    primary.say(Kind::Credit, 0, &[60_000.into()], ());
    primary.wait(Kind::Tell);
    primary.wait(Kind::Tell);
    sending.join().expect("no panic");
    end(worker, primary);
}

/// AWP-MS-15: what is for another worker takes half of the window until it was passed on.
#[test]
fn one_that_does_not_read_leaves_room_for_others() {
    let (worker, mut primary) = usual();
    let (sender, other) = (worker.clone(), worker.clone());
    let sending = thread::spawn(move || {
        for _ in 0..3 {
            sender
                .tell(&Address::named("stuck"), "x".repeat(15_000))
                .expect("it goes");
        }
    });
    primary.wait(Kind::Tell);
    primary.wait(Kind::Tell);
    let (channel, envelope, _) = primary.wait(Kind::Call);
    let meta = envelope.last().and_then(Value::as_map).cloned();
    assert_eq!(Some(Map::default().with("room", true)), meta);
    other.tell(&Address::primary(), "free").expect("it goes");
    assert_eq!(Value::from("free"), primary.wait(Kind::Tell).2);
    primary.say(Kind::Reply, channel, &[], ());
    assert_eq!(Value::from("stuck"), primary.wait(Kind::Tell).1[0]);
    sending.join().expect("no panic");
    end(worker, primary);
}

#[test]
fn the_callbacks_are_told() {
    let (told, tells) = mpsc::channel();
    let mut config = Config::new("test", "0");
    let first = told.clone();
    config.on_settings = Box::new(move |map| first.send(format!("{map:?}")).expect("it is open"));
    config.on_undeliverable = Box::new(move |number, _, error| {
        told.send(format!("{number}: {error}")).expect("it is open");
    });
    let (worker, mut primary) = pair(&OFFERED, config);
    primary.say(Kind::Settings, 0, &[], Map::default().with("log_level", 30));
    primary.wait(Kind::SettingsAck);
    assert!(tells.recv().expect("told").contains("log_level"));
    worker.log(20, "a", "not worth it", Map::default());
    worker.log(30, "a", "worth it", Map::default().with("n", 1));
    let (_, envelope, record) = primary.wait(Kind::Log);
    assert_eq!(
        (Value::from(30), Value::from("a")),
        (envelope[0].clone(), envelope[2].clone())
    );
    let expected = vec!["worth it".into(), Map::default().with("n", 1).into()];
    assert_eq!(Value::Array(expected), record);
    worker.tell(&Address::named("nobody"), ()).expect("it goes");
    let gone = Map::default().with("code", code::NO_SUCH_ACTOR);
    primary.say(Kind::Undeliverable, 0, &[1.into()], gone);
    assert_eq!("1: no_such_actor", tells.recv().expect("told"));
    end(worker, primary);
}

#[test]
fn what_is_not_in_force_is_an_error_here() {
    let (worker, primary) = pair(&[capability::MSG], Config::new("test", "0"));
    let error = worker
        .call(&Address::primary(), ())
        .expect_err("not in force");
    assert_eq!(code::UNIMPLEMENTED, error.code);
    let large = "x".repeat(2 << 20);
    let error = worker
        .tell(&Address::primary(), large)
        .expect_err("no fragments");
    assert_eq!(code::TOO_LARGE, error.code);
    end(worker, primary);
}

#[test]
fn everybody_learns_of_the_end() {
    let (worker, primary) = usual();
    let (calling, listening, receiving) = (worker.clone(), worker.clone(), worker.clone());
    let call = thread::spawn(move || calling.call(&Address::primary(), ()).map(|_| ()));
    let listen = thread::spawn(move || {
        let what = crate::Listen::tcp("127.0.0.1", 0);
        listening.listen(&what).map(|_| ())
    });
    let receive = thread::spawn(move || receiving.receive().is_none());
    let mut both = [primary.0.try_clone().map(Primary).expect("a copy"), primary];
    let mut kinds = [both[0].hear().0, both[0].hear().0];
    kinds.sort_by_key(|kind| *kind as u8);
    assert_eq!([Kind::Listen, Kind::Call], kinds);
    drop(both);
    let lost = Err(code::CONNECTION_LOST.to_owned());
    assert_eq!(
        lost,
        call.join().expect("no panic").map_err(|error| error.code)
    );
    assert_eq!(
        lost,
        listen.join().expect("no panic").map_err(|error| error.code)
    );
    assert!(receive.join().expect("no panic"));
    assert_eq!(Ended::Lost, worker.close());
    let error = worker
        .tell(&Address::primary(), ())
        .expect_err("it is over");
    assert_eq!(code::CONNECTION_LOST, error.code);
}

#[test]
fn one_version_is_spoken() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let mut primary = Primary(theirs);
    let said = Map::default()
        .with("version", vec![2.into(), 0.into()])
        .with("worker", 1)
        .with("cluster", Value::Bin(vec![0; 16]));
    primary.say(Kind::Welcome, 0, &[], said);
    let no_exit: fn(i32) = |_| {};
    let refused = start(Config::new("test", "0"), ours, None, None, no_exit);
    assert!(refused.is_err());
    let (_, _, abort) = primary.wait(Kind::Abort);
    let code = abort.as_map().expect("a map").get("code").cloned();
    assert_eq!(Some(Value::from(crate::Abort::Version as u8)), code);
}
