//! Turns a request of the admin API into commands: names become ids; decimal text becomes ticks, lots and units,
//! exactly.
//!
//! A request that is refused here never reaches the log. What depends on the engine's state (a name in use,
//! insufficient funds) is refused by the engine.

use super::refusal::Refusal;
use crate::ops::registry::Registry;
use api::admin::*;
use api::decimal::{DecimalError, PriceE9, QtyE8, parse_fixed};
use api::instruments::WIRE_AMOUNT_MAX;
use base64ct::{Base64, Encoding};
use book::command::{
    AccountSpec, Act, Admin, BlockChange, CodMode, FeeTier, FundsMove, KeySpec, MarketLimits, MarketSpec, MarketStatus,
    MassCancel, MassScope, SessionSpec, Throttle,
};
use book::fees::MarketFees;
use book::ids::{AccountId, ClientKey, MarketId, SessionId, Symbol, UserName};
use book::instrument::{Asset, MarketRules, QTY_WIRE_SCALE};
use book::rules::RulesVersion;
use book::units::{Ppm, QTY_LOTS_MAX, QtyLots, Seq, TsNs, UNITS_MAX, Units};

/// Longest reference text of a deposit or withdrawal.
const REFERENCE_BYTES_MAX: usize = 128;
/// The DER encoding of an Ed25519 public key (RFC 8410) is this prefix and the 32 bytes of the key.
const ED25519_DER_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
pub const ED25519_PUBLIC_BYTES: usize = 32;

/// A request that can be turned into commands with the names in the registry.
pub trait ToActs {
    fn acts(&self, registry: &Registry) -> Result<Vec<Act>, Refusal>;
}

fn one(admin: Admin) -> Result<Vec<Act>, Refusal> {
    Ok(vec![Act::Admin(admin)])
}

impl ToActs for AddAsset {
    fn acts(&self, _: &Registry) -> Result<Vec<Act>, Refusal> {
        one(Admin::AddAsset { symbol: symbol("symbol", &self.symbol)?, scale: self.scale })
    }
}

impl ToActs for AddMarket {
    fn acts(&self, registry: &Registry) -> Result<Vec<Act>, Refusal> {
        let base = find_asset(registry, "base", &self.base)?;
        let quote = find_asset(registry, "quote", &self.quote)?;
        let tick_e9 = on_wire("tick", &self.tick, PriceE9::parse(&self.tick).map(|price| price.0))?;
        let lot_e8 = on_wire("lot", &self.lot, QtyE8::parse(&self.lot).map(|qty| qty.0))?;
        let limits = MarketLimits {
            qty_min: lots_or("min_qty", self.min_qty.as_deref(), lot_e8, QtyLots(1))?,
            qty_max: lots_or("max_qty", self.max_qty.as_deref(), lot_e8, largest_qty(lot_e8, base))?,
            notional_min: units_or("min_notional", self.min_notional.as_deref(), quote, Units(0))?,
            price_band: Ppm(self.price_band_ppm),
        };
        one(Admin::AddMarket(MarketSpec {
            symbol: symbol("symbol", &self.symbol)?,
            base: base.id,
            quote: quote.id,
            tick_e9,
            lot_e8,
            limits,
            fees: MarketFees::new(Ppm(self.maker_fee_ppm), Ppm(self.taker_fee_ppm), self.fee_asset.into()),
            status: self.status.into(),
        }))
    }
}

impl ToActs for SetMarketStatus {
    fn acts(&self, registry: &Registry) -> Result<Vec<Act>, Refusal> {
        let status: MarketStatus = self.status.into();
        let markets: Vec<MarketId> = match (&self.market, self.all) {
            (Some(market), false) => vec![find_market(registry, market)?.id],
            (None, true) => {
                let open = registry.instruments().all().filter(|m| m.rules.status != MarketStatus::Closed);
                open.map(|m| m.rules.id).collect()
            }
            _ => return Err(Refusal::invalid("market", "give one market, or \"all\": true, not both")),
        };
        let set = |market| Act::Admin(Admin::SetMarketStatus { market, status });
        Ok(markets.into_iter().map(set).collect())
    }
}

impl ToActs for RemoveMarket {
    fn acts(&self, registry: &Registry) -> Result<Vec<Act>, Refusal> {
        one(Admin::RemoveMarket { market: find_market(registry, &self.market)?.id })
    }
}

impl ToActs for SetMarketFees {
    fn acts(&self, registry: &Registry) -> Result<Vec<Act>, Refusal> {
        let market = find_market(registry, &self.market)?.id;
        let (maker_fee, taker_fee) = (Ppm(self.maker_fee_ppm), Ppm(self.taker_fee_ppm));
        one(Admin::SetMarketFees { market, maker_fee, taker_fee })
    }
}

impl ToActs for SetMarketLimits {
    fn acts(&self, registry: &Registry) -> Result<Vec<Act>, Refusal> {
        let rules = find_market(registry, &self.market)?;
        let (before, lot_e8) = (rules.limits, rules.lot_e8);
        let quote = registry.instruments().at(rules.id).quote;
        let limits = MarketLimits {
            qty_min: lots_or("min_qty", self.min_qty.as_deref(), lot_e8, before.qty_min)?,
            qty_max: lots_or("max_qty", self.max_qty.as_deref(), lot_e8, before.qty_max)?,
            notional_min: units_or("min_notional", self.min_notional.as_deref(), &quote, before.notional_min)?,
            price_band: self.price_band_ppm.map_or(before.price_band, Ppm),
        };
        one(Admin::SetMarketLimits { market: rules.id, limits })
    }
}

impl ToActs for RaiseRules {
    fn acts(&self, _: &Registry) -> Result<Vec<Act>, Refusal> {
        one(Admin::SetRules { version: RulesVersion(self.version) })
    }
}

impl ToActs for SetIntake {
    fn acts(&self, _: &Registry) -> Result<Vec<Act>, Refusal> {
        one(Admin::SetIntake(self.intake.into()))
    }
}

impl ToActs for AcknowledgeTornEnd {
    fn acts(&self, _: &Registry) -> Result<Vec<Act>, Refusal> {
        one(Admin::AcknowledgeTornEnd { seq: Seq(self.seq) })
    }
}

impl ToActs for SetFeeTier {
    fn acts(&self, _: &Registry) -> Result<Vec<Act>, Refusal> {
        let fees = FeeTier { maker_scale: Ppm(self.maker_scale_ppm), taker_scale: Ppm(self.taker_scale_ppm) };
        one(Admin::SetFeeTier { tier: self.tier, fees })
    }
}

impl ToActs for AddAccount {
    fn acts(&self, registry: &Registry) -> Result<Vec<Act>, Refusal> {
        let parent = match &self.parent {
            Some(parent) => find_account(registry, parent)?,
            None => AccountId::NONE,
        };
        let kind = self.kind.into();
        one(Admin::AddAccount(AccountSpec { name: self.name.clone(), kind, parent, fee_tier: self.fee_tier }))
    }
}

impl ToActs for SetAccountStatus {
    fn acts(&self, registry: &Registry) -> Result<Vec<Act>, Refusal> {
        let suspends = self.status == AccountStatusWord::Suspended;
        if self.keep_orders && !suspends {
            return Err(Refusal::invalid("keep_orders", "only for the status suspended"));
        }
        let account = find_account(registry, &self.account)?;
        let status = Act::Admin(Admin::SetAccountStatus { account, status: self.status.into() });
        // The status first, so that no order joins those that are cancelled.
        let cancel =
            Act::MassCancel(MassCancel::every_order(MassScope::Account, account, MarketId::NONE, BlockChange::Keep));
        Ok(if suspends && !self.keep_orders { vec![status, cancel] } else { vec![status] })
    }
}

impl ToActs for SetAccountFeeTier {
    fn acts(&self, registry: &Registry) -> Result<Vec<Act>, Refusal> {
        one(Admin::SetAccountFeeTier { account: find_account(registry, &self.account)?, tier: self.tier })
    }
}

impl ToActs for SetAccountLimits {
    fn acts(&self, registry: &Registry) -> Result<Vec<Act>, Refusal> {
        let (account, open_orders_max) = (find_account(registry, &self.account)?, self.open_orders_max);
        one(Admin::SetAccountLimits { account, open_orders_max })
    }
}

impl ToActs for SetAccountBlock {
    fn acts(&self, registry: &Registry) -> Result<Vec<Act>, Refusal> {
        let (account, blocked) = (find_account(registry, &self.account)?, self.blocked);
        one(Admin::SetAccountBlock { account, blocked })
    }
}

impl ToActs for SetSessionBlock {
    fn acts(&self, registry: &Registry) -> Result<Vec<Act>, Refusal> {
        let (session, blocked) = (find_session(registry, &self.user)?, self.blocked);
        one(Admin::SetSessionBlock { session, blocked })
    }
}

impl ToActs for SetSessionThrottle {
    fn acts(&self, registry: &Registry) -> Result<Vec<Act>, Refusal> {
        let throttle = Throttle { orders_per_second: self.orders_per_second, burst: self.burst };
        one(Admin::SetSessionThrottle { session: find_session(registry, &self.user)?, throttle })
    }
}

/// The session that an act about it names.
pub fn named_session(request: &NameSession, registry: &Registry) -> Result<SessionId, Refusal> {
    find_session(registry, &request.user)
}

impl ToActs for RevokeKey {
    fn acts(&self, _: &Registry) -> Result<Vec<Act>, Refusal> {
        one(Admin::RevokeKey { key: self.key.clone() })
    }
}

impl ToActs for CancelAll {
    fn acts(&self, registry: &Registry) -> Result<Vec<Act>, Refusal> {
        let market = match &self.market {
            Some(market) => find_market(registry, market)?.id,
            None => MarketId::NONE,
        };
        let (account, scope) = match &self.account {
            Some(account) => (find_account(registry, account)?, MassScope::Account),
            None => (AccountId::NONE, MassScope::Market),
        };
        if account.is_none() && market.is_none() {
            return Err(Refusal::invalid("account", "give an account, a market, or both"));
        }
        if self.block && account.is_none() {
            return Err(Refusal::invalid("block", "only an account can be blocked; a market is halted"));
        }
        let block = if self.block { BlockChange::Set } else { BlockChange::Keep };
        Ok(vec![Act::MassCancel(MassCancel::every_order(scope, account, market, block))])
    }
}

/// The fields of a deposit or a withdrawal.
pub fn funds_move(request: &MoveFunds, registry: &Registry) -> Result<FundsMove, Refusal> {
    let account = find_account(registry, &request.account)?;
    payment(account, &request.asset, &request.amount, &request.reference, registry)
}

fn payment(
    account: AccountId,
    asset: &str,
    amount: &str,
    reference: &str,
    registry: &Registry,
) -> Result<FundsMove, Refusal> {
    let asset = find_asset(registry, "asset", asset)?;
    let reference_ok = !reference.is_empty()
        && reference.len() <= REFERENCE_BYTES_MAX
        && reference.bytes().all(|b| (b' '..=b'~').contains(&b));
    if !reference_ok {
        let why = format!("1 to {REFERENCE_BYTES_MAX} printable ASCII characters, one reference per payment");
        return Err(Refusal::invalid("ref", &why));
    }
    let amount = units("amount", amount, asset)?;
    Ok(FundsMove { account, asset: asset.id, amount, reference: client_key(reference) })
}

impl ToActs for SetClientNamesMax {
    fn acts(&self, _: &Registry) -> Result<Vec<Act>, Refusal> {
        one(Admin::SetClientNamesMax { max: self.max })
    }
}

impl ToActs for WithdrawFees {
    fn acts(&self, registry: &Registry) -> Result<Vec<Act>, Refusal> {
        let funds = payment(AccountId::NONE, &self.asset, &self.amount, &self.reference, registry)?;
        one(Admin::WithdrawFees(funds))
    }
}

/// The key under which the state keeps a client's own text: the first 128 bits of its BLAKE3 hash, little endian.
pub fn client_key(text: &str) -> ClientKey {
    let hash = blake3::hash(text.as_bytes());
    let (first, _) = hash.as_bytes().split_first_chunk::<16>().expect("a BLAKE3 hash has 32 bytes");
    ClientKey(u128::from_le_bytes(*first))
}

/// A new session. The caller draws and hashes its password, which takes long.
pub fn session_spec(
    request: &AddSession,
    defaults: (CodMode, u32),
    password_hash: String,
    registry: &Registry,
) -> Result<SessionSpec, Refusal> {
    let user = UserName::new(&request.user).ok_or_else(|| Refusal::invalid("user", "1 to 6 letters and digits"))?;
    // A drop-copy session only reads: it has no orders of its own to cancel.
    let cod_mode = match (request.drop_copy, request.cancel_on_disconnect) {
        (true, None | Some(CancelModeWord::Off)) => CodMode::Off,
        (true, Some(_)) => {
            return Err(Refusal::invalid(
                "cancel_on_disconnect",
                "a drop-copy session has no orders to cancel: use off",
            ));
        }
        (false, given) => given.map_or(defaults.0, CodMode::from),
    };
    Ok(SessionSpec {
        account: find_account(registry, &request.account)?,
        user,
        password_hash,
        drop_copy: request.drop_copy,
        throttle: Throttle { orders_per_second: request.orders_per_second, burst: request.burst },
        cod_mode,
        cod_scope: request.cancel_scope.into(),
        cod_window_ms: request.cancel_window_ms.unwrap_or(defaults.1),
    })
}

/// A new API key with the name `key`.
pub fn key_spec(request: &AddKey, key: String, registry: &Registry) -> Result<KeySpec, Refusal> {
    let Some(pem) = &request.ed25519 else {
        let why = "HMAC keys are not offered yet, because this node has no safe place for their secret; \
                   generate an Ed25519 key (openssl genpkey -algorithm ed25519) and send its public part";
        return Err(Refusal::unsupported("ed25519", why));
    };
    if request.permissions.is_empty() {
        return Err(Refusal::invalid("permissions", "one or more of read, trade, withdraw"));
    }
    for block in &request.addresses {
        check_cidr(block)?;
    }
    let public = parse_ed25519_pem(pem).ok_or_else(|| {
        Refusal::invalid("ed25519", "not an Ed25519 public key in PEM form (openssl pkey -in KEY -pubout)")
    })?;
    Ok(KeySpec {
        account: find_account(registry, &request.account)?,
        key,
        permissions: request.permissions.iter().fold(0, |bits, word| bits | word.bit()),
        ed25519_public: public.to_vec(),
        addresses: request.addresses.clone(),
        expires: TsNs(request.expires_ns),
    })
}

fn check_cidr(block: &str) -> Result<(), Refusal> {
    let wrong =
        || Refusal::invalid("addresses", &format!("{block:?} is not a block such as 10.0.0.0/8 or 2001:db8::/32"));
    let (address, length) = block.split_once('/').ok_or_else(wrong)?;
    let address: std::net::IpAddr = address.parse().map_err(|_| wrong())?;
    let length: u8 = length.parse().map_err(|_| wrong())?;
    let length_max = if address.is_ipv4() { 32 } else { 128 };
    if length <= length_max { Ok(()) } else { Err(wrong()) }
}

/// The Ed25519 key in a PEM-encoded SubjectPublicKeyInfo (RFC 8410); `None` for anything else.
fn parse_ed25519_pem(pem: &str) -> Option<[u8; ED25519_PUBLIC_BYTES]> {
    let body = pem.trim().strip_prefix("-----BEGIN PUBLIC KEY-----")?.strip_suffix("-----END PUBLIC KEY-----")?;
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let mut der = [0; 64];
    let der = Base64::decode(&body, &mut der).ok()?;
    der.strip_prefix(&ED25519_DER_PREFIX)?.try_into().ok()
}

fn symbol(field: &str, text: &str) -> Result<Symbol, Refusal> {
    Symbol::new(text).ok_or_else(|| Refusal::invalid(field, &format!("{text:?} is not 1 to 16 of A-Z 0-9 - _ . /")))
}

fn find_asset<'a>(registry: &'a Registry, field: &str, symbol: &str) -> Result<&'a Asset, Refusal> {
    registry.find_asset(symbol).ok_or_else(|| Refusal::unknown(field, "asset", symbol))
}

fn find_market<'a>(registry: &'a Registry, symbol: &str) -> Result<&'a MarketRules, Refusal> {
    let found = registry.find_market(symbol).map(|instrument| &instrument.rules);
    found.ok_or_else(|| Refusal::unknown("market", "market", symbol))
}

fn find_session(registry: &Registry, user: &str) -> Result<SessionId, Refusal> {
    registry.find_session(user).ok_or_else(|| Refusal::unknown("user", "session", user))
}

fn find_account(registry: &Registry, account: &AccountRef) -> Result<AccountId, Refusal> {
    let (found, text) = match account {
        AccountRef::Id(id) => (registry.account(AccountId(*id)).map(|_| AccountId(*id)), id.to_string()),
        AccountRef::Name(name) => (registry.find_account(name), name.clone()),
    };
    found.ok_or_else(|| Refusal::unknown("account", "account", &text))
}

fn above_zero(field: &str, text: &str, parsed: Result<i64, DecimalError>) -> Result<u64, Refusal> {
    let number = parsed.map_err(|error| Refusal::decimal(field, text, error))?;
    let number = u64::try_from(number).ok().filter(|n| *n > 0);
    number.ok_or_else(|| Refusal::invalid(field, &format!("{text:?} is not above zero")))
}

/// The same for a price or a quantity, which the wire has to carry exactly.
fn on_wire(field: &str, text: &str, parsed: Result<i64, DecimalError>) -> Result<u64, Refusal> {
    let number = above_zero(field, text, parsed)?;
    if number <= WIRE_AMOUNT_MAX.unsigned_abs() {
        return Ok(number);
    }
    Err(Refusal::invalid(field, &format!("{text:?} is larger than the binary protocol can carry; use a smaller one")))
}

fn units(field: &str, text: &str, asset: &Asset) -> Result<Units, Refusal> {
    let number = above_zero(field, text, parse_fixed(text, u32::from(asset.scale)))?;
    Ok(Units(number))
}

fn units_or(field: &str, text: Option<&str>, asset: &Asset, otherwise: Units) -> Result<Units, Refusal> {
    match text {
        None => Ok(otherwise),
        // A limit of zero means no limit; a payment of zero is refused.
        Some(text) if parse_fixed(text, u32::from(asset.scale)) == Ok(0) => Ok(Units(0)),
        Some(text) => units(field, text, asset),
    }
}

fn lots_or(field: &str, text: Option<&str>, lot_e8: u64, otherwise: QtyLots) -> Result<QtyLots, Refusal> {
    let Some(text) = text else { return Ok(otherwise) };
    let qty_e8 = on_wire(field, text, QtyE8::parse(text).map(|qty| qty.0))?;
    if !qty_e8.is_multiple_of(lot_e8) {
        return Err(Refusal::invalid(field, &format!("{text:?} is not a whole number of lots")));
    }
    Ok(QtyLots(qty_e8 / lot_e8))
}

/// The largest quantity of an order that the wire format, the book and the balances can all represent. The engine
/// bounds what is open and what is filled of an order together by it, so each of them is exact on the wire.
fn largest_qty(lot_e8: u64, base: &Asset) -> QtyLots {
    let units_per_lot_e8 = u128::from(lot_e8) * 10u128.pow(u32::from(base.scale));
    let countable = u128::from(UNITS_MAX) * 10u128.pow(QTY_WIRE_SCALE) / units_per_lot_e8;
    let on_wire = u128::from(WIRE_AMOUNT_MAX.unsigned_abs() / lot_e8);
    let lots = countable.min(on_wire).min(u128::from(QTY_LOTS_MAX));
    QtyLots(u64::try_from(lots).expect("bounded by QTY_LOTS_MAX"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ed25519_key_is_read_from_pem_and_nothing_else_is() {
        // The public key of the example in RFC 8410, section 10.1.
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        let key = parse_ed25519_pem(pem).expect("a key");
        assert_eq!((key[0], key[31]), (0x19, 0xe1));
        assert_eq!(parse_ed25519_pem(&pem.replace("MCow", "MCox")), None);
        assert_eq!(parse_ed25519_pem(&pem.replace("PUBLIC", "PRIVATE")), None);
        assert_eq!(parse_ed25519_pem("GarbageInGarbageOut"), None);
    }

    #[test]
    fn the_largest_quantity_stays_countable() {
        let asset = |scale| Asset { id: book::ids::AssetId(1), symbol: Symbol::new("X").expect("valid"), scale };
        for (lot_e8, scale) in [(1, 8), (100_000_000, 0), (1_000, 8), (100_000_000_000, 8)] {
            let lots = largest_qty(lot_e8, &asset(scale)).0;
            let units_per_lot = lot_e8 * 10u64.pow(u32::from(scale)) / 100_000_000;
            assert!(0 < lots && u128::from(lots) * u128::from(units_per_lot) <= u128::from(UNITS_MAX));
            assert!(lots.checked_mul(lot_e8).is_some_and(|qty_e8| qty_e8 <= WIRE_AMOUNT_MAX.unsigned_abs()));
        }
    }

    #[test]
    fn a_step_or_a_quantity_beyond_the_wire_is_refused() {
        let lots = |text| lots_or("max_qty", Some(text), 1, QtyLots(1));
        assert_eq!(lots("92233720368.54775806").ok(), Some(QtyLots(WIRE_AMOUNT_MAX.unsigned_abs())));
        let refused = lots("92233720368.54775807").expect_err("the value that stands for more, and more");
        assert!(refused.detail.contains("larger than the binary protocol can carry"), "{refused:?}");
    }

    #[test]
    fn address_blocks_are_checked() {
        assert!(check_cidr("10.0.0.0/8").is_ok());
        assert!(check_cidr("2001:db8::/32").is_ok());
        for text in ["10.0.0.0", "10.0.0.0/33", "ten/8", "10.0.0.0/-1"] {
            assert!(check_cidr(text).is_err(), "{text}");
        }
    }
}
