//! TLS for clients and between nodes: the files that it takes, and what has to be given together.

use super::clients::ClientConfig;
use super::{Config, wrong};
use crate::fatal::Failure;
use catraca_tls::{Files, NodeFiles, NodeTls, Tls};
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

    /// What nodes shake hands with; none where they speak in clear.
    ///
    /// # Errors
    /// [`Status::Config`](crate::fatal::Status::Config), naming the file.
    pub fn replication_tls(&self) -> Result<Option<Arc<NodeTls>>, Failure> {
        let given = (
            &self.replication_tls_certificate_file,
            &self.replication_tls_key_file,
            &self.replication_tls_ca_file,
            &self.replication_tls_name,
        );
        let (Some(certificate), Some(key), Some(authorities), Some(name)) = given else {
            return Ok(None);
        };
        let files = NodeFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            authorities: authorities.clone(),
        };
        let tls = NodeTls::new(files, name)
            .map_err(|fault| wrong(format!("replication_tls: {fault}")))?;
        Ok(Some(Arc::new(tls)))
    }

    /// All of it is given, or nothing.
    pub(super) fn check_replication_tls(&self) -> Result<(), Failure> {
        let is_given = [
            ("replication_tls_certificate_file", self.replication_tls_certificate_file.is_some()),
            ("replication_tls_key_file", self.replication_tls_key_file.is_some()),
            ("replication_tls_ca_file", self.replication_tls_ca_file.is_some()),
            ("replication_tls_name", self.replication_tls_name.is_some()),
        ];
        let given = is_given.iter().find(|(_, is_given)| *is_given);
        let missing = is_given.iter().find(|(_, is_given)| !is_given);
        if let (Some((given, _)), Some((missing, _))) = (given, missing) {
            return Err(wrong(format!(
                "{given}, and there is no {missing}: nodes speak TLS with all four, and in clear with none of them"
            )));
        }
        Ok(())
    }

    /// What to say of doors that others can reach and where everything goes in clear; one sentence
    /// for each. With `plain` they are warnings, without it the first of them is a fault.
    pub fn in_clear(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !self.listen.ip().to_canonical().is_loopback() {
            found.push(format!(
                "listen is {}, which others can reach: what clients say there goes in clear, credentials and personal data; let it stay on \
                 loopback and give clients listen_tls",
                self.listen
            ));
        }
        if self.replication_tls_certificate_file.is_none()
            && !self.replication.ip().to_canonical().is_loopback()
        {
            found.push(format!(
                "replication is {}, which others can reach: the log goes to the other node in clear, personal data in full; set \
                 replication_tls_certificate_file and its three neighbours",
                self.replication
            ));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_in_clear_where_others_reach_them_are_named() {
        let config = Config::default();
        assert!(config.in_clear().is_empty(), "on loopback");
        let elsewhere = |port: u16| ([0, 0, 0, 0], port).into();
        let config = Config { listen: elsewhere(7400), replication: elsewhere(7401), ..config };
        let [listen, replication] = config.in_clear().try_into().expect("two doors");
        assert!(listen.starts_with("listen is 0.0.0.0:7400") && listen.contains("listen_tls"));
        assert!(replication.starts_with("replication is 0.0.0.0:7401"), "{replication}");
        assert!(replication.contains("replication_tls_certificate_file"), "{replication}");
        let config = Config { replication_tls_certificate_file: Some("node.pem".into()), ..config };
        assert_eq!(config.in_clear(), [listen]);
    }
}
