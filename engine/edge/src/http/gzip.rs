//! gzip: of answers, for who asks for it, and of what is sent.
//!
//! What is unpacked is bounded where it is read, as what was never packed: `body.rs` and `batch/input.rs`.

use super::body::NDJSON;
use async_compression::tokio::bufread::GzipDecoder;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use futures::TryStreamExt as _;
use std::io;
use tokio_util::io::{ReaderStream, StreamReader};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};

/// The shortest answer that is packed, bytes. One decision fits a packet as it is, and packing it takes longer than
/// deciding.
const LEAST_LEN: u64 = 1024;

/// These paths, with gzip.
pub(super) fn layered<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    // Lines go out as they are ready: packed they would wait for one another.
    let worth_it = SizeAbove::new(LEAST_LEN).and(NotForContentType::new(NDJSON));
    router.layer(CompressionLayer::new().compress_when(worth_it)).layer(from_fn(unpack))
}

/// Unpacks a body. Encodings that are none of ours are left to `body.rs`, which refuses them.
async fn unpack(request: Request, next: Next) -> Response {
    if !is_gzip(request.headers()) {
        return next.run(request).await;
    }
    let (mut head, body) = request.into_parts();
    head.headers.remove(header::CONTENT_ENCODING);
    head.headers.remove(header::CONTENT_LENGTH);
    let packed = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    let mut unpacked = GzipDecoder::new(packed);
    // One gzip file behind another is one file (RFC 1952, section 2.2), and what is none of it is an error.
    unpacked.multiple_members(true);
    let body = Body::from_stream(ReaderStream::new(unpacked));
    next.run(Request::from_parts(head, body)).await
}

/// Names of encodings are the same in any case, and `x-gzip` is an old one (RFC 9110, section 8.4.1).
fn is_gzip(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let (Some(encoding), None) = (encodings.next(), encodings.next()) else { return false };
    ["gzip", "x-gzip"].iter().any(|name| encoding.as_bytes().eq_ignore_ascii_case(name.as_bytes()))
}
