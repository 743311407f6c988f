//! The nodes of a cluster, and which of them takes transactions now.

use crate::handshake::{NotTaken, Target, read_credential};
use crate::link::Link;
use crate::options::LoadError;
use catraca_tls::Authorities;
use catraca_wire::frame::WelcomeFrame;
use std::path::Path;
use std::time::Duration;

/// Addresses learned from WELCOME that are kept beside the given ones.
const MAX_LEARNED: usize = 4;

/// Connections past their handshake.
pub type Opened = Vec<(Link, WelcomeFrame)>;

/// The nodes given, and those that they name.
#[derive(Debug)]
pub struct Nodes {
    targets: Vec<Target>,
    most: usize,
    credential: Vec<u8>,
    authorities: Option<Authorities>,
    /// Where to look first.
    next: usize,
    /// The node in use, and the epoch that it said.
    current: usize,
    epoch: u32,
    /// Whether to go where a standby says that the primary is.
    follows: bool,
}

impl Nodes {
    /// Resolves the addresses and reads the credential. Over TLS only the nodes given are asked: a standby names the
    /// primary's port in clear.
    pub fn new(
        addresses: &[&str],
        credential_file: Option<&Path>,
        authorities: Option<Authorities>,
        follows: bool,
    ) -> Result<Self, LoadError> {
        let follows = follows && authorities.is_none();
        let credential = credential_file.map(read_credential).transpose()?.unwrap_or_default();
        let targets = addresses
            .iter()
            .map(|address| Target::new(address, &credential, authorities.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        let most = targets.len() + MAX_LEARNED;
        Ok(Self { targets, most, credential, authorities, next: 0, current: 0, epoch: 0, follows })
    }

    /// Opens `count` connections to the primary, each for `in_flight` unanswered frames. Each node
    /// is tried once: the last one used is the last to be tried again, and a node that a standby
    /// names comes first.
    pub fn connect(
        &mut self,
        count: usize,
        in_flight: u32,
        timeout: Duration,
    ) -> Result<Opened, LoadError> {
        let mut tried = vec![false; self.most];
        loop {
            let at = self.next;
            tried[at] = true;
            let target = &self.targets[at];
            let opened: Result<Opened, NotTaken> =
                (0..count).map(|_| target.open(in_flight, timeout)).collect();
            self.next = (at + 1) % self.targets.len();
            let (named, error) = match opened {
                Ok(opened) => {
                    self.current = at;
                    self.epoch = opened.first().map_or(0, |(_, welcome)| welcome.epoch.to_native());
                    return Ok(opened);
                }
                Err(NotTaken::Standby(primary, error)) => (self.place_of(&primary), error),
                Err(NotTaken::Failed(error)) => (None, error),
            };
            let in_turn =
                (0..self.targets.len()).map(|step| (self.next + step) % self.targets.len());
            match named.into_iter().chain(in_turn).find(|&place| !tried[place]) {
                Some(place) => self.next = place,
                None => return Err(error),
            }
        }
    }

    /// Whether another node than the one in use says that it decides, in no earlier epoch. Each may
    /// take `timeout` to say so.
    pub fn another_decides(&mut self, timeout: Duration) -> bool {
        let others = (0..self.targets.len()).filter(|&place| place != self.current);
        let found = others.into_iter().find(|&place| {
            self.targets[place]
                .open(0, timeout)
                .is_ok_and(|(_, welcome)| welcome.epoch.to_native() >= self.epoch)
        });
        if let Some(place) = found {
            self.next = place;
        }
        found.is_some()
    }

    /// Where a named primary is among the nodes; it is taken among them while there is room and its
    /// name has an address.
    fn place_of(&mut self, primary: &str) -> Option<usize> {
        if !self.follows || primary.is_empty() {
            return None;
        }
        if let Some(place) = self.targets.iter().position(|target| target.addr == primary) {
            return Some(place);
        }
        if self.targets.len() == self.most {
            return None;
        }
        self.targets.push(Target::new(primary, &self.credential, self.authorities.as_ref()).ok()?);
        Some(self.targets.len() - 1)
    }
}
