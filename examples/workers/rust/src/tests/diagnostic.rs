//! The diagnostic form of values, see protocol/vectors/README.md. A handle is the text "handle A",
//! for the descriptor that the vector calls A.

use super::json::Json;
use crate::msgpack::{decode, encode};
use crate::{Map, Value};

pub fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        std::str::from_utf8(pair)
            .ok()
            .map(|pair| u8::from_str_radix(pair, 16))
    };
    digits
        .map(|pair| byte(pair).expect("ASCII").expect("hexadecimal"))
        .collect()
}

pub fn value_of(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(digits) => match digits.parse::<i64>() {
            Ok(n) => Value::Int(n),
            Err(_) => Value::Float(digits.parse().expect("a number")),
        },
        Json::Text(text) => Value::Str(text.clone()),
        Json::List(list) => Value::Array(list.iter().map(value_of).collect()),
        Json::Object(entries) => match entries.as_slice() {
            [(key, inner)] if key.starts_with('$') => form(key, inner),
            entries => {
                let pairs = entries
                    .iter()
                    .map(|(key, inner)| (key.clone(), value_of(inner)));
                Value::Map(Map(pairs.collect()))
            }
        },
    }
}

fn form(key: &str, inner: &Json) -> Value {
    match key {
        "$bin" => Value::Bin(unhex(inner.text())),
        "$ext" => {
            let code = value_of(&inner.list()[0]).as_i64().expect("a type");
            let ext = Value::Ext(code as i8, unhex(inner.list()[1].text()));
            let mut raw = Vec::new();
            encode(&mut raw, &ext, 1).expect("it is short");
            decode(&raw, 1, None).expect("a time, perhaps")
        }
        "$int" => {
            let digits = inner.text();
            digits
                .parse()
                .map(Value::Int)
                .unwrap_or_else(|_| Value::UInt(digits.parse().expect("an integer")))
        }
        "$float" => Value::Float(inner.text().parse().expect("a float")),
        "$handle" => Value::Str(format!("handle {}", inner.list()[0].text())),
        "$map" => {
            let pair = |pair: &Json| (pair.list()[0].text().to_owned(), value_of(&pair.list()[1]));
            Value::Map(Map(inner.list().iter().map(pair).collect()))
        }
        other => panic!("unknown form {other}"),
    }
}

/// Whether values are the same: NaN is NaN, and the order of keys means nothing.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => {
            a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
        }
        (Value::Float(a), Value::Int(b)) => *a == *b as f64,
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            let is_there =
                |entry: &(String, Value)| b.get(&entry.0).is_some_and(|b| same(&entry.1, b));
            a.0.len() == b.0.len() && a.0.iter().all(is_there)
        }
        (a, b) => a == b,
    }
}
