//! The values of message bodies, and how programs make and read them (section 5).

/// A value of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Nil,
    /// True or false.
    Bool(bool),
    /// An integer, if an `i64` can hold it.
    Int(i64),
    /// An integer beyond that.
    UInt(u64),
    /// A number with a fraction, perhaps.
    Float(f64),
    /// Text.
    Str(String),
    /// Bytes.
    Bin(Vec<u8>),
    /// A list.
    Array(Vec<Value>),
    /// Values by name.
    Map(Map),
    /// An instant: seconds since 1970-01-01 UTC, and nanoseconds.
    Timestamp(i64, u32),
    /// The handle with this index among those that go with the message.
    Handle(u8),
    /// A value of an extension type, handed on as it is.
    Ext(i8, Vec<u8>),
}

/// Values by name, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map(pub Vec<(String, Value)>);

impl Map {
    /// The value of that name, if there is one.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// Puts a value there, in place of another of its name.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// The same with one more value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Value {
    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, if it is one and not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::Int(n) => u64::try_from(n).ok(),
            Value::UInt(n) => Some(n),
            _ => None,
        }
    }

    /// The integer, if it is one that an `i64` can hold.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Value::Int(n) => Some(n),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::Int(n) => Some(n as f64),
            Value::UInt(n) => Some(n as f64),
            Value::Float(x) => Some(x),
            _ => None,
        }
    }

    /// The list, if it is one.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(list) => Some(list),
            _ => None,
        }
    }

    /// The map, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// A number that is finite and not negative, as limits and times are.
    pub(crate) fn as_number(&self) -> Option<f64> {
        self.as_f64().filter(|x| x.is_finite() && *x >= 0.0)
    }
}

macro_rules! values {
    ($($from:ty, $name:ident => $made:expr;)*) => {
        $(impl From<$from> for Value {
            fn from($name: $from) -> Value { $made }
        })*
    };
}

values! {
    (), _nothing => Value::Nil;
    bool, truth => Value::Bool(truth);
    i32, n => Value::Int(n.into());
    u8, n => Value::Int(n.into());
    u16, n => Value::Int(n.into());
    u32, n => Value::Int(n.into());
    i64, n => Value::Int(n);
    u64, n => i64::try_from(n).map_or(Value::UInt(n), Value::Int);
    usize, n => Value::from(n as u64);
    f64, x => Value::Float(x);
    &str, text => Value::Str(text.to_owned());
    String, text => Value::Str(text);
    Vec<Value>, list => Value::Array(list);
    Map, map => Value::Map(map);
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Nil, Into::into)
    }
}
