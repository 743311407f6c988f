//! Receipts: a decision with its place in the log, signed, so that whoever has the gateway's public key can check it
//! without a gateway, and without a node.
//!
//! A receipt is a JWS in its compact form (RFC 7515), signed by PS256, over the members of a look-up: documents are
//! masked. `chain` is the chain value of the record's block: with it, the log of the node proves the same.

use crate::json::StoredView;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::Serialize;
use std::collections::BTreeSet;

/// What receipts are among JWTs, so that none is taken for an access token.
pub const RECEIPT_TYPE: &str = "catraca-receipt+jwt";
/// The shortest modulus of a key, in digits of base64url: 2,048 bits, as RFC 7518 has it for PS256.
const LEAST_MODULUS_LEN: usize = (2_048_usize / 8 * 4).div_ceil(3);
/// The longest: 4,096 bits take some 4 ms for a signature, and longer ones much more.
const MOST_MODULUS_LEN: usize = (4_096_usize / 8 * 4).div_ceil(3);

/// A key that is of no use for receipts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// It can't be read.
    #[error("no RSA key in PEM: {0}")]
    Unreadable(String),
    /// It is too short, or too long.
    #[error("an RSA key has 2,048 to 4,096 bits")]
    Size,
    /// Two of them are the same.
    #[error("it is given twice")]
    Twice,
}

/// Signs receipts.
pub struct Receipts {
    key: EncodingKey,
    header: Header,
    issuer: String,
    /// The public keys, as `/.well-known/jwks.json` shows them.
    jwks: String,
}

impl std::fmt::Debug for Receipts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipts").field("kid", &self.header.kid).finish_non_exhaustive()
    }
}

/// What is signed.
#[derive(Serialize)]
struct Claims<'a> {
    /// Who signs.
    iss: &'a str,
    /// When, seconds since 1970 UTC.
    iat: u64,
    /// The institution that the decision belongs to.
    institution: u16,
    #[serde(flatten)]
    decision: &'a StoredView,
}

impl Receipts {
    /// Signs with this private key, PEM, in the name of `issuer`; `old` are public keys, PEM, whose receipts are still
    /// to be checked.
    ///
    /// # Errors
    /// [`KeyFault`], with the number of the key among all: the private one is 0.
    pub fn new(issuer: String, private: &[u8], old: &[Vec<u8>]) -> Result<Self, (usize, KeyFault)> {
        let unreadable =
            |error: jsonwebtoken::errors::Error| KeyFault::Unreadable(error.to_string());
        let key = EncodingKey::from_rsa_pem(private).map_err(|error| (0, unreadable(error)))?;
        let own = Jwk::from_encoding_key(&key, Algorithm::PS256);
        let mut keys =
            vec![named(own.map_err(|error| (0, unreadable(error)))?).map_err(|f| (0, f))?];
        for (number, pem) in (1..).zip(old) {
            let read = DecodingKey::from_rsa_pem(pem)
                .and_then(|key| Jwk::from_decoding_key(&key, Some(Algorithm::PS256)));
            let key = read.map_err(unreadable).and_then(named);
            keys.push(key.map_err(|fault| (number, fault))?);
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = keys.iter().position(|key| !names.insert(key.common.key_id.clone())) {
            return Err((twice, KeyFault::Twice));
        }
        let mut header = Header::new(Algorithm::PS256);
        header.typ = Some(RECEIPT_TYPE.to_owned());
        header.kid = keys[0].common.key_id.clone();
        let jwks = serde_json::to_string(&JwkSet { keys }).expect("text is JSON");
        Ok(Self { key, header, issuer, jwks })
    }

    /// The receipt of a decision. Takes a millisecond or more.
    ///
    /// # Errors
    /// The key does not sign.
    pub fn sign(
        &self,
        decision: &StoredView,
        institution: u16,
        now_s: u64,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let claims = Claims { iss: &self.issuer, iat: now_s, institution, decision };
        jsonwebtoken::encode(&self.header, &claims, &self.key)
    }

    /// The public keys as a JWKS.
    pub fn jwks(&self) -> &str {
        &self.jwks
    }
}

/// A key with its name, the thumbprint of RFC 7638.
fn named(mut key: Jwk) -> Result<Jwk, KeyFault> {
    let AlgorithmParameters::RSA(rsa) = &key.algorithm else { return Err(KeyFault::Size) };
    if !(LEAST_MODULUS_LEN..=MOST_MODULUS_LEN).contains(&rsa.n.len()) {
        return Err(KeyFault::Size);
    }
    let name = key.thumbprint(ThumbprintHash::SHA256);
    key.common.key_id = Some(name.map_err(|error| KeyFault::Unreadable(error.to_string()))?);
    key.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{Validation, decode, decode_header};
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
    use serde_json::Value;

    fn key() -> KeyPair {
        KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key")
    }

    fn view() -> StoredView {
        StoredView {
            transaction_id: "order-1".to_owned(),
            verdict: "deny",
            reason: Some("blacklist"),
            score: 1000,
            degraded: false,
            shadow_disagrees: false,
            decided_at: "2026-11-22T12:34:56Z".to_owned(),
            payer: Some("***.332.286-**".to_owned()),
            payee: None,
            amount_centavos: 12_345,
            event_time: "2026-11-22T12:34:56Z".to_owned(),
            rail: Some("pix"),
            channel: None,
            shard: 1,
            lsn: 77,
            epoch: 3,
            receipt: "00".repeat(8),
            chain: "00".repeat(32),
            policy_version: 4,
            matched_rules: "00".repeat(8),
            trace_id: None,
            submitter: None,
        }
    }

    #[test]
    fn whoever_has_the_public_key_can_check_a_receipt() {
        let (now, before) = (key(), key());
        let old = vec![before.public_key_pem().into_bytes()];
        let receipts = Receipts::new("bank".to_owned(), now.serialize_pem().as_bytes(), &old);
        let receipts = receipts.expect("keys");
        let text = receipts.sign(&view(), 7, 1_700_000_000).expect("signed");
        let header = decode_header(&text).expect("a header");
        let kid = header.kid.expect("a name");
        assert_eq!((header.alg, header.typ.as_deref()), (Algorithm::PS256, Some(RECEIPT_TYPE)));
        let shown: JwkSet = serde_json::from_str(receipts.jwks()).expect("a set of keys");
        assert_eq!(shown.keys.len(), 2);
        let check = |key: &Jwk, text: &str| {
            let mut rules = Validation::new(Algorithm::PS256);
            rules.required_spec_claims.clear();
            (rules.validate_exp, rules.validate_aud) = (false, false);
            decode::<Value>(text, &DecodingKey::from_jwk(key).expect("a key"), &rules)
        };
        let own = shown.find(&kid).expect("the key is shown");
        let claims = check(own, &text).expect("it is good").claims;
        assert_eq!((&claims["iss"], &claims["iat"]), (&"bank".into(), &1_700_000_000.into()));
        assert_eq!((&claims["verdict"], &claims["lsn"]), (&"deny".into(), &77.into()));
        assert_eq!(claims["institution"], 7);
        let other = shown.keys.iter().find(|key| key.common.key_id != Some(kid.clone()));
        assert!(check(other.expect("two keys"), &text).is_err(), "another key did not sign it");
        let (head, rest) = text.split_once('.').expect("three parts");
        let changed = format!("{head}.A{}", &rest[1..]);
        assert!(check(own, &changed).is_err(), "what was changed is not good");
        assert!(!receipts.jwks().contains("\"d\""), "no private key is shown");
    }

    #[test]
    fn a_key_that_is_of_no_use_is_refused() {
        let own = key();
        let new = |private: &[u8], old: &[Vec<u8>]| Receipts::new(String::new(), private, old);
        let pem = own.serialize_pem();
        let of_curve = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        for bad in [&b""[..], b"nonsense", of_curve.serialize_pem().as_bytes()] {
            let (number, fault) = new(bad, &[]).expect_err("no such key");
            assert!(matches!((number, fault), (0, KeyFault::Unreadable(_))));
        }
        let again = vec![own.public_key_pem().into_bytes()];
        assert_eq!(new(pem.as_bytes(), &again).err(), Some((1, KeyFault::Twice)));
        let (number, fault) = new(pem.as_bytes(), &[b"x".to_vec()]).expect_err("no such key");
        assert!(matches!((number, fault), (1, KeyFault::Unreadable(_))));
    }
}
