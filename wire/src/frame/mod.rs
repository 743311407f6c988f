//! The frames of the client protocol, each a fixed layout of little-endian fields without padding.
//!
//! A struct is the native form, for building and printing; the struct whose name ends in `Frame` or
//! `Fields` is the same thing as bytes (rkyv's archived form): read in place from a socket buffer
//! with [`view`], sent with [`bytemuck::bytes_of`]. PROTOCOL.md gives every offset; the assertions
//! of `layout!` and the golden vectors hold both to it. What has a name lives in `codes`, the
//! frames' fields in `layouts`; here is what all frames have in common.

mod audit;
mod auth;
mod behalf;
mod codes;
mod comparison;
mod labels;
mod layouts;
mod lists;
mod validators;

use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

pub use audit::*;
pub use auth::*;
pub use behalf::*;
pub(crate) use codes::wire_codes;
pub use codes::{
    BlacklistOp, Breaker, BreakerForce, ClusterOp, Durability, ErrorCode, FLAG_AUTH, FLAG_CLOSING,
    FLAG_MORE, FrameKind, LabelKind, ListSource, PolicyOp, Role, Scope, Stage, VERDICT_DEGRADED,
    VERDICT_DUPLICATE, VERDICT_SHADOW_DISAGREES, Verdict,
};
pub use comparison::*;
pub use labels::*;
pub use layouts::*;
pub use lists::*;
pub use validators::*;

/// The protocol version this build speaks. A server answers a HELLO whose range holds it.
pub const PROTOCOL_VERSION: u8 = 1;
/// Length of the header that every frame begins with.
pub const HEADER_LEN: usize = 16;
/// The largest frame a client may send, bytes. Larger lengths are refused before anything is read.
pub const MAX_REQUEST_LEN: usize = 512;
/// The largest frame a server sends, bytes: a histogram of STATS is the only one near it.
pub const MAX_REPLY_LEN: usize = 256 * 1024;
/// Longest transaction id, bytes.
pub const TRANSACTION_ID_LEN: usize = 32;
/// Longest UTF-8 text of an ERROR, bytes.
pub const MAX_DETAIL_LEN: usize = 128;
/// Longest credential within a HELLO, bytes; a longer one comes in AUTH frames.
pub const MAX_CREDENTIAL_LEN: usize = 64;
/// Longest name a client gives itself, bytes.
pub const MAX_CLIENT_NAME_LEN: usize = 40;
/// Longest path of a BLACKLIST load or a POLICY activation, bytes.
pub const MAX_PATH_LEN: usize = 256;
/// Longest source of a label, bytes.
pub const MAX_LABEL_SOURCE_LEN: usize = 64;
/// The promise to the caller: the largest budget, and the default where a SUBMIT says 0,
/// microseconds.
pub const MAX_BUDGET_US: u32 = 2_000_000;
/// Longest `host:port` in WELCOME and CLUSTER_STATE, bytes.
pub const MAX_ADDRESS_LEN: usize = 48;
/// In STATS: all shards together.
pub const ALL_SHARDS: u16 = u16::MAX;
/// In CLUSTER_STATE: the other node was never heard.
pub const NEVER_HEARD: u64 = u64::MAX;

/// Defines a frame: the native struct, and the same as bytes.
macro_rules! layout {
    ($(#[$meta:meta])* $name:ident as $bytes:ident, $len:expr; { $($(#[$fmeta:meta])* $field:ident: $type:ty),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
        #[rkyv(archived = $bytes, attr(derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)))]
        #[rkyv(attr(doc = concat!("[`", stringify!($name), "`] as bytes: ", stringify!($len), " of them, little-endian, alignment 1.")))]
        pub struct $name { $($(#[$fmeta])* pub $field: $type),+ }

        const _: () = assert!(size_of::<$bytes>() == $len);
        const _: () = assert!(align_of::<$bytes>() == 1);

        impl From<&$name> for $bytes {
            fn from(native: &$name) -> Self {
                Self { $($field: $crate::frame::IntoWire::into_wire(native.$field)),+ }
            }
        }

        impl From<&$bytes> for $name {
            fn from(bytes: &$bytes) -> Self {
                Self { $($field: $crate::frame::IntoWire::from_wire(bytes.$field)),+ }
            }
        }
    };
}
pub(crate) use layout;

/// A field type and its form on the wire.
pub(crate) trait IntoWire: Sized {
    type Wire: Copy;
    fn into_wire(self) -> Self::Wire;
    fn from_wire(wire: Self::Wire) -> Self;
}

macro_rules! into_wire_number {
    ($($native:ty => $wire:ty),+) => { $(
        impl IntoWire for $native {
            type Wire = $wire;
            #[inline]
            fn into_wire(self) -> $wire { <$wire>::from_native(self) }
            #[inline]
            fn from_wire(wire: $wire) -> Self { wire.to_native() }
        }
    )+ };
}
into_wire_number!(u16 => rend::unaligned::u16_ule, u32 => rend::unaligned::u32_ule, u64 => rend::unaligned::u64_ule,
    i16 => rend::unaligned::i16_ule, i32 => rend::unaligned::i32_ule, i64 => rend::unaligned::i64_ule);

impl IntoWire for u8 {
    type Wire = u8;
    #[inline]
    fn into_wire(self) -> u8 {
        self
    }
    #[inline]
    fn from_wire(wire: u8) -> u8 {
        wire
    }
}

impl<const N: usize> IntoWire for [u8; N] {
    type Wire = [u8; N];
    #[inline]
    fn into_wire(self) -> [u8; N] {
        self
    }
    #[inline]
    fn from_wire(wire: [u8; N]) -> [u8; N] {
        wire
    }
}

layout! {
    /// The first 16 bytes of every frame.
    Header as HeaderFields, 16; {
        /// Length of the whole frame, this header included, bytes.
        length: u32,
        /// A [`FrameKind`].
        kind: u8,
        /// [`PROTOCOL_VERSION`].
        version: u8,
        /// Bits by kind: [`FLAG_AUTH`], [`FLAG_CLOSING`], [`FLAG_MORE`]; else 0.
        flags: u16,
        /// Chosen by the client, echoed in the answer.
        correlation: u64,
    }
}

impl HeaderFields {
    /// The header of a frame of `length` bytes.
    #[inline]
    pub fn new(kind: FrameKind, length: usize, flags: u16, correlation: u64) -> Self {
        debug_assert!((HEADER_LEN..=MAX_REPLY_LEN).contains(&length));
        Self {
            length: (length as u32).into_wire(),
            kind: kind.to_wire(),
            version: PROTOCOL_VERSION,
            flags: flags.into_wire(),
            correlation: correlation.into_wire(),
        }
    }
}

/// A frame whose length never varies.
pub trait FixedFrame: Pod {
    /// What it is.
    const KIND: FrameKind;
    /// Its length, header included, bytes.
    const LEN: usize = size_of::<Self>();
    /// Its header.
    fn header(&self) -> &HeaderFields;
}

/// The bytes as a frame of this kind, in place; `None` if their number is not its length.
#[inline]
pub fn view<F: Pod>(bytes: &[u8]) -> Option<&F> {
    bytemuck::try_from_bytes(bytes).ok()
}

impl IntoWire for Header {
    type Wire = HeaderFields;
    fn into_wire(self) -> HeaderFields {
        HeaderFields::from(&self)
    }
    fn from_wire(wire: HeaderFields) -> Self {
        Self::from(&wire)
    }
}

/// The length a request of this kind has, bytes; `None` for a kind that clients don't send.
pub const fn request_len(kind: FrameKind) -> Option<usize> {
    match kind {
        FrameKind::Hello => Some(HelloFrame::LEN),
        FrameKind::Submit => Some(SubmitFrame::LEN),
        FrameKind::Lookup => Some(LookupFrame::LEN),
        FrameKind::Blacklist => Some(BlacklistFrame::LEN),
        FrameKind::Stats => Some(StatsFrame::LEN),
        FrameKind::Ping => Some(PingFrame::LEN),
        FrameKind::Cluster => Some(ClusterFrame::LEN),
        FrameKind::Policy => Some(PolicyFrame::LEN),
        FrameKind::Label => Some(LabelFrame::LEN),
        FrameKind::List => Some(ListFrame::LEN),
        FrameKind::Validator => Some(ValidatorFrame::LEN),
        FrameKind::OnBehalf => Some(OnBehalfFrame::LEN),
        FrameKind::Auth => Some(AuthFrame::LEN),
        FrameKind::Audit => Some(AuditFrame::LEN),
        _ => None,
    }
}

/// A transaction id from text: 1 to 32 printable ASCII characters without spaces.
pub fn transaction_id(text: &str) -> Option<[u8; TRANSACTION_ID_LEN]> {
    let mut id = [0; TRANSACTION_ID_LEN];
    id.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
    is_transaction_id(&id).then_some(id)
}

/// Whether these bytes are a transaction id: printable ASCII without spaces, at least one, then
/// zeros to the end.
#[inline]
pub fn is_transaction_id(id: &[u8; TRANSACTION_ID_LEN]) -> bool {
    // Each byte beside the next, without a branch and without what one says of those behind it: so
    // the processor takes many at once. This runs for every transaction.
    let mut next = [0; TRANSACTION_ID_LEN];
    next[..TRANSACTION_ID_LEN - 1].copy_from_slice(&id[1..]);
    let mut bad = id[0] == 0;
    for (&byte, &next) in id.iter().zip(&next) {
        let zero = byte == 0;
        bad |= !zero & !byte.is_ascii_graphic() | zero & (next != 0);
    }
    !bad
}

/// A zero-filled ASCII field without its zeros.
pub fn text_of(field: &[u8]) -> &str {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    std::str::from_utf8(&field[..end]).unwrap_or("")
}

/// Puts text into a zero-filled field, cut to its size.
pub fn fill(field: &mut [u8], text: &str) {
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text.as_bytes()[..len]);
    field[len..].fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_fit_the_largest_request() {
        for &kind in FrameKind::ALL {
            assert!(
                request_len(kind).is_none_or(|len| (HEADER_LEN..=MAX_REQUEST_LEN).contains(&len))
            );
            assert_eq!(FrameKind::from_wire(kind.to_wire()), Some(kind));
        }
    }

    #[test]
    fn rkyv_and_the_byte_view_agree() {
        let native = Submit {
            header: Header { length: 192, kind: 3, version: 1, flags: 0, correlation: 77 },
            transaction: Transaction::from(&TransactionFields {
                amount_centavos: 12_345.into(),
                ..Zeroable::zeroed()
            }),
            reserved: 0,
        };
        let archived = rkyv::to_bytes::<rkyv::rancor::Error>(&native).expect("fixed size");
        assert_eq!(&archived[..], bytemuck::bytes_of(&SubmitFrame::from(&native)));
        let frame = view::<SubmitFrame>(&archived).expect("192 bytes");
        assert_eq!(Submit::from(frame), native);
        assert_eq!(frame.transaction.amount_centavos, 12_345);
        assert!(view::<SubmitFrame>(&archived[1..]).is_none());
    }

    #[test]
    fn ids_are_graphic_ascii_then_zeros() {
        assert!(transaction_id("E1234567820261122120000000000001").is_some());
        assert!(transaction_id("a").is_some());
        for bad in ["", "with space", "ação", "123456789012345678901234567890123"] {
            assert!(transaction_id(bad).is_none(), "{bad:?}");
        }
        let mut gap = [0; TRANSACTION_ID_LEN];
        gap[0] = b'a';
        gap[2] = b'b';
        assert!(!is_transaction_id(&gap));
    }

    #[test]
    fn a_long_detail_is_cut_at_a_character() {
        let frame = ErrorFrame::new(1, ErrorCode::Failed, 0, true, &"ã".repeat(100));
        assert_eq!(frame.detail_text(), "ã".repeat(64));
    }
}
