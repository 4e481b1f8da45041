//! What holds for every token and every text that is none.

use std::{sync::LazyLock, time::Duration};

use proptest::prelude::*;

use super::*;

fn config() -> TokenConfig {
    TokenConfig {
        issuer: "us".into(),
        audience: "here".into(),
        access_lifetime: Duration::from_secs(360),
        refresh_lifetime: Duration::from_secs(1_800),
    }
}

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::new(&[7; 32], config()).unwrap());
static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| Verifier::new(SIGNER.public_key(), &config()).unwrap());

const PURPOSES: [Purpose; 2] = [Purpose::Access, Purpose::Refresh];

prop_compose! {
    /// Claims that hold at least until a second from the epoch on.
    fn any_claims()(
        user in any::<i64>(),
        key in any::<String>(),
        session in any::<bool>(),
        (token_version, generation) in any::<(u32, u32)>(),
        purpose in prop::sample::select(&PURPOSES[..]),
        (issued_at, expires_at) in (0_i64..1 << 53, 1_i64..1 << 53),
    ) -> Claims {
        Claims {
            user: UserId::new(Timestamp::from_millis(user)),
            key,
            session: if session { SessionId::random() } else { serde_json::from_str("\"\"").unwrap() },
            token_version: TokenVersion(token_version),
            generation: Generation(generation),
            purpose,
            issued_at,
            expires_at,
        }
    }
}

/// Whether somebody takes the text for a token, of either purpose, at the epoch, when none has expired.
fn is_accepted(text: &str) -> bool {
    let _ = Verifier::key_id(text);
    let now = Timestamp::from_millis(0);
    PURPOSES
        .into_iter()
        .any(|purpose| VERIFIER.verify(text, purpose, now).is_some())
}

proptest! {
    #[test]
    fn a_token_says_what_was_signed_for_its_purpose_until_it_expires(claims in any_claims(), other in any_claims()) {
        let token = SIGNER.sign(&claims).unwrap();
        let read = |purpose, seconds: i64| VERIFIER.verify(&token, purpose, Timestamp::from_millis(seconds * 1_000 - 1));
        let last = claims.expires_at;
        prop_assert_eq!(read(claims.purpose, last), Some(claims.clone()));
        prop_assert_eq!(read(claims.purpose, last + 1), None);
        let wrong = PURPOSES.into_iter().find(|purpose| *purpose != claims.purpose).unwrap();
        prop_assert_eq!(read(wrong, last), None);
        if claims != other {
            prop_assert_ne!(SIGNER.sign(&other).unwrap(), token);
        }
    }

    #[test]
    fn a_token_with_one_character_changed_cut_off_or_added_is_none(
        claims in any_claims(),
        at in any::<prop::sample::Index>(),
        character in prop_oneof!["[A-Za-z0-9_.=-]", any::<char>().prop_map(String::from)],
    ) {
        let token = SIGNER.sign(&claims).unwrap();
        prop_assert!(is_accepted(&token));
        let at = at.index(token.len());
        let (before, behind) = token.split_at(at);
        let changed = format!("{before}{character}{}", &behind[1..]);
        prop_assert!(changed == token || !is_accepted(&changed), "{}", changed);
        for broken in [before, behind, &format!("{before}{character}{behind}"), &format!("{before}{}", &behind[1..])] {
            prop_assert!(broken == token || !is_accepted(broken), "{}", broken);
        }
    }

    #[test]
    fn parts_of_two_tokens_make_no_third(one in any_claims(), other in any_claims(), pick in any::<[bool; 3]>()) {
        let (one, other) = (SIGNER.sign(&one).unwrap(), SIGNER.sign(&other).unwrap());
        let parts: Vec<_> = one.split('.').zip(other.split('.')).zip(pick)
            .map(|((one, other), first)| if first { one } else { other })
            .collect();
        let mixed = parts.join(".");
        prop_assert!(mixed == one || mixed == other || !is_accepted(&mixed));
    }

    #[test]
    fn no_other_text_is_a_token(
        text in prop_oneof![
            any::<String>(),
            "[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,90}",
            (any::<String>(), any::<String>(), any::<[u8; 32]>()).prop_map(|(header, payload, signature)| {
                let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
                format!("{}.{}.{}", part(header.as_bytes()), part(payload.as_bytes()), part(&signature.repeat(2)))
            }),
        ],
    ) {
        prop_assert!(!is_accepted(&text));
    }

    #[test]
    fn keys_of_the_token_scheme_differ_unless_the_user_and_version_are_the_same(
        (one, other) in any::<(i64, i64)>(),
        (version, next) in any::<(u32, u32)>(),
    ) {
        let [one, other] = [one, other].map(|time| UserId::new(Timestamp::from_millis(time)));
        let key = SIGNER.auth_key(one, TokenVersion(version));
        prop_assert_eq!(AuthKey::parse(key.as_str()), Some(SIGNER.auth_key(one, TokenVersion(version))));
        prop_assert_ne!(&SIGNER.auth_key(other, TokenVersion(version)), &key);
        prop_assert_eq!(SIGNER.auth_key(one, TokenVersion(next)) == key, version == next);
    }
}
