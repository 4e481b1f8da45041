//! Reading a JSON body strictly. `serde_json` alone takes the last of two equal members, an array where a struct is wanted, and any
//! depth in members that nobody reads.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::Error;

/// How deep objects and arrays may be nested.
const MAX_DEPTH: usize = 32;

/// The object in `bytes`: valid UTF-8, no member twice, nested at most 32 deep.
pub(super) fn object(bytes: &[u8]) -> Result<Value, Error> {
    let malformed = |reason: String| Error::Malformed(reason.into());
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("Body is not valid UTF-8".into()))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Strict { depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| malformed(format!("Body is not valid JSON: {error}")))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(malformed("Body must be a JSON object".into()))
    }
}

/// The same with whole numbers as such, however they are written: to JSON, and to a schema, `5.0` is the integer 5, and some languages write
/// every number so.
pub(super) fn with_whole_numbers(value: Value) -> Value {
    /// Up to here a number of 64 bits that is read one unit off is not whole, and so no other integer than what was written.
    const EXACT: f64 = 4_503_599_627_370_496.0;
    match value {
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole, and not too large")]
            Some(float) if float.fract() == 0.0 && float.abs() < EXACT => (float as i64).into(),
            _ => Value::Number(number),
        },
        Value::Array(elements) => elements.into_iter().map(with_whole_numbers).collect(),
        Value::Object(members) => {
            let whole = |(name, value)| (name, with_whole_numbers(value));
            members.into_iter().map(whole).collect()
        }
        other => other,
    }
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    /// What reads the elements of an array or the members of an object, also of one without any.
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut elements: S) -> Result<Value, S::Error> {
        let inner = self.inner()?;
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(inner)? {
            array.push(element);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<Value, M::Error> {
        let inner = self.inner()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(M::Error::custom("a member is given twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        object(bytes).map_or_else(|error| error.text().into_owned(), |value| format!("read as {value}"))
    }

    #[test]
    fn an_object_is_read_as_it_is() {
        let text = r#"{"a":[1,-2,3.5,"\ud83d\ude00",null,true],"b":{"c":{}}}"#;
        assert_eq!(
            object(text.as_bytes()).unwrap(),
            serde_json::from_str::<Value>(text).unwrap()
        );
    }

    #[test]
    fn rubbish_is_told_what_it_is() {
        assert_eq!(refusal(b"\xff{}"), "Body is not valid UTF-8");
        assert_eq!(refusal(b"[]"), "Body must be a JSON object");
        assert_eq!(refusal(b"\"a\""), "Body must be a JSON object");
        assert!(refusal(br#"{"a":1,"a":1}"#).starts_with("Body is not valid JSON: a member is given twice"));
        assert!(refusal(br#"{"x":{"a":1,"\u0061":1}}"#).contains("given twice"));
        for broken in [
            "{",
            "{}{}",
            "{'a':1}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":1e999}",
            "\u{feff}{}",
            "{\"a\":NaN}",
            "{\"a\":\"\u{1}\"}",
        ] {
            assert!(
                refusal(broken.as_bytes()).starts_with("Body is not valid JSON"),
                "{broken}"
            );
        }
    }

    #[test]
    fn whole_numbers_are_integers_however_they_are_written() {
        let read = |text: &str| with_whole_numbers(object(text.as_bytes()).unwrap()).to_string();
        let text = r#"{"a":[5.0,-3e2,-0.0,1.5,4503599627370495.0],"b":{"c":7}}"#;
        assert_eq!(read(text), r#"{"a":[5,-300,0,1.5,4503599627370495],"b":{"c":7}}"#);
        // What may have been another number before it was read stays what no integer is.
        assert_eq!(
            read(r#"{"a":1e300,"b":18446744073709551615}"#),
            r#"{"a":1e+300,"b":18446744073709551615}"#
        );
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(object(nested(32).as_bytes()).is_ok());
        assert!(refusal(nested(33).as_bytes()).contains("nested too deeply"));
        for empty in ["{}", "[]"] {
            let around = |depth: usize| nested(depth).replace('1', empty);
            assert!(object(around(31).as_bytes()).is_ok());
            assert!(refusal(around(32).as_bytes()).contains("nested too deeply"));
        }
        assert!(refusal(nested(10_000).as_bytes()).contains("nested too deeply"));
    }
}
