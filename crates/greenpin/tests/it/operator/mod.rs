//! Operator API and command line.
//!
//! - `access`, `tenants`, `credentials`, `numbers`, `import`, `erasure`, `node`: the operator API.
//! - `call`, `commands`, `command_line`, `output`: the command line.
//! - `doctor`: the diagnosis of an installation.
//! - `reload`: the configuration, read again at run time.
//! - `log`: a log that cannot be written.

mod access;
mod call;
mod command_line;
mod commands;
mod credentials;
mod demo;
mod doctor;
mod erasure;
mod import;
mod log;
mod node;
mod numbers;
mod output;
mod phone;
mod reload;
mod tenants;
