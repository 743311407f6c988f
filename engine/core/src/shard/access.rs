//! Who may do what: credentials and permissions, checked once per connection and per kind of
//! request.

use super::rate::Rate;
use catraca_wire::frame::SubmitterFields;

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
    /// ON_BEHALF: to say for whom a request is.
    pub behalf: bool,
    /// LOOKUP and LABEL reach the decisions of every institution.
    pub all_institutions: bool,
}

impl Permissions {
    /// Everything: what an anonymous client on a loopback-only node may do.
    pub const ALL: Self = Self {
        submit: true,
        lookup: true,
        stats: true,
        admin: true,
        behalf: true,
        all_institutions: true,
    };

    /// The names by which a configuration grants them.
    pub const NAMES: [&'static str; 6] =
        ["submit", "lookup", "stats", "admin", "behalf", "all_institutions"];

    /// Adds one by name; `false` for a name that does not exist.
    pub fn grant(&mut self, name: &str) -> bool {
        match name {
            "submit" => self.submit = true,
            "lookup" => self.lookup = true,
            "stats" => self.stats = true,
            "admin" => self.admin = true,
            "behalf" => self.behalf = true,
            "all_institutions" => self.all_institutions = true,
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
    /// What its records name it, and its institution.
    pub submitter: SubmitterFields,
    /// What it may do.
    pub permissions: Permissions,
}

/// A client that is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KnownClient {
    /// What its records name it, and its institution.
    pub submitter: SubmitterFields,
    /// What it may do.
    pub permissions: Permissions,
    /// How many transactions it may send to each shard; `None` for as many as it likes.
    pub rate: Option<Rate>,
}

/// The hash of a credential: what is kept of it, to know its holder again after a reload.
pub type CredentialHash = blake3::Hash;

/// The hash of this credential.
pub fn credential_hash(credential: &[u8]) -> CredentialHash {
    blake3::hash(credential)
}

/// The clients that a node knows. Credentials are kept hashed: they appear in no dump and compare
/// in constant time.
#[derive(Clone, Default)]
pub struct Access {
    clients: Vec<(CredentialHash, KnownClient)>,
    anonymous: Permissions,
}

impl Access {
    /// No client configured: whoever connects may do everything. For nodes that listen on loopback
    /// only.
    pub fn open() -> Self {
        Self { clients: Vec::new(), anonymous: Permissions::ALL }
    }

    /// Adds a client with its credential; `false` where another one has the same.
    pub fn add(&mut self, credential: &[u8], client: KnownClient) -> bool {
        let hash = credential_hash(credential);
        let is_new = self.place(&hash).is_none();
        if is_new {
            self.clients.push((hash, client));
        }
        is_new
    }

    /// Clients that are known.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// What names this configuration of clients: a hash of names, institutions, permissions and rates, and
    /// of the hashes of the credentials.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for (hash, client) in &self.clients {
            let KnownClient { submitter, permissions, rate } = client;
            hasher.update(hash.as_bytes());
            hasher.update(bytemuck::bytes_of(submitter));
            hasher.update(format!("{permissions:?} {rate:?}").as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// Whether no client is known.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// The place of the client with this credential.
    fn place(&self, hash: &CredentialHash) -> Option<usize> {
        self.clients.iter().position(|(known, _)| known == hash)
    }

    /// The rates of the clients in their order, each with the client's place in an earlier
    /// configuration.
    pub(super) fn rates<'a>(
        &'a self,
        earlier: &'a Self,
    ) -> impl Iterator<Item = (Option<usize>, Option<Rate>)> + 'a {
        self.clients.iter().map(|(hash, client)| (earlier.place(hash), client.rate))
    }

    /// Who the holder of this credential is; `None` for a credential that nobody has, or a missing one where one
    /// is needed.
    pub fn identify(&self, credential: &[u8]) -> Option<Identity> {
        self.identify_hash((!credential.is_empty()).then(|| credential_hash(credential)))
    }

    /// The same by the credential's hash; `None` stands for no credential.
    pub(super) fn identify_hash(&self, hash: Option<CredentialHash>) -> Option<Identity> {
        let Some(hash) = hash else {
            let permissions = self.anonymous;
            let may_anything = permissions != Permissions::default();
            return may_anything.then_some(Identity { permissions, ..Identity::default() });
        };
        // All are compared, so that the time tells nothing of which came close.
        (0..).zip(&self.clients).fold(None, |found, (place, (known, client))| {
            let KnownClient { submitter, permissions, .. } = *client;
            let identity = Identity { client: Some(place), submitter, permissions };
            if *known == hash { Some(identity) } else { found }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::frame::SubmitterName;

    fn client(name: &str, permissions: Permissions) -> KnownClient {
        let name = SubmitterName::parse(name).expect("a name");
        KnownClient { submitter: SubmitterFields::new(7, name), permissions, rate: None }
    }

    #[test]
    fn a_credential_gives_its_permissions_and_no_other() {
        let submit = Permissions { submit: true, ..Permissions::default() };
        let mut access = Access::default();
        let (z, a) = (client("z", Permissions::ALL), client("a", submit));
        assert!(access.add(b"token-z", z) && access.add(b"token-a", a));
        assert!(!access.add(b"token-a", z), "two clients would be one");
        let KnownClient { submitter, permissions, .. } = a;
        let identity = Identity { client: Some(1), submitter, permissions };
        assert_eq!(access.identify(b"token-a"), Some(identity));
        assert_eq!(access.identify(b"token-b"), None);
        assert_eq!(access.identify(b""), None, "anonymous is off once clients are configured");
        let anonymous = Identity { permissions: Permissions::ALL, ..Identity::default() };
        assert_eq!(Access::open().identify(b""), Some(anonymous));
        assert_eq!(Access::open().identify(b"unknown"), None);
    }
}
