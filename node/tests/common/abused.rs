//! A node in a process of its own that is treated badly, with an honest client beside that must notice nothing.

use super::process::{Process, Start};
use super::{PASSWORD, Place, limit, next};
use api::binary::orders::{Answer, CancelOrder};
use api::binary::requests::Target;
use api::binary::stream::SessionSeq;
use api::client::OrderClient;
use book::command::{CodMode, Side};
use book::ids::{ClOrdId, MarketId};

const PROBE: &str = "PROBE";

pub struct Abused {
    pub process: Process,
    pub market: MarketId,
    probe: OrderClient,
    probe_id: u64,
    // Dropped last: what the process says is in it.
    _place: Place,
}

impl Abused {
    /// Sessions `T1` to `T<sessions>` and the probe's; `extra` is more of the configuration.
    pub fn new(extra: &str, sessions: u32) -> Self {
        let place = Place::with(extra);
        let running = place.start();
        let market = running.add_market();
        running.add_trader(PROBE);
        if sessions > 0 {
            let account = running.add_trader("T1");
            (2..=sessions).for_each(|n| running.add_session(account, &format!("T{n}"), CodMode::Off));
        }
        assert_eq!(running.stop(), 0);
        let process = Start::new(&place.config_file()).run();
        let probe = OrderClient::connect(process.orders, PROBE, PASSWORD, SessionSeq::HEAD).expect("logged in");
        Self { process, market, probe, probe_id: 0, _place: place }
    }

    /// The honest client trades on: an order rests and is cancelled again.
    pub fn probe(&mut self) {
        self.probe_id += 1;
        let id = self.probe_id;
        self.probe.new_order(&limit(id, self.market, Side::Buy, 1, 1)).expect("connected");
        assert!(matches!(next(&mut self.probe).message, Answer::OrderAccepted(m) if m.cl_ord_id.get() == id));
        let cancel = CancelOrder::new(ClOrdId(id), Target::ClOrdId(ClOrdId(id)), self.market);
        self.probe.cancel(&cancel).expect("connected");
        assert!(matches!(next(&mut self.probe).message, Answer::OrderCanceled(m) if m.req_cl_ord_id.get() == id));
    }

    pub fn client(&self, user: &str, from: SessionSeq) -> OrderClient {
        OrderClient::connect(self.process.orders, user, PASSWORD, from).expect("logged in")
    }

    /// Still trading, ends when asked, and no client made the node call it an error of its own.
    pub fn finish(mut self) {
        self.probe();
        let ended = self.process.terminate();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(!ended.said.contains("ERROR") && !ended.said.contains("panicked"), "{}", ended.said);
    }
}
