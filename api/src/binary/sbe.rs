//! The part of Simple Binary Encoding 1.0 that Pinion uses: a header, a fixed block, at most one group at the end.
//!
//! ```text
//! 0             2            4          6         8                       8 + blockLength
//! | blockLength | templateId | schemaId | version | fields at fixed offsets | group, or later fields |
//! ```
//! All integers are little endian. A message is a struct with the layout of its block: offsets and sizes are asserted
//! at compile time, and `tests/layouts.rs` compares them with the published XML.
//!
//! Versions (`docs/protocol/CHANGELOG.md`): a block that is longer than this version knows comes from a newer one, and
//! its tail is skipped; a shorter block is refused. Specification: FIX Trading Community, "Simple Binary Encoding 1.0".

use thiserror::Error;
use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub const HEADER_BYTES: usize = 8;
/// Version of both schemas, in the header of every message that is written.
pub const SCHEMA_VERSION: u16 = 1;
/// The null value of a price, such as that of a market order.
pub const PRICE_NULL: i64 = i64::MAX;
/// Length of the names of instruments and assets.
pub const NAME_BYTES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    pub block_length: U16,
    pub template_id: U16,
    pub schema_id: U16,
    pub version: U16,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);

/// Why bytes are not a message of a schema. Such bytes name no request that could be answered, so the node closes the
/// session that sends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SbeError {
    #[error("{len} bytes, a message header has {HEADER_BYTES}")]
    NoHeader { len: usize },
    #[error("schema id {found}, this port uses {expected}")]
    WrongSchema { found: u16, expected: u16 },
    #[error("schema version {version}, the first version is 1")]
    UnknownVersion { version: u16 },
    #[error("template {template} is not a message of this schema version in this direction")]
    UnknownTemplate { template: u16 },
    #[error("template {template}: a block of {len} bytes, expected at least {expected}")]
    ShortBlock { template: u16, len: usize, expected: usize },
}

/// A message of fixed layout.
pub trait Message: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned + Copy {
    const NAME: &'static str;
    const SCHEMA: u16;
    const TEMPLATE: u16;
    const BLOCK_LENGTH: usize;
    const FIELDS: &'static [Field];

    /// Hands every field with its value to `see`, in order, for dumps and comparisons.
    fn each_field(&self, see: &mut dyn FnMut(&'static str, FieldValue<'_>));
}

/// The name of a field in the schema, and its place in the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub offset: usize,
    pub len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValue<'a> {
    Signed(i64),
    Unsigned(u64),
    /// ASCII, padded with zeros.
    Text(&'a [u8]),
}

/// A message after its header: the bytes in memory are the bytes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Framed<M: Unaligned> {
    pub header: Header,
    pub body: M,
}

impl<M: Message> Framed<M> {
    #[inline]
    pub fn new(body: M) -> Self {
        Self { header: header_of::<M>(), body }
    }
}

#[inline]
pub fn header_of<M: Message>() -> Header {
    const { assert!(M::BLOCK_LENGTH == size_of::<M>() && M::BLOCK_LENGTH <= u16::MAX as usize) };
    Header {
        block_length: U16::new(M::BLOCK_LENGTH as u16),
        template_id: U16::new(M::TEMPLATE),
        schema_id: U16::new(M::SCHEMA),
        version: U16::new(SCHEMA_VERSION),
    }
}

/// A message whose header is checked for schema and version.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    pub template: u16,
    pub block_length: usize,
    /// All bytes after the header: the block, then a group where the message has one.
    pub rest: &'a [u8],
}

impl<'a> Block<'a> {
    /// Reads the header. The template is for the caller to check.
    #[inline]
    pub fn split(bytes: &'a [u8], schema: u16) -> Result<Self, SbeError> {
        let (header, rest) = Header::ref_from_prefix(bytes).map_err(|_| SbeError::NoHeader { len: bytes.len() })?;
        if header.schema_id.get() != schema {
            return Err(SbeError::WrongSchema { found: header.schema_id.get(), expected: schema });
        }
        if header.version.get() == 0 {
            return Err(SbeError::UnknownVersion { version: 0 });
        }
        Ok(Self { template: header.template_id.get(), block_length: usize::from(header.block_length.get()), rest })
    }

    /// The fields of the block that this version knows.
    #[inline]
    pub fn body<M: Message>(&self) -> Result<&'a M, SbeError> {
        let len = self.block_length.min(self.rest.len());
        // All of the announced block must be present, including fields that a newer version has added.
        if self.block_length < M::BLOCK_LENGTH || self.rest.len() < self.block_length {
            return Err(SbeError::ShortBlock { template: self.template, len, expected: M::BLOCK_LENGTH });
        }
        let (body, _newer) = M::ref_from_prefix(self.rest).map_err(|_| SbeError::ShortBlock {
            template: self.template,
            len,
            expected: M::BLOCK_LENGTH,
        })?;
        Ok(body)
    }

    /// The bytes after the block: a repeating group, where the message has one.
    pub fn after_block(&self) -> &'a [u8] {
        self.rest.get(self.block_length..).unwrap_or(&[])
    }
}

/// The header of a repeating group, before its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct GroupSize {
    pub block_length: U16,
    pub num_in_group: U16,
}

pub const GROUP_SIZE_BYTES: usize = 4;
const _: () = assert!(size_of::<GroupSize>() == GROUP_SIZE_BYTES);

/// A field's value as an integer or text, for readers that know the layout and not the meaning.
pub trait WireValue {
    fn wire_value(&self) -> FieldValue<'_>;
}

macro_rules! unsigned_value {
    ($($kind:ty => $value:expr),+ $(,)?) => {$(
        impl WireValue for $kind {
            fn wire_value(&self) -> FieldValue<'_> {
                let read: fn(&$kind) -> u64 = $value;
                FieldValue::Unsigned(read(self))
            }
        }
    )+};
}
unsigned_value!(
    u8 => |v| u64::from(*v),
    U16 => |v| u64::from(v.get()),
    U32 => |v| u64::from(v.get()),
    U64 => |v| v.get(),
);

impl WireValue for I64 {
    fn wire_value(&self) -> FieldValue<'_> {
        FieldValue::Signed(self.get())
    }
}

impl<const N: usize> WireValue for [u8; N] {
    fn wire_value(&self) -> FieldValue<'_> {
        FieldValue::Text(self)
    }
}

/// Declares a message: its struct, its constants, and compile-time asserts for every offset and the block length.
///
/// A `pad` field after the `;` fills the block. Padding is written as zeros and ignored when read.
macro_rules! wire_message {
    (
        $(#[$doc:meta])*
        $name:ident in $schema:ident, template $template:literal, block $block:ident = $len:literal {
            $( $(#[$field_doc:meta])* $field:ident / $wire:literal : $kind:ty = $offset:literal ),+ $(,)?
            $(; pad $pad:literal at $pad_offset:literal)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout)]
        #[derive(zerocopy::Immutable, zerocopy::Unaligned)]
        #[repr(C)]
        pub struct $name {
            $( $(#[$field_doc])* pub $field: $kind, )+
            $( pub pad: [u8; $pad], )?
        }

        pub const $block: usize = $len;

        const _: () = {
            assert!(size_of::<$name>() == $block);
            $( assert!(core::mem::offset_of!($name, $field) == $offset); )+
            $( assert!(core::mem::offset_of!($name, pad) == $pad_offset); )?
        };

        impl $crate::binary::sbe::Message for $name {
            const NAME: &'static str = stringify!($name);
            const SCHEMA: u16 = $schema;
            const TEMPLATE: u16 = $template;
            const BLOCK_LENGTH: usize = $block;
            const FIELDS: &'static [$crate::binary::sbe::Field] = &[
                $( $crate::binary::sbe::Field { name: $wire, offset: $offset, len: size_of::<$kind>() }, )+
            ];

            fn each_field(&self, see: &mut dyn FnMut(&'static str, $crate::binary::sbe::FieldValue<'_>)) {
                $( see($wire, $crate::binary::sbe::WireValue::wire_value(&self.$field)); )+
            }
        }
    };
}
pub(crate) use wire_message;

/// Declares the set of messages that one side may send, and reads any of them.
macro_rules! message_set {
    ($(#[$doc:meta])* $name:ident in $schema:ident { $($message:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $( $message($message), )+
        }

        impl $name {
            /// Reads the header and the block. A group after the block is ignored.
            pub fn read(bytes: &[u8]) -> Result<Self, $crate::binary::sbe::SbeError> {
                use $crate::binary::sbe::Message;
                let block = $crate::binary::sbe::Block::split(bytes, $schema)?;
                match block.template {
                    $( $message::TEMPLATE => block.body::<$message>().map(|body| Self::$message(*body)), )+
                    template => Err($crate::binary::sbe::SbeError::UnknownTemplate { template }),
                }
            }

            pub fn name(&self) -> &'static str {
                use $crate::binary::sbe::Message;
                match self { $( Self::$message(_) => $message::NAME, )+ }
            }

            pub fn each_field(&self, see: &mut dyn FnMut(&'static str, $crate::binary::sbe::FieldValue<'_>)) {
                use $crate::binary::sbe::Message;
                match self { $( Self::$message(body) => body.each_field(see), )+ }
            }

            /// Hands the bytes of the message to `out`, header included.
            pub fn write(&self, out: &mut impl FnMut(&[u8])) {
                use zerocopy::IntoBytes;
                match self { $( Self::$message(body) => out($crate::binary::sbe::Framed::new(*body).as_bytes()), )+ }
            }
        }

        $(
            impl From<$message> for $name {
                fn from(body: $message) -> Self {
                    Self::$message(body)
                }
            }
        )+
    };
}
pub(crate) use message_set;
