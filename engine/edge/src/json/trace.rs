//! `traceparent`, as W3C Trace Context has it (Level 1, section 3.2).

/// Length of a version 00 header: version, trace id, parent id, flags, and three dashes.
const LEN: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;

/// The trace id of a `traceparent`; `None` for a header that is none, which the standard wants ignored.
pub fn trace_id(header: &str) -> Option<[u8; 16]> {
    let version = header.get(..2)?;
    // Later versions may add something behind another dash.
    let is_longer = header.len() > LEN && version != "00" && header.as_bytes()[LEN] == b'-';
    if !(header.len() == LEN || is_longer) || version == "ff" {
        return None;
    }
    let mut parts = header.splitn(5, '-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (parent, flags) = (parts.next()?, parts.next()?);
    let lower = |text: &str, len: usize| {
        text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_sound = lower(version, 2) && lower(trace, 32) && lower(parent, 16) && lower(flags, 2);
    let mut id = [0; 16];
    hex::decode_to_slice(trace, &mut id).ok()?;
    let is_some = id != [0; 16] && parent.bytes().any(|byte| byte != b'0');
    (is_sound && is_some).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sound_header_gives_a_trace_id() {
        let sound = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let id = trace_id(sound).expect("sound");
        assert_eq!(hex::encode(id), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace_id(&format!("cc{}-what-comes", &sound[2..])), Some(id));
        for bad in [
            "",
            "00",
            "é",
            &sound[1..],
            &format!("{sound}-"),
            &format!("ff{}", &sound[2..]),
            &format!("cc{}x", &sound[2..]),
            &sound.to_uppercase(),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
        ] {
            assert_eq!(trace_id(bad), None, "{bad:?}");
        }
    }
}
