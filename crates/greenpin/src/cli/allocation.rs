//! `greenpin allocation`

use call::PhoneNumber;
use clap::{Args, Subcommand, ValueEnum};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::arguments::tenant_id;
use super::output::{CommandError, print_line};
use super::request_options::{RequestOptions, describe};
use crate::http::tenant::allocations::fields::CreateAllocation;
use crate::http::tenant::allocations::resource::AllocationDetails;
use crate::store::{
    Actor, Allocation, AllocationFilter, GreenpinId, OperatorStore, Status, Store, TenantId,
    TenantStore, Timestamp,
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Create an allocation and print its PIN
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
    Show(ById),
    /// Delete an allocation; connected calls continue
    #[command(
        after_help = "Example:\n  greenpin allocation delete gp_06f2n7c8sd3k2q9w4m1x5z0ba7 --tenant acme"
    )]
    Delete(ById),
}

#[derive(Args)]
pub(super) struct Create {
    /// The tenant's name
    #[arg(long, value_name = "NAME", value_parser = tenant_id)]
    tenant: TenantId,
    #[command(flatten)]
    request: RequestOptions<CreateAllocation>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum StatusArgument {
    /// Calls are connected
    Active,
    /// It has expired
    Expired,
    /// It was deleted
    Deleted,
}

#[derive(Args)]
pub(super) struct List {
    /// The tenant's name
    #[arg(long, value_name = "NAME", value_parser = tenant_id)]
    tenant: TenantId,
    /// Only allocations with this status
    #[arg(long, value_enum)]
    status: Option<StatusArgument>,
    /// Only allocations on this number
    #[arg(long, value_name = "VN", value_parser = PhoneNumber::parse)]
    number: Option<PhoneNumber>,
    /// Maximum number of allocations to print
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// Print JSON, one allocation per line
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct ById {
    /// The id of the allocation
    #[arg(value_name = "ID", value_parser = greenpin_id)]
    id: GreenpinId,
    /// The tenant's name
    #[arg(long, value_name = "NAME", value_parser = tenant_id)]
    tenant: TenantId,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: Command, store: Store) -> Result<(), CommandError> {
    let name = match &command {
        Command::Create(create) => &create.tenant,
        Command::List(list) => &list.tenant,
        Command::Show(allocation) | Command::Delete(allocation) => &allocation.tenant,
    };
    if !store
        .tenant_exists(name)
        .await
        .map_err(|error| error.to_string())?
    {
        return Err(format!("tenant {name}: there is no such tenant").into());
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
        Command::Show(allocation) => show(&allocation, &store, &zone).await,
        Command::Delete(allocation) => delete(&allocation, &operator, &zone).await,
    }
}

async fn create(
    create: Create,
    store: &TenantStore,
    operator: &OperatorStore,
) -> Result<(), CommandError> {
    let settings = store.settings().await.map_err(|error| error.to_string())?;
    let new = CreateAllocation::parse(create.request.body, &settings)
        .map_err(|problem| describe(problem.faults()))?;
    let virtual_number = new.virtual_number;
    let now = Timestamp::now();
    let made = operator.create_allocation(&create.tenant, new, now).await;
    let made = made.map_err(|error| format!("{}: {error}", virtual_number.expose()))?;
    print(&made, &settings.zone(), now, create.json)
}

async fn list(list: List, store: &TenantStore, zone: &TimeZone) -> Result<(), CommandError> {
    let status = list.status.map(|standing| match standing {
        StatusArgument::Active => Status::Active,
        StatusArgument::Expired => Status::Expired,
        StatusArgument::Deleted => Status::Deleted,
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
    for allocation in &found {
        if list.json {
            print_line(json_of(allocation, zone, now))?;
            continue;
        }
        print_line(format_args!(
            "{}  {:<17} {:<8} until {}{}",
            allocation.greenpin_id,
            allocation.virtual_number.expose(),
            allocation.status(now).as_str(),
            allocation.expires_at.rfc3339(zone),
            if allocation.is_locked() {
                "  locked"
            } else {
                ""
            }
        ))?;
    }
    Ok(())
}

async fn show(allocation: &ById, store: &TenantStore, zone: &TimeZone) -> Result<(), CommandError> {
    let found = store
        .allocation(&allocation.id)
        .await
        .map_err(|error| error.to_string())?;
    let found = found.ok_or_else(|| format!("{}: there is no such allocation", allocation.id))?;
    print(&found, zone, Timestamp::now(), allocation.json)
}

async fn delete(
    allocation: &ById,
    operator: &OperatorStore,
    zone: &TimeZone,
) -> Result<(), CommandError> {
    let deleted = operator
        .delete_allocation(&allocation.tenant, &allocation.id, Timestamp::now())
        .await;
    let deleted_at = deleted
        .map_err(|error| format!("{}: {error}", allocation.id))?
        .rfc3339(zone);
    if allocation.json {
        print_line(json!({
            "greenpin_id": allocation.id.as_str(),
            "status": "deleted",
            "deleted_at": deleted_at,
        }))
    } else {
        print_line(format_args!("deleted {} at {deleted_at}", allocation.id))
    }
}

fn print(
    allocation: &Allocation,
    zone: &TimeZone,
    now: Timestamp,
    json: bool,
) -> Result<(), CommandError> {
    if json {
        return print_line(json_of(allocation, zone, now));
    }
    let side = |numbers: &[PhoneNumber]| exposed(numbers).join(", ");
    print_line(format_args!("id              {}", allocation.greenpin_id))?;
    print_line(format_args!(
        "virtual number  {}",
        allocation.virtual_number.expose()
    ))?;
    print_line(format_args!("PIN             {}", allocation.pin.expose()))?;
    print_line(format_args!("from            {}", side(&allocation.from)))?;
    print_line(format_args!("to              {}", side(&allocation.to)))?;
    print_line(format_args!(
        "status          {}{}",
        allocation.status(now).as_str(),
        if allocation.is_locked() {
            ", locked"
        } else {
            ""
        }
    ))?;
    print_line(format_args!(
        "until           {}",
        allocation.expires_at.rfc3339(zone)
    ))?;
    print_line(format_args!(
        "calls           {} connected of {}",
        allocation.call_count, allocation.attempt_count
    ))
}

/// Returns the representation of the API, and `deleted_at` even where it is `null`.
fn json_of(allocation: &Allocation, zone: &TimeZone, now: Timestamp) -> Value {
    let mut value = serde_json::to_value(AllocationDetails::from_allocation(allocation, zone, now))
        .unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.entry("deleted_at").or_insert(Value::Null);
    }
    value
}

fn exposed(numbers: &[PhoneNumber]) -> Vec<String> {
    numbers.iter().map(|number| number.expose()).collect()
}

fn greenpin_id(text: &str) -> Result<GreenpinId, String> {
    GreenpinId::parse(text)
        .ok_or_else(|| "must be an allocation's id, gp_ and 26 letters and digits".to_owned())
}
