//! One attempt at asking a validator over HTTP: what is sent, on which connection, and what the answer means.
//! When it is asked, how often, and what is kept of it is not known here.
//!
//! hyper with its pool, and not reqwest: reqwest follows redirects, takes proxies from the environment, keeps
//! cookies and unpacks unless each is turned off, and a feature that another crate turns on brings it back. Here
//! there is nothing to turn off, and connections are our own: counted, with our look-ups and our TLS.
//!
//! ```text
//! Payment ──rendered──▶ request ──connect──▶ response ──answer──▶ Attempt
//!                          ▲ files: secrets, certificates
//!                                      ▲ names: addresses
//! ```

mod answer;
mod connect;
mod files;
mod names;
mod rendered;

use super::spec::{self, Service};
use crate::descriptors::Seldom;
use catraca_wire::DocumentKey;
use catraca_wire::frame::TransactionFields;
use connect::Connector;
use files::Marks;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use names::Names;
use parking_lot::Mutex;
use rendered::{Documents, DocumentsKey};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio_rustls::rustls::pki_types::ServerName;

pub(super) use files::authorities;

/// How often it is looked whether a file changed: a token is good for minutes, and a look costs a call of the system
/// for each file.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a connection that nobody uses is kept: less than most servers keep it, which is a minute and more.
const IDLE: Duration = Duration::from_secs(30);
/// Most bytes that are held of a connection of HTTP/1.1, the head of a response among them.
const MAX_READ_LEN: usize = 64 * 1024;
/// Most headers of a response.
const MAX_HEADERS: usize = 100;
/// Most bytes of a response's headers over HTTP/2.
const MAX_HEADERS_LEN: u32 = 32 * 1024;
/// Bytes that a service may send ahead over HTTP/2: on each stream as much as is read of a body, and on the connection
/// sixteen times that.
const STREAM_WINDOW: u32 = answer::MAX_BODY_LEN as u32;
const CONNECTION_WINDOW: u32 = 16 * STREAM_WINDOW;
/// How often a connection of HTTP/2 is asked for a sign of life, and how long it has for it: all attempts are on
/// one, and one whose other end is gone would take every attempt's whole time.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_PATIENCE: Duration = Duration::from_secs(2);
/// What is shown where a secret stands.
const HIDDEN: &str = "***";

/// A payment that a validator is asked about.
#[derive(Clone, Copy)]
pub struct Payment {
    /// As it was sent.
    pub transaction: TransactionFields,
    /// Who pays.
    pub payer: DocumentKey,
    /// Who is paid.
    pub payee: DocumentKey,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What it is.
    pub outcome: Outcome,
    /// Status of the response; `None` where there was none.
    pub status: Option<u16>,
    /// How long it took.
    pub took: Duration,
    /// What led to it, for people: no personal data, and nothing that the service wrote.
    pub detail: String,
}

/// What an attempt comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer, as decisions see it.
    Answer(i64),
    /// None this time.
    Retryable {
        /// How long the service wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// None, and another attempt would come to the same.
    Final,
}

/// Why a validator can't be asked at all: what is to be put right before its policy is taken into force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientFault {
    /// A file can't be read.
    #[error("{0}: could not be read: {1}")]
    File(PathBuf, String),
    /// A file holds something else.
    #[error("{0}: {1}; it is to be PEM")]
    Pem(PathBuf, &'static str),
    /// A secret is missing or can't be sent.
    #[error("{0}: no secret for a header: {1}")]
    Secret(String, &'static str),
    /// The system trusts nobody.
    #[error("the system has no certificates of authorities: name some in tls.ca_file")]
    NoAuthorities,
    /// Certificates or keys that make no sense.
    #[error("TLS: {0}")]
    Tls(String),
    /// A URL or a header that can't be sent.
    #[error("{0}")]
    Request(String),
}

impl ClientFault {
    fn file(path: &Path, error: &io::Error) -> Self {
        Self::File(path.to_owned(), error.to_string())
    }
}

/// A request as people may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// GET or POST.
    pub method: &'static str,
    /// Where to; what the payment lacks is a fault in its place.
    pub url: Result<String, String>,
    /// Headers, with `***` in the place of secrets.
    pub headers: Vec<(String, String)>,
    /// Body of a POST.
    pub body: Option<String>,
}

/// Asks one service. Clones share connections and all else.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    service: Service,
    documents: Documents,
    /// Headers that are no secrets.
    headers: HeaderMap,
    connector: Connector,
    server: Option<ServerName<'static>>,
    loaded: Mutex<Loaded>,
    next_look: Mutex<Instant>,
    is_looking: AtomicBool,
    told: Seldom,
}

/// What was read from files, and what follows from it.
#[derive(Clone)]
struct Loaded {
    secrets: Vec<(HeaderName, HeaderValue)>,
    secret_marks: Marks,
    tls_marks: Marks,
    pool: Pool<Connector, Full<Bytes>>,
}

/// Names the validator: what is in it is secret, or somebody's.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.0.service.id)
    }
}

impl Client {
    /// A client of a service. Reads its files; `hash_key` is the cluster's secret, of which the one for documents is
    /// derived.
    ///
    /// # Errors
    /// [`ClientFault`]: a file is missing or wrong, or the request can't be sent.
    pub fn new(service: &Service, hash_key: &[u8; blake3::KEY_LEN]) -> Result<Self, ClientFault> {
        let request = &service.request;
        let (uri, host) = parse(&shown_url(request))?;
        let is_https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let server = ServerName::try_from(host.clone())
            .map_err(|_| ClientFault::Request(format!("{host} is no name of a host")))?;
        let connector = Connector {
            names: Names::new(&host, port),
            places: Arc::new(Semaphore::new(service.limits.in_flight.max(1).into())),
            tls: None,
            timeout: Duration::from_millis(service.timeout_ms.into()),
        };
        let server = is_https.then_some(server);
        let loaded = load(service, &connector, server.as_ref())?;
        Ok(Self(Arc::new(Inner {
            documents: match request.documents_in_full {
                true => Documents::Full,
                false => Documents::Hashed(DocumentsKey::of(hash_key)),
            },
            headers: headers(request)?,
            service: service.clone(),
            connector,
            server,
            loaded: Mutex::new(loaded),
            next_look: Mutex::new(Instant::now() + LOOK_EVERY),
            is_looking: AtomicBool::new(false),
            told: Seldom::default(),
        })))
    }

    /// Asks once. Takes no longer than the service's time for an attempt; dropped, it is given up.
    pub async fn attempt(&self, payment: &Payment) -> Attempt {
        let began = Instant::now();
        let timeout_ms = self.0.service.timeout_ms;
        let within = Duration::from_millis(timeout_ms.into());
        let mut status = None;
        let said = tokio::time::timeout(within, self.exchange(payment, &mut status)).await;
        let (outcome, detail) = said.unwrap_or_else(|_| {
            let what = if status.is_some() { "the whole answer" } else { "an answer" };
            let outcome = Outcome::Retryable { retry_after: None };
            (outcome, format!("{what} did not come within {timeout_ms} ms"))
        });
        Attempt { outcome, status, took: began.elapsed(), detail }
    }

    /// Asks once, from a thread without a runtime, for commands: its connection is closed behind it.
    ///
    /// # Errors
    /// The system gives no descriptors for a runtime.
    pub fn attempt_alone(&self, payment: &Payment) -> io::Result<Attempt> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let attempt = runtime.block_on(self.attempt(payment));
        // A look-up that hangs is not waited for.
        runtime.shutdown_background();
        Ok(attempt)
    }

    /// The request for a payment as people may see it: documents masked where they are sent in full, unless
    /// `documents_in_full`.
    pub fn shown(&self, payment: &Payment, documents_in_full: bool) -> Shown {
        let request = &self.0.service.request;
        let documents = match self.0.documents {
            Documents::Full if !documents_in_full => Documents::Masked,
            as_sent => as_sent,
        };
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let plain = self.0.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
        let is_secret = |name: &String| request.secret_headers.iter().any(|(own, _)| own == name);
        let mut headers: Vec<_> = plain.filter(|(name, _)| !is_secret(name)).collect();
        let hidden = request.secret_headers.iter();
        headers.extend(hidden.map(|(name, _)| (name.clone(), HIDDEN.to_owned())));
        Shown {
            method: if request.is_post { "POST" } else { "GET" },
            url: rendered::url(request, payment, documents).map_err(lacks),
            headers,
            body: rendered::body(request, payment, documents),
        }
    }

    async fn exchange(&self, payment: &Payment, status: &mut Option<u16>) -> answer::Said {
        let Inner { service, documents, .. } = &*self.0;
        let url = match rendered::url(&service.request, payment, *documents) {
            Ok(url) => url,
            Err(fault) => return (Outcome::Final, lacks(fault)),
        };
        let Ok(uri) = Uri::try_from(url) else {
            return (Outcome::Final, "the URL for this payment makes no sense".to_owned());
        };
        let body = rendered::body(&service.request, payment, *documents).unwrap_or_default();
        self.look().await;
        let Loaded { secrets, pool, .. } = self.0.loaded.lock().clone();
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = if service.request.is_post { Method::POST } else { Method::GET };
        *request.uri_mut() = uri;
        *request.headers_mut() = self.0.headers.clone();
        for (name, value) in secrets {
            request.headers_mut().insert(name, value);
        }
        match pool.request(request).await {
            Ok(response) => {
                *status = Some(response.status().as_u16());
                answer::of(&service.meaning, response).await
            }
            Err(error) => (Outcome::Retryable { retry_after: None }, answer::causes(&error)),
        }
    }

    /// Looks whether files changed, where that is due: on a thread of its own, at most one, which goes on when the
    /// attempt that waits for it is over.
    async fn look(&self) {
        let is_due = {
            let now = Instant::now();
            let mut next = self.0.next_look.lock();
            let is_due = now >= *next && self.0.has_files();
            if is_due {
                *next = now + LOOK_EVERY;
            }
            is_due
        };
        if is_due && !self.0.is_looking.swap(true, Ordering::AcqRel) {
            let inner = Arc::clone(&self.0);
            let looked = tokio::task::spawn_blocking(move || inner.look_now());
            // A panic of it is told where it happens, and what was read before stays.
            let _ = looked.await;
        }
    }
}

impl Inner {
    fn has_files(&self) -> bool {
        let loaded = self.loaded.lock();
        !loaded.secret_marks.is_empty() || !loaded.tls_marks.is_empty()
    }

    /// Reads anew what changed. What can't be read stays what it was: a file may be half written.
    fn look_now(&self) {
        let old = self.loaded.lock().clone();
        match reload(&self.service, &self.connector, self.server.as_ref(), &old) {
            Ok(None) => {}
            Ok(Some(new)) => {
                *self.loaded.lock() = new;
                tracing::info!(
                    validator = self.service.id,
                    "files of the validator were read anew"
                );
            }
            Err(fault) => {
                if let Some(times) = self.told.count() {
                    tracing::warn!(
                        validator = self.service.id,
                        %fault,
                        times,
                        "a file of the validator changed and can't be used: what it held before is"
                    );
                }
            }
        }
        self.is_looking.store(false, Ordering::Release);
    }
}

fn load(
    service: &Service,
    connector: &Connector,
    server: Option<&ServerName<'static>>,
) -> Result<Loaded, ClientFault> {
    let request = &service.request;
    let secret_marks = Marks::of(files::of_secrets(&request.secret_headers))?;
    let secrets = files::secrets(&request.secret_headers)?;
    let (tls_marks, pool) = pool(service, connector, server)?;
    Ok(Loaded { secrets, secret_marks, tls_marks, pool })
}

/// What changed in files; `None` where nothing did.
fn reload(
    service: &Service,
    connector: &Connector,
    server: Option<&ServerName<'static>>,
    old: &Loaded,
) -> Result<Option<Loaded>, ClientFault> {
    let request = &service.request;
    let secret_marks = Marks::of(files::of_secrets(&request.secret_headers))?;
    let tls_marks = match server {
        Some(_) => Marks::of(files::of_tls(&request.tls))?,
        None => Marks::default(),
    };
    if secret_marks == old.secret_marks && tls_marks == old.tls_marks {
        return Ok(None);
    }
    let mut new = old.clone();
    if secret_marks != old.secret_marks {
        new.secrets = files::secrets(&request.secret_headers)?;
        new.secret_marks = secret_marks;
    }
    if tls_marks != old.tls_marks {
        // Connections under the old certificate end with their attempts.
        (new.tls_marks, new.pool) = pool(service, connector, server)?;
    }
    Ok(Some(new))
}

/// Connections by what the files of TLS say now.
fn pool(
    service: &Service,
    connector: &Connector,
    server: Option<&ServerName<'static>>,
) -> Result<(Marks, Pool<Connector, Full<Bytes>>), ClientFault> {
    let files = &service.request.tls;
    let mut connector = connector.clone();
    let mut marks = Marks::default();
    if let Some(server) = server {
        marks = Marks::of(files::of_tls(files))?;
        connector.tls = Some((files::tls(files)?, server.clone()));
    }
    let pool = Pool::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(service.limits.in_flight.into())
        .http1_max_buf_size(MAX_READ_LEN)
        .http1_max_headers(MAX_HEADERS)
        .http2_max_header_list_size(MAX_HEADERS_LEN)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_PATIENCE)
        .build(connector);
    Ok((marks, pool))
}

/// Headers that are no secrets: the policy's, and ours where it names none.
fn headers(request: &spec::Request) -> Result<HeaderMap, ClientFault> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let agent = concat!("catraca/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    for (name, value) in &request.headers {
        let fault = || ClientFault::Request(format!("the header {name} can't be sent"));
        let header = HeaderName::try_from(name).map_err(|_| fault())?;
        headers.insert(header, HeaderValue::try_from(value).map_err(|_| fault())?);
    }
    // Behind the policy's: nothing is unpacked here.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if request.is_post {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Ok(headers)
}

/// The URL with something harmless where fields stand.
fn shown_url(request: &spec::Request) -> String {
    let parts = request.url.iter().map(|part| match part {
        spec::UrlPart::Text(text) => text.as_str(),
        spec::UrlPart::Field(_) => "0",
    });
    parts.collect()
}

fn parse(url: &str) -> Result<(Uri, String), ClientFault> {
    let fault = || ClientFault::Request(format!("{url} is no URL that can be asked"));
    let uri: Uri = url.parse().map_err(|_| fault())?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(fault)?;
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    let host = if is_bracketed { &host[1..host.len() - 1] } else { host };
    Ok((uri.clone(), host.to_owned()))
}

fn lacks(rendered::Lacks(sent): rendered::Lacks) -> String {
    format!("the payment has no {}, which the URL needs", sent.name())
}
