//! Two nodes on one database: what ends a binding on one of them ends its calls on the other.

use maskline::app::Running;
use maskline::domain::binding::SuspendReason;
use maskline::domain::cause::Cause;
use maskline::domain::cdr::Cdr;
use maskline::store::binding::{BindingOutcome, CallsUp};

use crate::calls::Bench;
use crate::service::{service, url};
use crate::support::{database, noon};

/// A node with calls, and another one.
struct Two {
    here: Bench,
    there: Running,
}

impl Two {
    async fn new() -> Self {
        let test = database().await;
        let owner = url(&test);
        let here = Bench::on(test, service(&owner).await).await;
        let there = service(&owner).await;
        Self { here, there }
    }

    /// Ends the binding on the other node.
    async fn unbind(&self, calls: CallsUp) {
        let mut tx = self.there.store.tenant(self.here.tenant).await.expect("a transaction");
        let outcome = tx.unbind(noon(), self.here.binding, calls, None).await.expect("unbound");
        assert!(matches!(outcome, BindingOutcome::Changed(_)), "{outcome:?}");
        tx.commit().await.expect("committed");
    }

    async fn suspend(&self, calls: CallsUp) {
        let mut tx = self.there.store.tenant(self.here.tenant).await.expect("a transaction");
        let (binding, reason) = (self.here.binding, SuspendReason::Tenant);
        let outcome = tx.suspend_binding(noon(), binding, reason, calls, None).await;
        assert!(matches!(outcome, Ok(BindingOutcome::Changed(_))), "{outcome:?}");
        tx.commit().await.expect("committed");
    }

    /// The carrier and the PBX are told that a ringing call is over.
    fn ring_off(&self, invite: &str, status: &str) {
        let cancel = self.here.carrier.expect("CANCEL");
        self.here.carrier.answer(&cancel, "200 OK", "");
        self.here.carrier.answer(invite, "487 Request Terminated", "");
        self.here.pbx.expect(&format!("SIP/2.0 {status}"));
    }

    fn hang_up(&self) {
        for peer in [&self.here.carrier, &self.here.pbx] {
            let bye = peer.expect("BYE");
            peer.answer(&bye, "200 OK", "");
        }
    }

    async fn causes(self) -> Vec<Cause> {
        self.there.stop(std::time::Duration::ZERO, Default::default()).await;
        let records = self.here.records().await;
        records.iter().map(|cdr: &Cdr| cdr.cause).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unbind_on_one_node_ends_what_rings_on_another() {
    let two = Two::new().await;
    let invite = two.here.ringing("one");
    two.unbind(CallsUp::GoOn).await;
    two.ring_off(&invite, "404");
    assert_eq!(two.causes().await, [Cause::BindingExpired]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unbind_that_drops_calls_ends_what_talks_on_another_node() {
    let two = Two::new().await;
    two.here.answered("one");
    two.unbind(CallsUp::End).await;
    two.hang_up();
    assert_eq!(two.causes().await, [Cause::BindingExpired]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_that_drops_calls_ends_both_kinds_on_another_node() {
    let two = Two::new().await;
    two.here.answered("one");
    let invite = two.here.ringing("two");
    two.suspend(CallsUp::End).await;
    two.ring_off(&invite, "403");
    two.hang_up();
    assert_eq!(two.causes().await, [Cause::BindingSuspended; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_nobody_told_of_is_found_when_a_node_listens_again() {
    let two = Two::new().await;
    let invite = two.here.ringing("one");
    let mut superuser = two.here.test.superuser().await;
    for sql in [
        "update binding set state = 'released', ended_at = now(), starts_at = null,
             expires_at = null",
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()",
    ] {
        sqlx::query(sql).execute(&mut superuser).await.expect("done");
    }
    two.ring_off(&invite, "404");
    assert_eq!(two.causes().await, [Cause::BindingExpired]);
}
