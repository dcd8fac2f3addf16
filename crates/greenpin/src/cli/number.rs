//! `greenpin number`

use call::PhoneNumber;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::number_import;
use super::tenant::tenant_id;
use crate::store::{
    Actor, NewNumber, NumberChange, NumberFilter, NumberMode, NumberRecord, OperatorStore,
    PoolError, Store, TenantId, Timestamp,
};

/// Numbers that are read at once.
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
        after_help = "Example:\n  greenpin number import numbers.csv --tenant acme --dry-run\n\nThe file starts with the header virtual_number,mode,pin_length,max_active, of which all but the first may be\nmissing. At most 100,000 numbers and 8 MiB."
    )]
    Import(number_import::Arguments),
    /// Change how a number is used; mode and PIN length while no allocation is active
    #[command(
        after_help = "Example:\n  greenpin number mode +914000000001 shared --pin-length 6 --max-active 500"
    )]
    Mode(Change),
    /// Give a number without active allocations to another tenant
    #[command(after_help = "Example:\n  greenpin number move +914000000001 --tenant other")]
    Move {
        #[command(flatten)]
        one: One,
        /// The tenant whose pool it goes to
        #[arg(long, value_name = "NAME", value_parser = tenant_id)]
        tenant: TenantId,
    },
    /// Let a number take no new allocations; those that are active go on
    #[command(after_help = "Example:\n  greenpin number quarantine +914000000001")]
    Quarantine(One),
    /// Let a number in quarantine take allocations again
    #[command(after_help = "Example:\n  greenpin number release +914000000001")]
    Release(One),
    /// Take a number without active allocations out of its pool
    #[command(after_help = "Example:\n  greenpin number remove +914000000001")]
    Remove(One),
}

#[derive(Args)]
pub(super) struct One {
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
    one: One,
    /// How many allocations it takes
    #[arg(value_enum)]
    mode: Mode,
    /// Digits of its PINs: 4 on an exclusive number, 4 to 8 on a shared one
    #[arg(long, value_name = "N")]
    pin_length: Option<u8>,
    /// Active allocations at once on a shared number
    #[arg(long, value_name = "N")]
    max_active: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// One active allocation at a time
    Exclusive,
    /// Many, told apart by their PINs
    Shared,
}

#[derive(Args)]
pub(super) struct Add {
    /// The number, in E.164
    #[arg(value_name = "VN", value_parser = PhoneNumber::parse)]
    number: PhoneNumber,
    /// The tenant whose pool it goes to
    #[arg(long, value_name = "NAME", value_parser = tenant_id)]
    tenant: TenantId,
    /// How many allocations it takes
    #[arg(long, value_enum, default_value = "exclusive")]
    mode: Mode,
    /// Digits of its PINs: 4 on an exclusive number, 4 to 8 on a shared one
    #[arg(long, value_name = "N", default_value_t = 4)]
    pin_length: u8,
    /// Active allocations at once on a shared number, at most half of the PIN space [default: 200]
    #[arg(long, value_name = "N")]
    max_active: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct List {
    /// Of this tenant only
    #[arg(long, value_name = "NAME", value_parser = tenant_id)]
    tenant: Option<TenantId>,
    /// Only those used like this
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Only those in quarantine
    #[arg(long)]
    quarantined: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: Command, store: Store) -> Result<(), String> {
    let (store, now) = (store.operator(Actor::command_line()), Timestamp::now());
    match command {
        Command::Add(add) => self::add(add, &store).await,
        Command::List(list) => self::list(list, &store).await,
        Command::Import(arguments) => number_import::run(arguments, &store).await,
        Command::Mode(Change {
            one,
            mode,
            pin_length,
            max_active,
        }) => {
            let change = NumberChange {
                mode: Some(mode.into()),
                pin_length,
                max_active,
            };
            done(
                store.change_number(one.number, change, now).await,
                &one,
                &store,
            )
            .await
        }
        Command::Move { one, tenant } => {
            done(
                store.move_number(one.number, tenant, now).await,
                &one,
                &store,
            )
            .await
        }
        Command::Quarantine(one) => {
            done(store.quarantine_number(one.number, now).await, &one, &store).await
        }
        Command::Release(one) => {
            done(store.release_number(one.number, now).await, &one, &store).await
        }
        Command::Remove(one) => {
            let vn = one.number.expose();
            store
                .remove_number(one.number, now)
                .await
                .map_err(|error| format!("{vn}: {error}"))?;
            match one.json {
                true => println!("{}", json!({ "virtual_number": vn, "status": "removed" })),
                false => println!("removed {vn}"),
            }
            Ok(())
        }
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

async fn add(add: Add, store: &OperatorStore) -> Result<(), String> {
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
        println!("{line}");
    } else {
        println!("added {vn} to {} ({})", add.tenant, new.mode.as_str());
    }
    Ok(())
}

/// Shows a number after a change.
async fn done(
    result: Result<(), PoolError>,
    one: &One,
    store: &OperatorStore,
) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", one.number.expose());
    result.map_err(|error| failed(&error))?;
    let found = store
        .number(one.number, Timestamp::now())
        .await
        .map_err(|error| failed(&error))?;
    print(
        &found.ok_or_else(|| failed(&PoolError::NotFound))?,
        one.json,
    );
    Ok(())
}

async fn list(list: List, store: &OperatorStore) -> Result<(), String> {
    let filter = NumberFilter {
        tenant: list.tenant,
        mode: list.mode.map(NumberMode::from),
        quarantined: list.quarantined.then_some(true),
    };
    // Pages come in the order of the keys that numbers are found by: that of the numbers is made here.
    let (mut all, mut cursor, now) = (Vec::new(), None, Timestamp::now());
    loop {
        let page = store.numbers_after(filter.clone(), cursor, PAGE, now).await;
        let page = page.map_err(|error| error.to_string())?;
        let Some(last) = page.last() else { break };
        cursor = Some(last.cursor.clone());
        all.extend(page);
    }
    all.sort_unstable_by_key(|record| record.number.virtual_number.expose());
    all.iter().for_each(|record| print(record, list.json));
    Ok(())
}

fn print(record: &NumberRecord, json: bool) {
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
        return println!("{line}");
    }
    println!(
        "{:<17} {:<24} {:<9} PIN of {}  {}/{} active{}",
        number.virtual_number.expose(),
        number.tenant_id.as_str(),
        number.mode.as_str(),
        number.pin_length,
        number.active,
        number.max_active,
        if quarantined { "  quarantined" } else { "" }
    );
}
