//! What holds for every `Authorization` header and every media type.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn request(authorization: &[String]) -> Request {
    let event = json!({"httpMethod": "GET", "path": "/", "multiValueHeaders": {"Authorization": authorization}});
    Request::decode(&serde_json::value::to_raw_value(&event).unwrap()).unwrap()
}

/// A word with its letters in any case.
fn in_any_case(word: &'static str) -> impl Strategy<Value = String> {
    prop::collection::vec(any::<bool>(), word.len()).prop_map(move |upper| {
        let letters = word.chars().zip(upper);
        letters
            .map(|(c, upper)| if upper { c.to_ascii_uppercase() } else { c })
            .collect()
    })
}

proptest! {
    #[test]
    fn whatever_credentials_are_found_are_one_word_of_the_only_header(
        headers in prop::collection::vec(
            prop_oneof![any::<String>(), "(?i)(bearer|token)[ \t]{0,2}[!-~]{0,9}[ \t]?[!-~]{0,3}"],
            0..3,
        ),
    ) {
        let request = request(&headers);
        if let Ok(Credentials::Access(found) | Credentials::Key(found)) = credentials(&request) {
            prop_assert_eq!(headers.len(), 1);
            let words: Vec<_> = headers[0].split_ascii_whitespace().collect();
            prop_assert_eq!(words.len(), 2);
            prop_assert_eq!(words[1], found);
        }
    }

    #[test]
    fn a_scheme_is_known_in_any_case_and_its_credentials_are_handed_on_as_they_are(
        (bearer, token) in (in_any_case("bearer"), in_any_case("token")),
        (space, around) in ("[ \t]{1,3}", "[ \t]{0,2}"),
        word in "[^ \t\n\r\x0C]{1,40}",
    ) {
        let header = |scheme: &str| [format!("{around}{scheme}{space}{word}{around}")];
        match credentials(&request(&header(&bearer))) {
            Ok(Credentials::Access(access)) => prop_assert_eq!(access, word.as_str()),
            _ => prop_assert!(false, "an access token was not found"),
        }
        match credentials(&request(&header(&token))) {
            Ok(Credentials::Key(key)) => prop_assert_eq!(key, word.as_str()),
            _ => prop_assert!(false, "a key was not found"),
        }
    }

    #[test]
    fn only_json_is_json(text in any::<String>(), parameter in "[a-z]{1,7}=[a-z0-9\"]{0,8}") {
        prop_assume!(!parameter.starts_with("charset="));
        if is_json(&text) {
            prop_assert!(text.trim_start().get(..16).is_some_and(|start| start.eq_ignore_ascii_case("application/json")));
        }
        let json = format!("application/json; {parameter}");
        prop_assert!(is_json(&json));
        let other = format!("{text}application/json");
        prop_assert!(text.chars().all(|c| c.is_whitespace()) || !is_json(&other));
    }

    #[test]
    fn the_only_charset_of_json_is_utf_8(
        charset in prop_oneof![in_any_case("utf-8"), in_any_case("utf8"), "[A-Za-z0-9-]{0,8}"],
        (essence, name) in (in_any_case("application/json"), in_any_case("charset")),
        quote in prop::sample::select(&["", "\""][..]),
    ) {
        let is_utf_8 = ["utf-8", "utf8"].contains(&charset.to_ascii_lowercase().as_str());
        let content_type = format!("{essence} ; {name}={quote}{charset}{quote}");
        prop_assert_eq!(is_json(&content_type), is_utf_8);
    }
}
