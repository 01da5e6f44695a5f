//! From a state to pieces. Saving reads the engine and changes nothing.

use super::rows::{
    AccountRow, AssetRow, BalanceRow, ClientIdRow, EndedNameRow, FirstUseRow, HeadRow, IntakeRow, KeyHistoryRow,
    KeyRow, MarketRow, NamesMaxRow, OpenNameRow, OrderRow, ReferenceRow, ReferenceTimeRow, RequestsRow, RulesRow,
    RunRow, SessionLifeRow, SessionRow, SlotRow, WalkRow,
};
use super::section::{PIECE_BYTES_MAX, Section};
use crate::accounts::{Account, OPEN_ORDERS_DEFAULT};
use crate::codec::encode_row;
use crate::command::{AccountKind, KeySpec, Side};
use crate::engine::{Engine, Market};
use crate::ids::{ClOrdId, SessionId};
use crate::intake::IntakeState;
use crate::keys::Key;
use crate::mutation::{Mutation, Planted};
use crate::names::{CLIENT_NAMES_DEFAULT, Name};
use crate::rules::Rules;
use crate::run::Run;
use crate::session::{Session, SessionLife};
use crate::slab::Order;
use crate::units::TsNs;
use crate::walks::{Span, Walk};
use bincode::Encode;

/// Collects rows into pieces and gives each full one to `put`.
struct Pieces<'a, P> {
    piece: Vec<u8>,
    row: Vec<u8>,
    put: &'a mut P,
}

impl<E, P: FnMut(Section, &[u8]) -> Result<(), E>> Pieces<'_, P> {
    /// Writes all rows of a section. A section without rows has no piece.
    fn section<R: Encode>(&mut self, section: Section, rows: impl Iterator<Item = R>) -> Result<(), E> {
        for row in rows {
            self.row.clear();
            encode_row(&row, &mut self.row);
            assert!(self.row.len() <= PIECE_BYTES_MAX, "the longest row fits a piece");
            if self.piece.len() + self.row.len() > PIECE_BYTES_MAX {
                self.end_piece(section)?;
            }
            self.piece.extend_from_slice(&self.row);
        }
        if self.piece.is_empty() { Ok(()) } else { self.end_piece(section) }
    }

    fn end_piece(&mut self, section: Section) -> Result<(), E> {
        assert!(!self.piece.is_empty() && self.piece.len() <= PIECE_BYTES_MAX, "a piece has a row and keeps its bound");
        let outcome = (self.put)(section, &self.piece);
        self.piece.clear();
        outcome
    }
}

impl Engine {
    /// Gives the state to `put`, piece by piece, until all of it is saved or `put` fails.
    pub fn save<E>(&self, put: &mut impl FnMut(Section, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut pieces = Pieces { piece: Vec::with_capacity(PIECE_BYTES_MAX), row: Vec::new(), put };
        pieces.section(Section::Head, std::iter::once(self.head_row()))?;
        pieces.section(Section::Assets, self.asset_rows())?;
        pieces.section(Section::Markets, self.market_rows())?;
        pieces.section(Section::Accounts, self.account_rows())?;
        pieces.section(Section::Sessions, self.sessions.iter().map(|(_, session)| session_row(session)))?;
        pieces.section(Section::Keys, self.keys.iter().map(|(_, key)| key_row(key)))?;
        pieces.section(Section::Orders, self.order_rows())?;
        pieces.section(Section::FreeSlots, self.pool.orders.free_slots().map(SlotRow))?;
        let lists = self.accounts.iter().flat_map(|(_, account)| self.open.of(account)).map(SlotRow);
        pieces.section(Section::OpenLists, lists)?;
        pieces.section(Section::ClientIds, self.client_id_rows())?;
        pieces.section(Section::References, self.reference_rows())?;
        let above_one = (Rules::One < self.rules).then_some(RulesRow(self.rules.version()));
        pieces.section(Section::Rules, above_one.into_iter())?;
        pieces.section(Section::OpenNames, self.open_name_rows())?;
        pieces.section(Section::EndedNames, self.names.ended().map(ended_name_row))?;
        let max = self.names.max();
        pieces.section(Section::NamesMax, (max != CLIENT_NAMES_DEFAULT).then_some(NamesMaxRow(max)).into_iter())?;
        pieces.section(Section::Run, (self.run != Run::default()).then_some(run_row(&self.run)).into_iter())?;
        let stopped = (self.intake != IntakeState::All).planted(Mutation::IntakeForgottenInSnapshot, |_| false);
        pieces.section(Section::Intake, stopped.then_some(IntakeRow(self.intake)).into_iter())?;
        pieces.section(Section::SessionLives, self.session_life_rows())?;
        let times = self.references.times().map(ReferenceTimeRow);
        let times = times.take(usize::MAX.planted(Mutation::ReferenceTimesForgottenInSnapshot, |_| 0));
        pieces.section(Section::ReferenceTimes, times)?;
        pieces.section(Section::KeyHistory, self.key_history_rows())?;
        let forgets_walks = false.planted(Mutation::WalksForgottenInSnapshot, |_| true);
        pieces.section(Section::Walks, self.open.walks.iter().map(walk_row).filter(|_| !forgets_walks))?;
        pieces.section(Section::Requests, self.requests_rows())
    }

    fn session_life_rows(&self) -> impl Iterator<Item = SessionLifeRow> {
        let rows = self.sessions.iter().map(|(id, session)| session_life_row(id, session));
        rows.filter(|row| 0 < row.lives || row.removed)
    }

    fn requests_rows(&self) -> impl Iterator<Item = RequestsRow> {
        let rows =
            self.sessions.iter().map(|(session, facts)| RequestsRow { session, empty_at: facts.requests.empty_at });
        let forgets = false.planted(Mutation::RequestsForgottenInSnapshot, |_| true);
        rows.filter(move |row| row.empty_at != TsNs(0) && !forgets)
    }

    /// One row for each market, and one for each run of removed ones, however long it is.
    fn market_rows(&self) -> impl Iterator<Item = MarketRow> {
        let mut rest = self.markets.iter().peekable();
        std::iter::from_fn(move || {
            let skips = false.planted(Mutation::MarketRemovalForgottenInSnapshot, |_| true);
            while skips && rest.next_if(|next| next.is_removed()).is_some() {}
            let market = rest.next()?;
            let mut row = market_row(market);
            if market.is_removed() {
                row.trade_count = 1;
                while rest.next_if(|next| next.is_removed()).is_some() {
                    row.trade_count += 1;
                }
            }
            Some(row)
        })
    }

    fn key_history_rows(&self) -> impl Iterator<Item = KeyHistoryRow> {
        let keys = self.keys.iter().map(|(id, key)| KeyHistoryRow { id, revoked_at: key.revoked_at });
        let last = std::iter::once(KeyHistoryRow { id: self.keys.id_last(), revoked_at: TsNs(0) });
        keys.chain(last).filter(|_| self.keys.has_history())
    }

    fn open_name_rows(&self) -> impl Iterator<Item = OpenNameRow> {
        let names = self.pool.orders.iter().filter_map(|(slot, _)| self.names.of_slot(slot));
        names.map(|name| OpenNameRow { order_id: name.order_id, key: name.key, seq: name.seq })
    }

    fn head_row(&self) -> HeadRow {
        HeadRow {
            seq: self.stamp.seq,
            ts: self.stamp.ts,
            number_last: self.pool.orders.number_last(),
            slots_len: self.pool.orders.slots_len() as u32,
            fee_tiers: self.fee_tiers.to_vec(),
            check_state: self.check_state,
        }
    }

    fn asset_rows(&self) -> impl Iterator<Item = AssetRow> {
        self.accounts.assets().iter().map(|book| AssetRow {
            symbol: book.asset.symbol,
            scale: book.asset.scale,
            custody: book.custody,
            fees: book.fees,
        })
    }

    fn account_rows(&self) -> impl Iterator<Item = AccountRow> {
        self.accounts.iter().map(|(id, account)| account_row(account, self.accounts.name(id).unwrap_or_default()))
    }

    fn order_rows(&self) -> impl Iterator<Item = OrderRow> {
        let sides = [Side::Buy, Side::Sell];
        let books = self.markets().flat_map(move |market| sides.map(|side| (market, side)));
        books.flat_map(|(market, side)| market.book.queue(&self.pool, side).map(|(_, order)| order_row(order)))
    }

    fn client_id_rows(&self) -> impl Iterator<Item = ClientIdRow> {
        self.client_ids.iter().map(|(remembered, first)| ClientIdRow {
            ts: remembered.ts,
            account: remembered.account,
            key: remembered.key,
            first: first.map(|first| FirstUseRow { seq: first.seq, outcome: first.outcome }),
        })
    }

    fn reference_rows(&self) -> impl Iterator<Item = ReferenceRow> {
        self.references.iter().map(|(key, payment)| ReferenceRow {
            key,
            withdrawal: payment.withdrawal,
            account: payment.account,
            asset: payment.asset,
            amount: payment.amount,
        })
    }
}

fn walk_row(walk: &Walk) -> WalkRow {
    let Walk { of, at, span: Span { next, last } } = *walk;
    WalkRow { of, at, next, last }
}

fn run_row(run: &Run) -> RunRow {
    let Run { directory, may_lose, life, tag, skipped } = *run;
    RunRow { directory, may_lose, life, tag, skipped }
}

fn ended_name_row(name: &Name) -> EndedNameRow {
    let Name { account, key, order_id, seq, .. } = *name;
    let ended = name.ended().expect("a list of ended names has no others");
    EndedNameRow { ended, account, key, order_id, seq }
}

fn market_row(market: &Market) -> MarketRow {
    let rules = &market.rules;
    MarketRow {
        symbol: rules.symbol,
        base: rules.base,
        quote: rules.quote,
        tick_e9: rules.tick_e9,
        lot_e8: rules.lot_e8,
        limits: rules.limits,
        fees: rules.fees,
        status: rules.status,
        last_price: market.tape.last_price,
        trade_count: market.tape.trade_count,
    }
}

fn account_row(account: &Account, name: &str) -> AccountRow {
    let balances = account.balances();
    AccountRow {
        name: name.to_owned(),
        kind: account.kind.planted(Mutation::KindForgottenInSnapshot, |_| AccountKind::Client),
        status: account.status,
        fee_tier: account.fee_tier,
        blocked: account.blocked,
        parent: account.parent,
        open_max: account.open_max.planted(Mutation::OpenLimitForgottenInSnapshot, |_| OPEN_ORDERS_DEFAULT),
        balances: balances.map(|b| BalanceRow { asset: b.asset, available: b.available, held: b.held }).collect(),
    }
}

fn session_row(session: &Session) -> SessionRow {
    SessionRow {
        account: session.account,
        user: session.user,
        password_hash: session.password_hash.clone(),
        drop_copy: session.drop_copy,
        blocked: session.blocked,
        cod_mode: session.cod_mode,
        cod_scope: session.cod_scope,
        cod_window_ms: session.cod_window_ms,
        cl_ord_id_last: session
            .cl_ord_id_last
            .planted(Mutation::IdsForgottenInSnapshot, |id| ClOrdId(id.0.saturating_sub(1))),
        throttle: session.bucket.throttle,
        empty_at: session.bucket.empty_at.planted(Mutation::ThrottleForgottenInSnapshot, |_| TsNs(0)),
    }
}

fn session_life_row(id: SessionId, session: &Session) -> SessionLifeRow {
    let SessionLife { of, tag } = session.life;
    SessionLifeRow {
        session: id,
        lives: session.lives.planted(Mutation::LifeForgottenInSnapshot, |_| 0),
        of,
        tag,
        removed: session.removed.planted(Mutation::RemovalForgottenInSnapshot, |_| false),
    }
}

fn key_row(key: &Key) -> KeyRow {
    let spec = key.spec.clone();
    KeyRow {
        spec: spec.planted(Mutation::PermissionsForgottenInSnapshot, |spec| KeySpec { permissions: 0, ..spec }),
        revoked: key.revoked.planted(Mutation::RevocationForgottenInSnapshot, |_| false),
    }
}

fn order_row(order: &Order) -> OrderRow {
    OrderRow {
        id: order.id,
        market: order.market,
        price: order.price,
        leaves: order.leaves,
        cum: order.cum,
        account: order.account,
        session: order.session,
        cl_ord_id: order.cl_ord_id,
        stp_group: order.stp_group,
        traits: order.traits.bits(),
        cancel_group: order.cancel_group,
    }
}
