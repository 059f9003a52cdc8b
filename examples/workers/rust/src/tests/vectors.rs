//! Plays the protocol's vectors, where this is a part of the whole repository.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::diagnostic::{same, unhex, value_of};
use super::json::Json;
use super::stage::{kinds_in, Sent, Stage};
use crate::awp_v1::{Kind, HEADER_SIZE};
use crate::control::list;
use crate::frame::{split, Header};
use crate::msgpack::{decode, encode};
use crate::{Abort, Ended, Map, Value};

fn load(name: &str) -> Option<Json> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../protocol/vectors");
    let text = std::fs::read_to_string(place.join(name)).ok()?;
    Some(Json::parse(&text))
}

/// The names of the registry are in capitals, and those of Rust's enums are not.
fn in_capitals(name: &str) -> String {
    let mut text = String::new();
    for (place, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && place > 0 {
            text.push('_');
        }
        text.extend(letter.to_uppercase());
    }
    text
}

#[test]
fn frames_and_values() {
    for name in ["frames.json", "values.json"] {
        let Some(vectors) = load(name) else {
            return;
        };
        for vector in vectors.list() {
            frame(vector);
        }
    }
}

fn frame(vector: &Json) {
    let (id, raw) = (vector.get("id").text(), unhex(vector.get("hex").text()));
    let header = Header::parse(&raw).expect(id);
    assert_eq!(raw.len(), header.end(), "{id}");
    let is_canonical = vector.get("canonical").is_true();
    let mut again = Vec::new();
    header.write(&mut again);
    assert!(
        !is_canonical || again == raw[..HEADER_SIZE],
        "{id}: {again:x?}"
    );
    let said = vector.get("frame");
    if *said.get("body") != Json::Null {
        return; // of which nothing is to be decoded
    }
    let (envelope, payload) = split(&raw[HEADER_SIZE..]).expect(id);
    for (part, encoded) in [("envelope", envelope), ("payload", payload)] {
        let expected = value_of(said.get(part));
        let value = decode(encoded, 64, None).expect(id);
        assert!(
            same(&value, &expected),
            "{id}: {part} is {value:?}, not {expected:?}"
        );
        let mut again = Vec::new();
        encode(&mut again, &value, 64).expect(id);
        assert!(
            !is_canonical || again == encoded,
            "{id}: {part} is written as {again:x?}"
        );
    }
}

#[test]
fn streams() {
    let Some(preludes) = load("preludes.json") else {
        return;
    };
    let mut played = 0;
    for name in [
        "streams",
        "fragments",
        "descriptors",
        "faults",
        "aborts",
        "codes",
        "monitors",
    ] {
        for vector in load(&format!("{name}.json"))
            .expect("with the others")
            .list()
        {
            let prelude = preludes.get(vector.get("prelude").text());
            let is_ours = prelude.get("role").text() == "worker";
            let takes_all = vector.get("id").text() == "fd.kinds-not-taken"; // as this one does
            let is_level_3 = vector.get("id").text().starts_with("down") || name == "monitors";
            if is_ours && !is_level_3 && !takes_all {
                let steps = [prelude.get("steps").list(), vector.get("before").list()].concat();
                play(vector, &steps, false);
                if !vector.get("exact").is_true() {
                    play(vector, &steps, true);
                }
                played += 1;
            }
        }
    }
    assert!(played > 150, "{played} vectors");
}

fn play(vector: &Json, steps: &[Json], bytewise: bool) {
    let mut stage = Stage::new(steps);
    let mut kinds = HashMap::new();
    kinds_in(vector.get("expect"), &mut kinds);
    for read in vector.get("reads").list() {
        let raw = unhex(read.get("hex").text());
        for _ in 0..read.get("repeat").number_or(1) {
            let fds = stage.open(read.get("fds").list(), &kinds);
            let truncated = read.get("truncated").is_true();
            if bytewise {
                stage.hear(&raw[..1], fds, truncated);
                for byte in &raw[1..] {
                    stage.hear(&[*byte], Vec::new(), false);
                }
            } else {
                stage.hear(&raw, fds, truncated);
            }
        }
    }
    let sent = stage.drain();
    let eof = vector.get("eof").text();
    if !eof.is_empty() {
        stage.session.eof();
        stage.note();
    }
    let id = format!(
        "{} ({})",
        vector.get("id").text(),
        if bytewise { "bytes" } else { "whole" }
    );
    check_end(&id, vector, &stage);
    check_events(&id, vector, &stage.events);
    if *vector.get("abort") == Json::Null {
        check_answers(&id, vector, &sent);
    }
    for name in vector.get("discarded").list() {
        assert!(
            !stage.is_open(name.text()),
            "{id}: the descriptor {} is open",
            name.text()
        );
    }
}

fn check_end(id: &str, vector: &Json, stage: &Stage) {
    let (ended, abort) = (&stage.session.ended, vector.get("abort"));
    let is_optional = *abort != Json::Null && abort.get("optional").is_true();
    let code = match ended {
        Some(Ended::Aborted {
            code, here: true, ..
        }) => {
            let code = Abort::from_code(*code).expect("a code of ours");
            in_capitals(&format!("{code:?}")).to_lowercase()
        }
        _ => String::new(),
    };
    let expected = if *abort == Json::Null {
        ""
    } else {
        abort.get("code").text()
    };
    assert!(
        code == expected || is_optional && code.is_empty(),
        "{id}: {ended:?}"
    );
    let state = vector.get("state").text();
    let is_state = in_capitals(&format!("{:?}", stage.session.state)) == state;
    assert!(
        state.is_empty() || is_optional || is_state,
        "{id}: {:?}",
        stage.session.state
    );
    match vector.get("eof").text() {
        "lost" => assert_eq!(Some(Ended::Lost), *ended, "{id}"),
        "orderly" => assert_eq!(Some(Ended::Closed), *ended, "{id}"),
        _ => {}
    }
}

/// Events that a session tells nobody, as nothing here asks for them.
const SILENT: [&str; 7] = [
    "Acknowledged",
    "CreditGranted",
    "Goodbye",
    "HandlesAcknowledged",
    "ListenClosed",
    "Pong",
    "Unimplemented",
];

fn check_events(id: &str, vector: &Json, events: &[Map]) {
    let mut events = events.iter().peekable();
    for expected in vector.get("expect").list() {
        let name = expected.get("event").text();
        if SILENT.contains(&name) {
            if name == "Goodbye" {
                let told = events.next().and_then(|event| event.get("event"));
                assert_eq!(Some(&Value::from("Stop")), told, "{id}: GOODBYE is told so");
            }
            continue;
        }
        for _ in 0..expected.get("repeat").number_or(1) {
            let got = events
                .next()
                .unwrap_or_else(|| panic!("{id}: no {expected:?}"));
            let Json::Object(fields) = expected else {
                panic!("{id}: no object");
            };
            for (key, wanted) in fields.iter().filter(|field| field.0 != "repeat") {
                check_field(id, key, got.get(key), &value_of(wanted));
            }
        }
    }
    let more: Vec<_> = events.collect();
    assert!(more.is_empty(), "{id}: {more:?}");
}

fn check_field(id: &str, key: &str, got: Option<&Value>, wanted: &Value) {
    match (key, got, wanted) {
        ("error", Some(Value::Map(got)), Value::Map(wanted)) => {
            let kept = ["code", "message", "data"]; // the rest is for display elsewhere
            for (inner, value) in wanted
                .0
                .iter()
                .filter(|entry| kept.contains(&entry.0.as_str()))
            {
                check_field(id, inner, got.get(inner), value);
            }
        }
        ("config", Some(Value::Map(map)), Value::Nil) if map.is_empty() => {}
        (_, got, wanted) => {
            assert!(
                got.is_some_and(|got| same(got, wanted)),
                "{id}: {key} is {got:?}, not {wanted:?}"
            );
        }
    }
}

/// A frame in words: kind, channel, and what of the body vectors speak of.
fn in_words(sent: &Sent) -> String {
    let kind = Kind::from_code(sent.header.kind)
        .expect("a known kind")
        .info()
        .name;
    let channel = sent.header.channel;
    if kind == "PONG" {
        return format!("{kind} on {channel}: {:02x?}", sent.body);
    }
    let (envelope, payload) = split(&sent.body).expect("well formed");
    let envelope = list(decode(envelope, 64, None).expect("well formed")).expect("a list");
    let payload = decode(payload, 64, None).expect("well formed");
    let code = payload.as_map().and_then(|map| map.get("code").cloned());
    format!("{kind} on {channel}: {envelope:?} {code:?}")
}

/// The same of an answer that a vector wants.
fn wanted_words(answer: &Json) -> String {
    let (kind, channel) = (
        answer.get("kind").text(),
        answer.get("channel").number_or(0),
    );
    if *answer.get("body") != Json::Null {
        return format!(
            "{kind} on {channel}: {:02x?}",
            unhex(answer.get("body").text())
        );
    }
    let mut envelope = list(value_of(answer.get("envelope"))).expect("a list");
    while envelope.last() == Some(&Value::Nil) {
        envelope.pop();
    }
    let payload = value_of(answer.get("payload"));
    let code = payload.as_map().and_then(|map| map.get("code").cloned());
    format!("{kind} on {channel}: {envelope:?} {code:?}")
}

fn check_answers(id: &str, vector: &Json, sent: &[Sent]) {
    let (mut got, mut upto, mut lost) = (BTreeMap::new(), 0, Vec::new());
    for frame in sent {
        match Kind::from_code(frame.header.kind).expect("a known kind") {
            // What may go out at any time, or when STOP closes a port.
            Kind::Credit | Kind::Ack | Kind::ConnCredit | Kind::ListenClose => {}
            Kind::HandleAck => {
                let (envelope, _) = split(&frame.body).expect("well formed");
                let parts = decode(envelope, 64, None).expect("well formed");
                let parts = parts.as_array().expect("a list");
                upto = parts[0].as_u64().expect("a number");
                lost.extend(
                    parts
                        .get(1)
                        .and_then(Value::as_array)
                        .unwrap_or_default()
                        .to_vec(),
                );
            }
            _ => *got.entry(in_words(frame)).or_insert(0) += 1,
        }
    }
    for answer in vector.get("may_answer").list() {
        let prefix = format!(
            "{} on {}:",
            answer.get("kind").text(),
            answer.get("channel").number_or(0)
        );
        got.retain(|words, _| !words.starts_with(&prefix));
    }
    let mut wanted = BTreeMap::new();
    for answer in vector.get("answers").list() {
        let count = answer.get("repeat").number_or(1);
        if *answer.get("envelope") == Json::Null && *answer.get("body") == Json::Null {
            // Of the body nothing is said but, perhaps, its code.
            let prefix = format!("{} on ", answer.get("kind").text());
            let alike = got.keys().find(|words| words.starts_with(&prefix)).cloned();
            if let Some(words) = alike.filter(|words| *words != wanted_words(answer)) {
                *wanted.entry(words).or_insert(0) += count;
                continue;
            }
        }
        *wanted.entry(wanted_words(answer)).or_insert(0) += count;
    }
    assert_eq!(wanted, got, "{id}: answers");
    let acknowledged = vector.get("handle_ack");
    if *acknowledged != Json::Null {
        assert_eq!(
            acknowledged.get("upto").number_or(0) as u64,
            upto,
            "{id}: HANDLE_ACK"
        );
        assert_eq!(
            value_of(acknowledged.get("lost")),
            Value::Array(lost),
            "{id}: HANDLE_ACK"
        );
    }
}
