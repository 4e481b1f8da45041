//! What holds for every body.

use proptest::{collection::btree_map, prelude::*};

use super::*;

/// An object whose members are at most eight deep.
fn any_object() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(6, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..5).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    btree_map(any::<String>(), value, 0..5).prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// Text that is nearly JSON: an object's with a few bytes changed.
fn almost_json() -> impl Strategy<Value = Vec<u8>> {
    let change = (
        any::<prop::sample::Index>(),
        prop_oneof![any::<u8>(), prop::sample::select(&b"{}[]\",:\\0-e."[..])],
    );
    (any_object(), prop::collection::vec(change, 0..4)).prop_map(|(object, changes)| {
        let mut bytes = object.to_string().into_bytes();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        bytes
    })
}

/// Objects and arrays around `1` or around nothing, as many as there are flags.
fn nested(arrays: &[bool], innermost: &str) -> String {
    let opening: String = arrays
        .iter()
        .map(|array| if *array { "[" } else { "{\"a\":" })
        .collect();
    let closing: String = arrays
        .iter()
        .rev()
        .map(|array| if *array { "]" } else { "}" })
        .collect();
    format!("{opening}{innermost}{closing}")
}

proptest! {
    #[test]
    fn whatever_is_accepted_is_what_serde_json_reads(bytes in prop_oneof![any::<Vec<u8>>(), almost_json()]) {
        if let Ok(read) = object(&bytes) {
            prop_assert!(read.is_object());
            prop_assert_eq!(read, serde_json::from_slice::<Value>(&bytes).unwrap());
        }
    }

    #[test]
    fn every_object_of_bounded_depth_is_accepted(value in any_object()) {
        let text = value.to_string();
        prop_assert_eq!(object(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
        prop_assert!(object(serde_json::to_string_pretty(&value).unwrap().as_bytes()).is_ok());
    }

    #[test]
    fn the_thirty_third_level_is_refused_whatever_the_levels_are(
        arrays in prop::collection::vec(any::<bool>(), 0..200),
        innermost in prop::sample::select(&["1", "{}", "[]"][..]),
    ) {
        let text = format!("{{\"a\":{}}}", nested(&arrays, innermost));
        let levels = 1 + arrays.len() + usize::from(innermost != "1");
        prop_assert_eq!(object(text.as_bytes()).is_ok(), levels <= MAX_DEPTH, "{} levels", levels);
    }

    #[test]
    fn a_member_given_twice_is_refused_at_any_depth(
        value in any_object(),
        name in any::<String>(),
        arrays in prop::collection::vec(any::<bool>(), 0..8),
    ) {
        let name = Value::from(name).to_string();
        let twice = nested(&arrays, &format!("{{{name}:{value},{name}:0}}"));
        let body = format!("{{\"a\":{twice}}}");
        prop_assert!(object(body.as_bytes()).is_err());
    }

    #[test]
    fn what_is_no_object_is_refused(value in any_object(), behind in "[^ \t\r\n]{1,3}") {
        let (array, two) = (format!("[{value}]"), format!("{value}{behind}"));
        prop_assert!(object(array.as_bytes()).is_err());
        prop_assert!(object(two.as_bytes()).is_err());
    }
}
