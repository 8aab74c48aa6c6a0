//! Test mode through the running service: the calls of a test tenant reach the peer within the
//! process and nobody else, and those of all others never reach it.

use std::time::Duration;

use maskline::app::{RootKeyFile, start};
use maskline::domain::cause::Cause;
use maskline::domain::cdr::Cdr;
use maskline::domain::number::RealNumber;
use maskline::domain::whisper::WhisperPolicy;
use maskline::store::PageRequest;
use maskline::store::subscriber::NumberChange;

use crate::calls::{Bench, X};
use crate::peers::header;
use crate::service::{settings, url};
use crate::support::{database, noon};

impl Bench {
    /// The tenant becomes one for tests, though no operation can do that.
    async fn become_a_test(&self) {
        let mut superuser = self.test.superuser().await;
        let marked = sqlx::query("update tenant set is_test = true");
        assert_eq!(marked.execute(&mut superuser).await.expect("marked").rows_affected(), 1);
        self.running.relay.forget_tenant(self.tenant);
    }

    /// Gives the subscriber another number.
    async fn move_to(&self, number: &str) {
        let number = RealNumber::parse(number).expect("a number");
        let store = &self.running.store;
        let mut tx = store.tenant(self.tenant).await.expect("a transaction");
        let all = tx.list_subscribers(PageRequest::new(1, None)).await.expect("a list").items;
        let id = all.first().expect("one of them").id;
        let change = tx.replace_number(noon(), id, &number, None).await.expect("an answer");
        assert!(matches!(change, NumberChange::Changed(_)), "{change:?}");
        tx.commit().await.expect("committed");
        self.running.relay.forget_tenant(self.tenant);
    }

    /// Calls whoever is behind this number, and says what comes of it in the end.
    async fn ends_in(&self, number: &str, status: &str) {
        self.move_to(number).await;
        self.pbx.invite("4821", X, number);
        let end = self.pbx.expect(&format!("SIP/2.0 {status}"));
        assert_eq!(header(&end, "Call-ID"), number);
        if status == "200" {
            assert!(end.contains("m=audio"), "{end}");
            self.pbx.follow_up("ACK", 1, &end, number);
        }
    }
}

fn causes(records: &[Cdr]) -> Vec<Cause> {
    records.iter().map(|cdr| cdr.cause).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_magic_number_behaves_in_its_own_way_and_no_trunk_hears_of_it() {
    let bench = Bench::new().await;
    bench.become_a_test().await;
    bench.ends_in("+8613800000002", "486").await;
    bench.ends_in("+8613800000004", "480").await;
    bench.ends_in("+8613800000005", "603").await;
    bench.ends_in("+8613800001234", "480").await;
    bench.ends_in("+8613800000001", "200").await;
    bench.ends_in("+8613800000008", "200").await;
    let bye = bench.pbx.expect("BYE");
    assert_eq!(header(&bye, "Call-ID"), "+8613800000008");
    bench.pbx.answer(&bye, "200 OK", "");
    bench.carrier.expect_silence();
    let records = bench.records().await;
    let ended: Vec<Cause> = causes(&records).into_iter().take(4).collect();
    let wanted = [Cause::Busy, Cause::Unreachable, Cause::Rejected, Cause::Unreachable];
    assert_eq!(ended, wanted);
    assert!(causes(&records).contains(&Cause::CalleeHangup), "{:?}", causes(&records));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_magic_number_is_nothing_special_to_others() {
    let bench = Bench::new().await;
    bench.move_to("+8613800000002").await;
    bench.talk("live");
    assert_eq!(causes(&bench.records().await), [Cause::CallerHangup]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_carrier_never_reaches_a_test_tenant() {
    let bench = Bench::new().await;
    bench.carrier.invite("+8613800001234", X, "live");
    let invite = bench.pbx.expect("INVITE");
    bench.pbx.answer(&invite, "486 Busy Here", "");
    bench.carrier.expect("SIP/2.0 486");
    bench.become_a_test().await;
    bench.carrier.invite("+8613800001234", X, "test");
    let refusal = bench.carrier.expect("SIP/2.0 404");
    assert_eq!(header(&refusal, "Call-ID"), "test");
    bench.carrier.invite("+8613800001234", "17000009999", "unknown");
    let unknown = bench.carrier.expect("SIP/2.0 404");
    let without_names = |text: &str, call: &str, dialled: &str| {
        let lines = text.lines().filter(|line| !line.starts_with("To: "));
        lines.collect::<Vec<_>>().join("\n").replace(call, "").replace(dialled, "")
    };
    let [test, other] = [(&refusal, "test", X), (&unknown, "unknown", "17000009999")]
        .map(|(text, call, dialled)| without_names(text, call, dialled));
    assert_eq!(test, other);
    assert_eq!(bench.records().await.len(), 1, "the tenant has no record of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_presses_a_key_hears_the_announcement_and_decides_by_it() {
    let test = database().await;
    let mut config = settings(&url(&test));
    config.whisper.mode = WhisperPolicy::ByPurpose;
    config.whisper.timeout = Duration::from_secs(10);
    let running = start(config, RootKeyFile::MustExist).await.expect("started");
    let bench = Bench::on(test, running).await;
    bench.become_a_test().await;
    bench.ends_in("+8613800000006", "200").await;
    bench.ends_in("+8613800000012", "480").await;
    bench.ends_in("+8613800000013", "603").await;
    let records = bench.records().await;
    assert_eq!(causes(&records)[1..], [Cause::WhisperLater, Cause::WhisperRefused]);
    assert!(records[0].answered_at.is_some());
}
