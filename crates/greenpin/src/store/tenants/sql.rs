//! SQL of tenants, credentials, endpoints, prompts, idempotency keys and the audit log.

use crate::store::core::statement::statements;

macro_rules! tenant_columns {
    () => {
        "t.tenant_id, t.settings, t.created_at, t.suspended_at, t.erased_at, (SELECT COUNT(*) FROM
         numbers n WHERE n.tenant_id = t.tenant_id), (SELECT COUNT(*) FROM credentials c WHERE
         c.tenant_id = t.tenant_id AND (c.revoked_at IS NULL OR c.revoked_at > $1)), (SELECT COUNT(*)
         FROM erasures e WHERE e.tenant_id = t.tenant_id AND e.finished_at IS NULL)"
    };
}

macro_rules! credential_columns {
    () => {
        "account_sid, label, created_at, last_used_at, revoked_at"
    };
}

statements! {
    TENANT_INSERT: AtMostOne =
        "INSERT INTO tenants (tenant_id, settings, sealed_key, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant_id) DO NOTHING";
    TENANT_STATUS = "SELECT suspended_at, erased_at FROM tenants WHERE tenant_id = $1";
    TENANT_DETAIL = concat!(
        "SELECT ", tenant_columns!(), "
         FROM tenants t WHERE t.tenant_id = $2"
    );
    TENANT_PAGE = concat!(
        "SELECT ", tenant_columns!(), "
         FROM tenants t WHERE t.tenant_id > $2 ORDER BY t.tenant_id LIMIT $3"
    );
    TENANT_ACTIVE_ALLOCATIONS =
        "SELECT COUNT(*) FROM allocations WHERE tenant_id = $1 AND deleted_at IS NULL AND expires_at > $2";
    TENANT_SUSPEND: AtMostOne = "UPDATE tenants SET suspended_at = $1 WHERE tenant_id = $2 AND suspended_at IS NULL";
    TENANT_RESUME: AtMostOne = "UPDATE tenants SET suspended_at = NULL WHERE tenant_id = $1 AND suspended_at IS NOT NULL";
    TENANT_SETTINGS = "SELECT settings FROM tenants WHERE tenant_id = $1";
    TENANT_SETTINGS_UPDATE: AtMostOne = "UPDATE tenants SET settings = $1 WHERE tenant_id = $2";
    CREDENTIAL_INSERT: AtMostOne =
        "INSERT INTO credentials (account_sid, tenant_id, digest, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (account_sid) DO NOTHING";
    CREDENTIAL_INSERT_LABELLED: AtMostOne =
        "INSERT INTO credentials (account_sid, tenant_id, digest, created_at, label) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (account_sid) DO NOTHING";
    CREDENTIAL_SELECT =
        "SELECT c.tenant_id, c.digest, t.suspended_at
         FROM credentials c JOIN tenants t ON t.tenant_id = c.tenant_id
         WHERE c.account_sid = $1 AND (c.revoked_at IS NULL OR c.revoked_at > $2) AND t.erased_at IS NULL";
    CREDENTIAL_USED: AtMostOne =
        "UPDATE credentials SET last_used_at = $1
         WHERE account_sid = $2 AND (last_used_at IS NULL OR last_used_at < $1)";
    CREDENTIAL_LIST = concat!(
        "SELECT ", credential_columns!(), "
         FROM credentials WHERE tenant_id = $1 ORDER BY created_at, account_sid"
    );
    CREDENTIAL_DETAIL = concat!(
        "SELECT ", credential_columns!(), "
         FROM credentials WHERE tenant_id = $1 AND account_sid = $2"
    );
    CREDENTIAL_REVOKE: AtMostOne =
        "UPDATE credentials SET revoked_at = $1
         WHERE tenant_id = $2 AND account_sid = $3 AND (revoked_at IS NULL OR revoked_at > $1)";
    ENDPOINTS_SELECT =
        "SELECT endpoint_id, url, types, format, paused, old_secret_until, failing_since, disabled_at FROM endpoints
         WHERE tenant_id = $1 AND removed_at IS NULL ORDER BY endpoint_id";
    ENDPOINT_INSERT: ExactlyOne =
        "INSERT INTO endpoints (tenant_id, endpoint_id, url, types, format, sealed_secret, paused, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    ENDPOINT_UPDATE: ExactlyOne =
        "UPDATE endpoints SET url = $1, types = $2, format = $3, paused = $4,
             disabled_at = NULL, failing_since = NULL, failures = 0
         WHERE tenant_id = $5 AND endpoint_id = $6";
    ENDPOINT_REMOVE: ExactlyOne = "UPDATE endpoints SET removed_at = $1 WHERE tenant_id = $2 AND endpoint_id = $3";
    ENDPOINT_ROTATE: AtMostOne =
        "UPDATE endpoints SET sealed_old_secret = sealed_secret, old_secret_until = $1, sealed_secret = $2
         WHERE tenant_id = $3 AND endpoint_id = $4 AND removed_at IS NULL";
    PROMPTS_SELECT = "SELECT name, audio, updated_at FROM prompts WHERE tenant_id = $1 ORDER BY name";
    PROMPT_UPSERT: ExactlyOne =
        "INSERT INTO prompts (tenant_id, name, audio, updated_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant_id, name) DO UPDATE SET audio = excluded.audio, updated_at = excluded.updated_at";
    PROMPT_DELETE: AtMostOne = "DELETE FROM prompts WHERE tenant_id = $1 AND name = $2";
    IDEMPOTENCY_CLAIM: AtMostOne =
        "INSERT INTO idempotency_keys (tenant_id, key_digest, request_digest, taken_at)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant_id, key_digest) DO UPDATE
         SET request_digest = excluded.request_digest, taken_at = excluded.taken_at, status = NULL, content_type = NULL,
             answer = NULL, greenpin_id = NULL
         WHERE idempotency_keys.taken_at <= $5
            OR (idempotency_keys.status IS NULL AND idempotency_keys.greenpin_id IS NULL AND idempotency_keys.taken_at <= $6
                AND idempotency_keys.request_digest = excluded.request_digest)";
    IDEMPOTENCY_SELECT =
        "SELECT request_digest, status, content_type, answer, greenpin_id FROM idempotency_keys
         WHERE tenant_id = $1 AND key_digest = $2";
    IDEMPOTENCY_SET_ALLOCATION: ExactlyOne =
        "UPDATE idempotency_keys SET greenpin_id = $1 WHERE tenant_id = $2 AND key_digest = $3 AND taken_at = $4";
    IDEMPOTENCY_SET_ANSWER: AtMostOne =
        "UPDATE idempotency_keys SET status = $1, content_type = $2, answer = $3
         WHERE tenant_id = $4 AND key_digest = $5 AND taken_at = $6 AND status IS NULL";
    IDEMPOTENCY_RELEASE: AtMostOne =
        "DELETE FROM idempotency_keys
         WHERE tenant_id = $1 AND key_digest = $2 AND taken_at = $3 AND status IS NULL";
    IDEMPOTENCY_DELETE_OLD =
        "DELETE FROM idempotency_keys WHERE (tenant_id, key_digest) IN (
             SELECT k.tenant_id, k.key_digest FROM idempotency_keys k WHERE k.taken_at <= $1 ORDER BY k.taken_at LIMIT $2)";
    AUDIT_INSERT: ExactlyOne =
        "INSERT INTO audit (audit_id, occurred_at, actor, act, tenant_id, object, request_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7)";
    AUDIT_AFTER =
        "SELECT audit_id, occurred_at, actor, act, tenant_id, object, request_id
         FROM audit WHERE audit_id > $1 ORDER BY audit_id LIMIT $2";
}
