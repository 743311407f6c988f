//! What is sent of a payment: the parts of a URL and the members of a body as text.

use super::{Payment, spec};
use catraca_core::policy::lists::KeyField;
use catraca_wire::DocumentKey;
use catraca_wire::document::DocumentKind;
use serde_json::Value;
use spec::{Request, Sent, UrlPart};
use std::fmt::Write as _;
use std::net::Ipv6Addr;

/// What a cluster's key is derived for.
const KEY_CONTEXT: &str = "catraca 2026 validators, documents";
/// Bytes of a document's hash that are sent: 128 bits, of which no two of all documents are the same.
const HASH_LEN: usize = 16;
/// Characters of a CNPJ that name the company.
const ROOT_LEN: usize = 8;

/// The secret by which documents are hashed: the same on both nodes, so that a service sees the same payer.
#[derive(Clone, Copy)]
pub(super) struct DocumentsKey([u8; blake3::KEY_LEN]);

impl DocumentsKey {
    /// Of the cluster with this secret.
    pub(super) fn of(secret: &[u8; blake3::KEY_LEN]) -> Self {
        Self(blake3::derive_key(KEY_CONTEXT, secret))
    }

    fn hash(&self, text: &str) -> String {
        hex::encode(&blake3::keyed_hash(&self.0, text.as_bytes()).as_bytes()[..HASH_LEN])
    }
}

/// How documents, and the companies that are parts of them, are written.
#[derive(Clone, Copy)]
pub(super) enum Documents {
    /// In full.
    Full,
    /// As their keyed hash.
    Hashed(DocumentsKey),
    /// As people may see them.
    Masked,
}

impl Documents {
    fn document(self, document: DocumentKey) -> String {
        match self {
            Self::Full => document.to_canonical(),
            Self::Hashed(key) => key.hash(&document.to_canonical()),
            Self::Masked => document.to_string(),
        }
    }

    /// The company of a document; `None` for a CPF.
    fn root(self, document: DocumentKey) -> Option<String> {
        if document.kind() == DocumentKind::Cpf {
            return None;
        }
        let mut text = document.to_canonical();
        text.truncate(ROOT_LEN);
        Some(match self {
            // The law makes it public, and the mask of a CNPJ leaves it.
            Self::Full | Self::Masked => text,
            Self::Hashed(key) => key.hash(&text),
        })
    }
}

/// A field that the URL needs and the payment lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lacks(pub Sent);

/// The URL for a payment.
///
/// # Errors
/// The payment lacks a field of it: without it the URL would name something else.
pub(super) fn url(
    request: &Request,
    payment: &Payment,
    documents: Documents,
) -> Result<String, Lacks> {
    let mut url = String::new();
    for part in &request.url {
        match part {
            UrlPart::Text(text) => url.push_str(text),
            UrlPart::Field(sent) => {
                let text = match value(*sent, payment, documents) {
                    Value::String(text) => text,
                    Value::Null => return Err(Lacks(*sent)),
                    number => number.to_string(),
                };
                match documents {
                    // Nobody sends it, and somebody reads it.
                    Documents::Masked => url.push_str(&text),
                    _ => percent_encode(&text, &mut url),
                }
            }
        }
    }
    Ok(url)
}

/// The body for a payment: a JSON object by the fields' names, `null` where the payment lacks one.
pub(super) fn body(request: &Request, payment: &Payment, documents: Documents) -> Option<String> {
    let members = request.body.iter().map(|&sent| {
        let name = sent.name().to_owned();
        (name, value(sent, payment, documents))
    });
    request.is_post.then(|| Value::Object(members.collect()).to_string())
}

/// What of a payment is sent: a text, a whole number, or nothing.
fn value(sent: Sent, payment: &Payment, documents: Documents) -> Value {
    let Payment { transaction, payer, payee } = payment;
    let key = match sent {
        Sent::Amount => return transaction.amount_centavos.to_native().into(),
        Sent::Key(key) => key,
    };
    let number = |number: u64| (number != 0).then(|| format!("{number:016x}"));
    let ispb = |bytes: &[u8; 8]| {
        (*bytes != [0; 8]).then(|| bytes.iter().map(|&byte| char::from(byte)).collect())
    };
    let text: Option<String> = match key {
        KeyField::PayerDocument => Some(documents.document(*payer)),
        KeyField::PayeeDocument => Some(documents.document(*payee)),
        KeyField::PayerRoot => documents.root(*payer),
        KeyField::PayeeRoot => documents.root(*payee),
        KeyField::PayerAccount => number(transaction.payer_account.to_native()),
        KeyField::PayeeAccount => number(transaction.payee_account.to_native()),
        KeyField::Device => number(transaction.device.to_native()),
        KeyField::PixKey => {
            (transaction.pix_key != [0; 16]).then(|| hex::encode(transaction.pix_key))
        }
        KeyField::PayerIspb => ispb(&transaction.payer_ispb),
        KeyField::PayeeIspb => ispb(&transaction.payee_ispb),
        KeyField::Ip => (transaction.ip != [0; 16])
            .then(|| Ipv6Addr::from(transaction.ip).to_canonical().to_string()),
    };
    text.map_or(Value::Null, Value::String)
}

/// All but letters, digits and `-._~` as `%` and two digits (RFC 3986, 2.3).
fn percent_encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' => into.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => into.push(byte.into()),
            _ => write!(into, "%{byte:02X}").expect("writing to a string can't fail"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::frame::TransactionFields;

    fn payment() -> Payment {
        let mut transaction: TransactionFields = bytemuck::Zeroable::zeroed();
        transaction.amount_centavos = 150_000.into();
        transaction.device = 0xabc.into();
        transaction.pix_key = [0x1f; 16];
        transaction.payer_ispb = *b"1234567/";
        transaction.ip = std::net::Ipv4Addr::new(10, 0, 0, 7).to_ipv6_mapped().octets();
        let payer = DocumentKey::parse("529.982.247-25").expect("a document");
        let payee = DocumentKey::parse("11.222.333/0001-81").expect("a document");
        Payment { transaction, payer, payee }
    }

    fn request(fields: &[&str]) -> Request {
        let fields: Vec<_> = fields.iter().map(|name| Sent::named(name).expect("one")).collect();
        let mut url = vec![UrlPart::Text("http://a/".to_owned())];
        url.extend(fields.iter().map(|&field| UrlPart::Field(field)));
        Request {
            is_post: true,
            url,
            headers: Vec::new(),
            secret_headers: Vec::new(),
            body: fields,
            documents_in_full: true,
            tls: spec::TlsFiles::default(),
        }
    }

    #[test]
    fn each_field_is_written_as_the_page_says() {
        let key = DocumentsKey::of(&[7; 32]);
        let text = |field: &str, documents| {
            url(&request(&[field]), &payment(), documents).map(|url| url[9..].to_owned())
        };
        for (field, written) in [
            ("tx.amount", "150000"),
            ("payer.document", "52998224725"),
            ("payee.document", "11222333000181"),
            ("payee.root", "11222333"),
            ("tx.device", "0000000000000abc"),
            ("tx.pix_key", "1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f"),
            ("tx.payer_ispb", "1234567%2F"),
            ("tx.ip", "10.0.0.7"),
        ] {
            assert_eq!(text(field, Documents::Full), Ok(written.to_owned()), "{field}");
        }
        let hashed = text("payer.document", Documents::Hashed(key)).expect("it has one");
        assert_eq!(hashed, key.hash("52998224725"));
        assert!(hashed.len() == 32 && hashed.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(hashed, DocumentsKey::of(&[8; 32]).hash("52998224725"));
        assert_eq!(text("payee.root", Documents::Hashed(key)), Ok(key.hash("11222333")));
        assert_eq!(text("payer.document", Documents::Masked), Ok("***.982.247-**".to_owned()));
        // What it lacks leaves a gap in no URL.
        for field in ["payer.root", "tx.payee_account", "tx.payee_ispb"] {
            let lacks = Lacks(Sent::named(field).expect("one"));
            assert_eq!(text(field, Documents::Full), Err(lacks));
        }
    }

    #[test]
    fn a_body_has_the_fields_by_their_names() {
        let request = request(&["payer.document", "tx.amount", "tx.payee_account"]);
        let body = body(&request, &payment(), Documents::Full).expect("a POST");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let wanted = serde_json::json!({
            "payer.document": "52998224725", "tx.amount": 150_000, "tx.payee_account": null,
        });
        assert_eq!(body, wanted);
    }
}
