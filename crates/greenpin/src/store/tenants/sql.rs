//! SQL of tenants, credentials, endpoints, prompts, idempotency keys and the audit log.

use crate::store::core::row::row;
use crate::store::core::statement::statements;
use crate::store::{AuditId, EndpointFormat, EndpointId, GreenpinId, TenantId, Timestamp};

row! {
    /// Dates from which the status of a tenant follows.
    pub(crate) struct StatusRow from status_columns {
        /// Start of the suspension.
        suspended_at: Option<Timestamp>,
        /// Start of the erasure.
        erased_at: Option<Timestamp>,
    }
}

row! {
    /// Tenant, as the operator sees it.
    pub(crate) struct TenantRow from tenant_columns {
        tenant_id: TenantId = "t.tenant_id",
        settings: String = "t.settings",
        created_at: Timestamp = "t.created_at",
        suspended_at: Option<Timestamp> = "t.suspended_at",
        erased_at: Option<Timestamp> = "t.erased_at",
        numbers: u64 = "(SELECT COUNT(*) FROM numbers n WHERE n.tenant_id = t.tenant_id)",
        credentials: u64 =
            "(SELECT COUNT(*) FROM credentials c WHERE c.tenant_id = t.tenant_id
              AND (c.revoked_at IS NULL OR c.revoked_at > $1))",
        unfinished_erasures: u64 =
            "(SELECT COUNT(*) FROM erasures e WHERE e.tenant_id = t.tenant_id AND e.finished_at IS NULL)",
    }
}

row! {
    /// Credential without its token.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct CredentialRecord from credential_columns {
        /// User name.
        account_sid: String,
        /// Purpose, in the words of the operator.
        label: Option<String>,
        /// Time of its creation.
        created_at: Timestamp,
        /// Minute of its last use.
        last_used_at: Option<Timestamp>,
        /// End of its validity; in the future after a rotation with an overlap.
        revoked_at: Option<Timestamp>,
    }
}

row! {
    /// Digest and status behind an Account SID.
    pub(crate) struct LoginRow from login_columns {
        tenant_id: String = "c.tenant_id",
        digest: String = "c.digest",
        suspended_at: Option<Timestamp> = "t.suspended_at",
    }
}

row! {
    /// Webhook endpoint without its secrets.
    pub(crate) struct EndpointRow from endpoint_columns {
        endpoint_id: EndpointId,
        url: String,
        /// JSON array of event types.
        types: Option<String>,
        format: EndpointFormat,
        paused: bool,
        old_secret_until: Timestamp,
        failing_since: Option<Timestamp>,
        disabled_at: Option<Timestamp>,
    }
}

row! {
    /// Webhook endpoint with its encrypted secret.
    pub(crate) struct InspectedEndpointRow from inspected_endpoint_columns {
        tenant_id: TenantId,
        endpoint_id: EndpointId,
        url: String,
        sealed_secret: String,
        paused: bool,
        disabled_at: Option<Timestamp>,
    }
}

row! {
    /// Prompt of a tenant.
    pub(crate) struct PromptRow from prompt_columns {
        name: String,
        /// Samples, in base64.
        audio: String,
        updated_at: Timestamp,
    }
}

row! {
    /// Idempotency key with the result of its request.
    pub(crate) struct IdempotencyRow from idempotency_columns {
        request_digest: String,
        status: Option<u16>,
        content_type: Option<String>,
        /// Body of the answer, encrypted.
        answer: Option<String>,
        greenpin_id: Option<GreenpinId>,
    }
}

row! {
    /// Session of the console, with the state of its owner.
    pub(crate) struct SessionRow from session_columns {
        /// Number of live credentials that the session belongs to; 0 for the operator.
        credentials: u64 =
            "(SELECT COUNT(*) FROM credentials c
              WHERE c.account_sid = s.account_sid AND c.tenant_id = s.tenant_id
                AND (c.revoked_at IS NULL OR c.revoked_at > $1))",
        tenant_id: String = "s.tenant_id",
        account_sid: String = "s.account_sid",
        proof: String = "s.proof",
        created_at: Timestamp = "s.created_at",
        seen_at: Timestamp = "s.seen_at",
        suspended_at: Option<Timestamp> = "t.suspended_at",
    }
}

row! {
    /// Entry of the audit log.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct AuditEntry from audit_columns {
        /// Id of the entry; ids sort by time.
        audit_id: AuditId,
        /// Time of the action.
        occurred_at: Timestamp,
        /// Operator or command.
        actor: String,
        /// Action, such as `tenant.suspend`.
        action: String = "act",
        /// Affected tenant.
        tenant_id: Option<String>,
        /// Affected object: an account SID, the last two digits of a number, a call.
        object: Option<String>,
        /// Id of the request; `None` for a command.
        request_id: Option<String>,
    }
}

statements! {
    TENANT_INSERT: AtMostOne =
        "INSERT INTO tenants (tenant_id, settings, sealed_key, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant_id) DO NOTHING";
    TENANT_STATUS = concat!("SELECT ", status_columns!(), " FROM tenants WHERE tenant_id = $1");
    TENANT_DETAIL = concat!(
        "SELECT ", tenant_columns!(), "
         FROM tenants t WHERE t.tenant_id = $2"
    );
    TENANT_PAGE = concat!(
        "SELECT ", tenant_columns!(), "
         FROM tenants t WHERE t.tenant_id > $2 ORDER BY t.tenant_id LIMIT $3"
    );
    TENANT_ACTIVE_ALLOCATIONS =
        "SELECT COUNT(*) AS count FROM allocations WHERE tenant_id = $1 AND deleted_at IS NULL AND expires_at > $2";
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
    CREDENTIAL_SELECT = concat!(
        "SELECT ", login_columns!(), "
         FROM credentials c JOIN tenants t ON t.tenant_id = c.tenant_id
         WHERE c.account_sid = $1 AND (c.revoked_at IS NULL OR c.revoked_at > $2) AND t.erased_at IS NULL"
    );
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
    ENDPOINTS_SELECT = concat!(
        "SELECT ", endpoint_columns!(), " FROM endpoints
         WHERE tenant_id = $1 AND removed_at IS NULL ORDER BY endpoint_id"
    );
    ENDPOINTS_OF_ALL = concat!(
        "SELECT ", inspected_endpoint_columns!(), " FROM endpoints
         WHERE removed_at IS NULL ORDER BY tenant_id, endpoint_id LIMIT $1"
    );
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
    PROMPTS_SELECT = concat!("SELECT ", prompt_columns!(), " FROM prompts WHERE tenant_id = $1 ORDER BY name");
    PROMPT_VERSIONS = "SELECT name, updated_at FROM prompts WHERE tenant_id = $1 ORDER BY name";
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
    IDEMPOTENCY_SELECT = concat!(
        "SELECT ", idempotency_columns!(), " FROM idempotency_keys
         WHERE tenant_id = $1 AND key_digest = $2"
    );
    IDEMPOTENCY_SET_ALLOCATION: ExactlyOne =
        "UPDATE idempotency_keys SET greenpin_id = $1 WHERE tenant_id = $2 AND key_digest = $3 AND taken_at = $4";
    IDEMPOTENCY_SET_ANSWER: AtMostOne =
        "UPDATE idempotency_keys SET status = $1, content_type = $2, answer = $3
         WHERE tenant_id = $4 AND key_digest = $5 AND taken_at = $6 AND status IS NULL";
    IDEMPOTENCY_SET_ANSWER_OF_WRITE: ExactlyOne =
        "UPDATE idempotency_keys SET status = $1, content_type = $2, answer = $3
         WHERE tenant_id = $4 AND key_digest = $5 AND taken_at = $6 AND status IS NULL";
    IDEMPOTENCY_RELEASE: AtMostOne =
        "DELETE FROM idempotency_keys
         WHERE tenant_id = $1 AND key_digest = $2 AND taken_at = $3 AND status IS NULL AND greenpin_id IS NULL";
    IDEMPOTENCY_DELETE_OLD =
        "DELETE FROM idempotency_keys WHERE taken_at <= $1 AND (tenant_id, key_digest) IN (
             SELECT k.tenant_id, k.key_digest FROM idempotency_keys k WHERE k.taken_at <= $1 ORDER BY k.taken_at LIMIT $2)";
    AUDIT_INSERT: ExactlyOne =
        "INSERT INTO audit (audit_id, occurred_at, actor, act, tenant_id, object, request_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7)";
    AUDIT_AFTER =
        concat!("SELECT ", audit_columns!(), " FROM audit WHERE audit_id > $1 ORDER BY audit_id LIMIT $2");
    AUDIT_BEFORE = concat!(
        "SELECT ", audit_columns!(), "
         FROM audit WHERE audit_id < $1 AND tenant_id = $2 ORDER BY audit_id DESC LIMIT $3"
    );
    SESSION_INSERT: ExactlyOne =
        "INSERT INTO sessions (session_digest, tenant_id, account_sid, proof, created_at, seen_at)
         VALUES ($1, $2, $3, $4, $5, $5)";
    SESSION_SELECT = concat!(
        "SELECT ", session_columns!(), "
         FROM sessions s LEFT JOIN tenants t ON t.tenant_id = s.tenant_id
         WHERE s.session_digest = $2 AND s.created_at > $3 AND s.seen_at > $4"
    );
    SESSION_USED: AtMostOne = "UPDATE sessions SET seen_at = $1 WHERE session_digest = $2 AND seen_at < $1";
    SESSION_DELETE: AtMostOne = "DELETE FROM sessions WHERE session_digest = $1";
    SESSIONS_DELETE_OF_ACCOUNT = "DELETE FROM sessions WHERE tenant_id = $1 AND account_sid = $2";
    SESSIONS_DELETE_IDLE = "DELETE FROM sessions WHERE seen_at < $1";
    SESSIONS_DELETE_OLDEST =
        "DELETE FROM sessions WHERE account_sid = $1 AND session_digest NOT IN (
             SELECT k.session_digest FROM sessions k WHERE k.account_sid = $1
             ORDER BY k.created_at DESC, k.session_digest LIMIT $2)";
}
