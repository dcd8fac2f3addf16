//! The database, the master key, and the clock of the database.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::{Duration, Instant};

use super::Context;
use super::clock::judge_database_clock;
use super::deadline::blocking_for;
use super::disk::judge_folder;
use super::finding::{Check, Finding, Judgement};
use crate::config;
use crate::store::{
    Database, DatabaseState, InspectedEndpoint, Inspection, OpenError, SchemaState, StoreError,
    Timestamp, has_key,
};

/// Time limit of all checks of the store: it outlasts the connection to a server that does not answer.
const STORE_TIMEOUT: Duration = Duration::from_secs(12);
/// Time of a read from which on it is a warning: each step of a call waits for several.
const SLOW_READ: Duration = Duration::from_millis(50);
/// Time of a read that callers do not wait for.
const TOO_SLOW_READ: Duration = Duration::from_secs(1);
/// Maximum number of webhook endpoints that are read, to count those that are not examined.
const MAX_READ_ENDPOINTS: u32 = 10_000;
/// Number of reads of which the fastest counts.
const READS: u32 = 3;

/// Webhook endpoints in the store, or why they are not known.
pub(super) type Endpoints = Result<Vec<InspectedEndpoint>, String>;

/// Examines the store, and returns its webhook endpoints.
pub(super) async fn examine(context: &Context) -> (Vec<Finding>, Endpoints) {
    let store = context.config.store.clone();
    let subject = store.database.to_string();
    let examined = blocking_for(STORE_TIMEOUT, move || StoreCheck::new(&store).run()).await;
    examined.unwrap_or_else(|| {
        let reason = format!("no answer within {} s", STORE_TIMEOUT.as_secs());
        let remedy = "check the database server, or the disk of the file";
        let unknown = "the store does not answer";
        let findings = vec![
            Finding::fault(Check::Store, subject, reason, remedy),
            Finding::not_checked(Check::KeyFile, "master key", unknown, remedy),
        ];
        (findings, Err(unknown.to_owned()))
    })
}

/// Check of the store, on a thread that may block.
struct StoreCheck<'a> {
    store: &'a config::Store,
    subject: String,
    key: String,
    findings: Vec<Finding>,
}

impl<'a> StoreCheck<'a> {
    fn new(store: &'a config::Store) -> Self {
        Self {
            store,
            subject: store.database.to_string(),
            key: store.key_file.display().to_string(),
            findings: Vec::new(),
        }
    }

    fn run(mut self) -> (Vec<Finding>, Endpoints) {
        let endpoints = match &self.store.database {
            Database::File(file) => match fs::metadata(file) {
                Ok(found) if !found.is_file() => self.on_no_file(),
                Ok(found) if found.len() > 0 => {
                    self.check_writable(file);
                    self.inspect()
                }
                _ => self.on_first_start(Some(file)),
            },
            Database::Server(_) => self.inspect(),
        };
        (self.findings, endpoints)
    }

    fn add(&mut self, check: Check, judgement: Judgement) {
        let subject = match check {
            Check::KeyFile => &self.key,
            _ => &self.subject,
        };
        self.findings.push(judgement.on(check, subject));
    }

    fn on_no_file(&mut self) -> Endpoints {
        let judgement = Judgement::Fault(
            "it is a folder or a device".to_owned(),
            "name a file in store.url".to_owned(),
        );
        self.add(Check::Store, judgement);
        self.skip_key("the database cannot be used");
        Err("the database cannot be used".to_owned())
    }

    fn skip_key(&mut self, why: &str) {
        let remedy = "correct the store first";
        self.add(
            Check::KeyFile,
            Judgement::Warning(format!("not checked: {why}"), remedy.to_owned()),
        );
    }

    /// Judges a store without data. `file`: the database, unless a server holds it.
    fn on_first_start(&mut self, file: Option<&Path>) -> Endpoints {
        let made = "it will be made at the first start";
        let judgement = match file {
            Some(file) => judge_folder(crate::crypto::private_folder::of(file), made),
            None => Judgement::Ok(format!("empty: {made}")),
        };
        self.add(Check::Store, judgement);
        let key_file = &self.store.key_file;
        let judgement = match has_key(key_file) {
            Ok(true) => Judgement::Ok("ready for a new database".to_owned()),
            Ok(false) => judge_folder(crate::crypto::private_folder::of(key_file), made),
            Err(error) => key_fault(&error),
        };
        self.add(Check::KeyFile, judgement);
        Ok(Vec::new())
    }

    /// Notes a fault for a file that this user cannot write. Before SQLite opens the file: a handle that is closed
    /// ends the locks of the process.
    fn check_writable(&mut self, file: &Path) {
        let opened = OpenOptions::new().write(true).open(file);
        if let Err(error) = opened {
            let judgement = Judgement::Fault(
                format!("cannot be written: {error}"),
                "give the file to the user of the server, on a file system that can be written"
                    .to_owned(),
            );
            self.add(Check::Store, judgement);
        }
        let folder = crate::crypto::private_folder::of(file);
        if let judgement @ Judgement::Fault(..) = judge_folder(folder, "") {
            self.add(Check::Store, judgement);
        }
    }

    fn inspect(&mut self) -> Endpoints {
        let started = Instant::now();
        let opened = Inspection::open(&self.store.database, self.store.tls_ca.as_deref());
        let inspection = match opened {
            Ok(inspection) => inspection,
            Err(error) => return self.fail(&error),
        };
        let connected = started.elapsed();
        let schema = match inspection.schema() {
            Ok(schema) => schema,
            Err(error) => return self.fail(&error),
        };
        if let Err(error) = self.check_server(&inspection, connected) {
            return self.fail(&error);
        }
        match schema {
            SchemaState::Empty => self.on_first_start(None),
            SchemaState::Older(version) => {
                let judgement = Judgement::Warning(
                    format!("schema version {version} is older: the next start migrates it"),
                    "back the database up before the start (greenpin backup)".to_owned(),
                );
                self.add(Check::Store, judgement);
                self.check_key_of_older_schema();
                Err("the schema is older than this version".to_owned())
            }
            SchemaState::Current(version) => {
                self.check_reads(&inspection, version);
                self.read_endpoints(&inspection)
            }
        }
    }

    fn fail(&mut self, error: &OpenError) -> Endpoints {
        self.add(Check::Store, store_fault(error));
        self.skip_key("the store cannot be read");
        Err("the store cannot be read".to_owned())
    }

    /// Notes version and clock of a database server.
    fn check_server(
        &mut self,
        inspection: &Inspection,
        connected: Duration,
    ) -> Result<(), OpenError> {
        let asked = Timestamp::now();
        if let Some(server) = inspection.server()? {
            let milliseconds = connected.as_millis();
            let reason = format!(
                "PostgreSQL {}, connected in {milliseconds} ms",
                server.version
            );
            let subject = format!("{}: server", self.subject);
            self.findings
                .push(Finding::ok(Check::Store, subject, reason));
            let judgement = judge_database_clock(server.clock, asked, Timestamp::now());
            self.add(Check::Clock, judgement);
        }
        Ok(())
    }

    fn check_reads(&mut self, inspection: &Inspection, version: i64) {
        let mut fastest = Duration::MAX;
        for _ in 0..READS {
            let started = Instant::now();
            if let Err(error) = inspection.read_one_row() {
                return self.add(Check::Store, store_fault(&OpenError::Store(error)));
            }
            fastest = fastest.min(started.elapsed());
        }
        self.add(Check::Store, judge_read(fastest, version));
        if matches!(self.store.database, Database::File(_)) {
            let judgement = match inspection.has_event_after(Timestamp::now() + SKEW) {
                Ok(false) => Judgement::Ok("no event in the future".to_owned()),
                Ok(true) => Judgement::Fault(
                    "the last event is in the future: the clock of this machine was set back"
                        .to_owned(),
                    "synchronise the clock of this machine (NTP)".to_owned(),
                ),
                Err(error) => Judgement::Warning(
                    format!("not checked: {error}"),
                    "correct the store first".to_owned(),
                ),
            };
            self.add(Check::Clock, judgement);
        }
    }

    /// Checks the master key, and reads the endpoints with it.
    fn read_endpoints(&mut self, inspection: &Inspection) -> Endpoints {
        let keys = match inspection.keys(&self.store.key_file) {
            Ok(keys) => keys,
            Err(error) => {
                self.add(Check::KeyFile, key_fault(&error));
                return Err("the master key cannot be used".to_owned());
            }
        };
        self.add(Check::KeyFile, judge_rotation(inspection.is_rotating()));
        let endpoints = inspection.endpoints(&keys, MAX_READ_ENDPOINTS);
        endpoints.map_err(|error| error.to_string())
    }

    fn check_key_of_older_schema(&mut self) {
        let Database::File(file) = &self.store.database else {
            return self.skip_key("the schema is older than this version");
        };
        let state = DatabaseState::read(file);
        let check = state.map(|state| state.key_check);
        let judgement = match check
            .map(|check| check.map(|check| check.matches(&self.store.key_file)))
        {
            Ok(Some(Ok(Some(true)))) => Judgement::Ok("it is the key of the database".to_owned()),
            Ok(Some(Ok(Some(false)))) => key_fault(&OpenError::OtherKey),
            Ok(Some(Ok(None))) => key_fault(&OpenError::MissingKey {
                path: self.store.key_file.clone(),
                database: self.subject.clone(),
            }),
            Ok(Some(Err(error))) | Err(error) => key_fault(&error),
            Ok(None) => return self.skip_key("the database has no key yet"),
        };
        self.add(Check::KeyFile, judgement);
    }
}

/// Time by which an event may be ahead of the clock.
const SKEW: Duration = Duration::from_secs(30);

fn judge_read(fastest: Duration, version: i64) -> Judgement {
    let reason = format!(
        "schema version {version}; a read takes {:.1} ms",
        fastest.as_secs_f64() * 1000.0
    );
    let remedy =
        "move the database nearer: each step of a call waits for it, and callers wait 3 s at most";
    match fastest {
        _ if fastest >= TOO_SLOW_READ => Judgement::Fault(reason, remedy.to_owned()),
        _ if fastest >= SLOW_READ => Judgement::Warning(reason, remedy.to_owned()),
        _ => Judgement::Ok(reason),
    }
}

/// Judges a master key that fits. `is_rotating`: its replacement has begun and not ended.
fn judge_rotation(is_rotating: Result<bool, StoreError>) -> Judgement {
    let reason = "it is the key of the database, and others cannot use it";
    match is_rotating {
        Ok(true) => Judgement::Warning(
            "a rotation of the master key is under way".to_owned(),
            "run greenpin key rotate again until it has finished, and keep all key files"
                .to_owned(),
        ),
        Ok(false) | Err(_) => Judgement::Ok(reason.to_owned()),
    }
}

/// Judges an error of the database, whose text names the fault.
fn store_fault(error: &OpenError) -> Judgement {
    let remedy = match error {
        OpenError::NewerSchema { .. } => "start the version that wrote it, or a newer one",
        OpenError::UnfinishedMove => "run the same greenpin store move again",
        OpenError::OlderSchema { .. } => "name a new database in store.url",
        OpenError::Trust(_) => "correct store.tls_ca",
        OpenError::Encoding(_) => "create the database with ENCODING 'UTF8'",
        OpenError::PooledSessions => "name the server itself in store.url",
        OpenError::NoAnswer | OpenError::Server(_) => {
            "check store.url, and that the database server runs and accepts this machine and user"
        }
        _ => "name a database of greenpin in store.url, or restore it from a backup",
    };
    Judgement::Fault(error.to_string(), remedy.to_owned())
}

/// Judges an error of the master key, whose text names the fault.
fn key_fault(error: &OpenError) -> Judgement {
    let remedy = match error {
        OpenError::ExposedKey { path, .. } => format!("run chmod 600 {}", path.display()),
        OpenError::MissingKey { .. } => {
            "restore the key file from its backup, or correct store.encryption_key_file".to_owned()
        }
        OpenError::OtherKey => {
            "copy the key file of this database here, or correct store.encryption_key_file"
                .to_owned()
        }
        _ => "correct store.encryption_key_file, or the owner of the file".to_owned(),
    };
    Judgement::Fault(error.to_string(), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_read_is_a_warning_and_a_very_slow_one_a_fault() {
        let judged = |milliseconds| judge_read(Duration::from_millis(milliseconds), 118);
        assert_eq!(
            judged(2),
            Judgement::Ok("schema version 118; a read takes 2.0 ms".to_owned())
        );
        assert!(matches!(judged(50), Judgement::Warning(..)));
        assert!(matches!(judged(1000), Judgement::Fault(..)));
    }

    #[test]
    fn a_rotation_under_way_is_a_warning() {
        assert!(matches!(judge_rotation(Ok(true)), Judgement::Warning(..)));
        assert!(matches!(judge_rotation(Ok(false)), Judgement::Ok(_)));
    }

    #[test]
    fn each_error_of_key_and_store_has_its_remedy() {
        let exposed = OpenError::ExposedKey {
            path: "master.key".into(),
            mode: 0o644,
        };
        let Judgement::Fault(reason, remedy) = key_fault(&exposed) else {
            panic!("a fault");
        };
        assert!(reason.contains("0644") && remedy == "run chmod 600 master.key");
        let newer = OpenError::NewerSchema {
            found: 999,
            known: 118,
        };
        let Judgement::Fault(reason, remedy) = store_fault(&newer) else {
            panic!("a fault");
        };
        assert!(reason.contains("999") && remedy.contains("newer"));
    }
}
