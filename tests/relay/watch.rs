//! Changes of other nodes are heard, and our own are told from them.

use maskline::domain::id::TenantId;
use maskline::store::RouteTable;
use maskline::store::watch::{Heard, RouteWatch};
use sqlx::PgConnection;

use crate::support::database;

/// What another node's commit does.
async fn change_elsewhere(connection: &mut PgConnection) {
    sqlx::query(
        "select pg_notify('maskline_routes', 'binding ' || nextval('route_version') || ' 0123')",
    )
    .execute(connection)
    .await
    .expect("notified");
}

#[tokio::test]
async fn another_nodes_change_is_heard_and_our_own_is_known_already() {
    let test = database().await;
    let mut watch = RouteWatch::connect(&test.database.relay).await.expect("listening");
    change_elsewhere(&mut test.superuser().await).await;
    assert_eq!(watch.next().await.expect("heard"), Heard::Change(RouteTable::Binding));

    let mut ours = test.store.tenant(TenantId::new(1, 1)).await.expect("a transaction");
    ours.touch_routes(RouteTable::Agent);
    ours.commit().await.expect("committed");
    assert_eq!(watch.next().await.expect("heard"), Heard::Own);
    assert_eq!(watch.poll().await.expect("polled"), []);
}

#[tokio::test]
async fn a_lost_notification_is_noticed_by_the_second_poll() {
    let test = database().await;
    let mut watch = RouteWatch::connect(&test.database.relay).await.expect("listening");
    let mut elsewhere = test.superuser().await;
    for _ in 0..2 {
        sqlx::query("select nextval('route_version')")
            .execute(&mut elsewhere)
            .await
            .expect("a version that nobody tells of");
    }
    assert_eq!(watch.poll().await.expect("polled"), []);
    assert_eq!(watch.poll().await.expect("polled"), [Heard::Unknown]);
    assert_eq!(watch.poll().await.expect("polled"), []);
}
