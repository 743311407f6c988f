//! Who may do what: credentials and permissions, checked once per connection and per kind of
//! request.

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions {
    /// SUBMIT.
    pub submit: bool,
    /// LOOKUP: answers hold personal data in full.
    pub lookup: bool,
    /// STATS, and CLUSTER to describe.
    pub stats: bool,
    /// BLACKLIST, POLICY and CLUSTER.
    pub admin: bool,
}

impl Permissions {
    /// Everything: what an anonymous client on a loopback-only node may do.
    pub const ALL: Self = Self { submit: true, lookup: true, stats: true, admin: true };

    /// The names by which a configuration grants them.
    pub const NAMES: [&'static str; 4] = ["submit", "lookup", "stats", "admin"];

    /// Adds one by name; `false` for a name that does not exist.
    pub fn grant(&mut self, name: &str) -> bool {
        match name {
            "submit" => self.submit = true,
            "lookup" => self.lookup = true,
            "stats" => self.stats = true,
            "admin" => self.admin = true,
            _ => return false,
        }
        true
    }
}

/// Who a client is: its place in the configuration, where it has one, and what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Identity {
    /// Its place among the clients that are configured.
    pub client: Option<u16>,
    /// What it may do.
    pub permissions: Permissions,
}

/// The clients that a node knows. Credentials are kept hashed: they appear in no dump and compare
/// in constant time.
#[derive(Clone, Default)]
pub struct Access {
    clients: Vec<(blake3::Hash, Permissions)>,
    anonymous: Permissions,
}

impl Access {
    /// No client configured: whoever connects may do everything. For nodes that listen on loopback
    /// only.
    pub fn open() -> Self {
        Self { clients: Vec::new(), anonymous: Permissions::ALL }
    }

    /// Adds a client with its credential; `false` where another one has the same.
    pub fn add(&mut self, credential: &[u8], permissions: Permissions) -> bool {
        let hash = blake3::hash(credential);
        let is_new = self.clients.iter().all(|(known, _)| *known != hash);
        if is_new {
            self.clients.push((hash, permissions));
        }
        is_new
    }

    /// Who the holder of this credential is; `None` for a credential that nobody has, or a missing one where one
    /// is needed.
    pub fn identify(&self, credential: &[u8]) -> Option<Identity> {
        if credential.is_empty() {
            let permissions = self.anonymous;
            let may_anything = permissions != Permissions::default();
            return may_anything.then_some(Identity { client: None, permissions });
        }
        let hash = blake3::hash(credential);
        // All are compared, so that the time tells nothing of which came close.
        (0..).zip(&self.clients).fold(None, |found, (client, (known, permissions))| {
            let identity = Identity { client: Some(client), permissions: *permissions };
            if *known == hash { Some(identity) } else { found }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_gives_its_permissions_and_no_other() {
        let submit = Permissions { submit: true, ..Permissions::default() };
        let mut access = Access::default();
        let all = Permissions::ALL;
        assert!(access.add(b"token-z", all) && access.add(b"token-a", submit));
        assert!(!access.add(b"token-a", all), "two clients would be one");
        let identity = Identity { client: Some(1), permissions: submit };
        assert_eq!(access.identify(b"token-a"), Some(identity));
        assert_eq!(access.identify(b"token-b"), None);
        assert_eq!(access.identify(b""), None, "anonymous is off once clients are configured");
        let anonymous = Identity { client: None, permissions: all };
        assert_eq!(Access::open().identify(b""), Some(anonymous));
        assert_eq!(Access::open().identify(b"unknown"), None);
    }
}
