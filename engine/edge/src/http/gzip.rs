//! gzip: of answers, for who asks for it, and of what is sent.
//!
//! What is unpacked is bounded where it is read, as what was never packed: `body.rs` and `batch/input.rs`.

use super::body::NDJSON;
use axum::Router;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};
use tower_http::decompression::RequestDecompressionLayer;

/// The shortest answer that is packed, bytes. One decision fits a packet as it is, and packing it takes longer than
/// deciding.
const LEAST_LEN: u64 = 1024;

/// These paths, with gzip.
pub(super) fn layered<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    // Lines go out as they are ready: packed they would wait for one another.
    let worth_it = SizeAbove::new(LEAST_LEN).and(NotForContentType::new(NDJSON));
    // Encodings that are none of ours are left to `body.rs`, which refuses them.
    let unpack = RequestDecompressionLayer::new().pass_through_unaccepted(true);
    router.layer(CompressionLayer::new().compress_when(worth_it)).layer(unpack)
}
