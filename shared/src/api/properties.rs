//! What holds for every path and every query.

use proptest::prelude::*;

use super::*;

/// A pattern with something for each of its parameters.
fn filled(pattern: &str, segment: &str) -> String {
    let segments = pattern
        .split('/')
        .map(|part| if part.starts_with('{') { segment } else { part });
    segments.collect::<Vec<_>>().join("/")
}

fn pattern() -> impl Strategy<Value = &'static str> {
    let patterns: Vec<_> = TABLE.iter().flat_map(|entry| entry.paths).copied().collect();
    prop::sample::select(patterns)
}

/// A path of words that are in the table, so that it nearly or wholly matches something.
fn almost_route() -> impl Strategy<Value = String> {
    let mut words: Vec<_> = TABLE
        .iter()
        .flat_map(|entry| entry.paths)
        .flat_map(|path| path.split('/'))
        .collect();
    words.sort_unstable();
    words.dedup();
    prop::collection::vec(prop::sample::select(words), 0..7).prop_map(|words| words.join("/"))
}

proptest! {
    #[test]
    fn a_parameter_is_what_its_segment_says(pattern in pattern(), segment in "[^/]{1,12}") {
        let parameters = match_path(pattern, &filled(pattern, &segment)).unwrap();
        prop_assert_eq!(parameters.len(), pattern.matches('{').count());
        prop_assert!(parameters.values().all(|value| *value == segment));
    }

    #[test]
    fn whatever_matches_is_the_pattern_with_its_parameters_filled_in(
        pattern in pattern(),
        path in prop_oneof![any::<String>(), almost_route()],
    ) {
        if let Some(parameters) = match_path(pattern, &path) {
            let mut again = pattern.to_owned();
            for (name, value) in &parameters {
                again = again.replace(&format!("{{{name}}}"), value);
            }
            prop_assert_eq!(again, path);
        }
    }

    #[test]
    fn no_two_endpoints_answer_one_request(path in almost_route()) {
        let here: Vec<_> = TABLE
            .iter()
            .filter(|entry| entry.paths.iter().any(|pattern| match_path(pattern, &path).is_some()))
            .collect();
        prop_assert_eq!(here.len(), methods_of(&path).len(), "{:?}", here);
    }

    #[test]
    fn a_query_parameter_is_read_if_it_is_given_once(
        query in prop::collection::vec(("[ab]", any::<String>()), 0..5),
    ) {
        let path = BTreeMap::new();
        let parts = Parts { body: Value::Null, query: &query, path: &path, idempotency_keys: &[], retry_count: None, if_none_match: &[], base: "/", family: Family::V1, now: Timestamp::from_millis(0) };
        let given: Vec<_> = query.iter().filter(|(name, _)| name == "a").map(|(_, value)| value.as_str()).collect();
        match given.as_slice() {
            [] => prop_assert_eq!(parts.query("a").unwrap(), None),
            [value] => prop_assert_eq!(parts.query("a").unwrap(), Some(*value)),
            _ => prop_assert!(parts.query("a").is_err()),
        }
    }
}
