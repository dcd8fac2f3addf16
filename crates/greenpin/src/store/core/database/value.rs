//! Parameters and columns: texts and 64-bit integers, the same in both databases.

use std::cell::Cell;
use std::error::Error;
use std::fmt;

use bytes::BytesMut;
use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::store::{
    AuditId, CallSid, EndpointId, ErasureId, EventId, GreenpinId, StoreError, TenantId, Timestamp,
};

/// Parameter. Its `Debug` output shows no content, because a database error may print it.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
}

/// Type of a parameter.
pub(crate) trait Param {
    fn value(&self) -> Value<'_>;
}

/// Parameters of a statement in the order of their numbers.
pub(crate) trait Params {
    fn with<R>(&self, run: impl FnOnce(&[Value<'_>]) -> R) -> R;
}

/// Row of a result.
pub(crate) enum Row<'a> {
    Sqlite(&'a rusqlite::Row<'a>, &'a ColumnNames),
    Postgres(&'a tokio_postgres::Row),
}

/// Names found so far in a result, by position. All rows of a result have the same columns, so a name is compared in the
/// first row only.
#[derive(Default)]
pub(crate) struct ColumnNames([Cell<Option<&'static str>>; MAX_REMEMBERED_COLUMNS]);

/// Number of columns whose names are remembered; a later one is compared in each row.
const MAX_REMEMBERED_COLUMNS: usize = 24;

impl ColumnNames {
    /// Returns `true` if the column at the position has the name.
    fn has(&self, statement: &rusqlite::Statement<'_>, index: usize, name: &'static str) -> bool {
        let remembered = self.0.get(index);
        if let Some(found) = remembered.and_then(Cell::get)
            && std::ptr::eq(found, name)
        {
            return true;
        }
        let found = statement
            .column_name(index)
            .is_ok_and(|found| found == name);
        if let Some(remembered) = remembered
            && found
        {
            remembered.set(Some(name));
        }
        found
    }
}

/// Type of a column.
pub(crate) trait Column: Sized {
    fn read(value: Value<'_>) -> Option<Self>;
}

impl Row<'_> {
    /// Reads a column by its name.
    pub(crate) fn get<T: Column>(&self, column: &'static str) -> Result<T, StoreError> {
        self.get_near(0, column)
    }

    /// Reads a column by its name. `index` is its probable position, which saves the search for the name.
    pub(crate) fn get_near<T: Column>(
        &self,
        index: usize,
        column: &'static str,
    ) -> Result<T, StoreError> {
        let value = match self {
            Self::Sqlite(row, names) => {
                let statement: &rusqlite::Statement<'_> = row.as_ref();
                let index = if names.has(statement, index, column) {
                    index
                } else {
                    statement.column_index(column)?
                };
                sqlite_value(row.get_ref(index)?)
            }
            Self::Postgres(row) => {
                let columns = row.columns();
                let index = match columns.get(index) {
                    Some(found) if found.name() == column => Some(index),
                    _ => columns.iter().position(|found| found.name() == column),
                };
                index.and_then(|index| postgres_value(row, index))
            }
        };
        value
            .and_then(T::read)
            .ok_or(StoreError::Unreadable(column))
    }
}

pub(super) fn sqlite_value(value: ValueRef<'_>) -> Option<Value<'_>> {
    match value {
        ValueRef::Null => Some(Value::Null),
        ValueRef::Integer(integer) => Some(Value::Integer(integer)),
        ValueRef::Text(text) => std::str::from_utf8(text).ok().map(Value::Text),
        ValueRef::Real(_) | ValueRef::Blob(_) => None,
    }
}

fn postgres_value(row: &tokio_postgres::Row, index: usize) -> Option<Value<'_>> {
    let kind = row.columns().get(index)?.type_();
    if *kind == Type::INT8 {
        row.try_get::<_, Option<i64>>(index).ok().map(integer)
    } else if *kind == Type::INT4 {
        row.try_get::<_, Option<i32>>(index)
            .ok()
            .map(|value| integer(value.map(i64::from)))
    } else {
        row.try_get::<_, Option<&str>>(index)
            .ok()
            .map(|text| text.map_or(Value::Null, Value::Text))
    }
}

fn integer(value: Option<i64>) -> Value<'static> {
    value.map_or(Value::Null, Value::Integer)
}

impl Column for i64 {
    fn read(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Integer(integer) => Some(integer),
            Value::Null | Value::Text(_) => None,
        }
    }
}

/// Value that outlives the caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum OwnedValue {
    Null,
    Integer(i64),
    Text(String),
}

impl From<&Value<'_>> for OwnedValue {
    fn from(value: &Value<'_>) -> Self {
        match *value {
            Value::Null => Self::Null,
            Value::Integer(integer) => Self::Integer(integer),
            Value::Text(text) => Self::Text(text.to_owned()),
        }
    }
}

impl OwnedValue {
    /// Returns the value as a parameter.
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Integer(integer) => Value::Integer(*integer),
            Self::Text(text) => Value::Text(text),
        }
    }
}

impl<'a> Value<'a> {
    /// Returns the text; `None` for another type.
    pub(crate) fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Integer(_) => None,
        }
    }
}

impl Column for String {
    fn read(value: Value<'_>) -> Option<Self> {
        value.text().map(ToOwned::to_owned)
    }
}

impl Column for bool {
    fn read(value: Value<'_>) -> Option<Self> {
        i64::read(value).map(|integer| integer != 0)
    }
}

impl Column for u64 {
    fn read(value: Value<'_>) -> Option<Self> {
        i64::read(value)?.try_into().ok()
    }
}

impl Column for Timestamp {
    fn read(value: Value<'_>) -> Option<Self> {
        i64::read(value).map(Self::from_micros)
    }
}

impl Column for TenantId {
    fn read(value: Value<'_>) -> Option<Self> {
        Self::parse(value.text()?)
    }
}

macro_rules! ids {
    ($($name:ty),*) => {$(
        impl Column for $name {
            fn read(value: Value<'_>) -> Option<Self> {
                Self::parse(value.text()?)
            }
        }
    )*};
}

ids!(AuditId, CallSid, EndpointId, ErasureId, EventId, GreenpinId);

/// Implements [`Column`] for enums that own their words.
macro_rules! word_columns {
    ($($name:ty),*) => {$(
        impl $crate::store::core::database::Column for $name {
            fn read(value: $crate::store::core::database::Value<'_>) -> Option<Self> {
                value.text()?.parse().ok()
            }
        }
    )*};
}

pub(crate) use word_columns;

word_columns!(
    call::CallCause,
    call::CallType,
    call::DialStatus,
    call::HangupBy
);

impl<T: Column> Column for Option<T> {
    fn read(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::read(value).map(Some),
        }
    }
}

macro_rules! small_integers {
    ($($name:ty),*) => {$(
        impl Column for $name {
            fn read(value: Value<'_>) -> Option<Self> {
                i64::read(value)?.try_into().ok()
            }
        }

        impl Param for $name {
            fn value(&self) -> Value<'_> {
                Value::Integer(i64::from(*self))
            }
        }
    )*};
}

small_integers!(u8, u16, u32);

impl Param for i64 {
    fn value(&self) -> Value<'_> {
        Value::Integer(*self)
    }
}

impl Param for str {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl Param for String {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl<T: Param + ?Sized> Param for &T {
    fn value(&self) -> Value<'_> {
        (**self).value()
    }
}

impl<T: Param> Param for Option<T> {
    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, Param::value)
    }
}

impl Params for Vec<Value<'_>> {
    fn with<R>(&self, run: impl FnOnce(&[Value<'_>]) -> R) -> R {
        run(self)
    }
}

impl Params for () {
    fn with<R>(&self, run: impl FnOnce(&[Value<'_>]) -> R) -> R {
        run(&[])
    }
}

impl<T: Param, const N: usize> Params for [T; N] {
    fn with<R>(&self, run: impl FnOnce(&[Value<'_>]) -> R) -> R {
        run(&self.each_ref().map(Param::value))
    }
}

macro_rules! tuples {
    ($($name:ident)*) => {
        tuples!(@ [] $($name)*);
    };
    (@ [$($done:ident)*]) => {};
    (@ [$($done:ident)*] $next:ident $($rest:ident)*) => {
        impl<$($done: Param,)* $next: Param> Params for ($($done,)* $next,) {
            fn with<R>(&self, run: impl FnOnce(&[Value<'_>]) -> R) -> R {
                #[expect(non_snake_case, reason = "a type and its value share a name")]
                let ($($done,)* $next,) = self;
                run(&[$($done.value(),)* $next.value()])
            }
        }
        tuples!(@ [$($done)* $next] $($rest)*);
    };
}

tuples!(A B C D E F G H I J K L M N O P Q S);

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Integer(_) => "an integer",
            Self::Text(_) => "a text",
        })
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Value::Null => ValueRef::Null,
            Value::Integer(integer) => ValueRef::Integer(integer),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match *self {
            Value::Null => Ok(IsNull::Yes),
            // The server infers a 32-bit integer for a parameter beside a small literal.
            Value::Integer(integer) if *kind == Type::INT4 => {
                i32::try_from(integer)?.to_sql(kind, out)
            }
            Value::Integer(integer) if *kind == Type::INT8 => integer.to_sql(kind, out),
            Value::Text(text) if *kind == Type::TEXT => text.to_sql(kind, out),
            Value::Integer(_) | Value::Text(_) => {
                Err("a parameter of another type than its column".into())
            }
        }
    }

    fn accepts(kind: &Type) -> bool {
        [Type::INT4, Type::INT8, Type::TEXT].contains(kind)
    }

    to_sql_checked!();
}
