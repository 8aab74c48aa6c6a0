//! What the demo shows: the ladder, what was heard, what was searched, the record, and whether all
//! promises were kept.

use std::io::{self, Write as _};
use std::net::SocketAddr;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::ladder::{self, Column};
use super::progress::Progress;
use super::provision::{AGENT, Provisioned};
use super::talk::{AGENT_HZ, Cast, SUBSCRIBER_HZ};
use crate::app::Running;
use crate::cli::{Failure, Outcome};

/// Promises, kept and broken.
pub(super) struct Report<'p> {
    progress: &'p Progress,
    broken: Vec<String>,
}

impl<'p> Report<'p> {
    pub(super) const fn new(progress: &'p Progress) -> Self {
        Self { progress, broken: Vec::new() }
    }

    /// Says whether a promise was kept.
    pub(super) fn promise(&mut self, what: &str, kept: bool) -> io::Result<()> {
        if !kept {
            self.broken.push(what.to_owned());
        }
        self.progress.note(&format!("{} {what}", if kept { "ok  " } else { "FAIL" }))
    }

    pub(super) fn ladder(&self, cast: &Cast, virtual_number: &str) -> io::Result<()> {
        self.progress.step("The signalling, as both phones saw it")?;
        let mut out = io::stdout().lock();
        writeln!(out)?;
        ladder::write(&mut out, &cast.rungs(), virtual_number)?;
        writeln!(out)
    }

    pub(super) fn heard(&mut self, cast: &Cast) -> io::Result<()> {
        let heard = cast.heard();
        let (by_agent, by_subscriber) = (heard.by_agent * 100.0, heard.by_subscriber * 100.0);
        let agent = format!("the agent heard the subscriber's {SUBSCRIBER_HZ} Hz: {by_agent:.1} %");
        let both = format!(
            "{agent}; the subscriber heard the agent's {AGENT_HZ} Hz: {by_subscriber:.1} %"
        );
        self.promise(&both, heard.both())?;
        let told = "the subscriber heard who calls before that, and pressed 1";
        self.promise(told, heard.was_told())
    }

    /// The number may be nowhere on the insurer's side, and must be on the carrier's: that shows
    /// that the search sees.
    pub(super) fn leaks(&mut self, cast: &Cast) -> io::Result<()> {
        let (insurer, carrier) = (cast.search(Column::Agent), cast.search(Column::Subscriber));
        let searched = format!(
            "real number in all {} bytes ({} SIP, RTP and RTCP datagrams) that the insurer's side \
             received, in {} spellings: {} hits",
            insurer.bytes,
            insurer.datagrams,
            insurer.spellings,
            insurer.hits.len()
        );
        self.promise(&searched, insurer.hits.is_empty() && insurer.bytes > 0)?;
        for hit in &insurer.hits {
            self.progress.note(&format!("     {} in a {}", hit.spelling, hit.surface))?;
        }
        let control = format!(
            "the same search on the carrier's side, which must be told: {} hits",
            carrier.hits.len()
        );
        self.promise(&control, !carrier.hits.is_empty())
    }

    pub(super) fn record(&mut self, record: &Value) -> Outcome {
        self.progress.step("The record of the call, from the control API")?;
        let text = serde_json::to_string_pretty(record)?;
        for line in text.lines() {
            self.progress.note(line)?;
        }
        self.promise("the record says caller_hangup", record["cause"] == "caller_hangup")?;
        let accepted = record["whisper"]["result"] == "accepted";
        self.promise("and that the subscriber accepted the call", accepted)?;
        Ok(())
    }

    /// The end: an error when any promise was broken.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        if self.broken.is_empty() {
            self.progress.step("Everything was as promised.")?;
            return Ok(());
        }
        Err(format!("not as promised:\n  {}", self.broken.join("\n  ")).into())
    }
}

/// What a person can try now.
pub(super) fn what_next(
    service: &Running,
    sip: SocketAddr,
    made: &Provisioned,
    operator_key: &SecretString,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (url, admin) = (format!("http://{}", service.api), service.admin);
    let (crm, operator) = (made.crm_key.expose_secret(), operator_key.expose_secret());
    writeln!(
        out,
        "
The service stays up until Ctrl-C (or SIGTERM). In another terminal:

  export MASKLINE_URL={url} MASKLINE_KEY={crm}

  # bind a number (made up here; it may be yours when a carrier trunk is real)
  curl -s $MASKLINE_URL/v1/bindings -H \"Authorization: Bearer $MASKLINE_KEY\" \\
    -H 'Content-Type: application/json' -H 'Idempotency-Key: 1' \\
    -d '{{\"external_id\":\"my-1\",\"mode\":\"ax\",\"policy\":{{\"ref\":\"P-1\"}},\
\"subscriber\":{{\"real_number\":\"+8613800005678\"}}}}'

  # dial its virtual_number from a softphone: user {AGENT}, no registration, UDP, to {sip};
  # the demo's subscriber phone answers with a tone of {SUBSCRIBER_HZ} Hz. Who dials from another
  # machine than was said is dropped, with a line here: start with --softphone and its address

  curl -s $MASKLINE_URL/v1/calls -H \"Authorization: Bearer $MASKLINE_KEY\"
  curl -s $MASKLINE_URL/v1/calls/live -H \"Authorization: Bearer $MASKLINE_KEY\"
  curl -s $MASKLINE_URL/v1/tenants -H \"Authorization: Bearer {operator}\"   # the operator's key
  curl -s http://{admin}/metrics
  xdg-open {url}/docs
"
    )
}
