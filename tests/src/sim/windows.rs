//! Windows of policies: brought to the cores of the primary before a policy comes into force, by the state
//! machines that ship; kept on the standby, where what is read from the disk is read at once, and rebuilt at
//! every start; and what must hold of them in the end.

use super::Broken;
use super::broadcast::same_values;
use super::disk::NodeDisk;
use super::event::Wake;
use super::found::read_log;
use super::setup::KEY;
use super::world::{MS, Sim};
use catraca_core::log::{SoundBlock, Tail};
use catraca_core::policy::Policy;
use catraca_core::policy::replay::recorded_parties;
use catraca_core::policy::windows::{Asked, Past, WindowsKey};
use catraca_core::rebuild::{LivePasts, Pasts};
use catraca_core::shard::catch_up::{CatchUp, CatchUpStep};
use catraca_core::shard::messages::{CaughtUp, KeptPayments, ToControl, ToShard};
use catraca_wire::extension::{MAX_WINDOW_VALUES, WindowValue, read_windows};
use catraca_wire::frame::Verdict;
use catraca_wire::record::RecordHead;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Windows on their way to the cores, one core after the other.
pub(super) struct Bringing {
    policy: Arc<Policy>,
    core: u16,
    catch_up: CatchUp,
    step: CatchUpStep,
    /// Those that are not with their cores.
    pasts: Pasts,
    /// By stream: the record behind the last block that was read.
    next_lsns: Vec<u64>,
    /// More came than there was room for.
    was_behind: bool,
    /// They are of a policy that is to be tried.
    is_tried: bool,
}

/// Room for payments of a core, and how many are added at once: less than come at times.
const ROOM: usize = 6;
const ADDED_AT_ONCE: usize = 2;

impl Bringing {
    /// Of a policy that reads windows.
    pub fn new(policy: &Arc<Policy>, shards: u16) -> Self {
        let pasts = Pasts::new(policy, shards, &KEY).expect("sound").expect("it reads windows");
        let catch_up = CatchUp::new(0, shards, policy.reads_siblings());
        Self {
            policy: Arc::clone(policy),
            core: 0,
            step: catch_up.begin(),
            catch_up,
            pasts,
            next_lsns: vec![1; shards.into()],
            was_behind: false,
            is_tried: policy.version() == u32::MAX,
        }
    }

    fn next_core(&mut self) {
        self.core += 1;
        self.catch_up = CatchUp::new(self.core, self.pasts.shards(), self.policy.reads_siblings());
        self.step = self.catch_up.begin();
        self.was_behind = false;
    }
}

/// A log that is being cut has not all that it had.
#[derive(Debug)]
pub(super) struct NotThere;

/// Windows of a policy out of a disk, of all streams up to these records; `None` where it reads none.
pub(super) fn read_from(
    disk: &NodeDisk,
    policy: &Policy,
    shards: u16,
    next_lsns: Option<&BTreeMap<u16, u64>>,
) -> Result<Option<Pasts>, NotThere> {
    let Some(mut pasts) = Pasts::new(policy, shards, &KEY).expect("sound windows") else {
        return Ok(None);
    };
    let mut read_lsns = BTreeMap::new();
    let read = read_log(disk, |stream, block| {
        let next = next_lsns.map_or(u64::MAX, |next| next.get(&stream).copied().unwrap_or(0));
        if Tail::after(block).next_lsn <= next {
            pasts.take(block);
            read_lsns.insert(stream, Tail::after(block).next_lsn);
        }
    });
    // What is being written now may look like damage; nothing of it is wanted.
    let is_whole = next_lsns.map_or(read.is_ok(), |next| {
        next.iter().all(|(stream, &next)| next <= 1 || read_lsns.get(stream) == Some(&next))
    });
    is_whole.then_some(pasts).ok_or(NotThere).map(Some)
}

impl Sim {
    /// Does the next step of bringing windows; gives whether it is done.
    pub(super) fn windows_step(&mut self, node: usize, bringing: &mut Bringing) -> bool {
        loop {
            let core = usize::from(bringing.core);
            match &bringing.step {
                CatchUpStep::Keep => {
                    let room = Box::new(KeptPayments::with_room(ROOM, ADDED_AT_ONCE));
                    self.mail(node, core, ToShard::KeepPayments(room));
                    return false;
                }
                CatchUpStep::Broadcast => {
                    for core in 0..usize::from(self.plan.shards) {
                        self.mail(node, core, ToShard::Broadcast(true));
                    }
                    return false;
                }
                CatchUpStep::Read { up_to_lsns } => {
                    let forgets = bringing.is_tried && self.broken(Broken::CandidateForgets);
                    let Bringing { next_lsns, pasts, .. } = bringing;
                    // What is being written now may look like damage.
                    let _ = read_log(&self.nodes[node].disk, |stream, block| {
                        let stream = usize::from(stream);
                        let is_next = block.head.first_lsn.to_native() == next_lsns[stream];
                        if is_next && next_lsns[stream] <= up_to_lsns[stream] {
                            if !forgets {
                                pasts.take(block);
                            }
                            next_lsns[stream] = Tail::after(block).next_lsn;
                        }
                    });
                    let mut streams = next_lsns.iter().zip(up_to_lsns);
                    if !streams.all(|(next, up_to)| next > up_to) {
                        let pause = self.policy_rng.between(2, 20) * MS;
                        self.wake_in(node, pause, Wake::WindowsAgain);
                        return false;
                    }
                    bringing.step = bringing.catch_up.has_read();
                }
                CatchUpStep::HandOver => {
                    let past = bringing.pasts.take_out(bringing.core);
                    assert!(past.is_some(), "they are handed over once");
                    self.mail(node, core, ToShard::CatchUp(past));
                    return false;
                }
                CatchUpStep::GoOn => {
                    self.mail(node, core, ToShard::CatchUp(None));
                    return false;
                }
                CatchUpStep::Done => {
                    self.count_brought(bringing);
                    if bringing.core + 1 == self.plan.shards {
                        return true;
                    }
                    bringing.next_core();
                }
                CatchUpStep::GaveUp => {
                    self.note(format_args!("node {node}: the windows of a policy were given up"));
                    for core in 0..usize::from(self.plan.shards) {
                        self.mail(node, core, ToShard::ForgetComing);
                    }
                    self.process(node).policies.give_up();
                    self.broadcast_what_is_read(node);
                    return false;
                }
            }
        }
    }

    fn count_brought(&mut self, bringing: &Bringing) {
        self.checks.count("windows brought level");
        if bringing.policy.reads_siblings() && self.plan.shards > 1 {
            self.checks.count("windows of several shards' payments brought level");
        }
        if bringing.was_behind {
            self.checks.count("windows brought level after too much had come");
        }
    }

    /// A standby reads the windows of the policy that is in force now, beside its streams.
    pub(super) fn standby_reads_windows(&mut self, node: usize) {
        let shards = self.plan.shards;
        let broken = self.plan.broken;
        let host = &mut self.nodes[node];
        let Some(builder) = host.process.as_ref().and_then(|process| process.builder.as_ref())
        else {
            return;
        };
        let policy = super::policies::in_force(&builder.policies(), broken);
        if !builder.pasts().lacks(&policy) {
            return;
        }
        let read = |last_lsns: &BTreeMap<u16, u64>| {
            let next = last_lsns.iter().map(|(&stream, last)| (stream, last + 1)).collect();
            read_from(&host.disk, &policy, shards, Some(&next))
                .map(|pasts| pasts.expect("it reads windows"))
        };
        // Where it is not there, a start or a promotion reads it.
        if builder.pasts().replace(read).is_ok() {
            self.checks.count("windows read on a standby");
        }
    }

    /// The windows of both nodes are those that their logs come to.
    pub(super) fn compare_windows(
        &self,
        leader: usize,
        policy: &Policy,
        decisions: &[RecordHead],
    ) -> Result<(), String> {
        if policy.window_values() == 0 {
            return Ok(());
        }
        let is_shared = policy.reads_siblings() && self.plan.shards > 1;
        for node in [leader, 1 - leader] {
            let of_log = read_from(&self.nodes[node].disk, policy, self.plan.shards, None)
                .map_err(|NotThere| format!("the log of node {node} can't be read"))?;
            let mut expected = of_log.map_or_else(Vec::new, Pasts::into_shards).into_iter();
            let mut compared = Ok(());
            let mut compare = |held: &Past| {
                let same = match expected.next() {
                    None => Err("of a shard that is not there".to_owned()),
                    Some(mut of_log) if is_shared => {
                        same_values(policy, held, &mut of_log, decisions)
                    }
                    Some(of_log) if of_log.windows().digest() == held.windows().digest() => Ok(()),
                    Some(_) => Err("their state is another one".to_owned()),
                };
                if let (Ok(()), Err(what)) = (&compared, same) {
                    compared =
                        Err(format!("the windows of node {node} are not those of its log: {what}"));
                }
            };
            let Some(process) = &self.nodes[node].process else { continue };
            match &process.builder {
                // A promotion reads them.
                Some(builder) if builder.pasts().lacks(policy) => continue,
                Some(builder) => builder.pasts().each(|past| compare(past)),
                None => {
                    let cores = process.cores.iter();
                    cores.filter_map(|core| core.mover.shard.past()).for_each(&mut compare);
                }
            }
            compared?;
            if expected.next().is_some() {
                return Err(format!("shards of node {node} lack windows"));
            }
        }
        Ok(())
    }

    /// What was recorded of windows is what the payments before it in its stream come to; what other streams'
    /// payments are part of lies within what they can have been.
    pub(super) fn compare_seen(
        &self,
        pasts: &mut BTreeMap<(u16, u32), Option<Past>>,
        policies: &BTreeMap<u32, Arc<Policy>>,
        (stream, head, extension): (u16, &RecordHead, &[u8]),
    ) -> Result<(), String> {
        let (payer, payee) = recorded_parties(head).ok_or("documents that are none")?;
        for (&version, policy) in policies {
            let new = || {
                let past = Past::new(policy, self.plan.shards, WindowsKey::of(&KEY));
                past.expect("sound").map(|past| past.of_shard(stream))
            };
            let Some(past) = pasts.entry((stream, version)).or_insert_with(new) else { continue };
            if head.policy_version.to_native() == version {
                let event = past.event(
                    payer.document,
                    payee.document,
                    &head.transaction,
                    head.decided_at_ns.to_native(),
                );
                let mut recomputed = vec![WindowValue::Evicted; policy.window_values()];
                past.windows().read(&event, &mut recomputed);
                let mut recorded = [WindowValue::Evicted; MAX_WINDOW_VALUES];
                let count = read_windows(extension, &mut recorded).ok_or("no windows recorded")?;
                // What was looked up in lists stands behind them.
                let seen = recorded[..count].get(..recomputed.len()).ok_or("too few values")?;
                let asked = policy.rules().windows.asked.iter();
                let of_stream =
                    |asked: &Asked| self.plan.shards == 1 || asked.window.subject.is_of_payer();
                let mut values = asked.zip(seen.iter().zip(&recomputed));
                if !values.all(|(asked, (one, other))| one == other || !of_stream(asked)) {
                    return Err(format!("windows said {seen:?}, not {recomputed:?}"));
                }
                self.compare_shared(policy, head, seen)?;
            }
            past.take_recorded((stream, stream), payer.document, head);
        }
        Ok(())
    }

    /// The broken variants' windows of a standby that takes over.
    pub(super) fn broken_pasts(&self, pasts: Option<Pasts>, policy: &Policy) -> Option<Pasts> {
        if self.broken(Broken::WindowsLost) {
            return Pasts::new(policy, self.plan.shards, &KEY).expect("sound windows");
        }
        pasts
    }
}

/// The broken variant's block, whose payments are added once more.
pub(super) fn count_again(pasts: &LivePasts, block: &SoundBlock<'_>) {
    let mut shard = 0;
    pasts.each(|past| {
        for (head, _) in block.records().filter(|_| block.place.shard == shard) {
            let (Some((payer, payee)), Some(verdict)) =
                (recorded_parties(head), Verdict::from_wire(head.verdict))
            else {
                continue;
            };
            let decided_at_ns = head.decided_at_ns.to_native();
            let (payer, payee) = (payer.document, payee.document);
            let event = past.event(payer, payee, &head.transaction, decided_at_ns);
            past.windows_mut().add(&event, verdict);
        }
        shard += 1;
    });
}

/// What cores tell of windows. Gives whether there is another step.
pub(super) fn told(bringing: &mut Bringing, told: ToControl) -> bool {
    let step = match told {
        ToControl::Keeps(lsn, _) => Some(bringing.catch_up.keeps(lsn)),
        ToControl::Broadcasts(shard, lsn) => bringing.catch_up.broadcasts(shard, lsn),
        ToControl::CaughtUp(told) => {
            let step = bringing.catch_up.told(&told);
            if let CaughtUp::TooFarBehind(past, _) = told {
                bringing.pasts.put_back(bringing.core, past);
                bringing.was_behind = true;
            }
            Some(step)
        }
        _ => None,
    };
    let Some(step) = step else { return false };
    bringing.step = step;
    true
}
