//! An access token's header and claims, held to RFC 9068. Everything that is not expected is refused. Pure but
//! for the clock of the library that checks `exp` and `nbf`.

use super::keys::{Key, MAX_KID_LEN};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use catraca_tls::Digest;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::Deserialize;

/// The longest token that is looked at, bytes: half of the head that a request over HTTP may have.
pub const MAX_TOKEN_LEN: usize = 8 * 1024;
/// How far the clocks of issuer and checker may lie apart, seconds.
pub const LEEWAY_S: u64 = 30;
/// The longest `sub`, `client_id` and `jti`, bytes.
const MAX_CLAIM_LEN: usize = 256;

/// What tokens are held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// `iss`, to the letter.
    pub issuer: String,
    /// What `aud` must have in it.
    pub audience: String,
    /// The longest time until `exp`, seconds: for so long a token can't be taken back.
    pub max_lifetime_s: u64,
}

/// The claims that matter here.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    /// When it ends, seconds since 1970.
    pub(super) exp: u64,
    iat: u64,
    /// Who is behind that.
    pub(crate) sub: String,
    jti: String,
    /// Whom it was issued to.
    pub(super) client_id: String,
    /// What it grants, words with spaces between.
    #[serde(default)]
    pub(super) scope: String,
    #[serde(default)]
    cnf: Option<Confirmation>,
}

/// What the bearer has to show besides (RFC 7800).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    #[serde(rename = "x5t#S256")]
    certificate: String,
}

/// The key that signed a token, as the token says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) kid: String,
    algorithm: Algorithm,
}

/// Reads which key signed the token; nothing of it is believed yet.
///
/// # Errors
/// It is no access token, or is signed in a way that is not taken.
pub(super) fn signed_by(token: &str) -> Result<Signed, &'static str> {
    let header = decode_header(token).map_err(|_| "it is no token that is known here")?;
    let kind = header.typ.as_deref().unwrap_or_default();
    if !["at+jwt", "application/at+jwt"].iter().any(|known| kind.eq_ignore_ascii_case(known)) {
        return Err("its typ is not at+jwt");
    }
    if !matches!(header.alg, Algorithm::PS256 | Algorithm::ES256) {
        return Err("its alg is neither PS256 nor ES256");
    }
    if header.crit.is_some() {
        return Err("it has critical headers");
    }
    let kid = header.kid.filter(|kid| (1..=MAX_KID_LEN).contains(&kid.len()));
    Ok(Signed { kid: kid.ok_or("it has no kid")?, algorithm: header.alg })
}

/// Checks the signature by this key, and all claims. `now_s`: seconds since 1970.
///
/// # Errors
/// What is wrong with it; no part of the token is in the text.
pub(super) fn checked(
    token: &str,
    signed: &Signed,
    key: &Key,
    expected: &Expected,
    now_s: u64,
) -> Result<Claims, &'static str> {
    if signed.algorithm != key.algorithm {
        return Err("its alg is not that of its key");
    }
    let mut validation = Validation::new(key.algorithm);
    validation.leeway = LEEWAY_S;
    validation.validate_nbf = true;
    validation.set_issuer(&[&expected.issuer]);
    validation.set_audience(&[&expected.audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let decoded = decode::<Claims>(token, &key.decoding, &validation);
    let claims = decoded.map_err(|error| reason(error.kind()))?.claims;
    for (claim, missing) in [
        (&claims.sub, "its sub is empty or too long"),
        (&claims.jti, "its jti is empty or too long"),
        (&claims.client_id, "its client_id is empty or too long"),
    ] {
        if !(1..=MAX_CLAIM_LEN).contains(&claim.len()) {
            return Err(missing);
        }
    }
    if claims.iat > now_s + LEEWAY_S {
        return Err("it was issued in the future");
    }
    if claims.exp > now_s + expected.max_lifetime_s + LEEWAY_S {
        return Err("it is good for longer than is allowed here");
    }
    if claims.cnf.is_some() && claims.certificate().is_none() {
        return Err("its cnf is not the thumbprint of a certificate");
    }
    Ok(claims)
}

impl Claims {
    /// The certificate that the bearer has to show (RFC 8705).
    pub(super) fn certificate(&self) -> Option<Digest> {
        let text = &self.cnf.as_ref()?.certificate;
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
    }
}

fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidAudience => "it is for another audience",
        ErrorKind::InvalidIssuer => "another issuer made it",
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::Json(_) => {
            "a claim is missing or of a wrong type: exp, iat, iss, aud, sub, client_id, jti"
        }
        _ => "it is no sound token",
    }
}
