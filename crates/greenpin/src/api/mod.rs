//! HTTP
#![allow(missing_docs)]
use std::{path::PathBuf, sync::Arc};
#[derive(Default)]
pub struct Readiness;
impl Readiness {
    pub fn set_sip_bound(&self, _: bool) {}
    pub fn drain(&self) {}
}
pub fn router(_: crate::store::Store, _: Arc<Readiness>, _: PathBuf) -> axum::Router {
    axum::Router::new()
}
