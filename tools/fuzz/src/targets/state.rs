//! The state of the engine in pieces: a state that loads is consistent, saves to the same bytes, and applies commands.
//!
//! ```text
//! | section u8 | bytes u16 | piece ... | section u8 | ...
//! ```

use crate::meter;
use crate::target::{Outcome, Target, repair_nothing};
use book::command::{BlockChange, Command, MassCancel, MassScope};
use book::engine::{Capacity, Engine};
use book::ids::{AccountId, ClOrdId, MarketId, SessionId};
use book::snapshot::{Loader, Section, SnapshotError};
use book::testing::workload::{Profile, Workload};
use book::units::{Seq, Stamp, TsNs};

pub const TARGET: Target =
    Target { name: "state", seeds, repair: repair_nothing, check, bytes_max: 16 << 10, round_inputs: 4_000 };

const CAPACITY: Capacity = Capacity { orders: 1, leaves: 1, markets: 1, names: 1 };
/// A head may ask for as many order slots as an exchange can have, which is a GiB of memory; here the limit is lower,
/// so that a round is short.
const SLOTS_CLAIM_MAX: u64 = 1 << 12;
const HELD_BYTES_MAX: usize = 64 << 20;

fn check(input: &[u8]) -> Outcome {
    let Some(pieces) = pieces(input) else { return Outcome::Refused };
    if pieces.iter().any(|(section, piece)| *section == Section::Head && SLOTS_CLAIM_MAX < slots_claim(piece)) {
        return Outcome::Refused;
    }
    let Ok(mut engine) = meter::within(HELD_BYTES_MAX, || load(&pieces)) else { return Outcome::Refused };
    engine.verify().expect("a state that loads is consistent");
    let saved = save(&engine);
    let again = load(&as_slices(&saved)).expect("a state that was saved loads");
    assert_eq!(again.state_hash(), engine.state_hash());
    assert_eq!(save(&again), saved, "the same state saves to the same bytes");
    trade_on(&mut engine);
    Outcome::Decoded
}

type Pieces<'a> = Vec<(Section, &'a [u8])>;

fn pieces(input: &[u8]) -> Option<Pieces<'_>> {
    let mut pieces = Pieces::new();
    let mut rest = input;
    while let [section, low, high, after @ ..] = rest {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
        pieces.push((Section::of(*section)?, &after[..len]));
        rest = &after[len..];
    }
    Some(pieces)
}

fn load(pieces: &[(Section, &[u8])]) -> Result<Engine, SnapshotError> {
    let mut loader = Loader::new(Engine::new(CAPACITY));
    pieces.iter().try_for_each(|(section, piece)| loader.take(*section, piece))?;
    loader.finish()
}

fn save(engine: &Engine) -> Vec<(Section, Vec<u8>)> {
    let mut pieces = Vec::new();
    let saved: Result<(), ()> = engine.save(&mut |section, piece| {
        pieces.push((section, piece.to_vec()));
        Ok(())
    });
    saved.expect("a vector accepts every piece");
    pieces
}

fn as_slices(pieces: &[(Section, Vec<u8>)]) -> Pieces<'_> {
    pieces.iter().map(|(section, piece)| (*section, piece.as_slice())).collect()
}

/// The fourth number of a head, in bincode's variable-length encoding.
fn slots_claim(head: &[u8]) -> u64 {
    let mut rest = head;
    let mut number = 0;
    for _ in 0..4 {
        let Some((first, after)) = rest.split_first() else { return 0 };
        let width = match first {
            251 => 2,
            252 => 4,
            253 => 8,
            _ => 0,
        };
        let Some(bytes) = after.get(..width) else { return 0 };
        let mut wide = [0; 8];
        wide[..width].copy_from_slice(bytes);
        number = if width == 0 { u64::from(*first) } else { u64::from_le_bytes(wide) };
        rest = &after[width..];
    }
    number
}

/// Applies some commands and then cancels everything: no number that was loaded may make that fail. The workload
/// observes the events of its orders, so that its cancels and amends name orders that exist.
fn trade_on(engine: &mut Engine) {
    let mut workload = Workload::new(Profile::Mixed, 5);
    for _ in 0..24 {
        let command = workload.next_command();
        apply(engine, &command, &mut workload);
    }
    let accounts: Vec<AccountId> = engine.accounts().iter().map(|(id, _)| id).collect();
    for account in accounts {
        apply(engine, &cancel_all(account), &mut workload);
    }
    engine.verify().expect("the state is consistent after the commands");
}

/// Applies a command, with a time not before that of the loaded state. After the last possible sequence it does
/// nothing.
fn apply(engine: &mut Engine, command: &Command, workload: &mut Workload) {
    let Some(seq) = engine.stamp().seq.0.checked_add(1) else { return };
    let stamp = Stamp { seq: Seq(seq), ts: TsNs(engine.stamp().ts.0.max(workload.now().0)) };
    engine.apply(stamp, command, workload);
}

fn cancel_all(account: AccountId) -> Command {
    Command::MassCancel(MassCancel {
        session: SessionId::NONE,
        cl_ord_id: ClOrdId(0),
        account,
        scope: MassScope::Account,
        market: MarketId::NONE,
        side: None,
        price_min: None,
        price_max: None,
        cancel_group: 0,
        block: BlockChange::Keep,
        continued: false,
    })
}

fn seeds() -> Vec<Vec<u8>> {
    [(Profile::Mixed, 0), (Profile::Mixed, 60), (Profile::Maker, 40), (Profile::Crosses, 60)]
        .into_iter()
        .map(|(profile, commands)| saved_after(profile, commands))
        .collect()
}

fn saved_after(profile: Profile, commands: usize) -> Vec<u8> {
    let mut workload = Workload::new(profile, 11);
    let mut engine = Engine::new(CAPACITY);
    for (idx, command) in workload.setup().iter().enumerate() {
        engine.apply(Stamp { seq: Seq(idx as u64 + 1), ts: workload.now() }, command, &mut workload);
    }
    for _ in 0..commands {
        let command = workload.next_command();
        let stamp = Stamp { seq: engine.stamp().seq.next(), ts: workload.now() };
        engine.apply(stamp, &command, &mut workload);
    }
    let mut input = Vec::new();
    for (section, piece) in save(&engine) {
        input.push(section as u8);
        input.extend_from_slice(&u16::try_from(piece.len()).expect("a small state").to_le_bytes());
        input.extend_from_slice(&piece);
    }
    input
}
