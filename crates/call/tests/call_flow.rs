//! Call flows in virtual time: inputs of the parties, and the actions of the call machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::time::{Duration, Instant};

use call::{
    Action, Call, CallCause, CallOutcome, CallType, Cause, Collect, Connection, DialAttempt,
    DialStatus, HangupBy, Input, Keypress, PhoneNumber, Prompt, Route, Screening, Side, Verdict,
};
use proptest::prelude::*;

/// Call with a clock that only the test advances.
struct SimulatedCall {
    machine: Call,
    now: Instant,
}

fn settings() -> Collect {
    Collect {
        pin_length: 4,
        max_attempts: 3,
        ring_timeout: Duration::from_secs(30),
        max_call_duration: Duration::from_secs(3600),
        parallel: false,
        screening: Screening::None,
        announce_recording: false,
        warning: None,
    }
}

fn number(last: u32) -> PhoneNumber {
    PhoneNumber::parse(&format!("+9199000000{last:02}")).unwrap()
}

fn accepted(numbers: &[u32]) -> Input {
    let dial = numbers.iter().map(|&last| number(last)).collect();
    Input::PinChecked(Verdict::Accepted(Connection {
        dial,
        record: false,
    }))
}

impl SimulatedCall {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            machine: Call::new(now),
            now,
        }
    }

    /// Creates an answered call that waits for digits while the prompt plays (playback 1).
    fn awaiting_pin(collect: Collect) -> Self {
        let mut call = Self::new();
        let actions = call.handle(Input::Routed(Route::Collect(collect)));
        assert_eq!(actions, [Action::Answer]);
        let actions = call.handle(Input::Confirmed);
        assert_eq!(actions, [Action::Play(Prompt::EnterPin, 1)]);
        call
    }

    /// Creates a call with a correct PIN that dials the given numbers.
    fn hunting(collect: Collect, numbers: &[u32]) -> Self {
        let mut call = Self::awaiting_pin(collect);
        call.press("1234");
        let actions = call.handle(accepted(numbers));
        assert_eq!(actions[0], Action::PlayRingback);
        call
    }

    fn handle(&mut self, input: Input) -> Vec<Action> {
        self.machine.handle(input, self.now);
        std::iter::from_fn(|| self.machine.poll()).collect()
    }

    fn press(&mut self, keys: &str) -> Vec<Action> {
        keys.chars()
            .flat_map(|key| self.handle(Input::Key(Keypress::new(key).unwrap())))
            .collect()
    }

    /// Advances the clock to the deadline.
    fn advance_to_deadline(&mut self) -> Vec<Action> {
        self.now = self.machine.deadline().expect("the call has no deadline");
        self.handle(Input::Elapsed)
    }

    fn refuse_pin(&mut self) -> Vec<Action> {
        self.handle(Input::PinChecked(Verdict::Refused))
    }
}

fn outcome(actions: &[Action]) -> CallOutcome {
    match actions.last() {
        Some(Action::Finish(outcome)) => *outcome,
        other => panic!("the call did not end: {other:?}"),
    }
}

fn checked_pin(actions: &[Action]) -> &str {
    match actions.last() {
        Some(Action::CheckPin(pin)) => pin.expose(),
        other => panic!("no PIN was checked: {other:?}"),
    }
}

#[test]
fn a_correct_pin_dials_the_other_side_and_the_answer_bridges_the_call() {
    let mut call = SimulatedCall::awaiting_pin(settings());
    let actions = call.press("1234");
    assert_eq!(actions[0], Action::StopPlaying);
    assert_eq!(checked_pin(&actions), "1234");
    let actions = call.handle(accepted(&[1]));
    assert_eq!(
        actions,
        [
            Action::PlayRingback,
            Action::Dial(DialAttempt(0), number(1))
        ]
    );
    assert_eq!(
        call.handle(Input::Ringing(DialAttempt(0))),
        [Action::ReportRinging(number(1))]
    );
    assert_eq!(call.handle(Input::Ringing(DialAttempt(0))), []);
    let actions = call.handle(Input::Answered(DialAttempt(0)));
    assert_eq!(
        actions,
        [
            Action::Bridge(DialAttempt(0)),
            Action::ReportAnswered(number(1))
        ]
    );
    call.now += Duration::from_secs(60);
    let actions = call.handle(Input::HungUp(Side::Caller, Cause::Normal));
    assert_eq!(actions[0], Action::HangUp(Side::Callee, Cause::Normal));
    let outcome = outcome(&actions);
    assert_eq!(outcome.call_type, CallType::Completed);
    assert_eq!(outcome.dial_status, Some(DialStatus::Completed));
    assert_eq!(
        (outcome.hangup_by, outcome.pin_attempts),
        (HangupBy::Caller, 1)
    );
    assert_eq!(
        outcome.ended_at - outcome.bridged_at.unwrap(),
        Duration::from_secs(60)
    );
}

#[test]
fn a_hang_up_by_the_callee_ends_the_call_of_the_caller() {
    let mut call = SimulatedCall::hunting(settings(), &[1]);
    call.handle(Input::Answered(DialAttempt(0)));
    let actions = call.handle(Input::HungUp(Side::Callee, Cause::Normal));
    assert_eq!(actions[0], Action::HangUp(Side::Caller, Cause::Normal));
    assert_eq!(outcome(&actions).hangup_by, HangupBy::Callee);
}

#[test]
fn the_last_attempt_can_succeed() {
    let mut call = SimulatedCall::awaiting_pin(settings());
    for playback in [2, 4] {
        call.press("0000");
        assert_eq!(
            call.refuse_pin(),
            [Action::Play(Prompt::WrongPin, playback)]
        );
        let actions = call.handle(Input::PlaybackFinished(playback));
        assert_eq!(actions, [Action::Play(Prompt::EnterPin, playback + 1)]);
    }
    call.press("1234");
    assert_eq!(call.handle(accepted(&[1])).len(), 2);
}

#[test]
fn the_maximum_of_wrong_attempts_ends_the_call() {
    let mut call = SimulatedCall::awaiting_pin(Collect {
        max_attempts: 1,
        ..settings()
    });
    call.press("0000");
    assert_eq!(call.refuse_pin(), [Action::Play(Prompt::Goodbye, 2)]);
    let actions = call.handle(Input::PlaybackFinished(2));
    assert_eq!(actions[0], Action::HangUp(Side::Caller, Cause::Declined));
    let outcome = outcome(&actions);
    assert_eq!(
        (outcome.call_type, outcome.dial_status),
        (CallType::CallAttempt, None)
    );
    assert_eq!(
        (outcome.pin_attempts, outcome.hangup_by),
        (1, HangupBy::System)
    );
}

#[test]
fn digits_beyond_the_block_are_discarded_until_the_next_prompt() {
    let mut call = SimulatedCall::awaiting_pin(settings());
    assert_eq!(checked_pin(&call.press("0000")), "0000");
    assert_eq!(call.press("12"), []);
    call.refuse_pin();
    assert_eq!(call.press("3"), []);
    call.handle(Input::PlaybackFinished(2));
    assert_eq!(checked_pin(&call.press("5678")), "5678");
}

#[test]
fn a_hash_completes_a_block_early_and_a_star_clears_it() {
    let mut call = SimulatedCall::awaiting_pin(settings());
    assert_eq!(checked_pin(&call.press("12#")), "12");
    let mut call = SimulatedCall::awaiting_pin(settings());
    assert_eq!(checked_pin(&call.press("99*1234")), "1234");
    let mut call = SimulatedCall::awaiting_pin(settings());
    assert_eq!(checked_pin(&call.press("#*#A1234")), "1234");
}

#[test]
fn a_digit_stops_the_prompt_and_counts() {
    let mut call = SimulatedCall::awaiting_pin(settings());
    assert_eq!(call.press("1"), [Action::StopPlaying]);
    assert_eq!(checked_pin(&call.press("234")), "1234");
}

#[test]
fn silence_repeats_the_prompt_twice_and_then_ends_the_call_without_an_attempt() {
    let mut call = SimulatedCall::awaiting_pin(settings());
    for playback in [1, 2] {
        assert_eq!(call.handle(Input::PlaybackFinished(playback)), []);
        let started = call.now;
        assert_eq!(
            call.advance_to_deadline(),
            [Action::Play(Prompt::EnterPin, playback + 1)]
        );
        assert_eq!(call.now - started, Duration::from_secs(10));
    }
    call.handle(Input::PlaybackFinished(3));
    assert_eq!(
        call.advance_to_deadline(),
        [Action::Play(Prompt::Goodbye, 4)]
    );
    let outcome = outcome(&call.handle(Input::PlaybackFinished(4)));
    assert_eq!((outcome.pin_attempts, outcome.cause), (0, CallCause::NoPin));
}

#[test]
fn an_incomplete_block_is_discarded_after_five_seconds_and_is_no_attempt() {
    let mut call = SimulatedCall::awaiting_pin(settings());
    call.press("12");
    let pressed = call.now;
    assert_eq!(
        call.advance_to_deadline(),
        [Action::Play(Prompt::EnterPin, 2)]
    );
    assert_eq!(call.now - pressed, Duration::from_secs(5));
    assert_eq!(checked_pin(&call.press("3456")), "3456");
}

#[test]
fn a_sound_without_a_reported_end_does_not_block_the_call() {
    let mut call = SimulatedCall::awaiting_pin(settings());
    for _ in 0..2 {
        assert!(matches!(
            call.advance_to_deadline()[..],
            [Action::Play(Prompt::EnterPin, _)]
        ));
    }
    assert!(matches!(
        call.advance_to_deadline()[..],
        [Action::Play(Prompt::Goodbye, _)]
    ));
    outcome(&call.advance_to_deadline());
}

#[test]
fn unknown_numbers_are_rejected_and_unused_numbers_hear_a_prompt() {
    let mut call = SimulatedCall::new();
    let actions = call.handle(Input::Routed(Route::UnknownNumber));
    assert_eq!(actions[0], Action::Reject(Cause::NotFound));
    outcome(&actions);

    let mut call = SimulatedCall::new();
    let actions = call.handle(Input::Routed(Route::NotInUse));
    assert_eq!(actions, [Action::Answer]);
    assert_eq!(
        call.handle(Input::Confirmed),
        [Action::Play(Prompt::NotInUse, 1)]
    );
    let actions = call.handle(Input::PlaybackFinished(1));
    assert_eq!(actions[0], Action::HangUp(Side::Caller, Cause::Normal));
    assert_eq!(outcome(&actions).call_type, CallType::CallAttempt);
}

#[test]
fn a_caller_does_not_wait_for_a_store_that_does_not_answer() {
    let mut call = SimulatedCall::new();
    let actions = call.advance_to_deadline();
    assert_eq!(actions[0], Action::Reject(Cause::Overloaded));
    assert_eq!(outcome(&actions).call_type, CallType::CallAttempt);
    assert_eq!(call.handle(Input::Routed(Route::Collect(settings()))), []);

    let mut call = SimulatedCall::awaiting_pin(settings());
    call.press("1234");
    assert_eq!(
        call.advance_to_deadline(),
        [Action::Play(Prompt::Unavailable, 2)]
    );
    assert_eq!(call.handle(accepted(&[1])), [], "the result came too late");
    outcome(&call.handle(Input::PlaybackFinished(2)));
}

#[test]
fn an_answer_without_acknowledgement_plays_nothing_and_counts_no_attempt() {
    let mut call = SimulatedCall::new();
    assert_eq!(
        call.handle(Input::Routed(Route::Collect(settings()))),
        [Action::Answer]
    );
    assert_eq!(call.press("12341234"), []);
    let ended = outcome(&call.advance_to_deadline());
    assert_eq!(
        (ended.call_type, ended.pin_attempts, ended.hangup_by),
        (CallType::CallAttempt, 0, HangupBy::System)
    );
}

#[test]
fn keys_before_the_acknowledgement_are_taken_after_it() {
    let mut call = SimulatedCall::new();
    call.handle(Input::Routed(Route::Collect(settings())));
    assert_eq!(call.press("1234567890123456789"), []);
    let actions = call.handle(Input::Confirmed);
    assert_eq!(
        actions[..2],
        [Action::Play(Prompt::EnterPin, 1), Action::StopPlaying]
    );
    assert!(matches!(actions[2..], [Action::CheckPin(_)]), "{actions:?}");
}

#[test]
fn a_connection_without_numbers_plays_a_prompt_and_ends_the_call() {
    let mut call = SimulatedCall::awaiting_pin(settings());
    call.press("1234");
    assert_eq!(
        call.handle(accepted(&[])),
        [Action::Play(Prompt::NoOneToConnect, 2)]
    );
    assert_eq!(
        outcome(&call.handle(Input::PlaybackFinished(2))).call_type,
        CallType::CallAttempt
    );
}

#[test]
fn numbers_are_dialled_in_order_each_for_the_ring_timeout() {
    let mut call = SimulatedCall::hunting(settings(), &[1, 2, 3]);
    let dialled = call.now;
    let actions = call.advance_to_deadline();
    assert_eq!(call.now - dialled, Duration::from_secs(30));
    assert_eq!(
        actions,
        [
            Action::Abandon(DialAttempt(0)),
            Action::Dial(DialAttempt(1), number(2))
        ]
    );
    let actions = call.handle(Input::Failed(DialAttempt(1), Cause::Busy));
    assert_eq!(actions, [Action::Dial(DialAttempt(2), number(3))]);
    assert_eq!(
        call.handle(Input::Answered(DialAttempt(0))),
        [],
        "the answer of a withdrawn attempt is ignored"
    );
    assert_eq!(
        call.handle(Input::Answered(DialAttempt(2)))[0],
        Action::Bridge(DialAttempt(2))
    );
    let outcome = outcome(&call.handle(Input::HungUp(Side::Caller, Cause::Normal)));
    assert_eq!(outcome.dialled, Some(number(3)));
}

#[test]
fn a_number_dialled_over_another_trunk_has_the_whole_ring_timeout() {
    let mut call = SimulatedCall::hunting(settings(), &[1]);
    let dialled = call.now;
    call.now += Duration::from_secs(4);
    assert_eq!(call.handle(Input::Rerouted(DialAttempt(0))), []);
    assert_eq!(
        call.advance_to_deadline()[0],
        Action::Abandon(DialAttempt(0))
    );
    assert_eq!(call.now - dialled, Duration::from_secs(34));
}

#[test]
fn the_outcome_names_the_reason_for_the_result() {
    let caller = Input::HungUp(Side::Caller, Cause::Normal);
    let callee = Input::HungUp(Side::Callee, Cause::Normal);
    let lost = Input::HungUp(Side::Callee, Cause::MediaLost);
    let answered = Input::Answered(DialAttempt(0));
    let busy = Input::Failed(DialAttempt(0), Cause::Busy);
    let denied = Input::Failed(DialAttempt(0), Cause::DestinationNotAllowed);
    let hunting = || SimulatedCall::hunting(settings(), &[1]);
    for (inputs, cause) in [
        (vec![answered.clone(), caller.clone()], CallCause::Completed),
        (vec![answered.clone(), callee], CallCause::Completed),
        (vec![answered.clone(), lost], CallCause::MediaLost),
        (vec![answered, Input::EndRequested], CallCause::Ended),
        (vec![caller.clone()], CallCause::Canceled),
        (
            vec![busy.clone(), Input::PlaybackFinished(2)],
            CallCause::Busy,
        ),
        (vec![busy, caller.clone()], CallCause::Busy),
        (
            vec![denied, Input::PlaybackFinished(2)],
            CallCause::DestinationNotAllowed,
        ),
    ] {
        let mut call = hunting();
        let actions: Vec<Action> = inputs
            .into_iter()
            .flat_map(|input| call.handle(input))
            .collect();
        assert_eq!(outcome(&actions).cause, cause);
    }
    let mut call = SimulatedCall::awaiting_pin(settings());
    assert_eq!(
        outcome(&call.handle(caller.clone())).cause,
        CallCause::CallerHungUp
    );
    let mut call = SimulatedCall::awaiting_pin(settings());
    call.press("1234");
    call.handle(accepted(&[]));
    assert_eq!(outcome(&call.handle(caller)).cause, CallCause::NoOtherParty);
}

#[test]
fn without_an_answer_the_last_failure_is_the_dial_status() {
    for (cause, status) in [
        (Cause::Busy, DialStatus::Busy),
        (Cause::NoAnswer, DialStatus::NoAnswer),
        (Cause::Unreachable, DialStatus::Failed),
    ] {
        let mut call = SimulatedCall::hunting(settings(), &[1]);
        let actions = call.handle(Input::Failed(DialAttempt(0), cause));
        assert_eq!(actions, [Action::Play(Prompt::Unavailable, 2)]);
        let outcome = outcome(&call.handle(Input::PlaybackFinished(2)));
        assert_eq!(
            (outcome.call_type, outcome.dial_status),
            (CallType::Incomplete, Some(status))
        );
        assert_eq!(outcome.hangup_by, HangupBy::System);
    }
}

#[test]
fn in_parallel_the_first_answer_wins_and_the_other_attempts_are_withdrawn() {
    let mut call = SimulatedCall::awaiting_pin(Collect {
        parallel: true,
        ..settings()
    });
    call.press("1234");
    let actions = call.handle(accepted(&[1, 2]));
    assert_eq!(
        actions[1..],
        [
            Action::Dial(DialAttempt(0), number(1)),
            Action::Dial(DialAttempt(1), number(2))
        ]
    );
    let actions = call.handle(Input::Answered(DialAttempt(1)));
    assert_eq!(
        actions[..2],
        [
            Action::Abandon(DialAttempt(0)),
            Action::Bridge(DialAttempt(1))
        ]
    );
}

#[test]
fn a_caller_that_hangs_up_during_ringing_withdraws_the_attempt() {
    let mut call = SimulatedCall::hunting(settings(), &[1, 2]);
    call.handle(Input::Ringing(DialAttempt(0)));
    let actions = call.handle(Input::HungUp(Side::Caller, Cause::Normal));
    assert_eq!(actions[0], Action::Abandon(DialAttempt(0)));
    let outcome = outcome(&actions);
    assert_eq!(outcome.call_type, CallType::ClientHangup);
    assert_eq!(outcome.dial_status, Some(DialStatus::Canceled));
}

#[test]
fn the_maximum_call_duration_ends_both_legs() {
    let mut call = SimulatedCall::hunting(settings(), &[1]);
    call.handle(Input::Answered(DialAttempt(0)));
    let actions = call.advance_to_deadline();
    assert_eq!(actions[0], Action::HangUp(Side::Callee, Cause::TimeLimit));
    assert_eq!(actions[1], Action::HangUp(Side::Caller, Cause::TimeLimit));
    assert_eq!(outcome(&actions).call_type, CallType::Completed);
}

#[test]
fn loss_of_audio_ends_the_call_as_a_system_hang_up() {
    let mut call = SimulatedCall::hunting(settings(), &[1]);
    call.handle(Input::Answered(DialAttempt(0)));
    let actions = call.handle(Input::HungUp(Side::Callee, Cause::MediaLost));
    assert_eq!(outcome(&actions).hangup_by, HangupBy::System);
}

#[test]
fn recording_starts_with_the_bridge() {
    let mut call = SimulatedCall::awaiting_pin(settings());
    call.press("1234");
    let connection = Connection {
        dial: vec![number(1)],
        record: true,
    };
    call.handle(Input::PinChecked(Verdict::Accepted(connection)));
    let actions = call.handle(Input::Answered(DialAttempt(0)));
    assert_eq!(
        actions[..2],
        [Action::Record, Action::Bridge(DialAttempt(0))]
    );
}

#[test]
fn a_store_failure_ends_the_call_with_a_cause() {
    let mut call = SimulatedCall::new();
    let actions = call.handle(Input::StoreFailed);
    assert_eq!(actions[0], Action::Reject(Cause::Internal));
    let mut call = SimulatedCall::awaiting_pin(settings());
    call.press("1234");
    assert_eq!(
        call.handle(Input::StoreFailed),
        [Action::Play(Prompt::Unavailable, 2)]
    );
}

fn any_cause() -> impl Strategy<Value = Cause> {
    prop_oneof![
        Just(Cause::Normal),
        Just(Cause::Busy),
        Just(Cause::MediaLost),
        Just(Cause::NoAnswer)
    ]
}

fn any_input() -> impl Strategy<Value = Input> {
    let attempt = || (0..4u32).prop_map(DialAttempt);
    prop_oneof![
        8 => prop::sample::select("0123456789*#A".chars().collect::<Vec<_>>())
            .prop_map(|key| Input::Key(Keypress::new(key).unwrap())),
        4 => (0..12u32).prop_map(Input::PlaybackFinished),
        3 => Just(Input::PinChecked(Verdict::Refused)),
        2 => prop::collection::vec(0..9u32, 0..4).prop_map(|numbers| accepted(&numbers)),
        2 => attempt().prop_map(Input::Ringing),
        2 => attempt().prop_map(Input::EarlyMediaStarted),
        1 => attempt().prop_map(Input::EarlyMediaStopped),
        2 => attempt().prop_map(Input::Answered),
        2 => (attempt(), any_cause()).prop_map(|(attempt, cause)| Input::Failed(attempt, cause)),
        1 => (prop_oneof![Just(Side::Caller), Just(Side::Callee)], any_cause())
            .prop_map(|(side, cause)| Input::HungUp(side, cause)),
        4 => Just(Input::Confirmed),
        1 => Just(Input::StoreFailed),
        1 => Just(Input::EndRequested),
        4 => Just(Input::Elapsed),
        1 => Just(Input::Routed(Route::Collect(settings()))),
    ]
}

proptest! {
    /// Any sequence of inputs ends with one record, without a panic, and with no bridge before a
    /// correct PIN.
    #[test]
    fn any_sequence_ends_once_and_bridges_only_after_a_correct_pin(
        parallel in any::<bool>(),
        inputs in prop::collection::vec((any_input(), 0..40u64), 0..60),
    ) {
        let mut call = SimulatedCall::new();
        let mut actions = call.handle(Input::Routed(Route::Collect(Collect { parallel, ..settings() })));
        let mut confirmed = false;
        let mut checking = false;
        let mut pin_accepted = false;
        for (input, seconds) in inputs {
            call.now += Duration::from_secs(seconds);
            pin_accepted |= checking && matches!(input, Input::PinChecked(Verdict::Accepted(_)));
            confirmed |= input == Input::Confirmed;
            let new = call.handle(input);
            for action in &new {
                prop_assert!(confirmed || matches!(action, Action::HangUp(..) | Action::Finish(_)));
                let connects = matches!(
                    action,
                    Action::Bridge(_) | Action::Dial(..) | Action::PlayEarlyMedia(_)
                );
                prop_assert!(pin_accepted || !connects);
                checking = checking || matches!(action, Action::CheckPin(_));
            }
            actions.extend(new);
        }
        // The rest ends without further events: the store fails once, and the deadlines pass.
        actions.extend(call.handle(Input::StoreFailed));
        for _ in 0..20 {
            if call.machine.deadline().is_none() { break; }
            actions.extend(call.advance_to_deadline());
        }
        prop_assert!(call.machine.is_over());
        let finishes = actions.iter().filter(|action| matches!(action, Action::Finish(_))).count();
        prop_assert_eq!(finishes, 1);
        prop_assert!(matches!(actions.last(), Some(Action::Finish(_))));
        prop_assert_eq!(call.handle(Input::Elapsed), vec![]);
    }
}

/// Creates a call that screens the dialled parties.
fn hunting_with_screening(screening: Screening, parallel: bool, numbers: &[u32]) -> SimulatedCall {
    SimulatedCall::hunting(
        Collect {
            screening,
            parallel,
            ..settings()
        },
        numbers,
    )
}

fn accept_key() -> Keypress {
    Keypress::new('1').unwrap()
}

#[test]
fn only_key_1_connects_a_screened_party() {
    let mut call = hunting_with_screening(Screening::Key, false, &[1]);
    let actions = call.handle(Input::Answered(DialAttempt(0)));
    assert_eq!(
        actions,
        [Action::PlayTo(DialAttempt(0), Prompt::AcceptCall, 2)]
    );
    assert_eq!(
        call.handle(Input::CalleeKey(
            DialAttempt(0),
            Keypress::new('2').unwrap()
        )),
        []
    );
    assert_eq!(
        call.handle(Input::CalleeKey(DialAttempt(7), accept_key())),
        [],
        "no such attempt"
    );
    let actions = call.handle(Input::CalleeKey(DialAttempt(0), accept_key()));
    assert_eq!(
        actions,
        [
            Action::Bridge(DialAttempt(0)),
            Action::ReportAnswered(number(1))
        ]
    );
}

#[test]
fn a_key_before_the_answer_does_not_connect() {
    let mut call = hunting_with_screening(Screening::Key, false, &[1]);
    assert_eq!(
        call.handle(Input::CalleeKey(DialAttempt(0), accept_key())),
        []
    );
    assert_eq!(call.handle(Input::PlaybackFinished(2)), []);
}

#[test]
fn a_mailbox_that_answers_is_abandoned_and_the_next_number_is_dialled() {
    let mut call = hunting_with_screening(Screening::Key, false, &[1, 2]);
    call.handle(Input::Answered(DialAttempt(0)));
    assert_eq!(call.handle(Input::PlaybackFinished(2)), []);
    let started = call.now;
    let actions = call.advance_to_deadline();
    assert_eq!(
        actions,
        [
            Action::Abandon(DialAttempt(0)),
            Action::Dial(DialAttempt(1), number(2))
        ]
    );
    assert_eq!(call.now - started, Duration::from_secs(10));
    call.handle(Input::Answered(DialAttempt(1)));
    call.handle(Input::PlaybackFinished(3));
    call.advance_to_deadline();
    let outcome = outcome(&call.handle(Input::PlaybackFinished(4)));
    assert_eq!(
        (outcome.call_type, outcome.dial_status),
        (CallType::Incomplete, Some(DialStatus::NoAnswer))
    );
}

#[test]
fn among_parallel_screenings_the_first_accepted_is_connected() {
    let mut call = hunting_with_screening(Screening::Key, true, &[1, 2, 3]);
    call.handle(Input::Answered(DialAttempt(0)));
    call.handle(Input::Answered(DialAttempt(1)));
    let actions = call.handle(Input::CalleeKey(DialAttempt(1), accept_key()));
    assert_eq!(
        actions
            .iter()
            .filter(|action| matches!(action, Action::Abandon(_)))
            .count(),
        2
    );
    assert!(
        actions.contains(&Action::Bridge(DialAttempt(1)))
            && !actions.contains(&Action::Abandon(DialAttempt(1)))
    );
}

#[test]
fn a_party_that_hangs_up_during_screening_is_a_failed_attempt() {
    let mut call = hunting_with_screening(Screening::Key, false, &[1, 2]);
    call.handle(Input::Answered(DialAttempt(0)));
    let actions = call.handle(Input::Failed(DialAttempt(0), Cause::Declined));
    assert_eq!(actions, [Action::Dial(DialAttempt(1), number(2))]);
}

#[test]
fn the_end_of_the_whisper_connects_the_party() {
    let mut call = hunting_with_screening(Screening::Whisper, false, &[1]);
    let actions = call.handle(Input::Answered(DialAttempt(0)));
    assert_eq!(
        actions,
        [Action::PlayTo(DialAttempt(0), Prompt::Whisper, 2)]
    );
    assert_eq!(
        call.handle(Input::CalleeKey(DialAttempt(0), accept_key())),
        []
    );
    assert_eq!(
        call.handle(Input::PlaybackFinished(2))[0],
        Action::Bridge(DialAttempt(0))
    );
}

#[test]
fn a_caller_that_hangs_up_during_screening_withdraws_the_attempt() {
    let mut call = hunting_with_screening(Screening::Key, false, &[1]);
    call.handle(Input::Answered(DialAttempt(0)));
    let actions = call.handle(Input::HungUp(Side::Caller, Cause::Normal));
    assert_eq!(actions[0], Action::Abandon(DialAttempt(0)));
    assert_eq!(outcome(&actions).call_type, CallType::ClientHangup);
}

#[test]
fn the_recording_is_announced_only_if_the_settings_request_it() {
    for (announce_recording, record, expected) in
        [(true, true, 1), (true, false, 0), (false, true, 0)]
    {
        let mut call = SimulatedCall::awaiting_pin(Collect {
            announce_recording,
            ..settings()
        });
        call.press("1234");
        let dial = vec![number(1)];
        call.handle(Input::PinChecked(Verdict::Accepted(Connection {
            dial,
            record,
        })));
        let actions = call.handle(Input::Answered(DialAttempt(0)));
        let announcements = actions
            .iter()
            .filter(|action| **action == Action::PlayToBoth(Prompt::Recorded));
        assert_eq!(announcements.count(), expected, "{actions:?}");
    }
}

#[test]
fn both_parties_are_warned_once_before_the_maximum_duration() {
    let warning = Some(Duration::from_secs(60));
    let mut call = SimulatedCall::hunting(
        Collect {
            warning,
            ..settings()
        },
        &[1],
    );
    call.handle(Input::Answered(DialAttempt(0)));
    let bridged = call.now;
    assert_eq!(
        call.advance_to_deadline(),
        [Action::PlayToBoth(Prompt::Warning)]
    );
    assert_eq!(call.now - bridged, Duration::from_secs(3540));
    assert_eq!(
        outcome(&call.advance_to_deadline()).cause,
        CallCause::TimeLimit
    );
    assert_eq!(call.now - bridged, Duration::from_secs(3600));
}

#[test]
fn early_media_replaces_ring_back_until_its_attempt_ends() {
    let (first, second) = (DialAttempt(0), DialAttempt(1));
    let mut call = SimulatedCall::hunting(settings(), &[1, 2]);
    let started = call.handle(Input::EarlyMediaStarted(first));
    assert_eq!(started, [Action::PlayEarlyMedia(first)]);
    assert_eq!(call.handle(Input::EarlyMediaStarted(first)), []);
    assert_eq!(
        call.handle(Input::Ringing(first)),
        [Action::ReportRinging(number(1))]
    );
    assert_eq!(
        call.handle(Input::EarlyMediaStopped(first)),
        [Action::PlayRingback]
    );
    assert_eq!(call.handle(Input::EarlyMediaStarted(first)), started);
    let actions = call.handle(Input::Failed(first, Cause::Busy));
    assert_eq!(
        actions,
        [Action::Dial(second, number(2)), Action::PlayRingback]
    );
    let actions = call.handle(Input::EarlyMediaStarted(second));
    assert_eq!(actions, [Action::PlayEarlyMedia(second)]);
    let actions = call.advance_to_deadline();
    assert_eq!(actions[0], Action::Abandon(second));
    assert!(matches!(
        actions[1..],
        [Action::Play(Prompt::Unavailable, _)]
    ));
}

#[test]
fn early_media_of_a_trunk_ends_with_the_change_to_the_next_trunk() {
    let attempt = DialAttempt(0);
    let mut call = SimulatedCall::hunting(settings(), &[1]);
    call.handle(Input::EarlyMediaStarted(attempt));
    assert_eq!(
        call.handle(Input::Rerouted(attempt)),
        [Action::PlayRingback]
    );
    let actions = call.handle(Input::Answered(attempt));
    assert_eq!(actions[0], Action::Bridge(attempt));
}

#[test]
fn in_parallel_early_media_is_heard_only_while_no_other_attempt_alerts() {
    let (first, second) = (DialAttempt(0), DialAttempt(1));
    let parallel = Collect {
        parallel: true,
        ..settings()
    };
    let mut call = SimulatedCall::hunting(parallel, &[1, 2]);
    let actions = call.handle(Input::EarlyMediaStarted(first));
    assert_eq!(actions, [Action::PlayEarlyMedia(first)]);
    let actions = call.handle(Input::Ringing(second));
    assert_eq!(
        actions,
        [Action::ReportRinging(number(2)), Action::PlayRingback]
    );
    assert_eq!(call.handle(Input::EarlyMediaStarted(second)), []);
    let actions = call.handle(Input::Failed(first, Cause::Unreachable));
    assert_eq!(actions, [Action::PlayEarlyMedia(second)]);
    let actions = call.handle(Input::HungUp(Side::Caller, Cause::Normal));
    assert_eq!(actions[0], Action::Abandon(second));
}

#[test]
fn a_screened_party_is_not_heard_before_the_connection() {
    let mut call = hunting_with_screening(Screening::Key, false, &[1]);
    let attempt = DialAttempt(0);
    call.handle(Input::EarlyMediaStarted(attempt));
    let actions = call.handle(Input::Answered(attempt));
    assert_eq!(
        actions,
        [
            Action::PlayTo(attempt, Prompt::AcceptCall, 2),
            Action::PlayRingback
        ]
    );
    assert_eq!(call.handle(Input::EarlyMediaStarted(attempt)), []);
    let actions = call.handle(Input::CalleeKey(attempt, accept_key()));
    assert_eq!(actions[0], Action::Bridge(attempt));
}
