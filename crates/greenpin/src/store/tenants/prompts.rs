//! Prompts of a tenant: their language, and uploaded audio.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::store::Tx;
use crate::store::core::reader::Snapshot;
use crate::store::tenants::sql;
use crate::store::tenants::sql::PromptRow;
use crate::store::{Store, StoreError, TenantId, TenantSettings, TenantStore, Timestamp};

/// Maximum number of decoded samples in the cache, of all tenants: 64 MiB, or more than an hour of audio.
const MAX_CACHED_SAMPLES: usize = 32 * 1024 * 1024;

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
        let write = self.writer().write(move |tx| {
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
        let write = self.writer().write(move |tx| {
            tx.cache().tenants.change();
            Ok(tx.execute(sql::PROMPT_DELETE, (tenant.as_str(), &name))? > 0)
        });
        write.await
    }
}

/// Names of uploaded prompts with the times of their last upload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PromptVersions(Vec<(String, Timestamp)>);

impl PromptVersions {
    fn of(prompts: &TenantPrompts) -> Self {
        let prompts = prompts.0.iter();
        Self(
            prompts
                .map(|(name, prompt)| (name.clone(), prompt.updated_at))
                .collect(),
        )
    }
}

/// Prompts of a call, without their audio.
pub(crate) struct VoiceVersion {
    tenant: TenantId,
    language: String,
    own: Arc<PromptVersions>,
}

/// Returns the current prompts for callers, without their audio, which is read outside the writer.
pub(crate) fn voice_version(
    tx: &Tx<'_>,
    tenant: &TenantId,
    settings: &TenantSettings,
) -> Result<VoiceVersion, StoreError> {
    let own = tx.cache().tenants.prompts(tenant, || {
        let rows = tx.rows(sql::PROMPT_VERSIONS, [tenant.as_str()], |row| {
            Ok((row.get("name")?, row.get("updated_at")?))
        });
        rows.map(PromptVersions)
    })?;
    Ok(VoiceVersion {
        tenant: tenant.clone(),
        language: settings.prompts.language.clone(),
        own,
    })
}

/// Decoded prompts of the tenants whose calls arrived last.
#[derive(Default)]
pub(crate) struct PromptCache {
    tenants: HashMap<TenantId, CachedPrompts>,
    /// Counter of uses.
    uses: u64,
}

struct CachedPrompts {
    versions: Arc<PromptVersions>,
    own: Arc<TenantPrompts>,
    samples: usize,
    last_use: u64,
}

impl PromptCache {
    fn get(&mut self, voice: &VoiceVersion) -> Option<Arc<TenantPrompts>> {
        self.uses = self.uses.wrapping_add(1);
        let cached = self.tenants.get_mut(&voice.tenant)?;
        cached.last_use = self.uses;
        (cached.versions == voice.own).then(|| cached.own.clone())
    }

    /// Adds the prompts of a tenant. Evicts those that were not used for longest beyond [`MAX_CACHED_SAMPLES`].
    fn insert(&mut self, tenant: TenantId, own: Arc<TenantPrompts>) {
        self.uses = self.uses.wrapping_add(1);
        let prompts = own.0.values();
        let cached = CachedPrompts {
            versions: Arc::new(PromptVersions::of(&own)),
            samples: prompts.map(|prompt| prompt.samples.len()).sum(),
            own,
            last_use: self.uses,
        };
        self.tenants.insert(tenant, cached);
        let total = |tenants: &HashMap<TenantId, CachedPrompts>| -> usize {
            tenants.values().map(|cached| cached.samples).sum()
        };
        while self.tenants.len() > 1 && total(&self.tenants) > MAX_CACHED_SAMPLES {
            let oldest = self
                .tenants
                .iter()
                .min_by_key(|(_, cached)| cached.last_use);
            let Some(oldest) = oldest.map(|(tenant, _)| tenant.clone()) else {
                return;
            };
            self.tenants.remove(&oldest);
        }
    }
}

impl Store {
    /// Returns the prompts of a call. If the uploaded ones cannot be read, the built-in ones apply.
    pub(crate) async fn voice(&self, version: VoiceVersion) -> Voice {
        let own = match self.own_prompts(&version).await {
            Ok(own) => own,
            Err(error) => {
                tracing::error!(tenant_id = %version.tenant, %error, "prompts of a tenant cannot be read; playing the built-in ones");
                Arc::default()
            }
        };
        Voice {
            language: version.language,
            own,
        }
    }

    async fn own_prompts(&self, version: &VoiceVersion) -> Result<Arc<TenantPrompts>, StoreError> {
        if version.own.0.is_empty() {
            return Ok(Arc::default());
        }
        if let Some(own) = self.prompt_cache().get(version) {
            return Ok(own);
        }
        let own = Arc::new(self.tenant(version.tenant.clone()).prompts().await?);
        self.prompt_cache()
            .insert(version.tenant.clone(), own.clone());
        Ok(own)
    }

    fn prompt_cache(&self) -> MutexGuard<'_, PromptCache> {
        self.prompts.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn prompts(samples: usize, version: i64) -> Arc<TenantPrompts> {
        let prompt = TenantPrompt {
            samples: vec![0; samples],
            updated_at: Timestamp::from_micros(version),
        };
        Arc::new(TenantPrompts([("goodbye".to_owned(), prompt)].into()))
    }

    fn version(tenant: &str, version: i64) -> VoiceVersion {
        VoiceVersion {
            tenant: TenantId::parse(tenant).unwrap(),
            language: "en".into(),
            own: Arc::new(PromptVersions::of(&prompts(0, version))),
        }
    }

    #[test]
    fn cached_prompts_are_those_of_their_version_and_the_unused_ones_are_evicted() {
        let mut cache = PromptCache::default();
        let tenant = |name| TenantId::parse(name).unwrap();
        let half = MAX_CACHED_SAMPLES / 2;
        cache.insert(tenant("a"), prompts(half, 1));
        cache.insert(tenant("b"), prompts(half, 1));
        assert!(cache.get(&version("a", 2)).is_none(), "uploaded again");
        assert!(cache.get(&version("b", 1)).is_some());
        assert!(cache.get(&version("a", 1)).is_some());
        cache.insert(tenant("c"), prompts(1, 1));
        assert!(
            cache.get(&version("b", 1)).is_none(),
            "used before the others"
        );
        assert!(cache.get(&version("a", 1)).is_some());
        cache.insert(tenant("d"), prompts(MAX_CACHED_SAMPLES + 1, 1));
        assert!(
            cache.get(&version("d", 1)).is_some(),
            "one tenant always fits"
        );
        assert_eq!(cache.tenants.len(), 1);
    }
}
