//! The population: people and companies that are surely not listed, and behind them some that
//! surely are, as wire bytes.

use crate::list::List;
use crate::options::LoadError;
use catraca_wire::DocumentKey;
use catraca_wire::document::DOCUMENT_LEN;
use rand::Rng;
use rand::rngs::SmallRng;

/// Most listed documents that a run draws from: 4 MiB of wire bytes, drawn evenly from longer
/// lists.
const MAX_LISTED: usize = 1 << 18;
/// How often a drawn document may be listed before the list is taken to hold everybody.
const MAX_DRAWS: u32 = 10_000;

/// A document as it goes on the wire.
pub type WireDocument = [u8; DOCUMENT_LEN];

/// Unlisted documents first, listed ones behind them.
#[derive(Debug)]
pub struct Documents {
    wire: Box<[WireDocument]>,
    unlisted: u32,
}

impl Documents {
    /// Makes `count` documents that can't hit the list, and takes up to `MAX_LISTED` from it.
    pub fn generate(count: u32, list: &List, rng: &mut SmallRng) -> Result<Self, LoadError> {
        let mut wire = Vec::with_capacity(count as usize + list.listed().len().min(MAX_LISTED));
        for _ in 0..count {
            let document = (0..MAX_DRAWS).find_map(|_| {
                let key = draw(rng)?;
                (!list.may_hit(key)).then(|| key.to_wire())
            });
            match document {
                Some(document) => wire.push(document),
                None => {
                    let text = format!(
                        "--list holds nearly everybody: {MAX_DRAWS} documents in a row were on it"
                    );
                    return Err(LoadError::Options(text));
                }
            }
        }
        let listed = list.listed();
        let taken = listed.len().min(MAX_LISTED);
        wire.extend((0..taken).map(|i| listed[i * listed.len() / taken].to_wire()));
        Ok(Self { wire: wire.into_boxed_slice(), unlisted: count })
    }

    /// The document of this index.
    #[inline]
    pub fn get(&self, index: u32) -> &WireDocument {
        &self.wire[index as usize]
    }

    /// Whether the document of this index is from the list.
    #[inline]
    pub fn is_listed(&self, index: u32) -> bool {
        index >= self.unlisted
    }

    /// Index of an unlisted document, any with the same likelihood.
    #[inline]
    pub fn pick_unlisted(&self, random: u32) -> u32 {
        scale(random, self.unlisted)
    }

    /// Index of a listed document, any with the same likelihood. Only where there are some.
    #[inline]
    pub fn pick_listed(&self, random: u32) -> u32 {
        self.unlisted + scale(random, self.listed())
    }

    /// How many listed documents there are to draw from.
    #[inline]
    pub fn listed(&self) -> u32 {
        self.wire.len() as u32 - self.unlisted
    }
}

/// A random 32-bit number as an index below `count`.
#[inline]
fn scale(random: u32, count: u32) -> u32 {
    ((u64::from(random) * u64::from(count)) >> 32) as u32
}

/// Three people to each company; half of the companies have letters in their number. `None` where
/// no document has the number.
fn draw(rng: &mut SmallRng) -> Option<DocumentKey> {
    let key = match rng.random_range(0..8u8) {
        0..6 => DocumentKey::from_cpf_number(rng.random_range(0..1_000_000_000)),
        6 => DocumentKey::from_raw(
            (0..12).fold(0, |number, _| number * 36 + rng.random_range(0..10u64)),
        ),
        _ => DocumentKey::from_raw(rng.random_range(1..36u64.pow(12))),
    }?;
    // A key says nothing about repeated digits of a CNPJ: the wire form does.
    (DocumentKey::from_wire(&key.to_wire()) == Ok(key)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::DocumentKind;
    use jiff::civil::date;
    use rand::SeedableRng;

    #[test]
    fn the_population_is_valid_mixed_and_apart_from_the_list() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "document\n04933228680\n12ABC34501DE35\n").expect("writable");
        let list = List::read(file.path(), date(2026, 11, 22)).expect("a list");
        let documents =
            Documents::generate(2_000, &list, &mut SmallRng::seed_from_u64(5)).expect("room");
        assert_eq!(documents.listed(), 2);
        let mut companies = 0;
        for index in 0..2_000 {
            let key = DocumentKey::from_wire(documents.get(index)).expect("valid");
            assert!(!list.may_hit(key) && !documents.is_listed(index));
            companies += u32::from(key.kind() == DocumentKind::Cnpj);
        }
        assert!((300..700).contains(&companies), "{companies}");
        for random in [0, u32::MAX / 2, u32::MAX] {
            assert!(documents.is_listed(documents.pick_listed(random)));
            assert!(!documents.is_listed(documents.pick_unlisted(random)));
        }
        assert_eq!(documents.get(documents.pick_listed(u32::MAX)).len(), 14);
    }
}
