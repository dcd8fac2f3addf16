//! Rows by name: a type owns the columns that statements select for it.

/// Declares a row: its fields, the list of their columns for `SELECT`, and the reader. A field is read from the column of
/// its name; with a literal behind `=` it is read from that expression.
macro_rules! row {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident from $columns:ident {
            $(#[$first_attribute:meta])*
            $first:ident: $first_type:ty $(= $first_expression:literal)?,
            $($(#[$field_attribute:meta])* $field:ident: $type:ty $(= $expression:literal)?,)*
        }
    ) => {
        $(#[$attribute])*
        $visibility struct $name {
            $(#[$first_attribute])*
            $visibility $first: $first_type,
            $($(#[$field_attribute])* $visibility $field: $type,)*
        }

        macro_rules! $columns {
            () => {
                concat!(
                    $($first_expression, " AS ",)?
                    stringify!($first),
                    $(", ", $($expression, " AS ",)? stringify!($field),)*
                )
            };
        }

        impl $name {
            /// Reads a row.
            pub(crate) fn read(
                row: &$crate::store::core::database::Row<'_>,
            ) -> Result<Self, $crate::store::StoreError> {
                let mut index = 0..;
                let mut next = || index.next().unwrap_or_default();
                Ok(Self {
                    $first: row.get_near(next(), stringify!($first))?,
                    $($field: row.get_near(next(), stringify!($field))?,)*
                })
            }
        }
    };
}

pub(crate) use row;
