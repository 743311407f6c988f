//! Keys that sign, and an issuer that serves whatever is asked of it. What fails here panics, as tests do.

use crate::{Expected, Source, Tokens};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// `iss` of its tokens.
pub const ISSUER: &str = "https://issuer.example";
/// `aud` of them.
pub const AUDIENCE: &str = "https://catraca.example";

/// A key of an issuer.
#[derive(Clone)]
pub struct Signer {
    /// Its name.
    pub kid: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// The private key.
    pub key: EncodingKey,
}

impl Signer {
    /// A new key of P-256.
    pub fn ec(kid: &str) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let key = EncodingKey::from_ec_der(&key.serialize_der());
        Self { kid: kid.to_owned(), algorithm: Algorithm::ES256, key }
    }

    /// A key of RSA. All have the same key, which takes long to make.
    pub fn rsa(kid: &str) -> Self {
        static DER: OnceLock<Vec<u8>> = OnceLock::new();
        let der = DER.get_or_init(|| {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
            let der = pair.as_der().expect("it has a form");
            // Behind the head of PKCS #8 stands the form that the library wants.
            der.as_ref()[26..].to_vec()
        });
        let key = EncodingKey::from_rsa_der(der);
        Self { kid: kid.to_owned(), algorithm: Algorithm::PS256, key }
    }

    /// The public key as a member of a JWKS.
    pub fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).expect("a key");
        jwk.common.key_id = Some(self.kid.clone());
        serde_json::to_value(jwk).expect("it is JSON")
    }

    /// The header of its tokens.
    pub fn header(&self) -> Header {
        let mut header = Header::new(self.algorithm);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.kid.clone());
        header
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        encode(&self.header(), claims, &self.key).expect("signed")
    }
}

/// The JWKS with their public keys.
pub fn jwks(signers: &[&Signer]) -> String {
    json!({ "keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() }).to_string()
}

/// Claims of a token that is good for `bank`.
pub fn claims() -> Value {
    let now_s = crate::now_s();
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "bank", "client_id": "bank", "jti": "1",
        "iat": now_s, "exp": now_s + 600, "scope": "decisions:write",
    })
}

/// What those tokens are held to.
pub fn expected() -> Expected {
    Expected { issuer: ISSUER.to_owned(), audience: AUDIENCE.to_owned(), max_lifetime_s: 3_600 }
}

/// An issuer over HTTP that answers everything with the same bytes, and counts.
pub struct Served {
    /// Where it listens.
    pub address: SocketAddr,
    count: Arc<AtomicUsize>,
    answer: Arc<parking_lot::Mutex<Vec<u8>>>,
}

/// A whole answer with this body.
pub fn whole(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

impl Served {
    /// With an empty answer it takes the question, and says nothing.
    pub async fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        let served = Self {
            address,
            count: Arc::default(),
            answer: Arc::new(parking_lot::Mutex::new(answer)),
        };
        let (count, answer) = (Arc::clone(&served.count), Arc::clone(&served.answer));
        drop(tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let answer = answer.lock().clone();
                drop(tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4_096]).await;
                    if answer.is_empty() {
                        std::future::pending::<()>().await;
                    }
                    let _ = stream.write_all(&answer).await;
                }));
            }
        }));
        served
    }

    /// What it answers from now on.
    pub fn answers(&self, answer: Vec<u8>) {
        *self.answer.lock() = answer;
    }

    /// How often it was asked.
    pub fn times(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Where its keys are.
    pub fn source(&self) -> Source {
        Source::new(&format!("http://{}/jwks", self.address), None).expect("this machine")
    }

    /// What checks its tokens. To be called within a runtime of tokio.
    pub fn tokens(&self) -> Tokens {
        Tokens::start(self.source(), expected())
    }
}

/// Runs it on a runtime of its own.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}
