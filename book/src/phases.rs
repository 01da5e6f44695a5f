//! What the status of a market, of an account and of a session allows: the one table of the exchange.
//!
//! | status | new order | amendment that adds | amendment that only takes off | cancel |
//! |---|---|---|---|---|
//! | market trading | yes | yes | yes | yes |
//! | market post-only | post-only orders | of post-only orders | yes | yes |
//! | market cancel-only, halted, closed | `NotTrading` | `NotTrading` | yes (1) | yes (1) |
//! | account suspended or closed | `AccountNotTrading` | `AccountNotTrading` | yes | yes |
//! | account or session blocked | `KillSwitch` | `KillSwitch` | yes | yes |
//! | intake stopped (`intake`) | `IntakeStopped` | `IntakeStopped` | yes | yes |
//!
//! (1) Under rules 1 neither in a halt. Orders that rest trade with every order that the market lets in. Invariant:
//! what only takes risk off is never refused for a status.

use crate::accounts::Account;
use crate::command::{AccountStatus, MarketStatus, Tif};
use crate::mutation::{Mutation, Planted};
use crate::reject::RejectReason;
use crate::rules::Rules;

/// Whether a market's status lets an order of this lifetime in, or an amendment of such an order that adds.
pub(crate) fn admit_phase(status: MarketStatus, tif: Tif) -> Result<(), RejectReason> {
    match status {
        MarketStatus::Trading => Ok(()),
        MarketStatus::PostOnly if tif == Tif::GtcPostOnly => Ok(()),
        MarketStatus::PostOnly => Err(RejectReason::PostOnlyPhase),
        MarketStatus::Halt | MarketStatus::CancelOnly | MarketStatus::Closed => Err(RejectReason::NotTrading),
    }
}

/// Whether clients may cancel and take quantity off in a market of this status.
pub(crate) fn lets_out(rules: Rules, status: MarketStatus) -> bool {
    let always = (Rules::Two <= rules).planted(Mutation::HaltKeepsOrders, |_| false);
    always || status != MarketStatus::Halt
}

/// Whether an account may place orders and add to them.
pub(crate) fn admit_account(account: &Account, session_blocked: bool) -> Result<(), RejectReason> {
    if account.status != AccountStatus::Active {
        return Err(RejectReason::AccountNotTrading);
    }
    if session_blocked || account.blocked { Err(RejectReason::KillSwitch) } else { Ok(()) }
}
