//! A standby: calls its primary for as long as it is one, holds what a promotion needs, and is promoted.

use super::connection::{self, LinkFailure, dial_while, reachable};
use super::follow::{self, Stream};
use super::{BEAT_EVERY, Link, LinkSetup, SILENCE, address_field, lists, locked};
use crate::blacklist::Snapshot;
use crate::fatal::{Failure, Status};
use crate::rebuild::Builder;
use crate::replica::{Boundaries, Follower, Peer};
use crate::shard::messages::ToShard;
use catraca_wire::frame::{Role, text_of};
use catraca_wire::replication::{AcceptFrame, GrantedFrame, LinkKind, Purpose, RefuseReason, RevokedFrame};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread::{JoinHandle, Scope};
use std::time::{Duration, Instant};

/// Pause between two calls: short, because a primary that comes back can't answer anybody before.
pub(super) const CALL_PAUSE: Duration = Duration::from_millis(200);
/// How often the progress of catching up is told.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// A primary that has said nothing of a stream by then has nothing in it: its first block comes at once.
const TOLD_AFTER: Duration = Duration::from_secs(1);
/// Most streams that a primary may have: a record's address gives the stream 12 bits.
const MAX_STREAMS: u16 = 1 << 12;

/// What a standby starts with.
pub struct FollowingSetup {
    /// State that recovery rebuilt, and that goes on growing.
    pub builder: Builder,
    /// Block boundaries of each stream.
    pub boundaries: Vec<Boundaries>,
    /// List in use.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Where the configuration says that the primary is.
    pub primary: Option<String>,
}

/// What a standby holds.
pub struct Following {
    pub(super) builder: Builder,
    pub(super) streams: Mutex<Vec<Arc<Mutex<Stream>>>>,
    pub(super) snapshot: Mutex<Option<Arc<Snapshot>>>,
    primary: Option<String>,
    /// By stream: the last record here, and the last that the primary is known to have, once it has said so in this session.
    seen: Mutex<Vec<(u64, Option<u64>)>>,
    connected: AtomicBool,
    /// When the session began.
    begun: Mutex<Instant>,
    /// This node's durable place says that it catches up. Each stream reads it to know how to read and write, and holds it while it writes.
    catching_up: RwLock<bool>,
    setup: LinkSetup,
}

/// The running threads of a standby.
pub(super) struct Handle {
    pub following: Arc<Following>,
    pub stop: Arc<AtomicBool>,
    pub course: Arc<Mutex<Option<Arc<Course>>>>,
    pub thread: JoinHandle<()>,
}

impl Handle {
    /// Whether a session is under way, in which the primary has said how far its log goes.
    pub fn is_connected(&self) -> bool {
        let all_told = locked(&self.following.seen).iter().all(|(_, there)| there.is_some());
        let has_nothing = locked(&self.following.begun).elapsed() > TOLD_AFTER;
        self.following.connected.load(Ordering::Relaxed) && (all_told || has_nothing)
    }

    pub fn behind(&self) -> u64 {
        self.following.behind()
    }
}

/// One session, seen from the standby.
pub(super) struct Course {
    pub session: u64,
    pub epoch: u32,
    pub address: String,
    over: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
}

impl Course {
    /// A socket belongs to the session and ends with it.
    pub fn adopt(&self, socket: TcpStream) {
        let mut sockets = locked(&self.sockets);
        if self.over.load(Ordering::Relaxed) {
            connection::end(&socket);
        }
        sockets.push(socket);
    }

    /// Whether the session goes on.
    pub fn check(&self) -> Result<(), LinkFailure> {
        if self.over.load(Ordering::Relaxed) { Err(LinkFailure::Closed) } else { Ok(()) }
    }

    pub fn end(&self) {
        let sockets = locked(&self.sockets);
        self.over.store(true, Ordering::Relaxed);
        sockets.iter().for_each(connection::end);
    }
}

impl Following {
    fn new(setup: FollowingSetup, link: &LinkSetup) -> Self {
        let FollowingSetup { builder, boundaries, snapshot, primary } = setup;
        let seen = boundaries.iter().map(|b| (b.last().next_lsn - 1, None)).collect();
        let streams = boundaries.into_iter().enumerate().map(|(stream, boundaries)| new_stream(link, stream as u16, boundaries));
        Self {
            streams: Mutex::new(streams.collect()),
            builder,
            snapshot: Mutex::new(snapshot),
            primary,
            seen: Mutex::new(seen),
            connected: AtomicBool::new(false),
            begun: Mutex::new(Instant::now()),
            catching_up: RwLock::new(false),
            setup: link.clone(),
        }
    }

    /// A stream, made if it is new here.
    pub(super) fn stream(&self, number: u16) -> Arc<Mutex<Stream>> {
        let mut streams = locked(&self.streams);
        while streams.len() <= usize::from(number) {
            let stream = streams.len() as u16;
            streams.push(new_stream(&self.setup, stream, Boundaries::default()));
            locked(&self.seen).push((0, None));
        }
        Arc::clone(&streams[usize::from(number)])
    }

    /// A stream has come this far, and the primary that far.
    pub(super) fn note(&self, number: u16, lsn: u64, durable: u64) {
        if let Some(seen) = locked(&self.seen).get_mut(usize::from(number)) {
            *seen = (lsn, Some(durable));
        }
    }

    /// The primary has said how far a stream of its goes.
    pub(super) fn told(&self, number: u16, durable: u64) {
        if let Some((_, there)) = locked(&self.seen).get_mut(usize::from(number)) {
            *there = Some(durable);
        }
    }

    /// A session begins: how far the primary's log goes is not known any more.
    fn nothing_told(&self) {
        *locked(&self.begun) = Instant::now();
        locked(&self.seen).iter_mut().for_each(|(_, there)| *there = None);
    }

    /// The grant has come: this node has all that the primary has answered, where it has said nothing else.
    fn all_told(&self) {
        locked(&self.seen).iter_mut().for_each(|(here, there)| *there = there.or(Some(*here)));
    }

    /// Whether several blocks may be written at once, for as long as what this gives is held.
    pub(super) fn catching_up(&self) -> RwLockReadGuard<'_, bool> {
        self.catching_up.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether several blocks may be written at once from now on; waits for what is being written.
    fn set_catching_up(&self, catching_up: bool) {
        *self.catching_up.write().unwrap_or_else(PoisonError::into_inner) = catching_up;
    }

    /// The last record here of each stream.
    pub(super) fn last_lsns(&self) -> Vec<u64> {
        locked(&self.seen).iter().map(|(here, _)| *here).collect()
    }

    /// A stream is about to be cut, and then to end with this record. A grant that is held goes with that log: should a start find less,
    /// because a write that the disk had called done was lost, nothing behind it would tell any more.
    pub(super) fn bind_grant(&self, link: &Link, number: u16, last_lsn: u64) {
        let mut ends = self.last_lsns();
        ends[usize::from(number)] = last_lsn;
        link.await_descriptor(|| true);
        let mut inner = locked(&link.inner);
        if inner.state.role == Role::Standby && inner.state.in_sync {
            let state = inner.state.granted_to(ends);
            link.persist(&mut inner, state);
        }
    }

    fn behind(&self) -> u64 {
        locked(&self.seen).iter().filter_map(|(here, there)| there.map(|there| there.saturating_sub(*here))).sum()
    }

    /// A list has come. One that the log has replaced meanwhile is not held.
    pub(super) fn hold_list(&self, snapshot: Arc<Snapshot>) {
        let mut held = locked(&self.snapshot);
        if self.builder.snapshot_id() == snapshot.id() {
            *held = Some(snapshot);
        }
    }

    /// The list that the log says is in use, if it is not here.
    pub(super) fn missing_list(&self) -> Option<u64> {
        let wanted = self.builder.snapshot_id();
        let held = locked(&self.snapshot).as_ref().map_or(0, |snapshot| snapshot.id());
        (wanted != 0 && wanted != held).then_some(wanted)
    }
}

fn new_stream(link: &LinkSetup, number: u16, boundaries: Boundaries) -> Arc<Mutex<Stream>> {
    let follower = Follower::new(number, link.cluster_id, link.key, link.segment_len, boundaries);
    Arc::new(Mutex::new(Stream::new(follower)))
}

/// Says why it waits, each time that is something else.
pub(super) fn tell_once(told: &mut String, address: &str, why: &str) {
    if told != why {
        tracing::warn!(primary = address, why, "waiting for the primary");
        why.clone_into(told);
    }
}

impl Link {
    /// Begins to follow the primary.
    ///
    /// # Errors
    /// [`Status::Environment`] when the thread can't start.
    pub fn follow(self: &Arc<Self>, setup: FollowingSetup) -> Result<(), Failure> {
        let following = Arc::new(Following::new(setup, &self.setup));
        self.follow_with(following)
    }

    pub(super) fn follow_with(self: &Arc<Self>, following: Arc<Following>) -> Result<(), Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let course = Arc::new(Mutex::new(None));
        let (link, held, stopped, under_way) = (Arc::clone(self), Arc::clone(&following), Arc::clone(&stop), Arc::clone(&course));
        let body = move || {
            crate::driver::run_on(&link.setup.cpus);
            call_for_ever(&link, &held, &stopped, &under_way);
        };
        let thread = std::thread::Builder::new()
            .name("standby".to_owned())
            .spawn(body)
            .map_err(|e| Failure::new(Status::Environment, format!("the standby's thread can't start: {e}")))?;
        locked(&self.inner).following = Some(Handle { following, stop, course, thread });
        Ok(())
    }
}

/// Calls the primary again and again, until this node is promoted.
fn call_for_ever(link: &Arc<Link>, following: &Arc<Following>, stop: &AtomicBool, under_way: &Mutex<Option<Arc<Course>>>) {
    let mut told = String::new();
    let mut attempt = 0;
    let mut hint = None;
    while !stop.load(Ordering::Relaxed) {
        let known = locked(&link.inner).state.peer.clone().map(|peer| peer.replication_address);
        let addresses: Vec<String> = [hint.take(), known, following.primary.clone()].into_iter().flatten().collect();
        let Some(address) = addresses.get(attempt % addresses.len().max(1)) else { return };
        match session(link, following, address, stop, under_way) {
            Ok(()) => told.clear(),
            Err(failure) => {
                if let LinkFailure::Refused { reason: RefuseReason::Taken | RefuseReason::Twin, .. } = &failure {
                    give_up_grant(link, || !stop.load(Ordering::Relaxed));
                }
                if let LinkFailure::Refused { primary, .. } = &failure {
                    hint = primary.clone().filter(|primary| *primary != link.setup.replication_address);
                }
                if !stop.load(Ordering::Relaxed) && !link.is_stopping() {
                    tell_once(&mut told, address, &failure.to_string());
                }
            }
        }
        following.connected.store(false, Ordering::Relaxed);
        *locked(under_way) = None;
        attempt += 1;
        // A promotion does not wait for the next call; anything else that wakes a thread does.
        let until = Instant::now() + CALL_PAUSE;
        while !stop.load(Ordering::Relaxed) && Instant::now() < until {
            std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
        }
    }
}

/// The primary waits for another standby now, and does not count on this one any more.
fn give_up_grant(link: &Link, goes_on: impl Fn() -> bool) {
    link.await_descriptor(goes_on);
    let mut inner = locked(&link.inner);
    if inner.state.role == Role::Standby && inner.state.in_sync {
        tracing::warn!("another standby has this node's place: it is not in sync any more");
        let state = inner.state.with_grant(inner.state.epoch, false).expect("it is this node's own epoch");
        link.persist(&mut inner, state);
    }
}

/// Keeps what the primary has called committed: after a start this node must not cut it off because the primary has lost it.
fn keep_committed(link: &Link, following: &Following, epoch: u32, goes_on: impl Fn() -> bool) {
    let streams = locked(&following.streams).clone();
    let committed = streams.iter().map(|stream| locked(stream).follower.committed()).collect();
    link.await_descriptor(goes_on);
    let mut inner = locked(&link.inner);
    let state = inner.state.knowing(committed);
    if inner.state.role == Role::Standby && inner.state.epoch == epoch && state != inner.state {
        link.persist(&mut inner, state);
    }
}

/// One session, from the call to its end.
fn session(
    link: &Arc<Link>,
    following: &Arc<Following>,
    address: &str,
    stop: &AtomicBool,
    under_way: &Mutex<Option<Arc<Course>>>,
) -> Result<(), LinkFailure> {
    let join = link.join_frame(Purpose::Node, 0, 0);
    let (mut node, accept) = dial_while(|| !stop.load(Ordering::Relaxed), address, &join, &link.setup.key)?;
    let streams = accept.streams.to_native();
    if accept.shards.to_native() != link.setup.shards || !(link.setup.shards..=MAX_STREAMS).contains(&streams) {
        return Err(LinkFailure::Fault(format!("the primary has {} shards and {streams} streams", accept.shards)));
    }
    if locked(&following.seen).iter().skip(usize::from(streams)).any(|(here, _)| *here > 0) {
        let why = "this node's log has streams that the primary's has not: build it anew";
        return Err(LinkFailure::Fault(why.to_owned()));
    }
    let epoch = accept.head.epoch.to_native();
    following.set_catching_up(submit_to(link, &accept, address, &node)?);
    let course = Arc::new(Course {
        session: accept.session.to_native(),
        epoch,
        address: address.to_owned(),
        over: AtomicBool::new(false),
        sockets: Mutex::new(vec![node.handle()?]),
    });
    for (stream, committed) in locked(&link.inner).state.committed.iter().enumerate() {
        locked(&following.stream(stream as u16)).follower.remember(*committed);
    }
    *locked(under_way) = Some(Arc::clone(&course));
    if stop.load(Ordering::Relaxed) {
        return Err(LinkFailure::Closed);
    }
    following.nothing_told();
    following.connected.store(true, Ordering::Relaxed);
    tracing::info!(primary = address, epoch, "following");
    let first_failure = Mutex::new(None);
    let end = &|failure: LinkFailure| {
        locked(&first_failure).get_or_insert(failure);
        course.end();
    };
    let talked = std::thread::scope(|scope| {
        let course = &course;
        for stream in 0..streams {
            start(scope, format!("stream-{stream}"), end, move || follow::run(link, following, course, stream));
        }
        let talked = talk(link, following, course, &mut node, epoch, |id| {
            start(scope, format!("list-{id:016x}"), end, move || lists::fetch(link, following, course, id));
        });
        course.end();
        talked
    });
    if !stop.load(Ordering::Relaxed) {
        keep_committed(link, following, epoch, || !stop.load(Ordering::Relaxed));
    }
    // What went wrong first; what followed from it says less.
    let first = locked(&first_failure).take();
    first.map_or(talked, Err)
}

/// Starts a thread of the session. Whatever goes wrong with it, that it can't start included, ends the session.
fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: String,
    end: &'scope (impl Fn(LinkFailure) + Sync),
    body: impl FnOnce() -> Result<(), LinkFailure> + Send + 'scope,
) {
    let what = name.clone();
    let run = move || {
        if let Err(failure) = body() {
            end(LinkFailure::Fault(format!("{what}: {failure}")));
        }
    };
    if let Err(error) = std::thread::Builder::new().name(name.clone()).spawn_scoped(scope, run) {
        end(LinkFailure::Fault(format!("the thread {name} can't start: {error}")));
    }
}

/// Puts this node under a primary's reign, durably, before anything of it is taken. Whether it catches up.
fn submit_to(link: &Link, accept: &AcceptFrame, address: &str, node: &connection::Connection) -> Result<bool, LinkFailure> {
    let client_address = reachable(text_of(&accept.client_address), node.peer_address());
    let primary =
        Peer { node_id: accept.node_id, replication_address: address.to_owned(), client_address: client_address.clone() };
    let mut inner = locked(&link.inner);
    if inner.state.role != Role::Standby {
        return Err(LinkFailure::Closed);
    }
    let epoch = accept.head.epoch.to_native();
    let may_leave = accept.solo_after_ms.to_native() > 0;
    let state = inner
        .state
        .following(epoch, primary, accept.odd_epochs == 1, may_leave)
        .map_err(|fenced| LinkFailure::Fault(fenced.to_string()))?;
    let catching_up = state.catching_up;
    if state != inner.state {
        link.persist(&mut inner, state);
    }
    drop(inner);
    for shard in 0..usize::from(link.setup.shards) {
        link.tell(shard, ToShard::PrimaryAt { address: address_field(&client_address), epoch });
    }
    Ok(catching_up)
}

/// The connection from node to node: life signs and grants.
fn talk(
    link: &Link,
    following: &Following,
    course: &Course,
    node: &mut connection::Connection,
    epoch: u32,
    fetch: impl Fn(u64),
) -> Result<(), LinkFailure> {
    let mut writer = node.writer()?;
    let mut heard = Instant::now();
    let mut said = Instant::now();
    let mut shown = Instant::now();
    let mut fetching = None;
    loop {
        course.check()?;
        if let Some((kind, frame)) = node.next()? {
            let theirs = connection::head_of(frame).epoch.to_native();
            heard = Instant::now();
            if kind == LinkKind::Grant {
                // Before the grant is durable: behind it no crash may leave a hole.
                following.set_catching_up(false);
            }
            if matches!(kind, LinkKind::Grant | LinkKind::Revoke) {
                link.await_descriptor(|| course.check().is_ok());
            }
            let mut inner = locked(&link.inner);
            inner.last_heard = Some(heard);
            match kind {
                LinkKind::Beat => {}
                LinkKind::Grant | LinkKind::Revoke => {
                    let granted = kind == LinkKind::Grant;
                    let state = inner.state.with_grant(theirs, granted).map_err(|e| LinkFailure::Fault(e.to_string()))?;
                    let state = state.granted_to(if granted { following.last_lsns() } else { Vec::new() });
                    link.persist(&mut inner, state);
                    drop(inner);
                    tracing::info!(in_sync = granted, epoch, "the primary's word");
                    if granted {
                        following.all_told();
                        writer.send(&GrantedFrame::empty(0, epoch))?;
                    } else {
                        writer.send(&RevokedFrame::empty(0, epoch))?;
                        // Waits for what is being written, which REVOKED need not.
                        following.set_catching_up(true);
                    }
                }
                other => return Err(LinkFailure::Unexpected(other)),
            }
        }
        if heard.elapsed() > SILENCE {
            return Err(LinkFailure::Silent(SILENCE.as_millis()));
        }
        if said.elapsed() > BEAT_EVERY {
            said = Instant::now();
            writer.send(&link.beat(epoch))?;
        }
        if let Some(id) = following.missing_list().filter(|id| fetching != Some(*id)) {
            fetching = Some(id);
            fetch(id);
        }
        let behind = following.behind();
        if behind > 0 && shown.elapsed() > TELL_EVERY {
            shown = Instant::now();
            tracing::info!(behind_records = behind, "catching up");
        }
    }
}
