//! What holds for every name, in every script.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// Letters that folding or normalisation changes, joins, splits or reorders.
const TRICKY: &[char] = &[
    'ß',
    'ẞ',
    'İ',
    'ı',
    'ſ',
    'K',
    'Å',
    'Ω',
    'ﬁ',
    'ﬃ',
    'ﬅ',
    'ŉ',
    'ǰ',
    'Ǆ',
    'ǅ',
    'ᾳ',
    'ᾼ',
    'ΐ',
    'ῗ',
    'ς',
    'Σ',
    'σ',
    'Ꭰ',
    'ꭰ',
    'Ა',
    'ა',
    'և',
    'ẖ',
    'ẚ',
    '\u{345}',
    '\u{363}',
    '\u{903}',
    '\u{9be}',
    '\u{9c7}',
    '\u{1100}',
    '\u{1161}',
    '\u{11a8}',
    '가',
    'ㄱ',
    'ﾡ',
    'Ａ',
    'ａ',
    '１',
    'ⓐ',
    '𝒜',
    '𝟙',
    '²',
    '½',
    'Ⅷ',
    'ﷺ',
    '豈',
    '㌀',
    '\u{20000}',
    'é',
    'É',
    'ǅ',
    'ª',
    'ʰ',
    '٣',
    '๓',
];

/// Whatever Unicode calls a letter or a digit.
static LETTERS: LazyLock<Vec<char>> =
    LazyLock::new(|| (char::MIN..=char::MAX).filter(|c| c.is_alphanumeric()).collect());

fn name_char() -> impl Strategy<Value = char> {
    prop_oneof![
        4 => prop::char::range('a', 'z'),
        2 => prop::sample::select(&['A', 'Z', '0', '9', '_', '.', '@', '+', '-'][..]),
        4 => prop::sample::select(TRICKY),
        4 => prop::sample::select(LETTERS.as_slice()),
        2 => prop::char::range('\u{c0}', '\u{24f}'),
        2 => prop::char::range('\u{3a3}', '\u{3ff}'),
    ]
}

/// A text that is likely to be a name.
fn likely() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::collection::vec(name_char(), 1..8),
        1 => prop::collection::vec(name_char(), 100..152),
        1 => (name_char(), 1_usize..151).prop_map(|(c, times)| vec![c; times]),
    ]
    .prop_map(|characters| characters.into_iter().collect())
}

/// An accepted name.
fn name() -> impl Strategy<Value = Username> {
    likely().prop_filter_map("no name", |text| Username::parse(&text).ok())
}

/// What nobody sees, of what Unicode calls letters: its `Default_Ignorable_Code_Point`s and the blanks among its hieroglyphs.
fn is_invisible(c: char) -> bool {
    let ignorable = matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    ignorable || matches!(c, '\u{13441}' | '\u{13442}')
}

#[test]
fn a_name_of_any_one_character_is_visible_and_its_key_is_its_own() {
    let mut texts = [0; 4];
    for c in char::MIN..=char::MAX {
        let Ok(name) = Username::parse(c.encode_utf8(&mut texts)) else {
            continue;
        };
        assert!(!name.as_str().chars().any(is_invisible), "{c:?}");
        let key = name.key();
        assert_eq!(fold(key.as_str()), key.as_str(), "{c:?}");
        // `ı` alone has a capital, `I`, that is the capital of another letter.
        for other in [c.to_lowercase().to_string(), c.to_uppercase().to_string()] {
            let same = Username::parse(&other).map_or(true, |other| other.key() == key);
            assert!(same || c == 'ı', "{c:?} {other:?}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_name_that_could_escape_or_deceive(text in prop_oneof![any::<String>(), likely()]) {
        let Ok(name) = Username::parse(&text) else { return Ok(()) };
        let (name, key) = (name.as_str(), name.key());
        prop_assert!(name.len() + 1 + key.as_str().len() < 1024);
        prop_assert!((1..=Username::MAX_CHARS).contains(&name.chars().count()));
        prop_assert!(name.chars().any(char::is_alphanumeric));
        for text in [name, key.as_str()] {
            let bad = |c: char| c.is_control() || c.is_whitespace() || is_invisible(c) || "#/\\%?&=<>\"'".contains(c);
            prop_assert!(!text.contains(bad), "{:?}", text);
        }
        prop_assert_eq!(Username::parse(name).map(|again| again.0), Ok(name.to_owned()), "a name is a spelling of itself");
    }

    #[test]
    fn the_key_of_a_key_is_the_key(name in name()) {
        let key = name.key();
        prop_assert_eq!(fold(key.as_str()), key.as_str());
        if let Ok(as_name) = Username::parse(key.as_str()) {
            prop_assert_eq!(as_name.key(), key);
        }
    }

    #[test]
    fn every_normal_form_of_a_name_has_its_key(name in name()) {
        let text = name.as_str();
        let forms: [String; 4] = [text.nfc().collect(), text.nfd().collect(), text.nfkc().collect(), text.nfkd().collect()];
        for form in forms {
            match Username::parse(&form) {
                Ok(spelled) => prop_assert_eq!(spelled, name.clone()),
                // What is longer in this form may be too long.
                Err(_) => prop_assert!(form.chars().count() > Username::MAX_CHARS, "{:?}", form),
            }
        }
    }

    #[test]
    fn a_name_in_capitals_or_small_letters_has_its_key(name in name()) {
        // Only a Turkish reader takes `I` for the capital of a dotless i.
        prop_assume!(!name.as_str().contains('ı'));
        for spelling in [name.as_str().to_uppercase(), name.as_str().to_lowercase()] {
            if let Ok(spelled) = Username::parse(&spelling) {
                prop_assert_eq!(spelled.key(), name.key(), "{:?}", spelling);
            }
        }
    }

    #[test]
    fn a_name_in_wide_letters_has_its_key(name in "[!-~]{1,20}") {
        let wide: String = name.chars().map(|c| char::from_u32(u32::from(c) + 0xfee0).unwrap()).collect();
        let key = |text: &str| Username::parse(text).map(|name| name.key()).map_err(|invalid| invalid.reason);
        prop_assert_eq!(key(&wide), key(&name));
    }

    #[test]
    fn every_beginning_of_a_name_finds_it(name in name()) {
        let key = name.key();
        let written = name.as_str();
        for (end, _) in written.char_indices().skip(1).chain([(written.len(), ' ')]) {
            let prefix = NamePrefix::parse(&written[..end]);
            let finds = prefix.as_ref().is_ok_and(|prefix| key.as_str().starts_with(prefix.as_str()));
            prop_assert!(finds, "{:?} is {:?} for {:?}", &written[..end], prefix, key);
        }
    }

    #[test]
    fn a_prefix_is_whatever_a_name_could_begin_with(text in prop_oneof![any::<String>(), likely()]) {
        if let Ok(prefix) = NamePrefix::parse(&text) {
            prop_assert!(prefix.as_str().len() <= 1020);
            prop_assert!(!prefix.as_str().contains(|c: char| c == '#' || c.is_control() || is_invisible(c)));
            // What is folded may be too long, or be no letters, to be typed.
            if let Ok(again) = NamePrefix::parse(prefix.as_str()) {
                prop_assert_eq!(again, prefix);
            }
        }
    }
}
