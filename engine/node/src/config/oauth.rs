//! Whose access tokens are taken: the same keys, with the same meaning, as those of a gateway.

use super::{Config, wrong};
use crate::fatal::Failure;
use catraca_tokens::{Expected, Source};

/// How long a token may be good, seconds: a minute at least, and a day at most, because none can be taken back.
const LIFETIME_S: std::ops::RangeInclusive<u64> = 60..=86_400;
/// The longest `oauth_client_id`, bytes: the longest `client_id` that is taken of a token.
const MAX_CLIENT_ID_LEN: usize = 256;

impl Config {
    /// The issuer that is configured, if one is, and what its tokens are held to. Reads the file of authorities.
    ///
    /// # Errors
    /// [`Status::Config`](crate::fatal::Status::Config), naming the setting.
    pub fn issuer(&self) -> Result<Option<(Source, Expected)>, Failure> {
        let said = [&self.oauth_issuer, &self.oauth_audience, &self.oauth_jwks_url];
        let said = said.map(Option::as_deref);
        catraca_tokens::issuer(said, self.oauth_ca_file.as_deref(), self.oauth_max_lifetime_s)
            .map_err(|fault| wrong(format!("oauth_jwks_url: {fault}")))
    }

    /// What belongs together is given together.
    pub(super) fn check_oauth(&self) -> Result<(), Failure> {
        let keys = [&self.oauth_issuer, &self.oauth_audience, &self.oauth_jwks_url];
        let given = keys.iter().filter(|key| key.is_some()).count();
        if !matches!(given, 0 | 3) || keys.iter().any(|key| key.as_deref() == Some("")) {
            return Err(wrong("oauth_issuer, oauth_audience and oauth_jwks_url: all or none"));
        }
        if self.oauth_ca_file.is_some() && given == 0 {
            return Err(wrong("oauth_ca_file, and there is no oauth_issuer"));
        }
        if !LIFETIME_S.contains(&self.oauth_max_lifetime_s) {
            return Err(wrong(format!(
                "oauth_max_lifetime_s is {}: it must be from 60 to 86400",
                self.oauth_max_lifetime_s
            )));
        }
        let mut by_tokens = self
            .clients
            .iter()
            .filter_map(|client| client.oauth_client_id.as_ref().map(|id| (&client.name, id)));
        let is_wrong = |(_, id): &(&String, &String)| !(1..=MAX_CLIENT_ID_LEN).contains(&id.len());
        if let Some((name, _)) = by_tokens.clone().find(is_wrong) {
            return Err(wrong(format!(
                "client {name:?}: an oauth_client_id has 1 to {MAX_CLIENT_ID_LEN} bytes"
            )));
        }
        match by_tokens.next() {
            Some((name, _)) if given == 0 => Err(wrong(format!(
                "client {name:?}: oauth_client_id, and there is no oauth_issuer"
            ))),
            // With an issuer and nobody left whose tokens are taken none is: the last one may be taken out.
            _ => self.issuer().map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &str, client: &str) -> Result<Config, String> {
        let text =
            format!("{keys}\n[[clients]]\nname = 'bank'\npermissions = ['submit']\n{client}");
        let config = Config::load(None, std::iter::empty(), text.parse().expect("TOML"));
        config.map_err(|failure| failure.message)
    }

    #[test]
    fn an_issuer_is_whole_and_has_clients() {
        let issuer = "oauth_issuer = 'https://i'\noauth_audience = 'a'\n";
        let whole = format!("{issuer}oauth_jwks_url = 'http://localhost:1/jwks'\n");
        let id = "oauth_client_id = 'bank'\n";
        for (keys, client, expected) in [
            (issuer, id, "all or none"),
            ("oauth_issuer = ''\noauth_audience = 'a'\noauth_jwks_url = 'u'\n", id, "all or none"),
            ("oauth_ca_file = 'ca.pem'\n", "credential_file = 'c'\n", "no oauth_issuer"),
            ("", id, "client \"bank\": oauth_client_id, and there is no oauth_issuer"),
            (whole.as_str(), "oauth_client_id = ''\n", "1 to 256 bytes"),
            ("oauth_max_lifetime_s = 59\n", "credential_file = 'c'\n", "from 60 to 86400"),
            ("oauth_max_lifetime_s = 86401\n", "credential_file = 'c'\n", "from 60 to 86400"),
        ] {
            let message = check(keys, client).expect_err(expected);
            assert!(message.contains(expected), "{message}");
        }
        // The last one whose tokens are taken may be taken out, while the node runs.
        assert!(check(&whole, "credential_file = 'c'\n").is_ok());
        let config = check(&whole, id).expect("sound");
        let (_, expected) = config.issuer().expect("sound").expect("there is one");
        assert_eq!((expected.issuer.as_str(), expected.max_lifetime_s), ("https://i", 3_600));
        assert_eq!(config.access().expect("it needs no file").len(), 1);
        let elsewhere = whole.replace("localhost", "issuer.example");
        let message = check(&elsewhere, id).expect_err("in clear");
        assert!(message.contains("oauth_jwks_url"), "{message}");
    }

    #[test]
    fn two_clients_have_two_ids() {
        let keys =
            "oauth_issuer = 'https://i'\noauth_audience = 'a'\noauth_jwks_url = 'http://[::1]/'\n";
        let second = "[[clients]]\nname = 'branch'\npermissions = []\noauth_client_id = 'bank'\n";
        let config =
            check(keys, &format!("oauth_client_id = 'bank'\n{second}")).expect("read later");
        let message = match config.access() {
            Ok(_) => panic!("two clients would be one"),
            Err(failure) => failure.message,
        };
        assert!(message.contains("oauth_client_id"), "{message}");
    }
}
