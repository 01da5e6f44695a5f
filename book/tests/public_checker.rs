//! Fairness as the public can see it: a book built from public events alone, and the rules it must keep.
//!
//! Public are `Rested`, `Fill`, `Reduced` and `Canceled` of orders that rested, and `Amended`. On the owner's side,
//! each order begins with `Accepted`, what is filled never falls, and there is one end.

use book::command::Side;
use book::engine::{Capacity, Engine};
use book::event::{Event, Fill, FillSide};
use book::ids::{MarketId, OrderId};
use book::testing::workload::{Profile, Workload};
use book::units::Stamp;
use std::collections::{BTreeMap, HashMap, HashSet};

#[derive(Clone, Copy)]
struct Resting {
    market: MarketId,
    side: Side,
    price: u32,
    leaves: u64,
    /// Running number of its arrival in the queue.
    arrived: u64,
}

#[derive(Default)]
struct Public {
    resting: BTreeMap<OrderId, Resting>,
    arrivals: u64,
    /// Orders that left the book by an amendment and have not come back.
    away: HashSet<OrderId>,
}

impl Public {
    fn follow(&mut self, event: &Event) {
        match event {
            Event::Rested(e) => {
                self.arrivals += 1;
                let (side, price) = (e.side, e.price.0);
                let order = Resting { market: e.market, side, price, leaves: e.qty.0, arrived: self.arrivals };
                assert!(e.qty.0 > 0, "nothing rests: {e:?}");
                self.away.remove(&e.order_id);
                assert!(self.resting.insert(e.order_id, order).is_none(), "rests twice: {e:?}");
            }
            Event::Fill(e) => self.fill(e),
            Event::Reduced(e) if e.was_resting => {
                self.take(e.order_id, e.qty.0);
                assert_eq!(self.leaves(e.order_id), e.leaves.0, "{e:?}");
            }
            Event::Amended(e) if e.kept_priority => {
                let order = self.resting.get_mut(&e.order_id).expect("an amended order rests");
                assert!(e.price.0 == order.price && e.leaves.0 <= order.leaves, "keeps a place it must lose: {e:?}");
                order.leaves = e.leaves.0;
            }
            Event::Amended(e) => {
                self.resting.remove(&e.order_id).expect("an amended order rests");
                self.away.insert(e.order_id);
            }
            Event::Canceled(e) if e.was_resting => {
                let order = self.resting.remove(&e.order_id).expect("a cancelled order rests");
                assert_eq!(order.leaves, e.qty.0, "{e:?}");
            }
            Event::Canceled(e) => drop(self.away.remove(&e.order_id)),
            _ => {}
        }
    }

    /// The maker must be the oldest order at the best price of its side.
    fn fill(&mut self, fill: &Fill) {
        let maker = self.resting[&fill.maker.order_id];
        assert_eq!((maker.market, maker.side.opposite()), (fill.market, fill.taker_side), "{fill:?}");
        assert_eq!(maker.price, fill.price.0, "a trade at the maker's price: {fill:?}");
        let rank = |order: &Resting| {
            let price = i64::from(order.price);
            (if order.side == Side::Buy { -price } else { price }, order.arrived)
        };
        let same_side = self.resting.values().filter(|o| o.market == maker.market && o.side == maker.side);
        let first = same_side.map(rank).min().expect("the maker rests");
        assert_eq!(rank(&maker), first, "traded through or out of turn: {fill:?}");
        self.take(fill.maker.order_id, fill.qty.0);
        assert_eq!(self.leaves(fill.maker.order_id), fill.maker.leaves.0, "{fill:?}");
        if fill.taker.leaves.0 == 0 {
            self.away.remove(&fill.taker.order_id);
        }
    }

    fn take(&mut self, id: OrderId, qty: u64) {
        let order = self.resting.get_mut(&id).expect("quantity is taken off an order that rests");
        order.leaves = order.leaves.checked_sub(qty).expect("no more than rests is taken");
        if order.leaves == 0 {
            self.resting.remove(&id);
        }
    }

    fn leaves(&self, id: OrderId) -> u64 {
        self.resting.get(&id).map_or(0, |order| order.leaves)
    }

    /// After a command: every amended order is back or has ended, and no book is crossed.
    fn is_settled(&self) {
        assert!(self.away.is_empty(), "an amended order neither came back nor ended: {:?}", self.away);
        let mut best: HashMap<(MarketId, Side), u32> = HashMap::new();
        for order in self.resting.values() {
            let price = best.entry((order.market, order.side)).or_insert(order.price);
            *price = if order.side == Side::Buy { order.price.max(*price) } else { order.price.min(*price) };
        }
        for (&(market, _), &bid) in best.iter().filter(|((_, side), _)| *side == Side::Buy) {
            if let Some(&ask) = best.get(&(market, Side::Sell)) {
                assert!(bid < ask, "market {} is crossed: bid {bid}, ask {ask}", market.0);
            }
        }
    }
}

/// What the owner of an order gets to know about it.
#[derive(Default)]
struct Owners {
    cum: HashMap<OrderId, u64>,
    ended: HashSet<OrderId>,
}

impl Owners {
    fn follow(&mut self, event: &Event) {
        match event {
            Event::Accepted(e) => assert!(self.cum.insert(e.order_id, 0).is_none(), "accepted twice: {e:?}"),
            Event::Rested(e) => self.alive(e.order_id),
            Event::Fill(e) => {
                for side in [&e.maker, &e.taker] {
                    self.filled(side, e.qty.0);
                }
            }
            Event::Reduced(e) => {
                self.alive(e.order_id);
                assert_eq!(e.cum.0, self.cum[&e.order_id], "a reduction fills nothing");
            }
            Event::Amended(e) => {
                self.alive(e.order_id);
                assert_eq!(e.cum.0, self.cum[&e.order_id], "an amendment fills nothing by itself");
            }
            Event::Canceled(e) => {
                self.alive(e.order_id);
                assert_eq!(e.cum.0, self.cum[&e.order_id], "{e:?}");
                self.ended.insert(e.order_id);
            }
            _ => {}
        }
    }

    fn alive(&self, id: OrderId) {
        assert!(self.cum.contains_key(&id), "something came before Accepted: {id:?}");
        assert!(!self.ended.contains(&id), "something came after the end: {id:?}");
    }

    fn filled(&mut self, side: &FillSide, qty: u64) {
        self.alive(side.order_id);
        let cum = self.cum.get_mut(&side.order_id).expect("an accepted order");
        *cum += qty;
        assert_eq!(*cum, side.cum.0, "cumulative grows by each fill");
        if side.leaves.0 == 0 {
            self.ended.insert(side.order_id);
        }
    }
}

fn watch(profile: Profile, seed: u64, commands: usize) -> usize {
    let mut workload = Workload::new(profile, seed).with_live_target(100);
    let mut engine = Engine::new(Capacity::default());
    let (mut public, mut owners) = (Public::default(), Owners::default());
    let mut events: Vec<Event> = Vec::new();
    let mut fill_count = 0;
    let setup = workload.setup();
    for idx in 0..setup.len() + commands {
        let command = if idx < setup.len() { setup[idx].clone() } else { workload.next_command() };
        events.clear();
        let stamp = Stamp { seq: engine.stamp().seq.next(), ts: workload.now() };
        engine.apply(stamp, &command, &mut events);
        for event in &events {
            workload.observe(event);
            public.follow(event);
            owners.follow(event);
            fill_count += usize::from(matches!(event, Event::Fill(_)));
        }
        public.is_settled();
    }
    // An order rests exactly when it has not ended.
    let open: HashSet<OrderId> = owners.cum.keys().filter(|id| !owners.ended.contains(id)).copied().collect();
    assert_eq!(open, public.resting.keys().copied().collect());
    fill_count
}

#[test]
fn the_public_sees_a_fair_market() {
    let seeds = if cfg!(debug_assertions) { 8 } else { 40 };
    for profile in [Profile::Mixed, Profile::Governed, Profile::Maker, Profile::Crosses] {
        // A governed exchange spends some of its time halted, or with its intake stopped.
        let fill_counts: Vec<u64> = (0..seeds).map(|seed| watch(profile, seed, 4_000) as u64).collect();
        assert!(fill_counts.iter().all(|fills| 0 < *fills), "{profile:?}: a seed without a fill proves nothing");
        let total: u64 = fill_counts.iter().sum();
        assert!(40 * seeds < total, "{profile:?}: {total} fills prove little");
    }
}

/// The checker itself must notice: a maker that is not the first in the queue.
#[test]
#[should_panic(expected = "traded through or out of turn")]
fn a_fill_out_of_turn_is_noticed() {
    let mut public = Public::default();
    let mut workload = Workload::new(Profile::Crosses, 1);
    let mut engine = Engine::new(Capacity::default());
    let mut events: Vec<Event> = Vec::new();
    let setup = workload.setup();
    for idx in 0..10_000 {
        let command = if idx < setup.len() { setup[idx].clone() } else { workload.next_command() };
        events.clear();
        let stamp = Stamp { seq: engine.stamp().seq.next(), ts: workload.now() };
        engine.apply(stamp, &command, &mut events);
        for event in &events {
            workload.observe(event);
            if let Event::Rested(rested) = event {
                public.follow(event);
                // As if every order had come a little earlier than the one before it.
                let last = public.arrivals;
                public.resting.get_mut(&rested.order_id).expect("it rests").arrived = u64::MAX - last;
                continue;
            }
            public.follow(event);
        }
    }
}
