//! The cache of validators' answers that nodes share.

use super::{Config, wrong};
use crate::fatal::Failure;
use crate::validators::shared::RedisSettings;

impl Config {
    /// The Redis that is configured, if there is one. Reads its files, to be sure that they can be read.
    ///
    /// # Errors
    /// [`Status::Config`](crate::fatal::Status::Config), naming the setting; never a password.
    pub fn redis(&self) -> Result<Option<RedisSettings>, Failure> {
        let Some(url) = &self.redis_url else {
            for (name, file) in [
                ("redis_password_file", &self.redis_password_file),
                ("redis_ca_file", &self.redis_ca_file),
            ] {
                if file.is_some() {
                    return Err(wrong(format!(
                        "{name} needs redis_url: without it no Redis is used"
                    )));
                }
            }
            return Ok(None);
        };
        let timeout_ms = u16::try_from(self.redis_timeout_ms).unwrap_or(u16::MAX);
        let (password, ca) = (self.redis_password_file.clone(), self.redis_ca_file.clone());
        let settings = RedisSettings::new(url, password, ca, timeout_ms);
        settings.map(Some).map_err(|fault| wrong(fault.to_string()))
    }
}
