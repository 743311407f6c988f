//! TLS for clients: the files that it takes, and what has to be given together.

use super::clients::ClientConfig;
use super::{Config, wrong};
use crate::fatal::Failure;
use catraca_tls::{Files, Tls};
use std::sync::Arc;

impl Config {
    /// What hands are shaken with over TLS.
    ///
    /// # Errors
    /// [`Status::Config`](crate::fatal::Status::Config), naming the file.
    pub fn tls(&self) -> Result<Option<Arc<Tls>>, Failure> {
        let files = (&self.tls_certificate_file, &self.tls_key_file);
        let (Some(certificate), Some(key)) = files else { return Ok(None) };
        let files = Files {
            certificate: certificate.clone(),
            key: key.clone(),
            client_ca: self.tls_client_ca_file.clone(),
            protocol: None,
        };
        let tls = Tls::new(files).map_err(|fault| wrong(fault.to_string()))?;
        Ok(Some(Arc::new(tls)))
    }

    /// What belongs together is given together.
    pub(super) fn check_tls(&self) -> Result<(), Failure> {
        let is_given = [
            ("listen_tls", self.listen_tls.is_some()),
            ("tls_certificate_file", self.tls_certificate_file.is_some()),
            ("tls_key_file", self.tls_key_file.is_some()),
        ];
        let given = is_given.iter().find(|(_, is_given)| *is_given);
        let missing = is_given.iter().find(|(_, is_given)| !is_given);
        if let (Some((given, _)), Some((missing, _))) = (given, missing) {
            return Err(wrong(format!("{given}, and there is no {missing}")));
        }
        if self.tls_client_ca_file.is_some() && given.is_none() {
            return Err(wrong("tls_client_ca_file, and there is no listen_tls"));
        }
        let of_certificate = |client: &&ClientConfig| client.certificate_sha256.is_some();
        if self.tls_client_ca_file.is_none()
            && let Some(client) = self.clients.iter().find(of_certificate)
        {
            return Err(wrong(format!(
                "client {:?}: certificate_sha256, and there is no tls_client_ca_file",
                client.name
            )));
        }
        if self.clients.is_empty() && self.listen_tls.is_some_and(|at| !at.ip().is_loopback()) {
            return Err(wrong(
                "listen_tls is where others can reach it, and no [[clients]] are configured",
            ));
        }
        Ok(())
    }
}
