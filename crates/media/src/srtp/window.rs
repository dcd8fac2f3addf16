//! Packet numbers of 48 bits from sequence numbers of 16 bits, and the replay window (RFC 3711,
//! sections 3.3.1 and 3.3.2).

/// Size of the window below the highest number; RFC 3711 requires at least 64.
const WINDOW_SIZE: u64 = 128;
/// End of the packet numbers: 2^48 packets per key.
const INDEX_END: u64 = 1 << 48;

/// Highest packet number, and a mask of the received numbers below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    highest: u64,
    /// Bit `n` is set if number `highest - n` was received.
    seen: u128,
}

impl Window {
    /// Creates an empty window at the first number.
    pub(super) fn starting_at(first: u64) -> Self {
        Self {
            highest: first,
            seen: 0,
        }
    }

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Marks a number as received and returns `true` if it is new. A number below the window is not
    /// new.
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

/// Returns the most probable packet number of a sequence number (RFC 3711, appendix A); `None` at
/// the end of the numbers.
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
    fn each_number_is_new_once_and_old_numbers_are_rejected() {
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
    fn a_roll_over_is_counted_and_a_late_packet_is_before_it() {
        assert_eq!(estimate_index(0xfff0, 5), Some(0x1_0005));
        assert_eq!(estimate_index(0x1_0005, 0xfff0), Some(0xfff0));
        assert_eq!(
            estimate_index(5, 0xfff0),
            Some(0xfff0),
            "no number is before the first roll-over"
        );
        assert_eq!(estimate_index(INDEX_END - 1, 0), None);
    }

    proptest! {
        #[test]
        fn the_index_of_a_number_near_the_highest_is_correct(highest in 0x1_0000u64..INDEX_END - 0x1_0000, step in -0x7fffi64..0x7fff) {
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
