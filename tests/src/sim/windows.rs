//! Windows of policies: brought to the cores of the primary before a policy comes into force, by the state
//! machines that ship; kept on the standby, where what is read from the disk is read at once, and rebuilt at
//! every start; and what must hold of them in the end.

use super::Broken;
use super::disk::NodeDisk;
use super::event::Wake;
use super::found::read_log;
use super::setup::KEY;
use super::world::{MS, Sim};
use catraca_core::log::Tail;
use catraca_core::policy::Policy;
use catraca_core::policy::replay::recorded_parties;
use catraca_core::policy::windows::{Digest, Past, WindowsKey};
use catraca_core::rebuild::Pasts;
use catraca_core::shard::catch_up::{CatchUp, CatchUpStep};
use catraca_core::shard::messages::{CaughtUp, KeptPayments, ToControl, ToShard};
use catraca_wire::extension::{MAX_WINDOW_VALUES, WindowValue, read_windows};
use catraca_wire::record::RecordHead;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Windows on their way to the cores, one core after the other.
pub(super) struct Bringing {
    policy: Arc<Policy>,
    core: usize,
    catch_up: CatchUp,
    step: CatchUpStep,
    /// Those of the core, while they are not with it, and the last record that they have.
    held: Option<Box<Past>>,
    held_lsn: u64,
    /// The record behind the last block of the core's stream that was read.
    next_lsn: u64,
    /// More came than there was room for.
    was_behind: bool,
}

/// Room for payments of a core, and how many are added at once: less than come at times.
const ROOM: usize = 6;
const ADDED_AT_ONCE: usize = 2;

impl Bringing {
    pub fn new(policy: &Arc<Policy>) -> Self {
        let catch_up = CatchUp::default();
        let step = catch_up.begin();
        let policy = Arc::clone(policy);
        Self {
            policy,
            core: 0,
            catch_up,
            step,
            held: None,
            held_lsn: 0,
            next_lsn: 1,
            was_behind: false,
        }
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
            let core = bringing.core;
            match bringing.step {
                CatchUpStep::Keep => {
                    let room = Box::new(KeptPayments::with_room(ROOM, ADDED_AT_ONCE));
                    self.mail(node, core, ToShard::KeepPayments(room));
                    return false;
                }
                CatchUpStep::Read { up_to_lsn } => {
                    let key = WindowsKey::of(&KEY);
                    let new = || {
                        let past = Past::new(&bringing.policy, self.plan.shards, key);
                        Box::new(past.expect("sound").expect("it reads windows"))
                    };
                    let mut past = bringing.held.take().unwrap_or_else(new);
                    let Bringing { held_lsn, next_lsn, .. } = bringing;
                    // What is being written now may look like damage.
                    let _ = read_log(&self.nodes[node].disk, |stream, block| {
                        let is_next = block.head.first_lsn.to_native() == *next_lsn;
                        if usize::from(stream) == core && is_next && *next_lsn <= up_to_lsn {
                            Pasts::take_one(&mut past, *held_lsn, block);
                            *next_lsn = Tail::after(block).next_lsn;
                        }
                    });
                    *held_lsn = (*held_lsn).max(*next_lsn - 1);
                    let is_read = *next_lsn > up_to_lsn;
                    bringing.held = Some(past);
                    if !is_read {
                        let pause = self.policy_rng.between(2, 20) * MS;
                        self.wake_in(node, pause, Wake::WindowsAgain);
                        return false;
                    }
                    bringing.step = bringing.catch_up.has_read(bringing.held_lsn);
                }
                CatchUpStep::HandOver { has_lsn } => {
                    let past = bringing.held.take().expect("it was read");
                    self.mail(node, core, ToShard::CatchUp(Some((past, has_lsn))));
                    return false;
                }
                CatchUpStep::GoOn => {
                    self.mail(node, core, ToShard::CatchUp(None));
                    return false;
                }
                CatchUpStep::Done if core + 1 < usize::from(self.plan.shards) => {
                    self.count_brought(bringing);
                    *bringing =
                        Bringing { core: core + 1, ..Bringing::new(&Arc::clone(&bringing.policy)) };
                }
                CatchUpStep::Done => {
                    self.count_brought(bringing);
                    return true;
                }
                CatchUpStep::GaveUp => {
                    self.note(format_args!("node {node}: the windows of a policy were given up"));
                    for core in 0..usize::from(self.plan.shards) {
                        self.mail(node, core, ToShard::ForgetComing);
                    }
                    self.process(node).policies.give_up();
                    return false;
                }
            }
        }
    }

    fn count_brought(&mut self, bringing: &Bringing) {
        self.checks.count("windows brought level");
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
    pub(super) fn compare_windows(&self, leader: usize, policy: &Policy) -> Result<(), String> {
        for node in [leader, 1 - leader] {
            let of_log = read_from(&self.nodes[node].disk, policy, self.plan.shards, None)
                .map_err(|NotThere| format!("the log of node {node} can't be read"))?;
            let expected: Vec<Digest> = of_log
                .iter()
                .flat_map(|pasts| (0..pasts.shards()).map(|shard| pasts.shard(shard)))
                .map(|past| past.windows().digest())
                .collect();
            let Some(process) = &self.nodes[node].process else { continue };
            let held: Vec<Digest> = match &process.builder {
                // A promotion reads them.
                Some(builder) if builder.pasts().lacks(policy) => continue,
                Some(_) if expected.is_empty() => continue,
                Some(builder) => builder.pasts().digests(),
                None => {
                    let cores = process.cores.iter();
                    let pasts = cores.filter_map(|core| core.mover.shard.past());
                    pasts.map(|past| past.windows().digest()).collect()
                }
            };
            if held != expected {
                return Err(format!(
                    "the windows of node {node} are not those of its log: {} of {} shards differ",
                    held.iter().zip(&expected).filter(|(one, other)| one != other).count(),
                    expected.len()
                ));
            }
        }
        Ok(())
    }

    /// What was recorded of windows is what the payments before it in its stream come to.
    pub(super) fn compare_seen(
        &self,
        pasts: &mut BTreeMap<(u16, u32), Option<Past>>,
        policies: &BTreeMap<u32, Arc<Policy>>,
        (stream, head, extension): (u16, &RecordHead, &[u8]),
    ) -> Result<(), String> {
        let (payer, payee) = recorded_parties(head).ok_or("documents that are none")?;
        for (&version, policy) in policies {
            let new = || Past::new(policy, self.plan.shards, WindowsKey::of(&KEY)).expect("sound");
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
                let seen = recorded[..count].get(..recomputed.len());
                if seen != Some(&recomputed) {
                    return Err(format!("windows said {seen:?}, not {recomputed:?}"));
                }
            }
            past.add_recorded(payer.document, head);
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

/// What cores tell of windows.
pub(super) fn told(bringing: &mut Bringing, told: ToControl) -> bool {
    bringing.step = match told {
        ToControl::Keeps(lsn, _) => bringing.catch_up.keeps(lsn),
        ToControl::CaughtUp(told) => {
            let step = bringing.catch_up.told(&told);
            if let CaughtUp::TooFarBehind(past, has_lsn, _) = told {
                (bringing.held, bringing.held_lsn) = (Some(past), has_lsn);
                bringing.was_behind = true;
            }
            step
        }
        _ => return false,
    };
    true
}
