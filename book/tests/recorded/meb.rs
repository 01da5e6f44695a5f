//! Two million recorded messages (new, cancel, modify) give the report stream whose SHA-256 was published.

use crate::exchange::{Exchange, accepted, cancel, limit, target};
use crate::shared;
use book::command::{CancelReplace, Command, ReplaceMode, Side, Tif};
use book::event::Event;
use book::ids::{ClOrdId, OrderId};
use sha2::{Digest, Sha256};
use std::io::Write as _;

const PUBLISHED: &str = "e9b2e3926854410b01a035aeb25dd05f1e597c233be8263de9eb49b6713d367e";

/// One message: `MEBC0001`, a count, then columns of kind, quantity, id and price.
struct Message {
    kind: u8,
    side: Side,
    ioc: bool,
    qty: u64,
    id: u32,
    price: u32,
}

const NEW: u8 = 0;
const CANCEL: u8 = 1;

struct Messages {
    bytes: Vec<u8>,
    count: usize,
}

impl Messages {
    fn new(bytes: Vec<u8>) -> Self {
        assert_eq!(&bytes[..8], b"MEBC0001");
        let count = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes")) as usize;
        assert_eq!(bytes.len(), 12 + 10 * count);
        Self { bytes, count }
    }

    fn get(&self, idx: usize) -> Message {
        let number = |column: usize| {
            let at = 12 + column * self.count + idx * 4;
            u32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"))
        };
        let kind = self.bytes[12 + idx];
        Message {
            kind: kind & 3,
            side: if kind & 4 == 0 { Side::Buy } else { Side::Sell },
            ioc: kind & 8 != 0,
            qty: u64::from(self.bytes[12 + self.count + idx]),
            id: number(2),
            price: number(6),
        }
    }
}

/// The text of the reports, a line each, hashed as it grows.
struct Reports {
    hash: Sha256,
    text: Vec<u8>,
    count: usize,
}

macro_rules! report {
    ($reports:expr, $($arg:tt)*) => {{
        if $reports.count > 0 {
            $reports.text.push(b'\n');
        }
        $reports.count += 1;
        write!($reports.text, $($arg)*).expect("a vector takes all");
    }};
}

impl Reports {
    fn trades(&mut self, seq: usize, events: &[Event]) {
        for event in events {
            if let Event::Fill(fill) = event {
                let (maker, taker) = (fill.maker.cl_ord_id.0, fill.taker.cl_ord_id.0);
                report!(self, "1,{seq},{},{},{maker},{taker}", fill.price.0, fill.qty.0);
            }
        }
        if self.text.len() > 1 << 16 {
            self.hash.update(&self.text);
            self.text.clear();
        }
    }
}

/// Where an order of the recording is in the engine.
#[derive(Clone, Copy)]
struct Place {
    order_id: OrderId,
    side: Side,
    price: u32,
}

fn number(side: Side) -> u8 {
    u8::from(side == Side::Sell)
}

fn step(exchange: &mut Exchange, places: &mut [Place], reports: &mut Reports, seq: usize, message: &Message) {
    let id = message.id;
    let known = places[id as usize];
    if message.kind == NEW {
        let (side, price, qty) = (number(message.side), message.price, message.qty);
        report!(reports, "0,{seq},{side},{id},{price},{qty}");
        let mut order = limit(message.side, price, qty, if message.ioc { Tif::Ioc } else { Tif::Gtc });
        order.cl_ord_id = ClOrdId(u64::from(id));
        let events = exchange.apply(&Command::Place(order));
        places[id as usize] = Place { order_id: accepted(events), side: message.side, price };
        reports.trades(seq, events);
        if events.iter().any(|e| matches!(e, Event::Canceled(_))) {
            report!(reports, "2,{seq},{side},{id},{price}");
        }
    } else if message.kind == CANCEL {
        if matches!(exchange.apply(&cancel(known.order_id)), [Event::Canceled(_)]) {
            report!(reports, "2,{seq},{},{id},{}", number(known.side), known.price);
        } else {
            report!(reports, "4,{seq},{id}");
        }
    } else {
        let mut order = limit(known.side, message.price, message.qty, Tif::Gtc);
        order.cl_ord_id = ClOrdId(u64::from(id));
        let (target, mode) = (target(known.order_id), ReplaceMode::StopOnFailure);
        let events = exchange.apply(&Command::CancelReplace(CancelReplace { target, mode, place: order }));
        if matches!(events, [Event::CancelRejected(_)]) {
            report!(reports, "5,{seq},{id}");
            return;
        }
        places[id as usize] = Place { order_id: accepted(events), side: known.side, price: message.price };
        reports.trades(seq, events);
        report!(reports, "3,{seq},{},{id},{},{}", number(known.side), message.price, message.qty);
    }
}

#[test]
fn the_report_stream_has_the_published_hash() {
    let Some(file) = shared::find("data/meb/normal.seed23.meb.xz") else { return };
    let compressed = std::fs::File::open(file).expect("the file opens");
    let mut bytes = Vec::new();
    lzma_rs::xz_decompress(&mut std::io::BufReader::new(compressed), &mut bytes).expect("the file unpacks");
    let messages = Messages::new(bytes);
    let nowhere = Place { order_id: OrderId(u64::MAX), side: Side::Buy, price: 0 };
    let mut places = vec![nowhere; 1 << 20];
    let mut exchange = Exchange::new();
    let mut reports = Reports { hash: Sha256::new(), text: Vec::new(), count: 0 };
    for seq in 0..messages.count {
        step(&mut exchange, &mut places, &mut reports, seq, &messages.get(seq));
        if seq % 500_000 == 0 {
            exchange.engine.verify().expect("the state is consistent");
        }
    }
    exchange.engine.verify().expect("the state is consistent");
    reports.hash.update(&reports.text);
    let hash: String = reports.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{} messages, {} reports, {hash}", messages.count, reports.count);
    assert_eq!(hash, PUBLISHED);
    assert_eq!(messages.count, 1_996_097);
}
