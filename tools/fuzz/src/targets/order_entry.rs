//! A client's packets from the wire to the answers: decoded, encoded as records of the log and back, and applied by an
//! engine.

use crate::meter;
use crate::seeds;
use crate::small_exchange::SmallExchange;
use crate::target::{Outcome, Target, repair_nothing};
use api::binary::decode::{Decoded, Sender, decode};
use api::binary::depth::Depth;
use api::binary::market::MarketMessage;
use api::binary::orders::{Answer, Request};
use api::binary::soup::{PacketKind, PacketReader, append_packet};
use book::codec::{self, PayloadVersion};
use book::command::Command;
use book::ids::{AccountId, SessionId};

pub const TARGET: Target =
    Target { name: "order_entry", seeds, repair: repair_nothing, check, bytes_max: 4096, round_inputs: 1_500 };

fn check(input: &[u8]) -> Outcome {
    let mut exchange = SmallExchange::opened();
    let mut reader = PacketReader::default();
    let mut rest = input;
    let mut decoded = 0;
    // The second account trades against the first, so that fills happen.
    while let Ok(Some(packet)) = reader.read(&mut rest) {
        let number = 1 + decoded % 2;
        let drop_copy = packet.kind == PacketKind::Debug;
        let sender = Sender { session: SessionId(number), account: AccountId(number), drop_copy };
        let Some(command) = decoded_command(packet.payload, &sender, &exchange) else { break };
        check_record(&command);
        exchange.apply(&command);
        decoded += 1;
    }
    if decoded == 0 {
        return Outcome::Refused;
    }
    exchange.engine.verify().expect("no message makes the books inconsistent");
    let mut depth = Depth::default();
    for message in &exchange.public {
        let message = MarketMessage::read(message).expect("a published message can be read");
        depth.apply(&message).expect("a published message has the next number");
    }
    for answer in &exchange.answers {
        Answer::read(answer).expect("an answer can be read");
    }
    Outcome::Decoded
}

fn decoded_command(message: &[u8], sender: &Sender, exchange: &SmallExchange) -> Option<Command> {
    let made = meter::within(0, || decode(message, sender, &exchange.instruments));
    let request = Request::read(message);
    match made {
        Err(error) => {
            assert_eq!(request, Err(error.0), "both readers refuse for the same reason");
            None
        }
        Ok(Decoded::Command(command) | Decoded::SetSession { command, .. }) => {
            assert!(request.is_ok(), "both readers accept the same messages");
            Some(command)
        }
    }
}

fn check_record(command: &Command) {
    let mut buffer = [0; codec::RECORD_BYTES_MAX];
    let ts = book::units::TsNs(7);
    let len = codec::encode(PayloadVersion::Two, ts, command, &mut buffer).expect("a client's command fits a record");
    let record = codec::decode(&buffer[..len]).expect("a record that was encoded decodes");
    assert_eq!((record.ts, &record.command), (ts, command));
}

fn seeds() -> Vec<Vec<u8>> {
    let requests: Vec<Vec<u8>> =
        seeds::messages("orders").into_iter().filter(|message| Request::read(message).is_ok()).collect();
    let stream = |messages: &[Vec<u8>]| {
        let mut stream = Vec::new();
        messages.iter().for_each(|message| append_packet(PacketKind::Unsequenced, message, &mut stream));
        stream
    };
    let mut seeds: Vec<Vec<u8>> = requests.iter().map(|request| stream(std::slice::from_ref(request))).collect();
    seeds.push(stream(&requests));
    seeds.push(stream(&trades()));
    seeds
}

/// Orders of two sessions, some of which rest and are filled by others.
fn trades() -> Vec<Vec<u8>> {
    use api::binary::orders::NewOrder;
    use api::binary::sbe::Framed;
    use api::decimal::{PriceE9, QtyE8};
    use book::command::Side;
    use book::ids::{ClOrdId, MarketId};
    use zerocopy::IntoBytes;
    let order = |id, side, price: i64, qty: i64| {
        let (price, qty) = (PriceE9(price * 1_000_000_000), QtyE8(qty * 100_000_000));
        Framed::new(NewOrder::limit(ClOrdId(id), MarketId(1), side, price, qty)).as_bytes().to_vec()
    };
    vec![
        order(1, Side::Buy, 100, 5),
        order(1, Side::Sell, 101, 5),
        order(2, Side::Buy, 101, 3),
        order(2, Side::Sell, 100, 7),
        order(3, Side::Buy, 99, 1),
    ]
}
