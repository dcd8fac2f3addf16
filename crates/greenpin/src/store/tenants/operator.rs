//! What the operator does: every act is written to the audit log in its own transaction.

use std::sync::Arc;

use crate::RecordingKey;
use crate::store::Store;

/// Who acts, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `operator` for whoever has the operator token, `command line` for who can open the store itself.
    pub name: &'static str,
    /// The id of the request that asked for it.
    pub request_id: Option<String>,
}

impl Actor {
    /// Who sent a request with the operator token.
    pub fn operator(request_id: Option<String>) -> Self {
        Self {
            name: "operator",
            request_id,
        }
    }

    /// Who runs a command on the store itself.
    pub fn command_line() -> Self {
        Self {
            name: "command line",
            request_id: None,
        }
    }
}

/// The store in the hands of an operator, the only way to acts on tenants, credentials and numbers that are audited.
#[derive(Clone)]
pub struct OperatorStore {
    pub(crate) store: Store,
    pub(crate) actor: Arc<Actor>,
}

impl Store {
    /// The handle for an operator's acts.
    pub fn operator(&self, actor: Actor) -> OperatorStore {
        OperatorStore {
            store: self.clone(),
            actor: Arc::new(actor),
        }
    }
}

impl OperatorStore {
    /// What recordings are sealed with.
    pub fn recording_key(&self) -> &RecordingKey {
        self.store.recording_key()
    }
}
