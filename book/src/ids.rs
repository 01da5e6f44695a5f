//! Identifiers: of assets, markets, accounts, sessions, orders and trades, and those that clients choose themselves.
//!
//! Ids of assets, markets, accounts and sessions are dense and start at 1, so that they index arrays; 0 means none.

use bincode::{Decode, Encode};
use std::fmt;

macro_rules! dense_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        pub struct $name(pub u32);

        impl $name {
            pub const NONE: Self = Self(0);

            pub fn is_none(self) -> bool {
                self.0 == 0
            }

            /// The index of this id in an array whose first element has id 1.
            pub(crate) fn idx(self) -> usize {
                debug_assert!(self.0 > 0, "an id of zero names nothing");
                self.0 as usize - 1
            }
        }
    };
}

dense_id!(
    /// An asset, such as BTC or USDT.
    AssetId
);
dense_id!(
    /// A market: a base asset traded against a quote asset. It is `instrumentId` on the wire.
    MarketId
);
dense_id!(
    /// An account, the owner of balances and orders.
    AccountId
);
dense_id!(
    /// A binary order-entry session. `NONE` marks orders that came through another protocol.
    SessionId
);

/// An API key, by the order in which keys were added; 0 means none. The ids of keys that are forgotten are not given
/// again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct KeyId(pub u32);

impl KeyId {
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// The exchange's order id: the order's running number in the high bits, its slot in the low ones.
///
/// The slot finds the order without a hash, and the number proves that it is still the same order. Numbers are unique
/// for `2^40` orders and then start again; they say nothing about the owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct OrderId(pub u64);

pub const ACCOUNTS_MAX: u32 = 1 << 24;

/// The bits of an order id that hold the slot: at most 16.7 million orders are open at once.
pub const ORDER_SLOT_BITS: u32 = 24;
pub const ORDER_SLOTS_MAX: u32 = 1 << ORDER_SLOT_BITS;
pub const ORDER_NUMBER_MAX: u64 = (1 << (64 - ORDER_SLOT_BITS)) - 1;
const _: () = assert!(ORDER_NUMBER_MAX << ORDER_SLOT_BITS | (ORDER_SLOTS_MAX as u64 - 1) == u64::MAX);

impl OrderId {
    pub const NONE: Self = Self(0);

    pub(crate) fn new(number: u64, slot: u32) -> Self {
        assert!(0 < number && number <= ORDER_NUMBER_MAX, "an order id has room for the number");
        assert!(slot < ORDER_SLOTS_MAX, "an order id has room for the slot");
        Self(number << ORDER_SLOT_BITS | u64::from(slot))
    }

    pub fn slot(self) -> u32 {
        self.0 as u32 & (ORDER_SLOTS_MAX - 1)
    }

    /// The running number of the order: orders of all markets count up in the order in which they were accepted.
    pub fn number(self) -> u64 {
        self.0 >> ORDER_SLOT_BITS
    }

    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// The order id that the client of a binary session chooses: strictly increasing, 0 means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ClOrdId(pub u64);

impl ClOrdId {
    /// The largest one that a client may use. A session whose newest id were the largest number could never use
    /// another.
    pub const MAX: Self = Self(i64::MAX as u64);
}

/// The number of a trade: 1, 2, 3 ... within a market.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct TradeId(pub u64);

/// The first 128 bits of the BLAKE3 hash of a text by which a client names an order or a payment; zero means none.
///
/// Where clients name things by text (REST, payments), the gateway hashes the text once, so that the state keeps 16
/// bytes for it, however long it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ClientKey(pub u128);

impl ClientKey {
    pub const NONE: Self = Self(0);

    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// The name of an asset or a market: 1 to 16 of `A-Z 0-9 - _ . /`. It is padded with zeros here and with spaces on the
/// wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Symbol([u8; 16]);

pub const SYMBOL_BYTES_MAX: usize = 16;

impl Symbol {
    /// No name.
    pub(crate) const NONE: Self = Self([0; SYMBOL_BYTES_MAX]);

    /// `None` when the text is empty or too long, or has a character outside the set.
    pub fn new(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"-_./".contains(&b);
        if text.is_empty() || text.len() > SYMBOL_BYTES_MAX || !text.bytes().all(allowed) {
            return None;
        }
        let mut bytes = [0; SYMBOL_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self(bytes))
    }

    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|&b| b == 0).unwrap_or(SYMBOL_BYTES_MAX);
        std::str::from_utf8(&self.0[..len]).unwrap_or("?")
    }

    /// Whether `new` would make this symbol. One that was decoded from the log or a snapshot may have any bytes.
    pub fn is_valid(&self) -> bool {
        Self::new(self.as_str()) == Some(*self)
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The login name of a binary session: 1 to 6 letters and digits, which is the width of SoupBinTCP's field.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct UserName([u8; 6]);

pub const USER_NAME_BYTES_MAX: usize = 6;

impl UserName {
    pub fn new(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > USER_NAME_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let mut bytes = [b' '; USER_NAME_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self(bytes))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("?").trim_end()
    }

    /// Whether `new` would make this name. One that was decoded may have any bytes.
    pub fn is_valid(&self) -> bool {
        Self::new(self.as_str()) == Some(*self)
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
