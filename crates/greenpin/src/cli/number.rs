//! `greenpin number`

use call::PhoneNumber;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::arguments::tenant_id;
use super::number_import;
use super::output::{CommandError, print_line};
use crate::store::{
    Actor, NewNumber, NumberChange, NumberFilter, NumberMode, NumberRecord, OperatorStore,
    PoolError, Store, TenantId, Timestamp,
};

/// Numbers per read.
const PAGE: u32 = 500;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Add a virtual number to a tenant's pool
    #[command(
        after_help = "Example:\n  greenpin number add --tenant acme +914000000001\n  greenpin number add --tenant acme +914000000002 --mode shared --pin-length 6"
    )]
    Add(Add),
    /// List virtual numbers
    #[command(after_help = "Example:\n  greenpin number list --tenant acme --json")]
    List(List),
    /// Add the virtual numbers of a CSV file, all of them or none
    #[command(
        after_help = "Example:\n  greenpin number import numbers.csv --tenant acme --dry-run\n\nThe first line is the header virtual_number,mode,pin_length,max_active; only virtual_number is required.\nAt most 100,000 numbers and 8 MiB."
    )]
    Import(number_import::Arguments),
    /// Change mode, PIN length or limit of a number; mode and PIN length need a number without
    /// active allocations
    #[command(
        after_help = "Example:\n  greenpin number mode +914000000001 shared --pin-length 6 --max-active 500"
    )]
    Mode(Change),
    /// Move a number without active allocations to another tenant
    #[command(after_help = "Example:\n  greenpin number move +914000000001 --tenant other")]
    Move {
        #[command(flatten)]
        target: ByNumber,
        /// The tenant that gets the number
        #[arg(long, value_name = "NAME", value_parser = tenant_id)]
        tenant: TenantId,
    },
    /// Stop new allocations on a number; active ones continue
    #[command(after_help = "Example:\n  greenpin number quarantine +914000000001")]
    Quarantine(ByNumber),
    /// Allow new allocations on a quarantined number again
    #[command(after_help = "Example:\n  greenpin number release +914000000001")]
    Release(ByNumber),
    /// Remove a number without active allocations from its pool
    #[command(after_help = "Example:\n  greenpin number remove +914000000001")]
    Remove(ByNumber),
}

#[derive(Args)]
pub(super) struct ByNumber {
    /// The number, in E.164
    #[arg(value_name = "VN", value_parser = PhoneNumber::parse)]
    number: PhoneNumber,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Change {
    #[command(flatten)]
    target: ByNumber,
    /// Number of active allocations that it takes
    #[arg(value_enum)]
    mode: Mode,
    /// Digits of its PINs: 4 on an exclusive number, 4 to 8 on a shared one
    #[arg(long, value_name = "N")]
    pin_length: Option<u8>,
    /// Maximum number of active allocations on a shared number
    #[arg(long, value_name = "N")]
    max_active: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// One active allocation at a time
    Exclusive,
    /// Many active allocations, distinguished by their PINs
    Shared,
}

#[derive(Args)]
pub(super) struct Add {
    /// The number, in E.164
    #[arg(value_name = "VN", value_parser = PhoneNumber::parse)]
    number: PhoneNumber,
    /// The tenant that gets the number
    #[arg(long, value_name = "NAME", value_parser = tenant_id)]
    tenant: TenantId,
    /// Number of active allocations that it takes
    #[arg(long, value_enum, default_value = "exclusive")]
    mode: Mode,
    /// Digits of its PINs: 4 on an exclusive number, 4 to 8 on a shared one
    #[arg(long, value_name = "N", default_value_t = 4)]
    pin_length: u8,
    /// Maximum number of active allocations on a shared number, at most half of the PIN space
    /// [default: 200]
    #[arg(long, value_name = "N")]
    max_active: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct List {
    /// Only numbers of this tenant
    #[arg(long, value_name = "NAME", value_parser = tenant_id)]
    tenant: Option<TenantId>,
    /// Only numbers with this mode
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Only quarantined numbers
    #[arg(long)]
    quarantined: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: Command, store: Store) -> Result<(), CommandError> {
    let (store, now) = (store.operator(Actor::command_line()), Timestamp::now());
    let (result, target) = match command {
        Command::Add(add) => return self::add(add, &store).await,
        Command::List(list) => return self::list(list, &store).await,
        Command::Import(arguments) => return number_import::run(arguments, &store).await,
        Command::Remove(target) => return remove(&target, &store).await,
        Command::Mode(change) => {
            let target = change.target;
            let change = NumberChange {
                mode: Some(change.mode.into()),
                pin_length: change.pin_length,
                max_active: change.max_active,
            };
            (
                store.change_number(target.number, change, now).await,
                target,
            )
        }
        Command::Move { target, tenant } => {
            (store.move_number(target.number, tenant, now).await, target)
        }
        Command::Quarantine(target) => (store.quarantine_number(target.number, now).await, target),
        Command::Release(target) => (store.release_number(target.number, now).await, target),
    };
    print_changed(result, &target, &store).await
}

async fn remove(target: &ByNumber, store: &OperatorStore) -> Result<(), CommandError> {
    let vn = target.number.expose();
    let removed = store.remove_number(target.number, Timestamp::now()).await;
    removed.map_err(|error| format!("{vn}: {error}"))?;
    match target.json {
        true => print_line(json!({ "virtual_number": vn, "status": "removed" })),
        false => print_line(format_args!("removed {vn}")),
    }
}

impl From<Mode> for NumberMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Exclusive => Self::Exclusive,
            Mode::Shared => Self::Shared,
        }
    }
}

async fn add(add: Add, store: &OperatorStore) -> Result<(), CommandError> {
    let vn = add.number.expose();
    let new = NewNumber::with_defaults(
        add.number,
        add.mode.into(),
        Some(add.pin_length),
        add.max_active,
    );
    let new = new.map_err(|error| format!("{vn} was not added: {error}"))?;
    let added = store
        .add_number(add.tenant.clone(), new.clone(), Timestamp::now())
        .await;
    added.map_err(|error| format!("{vn} was not added: {error}"))?;
    if add.json {
        let line = json!({
            "virtual_number": vn,
            "tenant_id": add.tenant.as_str(),
            "mode": new.mode.as_str(),
            "pin_length": new.pin_length,
            "max_active": new.max_active,
        });
        print_line(line)
    } else {
        print_line(format_args!(
            "added {vn} to {} ({})",
            add.tenant,
            new.mode.as_str()
        ))
    }
}

/// Prints a number after a change.
async fn print_changed(
    result: Result<(), PoolError>,
    target: &ByNumber,
    store: &OperatorStore,
) -> Result<(), CommandError> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", target.number.expose());
    result.map_err(|error| failed(&error))?;
    let found = store
        .number(target.number, Timestamp::now())
        .await
        .map_err(|error| failed(&error))?;
    print(
        &found.ok_or_else(|| failed(&PoolError::NotFound))?,
        target.json,
    )
}

async fn list(list: List, store: &OperatorStore) -> Result<(), CommandError> {
    let filter = NumberFilter {
        tenant: list.tenant,
        mode: list.mode.map(NumberMode::from),
        quarantined: list.quarantined.then_some(true),
    };
    // Pages are ordered by lookup key. The list is sorted by number here.
    let (mut all, mut cursor, now) = (Vec::new(), None, Timestamp::now());
    loop {
        let page = store.numbers_after(filter.clone(), cursor, PAGE, now).await;
        let page = page.map_err(|error| error.to_string())?;
        let Some(last) = page.last() else { break };
        cursor = Some(last.cursor.clone());
        all.extend(page);
    }
    all.sort_unstable_by_key(|record| record.number.virtual_number.expose());
    all.iter().try_for_each(|record| print(record, list.json))
}

fn print(record: &NumberRecord, json: bool) -> Result<(), CommandError> {
    let number = &record.number;
    let quarantined = record.quarantined_at.is_some();
    if json {
        let line = json!({
            "virtual_number": number.virtual_number.expose(),
            "tenant_id": number.tenant_id.as_str(),
            "mode": number.mode.as_str(),
            "pin_length": number.pin_length,
            "max_active": number.max_active,
            "active": number.active,
            "quarantined": quarantined,
        });
        return print_line(line);
    }
    print_line(format_args!(
        "{:<17} {:<24} {:<9} PIN of {}  {}/{} active{}",
        number.virtual_number.expose(),
        number.tenant_id.as_str(),
        number.mode.as_str(),
        number.pin_length,
        number.active,
        number.max_active,
        if quarantined { "  quarantined" } else { "" }
    ))
}
