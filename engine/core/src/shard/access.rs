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

    /// Adds a client with its credential.
    pub fn add(&mut self, credential: &[u8], permissions: Permissions) {
        self.clients.push((blake3::hash(credential), permissions));
    }

    /// What the holder of this credential may do; `None` for a credential that nobody has, or a
    /// missing one where one is needed.
    pub fn identify(&self, credential: &[u8]) -> Option<Permissions> {
        if credential.is_empty() {
            return (self.anonymous != Permissions::default()).then_some(self.anonymous);
        }
        let hash = blake3::hash(credential);
        // All are compared, so that the time tells nothing of which came close.
        self.clients.iter().fold(
            None,
            |found, (known, permissions)| if *known == hash { Some(*permissions) } else { found },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_gives_its_permissions_and_no_other() {
        let submit = Permissions { submit: true, ..Permissions::default() };
        let mut access = Access::default();
        access.add(b"token-a", submit);
        assert_eq!(access.identify(b"token-a"), Some(submit));
        assert_eq!(access.identify(b"token-b"), None);
        assert_eq!(access.identify(b""), None, "anonymous is off once clients are configured");
        assert_eq!(Access::open().identify(b""), Some(Permissions::ALL));
        assert_eq!(Access::open().identify(b"unknown"), None);
    }
}
