//! Enums that own their words: the names of their variants in records, APIs, metrics and files.

/// Error for a word that names no variant of the enum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {}", .expected.join(", "))]
pub struct UnknownWord {
    /// Words of the enum in the order of its variants.
    pub expected: &'static [&'static str],
}

/// Declares an enum with one word for each variant, and the conversion in both directions.
#[macro_export]
macro_rules! words {
    (
        $(#[$attribute:meta])*
        pub enum $name:ident {
            $($(#[$variant_attribute:meta])* $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_attribute])* $variant,)+
        }

        impl $name {
            /// All variants in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Words of all variants in the same order.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// Returns the word of this variant.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::UnknownWord { expected: Self::WORDS }),
                }
            }
        }
    };
}

pub(crate) use words;
