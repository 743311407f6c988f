//! One attempt of a standby to follow its primary, from the call to its end: a thread that waits
//! where the node's own must not, the streams' threads below it. Does what the node orders, and
//! says what comes of it.

use super::connection::{self, ConnectionFailure, dial_while, dialed, message_of};
use super::mover::Input;
use super::standby::{Following, StandbySession};
use super::{Replication, follow, lists};
use catraca_core::replica::node::{CallFailure, ConnId, Event};
use catraca_wire::replication::Purpose;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::Scope;
use std::time::{Duration, Instant};

/// Between two looks at whether a list is missing.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the progress of catching up is told.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// What the node wants of an attempt.
pub(super) enum Order {
    OpenStreams { session: u64, epoch: u32, streams: u16, catching_up: bool, committed: Vec<u64> },
    SingleWrites,
    SeveralWrites,
    End,
}

/// An attempt that is under way.
pub(super) struct Attempt {
    pub number: u64,
    /// The connection from node to node.
    pub conn: Option<ConnId>,
    orders: Sender<Order>,
    over: Arc<AtomicBool>,
    standby_session: Arc<Mutex<Option<Arc<StandbySession>>>>,
}

impl Attempt {
    pub fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Ends whatever of it waits for something.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(standby_session) = self.standby_session.lock().as_ref() {
            standby_session.end();
        }
        self.order(Order::End);
    }
}

/// Begins to call a node.
pub(super) fn start(
    replication: &Arc<Replication>,
    number: u64,
    address: &str,
) -> Result<Attempt, CallFailure> {
    let (orders, wanted) = mpsc::channel();
    let (over, standby_session) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
    let attempt = Attempt {
        number,
        conn: None,
        orders,
        over: Arc::clone(&over),
        standby_session: Arc::clone(&standby_session),
    };
    let (mover, address) = (Arc::clone(replication), address.to_owned());
    let body = move || {
        let following = mover.following.lock().clone();
        if let Some(following) = following {
            run(&mover, following, number, &address, &over, &standby_session, &wanted);
        }
        ended(&mover, number);
    };
    replication.spawn("standby", body).map_err(|failure| CallFailure {
        refused: None,
        primary: None,
        why: failure.message,
    })?;
    Ok(attempt)
}

/// Nothing of an attempt is under way any more.
pub(super) fn ended(replication: &Replication, attempt: u64) {
    // Not under the lock, which health waits for.
    let following = replication.following.lock().clone();
    let facts = following.map(|following| (following.committed(), following.tables()));
    let (committed, tables) = facts.unwrap_or_default();
    replication.event(Event::FollowingEnded { attempt, committed, tables });
}

fn run(
    replication: &Arc<Replication>,
    following: Arc<Following>,
    number: u64,
    address: &str,
    over: &AtomicBool,
    shared: &Mutex<Option<Arc<StandbySession>>>,
    orders: &Receiver<Order>,
) {
    let join = replication.join_frame(Purpose::Node, 0, 0);
    match dial_while(
        || !over.load(Ordering::Relaxed),
        address,
        &join,
        &replication.setup.link_keys(),
    ) {
        Ok((node, accept)) => {
            let accepted = dialed(&accept, &node);
            let conn = replication.new_conn();
            let standby_session = Arc::new(StandbySession::new(address));
            standby_session.adopt(node.socket());
            *shared.lock() = Some(Arc::clone(&standby_session));
            if over.load(Ordering::Relaxed) {
                standby_session.end();
            }
            let writer = node.writer();
            replication.input(Input::CallAnswered { attempt: number, conn, accepted, writer });
            let failed =
                |why: String| replication.event(Event::FollowingFailed { attempt: number, why });
            std::thread::scope(|scope| {
                let standby_session = &*standby_session;
                start_thread(scope, "primary-messages".to_owned(), &failed, move || {
                    listen(replication, node, conn, standby_session)
                });
                serve(replication, &following, number, standby_session, orders, scope, &failed);
                standby_session.end();
            });
            following.set_connected(false);
            return;
        }
        Err(failure) => {
            let why = failure.to_string();
            let failure = match failure {
                ConnectionFailure::Refused { reason, primary, .. } => {
                    CallFailure { refused: Some(reason), primary, why }
                }
                _ => CallFailure { refused: None, primary: None, why },
            };
            replication.event(Event::CallFailed { attempt: number, failure });
        }
    }
    // The node says when it is over, also where nothing came of it.
    while !matches!(orders.recv(), Ok(Order::End) | Err(_)) {}
}

/// Hands the primary's messages to the node.
fn listen(
    replication: &Replication,
    mut node: connection::Connection,
    conn: ConnId,
    standby_session: &StandbySession,
) -> Result<(), ConnectionFailure> {
    loop {
        standby_session.check()?;
        if let Some((kind, frame)) = node.next()? {
            replication.heard();
            let message = message_of(kind, frame).ok_or(ConnectionFailure::Unexpected(kind))?;
            replication.event(Event::Received { conn, message });
        }
    }
}

/// Does what the node orders until it says that this is the end.
fn serve<'scope, 'env>(
    replication: &'env Arc<Replication>,
    following: &'env Following,
    number: u64,
    standby_session: &'env StandbySession,
    orders: &Receiver<Order>,
    scope: &'scope Scope<'scope, 'env>,
    failed: &'env (impl Fn(String) + Sync),
) {
    let mut fetching = None;
    let mut shown = Instant::now();
    loop {
        match orders.recv_timeout(LOOK_EVERY) {
            Ok(Order::OpenStreams { session, epoch, streams, catching_up, committed }) => {
                standby_session.begin(session, epoch);
                following.set_catching_up(catching_up);
                following.remember(epoch, streams, &committed);
                following.nothing_told();
                following.set_connected(true);
                for stream in 0..streams {
                    start_thread(scope, format!("stream-{stream}"), failed, move || {
                        follow::run(replication, following, standby_session, stream)
                    });
                }
            }
            Ok(Order::SingleWrites) => {
                following.set_catching_up(false);
                replication.event(Event::SingleWrites { attempt: number });
            }
            Ok(Order::SeveralWrites) => following.set_catching_up(true),
            Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if !following.is_following() {
            continue;
        }
        if let Some(id) = following.missing_list().filter(|id| fetching != Some(*id)) {
            fetching = Some(id);
            start_thread(scope, format!("list-{id:016x}"), failed, move || {
                lists::fetch(replication, following, standby_session, id)
            });
        }
        let behind = following.behind();
        if behind > 0 && shown.elapsed() > TELL_EVERY {
            shown = Instant::now();
            tracing::info!(behind_records = behind, "catching up");
        }
    }
}

/// Starts a thread of the attempt. Whatever goes wrong with it, that it can't start included, ends
/// the attempt.
fn start_thread<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: String,
    failed: &'scope (impl Fn(String) + Sync),
    body: impl FnOnce() -> Result<(), ConnectionFailure> + Send + 'scope,
) {
    let what = name.clone();
    let run = move || {
        if let Err(failure) = body() {
            failed(if what == "primary-messages" {
                failure.to_string()
            } else {
                format!("{what}: {failure}")
            });
        }
    };
    if let Err(error) = std::thread::Builder::new().name(name.clone()).spawn_scoped(scope, run) {
        failed(format!("the thread {name} can't start: {error}"));
    }
}
