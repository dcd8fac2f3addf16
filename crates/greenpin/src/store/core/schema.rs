//! Schema of the database: its migration steps, and the versions that they make.

use crate::store::OpenError;
use crate::store::core::statement::statements;

/// Version that the first step makes. Earlier versions stored personal data in clear and cannot be migrated.
const FIRST_VERSION: i64 = 101;

/// Version of a database into which `greenpin store move` copies another one, until all is copied.
pub(crate) const MOVE_IN_PROGRESS: i64 = 1_000_000_000;

/// Migration steps, one for each version, oldest first.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_operator.sql"),
    include_str!("migrations/0003_tenant.sql"),
    include_str!("migrations/0004_pins_counted.sql"),
    include_str!("migrations/0005_nodes.sql"),
    include_str!("migrations/0006_prompts.sql"),
    include_str!("migrations/0007_events.sql"),
    include_str!("migrations/0008_idempotent_creates.sql"),
    include_str!("migrations/0009_uploads.sql"),
    include_str!("migrations/0010_turns.sql"),
    include_str!("migrations/0011_tenants_unchecked.sql"),
    include_str!("migrations/0012_caller_withheld.sql"),
    include_str!("migrations/0013_call_cause.sql"),
    include_str!("migrations/0014_master_keys.sql"),
    include_str!("migrations/0015_caller_budgets.sql"),
    include_str!("migrations/0016_node_state.sql"),
    include_str!("migrations/0017_call_traces.sql"),
    include_str!("migrations/0018_sessions.sql"),
    include_str!("migrations/0019_writer_shards.sql"),
];

statements! {
    SCHEMA_VERSION =
        "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL, applied_at BIGINT NOT NULL)";
    SCHEMA_FOUND = "SELECT COALESCE(MAX(version), 0) AS version FROM schema_version";
    SCHEMA_APPLIED: ExactlyOne = "INSERT INTO schema_version (version, applied_at) VALUES ($1, $2)";
}

/// Returns the steps that a schema of version `found` lacks, each with the version that it makes.
pub(crate) fn missing_steps(
    found: i64,
) -> Result<impl Iterator<Item = (i64, &'static str)>, OpenError> {
    let known = i64::try_from(MIGRATIONS.len())
        .unwrap_or(i64::MAX)
        .saturating_add(FIRST_VERSION - 1);
    if found == MOVE_IN_PROGRESS {
        return Err(OpenError::UnfinishedMove);
    }
    if found > known {
        return Err(OpenError::NewerSchema { found, known });
    }
    if found != 0 && found < FIRST_VERSION {
        return Err(OpenError::OlderSchema { found });
    }
    Ok((FIRST_VERSION..)
        .zip(MIGRATIONS.iter().copied())
        .filter(move |(version, _)| *version > found))
}
