//! One header of a record, by its name. The library's own reading of all of them ends the process over a name that is not
//! UTF-8, and anybody who may write to a topic can send one.

use rdkafka::bindings::{rd_kafka_header_get_last, rd_kafka_message_headers};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::{RDKafkaHeaders, RDKafkaRespErr};
use std::ffi::{CStr, c_void};
use std::ptr;
use std::slice;

/// The value of the last header with this name; none where there is none, or it has no value.
pub(super) fn last<'m>(record: &'m BorrowedMessage<'_>, name: &CStr) -> Option<&'m [u8]> {
    let mut headers: *mut RDKafkaHeaders = ptr::null_mut();
    // SAFETY: the record is alive, and so is its message; what is written is a pointer into it, or nothing.
    let said = unsafe { rd_kafka_message_headers(record.ptr(), &mut headers) };
    if said != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return None;
    }
    // SAFETY: they are headers, and live as long as the record, which is borrowed for 'm.
    unsafe { last_of(headers, name) }
}

/// The same out of headers.
///
/// # Safety
/// They are headers of the library, and live for 'm without a change.
unsafe fn last_of<'m>(headers: *const RDKafkaHeaders, name: &CStr) -> Option<&'m [u8]> {
    let (mut value, mut len): (*const c_void, usize) = (ptr::null(), 0);
    // SAFETY: the caller's promise; the name ends with a zero; value and length are written where there is such a header.
    let said = unsafe { rd_kafka_header_get_last(headers, name.as_ptr(), &mut value, &mut len) };
    if said != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || value.is_null() {
        return None;
    }
    // SAFETY: the library says that so many bytes lie there, and they live with the headers.
    Some(unsafe { slice::from_raw_parts(value.cast::<u8>(), len) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::bindings::{rd_kafka_header_add, rd_kafka_headers_destroy, rd_kafka_headers_new};

    #[test]
    fn a_name_that_is_no_text_harms_nobody() {
        let all: [(&[u8], &[u8]); 4] =
            [(b"x-\xe9tat", b"1"), (b"content-type", b"a"), (b"content-type", b"\xff"), (b"", b"")];
        // SAFETY: the headers are made here, are read while they live, and are destroyed once, in the end.
        unsafe {
            let headers = rd_kafka_headers_new(4);
            for (name, value) in all {
                let (name, value) = ((name.as_ptr(), name.len()), (value.as_ptr(), value.len()));
                let name_len = isize::try_from(name.1).expect("short");
                let value_len = isize::try_from(value.1).expect("short");
                rd_kafka_header_add(headers, name.0.cast(), name_len, value.0.cast(), value_len);
            }
            assert_eq!(last_of(headers, c"content-type"), Some(&b"\xff"[..]), "the last one");
            assert_eq!(last_of(headers, c"traceparent"), None);
            rd_kafka_headers_destroy(headers);
        }
    }
}
