//! The ops listener's copy of everything that has a name: assets, markets, accounts, sessions, keys.
//!
//! It is filled from the recovered engine before the engine's thread starts, and then updated with the events of
//! administrative commands. It holds only what those commands change: not balances, orders or blocks.
//!
//! Invariant: commands are applied in the order of the log, each once (`ops::command_queue` sends one at a time).

use api::instruments::{Instrument, Instruments};
use book::command::{AccountKind, AccountStatus, Act, Admin};
use book::engine::Engine;
use book::event::Event;
use book::ids::{AccountId, KeyId, SessionId, Symbol, UserName};
use book::instrument::Asset;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountEntry {
    pub name: String,
    pub kind: AccountKind,
    pub parent: AccountId,
    pub status: AccountStatus,
    pub fee_tier: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEntry {
    pub user: UserName,
    pub account: AccountId,
    pub drop_copy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    pub account: AccountId,
    /// Bit 0 read, bit 1 trade, bit 2 withdraw.
    pub permissions: u8,
    pub revoked: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Registry {
    instruments: Instruments,
    /// Sorted by id, because they are listed in that order.
    accounts: BTreeMap<AccountId, AccountEntry>,
    accounts_by_name: BTreeMap<String, AccountId>,
    sessions: BTreeMap<SessionId, SessionEntry>,
    sessions_by_user: BTreeMap<UserName, SessionId>,
    keys: BTreeMap<String, KeyEntry>,
    /// Their names by id, which is the order in which keys were added.
    keys_by_id: BTreeMap<KeyId, String>,
    /// The id of the key that was added last.
    key_last: KeyId,
}

impl Registry {
    /// The names that the engine knows now.
    pub fn of(engine: &Engine) -> Self {
        let mut registry = Self::default();
        for book in engine.accounts().assets() {
            registry.instruments.add_asset(book.asset);
        }
        for market in engine.markets() {
            registry.instruments.set_market(market.rules);
        }
        for (id, account) in engine.accounts().iter() {
            let entry = AccountEntry {
                name: engine.accounts().name(id).unwrap_or_default().to_owned(),
                kind: account.kind,
                parent: account.parent,
                status: account.status,
                fee_tier: account.fee_tier,
            };
            registry.add_account(id, entry);
        }
        for (id, session) in engine.sessions().iter().filter(|(_, session)| !session.removed) {
            let entry = SessionEntry { user: session.user, account: session.account, drop_copy: session.drop_copy };
            registry.add_session(id, entry);
        }
        for (id, key) in engine.keys().iter() {
            let spec = &key.spec;
            let entry = KeyEntry { account: spec.account, permissions: spec.permissions, revoked: key.revoked };
            registry.add_key(id, spec.key.clone(), entry);
        }
        registry.key_last = engine.keys().id_last();
        registry
    }

    /// Applies the events of an administrative command.
    pub fn apply(&mut self, act: &Act, events: &[Event]) {
        let Act::Admin(admin) = act else { return };
        for event in events {
            self.instruments.apply(event);
            self.apply_event(admin, event);
        }
    }

    fn apply_event(&mut self, admin: &Admin, event: &Event) {
        match (admin, event) {
            (Admin::AddAccount(spec), Event::AccountAdded { account }) => {
                let entry = AccountEntry {
                    name: spec.name.clone(),
                    kind: spec.kind,
                    parent: spec.parent,
                    status: AccountStatus::Active,
                    fee_tier: spec.fee_tier,
                };
                self.add_account(*account, entry);
            }
            (_, Event::AccountChanged { account, status, fee_tier, .. }) => {
                if let Some(entry) = self.accounts.get_mut(account) {
                    entry.status = *status;
                    entry.fee_tier = *fee_tier;
                }
            }
            (_, Event::SessionAdded { session, account, user, drop_copy }) => {
                let entry = SessionEntry { user: *user, account: *account, drop_copy: *drop_copy };
                self.add_session(*session, entry);
            }
            // Once its orders are being cancelled, nothing comes between that and its removal.
            (Admin::RemoveSession { session }, Event::SessionRemoved { .. } | Event::Unfinished(_)) => {
                if let Some(entry) = self.sessions.remove(session) {
                    self.sessions_by_user.remove(&entry.user);
                }
            }
            (Admin::AddKey(spec), Event::KeyAdded { account }) => {
                let entry = KeyEntry { account: *account, permissions: spec.permissions, revoked: false };
                self.add_key(KeyId(self.key_last.0 + 1), spec.key.clone(), entry);
            }
            (Admin::RevokeKey { key }, Event::KeyRevoked { .. }) => {
                if let Some(entry) = self.keys.get_mut(key) {
                    entry.revoked = true;
                }
            }
            (_, Event::KeyForgotten { key }) => {
                if let Some(name) = self.keys_by_id.remove(key) {
                    self.keys.remove(&name);
                }
            }
            _ => {}
        }
    }

    fn add_key(&mut self, id: KeyId, name: String, entry: KeyEntry) {
        self.keys_by_id.insert(id, name.clone());
        self.keys.insert(name, entry);
        self.key_last = id;
    }

    fn add_account(&mut self, id: AccountId, entry: AccountEntry) {
        self.accounts_by_name.insert(entry.name.clone(), id);
        self.accounts.insert(id, entry);
    }

    fn add_session(&mut self, id: SessionId, entry: SessionEntry) {
        self.sessions_by_user.insert(entry.user, id);
        self.sessions.insert(id, entry);
    }

    pub fn find_asset(&self, symbol: &str) -> Option<&Asset> {
        self.instruments.find_asset(Symbol::new(symbol)?)
    }

    pub fn find_market(&self, symbol: &str) -> Option<&Instrument> {
        self.instruments.find_by_symbol(Symbol::new(symbol)?)
    }

    pub fn find_account(&self, name: &str) -> Option<AccountId> {
        self.accounts_by_name.get(name).copied()
    }

    pub fn find_session(&self, user: &str) -> Option<SessionId> {
        self.sessions_by_user.get(&UserName::new(user)?).copied()
    }

    pub fn account(&self, id: AccountId) -> Option<&AccountEntry> {
        self.accounts.get(&id)
    }

    pub fn session(&self, id: SessionId) -> Option<&SessionEntry> {
        self.sessions.get(&id)
    }

    pub fn instruments(&self) -> &Instruments {
        &self.instruments
    }

    pub fn accounts(&self) -> impl Iterator<Item = (AccountId, &AccountEntry)> {
        self.accounts.iter().map(|(id, entry)| (*id, entry))
    }

    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &SessionEntry)> {
        self.sessions.iter().map(|(id, entry)| (*id, entry))
    }

    pub fn keys(&self) -> impl Iterator<Item = (&str, &KeyEntry)> {
        self.keys.iter().map(|(key, entry)| (key.as_str(), entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use book::command::Throttle;
    use book::command::{AccountSpec, CodMode, CodScope, KeySpec, MarketLimits, MarketSpec, MarketStatus, SessionSpec};
    use book::engine::Capacity;
    use book::fees::MarketFees;
    use book::ids::AssetId;
    use book::units::{Ppm, QtyLots, Seq, Stamp, TsNs, Units};

    fn acts() -> Vec<Admin> {
        let symbol = |text| Symbol::new(text).expect("a valid symbol");
        let limits =
            MarketLimits { qty_min: QtyLots(1), qty_max: QtyLots(1_000), notional_min: Units(0), price_band: Ppm(0) };
        let account = |name: &str| {
            let kind = AccountKind::Client;
            Admin::AddAccount(AccountSpec { name: name.to_owned(), kind, parent: AccountId::NONE, fee_tier: 0 })
        };
        vec![
            Admin::AddAsset { symbol: symbol("BTC"), scale: 8 },
            Admin::AddAsset { symbol: symbol("USDT"), scale: 6 },
            Admin::AddMarket(MarketSpec {
                symbol: symbol("BTCUSDT"),
                base: AssetId(1),
                quote: AssetId(2),
                tick_e9: 10_000_000,
                lot_e8: 1_000_000,
                limits,
                fees: MarketFees::received(Ppm(100), Ppm(200)),
                status: MarketStatus::Trading,
            }),
            Admin::SetMarketStatus { market: book::ids::MarketId(1), status: MarketStatus::Halt },
            account("alice"),
            account("alice"),
            account("bob"),
            Admin::SetAccountFeeTier { account: AccountId(2), tier: 3 },
            Admin::AddSession(SessionSpec {
                account: AccountId(2),
                user: UserName::new("MM1").expect("a valid user"),
                password_hash: "$argon2id$".to_owned(),
                drop_copy: true,
                throttle: Throttle::default(),
                cod_mode: CodMode::Off,
                cod_scope: CodScope::Session,
                cod_window_ms: 0,
            }),
            Admin::AddKey(KeySpec {
                account: AccountId(1),
                key: "K1".to_owned(),
                permissions: 3,
                ed25519_public: vec![0; 32],
                addresses: vec![],
                expires: TsNs(0),
            }),
            Admin::RevokeKey { key: "K1".to_owned() },
        ]
    }

    #[test]
    fn kept_by_commands_it_equals_one_seeded_from_the_engine() {
        let mut engine = Engine::new(Capacity::default());
        let mut kept = Registry::of(&engine);
        for (idx, admin) in acts().into_iter().enumerate() {
            let act = Act::Admin(admin);
            let mut events = Vec::new();
            engine.apply(Stamp { seq: Seq(idx as u64 + 1), ts: TsNs(1) }, &act.clone().into_bare(), &mut events);
            kept.apply(&act, &events);
        }
        let seeded = Registry::of(&engine);
        assert!(kept.instruments.all().eq(seeded.instruments.all()));
        assert_eq!(kept.instruments.assets(), seeded.instruments.assets());
        assert_eq!(kept.accounts, seeded.accounts);
        assert_eq!(kept.sessions, seeded.sessions);
        assert_eq!(kept.keys, seeded.keys);
        assert_eq!(kept.find_account("bob"), Some(AccountId(2)));
        assert_eq!(kept.find_session("MM1"), Some(SessionId(1)));
        assert_eq!(kept.find_market("BTCUSDT").map(|m| m.rules.status), Some(MarketStatus::Halt));
    }
}
