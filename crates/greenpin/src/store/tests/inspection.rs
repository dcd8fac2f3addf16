//! Look at a database without any change.

use super::*;
use crate::store::core::statement::{Rows, Statement};

const REMOVE_VERSIONS: &Statement = &Statement::new(
    "REMOVE_VERSIONS",
    "DELETE FROM schema_version WHERE version > 117",
    Rows::Any,
);

/// Runs an inspection on a thread that may block.
async fn inspect<T: Send + 'static>(
    bench: &Bench,
    look: impl FnOnce(&Inspection, &StoreOptions) -> T + Send + 'static,
) -> T {
    let options = bench.options.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let inspection = Inspection::open(&options.database, None).unwrap();
        look(&inspection, &options)
    });
    looked.await.unwrap()
}

#[tokio::test]
async fn an_inspection_reads_schema_keys_and_endpoints_and_cannot_write() {
    let bench = Bench::new().await;
    let hooks = ["https://one.example/", "https://two.example/"];
    let hooks = hooks.map(EndpointSpec::to).to_vec();
    let made = bench
        .tenant
        .update_settings(|_| (), Some(hooks), bench.start);
    made.await.unwrap();
    let is_server = module_path!().contains("on_postgresql");
    inspect(&bench, move |inspection, options| {
        let schema = inspection.schema().unwrap();
        assert!(matches!(schema, SchemaState::Current(118..)), "{schema:?}");
        assert!(inspection.read_one_row().is_ok());
        assert_eq!(inspection.server().unwrap().is_some(), is_server);
        assert!(!inspection.is_rotating().unwrap());
        assert!(has_key(&options.key_file).unwrap());
        let keys = inspection.keys(&options.key_file).unwrap();
        let endpoints = inspection.endpoints(&keys, 10).unwrap();
        assert_eq!(endpoints.len(), 2);
        assert!(endpoints.iter().all(|endpoint| endpoint.has_secret
            && !endpoint.paused
            && endpoint.tenant_id.as_str() == "acme"));
        let bounded = inspection.endpoints(&keys, 1).unwrap();
        assert_eq!(bounded.len(), 1, "a read is bounded");
        assert!(inspection.try_write(REMOVE_VERSIONS).is_err());
        assert_eq!(inspection.schema().unwrap(), schema);
    })
    .await;
}

#[tokio::test]
async fn an_inspection_tells_events_of_the_future_and_another_key() {
    let bench = Bench::new().await;
    bench.create(EXCLUSIVE, 0).await.unwrap();
    let (before, after) = (bench.at(0), bench.at(2));
    inspect(&bench, move |inspection, options| {
        let moment = |moment: Timestamp| Timestamp::from_micros(moment.micros() - 1_000_000);
        assert!(inspection.has_event_after(moment(before)).unwrap());
        assert!(!inspection.has_event_after(after).unwrap());
        let foreign = options.key_file.with_file_name("foreign.key");
        assert!(!has_key(&foreign).unwrap());
        let missing = inspection.keys(&foreign).err();
        assert!(matches!(missing, Some(OpenError::MissingKey { .. })));
        private_key(&foreign);
        let other = inspection.keys(&foreign).err();
        assert!(matches!(other, Some(OpenError::OtherKey)), "{other:?}");
    })
    .await;
}

fn private_key(path: &std::path::Path) {
    use std::io::Write as _;
    let mut file = crate::crypto::private_folder::create_file(path).unwrap();
    file.write_all(&[7; 32]).unwrap();
}

#[tokio::test]
async fn an_inspection_makes_neither_a_database_nor_tables() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(&folder);
    let looked = tokio::task::spawn_blocking(move || {
        let Ok(inspection) = Inspection::open(&options.database, None) else {
            return matches!(options.database, Database::File(_));
        };
        let first = inspection.schema().unwrap();
        let again = Inspection::open(&options.database, None).unwrap();
        (first, again.schema().unwrap()) == (SchemaState::Empty, SchemaState::Empty)
    });
    assert!(looked.await.unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
