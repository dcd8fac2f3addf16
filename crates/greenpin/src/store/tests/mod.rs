//! Rules of the store: one suite, run on both databases.

#[path = "../../../tests/it/support/postgres.rs"]
pub(super) mod postgres;

mod encrypted;
mod statements;
mod writer;

#[path = "rules.rs"]
mod on_sqlite;

#[expect(
    clippy::duplicate_mod,
    reason = "the suite asks its module's name which database to use"
)]
#[path = "rules.rs"]
mod on_postgresql;

#[path = "outbox.rs"]
mod outbox_on_sqlite;

#[expect(
    clippy::duplicate_mod,
    reason = "the suite asks its module's name which database to use"
)]
#[path = "outbox.rs"]
mod outbox_on_postgresql;
