//! Inserts of many rows at once on PostgreSQL. Inserting each row alone costs a message, a plan and a snapshot.

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type};

use super::Value;
use crate::store::core::statement::Statement;

/// Rows to insert, grouped by statement.
#[derive(Default)]
pub(crate) struct BatchedRows(Vec<RowGroup>);

/// Rows of one statement, by column.
pub(crate) struct RowGroup {
    /// Statement that inserts one row.
    pub(crate) statement: &'static Statement,
    pub(crate) columns: Vec<ColumnValues>,
}

/// Values of one column, one for each row.
#[derive(Debug)]
pub(crate) enum ColumnValues {
    Texts(Vec<Option<String>>),
    Integers(Vec<Option<i64>>),
}

impl BatchedRows {
    /// Adds a row. `kinds` are the types of its columns.
    pub(crate) fn push(
        &mut self,
        statement: &'static Statement,
        kinds: &[Type],
        row: &[Value<'_>],
    ) {
        let position = self
            .0
            .iter()
            .position(|group| group.statement.name == statement.name);
        let group = match position.and_then(|position| self.0.get_mut(position)) {
            Some(group) => group,
            None => {
                self.0.push(RowGroup {
                    statement,
                    columns: kinds.iter().map(ColumnValues::for_type).collect(),
                });
                let Some(group) = self.0.last_mut() else {
                    return;
                };
                group
            }
        };
        group
            .columns
            .iter_mut()
            .zip(row)
            .for_each(|(column, value)| column.push(value));
    }

    /// Drops all rows.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Removes and returns all rows. The order of the groups does not depend on the order of the rows.
    pub(crate) fn take(&mut self) -> Vec<RowGroup> {
        let mut groups = std::mem::take(&mut self.0);
        groups.sort_unstable_by_key(|group| group.statement.sql);
        groups
    }
}

impl ColumnValues {
    fn for_type(kind: &Type) -> Self {
        if *kind == Type::INT8 {
            Self::Integers(Vec::new())
        } else {
            Self::Texts(Vec::new())
        }
    }

    fn push(&mut self, value: &Value<'_>) {
        match (self, value) {
            (Self::Texts(texts), Value::Text(text)) => texts.push(Some((*text).to_owned())),
            (Self::Texts(texts), _) => texts.push(None),
            (Self::Integers(integers), Value::Integer(integer)) => integers.push(Some(*integer)),
            (Self::Integers(integers), _) => integers.push(None),
        }
    }
}

impl ToSql for ColumnValues {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Texts(texts) => texts.to_sql(kind, out),
            Self::Integers(integers) => integers.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TEXT_ARRAY || *kind == Type::INT8_ARRAY
    }

    tokio_postgres::types::to_sql_checked!();
}

/// Returns one statement that inserts the rows of several groups. Each group comes with a statement for one row,
/// `INSERT … VALUES ($1, $2, …) …`, and the types of its columns. `None` if a statement has another shape.
pub(crate) fn multi_row_insert<'a>(
    groups: impl IntoIterator<Item = (&'a str, &'a [Type])>,
) -> Option<String> {
    let mut first = 1;
    let mut inserts = Vec::new();
    for (sql, kinds) in groups {
        inserts.push(unnest_insert(sql, kinds, first)?);
        first += kinds.len();
    }
    let last = inserts.pop()?;
    let before = inserts
        .iter()
        .zip(1..)
        .map(|(insert, number)| format!("insert_{number} AS ({insert})"));
    let before = before.collect::<Vec<_>>().join(", ");
    Some(if before.is_empty() {
        last
    } else {
        format!("WITH {before} {last}")
    })
}

/// Returns a statement that inserts many rows. Its parameters are numbered from `first`.
fn unnest_insert(sql: &str, kinds: &[Type], first: usize) -> Option<String> {
    let (head, rest) = sql.split_once("VALUES (")?;
    let (values, tail) = rest.split_once(')')?;
    let in_order = values
        .split(',')
        .zip(1..)
        .all(|(value, number)| value.trim() == format!("${number}"));
    if !in_order || values.split(',').count() != kinds.len() {
        return None;
    }
    let array = |(kind, number): (&Type, usize)| {
        let kind = if *kind == Type::INT8 {
            "bigint"
        } else {
            "text"
        };
        format!("${number}::{kind}[]")
    };
    let arrays: Vec<String> = kinds.iter().zip(first..).map(array).collect();
    Some(format!(
        "{head}SELECT * FROM unnest({}){}",
        arrays.join(", "),
        tail.trim_end()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::core::statement::Rows;

    #[test]
    fn an_insert_of_one_row_becomes_an_insert_of_many() {
        let kinds = [Type::TEXT, Type::INT8];
        assert_eq!(
            multi_row_insert([(
                "INSERT INTO t (a, b)\nVALUES ($1, $2)\nON CONFLICT (a) DO NOTHING\n",
                &kinds[..]
            )])
            .as_deref(),
            Some(
                "INSERT INTO t (a, b)\nSELECT * FROM unnest($1::text[], $2::bigint[])\nON CONFLICT (a) DO NOTHING"
            )
        );
        for other in [
            "INSERT INTO t (a, b) VALUES ($2, $1)",
            "INSERT INTO t (a, b) VALUES ($1, 0)",
            "SELECT 1",
        ] {
            assert_eq!(multi_row_insert([(other, &kinds[..])]), None, "{other}");
        }
        let four_columns = "INSERT INTO t (a, b, c, d) VALUES ($1, $2, $3, $4)";
        assert_eq!(multi_row_insert([(four_columns, &kinds[..])]), None);
    }

    #[test]
    fn inserts_into_several_tables_become_one_statement() {
        let (first, second) = ([Type::TEXT], [Type::INT8, Type::TEXT]);
        let groups = [
            ("INSERT INTO t (a) VALUES ($1)", &first[..]),
            ("INSERT INTO u (b, c) VALUES ($1, $2)", &second[..]),
        ];
        assert_eq!(
            multi_row_insert(groups).as_deref(),
            Some(
                "WITH insert_1 AS (INSERT INTO t (a) SELECT * FROM unnest($1::text[])) \
                 INSERT INTO u (b, c) SELECT * FROM unnest($2::bigint[], $3::text[])"
            )
        );
    }

    #[test]
    fn rows_are_grouped_by_statement_and_column() {
        const ONE: &Statement = &Statement::new("one", "INSERT 1", Rows::Any);
        const TWO: &Statement = &Statement::new("two", "INSERT 2", Rows::Any);
        let mut batched = BatchedRows::default();
        let kinds = [Type::TEXT, Type::INT8];
        batched.push(ONE, &kinds, &[Value::Text("a"), Value::Integer(1)]);
        batched.push(TWO, &kinds, &[Value::Text("b"), Value::Integer(2)]);
        batched.push(ONE, &kinds, &[Value::Null, Value::Null]);
        let groups = batched.take();
        let found: Vec<_> = groups
            .iter()
            .map(|group| format!("{} {:?}", group.statement.name, group.columns))
            .collect();
        assert_eq!(
            found,
            [
                "one [Texts([Some(\"a\"), None]), Integers([Some(1), None])]",
                "two [Texts([Some(\"b\")]), Integers([Some(2)])]"
            ]
        );
        assert!(batched.take().is_empty());
    }
}
