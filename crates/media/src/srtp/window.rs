//! Packet numbers of 48 bits out of 16, and which of them were seen (RFC 3711, sections 3.3.1 and 3.3.2).

/// Numbers below the highest that are told apart; RFC 3711 asks for 64.
const WINDOW_SIZE: u64 = 128;
/// Numbers end here: 2^48 packets under one key.
const INDEX_END: u64 = 1 << 48;

/// The highest packet number so far, and which of those right below it were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    highest: u64,
    /// Bit `n`: number `highest - n` was seen.
    seen: u128,
}

impl Window {
    /// A window in which nothing was seen, around the first number.
    pub(super) fn starting_at(first: u64) -> Self {
        Self {
            highest: first,
            seen: 0,
        }
    }

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Takes a number; gives whether it is new. One too old to tell is not.
    pub(super) fn accept(&mut self, index: u64) -> bool {
        if index > self.highest {
            let ahead = index - self.highest;
            self.seen = if ahead < WINDOW_SIZE {
                self.seen << ahead
            } else {
                0
            };
            self.highest = index;
        }
        let back = self.highest - index;
        let bit = if back < WINDOW_SIZE {
            1u128 << back
        } else {
            return false;
        };
        let new = self.seen & bit == 0;
        self.seen |= bit;
        new
    }
}

/// The number that a sequence number most likely stands for, given the highest so far (RFC 3711, appendix A); `None`
/// when the numbers are used up.
pub(super) fn estimate_index(highest: u64, sequence: u16) -> Option<u64> {
    let near = (highest & !0xffff) | u64::from(sequence);
    let index = if near + 0x8000 < highest {
        near + 0x1_0000
    } else if near > highest + 0x8000 && near >= 0x1_0000 {
        near - 0x1_0000
    } else {
        near
    };
    (index < INDEX_END).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_number_is_new_once_and_old_ones_are_refused() {
        let mut window = Window::starting_at(1000);
        assert!(window.accept(1000));
        assert!(!window.accept(1000));
        assert!(window.accept(1003) && window.accept(1001));
        assert!(!window.accept(1001));
        assert!(window.accept(1003 + 127));
        assert!(!window.accept(1002), "just outside of the window");
        assert!(window.accept(5000));
        assert!(!window.accept(1130));
    }

    #[test]
    fn a_roll_over_is_counted_and_a_late_packet_belongs_before_it() {
        assert_eq!(estimate_index(0xfff0, 5), Some(0x1_0005));
        assert_eq!(estimate_index(0x1_0005, 0xfff0), Some(0xfff0));
        assert_eq!(
            estimate_index(5, 0xfff0),
            Some(0xfff0),
            "there is nothing before the first round"
        );
        assert_eq!(estimate_index(INDEX_END - 1, 0), None);
    }

    proptest! {
        #[test]
        fn a_number_near_the_highest_is_guessed_right(highest in 0x1_0000u64..INDEX_END - 0x1_0000, step in -0x7fffi64..0x7fff) {
            let index = highest.checked_add_signed(step).unwrap();
            prop_assert_eq!(estimate_index(highest, index as u16), Some(index));
        }

        #[test]
        fn no_number_is_new_twice(numbers in proptest::collection::vec(0u64..400, 1..300)) {
            let mut window = Window::starting_at(numbers[0]);
            let mut seen = std::collections::HashSet::new();
            for number in numbers {
                if window.accept(number) {
                    prop_assert!(seen.insert(number));
                }
            }
        }
    }
}
