//! Where validators are asked: a thread of its own, with a runtime of its own, so that nothing that a service outside
//! does is felt by health, metrics or decisions. It takes the cores' questions and gives them what came; what is
//! asked when, how often and how long is decided by an [`Asker`](catraca_core::validate::Asker) for each validator.
//!
//! ```text
//! cores ── Ask ──► desk ── ask ──► Asker ── Attempt ──► http::Client ──► service
//!   ▲               │                │ ▲                     │
//!   └─ Answered ────┴──── Reply ─────┘ └────── came ◄────────┘
//! ```

mod force;
mod warm;

use super::came::came_of;
use super::http::{Client, ClientFault, Outcome as Came, Payment};
use super::line::{AllFigures, Figures, Line, SharedFigures};
use super::shared::{RedisSettings, SharedCache};
use super::spec::Service;
use super::told;
use crate::channels::ShardChannels;
use crate::mailbox::{Mailbox, any_message};
use catraca_core::shard::messages::{Ask, ToShard};
use catraca_core::shard::parked::Came as CameOfShard;
use catraca_core::validate::{
    AttemptId, Effect, LookId, Looked, Outcome, Question, Reply, SharedSettings,
};
use catraca_wire::extension::NoAnswer;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

/// Questions, and attempts that have come to something, that are taken at once: the others have their turn in between.
const TAKEN_AT_ONCE: usize = 256;
/// How often figures are made for `/metrics` and `catraca validators`.
const FIGURES_EVERY: Duration = Duration::from_millis(500);
/// Questions that are held for a policy that is about to come: a core may have it before this thread does.
const MAX_EARLY: usize = 1 << 16;
/// Longest that is slept without a look: clocks may leap.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Services that are ready to be asked.
pub struct Prepared(Vec<Line>);

enum Command {
    /// A policy of this version asks these from now on.
    Use(u32, Vec<Line>, oneshot::Sender<()>),
    /// A person says something of a breaker.
    Force(force::Force),
}

/// The way to the thread.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    figures: Arc<Mutex<AllFigures>>,
    hash_key: [u8; blake3::KEY_LEN],
    shared: Option<SharedSettings>,
}

impl Handle {
    /// Makes what asks services. Reads their files.
    ///
    /// # Errors
    /// The first one that can't be asked, and why.
    pub fn prepare(&self, services: &[Service]) -> Result<Prepared, (String, ClientFault)> {
        let lines = self.lines(services);
        match lines.iter().find_map(|line| Some((&line.service.id, line.client.as_ref().err()?))) {
            Some((id, fault)) => Err((id.clone(), fault.clone())),
            None => Ok(Prepared(lines)),
        }
    }

    /// A policy comes into force: its questions are taken from now on.
    pub async fn use_prepared(&self, policy_version: u32, Prepared(lines): Prepared) {
        let (done, is_done) = oneshot::channel();
        // It is gone where the node ends.
        let _ = self.commands.send(Command::Use(policy_version, lines, done));
        let _ = is_done.await;
    }

    /// The policy that a start or a promotion found in force: what can't be asked has no answers, and is told.
    pub async fn use_found(&self, policy_version: u32, services: &[Service]) {
        let lines = self.lines(services);
        for line in &lines {
            if let Err(fault) = &line.client {
                tracing::error!(validator = line.service.id, %fault, "a validator of the policy in force can't be asked; its payments are decided without an answer");
            }
        }
        self.use_prepared(policy_version, Prepared(lines)).await;
    }

    fn lines(&self, services: &[Service]) -> Vec<Line> {
        services.iter().map(|service| Line::new(service, &self.hash_key, self.shared)).collect()
    }

    /// What is known of the validators of the policy in force.
    pub fn figures(&self) -> AllFigures {
        self.figures.lock().clone()
    }
}

/// Starts the thread, which inherits the processors of the calling one.
pub fn start(
    channels: Arc<ShardChannels>,
    clock: quanta::Clock,
    hash_key: [u8; blake3::KEY_LEN],
    redis: Option<RedisSettings>,
) -> std::io::Result<Handle> {
    let (commands, waiting) = mpsc::unbounded_channel();
    let figures = Arc::new(Mutex::new(AllFigures::default()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shared = redis.as_ref().map(|redis| SharedSettings { timeout_ms: redis.timeout_ms() });
    let redis = {
        let _in_runtime = runtime.enter();
        redis.map(|redis| SharedCache::new(redis, &hash_key))
    };
    let desk = Desk {
        channels,
        clock,
        policy_version: 0,
        lines: Vec::new(),
        open: HashMap::new(),
        next_token: 0,
        attempts: BTreeMap::new(),
        warm: BTreeMap::new(),
        running: JoinSet::new(),
        early: Vec::new(),
        effects: Vec::new(),
        figures: Arc::clone(&figures),
        hash_key,
        redis,
    };
    std::thread::Builder::new()
        .name("validators".to_owned())
        .spawn(move || runtime.block_on(desk.run(waiting)))?;
    Ok(Handle { commands, figures, hash_key, shared })
}

/// A question that waits.
struct Open {
    line: u64,
    ask: Ask,
}

/// What came of an attempt, or of a look into the shared cache.
struct Done {
    line: u64,
    came: DoneWith,
    /// For people, where it failed.
    error: Option<String>,
}

enum DoneWith {
    Attempt(AttemptId, Outcome),
    Look(LookId, Looked),
}

struct Desk {
    channels: Arc<ShardChannels>,
    clock: quanta::Clock,
    policy_version: u32,
    lines: Vec<Line>,
    /// By token.
    open: HashMap<u64, Open>,
    next_token: u64,
    attempts: BTreeMap<(u64, AttemptId), AbortHandle>,
    /// Attempts that were started for cores whose hot answers end soon, one for each that has asked since.
    warm: BTreeMap<(u64, AttemptId), Vec<Ask>>,
    running: JoinSet<Done>,
    /// Of policies that are not known yet.
    early: Vec<Ask>,
    effects: Vec<Effect>,
    figures: Arc<Mutex<AllFigures>>,
    hash_key: [u8; blake3::KEY_LEN],
    /// The cache that nodes share, where there is one.
    redis: Option<SharedCache>,
}

impl Desk {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let channels = Arc::clone(&self.channels);
        let none: [&Mailbox<()>; 0] = [];
        let mut figures = tokio::time::interval(FIGURES_EVERY);
        figures.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let sleep = self.sleep();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Use(version, lines, done)) => {
                        self.take_over(version, lines);
                        // Whoever waits for it may be gone.
                        let _ = done.send(());
                    }
                    Some(Command::Force(force)) => self.force(force),
                    // The node has ended.
                    None => return,
                },
                Some(done) = self.running.join_next(), if !self.running.is_empty() => {
                    let (mut next, mut left) = (Some(done), TAKEN_AT_ONCE);
                    while let Some(done) = next {
                        // One that was cancelled tells nothing.
                        if let Ok(done) = done {
                            self.came(done);
                        }
                        left -= 1;
                        next = (left > 0).then(|| self.running.try_join_next()).flatten();
                    }
                }
                () = any_message(&channels.asks, &none) => {
                    for _ in 0..TAKEN_AT_ONCE {
                        let Some(ask) = channels.asks.pop() else { break };
                        self.ask(ask);
                    }
                    // The attempts have their turn, also where questions never end.
                    tokio::task::yield_now().await;
                }
                () = tokio::time::sleep(sleep) => self.tick(),
                _ = figures.tick() => {
                    self.set_up_again();
                    self.redis.iter_mut().for_each(SharedCache::keep_connected);
                    self.tell_figures();
                }
            }
        }
    }

    fn now_ns(&self) -> u64 {
        self.clock.delta_as_nanos(0, self.clock.raw())
    }

    fn sleep(&self) -> Duration {
        let now_ns = self.now_ns();
        let wake_ns = self.lines.iter().filter_map(|line| line.asker.next_wake_ns()).min();
        wake_ns.map_or(LONGEST_SLEEP, |wake_ns| {
            Duration::from_nanos(wake_ns.saturating_sub(now_ns)).min(LONGEST_SLEEP)
        })
    }

    /// Another policy is in force. What is the same service to it goes on, with its answers and its breaker. Who waits
    /// for the others is told by its core that the policy has changed.
    fn take_over(&mut self, version: u32, lines: Vec<Line>) {
        let mut before = std::mem::take(&mut self.lines);
        for new in lines {
            let same = |old: &Line| old.service == new.service;
            let line = match before.iter().position(same) {
                // Its files may be others.
                Some(at) => Line { client: new.client, ..before.swap_remove(at) },
                None => new,
            };
            self.lines.push(line);
        }
        let now_ns = self.now_ns();
        for line in 0..self.lines.len() {
            // What a person has said of a validator holds, however it is asked from now on.
            let id = &self.lines[line].service.id;
            let old = before.iter().find(|old| old.service.id == *id);
            if let Some(forced) = old.and_then(|old| old.asker.forced()) {
                self.lines[line].asker.force(Some(forced), now_ns, &mut self.effects);
                self.carry_out(line, now_ns);
            }
        }
        let is_gone = |number: u64| before.iter().any(|old| old.number == number);
        self.open.retain(|_, open| !is_gone(open.line));
        self.attempts.retain(|(line, _), running| {
            let is_kept = !is_gone(*line);
            if !is_kept {
                running.abort();
            }
            is_kept
        });
        self.warm.retain(|(line, _), _| !is_gone(*line));
        self.policy_version = version;
        let early = std::mem::take(&mut self.early);
        early.into_iter().for_each(|ask| self.ask(ask));
        self.tell_figures();
    }

    fn ask(&mut self, ask: Ask) {
        if ask.policy_version > self.policy_version && self.early.len() < MAX_EARLY {
            return self.early.push(ask);
        }
        let line = usize::from(ask.validator);
        // Of an earlier policy: its core does not wait any more.
        if ask.policy_version != self.policy_version || line >= self.lines.len() {
            return;
        }
        if self.lines[line].client.is_err() {
            return self.answer(&ask, CameOfShard::nothing(NoAnswer::NotSetUp, 0));
        }
        let token = self.next_token;
        self.next_token += 1;
        self.open.insert(token, Open { line: self.lines[line].number, ask });
        let now_ns = self.now_ns();
        if ask.payment.is_none() {
            return self.keep_warm(line, token, ask, now_ns);
        }
        let question = Question { key: ask.key, deadline_ns: ask.until_ns, token };
        self.lines[line].asker.ask(question, now_ns, &mut self.effects);
        self.carry_out(line, now_ns);
    }

    fn came(&mut self, done: Done) {
        let Done { line: number, came, error } = done;
        let mut warm = Vec::new();
        if let DoneWith::Attempt(attempt, _) = came {
            self.attempts.remove(&(number, attempt));
            warm = self.warm.remove(&(number, attempt)).unwrap_or_default();
        }
        let Some(line) = self.lines.iter().position(|line| line.number == number) else { return };
        let now_ns = self.now_ns();
        let of = &mut self.lines[line];
        match came {
            DoneWith::Attempt(attempt, outcome) => {
                of.last_error = error.or(of.last_error.take());
                of.asker.came(attempt, outcome, now_ns, &mut self.effects);
                self.warmed(&warm, now_ns);
            }
            DoneWith::Look(look, looked) => {
                of.shared_error = error.or(of.shared_error.take());
                of.asker.looked(look, looked, now_ns, &mut self.effects);
            }
        }
        self.carry_out(line, now_ns);
    }

    fn tick(&mut self) {
        let now_ns = self.now_ns();
        for line in 0..self.lines.len() {
            self.lines[line].asker.tick(now_ns, &mut self.effects);
            self.carry_out(line, now_ns);
        }
    }

    fn carry_out(&mut self, line: usize, now_ns: u64) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Attempt { attempt, token, .. } => self.attempt(line, attempt, token),
                Effect::Cancel { attempt } => {
                    let number = self.lines[line].number;
                    if let Some(running) = self.attempts.remove(&(number, attempt)) {
                        running.abort();
                    }
                    self.warm.remove(&(number, attempt));
                }
                Effect::Reply(reply) => self.reply(&reply, now_ns),
                // The asker keeps it, and each core what it was told.
                Effect::Fill { key, answer, good_for_ns, stale_for_ns, is_shared } => {
                    if let Some(cache) = self.redis.as_ref().filter(|_| is_shared) {
                        let fingerprint = &self.lines[line].fingerprint;
                        cache.put(fingerprint, key, answer, good_for_ns, stale_for_ns);
                    }
                }
                Effect::Told(change) => {
                    let Line { service, last_error, .. } = &self.lines[line];
                    told::breaker(&service.id, last_error.as_deref(), change);
                }
                Effect::Look { look, key, timeout_ns } => {
                    self.look(line, look, key, Duration::from_nanos(timeout_ns));
                }
                Effect::ToldShared(change) => {
                    let Line { service, shared_error, .. } = &self.lines[line];
                    if let Some(cache) = &self.redis {
                        told::shared(&service.id, &cache.place(), shared_error.as_deref(), change);
                    }
                }
            }
        }
        self.effects = effects;
    }

    fn attempt(&mut self, line: usize, attempt: AttemptId, token: u64) {
        let Ok(client) = self.lines[line].client.clone() else { return };
        let Some(Open { ask, .. }) = self.open.get(&token) else {
            unreachable!("an attempt is about a question that waits");
        };
        let payment = Payment { transaction: ask.transaction, payer: ask.payer, payee: ask.payee };
        let number = self.lines[line].number;
        let running = self.running.spawn(async move {
            let came = client.attempt(&payment).await;
            let (outcome, is_answer) = match came.outcome {
                Came::Answer(answer) => (Outcome::Answer(answer), true),
                Came::Retryable { retry_after } => {
                    let retry_after_ns = retry_after
                        .map(|after| u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
                    (Outcome::Retryable { retry_after_ns }, false)
                }
                Came::Final => (Outcome::Final, false),
            };
            let error = (!is_answer).then_some(came.detail);
            Done { line: number, came: DoneWith::Attempt(attempt, outcome), error }
        });
        self.attempts.insert((number, attempt), running);
    }

    fn look(&mut self, line: usize, look: LookId, key: u128, within: Duration) {
        let Some(cache) = &self.redis else {
            unreachable!("only a cache that there is is looked into");
        };
        let (number, fingerprint) = (self.lines[line].number, &self.lines[line].fingerprint);
        let looking = cache.look(fingerprint, key, within);
        self.running.spawn(async move {
            let (looked, error) = looking.await;
            Done { line: number, came: DoneWith::Look(look, looked), error }
        });
    }

    fn fill_core(&self, ask: &Ask, answer: i64, given_ns: u64, good_until_ns: u64) {
        let Ask { policy_version, validator, key, .. } = *ask;
        self.put(
            ask.shard,
            ToShard::Cache { policy_version, validator, key, answer, given_ns, good_until_ns },
        );
    }

    fn reply(&mut self, reply: &Reply, now_ns: u64) {
        let Some(Open { ask, .. }) = self.open.remove(&reply.token) else { return };
        if let Ok(answer) = reply.answer
            && reply.good_for_ns > 0
        {
            let given_ns = now_ns.wrapping_sub(u64::from(reply.age_ms) * 1_000_000);
            self.fill_core(&ask, answer, given_ns, now_ns.saturating_add(reply.good_for_ns));
        }
        self.answer(&ask, came_of(reply));
    }

    fn answer(&self, ask: &Ask, came: CameOfShard) {
        let Some(payment) = ask.payment else { return };
        self.put(ask.shard, ToShard::Answered { payment, validator: ask.validator, came });
    }

    /// A core that has too much to do is waited for: so are those who ask.
    fn put(&self, shard: u16, message: ToShard) {
        self.channels.to_shard[usize::from(shard)].put(message);
    }

    /// Tries again what could not be set up: a secret may have come since.
    fn set_up_again(&mut self) {
        for line in self.lines.iter_mut().filter(|line| line.client.is_err()) {
            line.client = Client::new(&line.service, &self.hash_key);
            if line.client.is_ok() {
                tracing::info!(validator = line.service.id, "the validator can be asked now");
            }
        }
    }

    fn tell_figures(&self) {
        let at_ns = self.now_ns();
        let of = |line: &Line| Figures {
            id: line.service.id.clone(),
            fault: line.client.as_ref().err().map(ToString::to_string),
            status: line.client.is_ok().then(|| line.asker.status(at_ns)),
            last_error: line.last_error.clone(),
            shared_error: line.shared_error.clone(),
            at_ns,
        };
        let shared =
            |cache: &SharedCache| SharedFigures { place: cache.place(), puts: cache.puts() };
        *self.figures.lock() = AllFigures {
            validators: self.lines.iter().map(of).collect(),
            shared: self.redis.as_ref().map(shared),
        };
    }
}
