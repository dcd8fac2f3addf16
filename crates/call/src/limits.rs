//! Limits of a call that a party can notice. The page `docs/reference/limits.md` has a row for each.

pub use crate::collect::{FIRST_DIGIT_TIMEOUT, MAX_PROMPT_REPEATS, NEXT_DIGIT_TIMEOUT};
pub use crate::machine::{ACCEPT_KEY_TIMEOUT, STORE_TIMEOUT};
