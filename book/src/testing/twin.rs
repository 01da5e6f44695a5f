//! The naive twin beside an engine: given the same commands, it must have said the same and own the same.

use super::naive::Naive;
use crate::command::{Command, OrderRef};
use crate::engine::Engine;
use crate::event::Event;
use crate::ids::OrderId;
use crate::reject::AdminReason;
use crate::units::Stamp;
use std::collections::HashMap;

/// Drop copies of one account.
const DROP_COPIES_MAX: usize = 2;

/// The twin, and how the engine's order ids map to its own.
#[derive(Default)]
pub struct Twin {
    naive: Naive,
    ids: HashMap<OrderId, OrderId>,
    /// Numbers of orders that lives of the streams have skipped. The twin skips none.
    skipped: u64,
}

impl Twin {
    /// Applies what an engine has applied and compares what both said of orders.
    pub fn follow(&mut self, stamp: Stamp, command: &Command, events: &[Event]) -> Result<(), String> {
        let granted = !events.iter().any(|event| match event {
            Event::AdminRejected { reason } => *reason != AdminReason::NotAuthorised,
            event => matches!(event, Event::FundsMoved { repeated: true, .. }),
        });
        let mut expected = Vec::new();
        if granted {
            self.naive.apply(stamp, &self.translated(command), &mut expected);
        }
        self.skipped += events
            .iter()
            .map(|event| if let Event::RunBegan { skipped, .. } = event { *skipped } else { 0 })
            .sum::<u64>();
        let about_orders: Vec<Event> = events.iter().copied().filter(is_about_orders).collect();
        let got = about_orders.into_iter().map(|e| self.mapped(e)).collect::<Result<Vec<Event>, String>>()?;
        let expected: Vec<Event> = expected.into_iter().map(|e| restored(e, command)).collect();
        if let Some(Event::SessionAdded { account, .. }) = events.first()
            && DROP_COPIES_MAX < self.naive.drop_copies(*account)
        {
            return Err(format!("account {} has too many drop copies with {command:?}", account.0));
        }
        if got == expected {
            return Ok(());
        }
        Err(format!("events of {command:?}\nactual: {events:#?}\ngot {got:#?}\nexpected {expected:#?}"))
    }

    /// Compares everything that anybody owns.
    pub fn compare_balances(&self, engine: &Engine) -> Result<(), String> {
        for (id, account) in engine.accounts().iter() {
            for asset in engine.accounts().assets().iter().map(|a| a.asset.id) {
                let got = (u128::from(account.available(asset).0), u128::from(account.held(asset).0));
                let expected = self.naive.balance(id, asset);
                if got != expected {
                    return Err(format!("account {} asset {}: has {got:?}, owns {expected:?}", id.0, asset.0));
                }
            }
        }
        for asset in engine.accounts().assets() {
            let (got, expected) = (u128::from(asset.fees.0), self.naive.fees(asset.asset.id));
            if got != expected {
                return Err(format!("fees of {}: {got}, not {expected}", asset.asset.symbol));
            }
        }
        let (got, expected) = (engine.pool().orders.len(), self.naive.open_count());
        if got == expected { Ok(()) } else { Err(format!("{got} orders are open, not {expected}")) }
    }

    /// The command in the twin's ids; an id that never was stays one that never was.
    fn translated(&self, command: &Command) -> Command {
        let mut command = command.clone();
        let translate = |target: &mut OrderRef| {
            if !target.order_id.is_none() {
                target.order_id = self.ids.get(&target.order_id).copied().unwrap_or(OrderId(u64::MAX));
            }
        };
        match &mut command {
            Command::Cancel(cancel) => translate(&mut cancel.target),
            Command::Amend(amend) => translate(&mut amend.target),
            Command::CancelReplace(replace) => translate(&mut replace.target),
            Command::Query(query) => translate(&mut query.target),
            Command::Continue(rest) => rest.at = self.ids.get(&rest.at).copied().unwrap_or(OrderId(u64::MAX)),
            _ => {}
        }
        command
    }

    /// An event of the engine in the twin's ids, which are given out in order of appearance.
    fn mapped(&mut self, mut event: Event) -> Result<Event, String> {
        if let Event::Accepted(accepted) = &event {
            let next = OrderId(self.ids.len() as u64 + 1);
            if accepted.order_id.number() != next.0 + self.skipped || self.ids.insert(accepted.order_id, next).is_some()
            {
                return Err(format!(
                    "order {} is accepted, number {} was next",
                    accepted.order_id.0,
                    next.0 + self.skipped
                ));
            }
        }
        let map = |id: &mut OrderId| {
            let known = self.ids.get(id).copied();
            known.map(|known| *id = known).ok_or_else(|| format!("order {} was not accepted before this", id.0))
        };
        match &mut event {
            Event::Accepted(accepted) => map(&mut accepted.order_id)?,
            Event::Rested(rested) => map(&mut rested.order_id)?,
            Event::Fill(fill) => {
                map(&mut fill.maker.order_id)?;
                map(&mut fill.taker.order_id)?;
            }
            Event::Reduced(reduced) => map(&mut reduced.order_id)?,
            Event::Amended(amended) => map(&mut amended.order_id)?,
            Event::Canceled(canceled) => map(&mut canceled.order_id)?,
            Event::OrderStatus(status) if !status.order_id.is_none() => map(&mut status.order_id)?,
            Event::Unfinished(rest) => map(&mut rest.at)?,
            Event::Repeated(repeated) => {
                if let Ok(id) = &mut repeated.outcome {
                    map(id)?;
                }
            }
            _ => {}
        }
        Ok(event)
    }
}

/// A refused cancel repeats the id it was asked for, so the twin's answer gets the asked id back.
fn restored(mut event: Event, command: &Command) -> Event {
    let asked = match command {
        Command::Cancel(cancel) => cancel.target.order_id,
        Command::Amend(amend) => amend.target.order_id,
        Command::CancelReplace(replace) => replace.target.order_id,
        _ => return event,
    };
    if let Event::CancelRejected(rejected) = &mut event {
        rejected.order_id = asked;
    }
    event
}

fn is_about_orders(event: &Event) -> bool {
    matches!(
        event,
        Event::Accepted(_)
            | Event::Rejected(_)
            | Event::Rested(_)
            | Event::Fill(_)
            | Event::Reduced(_)
            | Event::Amended(_)
            | Event::Canceled(_)
            | Event::CancelRejected(_)
            | Event::MassCanceled(_)
            | Event::OrderStatus(_)
            | Event::Unfinished(_)
            | Event::Repeated(_)
            | Event::WindowBegan(_)
            | Event::SessionLifeBegan { .. }
            | Event::SessionPasswordChanged { .. }
            | Event::SessionRemoved { .. }
            | Event::SessionDisconnected { .. }
            | Event::AdminRejected { reason: AdminReason::NotAuthorised }
    )
}
