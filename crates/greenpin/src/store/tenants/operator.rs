//! Handle for operators. Every action is written to the audit log in its own transaction.

use std::sync::Arc;

use crate::store::Store;

/// Author of an action, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `operator` for the operator token, `command line` for direct access to the store, `console` for a session of it.
    pub name: &'static str,
    /// Id of the request.
    pub request_id: Option<String>,
}

impl Actor {
    /// Returns the author of a request with the operator token.
    pub fn operator(request_id: Option<String>) -> Self {
        Self {
            name: "operator",
            request_id,
        }
    }

    /// Returns the author of a request with a session of the console.
    pub fn console(request_id: Option<String>) -> Self {
        Self {
            name: "console",
            request_id,
        }
    }

    /// Returns the author of a command on the store.
    pub fn command_line() -> Self {
        Self {
            name: "command line",
            request_id: None,
        }
    }
}

/// Handle for audited actions on tenants, credentials and numbers.
#[derive(Clone)]
pub struct OperatorStore {
    pub(crate) store: Store,
    pub(crate) actor: Arc<Actor>,
}

impl Store {
    /// Returns the handle for the actions of an operator.
    pub fn operator(&self, actor: Actor) -> OperatorStore {
        OperatorStore {
            store: self.clone(),
            actor: Arc::new(actor),
        }
    }
}
