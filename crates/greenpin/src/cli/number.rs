//! `greenpin number`

use call::PhoneNumber;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::tenant::tenant_id;
use crate::store::{NewNumber, NumberMode, Store, TenantId, Timestamp};

/// What a shared number takes at once unless told otherwise.
const DEFAULT_MAX_ACTIVE: u32 = 200;

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
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: Command, store: Store) -> Result<(), String> {
    match command {
        Command::Add(add) => self::add(add, &store).await,
        Command::List(list) => self::list(list, &store).await,
    }
}

async fn add(add: Add, store: &Store) -> Result<(), String> {
    let (mode, most) = match add.mode {
        Mode::Exclusive => (NumberMode::Exclusive, 1),
        Mode::Shared => (NumberMode::Shared, DEFAULT_MAX_ACTIVE),
    };
    if matches!(add.mode, Mode::Exclusive) && add.max_active.is_some_and(|limit| limit != 1) {
        return Err("--max-active goes with --mode shared: an exclusive number takes one".to_owned());
    }
    let new = NewNumber {
        virtual_number: add.number,
        mode,
        pin_length: add.pin_length,
        max_active: add.max_active.unwrap_or(most),
    };
    let added = store.add_number(add.tenant.clone(), new.clone(), Timestamp::now()).await;
    added.map_err(|error| format!("{} was not added: {error}", add.number.expose()))?;
    if add.json {
        let line = json!({
            "virtual_number": add.number.expose(),
            "tenant_id": add.tenant.as_str(),
            "mode": mode.as_str(),
            "pin_length": new.pin_length,
            "max_active": new.max_active,
        });
        println!("{line}");
    } else {
        println!("added {} to {} ({})", add.number.expose(), add.tenant, mode.as_str());
    }
    Ok(())
}

async fn list(list: List, store: &Store) -> Result<(), String> {
    let numbers = store.numbers(list.tenant, Timestamp::now()).await.map_err(|error| error.to_string())?;
    for number in numbers {
        if list.json {
            let line = json!({
                "virtual_number": number.virtual_number.expose(),
                "tenant_id": number.tenant_id.as_str(),
                "mode": number.mode.as_str(),
                "pin_length": number.pin_length,
                "max_active": number.max_active,
                "active": number.active,
            });
            println!("{line}");
        } else {
            println!(
                "{:<17} {:<24} {:<9} PIN of {}  {}/{} active",
                number.virtual_number.expose(),
                number.tenant_id.as_str(),
                number.mode.as_str(),
                number.pin_length,
                number.active,
                number.max_active
            );
        }
    }
    Ok(())
}
