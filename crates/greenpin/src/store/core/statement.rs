//! SQL statements: text, tables, and the number of rows that each one must change.
//!
//! SQLite and PostgreSQL run the same texts. Parameters are numbered in the order of their first appearance. Values are
//! texts and 64-bit integers; times are microseconds since the epoch.

use crate::store::StoreError;

/// SQL statement with the rules for its effect.
#[derive(Debug)]
pub(crate) struct Statement {
    /// Name of the constant, for error messages and the cache of prepared statements.
    pub(crate) name: &'static str,
    /// Text for both databases.
    pub(crate) sql: &'static str,
    /// Number of rows that it must change.
    rows: Rows,
    /// Tables that it reads or writes.
    tables: Tables,
    /// `false` for a `SELECT`.
    changes_rows: bool,
}

/// Number of rows that a statement must change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Any number: a read, or a statement on a batch of rows.
    Any,
    /// No row or one row: a statement on a unique key, with a condition that may not hold.
    AtMostOne,
    /// One row: an insert, or a statement on the key of a row that this transaction has read.
    ExactlyOne,
}

/// Set of tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tables(u32);

/// Every table of the schema. The position of a name is its bit in [`Tables`].
pub(crate) const TABLES: [&str; 27] = [
    "schema_version",
    "master_key",
    "master_keys",
    "derived_keys",
    "writer_shards",
    "tenants",
    "credentials",
    "endpoints",
    "prompts",
    "idempotency_keys",
    "audit",
    "erasures",
    "numbers",
    "allocations",
    "pins",
    "parties",
    "listed_callers",
    "strangers",
    "caller_sources",
    "calls",
    "uploads",
    "call_traces",
    "events",
    "deliveries",
    "attempts",
    "nodes",
    "sessions",
];

impl Statement {
    /// Creates a statement. Its tables follow from the text.
    pub(crate) const fn new(name: &'static str, sql: &'static str, rows: Rows) -> Self {
        Self {
            name,
            sql,
            rows,
            tables: Tables::named_in(sql),
            changes_rows: !starts_with(sql.as_bytes(), b"SELECT"),
        }
    }

    /// Returns the tables that the statement may read or write.
    pub(crate) const fn tables(&self) -> Tables {
        self.tables
    }

    /// Returns whether the statement can change rows.
    pub(crate) const fn changes_rows(&self) -> bool {
        self.changes_rows
    }

    /// Returns whether the statement changes at most one row, which its parameters name by a unique key.
    pub(crate) const fn changes_one_row(&self) -> bool {
        !matches!(self.rows, Rows::Any)
    }

    /// Returns whether `rows` is a valid number of changed rows.
    const fn allows(&self, rows: usize) -> bool {
        match self.rows {
            Rows::Any => true,
            Rows::AtMostOne => rows <= 1,
            Rows::ExactlyOne => rows == 1,
        }
    }

    /// Checks the number of changed rows.
    ///
    /// # Errors
    /// The effect is not the expected one; the transaction must not be committed.
    pub(crate) fn check(&self, rows: usize) -> Result<usize, StoreError> {
        if self.allows(rows) {
            Ok(rows)
        } else {
            let statement = self.name;
            Err(StoreError::RowCount { statement, rows })
        }
    }

    /// Logs an unexpected number of changed rows. For a deferred statement: its count may arrive after the commit was
    /// sent, and a committed transaction must not be reported as failed.
    pub(crate) fn log_unexpected(&self, rows: usize) {
        if !self.allows(rows) {
            tracing::error!(
                statement = self.name,
                rows,
                "a statement changed an unexpected number of rows"
            );
        }
    }
}

impl Tables {
    /// Empty set.
    pub(crate) const NONE: Self = Self(0);

    /// Returns the tables whose names appear in a text. A column with the name of a table adds that table, which is
    /// harmless: the set may be too large, not too small.
    const fn named_in(sql: &str) -> Self {
        let (mut tables, mut rest) = (0, sql.as_bytes());
        while let Some((_, after)) = rest.split_first() {
            let length = word_length(rest);
            if length == 0 {
                rest = after;
                continue;
            }
            let (word, tail) = rest.split_at(length);
            tables |= bit(word);
            rest = tail;
        }
        Self(tables)
    }

    /// Returns the union of both sets.
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether both sets have a table in common.
    pub(crate) const fn overlap(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Returns the length of the identifier at the start of a text.
const fn word_length(mut text: &[u8]) -> usize {
    let mut length = 0;
    while let Some((byte, rest)) = text.split_first() {
        if !(byte.is_ascii_alphanumeric() || *byte == b'_') {
            break;
        }
        length += 1;
        text = rest;
    }
    length
}

/// Returns the bit of the table with this name; 0 if there is no such table.
const fn bit(word: &[u8]) -> u32 {
    let (mut bit, mut names) = (1, TABLES.as_slice());
    while let Some((name, others)) = names.split_first() {
        if name.len() == word.len() && starts_with(word, name.as_bytes()) {
            return bit;
        }
        bit <<= 1;
        names = others;
    }
    0
}

const fn starts_with(mut text: &[u8], mut prefix: &[u8]) -> bool {
    while let Some((expected, rest)) = prefix.split_first() {
        match text.split_first() {
            Some((found, after)) if *found == *expected => (text, prefix) = (after, rest),
            _ => return false,
        }
    }
    true
}

/// Declares the statements of a folder as constants, and the list of them for tests. The word behind the name is a
/// variant of [`Rows`]; without it any number of rows is valid.
macro_rules! statements {
    (@rows) => {
        $crate::store::core::statement::Rows::Any
    };
    (@rows $rows:ident) => {
        $crate::store::core::statement::Rows::$rows
    };
    ($($(#[$attribute:meta])* $name:ident $(: $rows:ident)? = $sql:expr;)*) => {
        $(
            $(#[$attribute])*
            pub(crate) const $name: &$crate::store::core::statement::Statement =
                &$crate::store::core::statement::Statement::new(
                    stringify!($name),
                    $sql,
                    $crate::store::core::statement::statements!(@rows $($rows)?),
                );
        )*

        /// Every statement of this folder.
        #[cfg(test)]
        pub(crate) const ALL: &[&$crate::store::core::statement::Statement] = &[$($name),*];
    };
}

pub(crate) use statements;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::core::schema::{MIGRATIONS, SCHEMA_VERSION};

    #[test]
    fn every_table_of_the_schema_has_a_bit() {
        let steps = MIGRATIONS.iter().copied().chain([SCHEMA_VERSION.sql]);
        let mut created: Vec<&str> = steps
            .flat_map(|step| step.split("CREATE TABLE ").skip(1))
            .map(|table| table.trim_start_matches("IF NOT EXISTS "))
            .filter_map(|table| table.split([' ', '(']).next())
            .collect();
        let dropped: Vec<&str> = MIGRATIONS
            .iter()
            .flat_map(|step| step.split("DROP TABLE ").skip(1))
            .filter_map(|table| table.split(';').next())
            .collect();
        created.retain(|table| !dropped.contains(table));
        created.sort_unstable();
        let mut known = TABLES.to_vec();
        known.sort_unstable();
        assert_eq!(created, known);
    }

    #[test]
    fn the_tables_of_a_statement_follow_from_its_text() {
        let tables = |sql| Tables::named_in(sql);
        let both = tables("pins").with(tables("numbers"));
        assert_eq!(
            tables("UPDATE numbers SET active = 1 WHERE pins.free_at > 2"),
            both
        );
        assert_eq!(
            tables("SELECT pins_counted, number FROM nothing"),
            Tables::NONE
        );
        assert!(both.overlap(tables("DELETE FROM pins")));
        assert!(!both.overlap(tables("DELETE FROM events")));
        assert!(!Statement::new("A", "SELECT 1", Rows::Any).changes_rows());
        assert!(Statement::new("A", "DELETE FROM pins", Rows::Any).changes_rows());
    }

    #[test]
    fn a_statement_with_an_unexpected_number_of_rows_fails() {
        for (rows, valid) in [
            (Rows::Any, [true, true, true]),
            (Rows::AtMostOne, [true, true, false]),
            (Rows::ExactlyOne, [false, true, false]),
        ] {
            let statement = Statement::new("A", "DELETE FROM pins", rows);
            assert_eq!([0, 1, 2].map(|count| statement.check(count).is_ok()), valid);
        }
    }
}
