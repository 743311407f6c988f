//! HTTP, through a gateway.

use super::door::{ATTEMPT, Door, body};
use catraca_node::fatal::Failure;
use catraca_wire::frame::Transaction;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// The longest answer, bytes: a decision has some hundred.
const MAX_ANSWER_LEN: usize = 64 * 1_024;

/// A connection to a gateway.
pub struct Http {
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Runtime,
}

impl Http {
    /// To the gateway at this address.
    pub fn new(gateway: &str) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Failure::failed(format!("no runtime: {e}")))?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { url: format!("http://{gateway}/v1/decisions"), client, runtime })
    }
}

impl Door for Http {
    fn name(&self) -> &'static str {
        "HTTP"
    }

    fn ask(&mut self, payment: &Transaction) -> Result<Value, String> {
        let request = Request::post(&self.url).header("content-type", "application/json");
        let request = request.body(Full::from(body(payment).to_string()));
        let request = request.map_err(|e| e.to_string())?;
        let asked = async {
            let response = self.client.request(request).await.map_err(|e| e.to_string())?;
            let body = Limited::new(response.into_body(), MAX_ANSWER_LEN).collect().await;
            let body = body.map_err(|e| e.to_string())?.to_bytes();
            serde_json::from_slice(&body).map_err(|e| e.to_string())
        };
        let answered = self.runtime.block_on(async { timeout(ATTEMPT, asked).await });
        answered.map_err(|_| "no answer".to_owned())?
    }
}
