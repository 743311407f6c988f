//! Where the cache is, and how it is reached: as configured, checked when a node starts.

use crate::validators::http::authorities;
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, TlsCertificates};
use std::path::{Path, PathBuf};
use tokio_rustls::rustls::crypto::aws_lc_rs;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where the cache is.
#[derive(Clone)]
pub struct RedisSettings {
    /// Where to, without a password.
    connection: ConnectionInfo,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    /// How long a look may take, milliseconds.
    timeout_ms: u16,
}

/// Why a cache can't be used as it is configured. Each begins with the setting.
#[derive(Debug, thiserror::Error)]
pub enum RedisFault {
    /// The URL is none.
    #[error(
        "redis_url: it is no URL of a Redis, such as redis://redis.example:6379/0, or rediss:// for TLS: {0}"
    )]
    Url(String),
    /// A URL with a password is seen by whoever sees processes or settings.
    #[error("redis_url: it holds a password: give that in a file, by redis_password_file")]
    PasswordInUrl,
    /// Whoever logs in needs a password.
    #[error("redis_url: it names a user, which needs redis_password_file")]
    NoPassword,
    /// There is no password in its file.
    #[error("redis_password_file: {}: {why}", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// TLS needs authorities, and they need TLS.
    #[error(
        "redis_ca_file belongs to a redis_url with rediss://, and that needs it: the authorities that are trusted, PEM"
    )]
    Authorities,
    /// There are no certificates in the file of authorities.
    #[error("redis_ca_file: {0}")]
    Ca(String),
    /// The library refuses it.
    #[error("redis_url: {0}")]
    Client(String),
}

impl RedisSettings {
    /// A Redis at a URL: `redis://`, `rediss://` or `unix://`.
    ///
    /// # Errors
    /// For what can never work: a URL that is none or holds a password, and files that hold nothing.
    pub fn new(
        url: &str,
        password_file: Option<PathBuf>,
        ca_file: Option<PathBuf>,
        timeout_ms: u16,
    ) -> Result<Self, RedisFault> {
        // What stands there turns off checks of certificates, or chooses another protocol.
        if url.contains('#') || (url.contains('?') && !url.contains("unix:")) {
            let why = "nothing stands behind the number of the database";
            return Err(RedisFault::Url(why.to_owned()));
        }
        let connection =
            url.into_connection_info().map_err(|error| RedisFault::Url(error.to_string()))?;
        let redis = connection.redis_settings();
        if redis.password().is_some() {
            return Err(RedisFault::PasswordInUrl);
        }
        if redis.username().is_some() && password_file.is_none() {
            return Err(RedisFault::NoPassword);
        }
        let is_tls = matches!(connection.addr(), ConnectionAddr::TcpTls { .. });
        if is_tls != ca_file.is_some() {
            return Err(RedisFault::Authorities);
        }
        let settings = Self { connection, password_file, ca_file, timeout_ms };
        settings.client()?;
        Ok(settings)
    }

    /// How long a look may take, milliseconds.
    pub const fn timeout_ms(&self) -> u16 {
        self.timeout_ms
    }

    /// What makes connections. Reads the files: they may have changed.
    pub(super) fn client(&self) -> Result<Client, RedisFault> {
        let mut redis = self.connection.redis_settings().clone().set_lib_name("catraca", VERSION);
        if let Some(path) = &self.password_file {
            redis = redis.set_password(password(path)?);
        }
        let connection = self.connection.clone().set_redis_settings(redis);
        let client = match &self.ca_file {
            Some(path) => {
                let fault = |error: &dyn std::fmt::Display| RedisFault::Ca(error.to_string());
                let roots = authorities(path).map_err(|error| fault(&error))?;
                if roots.is_empty() {
                    return Err(fault(&format!("{}: no certificate", path.display())));
                }
                let pem = std::fs::read(path)
                    .map_err(|error| fault(&format!("{}: {error}", path.display())))?;
                // The library takes the process's choice. Where there is one already, it is this.
                let _ = aws_lc_rs::default_provider().install_default();
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
                Client::build_with_tls(connection, certificates)
            }
            None => Client::open(connection),
        };
        client.map_err(|error| RedisFault::Client(error.to_string()))
    }
}

/// The first line of a file.
fn password(path: &Path) -> Result<String, RedisFault> {
    let fault = |why: String| RedisFault::Password { path: path.to_owned(), why };
    let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(fault("its first line is empty".to_owned())),
    }
}

impl std::fmt::Display for RedisSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let db = self.connection.redis_settings().db();
        write!(f, "{}/{db}", self.connection.addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(url: &str) -> Result<RedisSettings, RedisFault> {
        RedisSettings::new(url, None, None, 5)
    }

    /// A file with this in it.
    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        file
    }

    fn fault(url: &str, password: Option<&Path>, ca: Option<&Path>) -> String {
        let owned = |path: Option<&Path>| path.map(Path::to_owned);
        let settings = RedisSettings::new(url, owned(password), owned(ca), 5);
        settings.err().expect("it is refused").to_string()
    }

    #[test]
    fn a_url_says_where_it_is_and_holds_no_password() {
        assert_eq!(new("redis://127.0.0.1:6380/3").unwrap().to_string(), "127.0.0.1:6380/3");
        assert_eq!(new("redis://redis.example").unwrap().to_string(), "redis.example:6379/0");
        let told = fault("redis://:hunter2@redis.example/0", None, None);
        assert!(told.contains("redis_password_file") && !told.contains("hunter2"), "{told}");
        let urls = ["redis.example:6379", "http://redis.example", "", "redis://:6379"];
        let more = ["rediss://redis.example/#insecure", "redis://redis.example/?protocol=resp3"];
        for url in urls.into_iter().chain(more) {
            assert!(matches!(new(url), Err(RedisFault::Url(_))), "{url}");
        }
    }

    #[test]
    fn what_can_never_work_is_refused_by_the_name_of_its_setting() {
        let url = "redis://redis.example";
        let nowhere = Some(Path::new("/nowhere/file"));
        let told = fault(url, nowhere, None);
        assert!(told.starts_with("redis_password_file: /nowhere/file: "), "{told}");
        let told = fault("rediss://redis.example", None, nowhere);
        assert!(told.starts_with("redis_ca_file: /nowhere/file"), "{told}");
        let empty = file("\nhunter2");
        let told = fault(url, Some(empty.path()), None);
        assert!(told.ends_with("its first line is empty"), "{told}");
        let told = fault("rediss://redis.example", None, Some(empty.path()));
        assert!(told.starts_with("redis_ca_file: "), "{told}");
        assert!(fault("redis://ana@redis.example", None, None).contains("names a user"));
        let password = file("hunter2\n");
        let user = "redis://ana@redis.example";
        assert!(RedisSettings::new(user, Some(password.path().to_owned()), None, 5).is_ok());
        assert!(fault("rediss://redis.example", None, None).contains("redis_ca_file belongs to"));
        assert!(fault(url, None, nowhere).contains("redis_ca_file belongs to"));
    }
}
