//! Servers that go away.

use crate::place::Place;
use crate::records::{NOW, attempt, attempts};
use std::time::Duration;
use thresh_coordinator::store::{Location, SqlStore, Store, StoreError};
use thresh_core::fault::Fault;
use thresh_core::outcome::Outcome;
use thresh_tests::postgres::Postgres;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(60);

async fn open(server: &Postgres) -> SqlStore {
    let location: Location = server.url().parse().unwrap();
    SqlStore::open(location).await.unwrap()
}

#[tokio::test]
async fn a_server_that_goes_and_comes_back_is_used_again() {
    let mut server = Postgres::start();
    let store = open(&server).await;
    let batch = attempts(vec![attempt("a", Outcome::Passed, 1, NOW)]);
    store.record(&batch).await.unwrap();
    store.journal(1, &[]).await.unwrap();

    server.stop();
    for error in [
        store.record(&batch).await.unwrap_err(),
        store.journal(1, &[]).await.unwrap_err(),
        SqlStore::open(server.url().parse::<Location>().unwrap())
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
        assert!(error.is_transient() && error.fault() == Fault::Environment);
        assert!(
            error
                .to_string()
                .starts_with("reach postgres://localhost/postgres: "),
            "{error}"
        );
    }

    server.resume();
    store.journal(1, &[]).await.unwrap();
    store.record(&batch).await.unwrap();
    assert_eq!(store.history("p", &[], 0).await.unwrap()[0].attempts, 2);
}

#[tokio::test]
async fn who_leads_learns_that_the_server_is_gone_and_waits_for_it() {
    let mut server = Postgres::start();
    let store = open(&server).await;
    let first = store.lead().await.unwrap();
    server.stop();
    timeout(LIMIT, first.lost()).await.unwrap();
    let again = tokio::spawn(async move { (store.lead().await.unwrap(), store) });
    server.resume();
    let (second, store) = timeout(LIMIT, again).await.unwrap().unwrap();
    assert!(second.epoch() > first.epoch());
    let late = store.journal(first.epoch(), &[]).await.unwrap_err();
    assert!(matches!(late, StoreError::Superseded { .. }), "{late}");
    store.journal(second.epoch(), &[]).await.unwrap();
}

#[tokio::test]
async fn a_server_that_only_reads_is_named() {
    let place = Place::postgres();
    let store = place.open().await;
    store.close().await;
    place
        .execute(
            "",
            "ALTER DATABASE postgres SET default_transaction_read_only = on",
        )
        .await;
    let store = place.open().await;
    let batch = attempts(vec![attempt("a", Outcome::Passed, 1, NOW)]);
    let error = store.record(&batch).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_wrong_url_is_the_users_fault_and_a_missing_database_is_named() {
    let error = SqlStore::open(Location::Postgres("postgres://[".into()))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Url { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Input);

    let server = Postgres::start();
    let missing = server.url().replace("/postgres?", "/nowhere?");
    let error = SqlStore::open(Location::Postgres(missing)).await.unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }), "{error}");
    assert!(error.to_string().contains("nowhere"), "{error}");
}
