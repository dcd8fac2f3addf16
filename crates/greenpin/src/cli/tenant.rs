//! `greenpin tenant`

use std::io::IsTerminal as _;

use clap::{Args, Subcommand};
use serde_json::json;

use super::arguments::{account_sid, tenant_id};
use super::credential;
use super::output::{CommandError, ask, note, print_line};
use crate::config::Config;
use crate::destinations::{
    DestinationChange, DestinationRules, MAX_PREFIXES, NumberPrefix, in_both,
};
use crate::server::open_recordings;
use crate::store::{
    Actor, CreatedTenant, EndpointSpec, NewTenant, OperatorStore, Store, TenantId, TenantRecord,
    TenantSettings, TenantStatus, Timestamp, WEBHOOK_URL_RULE, canonical_webhook_url,
};

/// Minimum length of a token that cannot be guessed, in characters.
const MIN_SAFE_TOKEN_LENGTH: usize = 16;
/// Tenants per read.
const PAGE: u32 = 200;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Create a tenant; its token is printed once and stored only as a digest
    #[command(after_help = "Example:\n  greenpin tenant create acme --account-sid AC0001")]
    Create(Create),
    /// List the tenants
    #[command(after_help = "Example:\n  greenpin tenant list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a tenant: its status, numbers, allocations and credentials
    #[command(after_help = "Example:\n  greenpin tenant show acme --json")]
    Show(ByName),
    /// Reject a tenant's requests and new calls; live calls continue
    #[command(after_help = "Example:\n  greenpin tenant suspend acme")]
    Suspend(ByName),
    /// Serve a suspended tenant again
    #[command(after_help = "Example:\n  greenpin tenant resume acme")]
    Resume(ByName),
    /// Show or change the numbers that a tenant may dial
    #[command(
        after_help = "Example:\n  greenpin tenant destinations acme --allow +91,+44 --max-calls-per-country-hour 200\n\nWithout options: prints the rules. The longest matching prefix decides. Satellite and premium-rate numbers are denied unless --allow has their prefix."
    )]
    Destinations(Destinations),
    /// Erase all data of a tenant: allocations, calls, recordings, events, numbers and credentials
    #[command(
        after_help = "Example:\n  greenpin tenant erase acme --yes --json > receipt.json\n\nOnce more goes on with an erasure that was cut short, else prints the receipt again."
    )]
    Erase {
        #[command(flatten)]
        target: ByName,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Create, list, rotate and revoke a tenant's credentials
    #[command(subcommand, arg_required_else_help = true)]
    Credential(credential::Command),
}

#[derive(Args)]
pub(super) struct ByName {
    /// The tenant's name
    #[arg(value_name = "NAME", value_parser = tenant_id)]
    name: TenantId,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Destinations {
    #[command(flatten)]
    target: ByName,
    /// Allowed prefixes, separated by commas; replaces the list. An empty text clears it
    #[arg(long, value_name = "PREFIXES", value_parser = prefixes)]
    allow: Option<Prefixes>,
    /// Denied prefixes, separated by commas; replaces the list. An empty text clears it
    #[arg(long, value_name = "PREFIXES", value_parser = prefixes)]
    deny: Option<Prefixes>,
    /// Maximum number of dialled legs per country, hour and node; 0: no limit
    #[arg(long, value_name = "N")]
    max_calls_per_country_hour: Option<u32>,
}

/// List of prefixes in one argument.
#[derive(Clone)]
struct Prefixes(Vec<NumberPrefix>);

#[derive(Args)]
pub(super) struct Create {
    /// The tenant's name, as in /v1/tenants/NAME: 1 to 64 of a-z, 0-9, '-' and '_'
    #[arg(value_name = "NAME", value_parser = tenant_id)]
    name: TenantId,
    /// The user name of its credentials: 1 to 64 letters, digits, '-', '_' and '.'
    #[arg(long, value_name = "SID", value_parser = account_sid)]
    account_sid: String,
    /// The password of its credentials, up to 256 printable characters [default: 32 random bytes]
    #[arg(long, value_parser = token)]
    token: Option<String>,
    /// The IANA time zone of its times
    #[arg(long, value_name = "ZONE", default_value = "Asia/Kolkata", value_parser = timezone)]
    timezone: String,
    /// A webhook endpoint for all of its events
    #[arg(long, value_name = "URL", value_parser = webhook)]
    webhook: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    command: Command,
    store: Store,
    config: &Config,
) -> Result<(), CommandError> {
    let store = store.operator(Actor::command_line());
    match command {
        Command::Create(create) => make(create, &store).await,
        Command::List { json } => list(json, &store).await,
        Command::Show(target) => show(&target, &store).await,
        Command::Suspend(target) => {
            let suspended = store.suspend(&target.name, Timestamp::now()).await;
            suspended.map_err(|error| format!("tenant {}: {error}", target.name))?;
            show(&target, &store).await
        }
        Command::Resume(target) => {
            let resumed = store.resume(&target.name, Timestamp::now()).await;
            resumed.map_err(|error| format!("tenant {}: {error}", target.name))?;
            show(&target, &store).await
        }
        Command::Destinations(change) => destinations(change, &store).await,
        Command::Erase { target, yes } => erase(&target, yes, &store, config).await,
        Command::Credential(command) => credential::run(command, &store).await,
    }
}

async fn make(create: Create, store: &OperatorStore) -> Result<(), CommandError> {
    if create
        .token
        .as_ref()
        .is_some_and(|token| token.len() < MIN_SAFE_TOKEN_LENGTH)
    {
        note(format_args!(
            "warning: a token of fewer than {MIN_SAFE_TOKEN_LENGTH} characters can be guessed"
        ));
    }
    let webhooks = create.webhook.clone().map(EndpointSpec::to);
    let new = NewTenant {
        tenant_id: create.name.clone(),
        account_sid: create.account_sid.clone(),
        token: create.token.clone(),
        settings: TenantSettings {
            timezone: create.timezone.clone(),
            ..TenantSettings::default()
        },
        webhooks: webhooks.into_iter().collect(),
    };
    let made = store.create_tenant(new, Timestamp::now()).await;
    let made = made.map_err(|error| format!("tenant {}: {error}", create.name))?;
    print_created(&create, &made).map_err(|error| {
        error.into_failure(format_args!(
            "tenant {0} was created and its token is lost: create another with `greenpin tenant credential create {0}`",
            create.name
        ))
    })
}

fn print_created(create: &Create, made: &CreatedTenant) -> Result<(), CommandError> {
    if create.json {
        let webhooks: Vec<_> = made
            .webhooks
            .iter()
            .map(|(id, secret)| json!({ "id": id.as_str(), "secret": secret }))
            .collect();
        let line = json!({
            "tenant_id": create.name.as_str(),
            "account_sid": create.account_sid,
            "token": made.token,
            "webhooks": webhooks,
        });
        return print_line(line);
    }
    print_line(format_args!("tenant       {}", create.name))?;
    print_line(format_args!("account SID  {}", create.account_sid))?;
    print_line(format_args!("token        {}", made.token))?;
    for (_, secret) in &made.webhooks {
        print_line(format_args!("webhook      {secret}"))?;
    }
    note("Keep the token and the webhook secret: they are not shown again.");
    Ok(())
}

async fn list(json: bool, store: &OperatorStore) -> Result<(), CommandError> {
    let (mut after, now) = (None, Timestamp::now());
    loop {
        let page = store
            .tenants_after(after, PAGE, now)
            .await
            .map_err(|error| error.to_string())?;
        page.iter()
            .try_for_each(|tenant| print_tenant(tenant, json))?;
        match page.last() {
            Some(last) => after = Some(last.tenant_id.clone()),
            None => return Ok(()),
        }
    }
}

fn print_tenant(tenant: &TenantRecord, json: bool) -> Result<(), CommandError> {
    let created_at = tenant.created_at.rfc3339(&tenant.settings.zone());
    if json {
        let line = json!({
            "tenant_id": tenant.tenant_id.as_str(),
            "timezone": tenant.settings.timezone,
            "numbers": tenant.numbers,
            "created_at": created_at,
            "status": tenant.status.as_str(),
        });
        return print_line(line);
    }
    let status = match tenant.status {
        TenantStatus::Active => String::new(),
        other => format!("  {}", other.as_str()),
    };
    print_line(format_args!(
        "{:<24} {:>6} numbers  {:<20} since {created_at}{status}",
        tenant.tenant_id, tenant.numbers, tenant.settings.timezone
    ))
}

async fn show(target: &ByName, store: &OperatorStore) -> Result<(), CommandError> {
    let now = Timestamp::now();
    let tenant = store
        .tenant(&target.name, now)
        .await
        .map_err(|error| error.to_string())?;
    let tenant =
        tenant.ok_or_else(|| format!("tenant {}: there is no such tenant", target.name))?;
    let active = store
        .active_allocations(&target.name, now)
        .await
        .map_err(|error| error.to_string())?;
    let created_at = tenant.created_at.rfc3339(&tenant.settings.zone());
    if target.json {
        let line = json!({
            "tenant_id": tenant.tenant_id.as_str(),
            "status": tenant.status.as_str(),
            "timezone": tenant.settings.timezone,
            "numbers": tenant.numbers,
            "active_allocations": active,
            "credentials": tenant.credentials,
            "created_at": created_at,
        });
        return print_line(line);
    }
    print_line(format_args!("tenant              {}", tenant.tenant_id))?;
    print_line(format_args!(
        "status              {}",
        tenant.status.as_str()
    ))?;
    print_line(format_args!(
        "time zone           {}",
        tenant.settings.timezone
    ))?;
    print_line(format_args!("numbers             {}", tenant.numbers))?;
    print_line(format_args!("active allocations  {active}"))?;
    print_line(format_args!("live credentials    {}", tenant.credentials))?;
    print_line(format_args!("since               {created_at}"))?;
    Ok(())
}

async fn destinations(change: Destinations, store: &OperatorStore) -> Result<(), CommandError> {
    let (name, json) = (change.target.name.clone(), change.target.json);
    let tenant = store.tenant(&name, Timestamp::now()).await;
    let tenant = tenant.map_err(|error| error.to_string())?;
    let tenant = tenant.ok_or_else(|| format!("tenant {name}: there is no such tenant"))?;
    let mut rules = tenant.settings.destinations;
    if change.is_given() {
        let change = change.into_change();
        change.apply(&mut rules);
        if let Some(prefix) = in_both(&rules.allow, &rules.deny) {
            return Err(format!("{prefix} is both allowed and denied").into());
        }
        let changed = store
            .set_destinations(&name, change, Timestamp::now())
            .await;
        rules = changed.map_err(|error| format!("tenant {name}: {error}"))?;
    }
    print_destinations(&rules, json)
}

fn print_destinations(rules: &DestinationRules, json: bool) -> Result<(), CommandError> {
    if json {
        return print_line(json!(rules));
    }
    let words = |prefixes: &[NumberPrefix]| {
        let words: Vec<String> = prefixes.iter().map(NumberPrefix::to_string).collect();
        words.join(",")
    };
    let limit = rules.max_calls_per_country_hour;
    let limit = limit.map_or("no limit".to_owned(), |limit| limit.to_string());
    print_line(format_args!(
        "allow                       {}",
        words(&rules.allow)
    ))?;
    print_line(format_args!(
        "deny                        {}",
        words(&rules.deny)
    ))?;
    print_line(format_args!("max calls per country hour  {limit}"))
}

impl Destinations {
    fn is_given(&self) -> bool {
        self.allow.is_some() || self.deny.is_some() || self.max_calls_per_country_hour.is_some()
    }

    fn into_change(self) -> DestinationChange {
        let limit = self.max_calls_per_country_hour;
        DestinationChange {
            allow: self.allow.map(|Prefixes(prefixes)| prefixes),
            deny: self.deny.map(|Prefixes(prefixes)| prefixes),
            max_calls_per_country_hour: limit.map(|limit| Some(limit).filter(|limit| *limit > 0)),
        }
    }
}

fn prefixes(text: &str) -> Result<Prefixes, String> {
    let items = text.split(',').filter(|item| !item.is_empty());
    let prefixes: Result<Vec<NumberPrefix>, _> = items.map(str::parse).collect();
    let prefixes = prefixes.map_err(|rule| format!("each prefix {rule}"))?;
    if prefixes.len() > MAX_PREFIXES {
        return Err(format!("must have at most {MAX_PREFIXES} prefixes"));
    }
    Ok(Prefixes(prefixes))
}

async fn erase(
    target: &ByName,
    yes: bool,
    store: &OperatorStore,
    config: &Config,
) -> Result<(), CommandError> {
    if !yes && !confirmed(&target.name)? {
        return Err("nothing was erased".to_owned().into());
    }
    let shelf = open_recordings(config).map_err(|error| error.to_string())?;
    let erased = store
        .erase_tenant(&target.name, &shelf, Timestamp::now)
        .await;
    let receipt = erased.map_err(|error| format!("tenant {}: {error}", target.name))?;
    let utc = |moment: Timestamp| moment.rfc3339(&jiff::tz::TimeZone::UTC);
    if target.json {
        let line = json!({
            "erasure_id": receipt.erasure_id.as_str(),
            "tenant_id": receipt.tenant_id.as_str(),
            "begun_at": utc(receipt.begun_at),
            "finished_at": receipt.finished_at.map(utc),
            "key_destroyed_at": receipt.key_destroyed_at.map(utc),
            "erased": receipt.erased,
        });
        return print_line(line);
    }
    print_line(format_args!("erased    {}", receipt.tenant_id))?;
    print_line(format_args!("receipt   {}", receipt.erasure_id))?;
    print_line(format_args!("begun     {}", utc(receipt.begun_at)))?;
    let finished_at = receipt.finished_at.map(utc).unwrap_or_default();
    print_line(format_args!("finished  {finished_at}"))?;
    let key_destroyed_at = receipt
        .key_destroyed_at
        .map_or_else(|| "not yet: run greenpin key rotate".to_owned(), utc);
    print_line(format_args!("key       {key_destroyed_at}"))?;
    receipt
        .erased
        .iter()
        .try_for_each(|(table, rows)| print_line(format_args!("  {rows:>9} {table}")))
}

/// Asks for the tenant's name as confirmation. Without a terminal, `--yes` is required.
fn confirmed(name: &TenantId) -> Result<bool, String> {
    if !std::io::stdin().is_terminal() {
        return Err("give --yes where nobody can be asked: nothing was erased".to_owned());
    }
    let typed = ask(format_args!(
        "This cannot be undone. Type the tenant's name to erase {name}: "
    ));
    Ok(typed.map_err(|error| error.to_string())? == name.as_str())
}

fn token(text: &str) -> Result<String, String> {
    let valid =
        (1..=256).contains(&text.len()) && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    if valid {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 256 printable ASCII characters without spaces".to_owned())
    }
}

fn timezone(text: &str) -> Result<String, String> {
    match jiff::tz::TimeZone::get(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("must be an IANA time zone, such as Asia/Kolkata".to_owned()),
    }
}

fn webhook(text: &str) -> Result<String, String> {
    canonical_webhook_url(text).ok_or_else(|| WEBHOOK_URL_RULE.to_owned())
}
