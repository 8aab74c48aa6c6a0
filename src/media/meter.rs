//! Counters of one media thread. They are plain numbers while packets fly, and are added to the
//! metrics about once a second.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::rtp::plane::SideCounts;
use crate::rtp::ports::Ports;
use crate::rtp::session::Dropped;
use crate::rtp::time::Moment;

/// What has been counted since the last flush.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) packets_in: u64,
    pub(super) packets_out: u64,
    pub(super) bytes: u64,
    /// Packets of what is played.
    pub(super) frames_out: u64,
    pub(super) send_failed: u64,
    /// Packets of encrypted legs that the library has not sealed.
    pub(super) seal_failed: u64,
    pub(super) rtcp_in: u64,
    pub(super) rtcp_out: u64,
    pub(super) unknown_session: u64,
    pub(super) dropped: [u64; Dropped::ALL.len()],
}

/// The handles of one thread.
pub(super) struct Meter {
    pub(super) counts: Counts,
    flushed_at: Moment,
    packets_in: Counter,
    packets_out: Counter,
    bytes: Counter,
    frames_out: Counter,
    send_failed: Counter,
    seal_failed: Counter,
    rtcp_in: Counter,
    rtcp_out: Counter,
    unknown_session: Counter,
    dropped: [Counter; Dropped::ALL.len()],
    lost: Counter,
    one_way: Counter,
    jitter: Histogram,
    opinion: Histogram,
    ports: [PortGauge; 3],
}

/// One state of ports. Threads share the series, so each adds only its own changes.
struct PortGauge {
    gauge: Gauge,
    told: usize,
}

impl Meter {
    pub(super) fn new() -> Self {
        let port_gauge = |state| {
            let gauge = gauge!("maskline_rtp_ports", "state" => state);
            PortGauge { gauge, told: 0 }
        };
        Self {
            counts: Counts::default(),
            flushed_at: Moment::default(),
            packets_in: counter!("maskline_rtp_packets_total", "dir" => "in"),
            packets_out: counter!("maskline_rtp_packets_total", "dir" => "out"),
            bytes: counter!("maskline_rtp_bytes_total"),
            frames_out: counter!("maskline_rtp_played_packets_total"),
            send_failed: counter!("maskline_rtp_send_failed_total"),
            seal_failed: counter!("maskline_rtp_seal_failed_total"),
            rtcp_in: counter!("maskline_rtcp_packets_total", "dir" => "in"),
            rtcp_out: counter!("maskline_rtcp_packets_total", "dir" => "out"),
            unknown_session: counter!("maskline_media_unknown_session_total"),
            dropped: Dropped::ALL
                .map(|why| counter!("maskline_rtp_dropped_total", "reason" => why.label())),
            lost: counter!("maskline_rtp_lost_packets_total"),
            one_way: counter!("maskline_rtp_one_way_total"),
            jitter: histogram!("maskline_rtp_jitter_seconds"),
            opinion: histogram!("maskline_rtp_mos"),
            ports: ["open", "free", "quarantine"].map(port_gauge),
        }
    }

    /// Adds what was counted to the metrics, if it is time.
    pub(super) fn flush_if_due(&mut self, now: Moment) {
        if now.since(self.flushed_at) >= FLUSH_INTERVAL {
            self.flushed_at = now;
            self.flush();
        }
    }

    /// Adds what was counted to the metrics.
    pub(super) fn flush(&mut self) {
        let counts = std::mem::take(&mut self.counts);
        self.packets_in.increment(counts.packets_in);
        self.packets_out.increment(counts.packets_out);
        self.bytes.increment(counts.bytes);
        self.frames_out.increment(counts.frames_out);
        self.send_failed.increment(counts.send_failed);
        self.seal_failed.increment(counts.seal_failed);
        self.rtcp_in.increment(counts.rtcp_in);
        self.rtcp_out.increment(counts.rtcp_out);
        self.unknown_session.increment(counts.unknown_session);
        for (counter, dropped) in self.dropped.iter().zip(counts.dropped) {
            counter.increment(dropped);
        }
    }

    /// A call is over.
    pub(super) fn closed(&self, counts: &[SideCounts; 2]) {
        let [a, b] = counts;
        for side in counts.iter().filter(|side| side.packets > 0) {
            self.lost.increment(side.lost);
            self.jitter.record(f64::from(side.jitter_us) / 1e6);
            self.opinion.record(f64::from(side.mos_centi) / 100.0);
        }
        if (a.packets == 0) != (b.packets == 0) {
            self.one_way.increment(1);
        }
    }

    /// How the ports are used now.
    pub(super) fn ports(&mut self, open: usize, ports: &Ports) {
        for (gauge, count) in self.ports.iter_mut().zip([open, ports.free(), ports.resting()]) {
            gauge.gauge.increment(count as f64 - gauge.told as f64);
            gauge.told = count;
        }
    }
}

/// How often counts are added to the metrics.
pub(super) const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
