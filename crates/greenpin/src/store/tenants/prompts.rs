//! What a tenant's callers hear: in which language, and which audio of the tenant's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::store::Tx;
use crate::store::core::reader::Snapshot;
use crate::store::tenants::sql;
use crate::store::tenants::sql::PromptRow;
use crate::store::{StoreError, TenantId, TenantSettings, TenantStore, Timestamp};

/// How a tenant speaks to its callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voice {
    /// The language of what the tenant has no audio of its own for.
    pub language: String,
    /// The tenant's own audio.
    pub own: Arc<TenantPrompts>,
}

/// A tenant's own prompts, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TenantPrompts(pub BTreeMap<String, TenantPrompt>);

/// A prompt of a tenant's own.
#[derive(Clone, PartialEq, Eq)]
pub struct TenantPrompt {
    /// Its samples: 8 kHz, mono.
    pub samples: Vec<i16>,
    /// When it was last put.
    pub updated_at: Timestamp,
}

impl std::fmt::Debug for TenantPrompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OwnPrompt(<{} samples>)", self.samples.len())
    }
}

impl TenantStore {
    /// The tenant's own prompts.
    pub async fn prompts(&self) -> Result<TenantPrompts, StoreError> {
        let tenant = self.tenant_id.clone();
        self.store
            .readers
            .read(move |snapshot| read(snapshot, &tenant))
            .await
    }

    /// Puts a prompt in place of the built-in one, or of the tenant's own from before. Calls that come in from now on
    /// hear it.
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

    /// Goes back to the built-in prompt; whether there was one of the tenant's own.
    pub async fn delete_prompt(&self, name: &str) -> Result<bool, StoreError> {
        let (tenant, name) = (self.tenant_id.clone(), name.to_owned());
        let write = self.store.writer.write(move |tx| {
            tx.cache().tenants.change();
            Ok(tx.execute(sql::PROMPT_DELETE, (tenant.as_str(), &name))? > 0)
        });
        write.await
    }
}

/// How a tenant speaks to its callers now.
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
