//! Declaration of the SQL statements of a folder.
//!
//! SQLite and PostgreSQL run the same texts. Parameters are numbered in the order of their first appearance. Values are
//! texts and 64-bit integers; times are microseconds since the epoch.

/// Declares the statements of a folder as constants, and the list of them for tests.
macro_rules! statements {
    ($($(#[$attribute:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$attribute])* pub(crate) const $name: &str = $sql;)*

        /// Every statement of this folder with its name.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

pub(crate) use statements;
