//! Who may do what: credentials and permissions, checked once per connection and per kind of
//! request.

use super::rate::{Rate, Rated};
use catraca_wire::frame::{MAX_SUBJECT_LEN, SubmitterFields};
use std::num::NonZeroU32;

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
    /// AUDIT: who asked for what, personal data among it.
    pub audit: bool,
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
        audit: true,
    };

    /// The names by which a configuration grants them.
    pub const NAMES: [&'static str; 7] =
        ["submit", "lookup", "stats", "admin", "behalf", "all_institutions", "audit"];

    /// Adds one by name; `false` for a name that does not exist.
    pub fn grant(&mut self, name: &str) -> bool {
        match name {
            "submit" => self.submit = true,
            "lookup" => self.lookup = true,
            "stats" => self.stats = true,
            "admin" => self.admin = true,
            "behalf" => self.behalf = true,
            "all_institutions" => self.all_institutions = true,
            "audit" => self.audit = true,
            _ => return false,
        }
        true
    }

    /// The scopes of access tokens, and which permission each one is.
    pub const SCOPES: [(&'static str, &'static str); Self::NAMES.len()] = [
        ("decisions:write", "submit"),
        ("decisions:read", "lookup"),
        ("node:stats", "stats"),
        ("node:admin", "admin"),
        ("node:behalf", "behalf"),
        ("node:all_institutions", "all_institutions"),
        ("node:audit", "audit"),
    ];

    /// Those that a token's `scope` names, words with spaces between; other words mean nothing here.
    pub fn of_scope(scope: &str) -> Self {
        let mut permissions = Self::default();
        for (word, name) in Self::SCOPES {
            if scope.split(' ').any(|given| given == word) {
                assert!(permissions.grant(name), "a scope of a permission that is none: {name}");
            }
        }
        permissions
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        let Self { submit, lookup, stats, admin, behalf, all_institutions, audit } = self;
        Self {
            submit: submit && other.submit,
            lookup: lookup && other.lookup,
            stats: stats && other.stats,
            admin: admin && other.admin,
            behalf: behalf && other.behalf,
            all_institutions: all_institutions && other.all_institutions,
            audit: audit && other.audit,
        }
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

/// How much a client may ask of each shard; `None` for as much as all may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Transactions.
    pub submits: Option<Rate>,
    /// Look-ups and operations, without those about the cluster: who follows a failover asks them.
    pub requests: Option<Rate>,
    /// Connections at once.
    pub connections: Option<NonZeroU32>,
    /// Unanswered frames of each of its connections, where that is less than what the node allows.
    pub in_flight: Option<NonZeroU32>,
}

/// A client that is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KnownClient {
    /// What its records name it, and its institution.
    pub submitter: SubmitterFields,
    /// What it may do.
    pub permissions: Permissions,
    /// How much it may ask of each shard.
    pub bounds: Bounds,
    /// SHA-256 of the certificate that it has to show. Where it has neither a credential nor tokens, that is who it is.
    pub certificate: Option<[u8; 32]>,
    /// What the `client_id` of its access tokens is known by, where it may come by such ones.
    pub tokens: Option<CredentialHash>,
}

impl KnownClient {
    /// Whether its certificate alone is who it is.
    const fn is_its_certificate(&self, credential: Option<&CredentialHash>) -> bool {
        credential.is_none() && self.tokens.is_none()
    }
}

/// The hash of a credential: what is kept of it, to know its holder again after a reload.
pub type CredentialHash = blake3::Hash;

/// What a connection has shown of who it is: kept, to know its client again after a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// A credential of the configuration; none where the certificate is all, or nobody is asked.
    Credential(Option<CredentialHash>),
    /// An access token.
    Token(Granted),
}

/// What an access token grants, which was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// Hash of its `client_id`.
    pub client: CredentialHash,
    /// What its scope names.
    pub permissions: Permissions,
    /// SHA-256 of the certificate that its bearer has to show.
    pub certificate: Option<[u8; 32]>,
    /// Until when it is good, nanoseconds since 1970 UTC.
    pub expires_at_ns: u64,
    /// Who is behind the client, for the audit trail; zeros where that is the client itself.
    pub subject: [u8; MAX_SUBJECT_LEN],
}

/// The hash of this credential, or of a `client_id`.
pub fn credential_hash(credential: &[u8]) -> CredentialHash {
    blake3::hash(credential)
}

/// The clients that a node knows. Credentials are kept hashed: they appear in no dump and compare
/// in constant time.
#[derive(Clone, Default)]
pub struct Access {
    clients: Vec<(Option<CredentialHash>, KnownClient)>,
    anonymous: Permissions,
}

impl Access {
    /// No client configured: whoever connects may do everything. For nodes that listen on loopback
    /// only.
    pub fn open() -> Self {
        Self { clients: Vec::new(), anonymous: Permissions::ALL }
    }

    /// Adds a client with its credential, or, where that is empty, with its tokens or its certificate; `false` where
    /// another one has the same, or it has nothing.
    pub fn add(&mut self, credential: &[u8], client: KnownClient) -> bool {
        let hash = (!credential.is_empty()).then(|| credential_hash(credential));
        let is_somebody = hash.is_some() || client.tokens.is_some() || client.certificate.is_some();
        let is_new = is_somebody && self.place(&(hash, client)).is_none();
        if is_new {
            self.clients.push((hash, client));
        }
        is_new
    }

    /// Clients that are known.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// What names this configuration of clients: a hash of names, institutions, permissions and bounds, and
    /// of the hashes of the credentials.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for (hash, client) in &self.clients {
            let KnownClient { submitter, permissions, bounds, certificate, tokens } = client;
            hasher.update(tokens.map_or([0; 32], |tokens| *tokens.as_bytes()).as_slice());
            hasher.update(hash.map_or([0; 32], |hash| *hash.as_bytes()).as_slice());
            hasher.update(&certificate.unwrap_or_default());
            hasher.update(bytemuck::bytes_of(submitter));
            hasher.update(format!("{permissions:?} {bounds:?}").as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// Whether no client is known.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// The place of the client who shows the same.
    fn place(&self, (hash, client): &(Option<CredentialHash>, KnownClient)) -> Option<usize> {
        self.clients.iter().position(|(known, other)| {
            let is_same = |a: Option<CredentialHash>, b| a.is_some() && a == b;
            let are_certificates = client.is_its_certificate(hash.as_ref())
                && other.is_its_certificate(known.as_ref());
            is_same(*known, *hash)
                || is_same(other.tokens, client.tokens)
                || are_certificates && other.certificate == client.certificate
        })
    }

    /// Whether some client may come by access tokens.
    pub(super) fn takes_tokens(&self) -> bool {
        self.clients.iter().any(|(_, client)| client.tokens.is_some())
    }

    /// The rates of the clients in their order, each with the client's place in an earlier
    /// configuration.
    pub(super) fn rates<'a>(
        &'a self,
        earlier: &'a Self,
    ) -> impl Iterator<Item = (Option<usize>, [Option<Rate>; Rated::COUNT])> + 'a {
        self.clients.iter().map(|client| {
            let Bounds { submits, requests, .. } = client.1.bounds;
            (earlier.place(client), [submits, requests])
        })
    }

    /// How much the client at this place may ask for.
    pub(super) fn bounds(&self, client: Option<u16>) -> Bounds {
        let known = client.and_then(|place| self.clients.get(usize::from(place)));
        known.map_or_else(Bounds::default, |(_, client)| client.bounds)
    }

    /// Who the holder of this credential is; `None` for a credential that nobody has, or a missing one where one
    /// is needed.
    pub fn identify(&self, credential: &[u8]) -> Option<Identity> {
        self.identify_hash((!credential.is_empty()).then(|| credential_hash(credential)), &[0; 32])
    }

    /// The same by the credential's hash, and the SHA-256 of the certificate that was shown; `None` stands for no
    /// credential, and zeros for no certificate.
    pub(super) fn identify_hash(
        &self,
        hash: Option<CredentialHash>,
        shown: &[u8; 32],
    ) -> Option<Identity> {
        // All are compared, so that the time tells nothing of which came close.
        let known = (0..).zip(&self.clients).fold(None, |found, (place, (known, client))| {
            let KnownClient { submitter, permissions, certificate, .. } = *client;
            let identity = Identity { client: Some(place), submitter, permissions };
            // `add` lets no client in that has nothing to show.
            let is_shown = certificate.is_none_or(|certificate| certificate == *shown);
            let is_enough = hash.is_some() || client.is_its_certificate(known.as_ref());
            if *known == hash && is_shown && is_enough { Some(identity) } else { found }
        });
        let permissions = self.anonymous;
        let may_anything = hash.is_none() && permissions != Permissions::default();
        known.or_else(|| may_anything.then_some(Identity { permissions, ..Identity::default() }))
    }

    /// Who the bearer of a token is that grants this: no more than the client itself may do, and over the certificate
    /// of both.
    pub(super) fn identify_token(&self, granted: &Granted, shown: &[u8; 32]) -> Option<Identity> {
        let is_own =
            |(_, (_, client)): &(u16, &(_, KnownClient))| client.tokens == Some(granted.client);
        let (place, (_, client)) = (0..).zip(&self.clients).find(is_own)?;
        let needed = [granted.certificate, client.certificate];
        let is_shown = needed.into_iter().flatten().all(|certificate| certificate == *shown);
        let permissions = client.permissions.and(granted.permissions);
        is_shown.then_some(Identity {
            client: Some(place),
            submitter: client.submitter,
            permissions,
        })
    }

    /// Who has shown this, as far as it is still known.
    pub(super) fn recognise(&self, proof: &Proof, shown: &[u8; 32]) -> Option<Identity> {
        match proof {
            Proof::Credential(hash) => self.identify_hash(*hash, shown),
            Proof::Token(granted) => self.identify_token(granted, shown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::frame::SubmitterName;

    fn client(name: &str, permissions: Permissions) -> KnownClient {
        let name = SubmitterName::parse(name).expect("a name");
        KnownClient { submitter: SubmitterFields::new(7, name), permissions, ..Default::default() }
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

    #[test]
    fn a_token_gives_what_client_and_scope_have_in_common() {
        for ((scope, name), known) in Permissions::SCOPES.into_iter().zip(Permissions::NAMES) {
            assert_eq!(name, known, "in the order of their names");
            let mut only = Permissions::default();
            assert!(only.grant(name));
            assert_eq!(Permissions::of_scope(&format!("openid {scope} lists:write")), only);
        }
        for nothing in ["", " ", "decisions", "DECISIONS:WRITE", "node:stats\tnode:admin", "*"] {
            assert_eq!(Permissions::of_scope(nothing), Permissions::default(), "{nothing:?}");
        }
        let mut access = Access::default();
        let submit = Permissions { submit: true, ..Permissions::default() };
        let tokens = Some(credential_hash(b"bank"));
        let (bank, branch) = (client("bank", submit), client("branch", Permissions::ALL));
        assert!(access.add(b"", KnownClient { tokens, ..bank }));
        let other = Some(credential_hash(b"branch"));
        let certificate = Some([1; 32]);
        assert!(access.add(b"secret", KnownClient { tokens: other, certificate, ..branch }));
        assert!(!access.add(b"more", KnownClient { tokens, ..bank }), "two would be one");
        assert!(access.takes_tokens());
        let granted = Granted {
            subject: [0; MAX_SUBJECT_LEN],
            client: credential_hash(b"bank"),
            permissions: Permissions::ALL,
            certificate: None,
            expires_at_ns: 0,
        };
        let of = |granted: Granted, shown: [u8; 32]| {
            access.recognise(&Proof::Token(granted), &shown).map(|identity| identity.client)
        };
        let identity = access.identify_token(&granted, &[0; 32]).expect("known");
        assert_eq!((identity.client, identity.permissions), (Some(0), submit));
        let bound = Granted { certificate: Some([2; 32]), ..granted };
        assert_eq!((of(bound, [2; 32]), of(bound, [0; 32])), (Some(Some(0)), None));
        let branch = Granted { client: credential_hash(b"branch"), ..granted };
        assert_eq!((of(branch, [1; 32]), of(branch, [0; 32])), (Some(Some(1)), None));
        let both = Granted { certificate: Some([2; 32]), ..branch };
        assert_eq!((of(both, [1; 32]), of(both, [2; 32])), (None, None), "no one is both");
        let stranger = Granted { client: credential_hash(b"stranger"), ..granted };
        assert_eq!(of(stranger, [0; 32]), None);
        assert_eq!(access.identify(b""), None, "who comes by tokens has to show one");
        assert_eq!(access.identify(b"bank"), None, "a client_id is no credential");
    }

    #[test]
    fn a_certificate_is_who_a_client_is_or_what_its_credential_is_bound_to() {
        let mut access = Access::default();
        let (alone, bound) = (client("alone", Permissions::ALL), client("bound", Permissions::ALL));
        assert!(access.add(b"", KnownClient { certificate: Some([1; 32]), ..alone }));
        assert!(access.add(b"token", KnownClient { certificate: Some([2; 32]), ..bound }));
        assert!(!access.add(b"", KnownClient { certificate: Some([1; 32]), ..bound }), "known");
        assert!(!access.add(b"", bound), "it shows nothing");
        let place = |credential: &[u8], shown: [u8; 32]| {
            let hash = (!credential.is_empty()).then(|| credential_hash(credential));
            access.identify_hash(hash, &shown).map(|identity| identity.client)
        };
        assert_eq!(place(b"", [1; 32]), Some(Some(0)));
        assert_eq!(place(b"token", [2; 32]), Some(Some(1)));
        for (credential, shown) in
            [(&b""[..], 0), (b"", 2), (b"token", 0), (b"token", 1), (b"other", 1)]
        {
            assert_eq!(place(credential, [shown; 32]), None, "{credential:?} {shown}");
        }
    }
}
