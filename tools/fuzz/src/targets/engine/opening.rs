//! The exchange on which an input begins: markets whose steps lie at the ends of what is allowed, families of accounts,
//! sessions, and so much money that no amount of an input fails for want of it.

use book::command::*;
use book::fees::MarketFees;
use book::ids::{AccountId, AssetId, ClientKey, Symbol, UserName};
use book::units::{Ppm, QTY_LOTS_MAX, QtyLots, UNITS_MAX, Units};

/// Assets without decimal places, with all of them, and with some.
const BIG: AssetId = AssetId(1);
const USDT: AssetId = AssetId(2);
const MID: AssetId = AssetId(3);
const ASSETS: [(&str, u8); 3] = [("BIG", 0), ("USDT", 8), ("MID", 4)];

pub(super) const MARKETS: u8 = 5;
/// A user, its account, and whether it is a drop copy. Session N is of account N, but for the last one.
pub(super) const SESSIONS: [(&str, u32, bool); 6] =
    [("S1", 1, false), ("S2", 2, false), ("S3", 3, false), ("S4", 4, false), ("S5", 5, false), ("S6", 2, true)];
/// Accounts 2 to 5 trade; 1 is the master of 2 and 3.
const TRADERS: [u32; 4] = [2, 3, 4, 5];

pub(super) fn commands() -> Vec<Command> {
    let mut admin: Vec<Admin> =
        ASSETS.into_iter().map(|(text, scale)| Admin::AddAsset { symbol: symbol(text), scale }).collect();
    admin.extend(markets().map(Admin::AddMarket));
    let fees = FeeTier { maker_scale: Ppm(2_000_000), taker_scale: Ppm(2_000_000) };
    admin.push(Admin::SetFeeTier { tier: 1, fees });
    admin.push(account("master", AccountKind::Client, 0, 0));
    admin.push(account("child one", AccountKind::Client, 1, 0));
    admin.push(account("child two", AccountKind::Client, 1, 0));
    admin.push(account("maker", AccountKind::MarketMaker, 0, 1));
    admin.push(account("other", AccountKind::Client, 0, 0));
    admin.extend(SESSIONS.map(|(user, account, drop_copy)| session(user, account, drop_copy)));
    for account in TRADERS.map(AccountId) {
        for asset in [BIG, USDT, MID] {
            let reference = ClientKey(1 << 64 | u128::from(account.0) << 8 | u128::from(asset.0));
            let amount = Units(UNITS_MAX / TRADERS.len() as u64);
            admin.push(Admin::Deposit(FundsMove { account, asset, amount, reference }));
        }
    }
    admin.into_iter().map(|admin| Command::Admin(Box::new(admin))).collect()
}

/// Lots are so many units and ticks so much money that the two ends of every conversion are in reach.
fn markets() -> impl Iterator<Item = MarketSpec> {
    // What the node itself allows at most, so that every order can be shown on the wire.
    let on_wire = market("BIGUSDT", (BIG, USDT), 10, 100_000_000, 92_233_720_368);
    // Orders that are larger than the wire shows.
    let wide = market("BIGUSDT-W", (BIG, USDT), 10, 100_000_000, QTY_LOTS_MAX);
    // One unit of both, with fees, a rebate and a band.
    let fine = market("MIDUSDT", (MID, USDT), 10_000_000, 10_000, QTY_LOTS_MAX);
    let limits = MarketLimits { notional_min: Units(10), price_band: Ppm(500_000), ..fine.limits };
    let fine = MarketSpec { limits, fees: MarketFees::received(Ppm(-50), Ppm(100_000)), ..fine };
    // The smallest lot there is.
    let small = market("USDTMID", (USDT, MID), 10_000_000_000_000, 1, QTY_LOTS_MAX);
    // Prices that are larger than the wire shows.
    let coarse = market("MIDBIG", (MID, BIG), 1_000_000_000_000_000_000, 100_000_000, QTY_LOTS_MAX / 10_000);
    [on_wire, wide, fine, small, coarse].into_iter()
}

fn market(name: &str, (base, quote): (AssetId, AssetId), tick_e9: u64, lot_e8: u64, lots_max: u64) -> MarketSpec {
    let limits =
        MarketLimits { qty_min: QtyLots(1), qty_max: QtyLots(lots_max), notional_min: Units(0), price_band: Ppm(0) };
    MarketSpec {
        symbol: symbol(name),
        base,
        quote,
        tick_e9,
        lot_e8,
        limits,
        fees: MarketFees::NONE,
        status: MarketStatus::Trading,
    }
}

fn symbol(text: &str) -> Symbol {
    Symbol::new(text).expect("a valid symbol")
}

fn account(name: &str, kind: AccountKind, parent: u32, fee_tier: u8) -> Admin {
    Admin::AddAccount(AccountSpec { name: name.to_owned(), kind, parent: AccountId(parent), fee_tier })
}

fn session(user: &str, account: u32, drop_copy: bool) -> Admin {
    Admin::AddSession(SessionSpec {
        account: AccountId(account),
        user: UserName::new(user).expect("a valid name"),
        password_hash: "hash".to_owned(),
        drop_copy,
        throttle: Throttle::default(),
        cod_mode: if drop_copy { CodMode::Off } else { CodMode::Both },
        cod_scope: CodScope::Session,
        cod_window_ms: 0,
    })
}
