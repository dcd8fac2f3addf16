//! `greenpin demo`: one masked call on this machine, with a real server on a temporary store and
//! two built-in phones on loopback.

mod inbox;
mod parties;
mod progress;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use call::PhoneNumber;
use clap::Args;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::progress::Progress;
use super::output::{exit_code, fail};
use crate::calls::sip::Listen;
use crate::config::{Config, Trunk};
use crate::server::Server;
use crate::server::local_client;
use crate::store::Database;
use crate::store::{
    EndpointSpec, NewNumber, NewTenant, NumberMode, TenantId, TenantSettings, Timestamp,
};
use inbox::Inbox;
use parties::{AGENT_TONE, CALLER_TONE, Customer};

const VIRTUAL_NUMBER: &str = "+914000000001";
/// A shared number: it takes as many allocations as a newcomer tries.
const SHARED_NUMBER: &str = "+914000000002";
const AGENT: &str = "+919900000001";
const CUSTOMER: &str = "+918800000001";
const TENANT: &str = "demo";
/// Time limit of one step.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Args)]
pub(super) struct Arguments {
    /// Leave the server up after the last step, and print how to reach it
    #[arg(long)]
    keep: bool,
    /// Print each step as a line of JSON
    #[arg(long)]
    json: bool,
}

/// A step that was not seen.
struct MissingStep {
    step: &'static str,
    reason: String,
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    let mut progress = Progress::start(arguments.json);
    let mut demo = match Demo::set_up(&mut progress).await {
        Ok(demo) => demo,
        Err(MissingStep { step, reason }) => {
            progress.failed(step, &reason);
            return ExitCode::FAILURE;
        }
    };
    let pin = demo.run_steps(&mut progress).await;
    match &pin {
        Err(MissingStep { step, reason }) => progress.failed(step, reason),
        Ok(pin) => {
            progress.end();
            if arguments.keep && progress.is_printed() {
                if let Err(error) = demo.write_configuration() {
                    return fail(error);
                }
                demo.stay(&mut progress, pin).await;
            }
        }
    }
    demo.server.stop(Duration::from_secs(1)).await;
    if let Err(error) = demo.folder.close() {
        return fail(error);
    }
    if pin.is_ok() {
        exit_code(progress.finish())
    } else {
        ExitCode::FAILURE
    }
}

/// Database in the folder of the demo.
const DATABASE: &str = "greenpin.db";
/// Key file in the folder of the demo.
const KEY_FILE: &str = "master.key";

struct Demo {
    folder: TempDir,
    server: Server,
    client: reqwest::Client,
    account_sid: &'static str,
    token: String,
    inbox: Inbox,
}

impl Demo {
    /// Starts a server on free ports with this machine as its only trunk, and creates a tenant,
    /// numbers and a webhook receiver.
    async fn set_up(progress: &mut Progress) -> Result<Self, MissingStep> {
        let missing = |reason: String| MissingStep {
            step: "server",
            reason,
        };
        let agent = parties::agent().await.map_err(missing)?;
        let folder = tempfile::tempdir().map_err(|error| missing(error.to_string()))?;
        let config = configuration(&folder, agent.address());
        let server = Server::start(&config)
            .await
            .map_err(|error| missing(error.to_string()))?;
        let (http, sip) = (server.http, server.sip);
        let text = format!("server is up: API on http://{http}, SIP on {sip}, a temporary store");
        progress.seen("server", &text, &json!({ "http": http, "sip": sip }));
        let inbox = Inbox::open(agent).await.map_err(missing)?;
        let client = local_client::builder().build();
        let client = client.map_err(|error| missing(error.to_string()))?;
        let mut demo = Self {
            folder,
            server,
            client,
            account_sid: "AC-demo",
            token: String::new(),
            inbox,
        };
        demo.make_tenant(progress)
            .await
            .map_err(|reason| MissingStep {
                step: "tenant",
                reason,
            })?;
        Ok(demo)
    }

    async fn make_tenant(&mut self, progress: &mut Progress) -> Result<(), String> {
        let tenant = TenantId::parse(TENANT).ok_or("the demo's tenant has a bad name")?;
        let webhook = EndpointSpec::to(self.inbox.url());
        let new = NewTenant {
            tenant_id: tenant.clone(),
            account_sid: self.account_sid.to_owned(),
            token: None,
            settings: TenantSettings::default(),
            webhooks: vec![webhook],
        };
        let made = self
            .server
            .store
            .create_tenant(new, Timestamp::now())
            .await
            .map_err(|error| error.to_string())?;
        self.token = made.token;
        self.inbox.set_secret(
            made.webhooks
                .into_iter()
                .next()
                .map(|(_, secret)| secret)
                .unwrap_or_default(),
        );
        self.add_number(&tenant, VIRTUAL_NUMBER, NumberMode::Exclusive)
            .await?;
        self.add_number(&tenant, SHARED_NUMBER, NumberMode::Shared)
            .await?;
        let text =
            format!("tenant \"{TENANT}\" has the virtual number {VIRTUAL_NUMBER} and a webhook");
        progress.seen(
            "tenant",
            &text,
            &json!({ "tenant": TENANT, "virtual_number": VIRTUAL_NUMBER }),
        );
        Ok(())
    }

    async fn add_number(
        &self,
        tenant: &TenantId,
        number: &str,
        mode: NumberMode,
    ) -> Result<(), String> {
        let (pin_length, max_active) = match mode {
            NumberMode::Exclusive => (4, 1),
            NumberMode::Shared => (6, 1000),
        };
        let number = NewNumber {
            virtual_number: PhoneNumber::parse(number).map_err(|error| error.to_string())?,
            mode,
            pin_length,
            max_active,
        };
        let added = self
            .server
            .store
            .add_number(tenant.clone(), number, Timestamp::now());
        added.await.map_err(|error| error.to_string())
    }

    /// Runs every step; returns the PIN of the allocation.
    async fn run_steps(&mut self, progress: &mut Progress) -> Result<String, MissingStep> {
        let allocation = step("allocation", self.allocate()).await?;
        let pin = text_of(&allocation, "pin");
        let id = text_of(&allocation, "greenpin_id");
        let text = format!(
            "POST /v1/tenants/{TENANT}/greenpin → 201, PIN {pin}: customer {CUSTOMER} may reach agent {AGENT}"
        );
        progress.seen("allocation", &text, &allocation);

        let sip = self.server.sip;
        let mut customer = step("call", Customer::call(sip, CUSTOMER, VIRTUAL_NUMBER)).await?;
        progress.seen(
            "call",
            "the customer calls the virtual number, and is answered",
            &json!({}),
        );
        step("prompt", customer.wait_for_prompt()).await?;
        progress.seen("prompt", "hears \"Please enter your PIN\"", &json!({}));

        customer.press(if pin == "0000" { "1111" } else { "0000" });
        step("wrong_pin", self.inbox.event("call.pin_failed")).await?;
        step("wrong_pin", customer.wait_for_prompt()).await?;
        progress.seen(
            "wrong_pin",
            "keys in a wrong PIN: it is counted, and asked for again",
            &json!({}),
        );

        customer.press(&pin);
        step("right_pin", self.inbox.event("call.pin_accepted")).await?;
        progress.seen("right_pin", "keys in the right PIN", &json!({}));
        let shown = step("ringing", self.inbox.agent_rings()).await?;
        let text = format!("the agent's phone rings and shows {shown}, not the customer's number");
        if shown != VIRTUAL_NUMBER {
            return Err(MissingStep {
                step: "ringing",
                reason: "the agent was shown another number".to_owned(),
            });
        }
        progress.seen("ringing", &text, &json!({ "shown": shown }));
        self.talk(progress, &mut customer).await?;
        let terminal = step("webhook", self.inbox.event("call.completed")).await?;
        self.check_recording(progress, &terminal).await?;
        let text = "the webhook brought call.completed, and its signature is right";
        progress.seen("webhook", text, &terminal);
        step("record", self.call_counted(&id)).await?;
        progress.seen(
            "record",
            "GET /greenpin/{id} counts one call and one wrong PIN",
            &json!({}),
        );
        Ok(pin)
    }

    async fn talk(
        &mut self,
        progress: &mut Progress,
        customer: &mut Customer,
    ) -> Result<(), MissingStep> {
        step("answer", self.inbox.event("call.answered")).await?;
        progress.seen(
            "answer",
            "the agent answers, and both are connected",
            &json!({}),
        );
        customer.play_tone();
        step("audio", customer.wait_for_tone(AGENT_TONE)).await?;
        step("audio", self.inbox.agent_receives_tone()).await?;
        let text =
            format!("both hear each other: {CALLER_TONE} Hz one way, {AGENT_TONE} Hz the other");
        progress.seen(
            "audio",
            &text,
            &json!({ "from_customer_hz": CALLER_TONE, "from_agent_hz": AGENT_TONE }),
        );
        step("recorded", customer.continue_for_recording()).await?;
        customer.hang_up();
        progress.seen("hang_up", "the customer hangs up", &json!({}));
        Ok(())
    }

    async fn allocate(&self) -> Result<Value, String> {
        let body = json!({
            "caller_id_number": VIRTUAL_NUMBER,
            "from": AGENT,
            "to": CUSTOMER,
            "duration": 3600,
            "record": true,
            "custom_field": "order_id=12345",
        });
        let request = self.client.post(self.url("/greenpin")).json(&body);
        self.answer(request, 201).await
    }

    /// Checks the counters of the allocation after the call.
    async fn call_counted(&self, id: &str) -> Result<(), String> {
        let shown = self
            .answer(self.client.get(self.url(&format!("/greenpin/{id}"))), 200)
            .await?;
        let counted = (shown.get("call_count"), shown.get("failed_pin_attempts"));
        if counted == (Some(&json!(1)), Some(&json!(1))) {
            Ok(())
        } else {
            Err(format!("it says {shown}"))
        }
    }

    async fn answer(
        &self,
        request: reqwest::RequestBuilder,
        expected: u16,
    ) -> Result<Value, String> {
        let request = request.basic_auth(self.account_sid, Some(&self.token));
        let response = request.send().await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let mut body: Value = response.json().await.map_err(|error| error.to_string())?;
        if status != expected {
            return Err(format!("the API answered {status}: {body}"));
        }
        Ok(body.get_mut("response").map(Value::take).unwrap_or(body))
    }

    async fn check_recording(
        &self,
        progress: &mut Progress,
        terminal: &Value,
    ) -> Result<(), MissingStep> {
        let sid = terminal
            .pointer("/data/call_sid")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let path = format!("/calls/{sid}/recording");
        let fetched = step("recording", self.fetch(&path)).await?;
        let sides = parties::tones_of(&fetched).map_err(|reason| MissingStep {
            step: "recording",
            reason,
        })?;
        if sides != (true, true) {
            let reason = "the parties are not each in a channel of their own".to_owned();
            return Err(MissingStep {
                step: "recording",
                reason,
            });
        }
        let text = format!(
            "the recording has {} kB, the customer left and the agent right",
            fetched.len() / 1024
        );
        progress.seen("recording", &text, &json!({ "bytes": fetched.len() }));
        Ok(())
    }

    async fn fetch(&self, path: &str) -> Result<Vec<u8>, String> {
        let request = self
            .client
            .get(self.url(path))
            .basic_auth(self.account_sid, Some(&self.token));
        let response = request.send().await.map_err(|error| error.to_string())?;
        if !response.status().is_success() {
            return Err(format!("the API answered {}", response.status()));
        }
        Ok(response
            .bytes()
            .await
            .map_err(|error| error.to_string())?
            .to_vec())
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/v1/tenants/{TENANT}{path}", self.server.http)
    }

    /// Returns the configuration file for commands beside the demo.
    fn configuration_file(&self) -> PathBuf {
        self.folder.path().join("greenpin.toml")
    }

    /// Writes a configuration with the store of the demo, so that commands find its records.
    fn write_configuration(&self) -> std::io::Result<()> {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let text = format!(
            "[store]\nurl = {:?}\nencryption_key_file = {:?}\n",
            format!("sqlite:{}", path(DATABASE)),
            path(KEY_FILE)
        );
        std::fs::write(self.configuration_file(), text)
    }

    /// Leaves everything up until Ctrl-C, and prints commands that work meanwhile.
    async fn stay(&self, progress: &mut Progress, pin: &str) {
        let program = std::env::args_os().next();
        let program = program.unwrap_or_else(|| "greenpin".into());
        let program = program.display();
        let (api, sip) = (self.url(""), self.server.sip);
        let (account, token) = (self.account_sid, &self.token);
        let config = self.configuration_file();
        let config = config.display();
        let console = api.split("/v1/").next().unwrap_or_default().to_owned() + "/console";
        let text = format!(
            "\nThe server stays up until Ctrl-C.\n  console  {console}\n  API      {api}\n  account  {account}\n  token    {token}\n  SIP      {sip}\n  CONFIG   {config}\n\n\
             Try, in another terminal:\n  \
             # call again with the same PIN: the agent's phone answers\n  \
             {program} call {VIRTUAL_NUMBER} --from {CUSTOMER} --pin {pin} --server {sip} --duration 3 --config {config}\n  \
             # allocate a PIN on a shared number\n  \
             curl -u {account}:{token} {api}/greenpin -H 'content-type: application/json' \
             -d '{{\"caller_id_number\":\"{SHARED_NUMBER}\",\"from\":\"{AGENT}\"}}'\n  \
             # read the call records\n  \
             curl -u {account}:{token} {api}/calls"
        );
        let facts = json!({ "console": console, "api": api, "account_sid": account, "token": token, "sip": sip, "pin": pin,
                "config": config.to_string() });
        progress.staying(&text, &facts);
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Waits for a step, at most [`STEP_TIMEOUT`].
async fn step<T>(
    name: &'static str,
    seen: impl Future<Output = Result<T, String>>,
) -> Result<T, MissingStep> {
    let missing = |reason| MissingStep { step: name, reason };
    match tokio::time::timeout(STEP_TIMEOUT, seen).await {
        Ok(seen) => seen.map_err(missing),
        Err(_) => Err(missing(format!(
            "not seen within {} s",
            STEP_TIMEOUT.as_secs()
        ))),
    }
}

fn text_of(value: &Value, key: &str) -> String {
    value
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn configuration(folder: &TempDir, agent: SocketAddr) -> Config {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let defaults = Config::default();
    let mut config = defaults;
    config.http.listen = anywhere;
    config.store.database = Database::File(folder.path().join(DATABASE));
    config.store.key_file = folder.path().join(KEY_FILE);
    let transports = [signalling::Transport::Udp, signalling::Transport::Tcp];
    config.sip.listen = transports
        .map(|transport| Listen {
            transport,
            address: anywhere,
        })
        .to_vec();
    config.sip.public_address = anywhere.ip();
    config.recordings.folder = folder.path().join("recordings");
    config.webhooks_allow_private = true;
    let sip = signalling::Trunk {
        peer: Some(signalling::TrunkPeer::at(signalling::Transport::Udp, agent)),
        accept_from: vec![signalling::Network {
            address: anywhere.ip(),
            prefix: 32,
        }],
        ..signalling::Trunk::default()
    };
    config.trunks = vec![Trunk {
        name: "loopback".to_owned(),
        sip,
        ..Trunk::default()
    }];
    config
}
