//! An issuer's keys, as its JWKS has them (RFC 7517). Pure.

use catraca_tls::{Digest, sha256};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::Value;

/// Most keys of an issuer that are kept: it has two or three.
const MAX_KEYS: usize = 64;
/// The longest name of a key, bytes.
pub(super) const MAX_KID_LEN: usize = 256;
/// Sizes of RSA keys, bytes of the modulus: 2,048 bits are the least that is safe, and past 8,192 a check takes long.
const RSA_LEN: std::ops::RangeInclusive<usize> = 256..=1_024;
/// An uncompressed point of P-256, bytes.
const POINT_LEN: usize = 65;

/// A key that tokens are checked with.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// Its name.
    pub(super) kid: String,
    /// The only algorithm that it is used with.
    pub(super) algorithm: Algorithm,
    /// The key itself.
    pub(super) decoding: DecodingKey,
    /// Name, algorithm and key together: another key of the same name is another one.
    pub(super) identity: Digest,
}

/// The keys of an issuer that can be used here.
#[derive(Debug, Clone, Default)]
pub(super) struct KeySet(Vec<Key>);

/// A JWKS of which nothing is known yet: a key of a kind that is unknown here spoils no other.
#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

impl KeySet {
    /// The keys of a JWKS.
    ///
    /// # Errors
    /// It is none, or has no key that can be used.
    pub(super) fn parse(body: &[u8]) -> Result<Self, &'static str> {
        let jwks: Jwks = serde_json::from_slice(body).map_err(|_| "it is no JWKS")?;
        let mut keys: Vec<Key> = Vec::new();
        for key in jwks.keys.into_iter().filter_map(key_of) {
            // Of two with one name nobody knows which is meant.
            if keys.iter().any(|other| other.kid == key.kid) {
                return Err("two keys have one kid");
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err("it has no key for PS256 or ES256 that has a kid");
        }
        keys.truncate(MAX_KEYS);
        Ok(Self(keys))
    }

    /// The key of this name.
    pub(super) fn get(&self, kid: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.kid == kid)
    }

    /// Whether this very key is among them.
    pub(super) fn has(&self, identity: &Digest) -> bool {
        self.0.iter().any(|key| key.identity == *identity)
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }
}

/// A key that signatures of access tokens can be checked with; `None` for all others.
fn key_of(value: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let common = &jwk.common;
    let kid = common.key_id.clone().filter(|kid| (1..=MAX_KID_LEN).contains(&kid.len()))?;
    if common.public_key_use.as_ref().is_some_and(|of| *of != PublicKeyUse::Signature) {
        return None;
    }
    let verifies = |operations: &Vec<_>| operations.contains(&KeyOperations::Verify);
    if !common.key_operations.as_ref().is_none_or(verifies) {
        return None;
    }
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::PS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        _ => return None,
    };
    if common.key_algorithm.is_some_and(|said| said != algorithm.into()) {
        return None;
    }
    let decoding = DecodingKey::from_jwk(&jwk).ok()?;
    let mut whole = format!("{algorithm:?} {} {kid} ", kid.len()).into_bytes();
    match decoding.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } if RSA_LEN.contains(&n.len()) => {
            whole.extend([n.as_slice(), e].concat());
        }
        DecodingKeyKind::SecretOrDer(point) if point.len() == POINT_LEN => whole.extend(point),
        _ => return None,
    }
    Some(Key { kid, algorithm, decoding, identity: sha256(&whole) })
}
