//! What holds for every value, and for every text that is none.

use std::time::Duration;

use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;

use super::*;

fn user_key() -> impl Strategy<Value = UserKey> {
    "[a-zà-öø-ÿ0-9_.@+-]{0,10}[a-z]".prop_map(|name| Username::parse(&name).unwrap().key())
}

fn id() -> impl Strategy<Value = ChatId> {
    any::<i64>().prop_map(|time| ChatId::new(Timestamp::from_millis(time)))
}

/// Somebody's listings, all kinds of them.
fn listings<'a>(id: &'a UserId, key: &'a UserKey) -> [Listing<'a>; 8] {
    [
        Listing::Chats(id),
        Listing::Conversations(id),
        Listing::ChatsIn(id.to_string().parse().unwrap()),
        Listing::Users,
        Listing::Search,
        Listing::ChatsOf(key),
        Listing::LedgerOf(key),
        Listing::Audit,
    ]
}

/// A place that can be in a listing: those of names are written otherwise than ids.
fn place(listing: Listing<'_>, id: ChatId, key: &UserKey) -> String {
    match listing {
        Listing::Users | Listing::Search => format!("{}#{}", key.as_str(), key.as_str()),
        _ => id.to_string(),
    }
}

proptest! {
    #[test]
    fn a_cursor_comes_back_in_its_own_listing_and_in_no_other(
        (chat, one, other) in (id(), any::<i64>(), any::<i64>()),
        (key, other_key) in (user_key(), user_key()),
        index in 0_usize..8,
    ) {
        let [one, other] = [one, other].map(|time| UserId::new(Timestamp::from_millis(time)));
        let own = listings(&one, &key);
        let place = place(own[index], chat, &key);
        let text = Cursor::after(place.clone()).encode(own[index]);
        prop_assert_eq!(Cursor::decode(&text, own[index]), Ok(Cursor::after(place)));
        for (at, listing) in own.into_iter().enumerate() {
            prop_assert!(at == index || Cursor::decode(&text, listing).is_err(), "{:?}", listing);
        }
        // The listings that are somebody's: another's are others.
        if key != other_key && !matches!(own[index], Listing::Users | Listing::Search | Listing::Audit) {
            prop_assert!(Cursor::decode(&text, listings(&other, &other_key)[index]).is_err());
        }
    }

    #[test]
    fn a_cursor_with_one_character_changed_cut_off_or_added_is_none(
        (chat, key) in (id(), user_key()),
        index in 0_usize..8,
        at in any::<prop::sample::Index>(),
        character in prop_oneof!["[A-Za-z0-9_=-]", any::<char>().prop_map(String::from)],
    ) {
        let user = UserId::new(Timestamp::from_millis(0));
        let listing = listings(&user, &key)[index];
        let text = Cursor::after(place(listing, chat, &key)).encode(listing);
        let at = at.index(text.len());
        let (before, behind) = text.split_at(at);
        let changed = [
            format!("{before}{character}{}", &behind[1..]),
            format!("{before}{character}{behind}"),
            format!("{before}{}", &behind[1..]),
            before.to_owned(),
        ];
        for changed in changed {
            prop_assert!(changed == text || Cursor::decode(&changed, listing).is_err(), "{}", changed);
        }
    }

    #[test]
    fn no_text_that_was_not_handed_out_is_a_cursor(
        text in prop_oneof![any::<String>(), "[A-Za-z0-9_-]{0,100}", "[A-Za-z0-9_-]{1395,1405}"],
        key in user_key(),
    ) {
        let user = UserId::new(Timestamp::from_millis(0));
        for listing in listings(&user, &key) {
            prop_assert!(Cursor::decode(&text, listing).is_err());
        }
    }

    #[test]
    fn whatever_place_somebody_makes_a_cursor_of_can_be_asked_for(
        place in prop_oneof![any::<String>(), "[a#é]{0,40}", "[a#]{1000,1030}"],
        key in user_key(),
    ) {
        let user = UserId::new(Timestamp::from_millis(0));
        for listing in listings(&user, &key) {
            let text = Cursor::after(place.clone()).encode(listing);
            if let Ok(cursor) = Cursor::decode(&text, listing) {
                prop_assert_eq!(cursor.place(), place.as_str());
                // DynamoDB bounds a sort key at 1024 bytes, and a page of users starts one byte behind its cursor's place.
                prop_assert!((1..1024).contains(&place.len()), "{} bytes", place.len());
            }
        }
    }

    #[test]
    fn a_page_size_is_a_number_in_range_and_nothing_else(text in prop_oneof![any::<String>(), "[0-9]{1,6}", "[+-]?[0-9.e]{1,4}"]) {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && (1..=100).contains(number));
        prop_assert_eq!(PageSize::parse(Some(&text), 100, 50).ok().map(PageSize::get), number);
    }

    #[test]
    fn an_address_is_kept_as_it_is_and_has_a_shape(text in prop_oneof![any::<String>(), "[a-z@. ]{0,12}", "[a-zé]{1,260}@[a-z.]{1,9}"]) {
        if let Ok(address) = Email::parse(&text) {
            prop_assert_eq!(address.is_none(), text.is_empty());
            let Some(address) = address else { return Ok(()) };
            prop_assert_eq!(address.as_str(), text.as_str());
            prop_assert!(text.len() <= 254 && !text.contains(|c: char| c.is_control() || c.is_whitespace()));
            let (local, domain) = text.rsplit_once('@').unwrap();
            let labels = format!(".{domain}.");
            prop_assert!(!local.is_empty() && domain.contains('.') && !labels.contains(".."));
        }
    }

    #[test]
    fn a_password_is_the_same_however_its_letters_are_put_together(text in prop_oneof![any::<String>(), "[éåǭạ가ṩẛ̣a-c]{0,12}"]) {
        let [composed, decomposed]: [String; 2] = [text.nfc().collect(), text.nfd().collect()];
        let typed = Password::typed(&text);
        for form in [composed, decomposed] {
            let form = Password::typed(&form);
            prop_assert_eq!(form.bytes(), typed.bytes());
        }
        let printed = format!("{typed:?}");
        prop_assert_eq!(printed, "[redacted]");
    }

    #[test]
    fn a_password_that_is_accepted_is_as_long_as_the_policy_wants(
        text in prop_oneof![any::<String>(), "[a-z0-9é]{0,20}", "[a-zé]{1000,1050}"],
        (min_bytes, max_bytes) in (0_usize..20, 0_usize..2_000),
        name in user_key(),
    ) {
        let name = Username::parse(name.as_str()).unwrap();
        let typed = Password::typed(&text);
        if let Ok(accepted) = NewPassword::accept(typed.clone(), &name, PasswordPolicy { min_bytes, max_bytes }) {
            let bytes = accepted.as_password().bytes().expect("what is accepted can be hashed");
            prop_assert!(!bytes.is_empty() && (min_bytes..=max_bytes).contains(&bytes.len()));
            prop_assert_eq!(Some(bytes), typed.bytes());
        }
        // Its own name is no password, unless it is too short to be one of anything.
        if name.as_str().chars().filter(|c| c.is_alphanumeric()).count() >= 4 {
            let same = Password::typed(&name.as_str().to_uppercase());
            let any_length = PasswordPolicy { min_bytes: 0, max_bytes: 1_024 };
            prop_assert!(NewPassword::accept(same, &name, any_length).is_err());
        }
    }

    #[test]
    fn sums_of_amounts_are_exact_or_none(one in amount(), other in amount(), any in any::<u64>()) {
        let sum = u128::from(one.get()) + u128::from(other.get());
        let expected = u64::try_from(sum).ok().filter(|sum| *sum <= Amount::MAX.get());
        prop_assert_eq!(one.checked_add(other).map(Amount::get), expected);
        prop_assert_eq!(Amount::new(any).is_some(), any <= Amount::MAX.get());
        let text = serde_json::to_string(&one).unwrap();
        prop_assert_eq!(serde_json::from_str::<Amount>(&text).unwrap(), one);
        prop_assert_eq!(serde_json::from_value::<Amount>(any.into()).is_ok(), any <= Amount::MAX.get());
    }

    #[test]
    fn adjustments_are_exact_or_refused(
        tokens in prop_oneof![any::<i64>(), -5_000_i64..5_000, (1_i64 << 53) - 3..(1 << 53) + 3, -(1_i64 << 53) - 3..3 - (1 << 53)],
        balance in amount(),
        held in prop_oneof![Just(Amount::ZERO), amount()],
    ) {
        let possible = tokens != 0 && i128::from(tokens).abs() <= i128::from(Amount::MAX.get());
        let adjustment = Adjustment::parse(tokens);
        prop_assert_eq!(adjustment.is_ok(), possible);
        let Ok(adjustment) = adjustment else { return Ok(()) };
        prop_assert_eq!(adjustment.get(), tokens);
        let after = i128::from(balance.get()) + i128::from(tokens);
        let expected = u64::try_from(after).ok().and_then(Amount::new);
        let expected = expected.filter(|after| after.get() + held.get() <= Amount::MAX.get());
        prop_assert_eq!(adjustment.apply(balance, held).ok(), expected);
    }

    #[test]
    fn an_idempotency_key_is_visible_ascii_and_its_own(
        text in prop_oneof![any::<String>(), "[!-~]{0,260}", "[ -~]{1,5}"],
        other in "[!-~]{1,255}",
    ) {
        let is_key = (1..=255).contains(&text.len()) && text.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
        let key = IdempotencyKey::parse(&text);
        prop_assert_eq!(key.is_ok(), is_key);
        let Ok(key) = key else { return Ok(()) };
        prop_assert_eq!(key.as_str().len(), 43);
        prop_assert_eq!(IdempotencyKey::parse(&other).unwrap() == key, other == text);
    }

    #[test]
    fn requests_have_one_fingerprint_only_if_all_their_parts_are_the_same(
        parts in prop::collection::vec("[ab]{0,4}", 0..5),
        others in prop::collection::vec("[ab]{0,4}", 0..5),
        (cut, from) in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let of = |parts: &[String]| Fingerprint::of(&parts.iter().map(String::as_str).collect::<Vec<_>>());
        prop_assert_eq!(of(&parts) == of(&others), parts == others);
        // The same text, cut elsewhere.
        let text = parts.concat();
        let cut = cut.index(text.len() + 1);
        let two = [text[..cut].to_owned(), text[cut..].to_owned()];
        prop_assert_eq!(of(&two) == of(&parts), two.as_slice() == parts.as_slice());
        if !parts.is_empty() {
            let mut more = parts.clone();
            more.insert(from.index(parts.len() + 1), String::new());
            prop_assert_ne!(of(&more), of(&parts));
        }
    }

    #[test]
    fn an_auth_key_is_forty_small_hexadecimal_digits(
        text in prop_oneof![any::<String>(), "[0-9a-f]{39,41}", "[0-9a-fA-Fg]{40}"],
        (bytes, others) in any::<([u8; 20], [u8; 20])>(),
    ) {
        let is_key = text.chars().count() == 40 && text.chars().all(|c| "0123456789abcdef".contains(c));
        prop_assert_eq!(AuthKey::parse(&text).is_some(), is_key);
        let (key, other) = (AuthKey::from_bytes(&bytes), AuthKey::from_bytes(&others));
        prop_assert_eq!(AuthKey::parse(key.as_str()), Some(key.clone()));
        prop_assert_eq!(key.hash() == other.hash(), bytes == others);
        prop_assert_eq!(key.hash().as_str().len(), 43);
    }

    #[test]
    fn one_thing_has_one_id(
        text in prop_oneof![any::<String>(), "[0-7][0-9A-HJKMNP-TV-Z]{25}", "[0-9A-Za-z]{26}", "[0-9A-Z]{25,27}"],
        (early, late) in (0_i64..1 << 48, 0_i64..1 << 48),
    ) {
        if let Ok(id) = text.parse::<ChatId>() {
            prop_assert_eq!(id.to_string(), text.as_str());
            prop_assert_eq!(id.to_bytes()[0] >> 5, text.as_bytes()[0] - b'0', "the first digit is the first three bits");
        }
        let [early, late] = [early, late].map(|time| ChatId::new(Timestamp::from_millis(time)));
        prop_assert_eq!(early.to_string().parse(), Ok(early));
        prop_assert_eq!(early.to_string() < late.to_string(), early.to_bytes() < late.to_bytes());
        let json = serde_json::to_string(&early).unwrap();
        prop_assert_eq!(serde_json::from_str::<ChatId>(&json).unwrap(), early);
    }

    #[test]
    fn an_id_of_any_time_is_an_id(time in any::<i64>()) {
        let id = ChatId::new(Timestamp::from_millis(time));
        prop_assert_eq!(id.to_string().len(), 26);
        prop_assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn no_time_is_out_of_reach(milliseconds in any::<i64>(), other in any::<i64>(), by in 0..=i64::MAX.unsigned_abs()) {
        let (moment, other) = (Timestamp::from_millis(milliseconds), Timestamp::from_millis(other));
        let later = moment.plus(Duration::from_millis(by));
        prop_assert!(later >= moment);
        let expected = (i128::from(milliseconds) + i128::from(by)).min(i128::from(i64::MAX));
        prop_assert_eq!(i128::from(later.as_millis()), expected);
        let since = (i128::from(milliseconds) - i128::from(other.as_millis())).clamp(0, i128::from(i64::MAX));
        prop_assert_eq!(i128::try_from(moment.since(other).as_millis()).unwrap(), since);
        prop_assert!(!moment.to_string().is_empty());
        prop_assert!(moment.as_secs() <= milliseconds / 1_000 && moment.as_secs() >= milliseconds / 1_000 - 1);
    }

    #[test]
    fn messages_are_kept_and_reasons_are_one_trimmed_line(text in any::<String>(), max in 0_usize..40) {
        let message = Message::parse(text.clone());
        prop_assert_eq!(message.is_ok(), !text.trim().is_empty());
        if let Ok(message) = message {
            prop_assert_eq!(message.check_length(max).is_ok(), text.chars().count() <= max);
            prop_assert_eq!(message.into_string(), text.as_str());
        }
        if let Ok(reason) = Reason::parse(&text) {
            prop_assert_eq!(reason.as_str(), text.trim());
            prop_assert!(!reason.as_str().contains(char::is_control));
            prop_assert!((1..=Reason::MAX_CHARS).contains(&reason.as_str().chars().count()));
        }
    }
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        0_u64..5_000,
        0..=Amount::MAX.get(),
        Amount::MAX.get() - 5_000..=Amount::MAX.get()
    ]
    .prop_map(|tokens| Amount::new(tokens).unwrap())
}
