//! Tests of connections that a load balancer hands on, and of those that only claim to be.

use super::proxied::Proxies;
use super::tests::block_on;
use crate::caller::Peer;
use crate::http::Metrics;
use axum::routing::get;
use axum::{Extension, Router};
use catraca_tls::Tls;
use catraca_tls::proxied::{Networks, Refused};
use catraca_tls::testing::Certificates;
use proptest::prelude::*;
use proxy_header::{ProxiedAddress, ProxyHeader, Tlv};
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Where the balancer of these tests is, and where somebody else.
const BALANCER: [u8; 4] = [127, 0, 0, 2];
const STRANGER: [u8; 4] = [127, 0, 0, 3];
/// Headers that are waited for at once: few, for the sake of the descriptors of these tests.
const ROOM: usize = 64;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 80\r\n";
/// Behind the signature of version 2: a stream over IPv4, 12 bytes of addresses.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x01\x0f\xa0\0\x50";

/// A gateway that says to everybody where he comes from.
struct Mirror {
    address: SocketAddr,
    metrics: Metrics,
}

impl Mirror {
    async fn start(tls: Option<Arc<Tls>>) -> Self {
        let metrics = Metrics::new(false);
        let networks = Networks::parse(&["127.0.0.2".to_owned()]);
        let proxies = Proxies::with_room(networks.expect("sound"), metrics.refusals(), ROOM);
        let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
        let port = listener.local_addr().expect("it has one").port();
        let tell = async |Extension(peer): Extension<Peer>| peer.address.to_string();
        let router = Router::new().route("/", get(tell));
        drop(tokio::spawn(super::serve(listener, tls, proxies, router, pending())));
        Self { address: SocketAddr::from(([127, 0, 0, 1], port)), metrics }
    }

    async fn connect(&self, from: [u8; 4]) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((from, 0))).expect("an address of this machine");
        socket.connect(self.address).await.expect("it listens")
    }

    /// All that is answered to these pieces, sent one by one.
    async fn answer(&self, from: [u8; 4], pieces: &[&[u8]]) -> String {
        let mut stream = self.connect(from).await;
        for piece in pieces {
            // It fails where the connection was closed for what came before.
            let _ = stream.write_all(piece).await;
            tokio::task::yield_now().await;
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Whom it takes somebody for, who sends this and then asks.
    async fn told(&self, from: [u8; 4], header: &[u8]) -> String {
        let answer = self.answer(from, &[header, REQUEST]).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{header:?}: {answer}");
        answer.rsplit("\r\n").next().unwrap_or_default().to_owned()
    }

    /// How many connections were refused for this reason.
    fn refused(&self, why: Refused) -> u64 {
        let text = self.metrics.shown(None).expect("text");
        let line = format!(
            "catraca_gateway_proxy_connections_refused_total{{reason=\"{}\"}} ",
            why.name()
        );
        let count = text.lines().find_map(|counted| counted.strip_prefix(&line));
        count.map_or(0, |count| count.parse().expect("a number"))
    }
}

fn named(source: &str, tlvs: &[Tlv<'static>]) -> Vec<u8> {
    let source: SocketAddr = source.parse().expect("an address");
    let destination = SocketAddr::new(source.ip(), 80);
    let named = ProxiedAddress::stream(source, destination);
    let mut bytes = Vec::new();
    let header = ProxyHeader::with_tlvs(Some(named), tlvs.iter().cloned());
    header.encode_v2(&mut bytes).expect("it fits");
    bytes
}

#[test]
fn a_balancer_says_whom_a_connection_is_from_and_nobody_else_does() {
    block_on(async {
        let mirror = Mirror::start(None).await;
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
        let long = named("192.0.2.9:4000", &[Tlv::Noop(4_000)]);
        for (header, expected) in [
            (V1, "192.0.2.7"),
            (V2, "192.0.2.7"),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 4000 80\r\n", "2001:db8::7"),
            (b"PROXY TCP6 ::ffff:192.0.2.8 ::1 4000 80\r\n", "192.0.2.8"),
            (b"PROXY UNKNOWN\r\n", "127.0.0.2"),
            (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", "127.0.0.2"),
            (local, "127.0.0.2"),
            (&named("[2001:db8::9]:4000", &[Tlv::UniqueId((&[7; 64]).into())]), "2001:db8::9"),
            (&long, "192.0.2.9"),
        ] {
            assert_eq!(mirror.told(BALANCER, header).await, expected, "{header:?}");
        }
        assert_eq!(mirror.told(STRANGER, b"").await, "127.0.0.3");
    });
}

#[test]
fn bad_headers_close_their_connection_are_counted_and_disturb_nobody() {
    block_on(async {
        let mirror = Mirror::start(None).await;
        let with_len = |len: u16| {
            let mut bytes = V2[..14].to_vec();
            bytes.extend(len.to_be_bytes());
            bytes.resize(bytes.len() + usize::from(len), 0);
            bytes
        };
        let endless = [V1_BEGUN, &[b'1'; 200]].concat();
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        let mut other_version = V2.to_vec();
        other_version[12] = 0x31;
        let mut datagram = V2.to_vec();
        datagram[13] = 0x12;
        let cases: [(&[u8], Refused); 12] = [
            (REQUEST, Refused::Malformed),
            (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0\0\0\0", Refused::Malformed),
            (b"PROXY TCP4 999.0.2.7 192.0.2.1 4000 80\r\n", Refused::Malformed),
            (b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 80\n", Refused::Malformed),
            (b"PROXY TCP5 192.0.2.7 192.0.2.1 4000 80\r\n", Refused::Malformed),
            (&other_version, Refused::Malformed),
            (&datagram, Refused::Malformed),
            (&with_len(11), Refused::Malformed),
            (&with_len(4_097), Refused::Oversized),
            (&with_len(u16::MAX), Refused::Oversized),
            (&endless, Refused::Oversized),
            (long.as_bytes(), Refused::Oversized),
        ];
        // Somebody who is served before and behind each of them.
        let mut other = mirror.connect(STRANGER).await;
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        for (bytes, why) in cases {
            let before = mirror.refused(why);
            assert_eq!(mirror.answer(BALANCER, &[bytes, REQUEST]).await, "", "{bytes:?}");
            assert_eq!(mirror.refused(why), before + 1, "{why:?} {bytes:?}");
            other.write_all(request).await.expect("it is open");
            let mut answer = [0; 1_024];
            let len = other.read(&mut answer).await.expect("an answer");
            assert!(answer[..len].starts_with(b"HTTP/1.1 200"), "{bytes:?}");
        }
        for header in [V1, V2] {
            let before = mirror.refused(Refused::Stranger);
            assert_eq!(mirror.answer(STRANGER, &[header, REQUEST]).await, "");
            assert_eq!(mirror.refused(Refused::Stranger), before + 1);
        }
        for header in [V1, V2] {
            for len in 0..header.len() {
                let before = mirror.refused(Refused::Torn);
                let mut stream = mirror.connect(BALANCER).await;
                stream.write_all(&header[..len]).await.expect("taken");
                stream.shutdown().await.expect("it is open");
                let mut answer = Vec::new();
                let _ = stream.read_to_end(&mut answer).await;
                assert_eq!((answer.len(), mirror.refused(Refused::Torn)), (0, before + 1), "{len}");
            }
        }
        assert_eq!(mirror.told(BALANCER, V1).await, "192.0.2.7");
    });
}

const V1_BEGUN: &[u8] = b"PROXY TCP4 ";

#[test]
fn a_header_that_does_not_come_is_not_waited_for() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let mirror = Mirror::start(None).await;
        for begun in [&b""[..], b"PROX", V1_BEGUN, &V2[..12], &V2[..20]] {
            let before = mirror.refused(Refused::Slow);
            let mut stream = mirror.connect(BALANCER).await;
            stream.write_all(begun).await.expect("taken");
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            assert_eq!((answer.len(), mirror.refused(Refused::Slow)), (0, before + 1));
        }
    });
}

#[test]
fn headers_that_hang_hold_up_nobody_and_are_bounded() {
    block_on(async {
        let mirror = Mirror::start(None).await;
        let mut hanging = Vec::new();
        while mirror.refused(Refused::TooMany) == 0 {
            hanging.push(mirror.connect(BALANCER).await);
            assert!(hanging.len() < 4 * ROOM, "they have no bound");
        }
        assert!(hanging.len() >= ROOM, "so many may wait");
        assert_eq!(mirror.told(STRANGER, b"").await, "127.0.0.3");
    });
}

#[test]
fn the_header_stands_before_tls() {
    let certificates = Certificates::new();
    block_on(async {
        let tls = Arc::new(Tls::new(certificates.files(false)).expect("sound"));
        let mirror = Mirror::start(Some(tls)).await;
        let roots = catraca_tls::roots(&certificates.path("ca")).expect("authorities");
        let connector = tokio_rustls::TlsConnector::from(Arc::new(catraca_tls::client(&roots)));
        for (from, header, expected) in
            [(BALANCER, V2, "192.0.2.7"), (BALANCER, V1, "192.0.2.7"), (STRANGER, b"", "127.0.0.3")]
        {
            let mut stream = mirror.connect(from).await;
            stream.write_all(header).await.expect("taken");
            let name = "localhost".try_into().expect("a name");
            let mut stream = connector.connect(name, stream).await.expect("hands are shaken");
            stream.write_all(REQUEST).await.expect("taken");
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer).await;
            assert!(answer.ends_with(&format!("\r\n\r\n{expected}")), "{answer}");
        }
        assert_eq!(mirror.answer(STRANGER, &[V1, REQUEST]).await, "");
        assert_eq!(mirror.refused(Refused::Stranger), 1);
    });
}

#[test]
fn who_believes_nobody_looks_for_no_header() {
    assert!(Proxies::new(Networks::default(), Metrics::new(false).refusals()).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// In whatever pieces a header comes, what stands behind it is HTTP's.
    #[test]
    fn pieces_of_a_header_come_to_the_same(cuts in prop::collection::vec(0_usize..600, 0..6),
        source in any::<([u8; 16], u16)>(), tlv in prop::collection::vec(any::<u8>(), 0..400)) {
        let source = SocketAddr::from(source);
        let header = named(&source.to_string(), &[Tlv::Custom(0xe0, tlv.into())]);
        let bytes = [&header, REQUEST].concat();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        let answer = block_on(async { Mirror::start(None).await.answer(BALANCER, &pieces).await });
        let expected = format!("\r\n\r\n{}", source.ip().to_canonical());
        prop_assert!(answer.ends_with(&expected), "{}", answer);
    }

    /// Whatever a balancer sends, its connection ends or is served, and the next one is taken.
    #[test]
    fn nonsense_of_a_balancer_stops_nothing(begins in 0_usize..3,
        rest in prop::collection::vec(any::<u8>(), 0..300)) {
        let begins = [&b""[..], V1_BEGUN, &V2[..14]][begins];
        let next = block_on(async {
            let mirror = Mirror::start(None).await;
            let mut stream = mirror.connect(BALANCER).await;
            let _ = stream.write_all(&[begins, &rest].concat()).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
            mirror.told(BALANCER, V1).await
        });
        prop_assert_eq!(next, "192.0.2.7");
    }
}
