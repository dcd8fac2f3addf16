//! `greenpin events`

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::arguments::tenant_id;
use super::output::{CommandError, print_line};
use crate::store::{
    Actor, EventId, LoggedEvent, OperatorStore, Store, StoreError, TenantId, TenantStatus,
    Timestamp,
};

/// Interval at which the log is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Events and tenants per read.
const PAGE: u32 = 200;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Follow the event log until Ctrl-C
    #[command(
        after_help = "Example:\n  greenpin events tail --tenant acme\n  greenpin events tail --from now\n  greenpin events tail --json --after evt_06f2n7c8sd3k2q9w4m1x5z0ba7 | jq .type"
    )]
    Tail(Tail),
}

#[derive(Args)]
pub(super) struct Tail {
    /// Only events of this tenant [default: all tenants]
    #[arg(long, value_name = "NAME", value_parser = tenant_id)]
    tenant: Option<TenantId>,
    /// Start after this event id instead of at the end of the log
    #[arg(long, value_name = "EVENT_ID", value_parser = event_id)]
    after: Option<EventId>,
    /// Start with the next event
    #[arg(long, value_name = "now", value_enum, conflicts_with_all = ["after", "last"])]
    from: Option<LogStart>,
    /// Number of each tenant's last events to start with
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=200), conflicts_with = "after")]
    last: u32,
    /// Print JSON, one event per line, as in webhooks
    #[arg(long)]
    json: bool,
}

/// Start of the followed log.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LogStart {
    /// Events written from now on.
    Now,
}

impl Tail {
    /// Returns the number of past events to start with.
    fn past_events(&self) -> u32 {
        match self.from {
            Some(LogStart::Now) => 0,
            None => self.last,
        }
    }
}

fn event_id(text: &str) -> Result<EventId, String> {
    EventId::parse(text)
        .ok_or_else(|| "must be the id of an event: evt_ and 26 characters".to_owned())
}

pub(super) async fn run(command: Command, store: Store) -> Result<(), CommandError> {
    let Command::Tail(tail) = command;
    if let Some(name) = &tail.tenant
        && !store
            .tenant_exists(name)
            .await
            .map_err(|error| error.to_string())?
    {
        return Err(format!("tenant {name}: there is no such tenant").into());
    }
    tokio::select! {
        followed = follow(&tail, &store) => followed,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// Last printed event of each tenant. Ids follow the order of writing across tenants.
struct Followed {
    tenant: TenantId,
    after: Option<EventId>,
}

async fn follow(tail: &Tail, store: &Store) -> Result<(), CommandError> {
    let operator = store.operator(Actor::command_line());
    let mut followed: Vec<Followed> = Vec::new();
    let mut rounds = tokio::time::interval(POLL_INTERVAL);
    let mut first = true;
    loop {
        rounds.tick().await;
        for tenant in tenants(tail, &operator)
            .await
            .map_err(|error| error.to_string())?
        {
            if followed.iter().all(|tail| tail.tenant != tenant) {
                // A tenant created meanwhile is followed from its first event on.
                let last = if first { tail.past_events() } else { PAGE };
                let after = begin(tail, store, &tenant, last)
                    .await
                    .map_err(|error| error.to_string())?;
                followed.push(Followed { tenant, after });
            }
        }
        first = false;
        let mut new = Vec::new();
        for one in &mut followed {
            new.extend(
                one.new_events(store)
                    .await
                    .map_err(|error| error.to_string())?,
            );
        }
        new.sort_by(|one, other| one.event_id.cmp(&other.event_id));
        for event in &new {
            if tail.json {
                print_line(&event.body)?;
            } else {
                print_line(shown(&event.body))?;
            }
        }
    }
}

async fn tenants(tail: &Tail, operator: &OperatorStore) -> Result<Vec<TenantId>, StoreError> {
    if let Some(only) = &tail.tenant {
        return Ok(vec![only.clone()]);
    }
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = operator
            .tenants_after(after, PAGE, Timestamp::now())
            .await?;
        let Some(last) = page.last() else {
            return Ok(all);
        };
        after = Some(last.tenant_id.clone());
        let alive = page.into_iter().filter(|tenant| {
            !matches!(tenant.status, TenantStatus::Erasing | TenantStatus::Erased)
        });
        all.extend(alive.map(|tenant| tenant.tenant_id));
    }
}

/// Returns the event after which a tenant's log is printed.
async fn begin(
    tail: &Tail,
    store: &Store,
    tenant: &TenantId,
    last: u32,
) -> Result<Option<EventId>, StoreError> {
    match &tail.after {
        Some(after) => Ok(Some(after.clone())),
        None => store.tenant(tenant.clone()).event_before_last(last).await,
    }
}

impl Followed {
    async fn new_events(&mut self, store: &Store) -> Result<Vec<LoggedEvent>, StoreError> {
        let mut new = Vec::new();
        loop {
            let page = store
                .tenant(self.tenant.clone())
                .events_after(self.after.clone(), PAGE)
                .await;
            let page = match page {
                // A tenant erased meanwhile has neither events nor the key to read them.
                Err(StoreError::Unreadable(_)) => return Ok(new),
                page => page?,
            };
            let Some(last) = page.last() else {
                return Ok(new);
            };
            self.after = EventId::parse(&last.event_id);
            new.extend(page);
        }
    }
}

/// The fields of an event that a line shows.
#[derive(Deserialize)]
struct Line<'a> {
    event_id: &'a str,
    r#type: &'a str,
    sequence: u64,
    occurred_at: &'a str,
    tenant_id: &'a str,
    greenpin_id: Option<&'a str>,
}

fn shown(body: &str) -> String {
    let Ok(Line {
        event_id,
        r#type,
        sequence,
        occurred_at,
        tenant_id,
        greenpin_id,
    }) = serde_json::from_str(body)
    else {
        return body.to_owned();
    };
    let of = greenpin_id
        .map(|id| format!("  {id} #{sequence}"))
        .unwrap_or_default();
    format!("{occurred_at}  {tenant_id}  {type:<22}  {event_id}{of}")
}
