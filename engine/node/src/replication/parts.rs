//! Files from the primary to its standby, in pieces: lists, and where a stream begins.

use super::connection::{ConnectionFailure, Writer};
use catraca_wire::replication::{FilePartPrefaceFields, LinkHeadFields, LinkKind, MAX_PART_LEN};
use std::io::Read;

/// Sends a file of this length.
pub(super) fn send(
    writer: &Writer,
    file: &mut impl Read,
    file_len: u64,
) -> Result<(), ConnectionFailure> {
    let mut part = vec![0; MAX_PART_LEN];
    let mut offset = 0;
    while offset < file_len {
        let len = file.read(&mut part)?;
        if len == 0 {
            return Err(ConnectionFailure::Closed);
        }
        let mut preface = FilePartPrefaceFields::empty(0, 0);
        preface.head =
            LinkHeadFields::new(LinkKind::FilePart, size_of::<FilePartPrefaceFields>() + len, 0, 0);
        (preface.file_len, preface.offset) = (file_len.into(), offset.into());
        writer.send_parts(bytemuck::bytes_of(&preface), &part[..len])?;
        offset += len as u64;
    }
    Ok(())
}

/// A file that comes in pieces.
pub(super) struct Parts {
    most_len: u64,
    have_len: u64,
    is_whole: bool,
}

impl Parts {
    /// Of a file of at most this length.
    pub fn new(most_len: u64) -> Self {
        Self { most_len, have_len: 0, is_whole: false }
    }

    /// Whether the last piece has come.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Bytes that have come.
    pub fn have_len(&self) -> u64 {
        self.have_len
    }

    /// The bytes of the next piece, out of a frame.
    pub fn take<'f>(
        &mut self,
        kind: LinkKind,
        frame: &'f [u8],
    ) -> Result<&'f [u8], ConnectionFailure> {
        if kind != LinkKind::FilePart {
            return Err(ConnectionFailure::Unexpected(kind));
        }
        let (preface, bytes) = frame.split_at(size_of::<FilePartPrefaceFields>());
        let preface: &FilePartPrefaceFields = bytemuck::from_bytes(preface);
        let file_len = preface.file_len.to_native();
        let behind = self.have_len + bytes.len() as u64;
        if preface.offset.to_native() != self.have_len
            || file_len > self.most_len
            || behind > file_len
        {
            return Err(ConnectionFailure::Fault(
                "the parts of a file do not fit together".to_owned(),
            ));
        }
        (self.have_len, self.is_whole) = (behind, behind == file_len);
        Ok(bytes)
    }
}
