//! Target for sequences of inputs to a call.

use std::time::{Duration, Instant};

use call::{
    Action, Call, Cause, Collect, Connection, DialAttempt, Input, Keypress, PhoneNumber, Route,
    Screening, Side, Verdict,
};

/// Maximum number of inputs per call.
const MAX_INPUTS: usize = 200;

fn numbers(count: u8) -> Vec<PhoneNumber> {
    (0..count % 4)
        .filter_map(|last| PhoneNumber::parse(&format!("+91990000000{last}")).ok())
        .collect()
}

fn route(octet: u8) -> Route {
    match octet % 8 {
        0 => Route::UnknownNumber,
        1 => Route::NotInUse,
        2 => Route::Refuse(Cause::Overloaded),
        _ => Route::Collect(Collect {
            pin_length: 4 + octet % 5,
            max_attempts: 1 + octet % 10,
            ring_timeout: Duration::from_secs(30),
            max_call_duration: Duration::from_secs(60),
            parallel: octet & 0x10 != 0,
            screening: [Screening::None, Screening::Whisper, Screening::Key]
                .into_iter()
                .cycle()
                .nth((octet >> 5).into())
                .unwrap_or(Screening::None),
            announce_recording: octet & 0x20 != 0,
            warning: (octet & 0x40 != 0).then_some(Duration::from_secs(10)),
        }),
    }
}

fn key(octet: u8) -> Option<Keypress> {
    b"0123456789*#ABCD"
        .get(usize::from(octet % 16))
        .and_then(|key| Keypress::new(char::from(*key)))
}

/// Converts an operation and its operand to an input.
fn input(operation: u8, operand: u8) -> Option<Input> {
    let attempt = DialAttempt((operand % 5).into());
    let cause = [
        Cause::Busy,
        Cause::NoAnswer,
        Cause::MediaLost,
        Cause::NotFound,
    ];
    let cause = cause.get(usize::from(operand % 4)).copied()?;
    Some(match operation % 13 {
        0 => Input::Routed(route(operand)),
        1..=3 => Input::Key(key(operand)?),
        4 => Input::CalleeKey(attempt, key(operand >> 3)?),
        5 => Input::PlaybackFinished((operand % 16).into()),
        6 => Input::PinChecked(Verdict::Refused),
        7 => Input::PinChecked(Verdict::Accepted(Connection {
            dial: numbers(operand),
            record: operand & 4 != 0,
        })),
        8 => Input::Ringing(attempt),
        9 => Input::Answered(attempt),
        10 => Input::Failed(attempt, cause),
        11 if operand < 16 => Input::HungUp(
            if operand & 1 == 0 {
                Side::Caller
            } else {
                Side::Callee
            },
            cause,
        ),
        12 if operand < 8 => Input::EndRequested,
        12 if operand < 16 => Input::StoreFailed,
        12 if operand < 24 => Input::Confirmed,
        _ => Input::Elapsed,
    })
}

/// Three octets per input: operation, operand, and the seconds before it. No number is dialled and
/// no call is bridged before a correct PIN. A call ends once and has no actions after its end.
pub(crate) fn operations(octets: &[u8]) {
    let mut now = Instant::now();
    let mut call = Call::new(now);
    let (mut pin_accepted, mut checking, mut finished) = (false, false, 0);
    let operations =
        octets
            .chunks_exact(3)
            .take(MAX_INPUTS)
            .filter_map(|operation| match operation {
                [operation, operand, seconds] => Some((input(*operation, *operand)?, *seconds)),
                _ => None,
            });
    let end = [
        (Input::HungUp(Side::Caller, Cause::Normal), 0),
        (Input::Elapsed, 0),
    ];
    for (input, seconds) in operations.chain(end) {
        now += Duration::from_secs((seconds % 40).into());
        pin_accepted |= checking && matches!(input, Input::PinChecked(Verdict::Accepted(_)));
        let was_over = call.is_over();
        // Most callers acknowledge the answer at once.
        let confirms = matches!(input, Input::Routed(_)) && seconds % 8 != 7;
        call.handle(input, now);
        if confirms {
            call.handle(Input::Confirmed, now);
        }
        while let Some(action) = call.poll() {
            assert!(!was_over, "action after the end: {action:?}");
            assert!(
                pin_accepted
                    || !matches!(
                        action,
                        Action::Dial(..) | Action::Bridge(_) | Action::Record
                    ),
                "{action:?}"
            );
            checking |= matches!(action, Action::CheckPin(_));
            finished += usize::from(matches!(action, Action::Finish(_)));
        }
    }
    assert!(call.is_over() && finished == 1, "finished {finished} times");
}
