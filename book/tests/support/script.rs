//! Reads a scenario, drives the engine with it, and says in the same words what happened.
//!
//! A file is lines. `== title` begins a case with a fresh exchange; what stands before the first title is set up for
//! every case. A line is a command or a question; `=>` lines below it are what must come out, all of it and in order.
//! Only an administrator's command may go without: then it must be granted. `#` begins a comment.
//!
//!     asset USD 2 · market BTC-USD BTC/USD [tick_e9= lot_e8= qty=1..9 notional= band= maker= taker= status=]
//!     account A [parent= tier=] · session s A [drop-copy rate= burst= cod= scope= window=] · deposit A USD 100 ref=r
//!     buy A o1 10 @ 100 · sell A o2 4 @ market · buy A o3 quote 500 @ market
//!         [ioc|fok|post-only|gtc via=s cl= key= stp= group= cancel-group= persist until= on=MARKET]
//! cancel A TARGET [via= cl= on=] · amend A TARGET 5 @ 100 [total] · replace A TARGET buy o2 10 @ 99 [allow-failure]
//!         TARGET: an order's name, cl:7, key:k, id:123 or none
//!     mass account|session|market A [on= side= price=1..9 cancel-group= block= via= continued] · down s logout
//!     wait 86400000000000 · balance A USD · custody USD · book · ledger (the transfers of the last command)

#[path = "script/parse.rs"]
mod parse;
#[path = "script/say.rs"]
mod say;

use crate::ledger::Ledger;
use book::command::{Command, Side};
use book::engine::{Capacity, Engine};
use book::event::Event;
use book::ids::{AccountId, AssetId, ClientKey, MarketId, OrderId, SessionId};
use book::units::{Seq, Stamp, TsNs};
use parse::{number, signed};
use say::lower;
use std::collections::{BTreeMap, HashMap};

/// Runs every case of a scenario and returns the text as it should read: equal to what came in when all is right.
pub(crate) fn replay(text: &str) -> String {
    let (setup, cases) = split_cases(text);
    let mut out = String::new();
    House::new("setup").run(&setup, &mut out);
    for (title, body) in cases {
        let mut house = House::new(&title);
        house.run(&setup, &mut String::new());
        out.push_str(&format!("== {title}\n"));
        house.run(&body, &mut out);
    }
    out
}

fn split_cases(text: &str) -> (String, Vec<(String, String)>) {
    let mut parts = text.split("\n== ");
    let setup = parts.next().unwrap_or_default().to_owned() + "\n";
    let case = |part: &str| {
        let (title, body) = part.split_once('\n').expect("a case has lines below its title");
        (title.to_owned(), body.trim_end_matches('\n').to_owned() + if part.ends_with("\n\n") { "\n\n" } else { "\n" })
    };
    let mut cases: Vec<(String, String)> = parts.map(case).collect();
    let last = cases.len();
    for (idx, (_, body)) in cases.iter_mut().enumerate() {
        let trimmed = body.trim_end_matches('\n').to_owned();
        *body = trimmed + if idx + 1 == last { "\n" } else { "\n\n" };
    }
    (setup.trim_end_matches('\n').to_owned() + "\n\n", cases)
}

/// One exchange and the names that the scenario gives to things.
struct House {
    title: String,
    engine: Engine,
    ledger: Ledger,
    now: TsNs,
    seq: Seq,
    assets: BTreeMap<String, AssetId>,
    markets: BTreeMap<String, MarketId>,
    accounts: BTreeMap<String, AccountId>,
    sessions: BTreeMap<String, SessionId>,
    cl_ord_ids: HashMap<SessionId, u64>,
    orders: HashMap<String, OrderId>,
    order_names: HashMap<OrderId, String>,
    keys: HashMap<String, ClientKey>,
    transfers: Vec<Event>,
}

/// A line in pieces.
struct Line<'a> {
    verb: &'a str,
    words: Vec<&'a str>,
    options: HashMap<&'a str, &'a str>,
    text: &'a str,
}

impl<'a> Line<'a> {
    fn new(text: &'a str) -> Self {
        let mut words = text.split_whitespace();
        let verb = words.next().expect("a line has a word");
        let (options, words): (Vec<_>, Vec<_>) = words.partition(|word| word.contains('='));
        let options = options.into_iter().filter_map(|word| word.split_once('=')).collect();
        Self { verb, words, options, text }
    }

    fn word(&self, idx: usize) -> &'a str {
        self.words.get(idx).unwrap_or_else(|| panic!("'{}' lacks word {}", self.text, idx + 1))
    }

    fn has(&self, flag: &str) -> bool {
        self.words.contains(&flag)
    }

    fn option(&self, name: &str, default: &'a str) -> &'a str {
        self.options.get(name).copied().unwrap_or(default)
    }

    fn number(&self, name: &str, default: i64) -> i64 {
        self.options.get(name).map_or(default, |text| signed(text))
    }
}

impl House {
    fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            engine: Engine::new(Capacity { orders: 4, leaves: 1, markets: 1, names: 1 }),
            ledger: Ledger::default(),
            now: TsNs(1_000_000_000_000_000_000),
            seq: Seq(0),
            assets: BTreeMap::new(),
            markets: BTreeMap::new(),
            accounts: BTreeMap::new(),
            sessions: BTreeMap::new(),
            cl_ord_ids: HashMap::new(),
            orders: HashMap::new(),
            order_names: HashMap::new(),
            keys: HashMap::new(),
            transfers: Vec::new(),
        }
    }

    fn run(&mut self, text: &str, out: &mut String) {
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let bare = line.split('#').next().unwrap_or_default().trim();
            if bare.starts_with("=>") {
                continue;
            }
            out.push_str(line);
            out.push('\n');
            if bare.is_empty() {
                continue;
            }
            let wants_answer = lines.peek().is_some_and(|next| next.trim_start().starts_with("=>"));
            for said in self.step(&Line::new(bare), wants_answer) {
                out.push_str(&format!("=> {said}\n"));
            }
        }
    }

    fn step(&mut self, line: &Line<'_>, wants_answer: bool) -> Vec<String> {
        match line.verb {
            "balance" => return vec![self.balance(line)],
            "custody" => return vec![self.custody(line)],
            "book" => return self.depth(line),
            "ledger" => return self.transfers.iter().map(|t| self.say(t, "")).collect(),
            "wait" => {
                self.now.0 += number(line.word(0));
                return Vec::new();
            }
            "state" => return vec![format!("open {}", self.engine.pool().orders.len())],
            _ => {}
        }
        let (command, label) = self.parse(line);
        let granted_silently = matches!(command, Command::Admin(_)) && !wants_answer;
        let events = self.apply(&command);
        self.learn(line, &events, label);
        if granted_silently {
            let refused = events.iter().find(|e| matches!(e, Event::AdminRejected { .. }));
            assert!(refused.is_none(), "{}: '{}' was refused: {refused:?}", self.title, line.text);
            return Vec::new();
        }
        let said = events.iter().filter(|e| !matches!(e, Event::Transfer(_))).map(|e| self.say(e, label));
        said.collect()
    }

    fn apply(&mut self, command: &Command) -> Vec<Event> {
        self.seq = self.seq.next();
        self.now.0 += 1;
        let mut events = Vec::new();
        self.engine.apply(Stamp { seq: self.seq, ts: self.now }, command, &mut events);
        self.ledger.follow(&events, &self.engine);
        self.transfers = events.iter().filter(|e| matches!(e, Event::Transfer(_))).copied().collect();
        events
    }

    /// Remembers the names of what the command made.
    fn learn(&mut self, line: &Line<'_>, events: &[Event], label: &str) {
        for event in events {
            match *event {
                Event::Accepted(accepted) => {
                    self.orders.insert(label.to_owned(), accepted.order_id);
                    self.order_names.insert(accepted.order_id, label.to_owned());
                }
                Event::AssetAdded(asset) => drop(self.assets.insert(line.word(0).to_owned(), asset.id)),
                Event::MarketAdded(rules) => drop(self.markets.insert(line.word(0).to_owned(), rules.id)),
                Event::AccountAdded { account } => drop(self.accounts.insert(line.word(0).to_owned(), account)),
                Event::SessionAdded { session, .. } => drop(self.sessions.insert(line.word(0).to_owned(), session)),
                _ => {}
            }
        }
    }

    fn balance(&self, line: &Line<'_>) -> String {
        let asset = self.assets[line.word(1)];
        let account = self.engine.accounts().get(self.account_named(line.word(0))).expect("the account exists");
        format!("{} held {}", account.available(asset).0, account.held(asset).0)
    }

    fn custody(&self, line: &Line<'_>) -> String {
        let book = self.engine.accounts().asset(self.assets[line.word(0)]).expect("the asset exists");
        format!("{} fees {}", book.custody.0, book.fees.0)
    }

    fn depth(&self, line: &Line<'_>) -> Vec<String> {
        let market = self.engine.market(self.on(line)).expect("the market exists");
        let side = |side: Side| {
            let levels = market.book.depth(self.engine.pool(), side);
            levels.map(move |l| format!("{} {} @ {} of {}", lower(side), l.qty.0, l.price.0, l.order_count))
        };
        let all: Vec<String> = side(Side::Buy).chain(side(Side::Sell)).collect();
        if all.is_empty() { vec!["empty".to_owned()] } else { all }
    }
}
