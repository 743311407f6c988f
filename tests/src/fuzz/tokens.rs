//! Tokens of a fuzzed session: who has which, what is sent of them, and the part of the model that knows AUTH.

use catraca_core::shard::access::{Access, Granted, KnownClient, Permissions, credential_hash};
use catraca_core::shard::messages::{Peer, Refusal};
use catraca_wire::frame::{
    AuthFrame, ErrorCode, FLAG_AUTH, FrameKind, HelloFrame, MAX_TOKEN_LEN, TOKEN_PART_LEN, view,
};

/// Lengths of tokens that are sent: around a part, and the longest.
const LENGTHS: [usize; 6] = [1, 65, TOKEN_PART_LEN, TOKEN_PART_LEN + 1, 1_000, MAX_TOKEN_LEN];
/// Longer than any input lasts.
const LIFETIME_NS: u64 = 3_600_000_000_000;

/// Where a session comes from.
pub(super) const PEER: Peer = Peer { remote: [0; 16], certificate: [1; 32] };

/// One client that its certificate is enough for, and one that comes by tokens.
pub(super) fn access() -> Access {
    let mut access = Access::default();
    let all = KnownClient { permissions: Permissions::ALL, ..KnownClient::default() };
    assert!(access.add(b"", KnownClient { certificate: Some(PEER.certificate), ..all }));
    assert!(access.add(b"", KnownClient { tokens: Some(credential_hash(b"bank")), ..all }));
    access
}

/// A HELLO whose token follows.
pub(super) fn announcing(mut hello: HelloFrame) -> HelloFrame {
    hello.header.flags = FLAG_AUTH.into();
    hello
}

/// All parts of a token.
pub(super) fn frames(choice: u8, correlation: u64) -> Vec<u8> {
    let token = vec![b'a' + choice / 8 % 2; LENGTHS[usize::from(choice) % LENGTHS.len()]];
    let frames = AuthFrame::of_token(&token, correlation).expect("it has a length");
    frames.flat_map(|frame| bytemuck::bytes_of(&frame).to_vec()).collect()
}

fn is_good(first: u8) -> bool {
    !first.is_multiple_of(2)
}

/// What the control thread says of a token.
pub(super) fn came(token: &[u8], now_ns: u64) -> Result<Granted, Refusal> {
    if !is_good(token[0]) {
        return Err(Refusal::new(ErrorCode::Unauthenticated, "it is even"));
    }
    let (permissions, certificate) = (Permissions::ALL, None);
    let expires_at_ns = now_ns + LIFETIME_NS;
    let client = credential_hash(b"bank");
    Ok(Granted { client, permissions, certificate, expires_at_ns, subject: [0; 64] })
}

/// What a client must know of AUTH.
#[derive(Debug, Default)]
pub(super) struct TokenModel {
    takes_tokens: bool,
    /// The correlation of the HELLO that waits for its token.
    pub announced: Option<u64>,
    /// Bytes of AUTH frames so far.
    pub taken: usize,
    /// A token came while another one may be checked still, which ends the connection if it is.
    pub may_end: bool,
    gathered: usize,
    token_len: u16,
    first: u8,
    was_asked: bool,
}

impl TokenModel {
    /// Of a server that takes tokens of an issuer, or does not.
    pub fn new(takes_tokens: bool) -> Self {
        Self { takes_tokens, ..Self::default() }
    }

    /// Whether a frame of this kind may come now, as far as tokens say.
    pub fn lets_through(&self, kind: Option<FrameKind>) -> bool {
        self.announced.is_none() || kind == Some(FrameKind::Auth)
    }

    /// Takes a whole AUTH; gives what is owed for it, each to HELLO or not and with its correlation, or `None` where it
    /// ends the connection.
    pub fn take(&mut self, whole: &[u8], correlation: u64) -> Option<Vec<(bool, u64)>> {
        let frame = view::<AuthFrame>(whole)?;
        self.taken += whole.len();
        self.may_end |= self.was_asked;
        if frame.reserved != [0; 4] {
            return None;
        }
        let part = frame.part_behind(self.gathered).ok()?;
        if self.gathered == 0 {
            (self.token_len, self.first) = (frame.token_len.to_native(), part[0]);
        }
        if frame.token_len != self.token_len {
            return None;
        }
        self.gathered += part.len();
        if self.gathered < usize::from(self.token_len) {
            return Some(Vec::new());
        }
        self.gathered = 0;
        match self.announced {
            None => {
                self.was_asked = self.takes_tokens;
                Some(vec![(false, correlation)])
            }
            Some(hello) if self.takes_tokens && is_good(self.first) => {
                self.announced = None;
                Some(vec![(true, hello), (false, correlation)])
            }
            Some(_) => None,
        }
    }
}
