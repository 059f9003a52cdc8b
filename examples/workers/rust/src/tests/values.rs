//! Values that lie, and values that are cut or changed anywhere.

use crate::msgpack::{decode, encode, skip, Fault};
use crate::{Address, Map, Value};

#[test]
fn what_is_announced_and_not_there_takes_no_memory() {
    for raw in [
        &[0xdd, 0xff, 0xff, 0xff, 0xff][..],
        &[0xdf, 0xff, 0xff, 0xff, 0xff, 0xa0],
        &[0xc6, 0xff, 0xff, 0xff, 0xff, 0],
        &[0xdc, 0xff, 0xff, 0xdc, 0xff, 0xff, 0xc0],
        &[0xd9],
        &[],
    ] {
        assert_eq!(Err(Fault::Length), decode(raw, 64, None), "{raw:x?}");
    }
    assert_eq!(Err(Fault::Unknown), decode(&[0xc1], 64, None));
}

#[test]
fn the_profile_is_kept() {
    for raw in [
        &[0x81, 0x01, 0x02][..],                     // a key that is no str
        &[0x82, 0xa1, b'a', 0xc0, 0xa1, b'a', 0xc0], // a key twice
        &[0xa1, 0xff],                               // no UTF-8
        &[0xd4, 0x01, 0x01],                         // a handle that is not there
        &[0xd4, 0x02, 0xc0],                         // no address
    ] {
        let got = decode(raw, 64, Some(1));
        assert!(matches!(got, Err(Fault::Profile(_))), "{raw:x?}: {got:?}");
    }
    let deep = |n| [vec![0x91; n], vec![0xc0]].concat();
    assert!(decode(&deep(64), 64, None).is_ok());
    assert!(matches!(
        decode(&deep(65), 64, None),
        Err(Fault::Profile(_))
    ));
    assert_eq!(Ok(1_000_001), skip(&deep(1_000_000)));
}

#[test]
fn every_value_comes_back_in_its_shortest_form() {
    let sample = sample();
    let mut raw = Vec::new();
    encode(&mut raw, &sample, 64).expect("it is in the profile");
    assert_eq!(Ok(sample), decode(&raw, 64, Some(1)));
    for (value, size) in [
        (Value::Int(-32), 1),
        (Value::Int(-33), 2),
        (Value::Int(i64::from(i16::MIN)), 3),
        (Value::Int(i64::from(i32::MIN)), 5),
        (Value::Int(i64::MIN), 9),
        (Value::from(255_u8), 2),
        (Value::from(65_535_u16), 3),
        (Value::from(u32::MAX), 5),
        (Value::from(u64::MAX), 9),
        (Value::from("x".repeat(31)), 32),
        (Value::from("x".repeat(32)), 34),
        (Value::Bin(vec![0; 256]), 259),
        (Value::Ext(5, vec![0; 16]), 18),
        (Value::Timestamp(1, 0), 6),
        (Value::Timestamp(1, 1), 10),
        (Value::Timestamp(-1, 1), 15),
    ] {
        let mut raw = Vec::new();
        encode(&mut raw, &value, 0).expect("it is in the profile");
        assert_eq!((size, Ok(value)), (raw.len(), decode(&raw, 0, None)));
    }
}

fn sample() -> Value {
    let many = (0..20).map(|n| (n.to_string(), Value::from(n))).collect();
    vec![
        Value::Nil,
        true.into(),
        1.5.into(),
        "ü".into(),
        Value::Bin(vec![0, 255]),
        Map::default().with("a", vec![Value::Handle(0)]).into(),
        Map(many).into(),
        Address::named("x").to_value(),
        Value::Ext(77, vec![1, 2, 3]),
    ]
    .into()
}

/// Cut anywhere, or with any byte changed, it is a value or an error, and nothing else.
#[test]
fn no_bytes_do_harm() {
    let mut raw = Vec::new();
    encode(&mut raw, &sample(), 64).expect("it is in the profile");
    for place in 0..raw.len() {
        assert_eq!(Err(Fault::Length), decode(&raw[..place], 64, Some(1)));
        for byte in [
            0x00, 0x7f, 0x8f, 0x9f, 0xbf, 0xc1, 0xc4, 0xc9, 0xd4, 0xdb, 0xdd, 0xdf, 0xff,
        ] {
            let mut changed = raw.clone();
            changed[place] = byte;
            if let Ok(value) = decode(&changed, 64, Some(1)) {
                encode(&mut Vec::new(), &value, 64).expect("what was read can be written");
            }
        }
    }
}
