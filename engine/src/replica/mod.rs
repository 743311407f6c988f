//! What replication decides without I/O: when a record counts as committed.
//!
//! A record is *appended* when it is in a block in memory, *durable* when the write of its block has returned, *committed* when it is
//! durable everywhere that the node's durability asks for. Only committed records are answered.

/// The highest log sequence number known safe, and what follows for answering. A standby's acknowledgement joins here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitGate {
    durable_here: u64,
}

impl CommitGate {
    /// A node on its own: everything up to `durable` is committed.
    pub fn single(durable: u64) -> Self {
        Self { durable_here: durable }
    }

    /// This node's disk holds everything up to `lsn`. Never goes back.
    pub fn durable_here(&mut self, lsn: u64) {
        assert!(lsn >= self.durable_here, "durability went back from {} to {lsn}", self.durable_here);
        self.durable_here = lsn;
    }

    /// The last committed log sequence number.
    #[inline]
    pub fn committed(&self) -> u64 {
        self.durable_here
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_node_commits_what_is_durable() {
        let mut gate = CommitGate::single(4);
        assert_eq!(gate.committed(), 4);
        gate.durable_here(9);
        assert_eq!(gate.committed(), 9);
    }

    #[test]
    #[should_panic(expected = "went back")]
    fn durability_never_goes_back() {
        CommitGate::single(4).durable_here(3);
    }
}
