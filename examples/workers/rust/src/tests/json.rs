//! JSON, as far as the vectors use it. They are right, so anything else panics.

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub fn parse(text: &str) -> Json {
        let mut parser = Parser {
            rest: text.as_bytes(),
        };
        let value = parser.value();
        parser.space();
        assert!(parser.rest.is_empty(), "something behind the value");
        value
    }

    /// What an object has under a name; null if nothing.
    pub fn get(&self, name: &str) -> &Json {
        let Json::Object(entries) = self else {
            panic!("no object: {self:?}");
        };
        let found = entries.iter().find(|entry| entry.0 == name);
        found.map_or(&Json::Null, |entry| &entry.1)
    }

    pub fn text(&self) -> &str {
        match self {
            Json::Text(text) => text,
            Json::Null => "",
            other => panic!("no text: {other:?}"),
        }
    }

    pub fn list(&self) -> &[Json] {
        match self {
            Json::List(list) => list,
            Json::Null => &[],
            other => panic!("no list: {other:?}"),
        }
    }

    pub fn is_true(&self) -> bool {
        *self == Json::Bool(true)
    }

    /// A number; of nothing, the other one.
    pub fn number_or(&self, other: usize) -> usize {
        match self {
            Json::Number(digits) => digits.parse().expect("a count"),
            _ => other,
        }
    }
}

struct Parser<'a> {
    rest: &'a [u8],
}

impl Parser<'_> {
    fn space(&mut self) {
        let blank = |byte: &&u8| byte.is_ascii_whitespace();
        let n = self.rest.iter().take_while(blank).count();
        self.rest = &self.rest[n..];
    }

    fn next(&mut self) -> u8 {
        let (first, rest) = self.rest.split_first().expect("more to come");
        self.rest = rest;
        *first
    }

    /// Takes a byte, if it comes next.
    fn takes(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.rest.first() == Some(&byte);
        if found {
            self.next();
        }
        found
    }

    fn value(&mut self) -> Json {
        self.space();
        match self.rest[0] {
            b'{' => self.object(),
            b'[' => {
                self.next();
                let mut list = Vec::new();
                while !self.takes(b']') {
                    list.push(self.value());
                    self.takes(b',');
                }
                Json::List(list)
            }
            b'"' => Json::Text(self.text()),
            b'n' => self.word("null", Json::Null),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            _ => {
                let is_part = |b: &&u8| b.is_ascii_digit() || b"+-.eE".contains(b);
                let n = self.rest.iter().take_while(is_part).count();
                let (digits, rest) = self.rest.split_at(n);
                self.rest = rest;
                Json::Number(String::from_utf8(digits.to_vec()).expect("ASCII"))
            }
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Json {
        self.rest = self.rest.strip_prefix(word.as_bytes()).expect("a word");
        value
    }

    fn object(&mut self) -> Json {
        self.next();
        let mut entries = Vec::new();
        while !self.takes(b'}') {
            self.space();
            let key = self.text();
            assert!(self.takes(b':'), "no colon");
            entries.push((key, self.value()));
            self.takes(b',');
        }
        Json::Object(entries)
    }

    fn text(&mut self) -> String {
        assert_eq!(b'"', self.next());
        let mut units: Vec<u16> = Vec::new();
        let mut raw = Vec::new();
        loop {
            let byte = self.next();
            if byte != b'\\' || self.rest[0] != b'u' {
                raw.extend(String::from_utf16(&units).expect("pairs").into_bytes());
                units.clear();
            }
            match byte {
                b'"' => return String::from_utf8(raw).expect("UTF-8"),
                b'\\' => match self.next() {
                    b'u' => {
                        let digits: Vec<u8> = (0..4).map(|_| self.next()).collect();
                        let digits = String::from_utf8(digits).expect("digits");
                        units.push(u16::from_str_radix(&digits, 16).expect("hexadecimal"));
                    }
                    b'n' => raw.push(b'\n'),
                    b't' => raw.push(b'\t'),
                    b'r' => raw.push(b'\r'),
                    b'b' => raw.push(8),
                    b'f' => raw.push(12),
                    other => raw.push(other),
                },
                other => raw.push(other),
            }
        }
    }
}
