//! The structs, their offsets and the codes in them are those of the published schemas.

use api::binary::market;
use api::binary::orders;
use api::binary::reasons::{REASONS, reason_of, wire_of};
use api::binary::sbe::{Field, Message, SCHEMA_VERSION};
use std::collections::BTreeMap;

const ORDERS_XML: &str = include_str!("../../docs/protocol/pinion-orders.xml");
const MARKET_XML: &str = include_str!("../../docs/protocol/pinion-market.xml");
const ORDER_ENTRY_PAGE: &str = include_str!("../../docs/protocol/ORDER-ENTRY.md");
const MARKET_DATA_PAGE: &str = include_str!("../../docs/protocol/MARKET-DATA.md");

/// The tags of an XML text in order: name, attributes, and the text after the tag. Enough for our own schemas.
fn tags(xml: &str) -> Vec<(String, BTreeMap<String, String>, String)> {
    let mut tags = Vec::new();
    let mut rest = xml;
    while let Some((_, after)) = rest.split_once('<') {
        if let Some(comment) = after.strip_prefix("!--") {
            rest = comment.split_once("-->").expect("a comment ends").1;
            continue;
        }
        let (tag, remainder) = after.split_once('>').expect("a tag ends");
        let (name, mut attributes) = tag.trim_end_matches('/').split_once(' ').unwrap_or((tag, ""));
        let mut values = BTreeMap::new();
        while let Some((key, quoted)) = attributes.split_once("=\"") {
            let (value, next) = quoted.split_once('"').expect("a quote ends");
            values.insert(key.trim().to_owned(), value.to_owned());
            attributes = next;
        }
        let text = remainder.split('<').next().unwrap_or("").to_owned();
        tags.push((name.trim_end_matches('/').to_owned(), values, text));
        rest = remainder;
    }
    tags
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Layout {
    template: u16,
    block_length: usize,
    fields: Vec<(String, usize, usize)>,
}

fn primitive_len(name: &str) -> usize {
    match name {
        "uint8" | "char" | "int8" => 1,
        "uint16" => 2,
        "uint32" => 4,
        "uint64" | "int64" => 8,
        other => panic!("primitive type {other} is new"),
    }
}

/// Bytes of every named type; constants take none.
fn type_lens(xml: &str) -> BTreeMap<String, usize> {
    let mut lens = BTreeMap::new();
    let mut composite: Option<(String, usize)> = None;
    for (tag, attributes, _) in tags(xml) {
        let attribute = |key: &str| attributes.get(key).map(String::as_str);
        match tag.as_str() {
            "composite" => composite = Some((attributes["name"].clone(), 0)),
            "/composite" => {
                let (name, len) = composite.take().expect("a composite ends that began");
                lens.insert(name, len);
            }
            "type" => {
                let count: usize = attribute("length").map_or(1, |n| n.parse().expect("a number"));
                let len = primitive_len(&attributes["primitiveType"]) * count;
                match &mut composite {
                    Some(_) if attribute("presence") == Some("constant") => {}
                    Some((_, sum)) => *sum += len,
                    None => drop(lens.insert(attributes["name"].clone(), len)),
                }
            }
            "enum" | "set" => drop(lens.insert(attributes["name"].clone(), primitive_len(&attributes["encodingType"]))),
            _ => {}
        }
    }
    lens
}

/// Messages by name; groups under `Message.group`.
fn layouts(xml: &str) -> BTreeMap<String, Layout> {
    let lens = type_lens(xml);
    let mut layouts: BTreeMap<String, Layout> = BTreeMap::new();
    let (mut message, mut group) = (String::new(), None);
    for (tag, attributes, _) in tags(xml) {
        let number = |key: &str| attributes[key].parse::<usize>().expect("a number");
        match tag.as_str() {
            "sbe:message" => {
                message = attributes["name"].clone();
                let layout =
                    Layout { template: number("id") as u16, block_length: number("blockLength"), fields: Vec::new() };
                assert_eq!(layouts.insert(message.clone(), layout), None, "{message} is defined once");
            }
            "group" => {
                let name = format!("{message}.{}", attributes["name"]);
                let layout = Layout { template: 0, block_length: number("blockLength"), fields: Vec::new() };
                layouts.insert(name.clone(), layout);
                group = Some(name);
            }
            "/group" => group = None,
            "field" => {
                let target = group.as_ref().unwrap_or(&message);
                let field = (attributes["name"].clone(), number("offset"), lens[&attributes["type"]]);
                layouts.get_mut(target).expect("a field is in a message").fields.push(field);
            }
            _ => {}
        }
    }
    layouts
}

fn codes(xml: &str, wanted: &str) -> BTreeMap<String, u16> {
    let mut codes = BTreeMap::new();
    let mut inside = false;
    for (tag, attributes, text) in tags(xml) {
        match tag.as_str() {
            "enum" | "set" => inside = attributes["name"] == wanted,
            "validValue" | "choice" if inside => {
                codes.insert(attributes["name"].clone(), text.parse().expect("a number"));
            }
            _ => {}
        }
    }
    assert!(!codes.is_empty(), "{wanted} is in the schema");
    codes
}

fn ours<M: Message>() -> Layout {
    let field = |f: &Field| (f.name.to_owned(), f.offset, f.len);
    Layout { template: M::TEMPLATE, block_length: M::BLOCK_LENGTH, fields: M::FIELDS.iter().map(field).collect() }
}

macro_rules! check_layouts {
    ($xml:expr, $module:ident { $($message:ident),+ $(,)? } groups { $($group:literal => $entry:ident),* }) => {{
        let mut published = layouts($xml);
        $( assert_eq!(published.remove(stringify!($message)), Some(ours::<$module::$message>()), stringify!($message)); )+
        $( assert_eq!(published.remove($group), Some(ours::<$module::$entry>()), $group); )*
        assert!(published.is_empty(), "published and not implemented: {:?}", published.keys());
    }};
}

#[test]
fn order_entry_structs_are_the_published_ones() {
    check_layouts!(ORDERS_XML, orders {
        NewOrder, ReplaceOrder, CancelOrder, MassCancel, MassQuote, StatusRequest, SetSession,
        OrderAccepted, OrderRejected, OrderExecuted, OrderCanceled, OrderReplaced, CancelRejected, MassCancelReport,
        MassQuoteAck, OrderStatus, SessionState, MmpTriggered, TradeBust, StageTimes,
    } groups { "MassQuote.entries" => MassQuoteEntry, "MassQuoteAck.entries" => MassQuoteAckEntry });
}

#[test]
fn market_data_structs_are_the_published_ones() {
    check_layouts!(MARKET_XML, market {
        InstrumentDefinition, TradingStatus, OrderAdd, OrderReduce, OrderDelete, OrderReplace, OrderExecuted, Bbo,
        LevelUpdate, SnapshotBegin, SnapshotEnd,
    } groups { "LevelUpdate.levels" => LevelEntry });
}

/// The tables of a reference page: template and block length from the heading, offset and name from each row.
fn tables(text: &str) -> Vec<(String, Layout)> {
    let mut tables: Vec<(String, Layout)> = Vec::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("#### ") {
            let words: Vec<&str> = heading.split([' ', '(', ')', ',']).filter(|w| !w.is_empty()).collect();
            let &[name, "template", template, bytes, "bytes"] = &words[..] else { panic!("heading {heading}") };
            let number = |text: &str| text.parse::<u16>().expect("a number");
            let (template, block_length) = (number(template), usize::from(number(bytes)));
            tables.push((name.to_owned(), Layout { template, block_length, fields: Vec::new() }));
        } else if let Some(group) = line.strip_prefix("Group `") {
            let (name, rest) = group.split_once('`').expect("a group has a name");
            let bytes = rest.split_whitespace().find_map(|word| word.parse().ok()).expect("an entry has a length");
            let message = tables.last().expect("a group is in a message").0.clone();
            let layout = Layout { template: 0, block_length: bytes, fields: Vec::new() };
            tables.push((format!("{message}.{name}"), layout));
        } else if line.starts_with("## ") && line != "## Messages" {
            // Tables of other sections are not layouts.
            tables.push((String::new(), Layout::default()));
        } else if let Some((_, layout)) = tables.last_mut() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            if let Some(Ok(offset)) = cells.get(1).map(|cell| cell.parse()) {
                layout.fields.push((cells[3].to_owned(), offset, 0));
            }
        }
    }
    tables.retain(|(name, _)| !name.is_empty());
    tables
}

#[test]
fn the_reference_pages_have_the_published_layouts() {
    let mut described = tables(ORDER_ENTRY_PAGE);
    described.extend(tables(MARKET_DATA_PAGE));
    for xml in [ORDERS_XML, MARKET_XML] {
        for (name, mut layout) in layouts(xml) {
            layout.fields.iter_mut().for_each(|(_, _, len)| *len = 0);
            let at = described.iter().position(|table| *table == (name.clone(), layout.clone()));
            described.remove(at.unwrap_or_else(|| panic!("{name} is not described as {layout:?}")));
        }
    }
    assert!(described.is_empty(), "described and not in a schema: {described:?}");
}

#[test]
fn the_reference_page_lists_the_reasons_in_their_precedence() {
    let section = ORDER_ENTRY_PAGE.split("\n## ").find(|section| section.starts_with("Reject reasons"));
    let rows = section.expect("the page has this section").lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        Some((cells.get(2)?.to_string(), cells[1].parse::<u16>().ok()?))
    });
    let expected = REASONS.iter().map(|(reason, number)| (format!("{reason:?}"), *number));
    assert_eq!(rows.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

#[test]
fn schema_ids_and_versions_are_those_of_the_code_and_the_changelog() {
    let changelog = include_str!("../../docs/protocol/CHANGELOG.md");
    for (xml, id, title) in
        [(ORDERS_XML, orders::ORDERS_SCHEMA, "Order entry"), (MARKET_XML, market::MARKET_SCHEMA, "Market data")]
    {
        let schema = tags(xml).into_iter().find(|(tag, ..)| tag == "sbe:messageSchema").expect("a schema").1;
        assert_eq!(
            (schema["id"].as_str(), schema["version"].as_str()),
            (&*id.to_string(), &*SCHEMA_VERSION.to_string())
        );
        let heading = format!("## {title}, schema {id}\n\n### Version {SCHEMA_VERSION}\n");
        assert!(changelog.contains(&heading), "the changelog begins with the current version: {heading}");
    }
}

#[test]
fn every_field_lies_on_a_multiple_of_its_size() {
    for xml in [ORDERS_XML, MARKET_XML] {
        for (message, layout) in layouts(xml) {
            for (field, offset, len) in layout.fields {
                assert!(offset.is_multiple_of(len.min(8)), "{message}.{field} at {offset}");
            }
        }
    }
}

#[test]
fn reject_reasons_have_the_published_numbers() {
    let published = codes(ORDERS_XML, "RejectReason");
    for (reason, number) in REASONS {
        assert_eq!(published.get(&format!("{reason:?}")), Some(&number), "{reason:?}");
        assert_eq!((wire_of(reason), reason_of(number)), (number, Some(reason)));
    }
    let never_sent = ["DuplicateClOrdId", "MmpFrozen"];
    assert_eq!(published.len(), REASONS.len() + never_sent.len());
    assert!(never_sent.iter().all(|name| reason_of(published[*name]).is_none()));
}

#[test]
fn codes_have_the_published_numbers() {
    use book::command::{CodMode, StpMode};
    use book::event::CancelReason;
    let check = |xml: &str, name: &str, ours: &[(&str, u16)]| {
        let published = codes(xml, name);
        for (code, number) in ours {
            assert_eq!(published.get(*code), Some(number), "{name}.{code}");
        }
    };
    let cancel_reasons = [
        ("User", CancelReason::User as u16),
        ("MassCancel", CancelReason::MassCancel as u16),
        ("Disconnect", CancelReason::Disconnect as u16),
        ("KillSwitch", CancelReason::KillSwitch as u16),
        ("Ioc", CancelReason::Ioc as u16),
        ("Fok", CancelReason::Fok as u16),
        ("Stp", CancelReason::SelfTrade as u16),
        ("Replaced", CancelReason::Replaced as u16),
        ("Admin", CancelReason::Admin as u16),
        ("NoLiquidity", CancelReason::NoLiquidity as u16),
        ("FillLimit", CancelReason::FillLimit as u16),
    ];
    check(ORDERS_XML, "CancelReason", &cancel_reasons);
    let stp = [("None", StpMode::None as u16), ("CancelTaker", StpMode::CancelTaker as u16), ("Decrement", 5)];
    check(ORDERS_XML, "StpMode", &stp);
    let cod_modes = [
        ("Off", CodMode::Off as u16),
        ("OnDisconnect", CodMode::OnDisconnect as u16),
        ("OnLogout", CodMode::OnLogout as u16),
        ("Both", CodMode::Both as u16),
    ];
    check(ORDERS_XML, "CodMode", &cod_modes);
    let states = [("Trading", 2), ("Halt", 3), ("CancelOnly", 4), ("Closed", 5), ("PostOnly", 6)];
    check(MARKET_XML, "TradingState", &states);
    let bits = codes(ORDERS_XML, "ExecInst");
    assert_eq!(orders::EXEC_QUOTE_QTY, 1 << bits["quoteQty"]);
    assert_eq!(orders::EXEC_POST_ONLY, 1 << bits["postOnly"]);
    assert_eq!(orders::EXEC_PERSIST_ON_DISCONNECT, 1 << bits["persistOnDisconnect"]);
    assert_eq!(usize::from(orders::EXEC_ALL.count_ones() as u16), bits.len());
}
