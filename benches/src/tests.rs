//! The reader of streams on a few bytes, and every subject against the naive twin on a seeded flow.

use crate::engine_bench::{self, Messages};
use crate::exchange::{self, Naming};
use crate::measure::{Check, Works, throughput};
use crate::naive::Naive;
use crate::peers::matchcore_book::Matchcore;
use crate::peers::orderbook_rs_book::OrderbookRs;
use crate::pinion::{ClientIds, ExchangeIds, Pinion};
use crate::report::Spread;
use crate::streams::{Cmd, Flow, HASH_START, Op, Resting, Side, Tally};
use crate::subject::{Fills, Removed, Subject, drive};
use std::path::Path;

const USERS: u32 = 7;

/// A small generator: a few hundred resting orders around one price, every kind of command, with the naive twin as the
/// oracle. Its output is a `PMEWL001` file.
struct Mini {
    seed: u64,
    twin: Naive,
    tally: Tally,
    live: Vec<(u64, Side)>,
    id_last: u64,
    records: Vec<u8>,
}

impl Mini {
    fn bytes(seed: u64, prefill: usize, main: usize) -> Vec<u8> {
        let mut mini =
            Self { seed, twin: Naive::default(), tally: Tally::default(), live: vec![], id_last: 0, records: vec![] };
        (0..prefill).for_each(|_| mini.new_order(true));
        (0..main).for_each(|_| mini.step());
        mini.file(prefill as u64, main as u64)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % bound
    }

    fn step(&mut self) {
        match self.below(10) {
            0..=3 => self.new_order(false),
            4..=5 => self.change(Op::Cancel),
            _ => self.change(Op::Move),
        }
    }

    fn new_order(&mut self, quiet: bool) {
        let side = if self.below(2) == 0 { Side::Bid } else { Side::Ask };
        let away = self.below(200) as u32;
        let reach = if quiet { 0 } else { self.below(30) as u32 };
        let price = if side == Side::Bid { 9_999 - away + reach } else { 10_001 + away - reach };
        let ioc = !quiet && self.below(5) == 0;
        let (qty, user) = (1 + self.below(40) as u32, 1 + self.below(u64::from(USERS)) as u16);
        self.id_last += 1;
        let cmd = Cmd { id: self.id_last, price, qty, user, op: Op::New, side, ioc, traded: false };
        self.emit(&cmd, u32::from(user));
        self.live.push((cmd.id, side));
    }

    /// Cancels or moves a resting order; one that was drawn and no longer rests is dropped and another drawn.
    fn change(&mut self, op: Op) {
        while !self.live.is_empty() {
            let drawn = self.below(self.live.len() as u64) as usize;
            let (id, side) = self.live[drawn];
            let removed = self.twin.clone().cancel(id);
            let Some(removed) = removed else {
                self.live.swap_remove(drawn);
                continue;
            };
            let shift = self.below(25) as u32 + 1;
            let price = if side == Side::Bid { removed.price + shift } else { removed.price - shift };
            let price = if op == Op::Cancel { removed.price } else { price };
            let user = self.user_of(id);
            let cmd = Cmd { id, price, qty: removed.qty, user: user as u16, op, side, ioc: false, traded: false };
            self.emit(&cmd, user);
            return;
        }
    }

    fn user_of(&self, id: u64) -> u32 {
        let mut records = self.records.chunks_exact(32);
        let placed =
            records.find(|r| r[0] == 1 && r[8..16] == id.to_le_bytes()).expect("a resting order was placed before");
        u32::from_le_bytes([placed[24], placed[25], placed[26], placed[27]])
    }

    fn emit(&mut self, cmd: &Cmd, user: u32) {
        let before = self.tally.fills;
        drive(&mut self.twin, cmd, &mut self.tally);
        let op = match cmd.op {
            Op::New => 1,
            Op::Cancel => 2,
            Op::Move => 3,
        };
        let traded = u8::from(self.tally.fills > before);
        self.records.extend([op, cmd.side.idx() as u8, u8::from(cmd.ioc), traded]);
        self.records.extend(cmd.qty.to_le_bytes());
        self.records.extend(cmd.id.to_le_bytes());
        self.records.extend(u64::from(cmd.price).to_le_bytes());
        self.records.extend(user.to_le_bytes());
        self.records.extend([0; 4]);
    }

    fn file(&self, prefill: u64, main: u64) -> Vec<u8> {
        let resting = self.twin.resting().expect("the twin counts its resting orders");
        let mut bytes = b"PMEWL001".to_vec();
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(32u32.to_le_bytes());
        for word in [prefill, main, self.id_last, 1, 20_000] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(40u32.to_le_bytes());
        bytes.extend(USERS.to_le_bytes());
        let Tally { fills, qty, notional, hash } = self.tally;
        for word in [fills, qty, notional, hash, resting.orders, resting.qty, self.seed, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(&self.records);
        bytes
    }
}

fn mini_flow() -> Flow {
    let bytes = Mini::bytes(1, 300, 1_500);
    let flow = Flow::parse(&bytes, "mini".to_owned(), Path::new("mini.bin")).expect("the generator writes the format");
    assert!(flow.expected.tally.fills > 100, "a flow without trades proves nothing");
    flow
}

#[test]
fn a_stream_of_two_records_is_read_as_written() {
    let mut mini =
        Mini { seed: 3, twin: Naive::default(), tally: Tally::default(), live: vec![], id_last: 2, records: vec![] };
    let new = Cmd { id: 1, price: 70_000, qty: 9, user: 5, op: Op::New, side: Side::Ask, ioc: false, traded: false };
    let hit = Cmd { id: 2, price: 70_001, qty: 4, user: 6, op: Op::New, side: Side::Bid, ioc: true, traded: true };
    mini.emit(&new, 5);
    mini.emit(&hit, 6);
    let flow = Flow::parse(&mini.file(1, 1), "two".to_owned(), Path::new("")).expect("the generator writes the format");
    assert_eq!(flow.cmds, [new, hit]);
    assert_eq!((flow.prefill_len, flow.main_len(), flow.users), (1, 1, USERS));
    assert_eq!(flow.expected.tally.fills, 1);
    assert_eq!(flow.expected.tally.notional, 280_000);
    assert_eq!((flow.expected.resting.orders, flow.expected.resting.qty), (1, 5));
}

#[test]
fn anything_but_a_stream_is_refused() {
    let intact = Mini::bytes(2, 3, 0);
    let parse = |bytes: &[u8]| Flow::parse(bytes, "bad".to_owned(), Path::new(""));
    assert!(parse(&intact).is_ok());
    assert!(parse(&intact[..intact.len() - 1]).is_err());
    assert!(parse(&intact[1..]).is_err());
    assert!(parse(b"PMEWL001").is_err());
    let mut unknown_op = intact;
    unknown_op[128] = 9;
    assert!(parse(&unknown_op).is_err());
}

#[test]
fn the_fill_hash_is_the_published_one() {
    let mut tally = Tally::default();
    assert_eq!(tally.hash, HASH_START);
    tally.fill(2, 1, 100, 3);
    let by_hand = [2u64, 1, 100, 3].iter().fold(HASH_START, |h, x| (h ^ x).wrapping_mul(0x100_0000_01B3));
    assert_eq!(tally.hash, by_hand);
}

#[test]
fn the_book_is_exact_under_both_namings() {
    let works = Works::prepare(mini_flow(), usize::MAX).expect("Pinion's fills equal the twin's");
    let exchange = throughput(Pinion::<ExchangeIds>::new(64), &works.exchange, None);
    let client = throughput(Pinion::<ClientIds>::new(64), &works.client, None);
    let naive = throughput(Naive::default(), &works.dense, None);
    assert_eq!([exchange.check, client.check, naive.check], [Check::Exact; 3]);
}

#[test]
fn a_wrong_book_is_detected() {
    struct IgnoresCancels(Naive);
    impl Subject for IgnoresCancels {
        const NAME: &'static str = "ignores cancels";
        fn place<F: Fills>(&mut self, order: &Cmd, fills: &mut F) -> u32 {
            self.0.place(order, fills)
        }
        fn cancel(&mut self, _id: u64) -> Option<Removed> {
            None
        }
        fn amend<F: Fills>(&mut self, o: &Cmd, q: Option<u32>, f: &mut F) -> Option<Removed> {
            self.0.amend(o, q, f)
        }
        fn resting(&self) -> Option<Resting> {
            self.0.resting()
        }
    }
    let works = Works::prepare(mini_flow(), usize::MAX).expect("Pinion's fills equal the twin's");
    assert_eq!(throughput(IgnoresCancels(Naive::default()), &works.dense, None).check, Check::Diff);
}

#[test]
fn the_state_machine_is_exact_under_both_namings() {
    let works = Works::prepare(mini_flow(), usize::MAX).expect("Pinion's fills equal the twin's");
    for naming in [Naming::OrderId, Naming::ClOrdId] {
        let work = exchange::rename(&works.dense, USERS, 64, naming).expect("the engine accepts the set-up");
        let plain = exchange::throughput::<false>(&work, USERS, 64, naming).expect("the engine accepts the set-up");
        let ledger = exchange::throughput::<true>(&work, USERS, 64, naming).expect("the engine accepts the set-up");
        assert_eq!([plain.check, ledger.check], [Check::Exact; 2]);
    }
}

/// A divergence that the bench reports is the peer's own and not the adapter's: a peer that can be exact is exact.
#[test]
fn peers_that_can_be_exact_are() {
    let flow = mini_flow();
    let (order_id_max, len) = (flow.order_id_max, flow.cmds.len());
    let works = Works::prepare(flow, usize::MAX).expect("Pinion's fills equal the twin's");
    assert_eq!(throughput(OrderbookRs::default(), &works.dense, None).check, Check::Exact);
    // Matchcore 0.4 lets a partially filled order trade on beyond its limit price.
    assert_eq!(throughput(Matchcore::new(order_id_max, len), &works.dense, None).check, Check::Diff);
}

#[test]
fn reports_of_messages_equal_the_twins() {
    let rows = [
        (0u8, 5u8, 1u32, 100i32),
        (4, 9, 2, 99),
        (0, 1, 3, 98),
        (2, 7, 3, 97),
        (1, 0, 3, 0),
        (1, 0, 8, 0),
        (2, 1, 8, 1),
    ];
    let mut bytes = b"MEBC0001".to_vec();
    bytes.extend((rows.len() as u32).to_le_bytes());
    rows.iter().for_each(|row| bytes.push(row.0));
    rows.iter().for_each(|row| bytes.push(row.1));
    rows.iter().for_each(|row| bytes.extend(row.2.to_le_bytes()));
    rows.iter().for_each(|row| bytes.extend(row.3.to_le_bytes()));
    let messages = Messages::parse(&bytes, "tiny.meb".to_owned()).expect("the generator writes the format");
    assert_eq!(messages.published, None);
    let naive = engine_bench::run(Naive::default(), &messages, None).expect("a hash");
    let pinion = engine_bench::run(Pinion::<ClientIds>::new(8), &messages, Some(&naive.sha256)).expect("a hash");
    assert_eq!((pinion.run.check, pinion.reports), (Check::Exact, naive.reports));
    let text = "0,0,0,1,100,5\n0,1,1,2,99,9\n1,1,100,5,1,2\n0,2,0,3,98,1\n3,3,0,3,97,7\n2,4,0,3,97\n4,5,8\n5,6,8";
    assert_eq!(naive.sha256, engine_bench::sha256_hex(text.as_bytes()));
    assert!(Messages::parse(&bytes[..bytes.len() - 1], String::new()).is_err());
}

#[test]
fn a_spread_is_a_median_between_its_extremes() {
    let spread = Spread::of([3.0, 1.0, 2.0].into_iter()).expect("three values have a median");
    assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 3.0));
    assert_eq!(spread.noise_percent(), 50.0);
    assert_eq!(Spread::of(std::iter::empty()), None);
}
