//! Prompts of a tenant: their language, and uploaded audio.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::store::Tx;
use crate::store::core::reader::Snapshot;
use crate::store::tenants::sql;
use crate::store::tenants::sql::PromptRow;
use crate::store::{StoreError, TenantId, TenantSettings, TenantStore, Timestamp};

/// Prompts for the callers of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voice {
    /// Language of the built-in prompts.
    pub language: String,
    /// Uploaded audio of the tenant.
    pub own: Arc<TenantPrompts>,
}

/// Uploaded prompts of a tenant, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TenantPrompts(pub BTreeMap<String, TenantPrompt>);

/// Uploaded prompt.
#[derive(Clone, PartialEq, Eq)]
pub struct TenantPrompt {
    /// Samples: 8 kHz, mono.
    pub samples: Vec<i16>,
    /// Time of the last upload.
    pub updated_at: Timestamp,
}

impl std::fmt::Debug for TenantPrompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OwnPrompt(<{} samples>)", self.samples.len())
    }
}

impl TenantStore {
    /// Returns the uploaded prompts of the tenant.
    pub async fn prompts(&self) -> Result<TenantPrompts, StoreError> {
        let tenant = self.tenant_id.clone();
        self.store
            .readers
            .read(move |snapshot| read(snapshot, &tenant))
            .await
    }

    /// Stores a prompt instead of the built-in or a previous one. It applies to new calls.
    pub async fn put_prompt(
        &self,
        name: &str,
        samples: &[i16],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (tenant, name) = (self.tenant_id.clone(), name.to_owned());
        let octets: Vec<u8> = samples
            .iter()
            .flat_map(|sample| sample.to_le_bytes())
            .collect();
        let audio = STANDARD_NO_PAD.encode(octets);
        let write = self.store.writer.write(move |tx| {
            tx.cache().tenants.change();
            tx.execute(
                sql::PROMPT_UPSERT,
                (tenant.as_str(), &name, &audio, now.micros()),
            )
            .map(|_| ())
        });
        write.await
    }

    /// Deletes a prompt, so that the built-in one applies. Returns whether it existed.
    pub async fn delete_prompt(&self, name: &str) -> Result<bool, StoreError> {
        let (tenant, name) = (self.tenant_id.clone(), name.to_owned());
        let write = self.store.writer.write(move |tx| {
            tx.cache().tenants.change();
            Ok(tx.execute(sql::PROMPT_DELETE, (tenant.as_str(), &name))? > 0)
        });
        write.await
    }
}

/// Returns the current prompts for callers.
pub(crate) fn voice(
    tx: &Tx<'_>,
    tenant: &TenantId,
    settings: &TenantSettings,
) -> Result<Voice, StoreError> {
    let own = tx.cache().tenants.prompts(tenant, || read(tx, tenant))?;
    Ok(Voice {
        language: settings.prompts.language.clone(),
        own,
    })
}

fn read(snapshot: &Snapshot<'_>, tenant: &TenantId) -> Result<TenantPrompts, StoreError> {
    let rows = snapshot.rows(sql::PROMPTS_SELECT, [tenant.as_str()], PromptRow::read)?;
    let prompts: Result<_, StoreError> = rows.into_iter().map(prompt).collect();
    prompts.map(TenantPrompts)
}

/// Decodes the samples of a prompt.
fn prompt(row: PromptRow) -> Result<(String, TenantPrompt), StoreError> {
    let octets = STANDARD_NO_PAD
        .decode(row.audio)
        .map_err(|_| StoreError::Unreadable("prompt"))?;
    let samples = octets
        .as_chunks::<2>()
        .0
        .iter()
        .map(|octets| i16::from_le_bytes(*octets))
        .collect();
    let updated_at = row.updated_at;
    let prompt = TenantPrompt {
        samples,
        updated_at,
    };
    Ok((row.name, prompt))
}
