//! From the options to a run that may begin: files read, documents drawn, connections open.

use super::{Run, wall_clock_ns};
use crate::answers::Answers;
use crate::connection::{Connection, RECEIVE_BUFFER_LEN};
use crate::documents::Documents;
use crate::list::List;
use crate::nodes::Nodes;
use crate::options::{LoadError, Loop, MAX_UNANSWERED, Options, Wait};
use crate::pin;
use crate::plan::Plan;
use crate::poller::Poller;
use crate::record::Recorder;
use crate::scenario::{Tally, Traffic, TrafficPlan, truth};
use crate::slots::Slots;
use crate::transactions::{Transactions, template};
use catraca_tls::Authorities;
use quanta::Clock;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::time::Duration;

/// Up to this many connections each is simply read in turn while spinning; with more, asking epoll
/// which ones are ready costs less.
const MAX_POLLED_CONNECTIONS: usize = 8;
/// How long a connect, and each wait of a handshake, may take at the start.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Unanswered transactions that an open loop may have on one connection, if the node allows as
/// many: 12 ms at a million a second.
const OPEN_LOOP_IN_FLIGHT: u32 = 1 << 14;

/// Who vouches for the nodes, where that is asked for.
fn authorities(options: &Options) -> Result<Option<Authorities>, LoadError> {
    let Some(ca) = &options.tls_ca_file else { return Ok(None) };
    let own = options.tls_certificate_file.as_deref().zip(options.tls_key_file.as_deref());
    Authorities::new(ca, own).map(Some).map_err(|fault| LoadError::File(fault.to_string()))
}

pub(super) fn prepare(options: &Options) -> Result<Run, LoadError> {
    let shape = options.shape()?;
    let follows = shape.failover_ns > 0;
    let credential_file = options.credential_file.as_deref();
    let authorities = authorities(options)?;
    let mut nodes = Nodes::new(&options.addresses(), credential_file, authorities, follows)?;
    let list = match &options.list {
        Some(path) => List::read(path, jiff::Zoned::now().date())?,
        None => List::default(),
    };
    let traffic_plan = options.scenario.plan(options.seed, &shape, wall_clock_ns())?;
    let mut rng = SmallRng::seed_from_u64(options.seed);
    // Payments of scenarios have people of their own.
    let population = if traffic_plan.is_some() { 2 } else { options.documents };
    let documents = Documents::generate(population, &list, &mut rng)?;
    write_truth(options, traffic_plan.as_ref())?;
    pin::allow_descriptors(shape.connections)?;
    let core = pin::pin(options.core)?;
    // Two runs with one seed send the same transactions under different ids: the node would take
    // the second for a repetition.
    let run_id = wall_clock_ns()
        ^ options.seed.rotate_left(32)
        ^ u64::from(std::process::id()).rotate_left(48);
    let template = template(run_id);
    let asked_in_flight = match shape.offer {
        Loop::Closed { in_flight } => in_flight,
        Loop::Open { .. } => 0,
    };
    let mut connections = Vec::with_capacity(shape.connections as usize);
    for (stream, welcome) in
        nodes.connect(shape.connections as usize, asked_in_flight, HANDSHAKE_TIMEOUT)?
    {
        let in_flight = match shape.offer {
            Loop::Closed { in_flight } => in_flight,
            Loop::Open { .. } => welcome
                .in_flight
                .to_native()
                .min(OPEN_LOOP_IN_FLIGHT)
                .min((MAX_UNANSWERED / shape.connections).max(1)),
        };
        let connection =
            Connection::new(stream, Slots::new(in_flight), &template).map_err(|e| {
                LoadError::Environment(format!("cannot make a socket non-blocking: {e}"))
            })?;
        connections.push(connection);
    }
    let polled = options.wait == Wait::Epoll || connections.len() > MAX_POLLED_CONNECTIONS;
    let epoll = polled
        .then(|| Poller::new(&connections, options.wait))
        .transpose()
        .map_err(|e| LoadError::Environment(format!("cannot set up epoll: {e}")))?;
    let open_loop = matches!(shape.offer, Loop::Open { .. });
    let plan = match shape.offer {
        Loop::Open { rate, arrivals } => {
            Some(Plan::new(rate, arrivals, options.seed, shape.warmup_ns))
        }
        Loop::Closed { .. } => None,
    };
    let clock = Clock::new();
    let mut transactions =
        Transactions::new(documents, rng, options.listed_share, options.resend_share);
    if follows && options.verify {
        transactions.keep_recent();
    }
    let answers = options.keep_answers.then(|| Answers::new(run_id));
    let mut recorder = Recorder::new(options.verify, open_loop, answers);
    recorder.tally = traffic_plan.map(Tally::new);
    Ok(Run {
        shape,
        verify: options.verify,
        wait: options.wait,
        polled,
        nodes,
        asked_in_flight,
        template,
        core,
        list,
        origin: clock.now(),
        clock,
        connections,
        epoll,
        plan,
        next_connection: 0,
        transactions,
        traffic: traffic_plan.as_ref().map(Traffic::new),
        recorder,
        received: vec![0; RECEIVE_BUFFER_LEN].into_boxed_slice(),
        sending: true,
        sending_ended_ns: 0,
        unsent: 0,
        event_time_ns: 0,
        interrupted: false,
        last_answer_ns: 0,
        longest_gap_ns: 0,
        failovers: 0,
        answered_at_failover: u64::MAX,
        refused_to_say: 0,
        recovering: false,
        rechecks: Vec::new(),
    })
}

/// The file of the truth, if one is asked for.
fn write_truth(options: &Options, plan: Option<&TrafficPlan>) -> Result<(), LoadError> {
    let (Some(path), Some(plan)) = (&options.scenario.truth, plan) else { return Ok(()) };
    truth::write(plan, path).map_err(|e| {
        let path = path.display();
        LoadError::File(format!("cannot write {path}: {e}; give a writable file with --truth"))
    })
}
