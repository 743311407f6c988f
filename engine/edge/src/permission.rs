//! What a client may do, and what that is called in tokens and in the configuration. The one table: paths
//! ask for a permission, and name nothing else.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What requests are counted together for a client's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Payments.
    Decisions,
    /// Look-ups.
    LookUps,
    /// All that changes or shows how payments are decided.
    Administration,
}

impl Class {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 3] = [Self::Decisions, Self::LookUps, Self::Administration];

    /// The name of the quota in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decisions => "decisions",
            Self::LookUps => "lookups",
            Self::Administration => "administration",
        }
    }
}

/// One permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Permission {
    /// Have payments decided.
    #[serde(rename = "decisions:write")]
    DecisionsWrite,
    /// Look decisions up: personal data, masked.
    #[serde(rename = "decisions:read")]
    DecisionsRead,
    /// Change lists.
    #[serde(rename = "lists:write")]
    ListsWrite,
    /// Say what became of payments.
    #[serde(rename = "labels:write")]
    LabelsWrite,
    /// Change the policy.
    #[serde(rename = "policies:write")]
    PoliciesWrite,
    /// See how payments are decided.
    #[serde(rename = "admin:read")]
    AdminRead,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::DecisionsWrite,
        Self::DecisionsRead,
        Self::ListsWrite,
        Self::LabelsWrite,
        Self::PoliciesWrite,
        Self::AdminRead,
    ];

    /// The scope of a token that grants it, which is its name in the configuration too.
    pub const fn scope(self) -> &'static str {
        match self {
            Self::DecisionsWrite => "decisions:write",
            Self::DecisionsRead => "decisions:read",
            Self::ListsWrite => "lists:write",
            Self::LabelsWrite => "labels:write",
            Self::PoliciesWrite => "policies:write",
            Self::AdminRead => "admin:read",
        }
    }

    /// What its requests count as.
    pub const fn class(self) -> Class {
        match self {
            Self::DecisionsWrite => Class::Decisions,
            Self::DecisionsRead => Class::LookUps,
            Self::ListsWrite | Self::LabelsWrite | Self::PoliciesWrite | Self::AdminRead => {
                Class::Administration
            }
        }
    }
}

/// A set of permissions.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(u8);

impl Permissions {
    /// All that there are.
    pub fn all() -> Self {
        Permission::ALL.into_iter().collect()
    }

    /// Those that a token's `scope` names; other words mean nothing here.
    pub fn of_scope(scope: &str) -> Self {
        let named =
            |permission: &Permission| scope.split(' ').any(|word| word == permission.scope());
        Permission::ALL.into_iter().filter(named).collect()
    }

    /// Whether it is among them.
    pub const fn has(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u8) != 0
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<T: IntoIterator<Item = Permission>>(permissions: T) -> Self {
        Self(permissions.into_iter().fold(0, |set, permission| set | 1 << permission as u8))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = Permission::ALL.into_iter().filter(|permission| self.has(*permission));
        f.debug_set().entries(own.map(Permission::scope)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_grants_what_it_names_and_nothing_else() {
        let some = Permissions::of_scope("openid decisions:write lists:write2 admin:read");
        let expected = [Permission::DecisionsWrite, Permission::AdminRead];
        assert_eq!(some, expected.into_iter().collect());
        assert!(
            !some.has(Permission::ListsWrite) && Permissions::all().has(Permission::ListsWrite)
        );
        for nothing in ["", " ", "decisions", "DECISIONS:WRITE", "decisions:write\tadmin:read", "*"]
        {
            assert_eq!(Permissions::of_scope(nothing), Permissions::default(), "{nothing:?}");
        }
        let read = [Permission::DecisionsRead].into_iter().collect();
        assert_eq!(some.and(read), Permissions::default());
    }

    #[test]
    fn a_permission_has_one_name_in_tokens_and_configuration() {
        for permission in Permission::ALL {
            let name = serde_json::to_string(&permission).expect("text is JSON");
            assert_eq!(name, format!("{:?}", permission.scope()));
        }
    }
}
