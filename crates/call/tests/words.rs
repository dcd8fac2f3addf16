//! Words of the enums that appear in records, APIs, metrics and files.
#![allow(clippy::unwrap_used)]

use call::{CallType, DialStatus, HangupBy, Prompt, UnknownWord};

#[test]
fn every_word_leads_to_its_variant_and_back() {
    macro_rules! check {
        ($($words:ident),*) => {$(
            assert_eq!($words::ALL.len(), $words::WORDS.len());
            for (variant, word) in $words::ALL.iter().zip($words::WORDS) {
                assert_eq!(variant.as_str(), *word);
                assert_eq!(word.parse(), Ok(*variant));
            }
        )*};
    }
    check!(CallType, DialStatus, HangupBy, Prompt);
}

#[test]
fn an_unknown_word_is_rejected_with_the_known_ones() {
    let error = "agent".parse::<HangupBy>().unwrap_err();
    assert_eq!(
        error,
        UnknownWord {
            expected: HangupBy::WORDS
        }
    );
    assert_eq!(error.to_string(), "must be one of caller, callee, system");
}
