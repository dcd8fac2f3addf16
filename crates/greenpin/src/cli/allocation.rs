//! `greenpin allocation`

use std::time::Duration;

use call::PhoneNumber;
use clap::{Args, Subcommand, ValueEnum};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::arguments::tenant_id;
use crate::store::{
    Actor, Allocation, AllocationFilter, GreenpinId, NewAllocation, OperatorStore, Status, Store,
    TenantId, TenantStore, Timestamp,
};

const MOST_NUMBERS: usize = 10;
const LONGEST_CUSTOM_FIELD: usize = 256;
const DEFAULT_DURATION: u32 = 86_400;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make an allocation; prints its PIN
    #[command(
        after_help = "Example:\n  greenpin allocation create +914000000001 --tenant acme --from +919900000001 --to +918800000001"
    )]
    Create(Create),
    /// List a tenant's allocations, newest first
    #[command(
        after_help = "Example:\n  greenpin allocation list --tenant acme --status active --json"
    )]
    List(List),
    /// Show an allocation with its counters
    #[command(
        after_help = "Example:\n  greenpin allocation show gp_06f2n7c8sd3k2q9w4m1x5z0ba7 --tenant acme"
    )]
    Show(One),
    /// Delete an allocation; calls that are connected go on
    #[command(
        after_help = "Example:\n  greenpin allocation delete gp_06f2n7c8sd3k2q9w4m1x5z0ba7 --tenant acme"
    )]
    Delete(One),
}

#[derive(Args)]
pub(super) struct Create {
    /// The virtual number, in the tenant's pool
    #[arg(value_name = "VN", value_parser = PhoneNumber::parse)]
    number: PhoneNumber,
    /// The tenant's name
    #[arg(long, value_name = "NAME", value_parser = tenant_id)]
    tenant: TenantId,
    /// The agent side: 1 to 10 numbers, separated by commas
    #[arg(long, value_name = "A,…", required = true, value_delimiter = ',', value_parser = PhoneNumber::parse)]
    from: Vec<PhoneNumber>,
    /// The customer side: up to 10 numbers, separated by commas
    #[arg(long, value_name = "B,…", value_delimiter = ',', value_parser = PhoneNumber::parse)]
    to: Vec<PhoneNumber>,
    /// How long it lasts, within the tenant's limits [default: 86400]
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u32>,
    /// Wrong PINs until it is locked
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=10))]
    max_pin_attempts: u8,
    /// Record every call
    #[arg(long)]
    record: bool,
    /// Your own mark, at most 256 characters, given back in every event
    #[arg(long, value_name = "TEXT")]
    custom_field: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Standing {
    /// Calls go through
    Active,
    /// Its time is over
    Expired,
    /// It was deleted
    Deleted,
}

#[derive(Args)]
pub(super) struct List {
    /// The tenant's name
    #[arg(long, value_name = "NAME", value_parser = tenant_id)]
    tenant: TenantId,
    /// Only those that stand like this
    #[arg(long, value_enum)]
    status: Option<Standing>,
    /// Only those on this number
    #[arg(long, value_name = "VN", value_parser = PhoneNumber::parse)]
    number: Option<PhoneNumber>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// Print JSON, an allocation a line
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct One {
    /// Its id
    #[arg(value_name = "ID", value_parser = greenpin_id)]
    id: GreenpinId,
    /// The tenant's name
    #[arg(long, value_name = "NAME", value_parser = tenant_id)]
    tenant: TenantId,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: Command, store: Store) -> Result<(), String> {
    let name = match &command {
        Command::Create(create) => &create.tenant,
        Command::List(list) => &list.tenant,
        Command::Show(one) | Command::Delete(one) => &one.tenant,
    };
    if !store
        .tenant_exists(name)
        .await
        .map_err(|error| error.to_string())?
    {
        return Err(format!("tenant {name}: there is no such tenant"));
    }
    let operator = store.operator(Actor::command_line());
    let store = store.tenant(name.clone());
    let zone = store
        .settings()
        .await
        .map_err(|error| error.to_string())?
        .zone();
    match command {
        Command::Create(create) => self::create(create, &store, &operator).await,
        Command::List(list) => self::list(list, &store, &zone).await,
        Command::Show(one) => show(&one, &store, &zone).await,
        Command::Delete(one) => delete(&one, &operator, &zone).await,
    }
}

async fn create(
    create: Create,
    store: &TenantStore,
    operator: &OperatorStore,
) -> Result<(), String> {
    let settings = store.settings().await.map_err(|error| error.to_string())?;
    let limits = settings.min_duration..=settings.max_duration;
    check(&create)?;
    let default = DEFAULT_DURATION.clamp(settings.min_duration, settings.max_duration);
    let duration = create.duration.unwrap_or(default);
    if !limits.contains(&duration) {
        return Err(format!(
            "--duration must be {} to {}",
            limits.start(),
            limits.end()
        ));
    }
    let new = NewAllocation {
        virtual_number: create.number,
        from: create.from,
        to: create.to,
        duration: Duration::from_secs(duration.into()),
        max_pin_attempts: create.max_pin_attempts,
        record: create.record,
        custom_field: create.custom_field,
    };
    let now = Timestamp::now();
    let made = operator.create_allocation(&create.tenant, new, now).await;
    let made = made.map_err(|error| format!("{}: {error}", create.number.expose()))?;
    print(&made, &settings.zone(), now, create.json);
    Ok(())
}

/// The rules of the API that no single option can check.
fn check(create: &Create) -> Result<(), String> {
    for (name, side) in [("--from", &create.from), ("--to", &create.to)] {
        if side.len() > MOST_NUMBERS {
            return Err(format!("{name} must hold at most {MOST_NUMBERS} numbers"));
        }
        let repeated = side
            .iter()
            .enumerate()
            .any(|(index, one)| side.iter().take(index).any(|other| other == one));
        if repeated {
            return Err(format!("{name} holds a number twice"));
        }
    }
    if create.to.iter().any(|number| create.from.contains(number)) {
        return Err("a number of --to is in --from, too".to_owned());
    }
    let long = |text: &String| text.chars().count() > LONGEST_CUSTOM_FIELD || text.contains('\0');
    if create.custom_field.as_ref().is_some_and(long) {
        return Err(format!(
            "--custom-field must have at most {LONGEST_CUSTOM_FIELD} characters"
        ));
    }
    Ok(())
}

async fn list(list: List, store: &TenantStore, zone: &TimeZone) -> Result<(), String> {
    let status = list.status.map(|standing| match standing {
        Standing::Active => Status::Active,
        Standing::Expired => Status::Expired,
        Standing::Deleted => Status::Deleted,
    });
    let filter = AllocationFilter {
        status,
        virtual_number: list.number,
        ..AllocationFilter::default()
    };
    let now = Timestamp::now();
    let found = store
        .allocations(filter, None, list.limit, now)
        .await
        .map_err(|error| error.to_string())?;
    for one in &found {
        if list.json {
            println!("{}", shown(one, zone, now));
            continue;
        }
        println!(
            "{}  {:<17} {:<8} until {}{}",
            one.greenpin_id,
            one.virtual_number.expose(),
            one.status(now).as_str(),
            one.expires_at.rfc3339(zone),
            if one.is_locked() { "  locked" } else { "" }
        );
    }
    Ok(())
}

async fn show(one: &One, store: &TenantStore, zone: &TimeZone) -> Result<(), String> {
    let found = store
        .allocation(&one.id)
        .await
        .map_err(|error| error.to_string())?;
    let found = found.ok_or_else(|| format!("{}: there is no such allocation", one.id))?;
    print(&found, zone, Timestamp::now(), one.json);
    Ok(())
}

async fn delete(one: &One, operator: &OperatorStore, zone: &TimeZone) -> Result<(), String> {
    let deleted = operator
        .delete_allocation(&one.tenant, &one.id, Timestamp::now())
        .await;
    let deleted_at = deleted
        .map_err(|error| format!("{}: {error}", one.id))?
        .rfc3339(zone);
    if one.json {
        println!(
            "{}",
            json!({ "greenpin_id": one.id.as_str(), "status": "deleted", "deleted_at": deleted_at })
        );
    } else {
        println!("deleted {} at {deleted_at}", one.id);
    }
    Ok(())
}

fn print(allocation: &Allocation, zone: &TimeZone, now: Timestamp, json: bool) {
    if json {
        return println!("{}", shown(allocation, zone, now));
    }
    let side = |numbers: &[PhoneNumber]| exposed(numbers).join(", ");
    println!("id              {}", allocation.greenpin_id);
    println!("virtual number  {}", allocation.virtual_number.expose());
    println!("PIN             {}", allocation.pin.expose());
    println!("from            {}", side(&allocation.from));
    println!("to              {}", side(&allocation.to));
    println!(
        "status          {}{}",
        allocation.status(now).as_str(),
        if allocation.is_locked() {
            ", locked"
        } else {
            ""
        }
    );
    println!("until           {}", allocation.expires_at.rfc3339(zone));
    println!(
        "calls           {} connected of {}",
        allocation.call_count, allocation.attempt_count
    );
}

fn shown(allocation: &Allocation, zone: &TimeZone, now: Timestamp) -> Value {
    json!({
        "greenpin_id": allocation.greenpin_id.as_str(),
        "virtual_number": allocation.virtual_number.expose(),
        "pin": allocation.pin.expose(),
        "from": exposed(&allocation.from),
        "to": exposed(&allocation.to),
        "status": allocation.status(now).as_str(),
        "locked": allocation.is_locked(),
        "created_at": allocation.created_at.rfc3339(zone),
        "updated_at": allocation.updated_at.rfc3339(zone),
        "expires_at": allocation.expires_at.rfc3339(zone),
        "deleted_at": allocation.deleted_at.map(|moment| moment.rfc3339(zone)),
        "max_pin_attempts": allocation.max_pin_attempts,
        "failed_pin_attempts": allocation.failed_pin_attempts,
        "call_count": allocation.call_count,
        "attempt_count": allocation.attempt_count,
        "record": allocation.record,
        "custom_field": allocation.custom_field,
        "dial_uri": format!("tel:{},,{}", allocation.virtual_number.expose(), allocation.pin.expose()),
    })
}

fn exposed(numbers: &[PhoneNumber]) -> Vec<String> {
    numbers.iter().map(|number| number.expose()).collect()
}

fn greenpin_id(text: &str) -> Result<GreenpinId, String> {
    GreenpinId::parse(text)
        .ok_or_else(|| "must be an allocation's id, gp_ and 26 letters and digits".to_owned())
}
