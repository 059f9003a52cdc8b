//! As much of HTTP/1.1 as a server needs that has one page (RFC 9112).

use std::io::{self, Read, Write};

/// The most bytes of a request before its body, and of one line of a body in chunks.
const MOST_HEAD: usize = 32 << 10;
const MOST_LINE: usize = 4 << 10;

/// A request, up to its body.
pub struct Request {
    pub method: String,
    pub path: String,
    /// The connection may be used for another.
    pub keep: bool,
    body: Framing,
    /// The client waits to be told that it may send the body.
    expects: bool,
}

/// How long a body is.
#[derive(Clone, Copy, PartialEq)]
enum Framing {
    Length(u64),
    Chunked,
}

/// What came.
pub enum Incoming {
    Request(Request),
    /// Nothing that can be answered otherwise than with this status, and closing.
    Broken(&'static str),
}

/// Reads requests from a stream, and writes responses to it.
pub struct Reader<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: Read + Write> Reader<S> {
    pub fn new(stream: S) -> Self {
        Reader {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Waits for the first byte of a request; false: there will be none.
    pub fn wait(&mut self) -> io::Result<bool> {
        Ok(!self.buffer.is_empty() || self.fill()?)
    }

    /// Reads more; false: there is no more.
    fn fill(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 8 << 10];
        let n = self.stream.read(&mut bytes)?;
        self.buffer.extend_from_slice(&bytes[..n]);
        Ok(n > 0)
    }

    /// Reads up to the end of what stands before the body.
    pub fn request(&mut self) -> io::Result<Incoming> {
        let mut seen = 0;
        let end = loop {
            let from = seen;
            seen = self.buffer.len().saturating_sub(3);
            if let Some(at) = find(&self.buffer[from..], b"\r\n\r\n") {
                break from + at;
            }
            if self.buffer.len() > MOST_HEAD {
                return Ok(Incoming::Broken("431 Request Header Fields Too Large"));
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let parsed = std::str::from_utf8(&head[..end]).ok().and_then(parse);
        Ok(parsed.map_or(Incoming::Broken("400 Bad Request"), Incoming::Request))
    }

    /// Reads the body, and says how long it was.
    pub fn skip_body(&mut self, request: &Request) -> io::Result<u64> {
        if request.expects && request.body != Framing::Length(0) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        match request.body {
            Framing::Length(size) => {
                self.skip(size)?;
                Ok(size)
            }
            Framing::Chunked => self.skip_chunks(),
        }
    }

    fn skip(&mut self, mut size: u64) -> io::Result<()> {
        loop {
            let n = size.min(self.buffer.len() as u64);
            self.buffer.drain(..n as usize);
            size -= n;
            if size == 0 {
                return Ok(());
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn skip_chunks(&mut self) -> io::Result<u64> {
        let mut total = 0_u64;
        loop {
            let line = self.line()?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let is_hex = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
            let size = u64::from_str_radix(digits, 16).ok().filter(|_| is_hex);
            let size = size.ok_or(io::ErrorKind::InvalidData)?;
            if size == 0 {
                while !self.line()?.is_empty() {} // trailers
                return Ok(total);
            }
            self.skip(size)?;
            if !self.line()?.is_empty() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            total = total.saturating_add(size);
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.buffer.len() > MOST_LINE || !self.fill()? {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }

    pub fn respond(&mut self, status: &str, page: &str, keep: bool) -> io::Result<()> {
        let connection = if keep { "keep-alive" } else { "close" };
        let size = page.len();
        let response = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {size}\r\nConnection: {connection}\r\n\r\n{page}"
        );
        self.stream.write_all(response.as_bytes())
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Reads the request line and the headers that matter here; None: they are broken.
fn parse(head: &str) -> Option<Request> {
    let mut lines = head.trim_start_matches("\r\n").split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, path, version) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || method.is_empty() || path.is_empty() {
        return None;
    }
    let mut keep = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return None,
    };
    let (mut length, mut chunked, mut expects) = (None, false, false);
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        if name.is_empty() || name.contains([' ', '\t']) {
            return None; // also a folded line
        }
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                let said = value.parse::<u64>().ok().filter(|_| is_number)?;
                if length.is_some_and(|other| other != said) {
                    return None;
                }
                length = Some(said);
            }
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => chunked = true,
            "transfer-encoding" => return None,
            "expect" => expects = value.eq_ignore_ascii_case("100-continue"),
            "connection" => {
                for word in value.split(',').map(str::trim) {
                    keep &= !word.eq_ignore_ascii_case("close");
                    keep |= word.eq_ignore_ascii_case("keep-alive");
                }
            }
            _ => {}
        }
    }
    if chunked && length.is_some() {
        return None; // two lengths are a way to smuggle requests
    }
    Some(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        keep,
        body: if chunked {
            Framing::Chunked
        } else {
            Framing::Length(length.unwrap_or(0))
        },
        expects,
    })
}
