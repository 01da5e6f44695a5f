//! A node in a process of its own that a test abuses, and an honest client beside it that must not be affected.

use super::process::{Process, Start};
use super::{NodeDir, PASSWORD, limit, next};
use api::binary::orders::{Answer, CancelOrder};
use api::binary::requests::Target;
use api::binary::stream::SessionSeq;
use api::client::OrderClient;
use book::command::{CodMode, Side};
use book::ids::{ClOrdId, MarketId};

const PROBE: &str = "PROBE";

pub(crate) struct AbusedNode {
    pub process: Process,
    pub market: MarketId,
    probe: OrderClient,
    probe_id: u64,
    // Dropped last: the output of the process is in this directory.
    _place: NodeDir,
}

impl AbusedNode {
    /// Starts a node with sessions `T1` to `T<sessions>` and the probe's; `extra` is more of its configuration.
    pub(crate) fn new(extra: &str, sessions: u32) -> Self {
        let node_dir = NodeDir::with(extra);
        let running = node_dir.start();
        let market = running.add_market();
        running.add_trader(PROBE);
        if sessions > 0 {
            let account = running.add_trader("T1");
            (2..=sessions).for_each(|n| running.add_session(account, &format!("T{n}"), CodMode::Off));
        }
        assert_eq!(running.stop(), 0);
        let process = Start::new(&node_dir.config_file()).run();
        let probe = OrderClient::connect(process.orders, PROBE, PASSWORD, SessionSeq::HEAD).expect("logged in");
        Self { process, market, probe, probe_id: 0, _place: node_dir }
    }

    /// Checks that the honest client can trade: an order rests and is cancelled.
    pub(crate) fn probe(&mut self) {
        self.probe_id += 1;
        let id = self.probe_id;
        self.probe.new_order(&limit(id, self.market, Side::Buy, 1, 1)).expect("connected");
        assert!(matches!(next(&mut self.probe).message, Answer::OrderAccepted(m) if m.cl_ord_id.get() == id));
        let cancel = CancelOrder::new(ClOrdId(id), Target::ClOrdId(ClOrdId(id)), self.market);
        self.probe.cancel(&cancel).expect("connected");
        assert!(matches!(next(&mut self.probe).message, Answer::OrderCanceled(m) if m.req_cl_ord_id.get() == id));
    }

    pub(crate) fn client(&self, user: &str, from: SessionSeq) -> OrderClient {
        OrderClient::connect(self.process.orders, user, PASSWORD, from).expect("logged in")
    }

    /// Checks that the honest client can still trade, that the node stops in order, and that no client made it log an
    /// error of its own.
    pub(crate) fn finish(mut self) {
        self.probe();
        let ended = self.process.terminate();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(!ended.output.contains("ERROR") && !ended.output.contains("panicked"), "{}", ended.output);
    }
}
