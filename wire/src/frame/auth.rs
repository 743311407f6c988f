//! Tokens that are longer than a HELLO has room for: AUTH and AUTH_STATE.

use super::layouts::frame;
use super::{FixedFrame, FrameKind, Header, HeaderFields, layout};
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

/// Longest token, bytes: what issuers and servers over HTTP keep to as well.
pub const MAX_TOKEN_LEN: usize = 8 * 1024;
/// Bytes of a token in one AUTH, where so many are left.
pub const TOKEN_PART_LEN: usize = 488;

frame! {
    /// A part of a token. Parts come in order, and all but the last are full; the last one is answered.
    AuthRequest as AuthFrame, Auth, 512; {
        /// Bytes of the whole token, 1 to [`MAX_TOKEN_LEN`].
        token_len: u16,
        /// Bytes of the token in the parts before.
        offset: u16,
        /// 0.
        reserved: [u8; 4],
        /// The next bytes of the token; zeros behind its end.
        part: [u8; TOKEN_PART_LEN],
    }
}

frame! {
    /// The token counts.
    AuthStateReply as AuthStateFrame, AuthState, 32; {
        /// Until when it does, nanoseconds since 1970 UTC: then the server closes the connection; 0 for no end.
        expires_at_ns: u64,
        /// 0.
        reserved: [u8; 8],
    }
}

impl AuthFrame {
    /// The frames that a token is sent in; `None` where it is empty or too long.
    pub fn of_token(token: &[u8], correlation: u64) -> Option<impl Iterator<Item = Self> + '_> {
        if !(1..=MAX_TOKEN_LEN).contains(&token.len()) {
            return None;
        }
        let parts = token.chunks(TOKEN_PART_LEN).enumerate();
        Some(parts.map(move |(number, part)| {
            let mut frame = Self::empty(correlation);
            frame.token_len = (token.len() as u16).into();
            frame.offset = ((number * TOKEN_PART_LEN) as u16).into();
            frame.part[..part.len()].copy_from_slice(part);
            frame
        }))
    }

    /// The bytes of the token in it, where it is the part behind `gathered` bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn part_behind(&self, gathered: usize) -> Result<&[u8], &'static str> {
        let (len, offset) =
            (usize::from(self.token_len.to_native()), usize::from(self.offset.to_native()));
        if !(1..=MAX_TOKEN_LEN).contains(&len) {
            return Err("AUTH: token_len is not 1 to 8192");
        }
        if offset != gathered || offset >= len {
            return Err("AUTH: offset is not where the part before ended");
        }
        let (part, rest) = self.part.split_at((len - offset).min(TOKEN_PART_LEN));
        if rest.iter().any(|&byte| byte != 0) {
            return Err("AUTH: bytes behind the token are not 0");
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_same_after_its_parts() {
        for len in [1, 64, 487, 488, 489, 976, 1_000, MAX_TOKEN_LEN] {
            let token: Vec<u8> = (0..len).map(|at| at as u8 | 1).collect();
            let mut gathered = Vec::new();
            for frame in AuthFrame::of_token(&token, 7).expect("it has a length") {
                assert_eq!(usize::from(frame.token_len.to_native()), len);
                assert!(frame.part_behind(gathered.len() + 1).is_err());
                let part = frame.part_behind(gathered.len()).expect("it follows");
                gathered.extend_from_slice(part);
            }
            assert_eq!(gathered, token);
        }
        for len in [0, MAX_TOKEN_LEN + 1] {
            assert!(AuthFrame::of_token(&vec![b'a'; len], 7).is_none(), "{len}");
        }
    }

    #[test]
    fn a_part_that_can_not_be_one_is_refused() {
        let sound = AuthFrame::of_token(&[b'a'; 600], 7).expect("a length").next();
        let sound = sound.expect("a part");
        for (len, offset) in [(0, 0), (8_193, 0), (u16::MAX, 0), (600, 1), (600, 600), (488, 488)] {
            let bad = AuthFrame { token_len: len.into(), offset: offset.into(), ..sound };
            assert!(bad.part_behind(0).is_err(), "{len} {offset}");
        }
        let mut behind = AuthFrame { token_len: 10.into(), ..sound };
        assert!(behind.part_behind(0).is_err());
        behind.part[10..].fill(0);
        assert_eq!(behind.part_behind(0), Ok(&[b'a'; 10][..]));
    }
}
