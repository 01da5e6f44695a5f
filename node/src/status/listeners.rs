//! Listeners at a limit: what `/health`, `/metrics` and the log say about it.
//!
//! An *episode* begins when a listener stops accepting, and is over when it has accepted without a stop for
//! `QUIET_NS`. Invariant: an episode has one warning, however many connections come and go in it.

use super::gauge::Gauge;

/// A listener that has not stopped accepting for so long is no longer at its limit.
const QUIET_NS: u64 = 60_000_000_000;

/// What one listener shows. Its one writer is the loop that accepts.
#[derive(Debug, Default)]
pub struct ListenerStatus {
    /// The limit of the present episode as [`Limit::code`]; 0 between episodes.
    limit: Gauge,
    /// Episodes since the start.
    pub limited: Gauge,
    /// Connections that were closed to make room, since the start.
    pub displaced: Gauge,
    /// Connections to the market port that were closed when they were accepted, because their block of addresses has
    /// as many as it may have. The orders port has reasons of its own: `logins`.
    pub refused: Gauge,
}

/// All listeners of a node.
#[derive(Debug, Default)]
pub struct Listeners {
    pub orders: ListenerStatus,
    pub market: ListenerStatus,
    pub ops: ListenerStatus,
}

impl Listeners {
    /// Every listener, with its name in the configuration.
    pub fn all(&self) -> [(&'static str, &ListenerStatus); 3] {
        [("orders", &self.orders), ("market", &self.market), ("ops", &self.ops)]
    }
}

/// Which limit stops a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// As many connections as the configuration allows are open.
    Connections,
    /// The kernel gave no descriptor, or refused for another reason.
    Accept,
}

impl Limit {
    fn code(self) -> u64 {
        match self {
            Self::Connections => 1,
            Self::Accept => 2,
        }
    }
}

impl ListenerStatus {
    /// The limit at which the listener is.
    pub fn limit(&self) -> Option<Limit> {
        [Limit::Connections, Limit::Accept].into_iter().find(|limit| limit.code() == self.limit.get())
    }
}

/// The episodes of one listener, kept by the loop that accepts.
#[derive(Debug)]
pub struct Episodes {
    /// Such as `orders`.
    listener: &'static str,
    /// The key of its limit, such as `limits.connections_max`, and its value.
    key: &'static str,
    connections_max: usize,
    /// When it last stopped accepting, in the present episode.
    stopped_at_ns: Option<u64>,
}

impl Episodes {
    pub fn new(listener: &'static str, key: &'static str, connections_max: usize) -> Self {
        Self { listener, key, connections_max, stopped_at_ns: None }
    }

    /// The listener has stopped accepting. Returns whether an episode begins.
    #[cold]
    pub fn stopped(&mut self, now_ns: u64, limit: Limit, detail: &str, status: &ListenerStatus) -> bool {
        status.limit.set(limit.code());
        if self.stopped_at_ns.replace(now_ns).is_some() {
            return false;
        }
        status.limited.add(1);
        let Self { listener, key, connections_max, .. } = *self;
        let order = "connections without a login or a request are closed for new ones, oldest first";
        match limit {
            Limit::Connections => {
                tracing::warn!("listen.{listener} has {key} = {connections_max} connections: {order}; the rest wait")
            }
            Limit::Accept => tracing::warn!("accepting at listen.{listener} failed: {detail}; {order}; the rest wait"),
        }
        true
    }

    /// Ends the episode if it is over.
    pub fn tick(&mut self, now_ns: u64, status: &ListenerStatus) {
        if self.stopped_at_ns.is_some_and(|at| QUIET_NS <= now_ns.saturating_sub(at)) {
            self.stopped_at_ns = None;
            status.limit.set(0);
            let (listener, displaced) = (self.listener, status.displaced.get());
            tracing::info!(displaced, "listen.{listener} accepts again; displaced counts since the start");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_has_one_beginning_and_ends_when_it_is_quiet() {
        let (status, mut episodes) = (ListenerStatus::default(), Episodes::new("orders", "limits.connections_max", 9));
        assert!(episodes.stopped(1, Limit::Connections, "", &status));
        assert!(!episodes.stopped(5, Limit::Accept, "no descriptor", &status));
        episodes.tick(5 + QUIET_NS - 1, &status);
        assert_eq!((status.limit(), status.limited.get()), (Some(Limit::Accept), 1));
        episodes.tick(5 + QUIET_NS, &status);
        assert_eq!(status.limit(), None);
        assert!(episodes.stopped(6 + QUIET_NS, Limit::Connections, "", &status));
        assert_eq!((status.limit(), status.limited.get()), (Some(Limit::Connections), 2));
    }
}
