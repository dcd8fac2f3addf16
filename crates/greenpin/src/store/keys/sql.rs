//! SQL of the key rotation.

use crate::store::TenantId;
use crate::store::core::row::row;
use crate::store::core::statement::statements;

row! {
    /// Tenant with its encrypted key.
    pub(crate) struct SealedTenantRow from sealed_tenant_columns {
        tenant_id: TenantId,
        sealed_key: String,
    }
}

statements! {
    TENANT_KEYS_AFTER = concat!(
        "SELECT ", sealed_tenant_columns!(), " FROM tenants
         WHERE tenant_id > $1 AND sealed_key IS NOT NULL ORDER BY tenant_id LIMIT $2"
    );
    TENANT_KEY_RESEAL: AtMostOne = "UPDATE tenants SET sealed_key = $1 WHERE tenant_id = $2 AND sealed_key = $3";
    /// Keys of tenants whose text does not begin with the id of a master key.
    TENANT_KEYS_LEFT =
        "SELECT COUNT(*) AS count FROM tenants WHERE sealed_key IS NOT NULL AND NOT (sealed_key >= $1 AND sealed_key < $2)";
    DERIVED_KEYS_DELETE_OTHER = "DELETE FROM derived_keys WHERE master_id <> $1";
    MASTER_KEY_FINISH: ExactlyOne = "UPDATE master_keys SET finished_at = $1 WHERE generation = $2";
}
