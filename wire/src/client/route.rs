//! Where to connect next: the configured addresses in turn, and what servers say of the primary.
//! Pure: no socket here.

/// Addresses learned from WELCOME that are kept beside the configured ones.
const MAX_LEARNED: usize = 4;

/// What became of the last attempt at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Nothing,
    Standby,
    Failed(String),
}

#[derive(Debug)]
struct KnownAddress {
    address: String,
    seen: Seen,
    /// Tried since the round began.
    tried: bool,
}

impl KnownAddress {
    fn new(address: String) -> Self {
        Self { address, seen: Seen::Nothing, tried: false }
    }
}

/// The addresses, and which is next.
#[derive(Debug)]
pub struct Route {
    /// The configured ones first, then the learned ones, oldest first.
    places: Vec<KnownAddress>,
    configured: usize,
    next: usize,
}

impl Route {
    /// A route over at least one address.
    ///
    /// # Panics
    /// Without one.
    pub fn new(configured: &[String]) -> Self {
        assert!(!configured.is_empty(), "options without an address are refused");
        Self {
            places: configured.iter().cloned().map(KnownAddress::new).collect(),
            configured: configured.len(),
            next: 0,
        }
    }

    /// Where to connect now.
    pub fn address(&self) -> &str {
        &self.places[self.next].address
    }

    /// All but the one to connect to now.
    pub fn others(&self) -> Vec<String> {
        let others = self.places.iter().enumerate().filter(|(place, _)| *place != self.next);
        others.map(|(_, place)| place.address.clone()).collect()
    }

    /// The node at this known address takes us.
    pub fn found_at(&mut self, address: &str) {
        if let Some(place) = self.places.iter().position(|place| place.address == address) {
            self.next = place;
        }
        self.found();
    }

    /// How many addresses are known: at least one.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// A pause has passed: every address may be tried again.
    pub fn begin_round(&mut self) {
        for place in &mut self.places {
            place.tried = false;
        }
    }

    /// The node at this address takes us.
    pub fn found(&mut self) {
        for place in &mut self.places {
            place.seen = Seen::Nothing;
        }
    }

    /// Every address was tried in this round.
    pub fn is_exhausted(&self) -> bool {
        self.places.iter().all(|place| place.tried)
    }

    /// There is nothing to be had at this address now: the next one.
    pub fn failed(&mut self, why: String) {
        self.leave(Seen::Failed(why));
    }

    /// The caller's time ended in the middle of the attempt, which tells nothing of the node: that
    /// it follows, if it said so, stays known.
    pub fn cut_off(&mut self, why: String) {
        match self.places[self.next].seen {
            Seen::Standby => self.leave(Seen::Standby),
            Seen::Nothing | Seen::Failed(_) => self.leave(Seen::Failed(why)),
        }
    }

    /// The node here follows, and names this primary. `true`: that one is next, and was not tried
    /// in this round.
    pub fn standby(&mut self, primary: Option<String>) -> bool {
        self.leave(Seen::Standby);
        let Some(primary) = primary else { return false };
        let known = self.places.iter().position(|place| place.address == primary);
        let place = known.unwrap_or_else(|| self.learn(primary));
        if self.places[place].tried {
            return false;
        }
        self.next = place;
        true
    }

    /// What the addresses said, for a person; `None` where none of them was a standby.
    pub fn no_primary(&self) -> Option<String> {
        self.places.iter().any(|place| place.seen == Seen::Standby).then(|| {
            let seen = |place: &KnownAddress| match &place.seen {
                Seen::Nothing => None,
                Seen::Standby => Some(format!("{} is a standby", place.address)),
                Seen::Failed(why) => Some(format!("{}: {why}", place.address)),
            };
            self.places.iter().filter_map(seen).collect::<Vec<_>>().join("; ")
        })
    }

    fn leave(&mut self, seen: Seen) {
        let place = &mut self.places[self.next];
        (place.seen, place.tried) = (seen, true);
        let in_turn = |step| (self.next + step) % self.places.len();
        self.next = (1..self.places.len())
            .map(in_turn)
            .find(|&at| !self.places[at].tried)
            .unwrap_or(in_turn(1));
    }

    /// Keeps a new address, in place of the oldest learned one where there are enough; gives where.
    fn learn(&mut self, address: String) -> usize {
        if self.places.len() == self.configured + MAX_LEARNED {
            self.places.remove(self.configured);
            // It may have pointed behind the one removed, or past the end.
            self.next = 0;
        }
        self.places.push(KnownAddress::new(address));
        self.places.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(addresses: &[&str]) -> Route {
        Route::new(&addresses.iter().map(|&address| address.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_named_primary_is_next_once_in_a_round() {
        let mut route = route(&["a:1", "b:1", "c:1"]);
        assert!(route.standby(Some("c:1".to_owned())));
        assert_eq!(route.address(), "c:1");
        assert!(!route.standby(Some("a:1".to_owned())), "tried in this round");
        assert_eq!(route.address(), "b:1", "what was not tried comes first");
        assert!(!route.is_exhausted());
        route.failed("refused".to_owned());
        assert!(route.is_exhausted());
        assert_eq!(route.address(), "c:1", "in turn");
        route.begin_round();
        assert!(!route.is_exhausted());
        assert_eq!(
            route.no_primary().as_deref(),
            Some("a:1 is a standby; b:1: refused; c:1 is a standby")
        );
        route.found();
        assert_eq!(route.no_primary(), None);
    }

    #[test]
    fn an_attempt_that_was_cut_off_says_no_more_than_the_address_did() {
        let mut route = route(&["a:1", "b:1"]);
        route.standby(None);
        route.cut_off("no WELCOME in time".to_owned());
        assert!(route.is_exhausted(), "both were tried");
        assert_eq!(
            route.no_primary().as_deref(),
            Some("a:1 is a standby; b:1: no WELCOME in time")
        );
        route.begin_round();
        route.cut_off("no WELCOME in time".to_owned());
        assert_eq!(route.address(), "b:1", "it was tried all the same");
        assert_eq!(
            route.no_primary().as_deref(),
            Some("a:1 is a standby; b:1: no WELCOME in time")
        );
        route.standby(None);
        route.failed("refused".to_owned());
        assert_eq!(
            route.no_primary().as_deref(),
            Some("a:1: refused; b:1 is a standby"),
            "a node that is gone follows nobody"
        );
    }

    #[test]
    fn learned_addresses_are_few_and_the_configured_ones_stay() {
        let mut route = route(&["a:1"]);
        for number in 0..50 {
            route.begin_round();
            assert!(route.standby(Some(format!("x:{number}"))), "{number}");
            assert_eq!(route.address(), format!("x:{number}"));
            assert!(route.len() <= 1 + MAX_LEARNED);
        }
        let mut met = Vec::new();
        for _ in 0..route.len() {
            route.failed(String::new());
            met.push(route.address().to_owned());
        }
        met.sort();
        assert_eq!(met, ["a:1", "x:46", "x:47", "x:48", "x:49"]);
        assert_eq!(route.no_primary(), None, "none of them follows as far as was seen last");
    }
}
