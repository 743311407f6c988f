//! Tests of PROXY headers as bytes. What a door makes of them is tested where the doors are.

use super::proxied::{Header, MAX_HEADER_LEN, NetworkFault, Networks, Refused, is_header, read};
use proptest::prelude::*;
use proxy_header::{ProxiedAddress, ProxyHeader, SslInfo, Tlv};
use std::net::{IpAddr, SocketAddr};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 7400\r\n";
/// A stream over IPv4, 12 bytes of addresses.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x01\x0f\xa0\x1c\xe8";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn address(text: &str) -> Option<IpAddr> {
    (!text.is_empty()).then(|| text.parse().expect("an address"))
}

/// A header of version 2 with this command, this family, and this behind its length.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).expect("it has a length").to_be_bytes();
    [&V2[..12], &[command, family], &len, rest].concat()
}

fn named(source: SocketAddr, tlvs: &[Tlv<'static>]) -> Vec<u8> {
    let named = ProxiedAddress::stream(source, SocketAddr::new(source.ip(), 7400));
    let mut bytes = Vec::new();
    let header = ProxyHeader::with_tlvs(Some(named), tlvs.iter().cloned());
    header.encode_v2(&mut bytes).expect("it fits");
    bytes
}

/// Sound headers, and whom each names.
fn sound() -> Vec<(Vec<u8>, &'static str)> {
    let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let tls = Tlv::Ssl(SslInfo::new(true, false, false, 0));
    let some = [Tlv::Alpn(b"catraca"[..].into()), Tlv::UniqueId((&[7; 64]).into()), tls];
    // Of a network namespace, with a length that says more than there is.
    let torn_tlv = [&V2[16..], &[0x30, 0xff, 0xff]].concat();
    vec![
        (V1.to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4000 7400\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY TCP6 ::ffff:192.0.2.8 ::1 4000 7400\r\n".to_vec(), "192.0.2.8"),
        (b"PROXY UNKNOWN\r\n".to_vec(), ""),
        (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec(), ""),
        (V2.to_vec(), "192.0.2.7"),
        (named(at("[2001:db8::9]:4000"), &[]), "2001:db8::9"),
        (named(at("[::ffff:192.0.2.8]:4000"), &[]), "192.0.2.8"),
        (named(at("192.0.2.9:4000"), &some), "192.0.2.9"),
        (named(at("192.0.2.9:4000"), &[Tlv::Noop(4_096 - 12 - 3)]), "192.0.2.9"),
        // What stands behind the addresses is skipped unread.
        (v2(0x21, 0x11, &torn_tlv), "192.0.2.7"),
        (LOCAL.to_vec(), ""),
        // A LOCAL header's addresses are nobody's.
        (v2(0x20, 0x11, &V2[16..]), ""),
        (v2(0x21, 0x00, b""), ""),
        (v2(0x21, 0x00, b"whatever"), ""),
        (v2(0x21, 0x31, &[b'/'; 216]), ""),
    ]
}

#[test]
fn headers_of_both_versions_name_the_source() {
    for (header, expected) in sound() {
        let expected = Header { len: header.len(), source: address(expected) };
        assert_eq!(read(&header), Ok(Some(expected)), "{header:?}");
        // What follows is no part of it.
        for more in [&b"\n"[..], b"PROXY ", V2, &[0; 5_000]] {
            assert_eq!(read(&[&header, more].concat()), Ok(Some(expected)), "{header:?} {more:?}");
        }
        assert!(is_header(&header));
    }
    assert_eq!(named(([192, 0, 2, 9], 4000).into(), &[Tlv::Noop(4_081)]).len(), MAX_HEADER_LEN);
}

#[test]
fn a_header_that_is_cut_anywhere_is_waited_for() {
    for (header, _) in sound() {
        for len in 0..header.len() {
            assert_eq!(read(&header[..len]), Ok(None), "{len} of {header:?}");
        }
    }
}

#[test]
fn what_is_no_header_is_told_and_so_is_one_that_is_too_long() {
    let with_len = |len: u16| [&V2[..14], &len.to_be_bytes()].concat();
    let endless = [b"PROXY TCP4 ", &[b'1'; 96][..]].concat();
    let cases: [(&[u8], Refused); 20] = [
        (b"GET / HTTP/1.1\r\n", Refused::Malformed),
        // The length of a frame, and a record of TLS.
        (&[128, 0, 0, 0], Refused::Malformed),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc", Refused::Malformed),
        (b"X", Refused::Malformed),
        (b"PROXX", Refused::Malformed),
        (b"proxy ", Refused::Malformed),
        (b"\r\n\r\n\0\r\nQUIT\r", Refused::Malformed),
        (b"PROXY \n", Refused::Malformed),
        (b"PROXY TCP4 999.0.2.7 192.0.2.1 4000 80\r\n", Refused::Malformed),
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 80\n", Refused::Malformed),
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 65536\r\n", Refused::Malformed),
        (b"PROXY TCP4 2001:db8::7 2001:db8::1 4000 80\r\n", Refused::Malformed),
        (b"PROXY TCP5 192.0.2.7 192.0.2.1 4000 80\r\n", Refused::Malformed),
        // Another version, another command, another family, a datagram, addresses that do not fit.
        (&v2(0x31, 0x11, &V2[16..]), Refused::Malformed),
        (&v2(0x22, 0x11, &V2[16..]), Refused::Malformed),
        (&v2(0x21, 0x41, &V2[16..]), Refused::Malformed),
        (&v2(0x21, 0x12, &V2[16..]), Refused::Malformed),
        (&v2(0x21, 0x11, &V2[16..27]), Refused::Malformed),
        (&with_len(4_097), Refused::Oversized),
        (&endless, Refused::Oversized),
    ];
    for (bytes, expected) in cases {
        assert_eq!(read(bytes), Err(expected), "{bytes:?}");
    }
    assert_eq!(read(&with_len(u16::MAX)), Err(Refused::Oversized));
    assert_eq!(read(&with_len(4_096)), Ok(None));
    assert_eq!(read(&endless[..106]), Ok(None));
    for other in [&b""[..], b"PROXY", b"GET / HTTP/1.1", &V2[..11]] {
        assert!(!is_header(other), "{other:?}");
    }
}

#[test]
fn networks_are_those_of_balancers_and_not_everybody() {
    let parse = |text: &str| Networks::parse(&[text.to_owned()]);
    for sound in ["127.0.0.1", "10.0.0.0/24", "::1", "2001:db8::/32", "10.0.0.1/32"] {
        assert!(!parse(sound).expect(sound).is_empty());
    }
    for (bad, why) in [
        ("", "an address or a network"),
        ("localhost", "an address or a network"),
        ("10.0.0.0/33", "an address or a network"),
        ("10.0.0.1:80", "an address or a network"),
        ("0.0.0.0/0", "everybody"),
        ("::/0", "everybody"),
        ("10.0.0.1/24", "bits behind"),
        ("::ffff:10.0.0.1", "as IPv4"),
    ] {
        let told = parse(bad).expect_err(bad).to_string();
        assert!(told.contains(why) && told.contains(&format!("{bad:?}")), "{told}");
    }
    let many = Networks::parse(&vec!["10.0.0.1".to_owned(); 65]).expect_err("many");
    assert_eq!(many, NetworkFault::TooMany);
    assert!(many.to_string().contains("64"));
    let networks = parse("10.0.0.0/24").expect("sound");
    let believes = |text: &str| networks.believes(text.parse().expect("an address"));
    assert!(believes("10.0.0.255") && believes("::ffff:10.0.0.1"));
    assert!(!believes("10.0.1.0") && !believes("::1"));
    assert!(!Networks::default().believes([10, 0, 0, 1].into()));
}

/// What comes of bytes that are held until they are enough, as a door does it.
fn in_pieces(bytes: &[u8], cuts: &[usize]) -> Result<Option<Header>, Refused> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let came = ends.into_iter().map(|end| read(&bytes[..end]));
    came.into_iter().find(|came| *came != Ok(None)).unwrap_or(Ok(None))
}

proptest! {
    #[test]
    fn bytes_in_whatever_pieces_come_to_the_same(begins in 0_usize..4,
        rest in prop::collection::vec(any::<u8>(), 0..400),
        cuts in prop::collection::vec(any::<usize>(), 0..6)) {
        let begins = [&b""[..], b"PROXY TCP4 ", &V2[..14], V2][begins];
        let bytes = [begins, &rest].concat();
        let expected = read(&bytes);
        prop_assert_eq!(in_pieces(&bytes, &cuts), expected);
        if let Ok(Some(header)) = expected {
            prop_assert!(header.len <= bytes.len() && header.len <= MAX_HEADER_LEN);
        }
    }

    #[test]
    fn so_do_lines_that_are_nearly_sound(line in "PROXY (TCP4|TCP6|UNKNOWN)?[ 0-9a-f.:]{0,60}\r?\n?.{0,9}",
        cuts in prop::collection::vec(any::<usize>(), 0..6)) {
        prop_assert_eq!(in_pieces(line.as_bytes(), &cuts), read(line.as_bytes()));
    }

    #[test]
    fn whoever_is_named_is_read(source in any::<([u8; 16], u16)>(), is_short in any::<bool>(),
        tlv in prop::collection::vec(any::<u8>(), 0..400), behind in prop::collection::vec(any::<u8>(), 0..40),
        cuts in prop::collection::vec(any::<usize>(), 0..6)) {
        let mut source = SocketAddr::from(source);
        if is_short && let IpAddr::V6(ip) = source.ip() {
            let [a, b, c, d, ..] = ip.octets();
            source.set_ip([a, b, c, d].into());
        }
        let header = named(source, &[Tlv::Custom(0xe0, tlv.into())]);
        let expected = Header { len: header.len(), source: Some(source.ip().to_canonical()) };
        let bytes = [&header[..], &behind].concat();
        prop_assert_eq!(in_pieces(&bytes, &cuts), Ok(Some(expected)));
    }
}
