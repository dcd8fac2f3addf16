//! Tenants: settings, credentials, webhook endpoints, prompts, the audit log, idempotency keys.

pub(crate) mod audit;
pub(crate) mod cache;
mod create;
pub(crate) mod credentials;
pub(crate) mod endpoints;
pub(crate) mod idempotency;
mod odds;
pub(crate) mod operator;
pub(crate) mod prompts;
pub(crate) mod sessions;
pub(crate) mod settings;
pub(crate) mod sql;
pub(crate) mod status;
mod webhook_url;

pub use self::create::{CreatedTenant, CredentialDigest, NewTenant, TenantError};
pub(crate) use self::create::{NewToken, insert};
pub use self::credentials::{
    Authenticated, CreatedCredential, CredentialError, NewCredential, draw_account_sid,
    is_account_sid,
};
pub use self::endpoints::{Endpoint, EndpointFormat, EndpointSpec};
pub use self::idempotency::{Claim, IdempotentRequest, KeyClaim, StoredAnswer};
pub use self::odds::GuessOdds;
pub use self::operator::{Actor, OperatorStore};
pub use self::prompts::{TenantPrompt, TenantPrompts, Voice};
pub use self::sessions::{MAX_SESSION_AGE, Session, SessionOwner};
pub use self::settings::{
    AcceptCall, CallLimit, CallerPolicy, DialStrategy, PromptSettings, RateLimit, Retention,
    SettingsError, TenantSettings,
};
pub use self::sql::{AuditEntry, CredentialRecord};
pub use self::status::{TenantRecord, TenantStatus, TenantStatusError};
pub use self::webhook_url::{WEBHOOK_URL_RULE, canonical_webhook_url};
