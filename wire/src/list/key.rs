//! Keys of named lists: as people write them, and as 17 bytes.

use super::ListKeyKind;
use crate::document::{DocumentError, DocumentKey, ORDERS_PER_ROOT};
use std::net::{IpAddr, Ipv6Addr};

/// Longest text of a key, bytes: an IPv6 address with its prefix.
pub const MAX_LIST_KEY_LEN: usize = 48;
/// Bits of an address.
const ADDRESS_BITS: u8 = 128;
/// Bits before an IPv4 address that is mapped into IPv6.
const MAPPED_BITS: u8 = 96;
/// Characters of a company in a CNPJ.
const COMPANY_LEN: usize = 8;

/// Why a text is no key of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListKeyError {
    /// No CPF or CNPJ.
    #[error("{0}")]
    Document(#[from] DocumentError),
    /// No company.
    #[error("a company is the first 8 characters of a CNPJ, or a whole one")]
    Company,
    /// No keyed hash of 64 bits.
    #[error("a keyed hash is a number from 1, decimal or in hex behind 0x")]
    Hash,
    /// No keyed hash of 128 bits.
    #[error("the keyed hash of a Pix key has 32 hex digits, as its 16 bytes are sent, not all 0")]
    PixKey,
    /// No ISPB.
    #[error("an ISPB has 8 letters or digits")]
    Institution,
    /// No network.
    #[error("a network is an IP address, or one with a prefix: 10.0.0.0/8, 2001:db8::/32")]
    Network,
    /// Bits behind the prefix of a network.
    #[error("the address has bits behind its prefix: a network ends in zeros")]
    BitsBehindPrefix,
}

/// A key of a list of some kind. Its order means nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListKey {
    /// The document's key, the company's number, the hash, the ISPB's bytes, or the address.
    pub bits: u128,
    /// Bits of a network's prefix, 0 to 128; 0 in keys of other kinds.
    pub prefix_len: u8,
}

impl ListKey {
    /// A number that is a key.
    #[inline]
    pub const fn of(bits: u128) -> Self {
        Self { bits, prefix_len: 0 }
    }

    /// What a keyed hash of 16 bytes is as a key.
    #[inline]
    pub const fn of_bytes(bytes: &[u8; 16]) -> Self {
        Self::of(u128::from_be_bytes(*bytes))
    }

    /// The network with so many of an address's first bits.
    ///
    /// # Panics
    /// For more than 128.
    #[inline]
    pub const fn network(address: u128, prefix_len: u8) -> Self {
        assert!(prefix_len <= ADDRESS_BITS, "an address has no more bits");
        let bits = match prefix_len {
            0 => 0,
            some => address & (u128::MAX << (ADDRESS_BITS - some)),
        };
        Self { bits, prefix_len }
    }

    /// Whether there can be such a key in a list of a kind.
    pub fn is_of(self, kind: ListKeyKind) -> bool {
        let Self { bits, prefix_len } = self;
        let small = u64::try_from(bits).ok().filter(|&small| small > 0 && prefix_len == 0);
        match kind {
            ListKeyKind::Document => small.and_then(DocumentKey::from_raw).is_some(),
            ListKeyKind::Company => small.is_some_and(|root| root < 36u64.pow(COMPANY_LEN as u32)),
            ListKeyKind::Account | ListKeyKind::Device => small.is_some(),
            ListKeyKind::PixKey => bits > 0 && prefix_len == 0,
            ListKeyKind::Institution => {
                small.is_some_and(|ispb| ispb.to_be_bytes().iter().all(u8::is_ascii_alphanumeric))
            }
            ListKeyKind::Network => {
                prefix_len <= ADDRESS_BITS && Self::network(bits, prefix_len) == self
            }
        }
    }

    /// Reads what people write.
    ///
    /// # Errors
    /// [`ListKeyError`].
    pub fn parse(kind: ListKeyKind, text: &str) -> Result<Self, ListKeyError> {
        let text = text.trim();
        match kind {
            ListKeyKind::Document => Ok(Self::of(DocumentKey::parse(text)?.raw().into())),
            ListKeyKind::Company => company(text).map(|root| Self::of(root.into())),
            ListKeyKind::Account | ListKeyKind::Device => {
                hash(text).map(|hash| Self::of(hash.into())).ok_or(ListKeyError::Hash)
            }
            ListKeyKind::PixKey => pix_key(text).map(Self::of).ok_or(ListKeyError::PixKey),
            ListKeyKind::Institution => {
                let bytes: [u8; 8] =
                    text.as_bytes().try_into().map_err(|_| ListKeyError::Institution)?;
                let key = Self::of(u64::from_be_bytes(bytes).into());
                if key.is_of(kind) { Ok(key) } else { Err(ListKeyError::Institution) }
            }
            ListKeyKind::Network => network(text),
        }
    }

    /// As people write it, documents and companies in full: for who may see them.
    pub fn in_full(self, kind: ListKeyKind) -> String {
        match (kind, u64::try_from(self.bits).ok()) {
            (ListKeyKind::Document, Some(raw)) => {
                DocumentKey::from_raw(raw).map_or_else(String::new, DocumentKey::to_canonical)
            }
            (ListKeyKind::Company, Some(root)) => company_text(root),
            (ListKeyKind::Institution, Some(ispb)) => {
                String::from_utf8_lossy(&ispb.to_be_bytes()).into_owned()
            }
            (ListKeyKind::Account | ListKeyKind::Device, _) => self.bits.to_string(),
            (ListKeyKind::Network, _) => network_text(self.bits, self.prefix_len),
            (_, _) => format!("{:032x}", self.bits),
        }
    }

    /// As people write it, documents masked.
    pub fn masked(self, kind: ListKeyKind) -> String {
        match (kind, u64::try_from(self.bits).ok()) {
            (ListKeyKind::Document, Some(raw)) => {
                DocumentKey::from_raw(raw).map_or_else(String::new, |key| key.to_string())
            }
            (ListKeyKind::Company, Some(root)) => {
                format!("**{}", &company_text(root)[2..])
            }
            _ => self.in_full(kind),
        }
    }
}

/// Nothing of it is printed: it may be somebody's document.
impl std::fmt::Debug for ListKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ListKey(…)")
    }
}

fn hash(text: &str) -> Option<u64> {
    let hash = match text.strip_prefix("0x") {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
            u64::from_str_radix(digits, 16).ok()?
        }
        Some(_) => return None,
        None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok()?,
        None => return None,
    };
    (hash > 0).then_some(hash)
}

fn pix_key(text: &str) -> Option<u128> {
    let is_hash = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let hash = is_hash.then(|| u128::from_str_radix(text, 16).ok()).flatten()?;
    (hash > 0).then_some(hash)
}

/// The number of a company: its characters in base 36, as [`DocumentKey::cnpj_root`] has it.
fn company(text: &str) -> Result<u64, ListKeyError> {
    let text: String = text.chars().filter(|c| !matches!(c, '.' | '-' | '/' | ' ')).collect();
    if text.len() > COMPANY_LEN {
        let document = DocumentKey::parse(&text)?;
        return document.cnpj_root().ok_or(ListKeyError::Company);
    }
    let is_company = text.len() == COMPANY_LEN && text.bytes().all(|b| b.is_ascii_alphanumeric());
    let root = is_company.then(|| u64::from_str_radix(&text, 36).ok()).flatten();
    root.filter(|&root| root > 0).ok_or(ListKeyError::Company)
}

fn company_text(root: u64) -> String {
    let digit = |place: u32| {
        let value = (root / 36u64.pow(place) % 36) as u32;
        char::from_digit(value, 36).map_or('?', |c| c.to_ascii_uppercase())
    };
    (0..COMPANY_LEN as u32).rev().map(digit).collect()
}

// A company's number times its branches is below the keys of documents.
const _: () = assert!(36u64.pow(8).checked_mul(ORDERS_PER_ROOT).is_some());

fn network(text: &str) -> Result<ListKey, ListKeyError> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| ListKeyError::Network)?;
    let (bits, before) = match address {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped().to_bits(), MAPPED_BITS),
        IpAddr::V6(v6) => (v6.to_bits(), 0),
    };
    let prefix_len = match prefix {
        None => ADDRESS_BITS,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            let len: u8 = digits.parse().map_err(|_| ListKeyError::Network)?;
            let len = len.checked_add(before).filter(|&len| len <= ADDRESS_BITS);
            len.ok_or(ListKeyError::Network)?
        }
        Some(_) => return Err(ListKeyError::Network),
    };
    let key = ListKey::network(bits, prefix_len);
    if key.bits == bits { Ok(key) } else { Err(ListKeyError::BitsBehindPrefix) }
}

fn network_text(bits: u128, prefix_len: u8) -> String {
    let address = Ipv6Addr::from_bits(bits);
    match address.to_ipv4_mapped().filter(|_| prefix_len >= MAPPED_BITS) {
        Some(v4) => format!("{v4}/{}", prefix_len - MAPPED_BITS),
        None => format!("{address}/{prefix_len}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_people_write_them() {
        let cases = [
            (ListKeyKind::Document, "529.982.247-25", "52998224725", "***.982.247-**"),
            (ListKeyKind::Company, "11.222.333", "11222333", "**222333"),
            (ListKeyKind::Company, "11.222.333/0001-81", "11222333", "**222333"),
            (ListKeyKind::Company, "12abc345", "12ABC345", "**ABC345"),
            (ListKeyKind::Account, "17", "17", "17"),
            (ListKeyKind::Device, "0xFF", "255", "255"),
            (
                ListKeyKind::PixKey,
                "000102030405060708090a0b0c0d0e0f",
                "000102030405060708090a0b0c0d0e0f",
                "000102030405060708090a0b0c0d0e0f",
            ),
            (ListKeyKind::Institution, "12345678", "12345678", "12345678"),
            (ListKeyKind::Network, "10.0.0.0/8", "10.0.0.0/8", "10.0.0.0/8"),
            (ListKeyKind::Network, "192.0.2.7", "192.0.2.7/32", "192.0.2.7/32"),
            (ListKeyKind::Network, "2001:DB8::/32", "2001:db8::/32", "2001:db8::/32"),
            (ListKeyKind::Network, "::/0", "::/0", "::/0"),
        ];
        for (kind, text, in_full, masked) in cases {
            let key = ListKey::parse(kind, text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert!(key.is_of(kind), "{text}");
            assert_eq!((key.in_full(kind).as_str(), key.masked(kind).as_str()), (in_full, masked));
            assert_eq!(ListKey::parse(kind, in_full), Ok(key), "{text}");
        }
        let root = DocumentKey::parse("11222333000181").expect("valid").cnpj_root();
        let key = ListKey::parse(ListKeyKind::Company, "11222333").expect("a company");
        assert_eq!(Some(key.bits), root.map(u128::from));
    }

    #[test]
    fn what_is_no_key_is_refused_with_a_reason() {
        let cases = [
            (
                ListKeyKind::Document,
                "52998224724",
                ListKeyError::Document(DocumentError::CheckDigit),
            ),
            (ListKeyKind::Company, "1122233", ListKeyError::Company),
            (ListKeyKind::Company, "00000000", ListKeyError::Company),
            (ListKeyKind::Company, "52998224725", ListKeyError::Company),
            (ListKeyKind::Account, "0", ListKeyError::Hash),
            (ListKeyKind::Account, "-1", ListKeyError::Hash),
            (ListKeyKind::Account, "+1", ListKeyError::Hash),
            (ListKeyKind::Device, "0x", ListKeyError::Hash),
            (ListKeyKind::Device, "0x+1", ListKeyError::Hash),
            (ListKeyKind::Device, "18446744073709551616", ListKeyError::Hash),
            (ListKeyKind::PixKey, "0001", ListKeyError::PixKey),
            (ListKeyKind::Institution, "1234567", ListKeyError::Institution),
            (ListKeyKind::Institution, "1234567 ", ListKeyError::Institution),
            (ListKeyKind::Network, "10.0.0.0/33", ListKeyError::Network),
            (ListKeyKind::Network, "10.0.0.0/", ListKeyError::Network),
            (ListKeyKind::Network, "10.0.0.0/+8", ListKeyError::Network),
            (ListKeyKind::Network, "10.0.0", ListKeyError::Network),
            (ListKeyKind::Network, "10.0.0.1/8", ListKeyError::BitsBehindPrefix),
        ];
        for (kind, text, why) in cases {
            assert_eq!(ListKey::parse(kind, text), Err(why), "{kind} {text}");
        }
        let foreign = ListKey { bits: 5, prefix_len: 8 };
        for &kind in ListKeyKind::ALL {
            assert!(!foreign.is_of(kind), "{kind}");
        }
    }
}
