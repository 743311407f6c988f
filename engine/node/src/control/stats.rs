//! Collecting histograms: each core sends a copy when asked, one collection at a time.

use super::Control;
use catraca_core::observe::StageHistograms;
use catraca_core::shard::messages::ToShard;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Time for all cores to answer; they do within a loop unless stuck.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Collections that may wait.
const QUEUE_LEN: usize = 256;

struct Collect {
    shard: Option<u16>,
    reply: oneshot::Sender<StageHistograms>,
}

/// The way to the collector.
#[derive(Clone)]
pub(super) struct Handle {
    requests: mpsc::Sender<Collect>,
    answers: mpsc::UnboundedSender<(u16, Box<StageHistograms>)>,
}

impl Handle {
    /// The histograms of one shard, or of all together; `None` when a core does not answer.
    pub async fn collect(&self, shard: Option<u16>) -> Option<StageHistograms> {
        let (reply, collected) = oneshot::channel();
        self.requests.send(Collect { shard, reply }).await.ok()?;
        collected.await.ok()
    }

    /// A core's answer. At most one a core and collection, so the queue is bounded.
    pub fn collected(&self, shard: u16, histograms: Box<StageHistograms>) {
        let _ = self.answers.send((shard, histograms));
    }
}

pub(super) fn start(control: &Rc<Control>) -> Handle {
    let (requests, mut waiting) = mpsc::channel::<Collect>(QUEUE_LEN);
    let (answers, mut arriving) = mpsc::unbounded_channel::<(u16, Box<StageHistograms>)>();
    let control = Rc::clone(control);
    tokio::task::spawn_local(async move {
        while let Some(Collect { shard, reply }) = waiting.recv().await {
            // What an earlier collection gave up on.
            while arriving.try_recv().is_ok() {}
            control.tell_all(|| ToShard::CollectStats).await;
            let gather = async {
                let mut sum = StageHistograms::new();
                for _ in 0..control.shards() {
                    let (from, histograms) = arriving.recv().await?;
                    if shard.is_none_or(|wanted| wanted == from) {
                        sum.add(&histograms);
                    }
                }
                Some(sum)
            };
            if let Ok(Some(sum)) = tokio::time::timeout(TIMEOUT, gather).await {
                let _ = reply.send(sum);
            }
        }
    });
    Handle { requests, answers }
}
