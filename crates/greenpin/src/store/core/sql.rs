//! SQL of the engine.

use crate::store::core::statement::statements;

statements! {
    READY = "SELECT COUNT(*) FROM schema_version";
    LAST_EVENT =
        "SELECT MAX(last) AS event_id FROM
             (SELECT (SELECT MAX(e.event_id) FROM events e WHERE e.tenant_id = t.tenant_id) AS last FROM tenants t) newest";
    TENANT_KEY = "SELECT sealed_key FROM tenants WHERE tenant_id = $1";
}
