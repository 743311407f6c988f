//! Tokens that are good, and every way in which one is not.

use crate::Fault;
use crate::keys::KeySet;
use crate::testing::{Served, Signer, block_on, claims, jwks, whole};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().expect("claims are an object").remove(name);
    claims
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn whatever_is_not_as_it_should_be_is_refused() {
    let (ec, rsa, stranger) = (Signer::ec("e"), Signer::rsa("r"), Signer::ec("e"));
    let now_s = crate::now_s();
    let mut bad: Vec<(&str, String)> = Vec::new();
    for (why, claims) in [
        ("has expired", with("exp", json!(now_s - 100))),
        ("not valid yet", with("nbf", json!(now_s + 600))),
        ("in the future", with("iat", json!(now_s + 600))),
        ("for longer", with("exp", json!(now_s + 100_000))),
        ("another audience", with("aud", json!("https://other.example"))),
        ("another audience", with("aud", json!([]))),
        ("another issuer", with("iss", json!("https://issuer.example/"))),
        ("jti is empty", with("jti", json!(""))),
        ("sub is empty", with("sub", json!("x".repeat(300)))),
        ("is missing", with("exp", json!("soon"))),
        ("is missing", with("jti", json!(7))),
        ("is missing", with("cnf", json!({ "jkt": "0123" }))),
        ("cnf", with("cnf", json!({ "x5t#S256": "0123" }))),
    ] {
        bad.push((why, ec.sign(&claims)));
    }
    for claim in ["exp", "iat", "iss", "aud", "sub", "client_id", "jti"] {
        bad.push(("is missing", ec.sign(&without(claim))));
    }
    bad.push(("signature is wrong", stranger.sign(&claims())));
    for kind in [None, Some("JWT"), Some("jwt"), Some("at+jwt2")] {
        let header = Header { typ: kind.map(str::to_owned), ..ec.header() };
        bad.push(("typ", encode(&header, &claims(), &ec.key).expect("signed")));
    }
    let nameless = Header { kid: None, ..ec.header() };
    bad.push(("no kid", encode(&nameless, &claims(), &ec.key).expect("signed")));
    let critical = Header { crit: Some(vec!["exp".to_owned()]), ..ec.header() };
    bad.push(("critical", encode(&critical, &claims(), &ec.key).expect("signed")));
    // The public key as the secret of an HMAC, no signature at all, and another kind of RSA signature.
    let public = EncodingKey::from_secret(rsa.jwk()["n"].as_str().expect("text").as_bytes());
    let hmac = Header { alg: Algorithm::HS256, ..rsa.header() };
    bad.push(("alg", encode(&hmac, &claims(), &public).expect("signed")));
    let older = Header { alg: Algorithm::RS256, ..rsa.header() };
    bad.push(("alg", encode(&older, &claims(), &rsa.key).expect("signed")));
    let crossed = Header { kid: Some("e".to_owned()), ..rsa.header() };
    bad.push(("that of its key", encode(&crossed, &claims(), &rsa.key).expect("signed")));
    for none in ["none", "None", "NONE", ""] {
        let header = json!({ "alg": none, "typ": "at+jwt", "kid": "e" }).to_string();
        let (header, body) = (base64(header), base64(claims().to_string()));
        bad.push(("", format!("{header}.{body}.")));
        bad.push(("", format!("{header}.{body}")));
    }
    let sound = ec.sign(&claims());
    bad.push(("", sound.trim_end_matches(|c| c != '.').to_owned()));
    bad.push(("", format!("{sound}.{sound}")));
    bad.push(("", format!("{sound}=")));
    bad.push(("too long", "a".repeat(10_000)));
    bad.push(("", "..".to_owned()));
    let (head, rest) = sound.split_once('.').expect("it has parts");
    let (_, signature) = rest.split_once('.').expect("it has parts");
    let more = base64(with("scope", json!("admin:read")).to_string());
    bad.push(("signature is wrong", format!("{head}.{more}.{signature}")));
    block_on(async {
        let served = Served::start(whole(&jwks(&[&ec, &rsa]))).await;
        let tokens = served.tokens();
        assert!(tokens.check(&sound).await.is_ok());
        for (expected, token) in &bad {
            match tokens.check(token).await {
                Err(Fault::Bad(why)) => assert!(why.contains(expected), "{expected}: {why}"),
                other => panic!("{expected}: {other:?}: {token}"),
            }
        }
    });
}

#[test]
fn only_keys_that_may_check_tokens_are_taken_from_a_jwks() {
    let (ec, rsa) = (Signer::ec("e"), Signer::rsa("r"));
    let changed = |signer: &Signer, name: &str, value: Value| {
        let mut jwk = signer.jwk();
        jwk[name] = value;
        jwk
    };
    for jwk in [
        changed(&ec, "use", json!("enc")),
        changed(&ec, "key_ops", json!(["sign"])),
        changed(&ec, "alg", json!("ES384")),
        changed(&rsa, "alg", json!("RS256")),
        changed(&rsa, "n", json!(base64([0xff; 128]))),
        changed(&rsa, "n", json!(base64(vec![0xff; 4_096]))),
        changed(&ec, "kid", json!("")),
        changed(&ec, "kid", Value::Null),
        changed(&ec, "crv", json!("P-384")),
        changed(&ec, "x", json!("AA")),
        json!({ "kty": "oct", "kid": "o", "k": "AAAA" }),
        json!({ "kty": "AKP", "kid": "new", "alg": "ML-DSA-44", "pub": "AAAA" }),
        json!("a key"),
    ] {
        let keys = json!({ "keys": [jwk] }).to_string();
        assert!(KeySet::parse(keys.as_bytes()).is_err(), "{keys}");
        let keys = json!({ "keys": [jwk, rsa.jwk()] }).to_string();
        match KeySet::parse(keys.as_bytes()) {
            Ok(set) => assert!(set.len() == 1 && set.get("r").is_some(), "{keys}"),
            Err(why) => panic!("one spoils the others: {why}"),
        }
    }
    for garbage in ["", "{}", "[]", "{\"keys\":{}}", "\u{0}"] {
        assert!(KeySet::parse(garbage.as_bytes()).is_err());
    }
    assert!(KeySet::parse(jwks(&[&ec, &Signer::ec("e")]).as_bytes()).is_err(), "one name twice");
}
