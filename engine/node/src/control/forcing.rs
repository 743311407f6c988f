//! Breakers of validators that a person forces: what is asked is checked and logged, and then brought to where
//! validators are asked.
//!
//! Between two changes of the policy, so that the validator is one of the policy in force until it is done.

use super::answer::Asker;
use super::audit::{self, States};
use super::changes::Changing;
use super::list_request::Refused;
use super::policies::Policies;
use crate::wall_clock::wall_ns;
use catraca_core::shard::messages::ControlRecord;
use catraca_core::validate::{BreakerState, Forced};
use catraca_wire::extension::ForcedBreaker;
use catraca_wire::frame::{Breaker, BreakerForce, ErrorCode, ValidatorFrame, ValidatorStateFrame};
use catraca_wire::list::{
    Author, ListName, ListReason, MAX_AUTHOR_LEN, MAX_LIST_NAME_LEN, MAX_LIST_REASON_LEN,
};

/// Carries a request out; gives the frame that answers it.
pub(super) async fn request(
    changing: &mut Changing,
    policies: &Policies,
    asker: Asker,
    frame: &ValidatorFrame,
) -> Result<Vec<u8>, Refused> {
    let validators = policies.in_force_rules().validators.iter();
    let known: Vec<&str> = validators.map(|validator| validator.id.as_str()).collect();
    let forced = read(frame, &known, wall_ns())?;
    let record =
        ControlRecord { head: forced.to_record(), extension: forced.to_section().to_vec() };
    changing.about(audit::target(forced.validator.as_str()));
    changing.log(Box::new(record), States::default()).await?;
    let of_asker = match forced.force {
        BreakerForce::Open => Some(Forced::Open),
        BreakerForce::Closed => Some(Forced::Closed),
        BreakerForce::Auto => None,
    };
    let validators = &changing.control.validators;
    let stands = validators.force(forced.validator.as_str(), of_asker).await;
    let (before, now) = stands.ok_or_else(|| {
        Refused(ErrorCode::ShuttingDown, "it is recorded and not done: the node is stopping, or another policy came between; see `catraca validators`, and say it again".to_owned())
    })?;
    tell(asker, &forced, before, now);
    let mut state = ValidatorStateFrame::empty(asker.correlation);
    state.changed = u8::from(before != now);
    (state.before, state.now) = (breaker(before).to_wire(), breaker(now).to_wire());
    state.forced_at_ns = forced.forced_at_ns.into();
    Ok(bytemuck::bytes_of(&state).to_vec())
}

/// In the node's own log: what stays until a person takes it back stands out.
fn tell(asker: Asker, forced: &ForcedBreaker, before: BreakerState, now: BreakerState) {
    let (before, now) = (before.name(), now.name());
    let (author, reason) = (forced.author.as_str(), forced.reason.as_str());
    let (shard, connection) = (asker.shard, asker.connection.slot);
    let validator = forced.validator.as_str();
    if forced.force == BreakerForce::Auto {
        tracing::info!(
            validator,
            before,
            now,
            author,
            reason,
            shard,
            connection,
            "the breaker of a validator is left to itself by command"
        );
    } else {
        tracing::warn!(
            validator,
            before,
            now,
            author,
            reason,
            shard,
            connection,
            "the breaker of a validator is forced by command, and stays so until it is left to itself"
        );
    }
}

/// A request that makes sense, of a validator that is known, at this time of the server's clock.
fn read(frame: &ValidatorFrame, known: &[&str], now_ns: u64) -> Result<ForcedBreaker, Refused> {
    let field = |what: &str, most: usize| {
        let why = format!("{what}: 1 to {most} bytes, all visible, no space at either end");
        Refused(ErrorCode::BadField, why)
    };
    let force = BreakerForce::from_wire(frame.force)
        .ok_or_else(|| Refused(ErrorCode::BadField, "force: unknown code".to_owned()))?;
    let validator = ListName::from_wire(&frame.validator).ok_or_else(|| {
        let why = format!("validator: 1 to {MAX_LIST_NAME_LEN} of a to z, 0 to 9 and -");
        Refused(ErrorCode::BadField, why)
    })?;
    let author = Author::from_wire(&frame.author).filter(|author| !author.is_empty());
    let author = author.ok_or_else(|| field("author", MAX_AUTHOR_LEN))?;
    let reason = ListReason::from_wire(&frame.reason).filter(|reason| !reason.is_empty());
    let reason = reason.ok_or_else(|| field("reason", MAX_LIST_REASON_LEN))?;
    if !known.contains(&validator.as_str()) {
        let why = match known {
            [] => format!("no validator {validator}: the policy in force asks none"),
            _ => format!("no validator {validator}: the policy in force asks {}", known.join(", ")),
        };
        return Err(Refused(ErrorCode::Failed, why));
    }
    Ok(ForcedBreaker { validator, force, forced_at_ns: now_ns, author, reason })
}

fn breaker(state: BreakerState) -> Breaker {
    match state {
        BreakerState::Closed => Breaker::Closed,
        BreakerState::Open => Breaker::Open,
        BreakerState::HalfOpen => Breaker::HalfOpen,
        BreakerState::ForcedOpen => Breaker::ForcedOpen,
        BreakerState::ForcedClosed => Breaker::ForcedClosed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::frame::{ValidatorRequest, fill};

    const NOW: u64 = 1_801_450_800_000_000_000;

    fn frame() -> ValidatorFrame {
        let request = ValidatorRequest::force(
            ListName::parse("cpf-status").expect("sound"),
            BreakerForce::Open,
            Author::parse("ana").expect("sound"),
            ListReason::parse("manutenção").expect("sound"),
        );
        ValidatorFrame::from(&request.expect("sound"))
    }

    #[test]
    fn a_request_is_of_a_validator_of_the_policy_in_force() {
        let forced = read(&frame(), &["device-risk", "cpf-status"], NOW).expect("sound");
        assert_eq!(forced.validator.as_str(), "cpf-status");
        assert_eq!((forced.force, forced.forced_at_ns), (BreakerForce::Open, NOW));
        assert_eq!((forced.author.as_str(), forced.reason.as_str()), ("ana", "manutenção"));
        for (known, says) in [(&["a", "b-2"][..], "asks a, b-2"), (&[], "asks none")] {
            let Err(Refused(code, why)) = read(&frame(), known, NOW) else { panic!("{known:?}") };
            assert_eq!(code, ErrorCode::Failed);
            assert!(why.contains("no validator cpf-status") && why.ends_with(says), "{why}");
        }
    }

    #[test]
    fn each_field_that_makes_no_sense_is_named() {
        let known = ["cpf-status"];
        type Change = fn(&mut ValidatorFrame);
        let wrong: [(Change, &str); 10] = [
            (|frame| frame.force = 0, "force"),
            (|frame| frame.force = 4, "force"),
            (|frame| frame.validator.fill(0), "validator"),
            (|frame| fill(&mut frame.validator, "CPF"), "validator"),
            (|frame| frame.validator[63] = b'x', "validator"),
            (|frame| frame.author.fill(0), "author"),
            (|frame| frame.author[0] = 0xff, "author"),
            (|frame| fill(&mut frame.author, " ana"), "author"),
            (|frame| frame.reason.fill(0), "reason"),
            (|frame| fill(&mut frame.reason, "a\nb"), "reason"),
        ];
        for (change, field) in wrong {
            let mut frame = frame();
            change(&mut frame);
            let Err(Refused(code, why)) = read(&frame, &known, NOW) else { panic!("{field}") };
            assert_eq!(code, ErrorCode::BadField);
            assert!(why.starts_with(field), "{why}");
        }
    }
}
