//! What is bound to a statement, from JSON.
//!
//! One element of a statement's array, read straight into a value: nothing here may call itself,
//! so that no nesting can exhaust the stack.
//!
//! | JSON                                    | SQL                                         |
//! |-----------------------------------------|---------------------------------------------|
//! | null, true, false                       | NULL, 1, 0                                  |
//! | number that is a 64-bit integer         | that integer (`-0` is a double)             |
//! | other number                            | the nearest double                          |
//! | string like `x'C0FFEE'`, blanks around  | blob                                        |
//! | other string                            | text                                        |
//! | array of integers 0 to 255              | blob                                        |
//! | object, as a statement's second element | named values                                |

use std::collections::BTreeMap;
use std::fmt;

use serde_core::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::Value;

/// What Go calls a JSON object; clients know the texts that name it.
pub(super) const OBJECT: &str = "map[string]interface {}";
/// What Go calls a JSON array.
const ARRAY: &str = "[]interface {}";

/// What a type that does not fit means at the place that is being read.
pub(super) enum Refusal {
    /// The body is no array.
    Body,
    /// An element is no statement.
    Request,
    /// A parameter of a type that is not supported.
    Type(&'static str),
    /// A number where a byte is wanted, to be named by its own digits.
    Byte,
}

/// Ends the reading with this meaning.
pub(super) fn refuse<T, E: Error>(slot: &mut Refusal, refusal: Refusal) -> Result<T, E> {
    *slot = refusal;
    Err(E::custom("refused"))
}

pub(super) enum Parameter {
    Value(Value),
    Names(Vec<(String, Value)>),
}

/// Reads a parameter, or (where it is the first) a whole object of named ones.
pub(super) struct ParameterSeed<'s> {
    pub(super) refusal: &'s mut Refusal,
    pub(super) allows_names: bool,
}

impl<'de> DeserializeSeed<'de> for ParameterSeed<'_> {
    type Value = Parameter;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Parameter, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ParameterSeed<'_> {
    type Value = Parameter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a parameter")
    }

    fn visit_unit<E: Error>(self) -> Result<Parameter, E> {
        Ok(Parameter::Value(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Parameter, E> {
        Ok(Parameter::Value(Value::Integer(i64::from(value))))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Parameter, E> {
        Ok(Parameter::Value(Value::Integer(value)))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Parameter, E> {
        let nearest = value as f64;
        Ok(Parameter::Value(i64::try_from(value).map_or(Value::Real(nearest), Value::Integer)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Parameter, E> {
        Ok(Parameter::Value(Value::Real(value)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Parameter, E> {
        let value = hex_literal(text).map_or_else(|| Value::Text(text.to_owned()), Value::Blob);
        Ok(Parameter::Value(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Parameter, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = array.next_element_seed(ByteSeed { refusal: &mut *self.refusal })? {
            bytes.push(byte);
        }
        Ok(Parameter::Value(Value::Blob(bytes)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Parameter, A::Error> {
        if !self.allows_names {
            return refuse(self.refusal, Refusal::Type(OBJECT));
        }
        let mut names = BTreeMap::new();
        while let Some(name) = object.next_key::<String>()? {
            let seed = ParameterSeed { refusal: &mut *self.refusal, allows_names: false };
            match object.next_value_seed(seed)? {
                // A name given twice has its last value.
                Parameter::Value(value) => drop(names.insert(name, value)),
                Parameter::Names(_) => unreachable!("only the outermost object holds names"),
            }
        }
        Ok(Parameter::Names(names.into_iter().collect()))
    }
}

/// Reads an element of an array that stands for a blob.
struct ByteSeed<'s> {
    refusal: &'s mut Refusal,
}

impl<'de> DeserializeSeed<'de> for ByteSeed<'_> {
    type Value = u8;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<u8, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ByteSeed<'_> {
    type Value = u8;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a byte")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u8, E> {
        match u8::try_from(value) {
            Ok(byte) => Ok(byte),
            Err(_) => refuse(self.refusal, Refusal::Byte),
        }
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<u8, E> {
        refuse(self.refusal, Refusal::Byte)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<u8, E> {
        refuse(self.refusal, Refusal::Byte)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<u8, E> {
        refuse(self.refusal, Refusal::Type("string"))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<u8, E> {
        refuse(self.refusal, Refusal::Type("bool"))
    }

    fn visit_unit<E: Error>(self) -> Result<u8, E> {
        refuse(self.refusal, Refusal::Type("<nil>"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<u8, A::Error> {
        refuse(self.refusal, Refusal::Type(ARRAY))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<u8, A::Error> {
        refuse(self.refusal, Refusal::Type(OBJECT))
    }
}

/// The bytes of text that looks like a blob literal, with an even number of hex digits.
fn hex_literal(text: &str) -> Option<Vec<u8>> {
    let quoted = text.trim().strip_prefix(['x', 'X'])?;
    let digits = quoted.strip_prefix('\'')?.strip_suffix('\'')?.as_bytes();
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect()
}
