//! Who a message is for, and whom it is from (section 11).

use crate::awp_v1::Ext;
use crate::msgpack::{decode, encode, Value};

/// Names an actor: by its name, whoever bears it, or by its id, which means one life. The default
/// is the primary.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Address {
    /// The id, 0 where there is none.
    pub id: u64,
    /// The name, where there is one.
    pub name: Option<String>,
}

impl Address {
    /// Where messages go that are for nobody else.
    pub fn primary() -> Self {
        Address::default()
    }

    /// Whoever bears that name when the message comes there.
    pub fn named(name: &str) -> Self {
        Address {
            id: 0,
            name: Some(name.to_owned()),
        }
    }

    /// The actor of that id, in this life.
    pub fn id(id: u64) -> Self {
        Address { id, name: None }
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.id == 0 && self.name.is_none()
    }

    /// How it stands in an envelope. An id is preferred: it came with the message that is answered,
    /// and means that life.
    pub(crate) fn wire(&self) -> Value {
        match (self.id, &self.name) {
            (0, Some(name)) => Value::Str(name.clone()),
            (0, None) => Value::Nil,
            (id, _) => Value::from(id),
        }
    }

    /// Reads what stands in an envelope.
    pub(crate) fn from_wire(value: &Value) -> Option<Self> {
        match value {
            Value::Nil => Some(Address::default()),
            Value::Str(name) => Some(Address::named(name)),
            other => other.as_u64().map(Address::id),
        }
    }

    /// The address as a value in a body.
    pub fn to_value(&self) -> Value {
        let id = (self.id != 0 || self.name.is_none()).then_some(self.id);
        let pair = Value::Array(vec![id.into(), self.name.clone().into()]);
        let mut data = Vec::new();
        encode(&mut data, &pair, 1).expect("two values fit");
        Value::Ext(Ext::Ref as i8, data)
    }

    /// Reads an address in a body.
    pub fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Ext(code, data) if *code == Ext::Ref as i8 => Address::from_ref(data),
            _ => None,
        }
    }

    pub(crate) fn from_ref(data: &[u8]) -> Option<Self> {
        let value = decode(data, 1, None).ok()?;
        let list = value.as_array()?;
        let id = match list.first()? {
            Value::Nil => 0,
            id => id.as_u64()?,
        };
        let name = match list.get(1) {
            None | Some(Value::Nil) => None,
            Some(name) => Some(name.as_str()?.to_owned()),
        };
        Some(Address { id, name })
    }
}
