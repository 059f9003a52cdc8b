//! Values as bytes (section 5).
//!
//! It is made for input that lies. [`skip`] finds the end of a value in constant memory, however
//! deep and long it claims to be; what it has passed, [`decode`] may then build, because every
//! element that is announced is really there, and nesting is bounded.

use std::collections::HashSet;

use crate::awp_v1::Ext;
pub use crate::value::{Map, Value};

/// What is wrong with bytes that should be a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The value ends before or behind its last byte.
    Length,
    /// A byte has no meaning in msgpack.
    Unknown,
    /// Well formed, but nothing that AWP allows.
    Profile(&'static str),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Fault::Length => "values do not end where the frame does",
            Fault::Unknown => "a byte that means nothing in msgpack",
            Fault::Profile(text) => text,
        })
    }
}

/// The first bytes of a value: what it is, and how much follows them.
enum Head {
    Scalar(usize),
    Str(usize),
    Bin(usize),
    /// Behind the byte with its type.
    Ext(usize),
    Array(usize),
    Map(usize),
}

/// Reads a head; also gives how many bytes it has, the type of an extension not among them.
fn head(b: &[u8]) -> Result<(Head, usize), Fault> {
    let lead = *b.first().ok_or(Fault::Length)?;
    let long = |wide: usize| -> Result<(usize, usize), Fault> {
        let raw = b.get(1..=wide).ok_or(Fault::Length)?;
        Ok((uint(raw) as usize, 1 + wide))
    };
    Ok(match lead {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (Head::Scalar(0), 1),
        0x80..=0x8f => (Head::Map((lead & 0x0f).into()), 1),
        0x90..=0x9f => (Head::Array((lead & 0x0f).into()), 1),
        0xa0..=0xbf => (Head::Str((lead & 0x1f).into()), 1),
        0xc1 => return Err(Fault::Unknown),
        0xc4..=0xc6 => long(1 << (lead - 0xc4)).map(|(n, start)| (Head::Bin(n), start))?,
        0xc7..=0xc9 => long(1 << (lead - 0xc7)).map(|(n, start)| (Head::Ext(n), start))?,
        0xca | 0xcb => (Head::Scalar(4 << (lead - 0xca)), 1),
        0xcc..=0xcf => (Head::Scalar(1 << (lead - 0xcc)), 1),
        0xd0..=0xd3 => (Head::Scalar(1 << (lead - 0xd0)), 1),
        0xd4..=0xd8 => (Head::Ext(1 << (lead - 0xd4)), 1),
        0xd9..=0xdb => long(1 << (lead - 0xd9)).map(|(n, start)| (Head::Str(n), start))?,
        0xdc | 0xdd => long(2 << (lead - 0xdc)).map(|(n, start)| (Head::Array(n), start))?,
        0xde | 0xdf => long(2 << (lead - 0xde)).map(|(n, start)| (Head::Map(n), start))?,
    })
}

fn uint(raw: &[u8]) -> u64 {
    raw.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

/// The size of the value that `b` begins with. It looks at the structure alone, does not recurse,
/// and allocates nothing.
pub fn skip(b: &[u8]) -> Result<usize, Fault> {
    let (mut at, mut due) = (0_usize, 1_usize);
    while due > 0 {
        let (head, start) = head(&b[at..])?;
        at += start;
        due -= 1;
        let size = match head {
            Head::Scalar(n) | Head::Str(n) | Head::Bin(n) => n,
            Head::Ext(n) => n + 1,
            Head::Array(n) => {
                due = due.checked_add(n).ok_or(Fault::Length)?;
                0
            }
            Head::Map(n) => {
                due = due
                    .checked_add(n)
                    .and_then(|due| due.checked_add(n))
                    .ok_or(Fault::Length)?;
                0
            }
        };
        // Each value that is due needs a byte at least, so the count stays below their number.
        let left = b.len() - at;
        if size > left || due > left - size {
            return Err(Fault::Length);
        }
        at += size;
    }
    Ok(at)
}

/// Builds the one value that `b` holds. Arrays and maps in one another may be `depth` deep.
/// References to handles and actors are looked at if `handles` says how many handles there are;
/// otherwise they stay what they are.
pub fn decode(b: &[u8], depth: usize, handles: Option<usize>) -> Result<Value, Fault> {
    if skip(b)? != b.len() {
        return Err(Fault::Length);
    }
    Decoder { b, handles }.value(depth)
}

/// Walks over bytes that `skip` has approved.
struct Decoder<'a> {
    b: &'a [u8],
    handles: Option<usize>,
}

impl<'a> Decoder<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.b.split_at(n);
        self.b = rest;
        taken
    }

    fn value(&mut self, depth: usize) -> Result<Value, Fault> {
        let lead = self.b[0];
        let (head, start) = head(self.b)?;
        self.take(start);
        Ok(match head {
            Head::Scalar(n) => scalar(lead, self.take(n)),
            Head::Str(n) => Value::Str(text(self.take(n))?),
            Head::Bin(n) => Value::Bin(self.take(n).to_vec()),
            Head::Ext(n) => {
                let code = self.take(1)[0] as i8;
                self.ext(code, n)?
            }
            Head::Array(_) | Head::Map(_) if depth == 0 => {
                return Err(Fault::Profile("nested too deep"))
            }
            Head::Array(n) => {
                let mut list = Vec::with_capacity(n);
                for _ in 0..n {
                    list.push(self.value(depth - 1)?);
                }
                Value::Array(list)
            }
            Head::Map(n) => Value::Map(self.map(n, depth - 1)?),
        })
    }

    fn map(&mut self, n: usize, depth: usize) -> Result<Map, Fault> {
        let mut entries = Vec::with_capacity(n);
        for _ in 0..n {
            let (Head::Str(size), start) = head(self.b)? else {
                return Err(Fault::Profile("a key that is not a str"));
            };
            self.take(start);
            let key = text(self.take(size))?;
            entries.push((key, self.value(depth)?));
        }
        distinct(&entries)?;
        Ok(Map(entries))
    }

    fn ext(&mut self, code: i8, n: usize) -> Result<Value, Fault> {
        let data = self.take(n);
        let known = Ext::from_code(code);
        if known == Some(Ext::Timestamp) {
            return match timestamp(data) {
                Some((seconds, nanos)) => Ok(Value::Timestamp(seconds, nanos)),
                None => Err(Fault::Profile("no timestamp")),
            };
        }
        match (known, self.handles) {
            (Some(Ext::Handle), Some(handles)) => match *data {
                [index] if usize::from(index) < handles => Ok(Value::Handle(index)),
                _ => Err(Fault::Profile("a reference to no handle")),
            },
            (Some(Ext::Ref), Some(_)) if crate::address::Address::from_ref(data).is_none() => {
                Err(Fault::Profile("a reference to no actor"))
            }
            _ => Ok(Value::Ext(code, data.to_vec())),
        }
    }
}

/// That no key is there twice. The peer chooses the keys: so a table whose hashes it cannot guess.
fn distinct(entries: &[(String, Value)]) -> Result<(), Fault> {
    let mut seen = HashSet::new();
    let is_new =
        |entry: &(String, Value), before: &[(String, Value)], seen: &mut HashSet<String>| {
            if entries.len() <= 8 {
                before.iter().all(|other| other.0 != entry.0)
            } else {
                seen.insert(entry.0.clone())
            }
        };
    for (i, entry) in entries.iter().enumerate() {
        if !is_new(entry, &entries[..i], &mut seen) {
            return Err(Fault::Profile("a key twice"));
        }
    }
    Ok(())
}

fn text(raw: &[u8]) -> Result<String, Fault> {
    match std::str::from_utf8(raw) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Fault::Profile("a str that is not UTF-8")),
    }
}

fn scalar(lead: u8, raw: &[u8]) -> Value {
    let n = uint(raw);
    match lead {
        0x00..=0x7f => Value::Int(lead.into()),
        0xe0..=0xff => Value::Int((lead as i8).into()),
        0xc2 | 0xc3 => Value::Bool(lead == 0xc3),
        0xca => Value::Float(f32::from_bits(n as u32).into()),
        0xcb => Value::Float(f64::from_bits(n)),
        0xcc..=0xcf => Value::from(n),
        0xd0 => Value::Int((n as i8).into()),
        0xd1 => Value::Int((n as i16).into()),
        0xd2 => Value::Int((n as i32).into()),
        0xd3 => Value::Int(n as i64),
        _ => Value::Nil,
    }
}

fn timestamp(data: &[u8]) -> Option<(i64, u32)> {
    let (seconds, nanos) = match data.len() {
        4 => (uint(data) as i64, 0),
        8 => ((uint(data) & ((1 << 34) - 1)) as i64, uint(data) >> 34),
        12 => (uint(&data[4..]) as i64, uint(&data[..4])),
        _ => return None,
    };
    (nanos < 1_000_000_000).then_some((seconds, nanos as u32))
}

/// Writes a value in its shortest form. Arrays and maps in one another may be `depth` deep.
pub fn encode(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), Fault> {
    match value {
        Value::Nil => out.push(0xc0),
        Value::Bool(truth) => out.push(0xc2 + u8::from(*truth)),
        Value::Int(n) => int(out, *n),
        Value::UInt(n) => number(out, 0xcc, *n),
        Value::Float(x) => {
            out.push(0xcb);
            out.extend_from_slice(&x.to_bits().to_be_bytes());
        }
        Value::Str(text) => {
            start(
                out,
                text.len(),
                (0xa0, 32),
                &[(0xd9, 1), (0xda, 2), (0xdb, 4)],
            )?;
            out.extend_from_slice(text.as_bytes());
        }
        Value::Bin(bytes) => {
            bin_head(out, bytes.len())?;
            out.extend_from_slice(bytes);
        }
        Value::Array(_) | Value::Map(_) if depth == 0 => {
            return Err(Fault::Profile("nested too deep"))
        }
        Value::Array(list) => {
            start(out, list.len(), (0x90, 16), &[(0xdc, 2), (0xdd, 4)])?;
            for element in list {
                encode(out, element, depth - 1)?;
            }
        }
        Value::Map(map) => {
            distinct(&map.0)?;
            start(out, map.0.len(), (0x80, 16), &[(0xde, 2), (0xdf, 4)])?;
            for (key, element) in &map.0 {
                encode(out, &Value::Str(key.clone()), depth)?;
                encode(out, element, depth - 1)?;
            }
        }
        Value::Timestamp(seconds, nanos) => moment(out, *seconds, *nanos)?,
        Value::Handle(index) => ext(out, Ext::Handle as i8, &[*index])?,
        Value::Ext(code, data) => ext(out, *code, data)?,
    }
    Ok(())
}

fn int(out: &mut Vec<u8>, n: i64) {
    match n {
        -32..=-1 => out.push(n as i8 as u8),
        0.. => number(out, 0xcc, n as u64),
        -0x80..=-33 => out.extend_from_slice(&[0xd0, n as u8]),
        -0x8000..=-0x81 => {
            out.push(0xd1);
            out.extend_from_slice(&(n as i16).to_be_bytes());
        }
        -0x8000_0000..=-0x8001 => {
            out.push(0xd2);
            out.extend_from_slice(&(n as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&n.to_be_bytes());
        }
    }
}

/// Writes an integer that is not negative; `lead` begins one of a byte.
fn number(out: &mut Vec<u8>, lead: u8, n: u64) {
    let bytes = n.to_be_bytes();
    let (step, wide) = match n {
        0..=0x7f => {
            out.push(n as u8);
            return;
        }
        0x80..=0xff => (0, 1),
        0x100..=0xffff => (1, 2),
        0x1_0000..=0xffff_ffff => (2, 4),
        _ => (3, 8),
    };
    out.push(lead + step);
    out.extend_from_slice(&bytes[8 - wide..]);
}

/// Writes how long something is: in the lead byte, if it is less than the short form can say, or
/// in the first of the other forms that can.
fn start(
    out: &mut Vec<u8>,
    n: usize,
    short: (u8, usize),
    forms: &[(u8, usize)],
) -> Result<(), Fault> {
    if n < short.1 {
        out.push(short.0 + n as u8);
        return Ok(());
    }
    let fits = |wide: usize| wide >= 8 || (n as u64) >> (8 * wide) == 0;
    let form = forms.iter().find(|form| fits(form.1));
    let &(lead, wide) = form.ok_or(Fault::Profile("too long for msgpack"))?;
    out.push(lead);
    out.extend_from_slice(&(n as u64).to_be_bytes()[8 - wide..]);
    Ok(())
}

/// Writes the head of a bin, in its shortest form (AWP-LG-1).
pub fn bin_head(out: &mut Vec<u8>, n: usize) -> Result<(), Fault> {
    start(out, n, (0, 0), &[(0xc4, 1), (0xc5, 2), (0xc6, 4)])
}

fn ext(out: &mut Vec<u8>, code: i8, data: &[u8]) -> Result<(), Fault> {
    match data.len() {
        n @ (1 | 2 | 4 | 8 | 16) => out.push(0xd4 + n.trailing_zeros() as u8),
        n => start(out, n, (0, 0), &[(0xc7, 1), (0xc8, 2), (0xc9, 4)])?,
    }
    out.push(code as u8);
    out.extend_from_slice(data);
    Ok(())
}

fn moment(out: &mut Vec<u8>, seconds: i64, nanos: u32) -> Result<(), Fault> {
    let code = Ext::Timestamp as i8;
    if let (Ok(seconds), 0) = (u32::try_from(seconds), nanos) {
        return ext(out, code, &seconds.to_be_bytes());
    }
    if (0..1 << 34).contains(&seconds) {
        let both = u64::from(nanos) << 34 | seconds as u64;
        return ext(out, code, &both.to_be_bytes());
    }
    let mut data = nanos.to_be_bytes().to_vec();
    data.extend_from_slice(&seconds.to_be_bytes());
    ext(out, code, &data)
}
