//! Windows of policies: brought to the cores of the primary before a policy comes into force, kept on the
//! standby, rebuilt at every start. As the control thread and the replication do it, by the state machines that
//! ship; and what must hold of them in the end.

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
    /// Those of the core, while they are not with it.
    held: Option<Box<Past>>,
}

impl Bringing {
    pub fn new(policy: &Arc<Policy>) -> Self {
        let catch_up = CatchUp::default();
        let step = catch_up.begin();
        Self { policy: Arc::clone(policy), core: 0, catch_up, step, held: None }
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
                    self.mail(node, core, ToShard::KeepPayments(Box::<KeptPayments>::default()));
                    return false;
                }
                CatchUpStep::Read { up_to_lsn } => {
                    let key = WindowsKey::of(&KEY);
                    let past = Past::new(&bringing.policy, self.plan.shards, key);
                    let mut past = past.expect("sound").expect("it reads windows");
                    let mut next_lsn = 1;
                    let read = read_log(&self.nodes[node].disk, |stream, block| {
                        if usize::from(stream) == core && next_lsn <= up_to_lsn {
                            Pasts::take_one(&mut past, block);
                            next_lsn = Tail::after(block).next_lsn;
                        }
                    });
                    // A block that is being written may lie there half.
                    if read.is_err() || next_lsn <= up_to_lsn {
                        let pause = self.policy_rng.between(2, 20) * MS;
                        self.wake_in(node, pause, Wake::WindowsAgain);
                        return false;
                    }
                    bringing.held = Some(Box::new(past));
                    bringing.step = bringing.catch_up.has_read(next_lsn - 1);
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
                    self.checks.count("windows brought level");
                    *bringing =
                        Bringing { core: core + 1, ..Bringing::new(&Arc::clone(&bringing.policy)) };
                }
                CatchUpStep::Done => {
                    self.checks.count("windows brought level");
                    return true;
                }
                CatchUpStep::GaveUp => unreachable!("no core of the simulator decides as fast"),
            }
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
        let read = |next_lsns: &BTreeMap<u16, u64>| {
            read_from(&host.disk, &policy, shards, Some(next_lsns))
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
                if recorded[..count] != recomputed {
                    return Err(format!(
                        "windows said {:?}, not {recomputed:?}",
                        &recorded[..count]
                    ));
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
            if let CaughtUp::TooFarBehind(past) = told {
                bringing.held = Some(past);
            }
            step
        }
        _ => return false,
    };
    true
}
