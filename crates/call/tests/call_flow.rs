//! The call machine, told as stories in virtual time: what a party does, and what the machine then wants done.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::time::{Duration, Instant};

use call::script::{
    Action, Attempt, CallType, Collect, Connection, HangupBy, Input, Key, Outcome, Prompt, Route,
    Screening, Side, Verdict,
};
use call::{Call, Cause, DialStatus, PhoneNumber};
use proptest::prelude::*;

/// A call with a clock that moves only when told to.
struct Story {
    call: Call,
    now: Instant,
}

fn plan() -> Collect {
    Collect {
        pin_length: 4,
        max_tries: 3,
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

impl Story {
    fn new() -> Self {
        Self {
            call: Call::new(),
            now: Instant::now(),
        }
    }

    /// A call that was answered, in the state of waiting for digits, the prompt still playing (playback 1).
    fn asked(plan: Collect) -> Self {
        let mut story = Self::new();
        let actions = story.give(Input::Routed(Route::Collect(plan)));
        assert_eq!(actions, [Action::Answer, Action::Play(Prompt::EnterPin, 1)]);
        story
    }

    /// A call whose PIN was right and that rings the given numbers.
    fn hunting(plan: Collect, numbers: &[u32]) -> Self {
        let mut story = Self::asked(plan);
        story.press("1234");
        let actions = story.give(accepted(numbers));
        assert_eq!(actions[0], Action::PlayRingback);
        story
    }

    fn give(&mut self, input: Input) -> Vec<Action> {
        self.call.handle(input, self.now);
        std::iter::from_fn(|| self.call.poll()).collect()
    }

    fn press(&mut self, keys: &str) -> Vec<Action> {
        keys.chars()
            .flat_map(|key| self.give(Input::Key(Key::new(key).unwrap())))
            .collect()
    }

    /// Lets time pass up to the deadline, and no further.
    fn wait(&mut self) -> Vec<Action> {
        self.now = self.call.deadline().expect("nothing is awaited");
        self.give(Input::Elapsed)
    }

    fn refused(&mut self) -> Vec<Action> {
        self.give(Input::PinChecked(Verdict::Refused))
    }
}

fn outcome(actions: &[Action]) -> Outcome {
    match actions.last() {
        Some(Action::Finish(outcome)) => *outcome,
        other => panic!("the call did not end: {other:?}"),
    }
}

fn pin_of(actions: &[Action]) -> &str {
    match actions.last() {
        Some(Action::CheckPin(pin)) => pin.expose(),
        other => panic!("no PIN was checked: {other:?}"),
    }
}

#[test]
fn a_right_pin_rings_the_other_side_and_bridges_who_answers() {
    let mut story = Story::asked(plan());
    let actions = story.press("1234");
    assert_eq!(actions[0], Action::StopPlaying);
    assert_eq!(pin_of(&actions), "1234");
    let actions = story.give(accepted(&[1]));
    assert_eq!(
        actions,
        [Action::PlayRingback, Action::Dial(Attempt(0), number(1))]
    );
    assert_eq!(
        story.give(Input::Ringing(Attempt(0))),
        [Action::ReportRinging(number(1))]
    );
    assert_eq!(story.give(Input::Ringing(Attempt(0))), []);
    let actions = story.give(Input::Answered(Attempt(0)));
    assert_eq!(
        actions,
        [
            Action::Bridge(Attempt(0)),
            Action::ReportAnswered(number(1))
        ]
    );
    story.now += Duration::from_secs(60);
    let actions = story.give(Input::HungUp(Side::Caller, Cause::Normal));
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
fn a_callee_that_hangs_up_ends_the_caller_too() {
    let mut story = Story::hunting(plan(), &[1]);
    story.give(Input::Answered(Attempt(0)));
    let actions = story.give(Input::HungUp(Side::Callee, Cause::Normal));
    assert_eq!(actions[0], Action::HangUp(Side::Caller, Cause::Normal));
    assert_eq!(outcome(&actions).hangup_by, HangupBy::Callee);
}

#[test]
fn the_last_try_may_be_right() {
    let mut story = Story::asked(plan());
    for playback in [2, 4] {
        story.press("0000");
        assert_eq!(story.refused(), [Action::Play(Prompt::WrongPin, playback)]);
        let actions = story.give(Input::PlaybackFinished(playback));
        assert_eq!(actions, [Action::Play(Prompt::EnterPin, playback + 1)]);
    }
    story.press("1234");
    assert_eq!(story.give(accepted(&[1])).len(), 2);
}

#[test]
fn as_many_wrong_tries_as_allowed_end_the_call() {
    let mut story = Story::asked(Collect {
        max_tries: 1,
        ..plan()
    });
    story.press("0000");
    assert_eq!(story.refused(), [Action::Play(Prompt::Goodbye, 2)]);
    let actions = story.give(Input::PlaybackFinished(2));
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
fn digits_beyond_the_block_are_thrown_away_until_the_next_prompt() {
    let mut story = Story::asked(plan());
    assert_eq!(pin_of(&story.press("0000")), "0000");
    assert_eq!(story.press("12"), []);
    story.refused();
    assert_eq!(story.press("3"), []);
    story.give(Input::PlaybackFinished(2));
    assert_eq!(pin_of(&story.press("5678")), "5678");
}

#[test]
fn a_hash_ends_a_block_early_and_a_star_starts_it_over() {
    let mut story = Story::asked(plan());
    assert_eq!(pin_of(&story.press("12#")), "12");
    let mut story = Story::asked(plan());
    assert_eq!(pin_of(&story.press("99*1234")), "1234");
    let mut story = Story::asked(plan());
    assert_eq!(pin_of(&story.press("#*#A1234")), "1234");
}

#[test]
fn a_digit_stops_the_prompt_and_is_not_lost() {
    let mut story = Story::asked(plan());
    assert_eq!(story.press("1"), [Action::StopPlaying]);
    assert_eq!(pin_of(&story.press("234")), "1234");
}

#[test]
fn silence_repeats_the_prompt_twice_and_then_hangs_up_without_a_try() {
    let mut story = Story::asked(plan());
    for playback in [1, 2] {
        assert_eq!(story.give(Input::PlaybackFinished(playback)), []);
        let asked = story.now;
        assert_eq!(story.wait(), [Action::Play(Prompt::EnterPin, playback + 1)]);
        assert_eq!(story.now - asked, Duration::from_secs(10));
    }
    story.give(Input::PlaybackFinished(3));
    assert_eq!(story.wait(), [Action::Play(Prompt::Goodbye, 4)]);
    let outcome = outcome(&story.give(Input::PlaybackFinished(4)));
    assert_eq!((outcome.pin_attempts, outcome.cause), (0, Cause::NoAnswer));
}

#[test]
fn an_unfinished_block_is_forgotten_after_five_seconds_and_counts_as_no_try() {
    let mut story = Story::asked(plan());
    story.press("12");
    let pressed = story.now;
    assert_eq!(story.wait(), [Action::Play(Prompt::EnterPin, 2)]);
    assert_eq!(story.now - pressed, Duration::from_secs(5));
    assert_eq!(pin_of(&story.press("3456")), "3456");
}

#[test]
fn a_sound_whose_end_is_never_reported_does_not_hold_the_call() {
    let mut story = Story::asked(plan());
    for _ in 0..2 {
        assert!(matches!(
            story.wait()[..],
            [Action::Play(Prompt::EnterPin, _)]
        ));
    }
    assert!(matches!(
        story.wait()[..],
        [Action::Play(Prompt::Goodbye, _)]
    ));
    outcome(&story.wait());
}

#[test]
fn unknown_numbers_are_rejected_and_idle_ones_told() {
    let mut story = Story::new();
    let actions = story.give(Input::Routed(Route::UnknownNumber));
    assert_eq!(actions[0], Action::Reject(Cause::NotFound));
    outcome(&actions);

    let mut story = Story::new();
    let actions = story.give(Input::Routed(Route::NotInUse));
    assert_eq!(actions, [Action::Answer, Action::Play(Prompt::NotInUse, 1)]);
    let actions = story.give(Input::PlaybackFinished(1));
    assert_eq!(actions[0], Action::HangUp(Side::Caller, Cause::Normal));
    assert_eq!(outcome(&actions).call_type, CallType::CallAttempt);
}

#[test]
fn nobody_on_the_other_side_is_said_and_ends_the_call() {
    let mut story = Story::asked(plan());
    story.press("1234");
    assert_eq!(
        story.give(accepted(&[])),
        [Action::Play(Prompt::NoOneToConnect, 2)]
    );
    assert_eq!(
        outcome(&story.give(Input::PlaybackFinished(2))).call_type,
        CallType::CallAttempt
    );
}

#[test]
fn numbers_are_tried_in_order_each_for_its_time() {
    let mut story = Story::hunting(plan(), &[1, 2, 3]);
    let dialled = story.now;
    let actions = story.wait();
    assert_eq!(story.now - dialled, Duration::from_secs(30));
    assert_eq!(
        actions,
        [
            Action::Abandon(Attempt(0)),
            Action::Dial(Attempt(1), number(2))
        ]
    );
    let actions = story.give(Input::Failed(Attempt(1), Cause::Busy));
    assert_eq!(actions, [Action::Dial(Attempt(2), number(3))]);
    assert_eq!(
        story.give(Input::Answered(Attempt(0))),
        [],
        "an attempt that was withdrawn is late"
    );
    assert_eq!(
        story.give(Input::Answered(Attempt(2)))[0],
        Action::Bridge(Attempt(2))
    );
    let outcome = outcome(&story.give(Input::HungUp(Side::Caller, Cause::Normal)));
    assert_eq!(outcome.dialled, Some(number(3)));
}

#[test]
fn when_nobody_answers_the_last_failure_is_the_status() {
    for (cause, status) in [
        (Cause::Busy, DialStatus::Busy),
        (Cause::NoAnswer, DialStatus::NoAnswer),
        (Cause::Unreachable, DialStatus::Failed),
    ] {
        let mut story = Story::hunting(plan(), &[1]);
        let actions = story.give(Input::Failed(Attempt(0), cause));
        assert_eq!(actions, [Action::Play(Prompt::Unavailable, 2)]);
        let outcome = outcome(&story.give(Input::PlaybackFinished(2)));
        assert_eq!(
            (outcome.call_type, outcome.dial_status),
            (CallType::Incomplete, Some(status))
        );
        assert_eq!(outcome.hangup_by, HangupBy::System);
    }
}

#[test]
fn all_at_once_the_first_to_answer_wins_and_the_others_are_withdrawn() {
    let mut story = Story::asked(Collect {
        parallel: true,
        ..plan()
    });
    story.press("1234");
    let actions = story.give(accepted(&[1, 2]));
    assert_eq!(
        actions[1..],
        [
            Action::Dial(Attempt(0), number(1)),
            Action::Dial(Attempt(1), number(2))
        ]
    );
    let actions = story.give(Input::Answered(Attempt(1)));
    assert_eq!(
        actions[..2],
        [Action::Abandon(Attempt(0)), Action::Bridge(Attempt(1))]
    );
}

#[test]
fn a_caller_who_leaves_while_it_rings_withdraws_the_attempt() {
    let mut story = Story::hunting(plan(), &[1, 2]);
    story.give(Input::Ringing(Attempt(0)));
    let actions = story.give(Input::HungUp(Side::Caller, Cause::Normal));
    assert_eq!(actions[0], Action::Abandon(Attempt(0)));
    let outcome = outcome(&actions);
    assert_eq!(outcome.call_type, CallType::ClientHangup);
    assert_eq!(outcome.dial_status, Some(DialStatus::Canceled));
}

#[test]
fn the_longest_allowed_time_ends_both_legs() {
    let mut story = Story::hunting(plan(), &[1]);
    story.give(Input::Answered(Attempt(0)));
    let actions = story.wait();
    assert_eq!(actions[0], Action::HangUp(Side::Callee, Cause::TimeLimit));
    assert_eq!(actions[1], Action::HangUp(Side::Caller, Cause::TimeLimit));
    assert_eq!(outcome(&actions).call_type, CallType::Completed);
}

#[test]
fn a_leg_without_audio_ends_the_call_by_the_system() {
    let mut story = Story::hunting(plan(), &[1]);
    story.give(Input::Answered(Attempt(0)));
    let actions = story.give(Input::HungUp(Side::Callee, Cause::MediaLost));
    assert_eq!(outcome(&actions).hangup_by, HangupBy::System);
}

#[test]
fn recording_starts_with_the_bridge() {
    let mut story = Story::asked(plan());
    story.press("1234");
    let connection = Connection {
        dial: vec![number(1)],
        record: true,
    };
    story.give(Input::PinChecked(Verdict::Accepted(connection)));
    let actions = story.give(Input::Answered(Attempt(0)));
    assert_eq!(actions[..2], [Action::Bridge(Attempt(0)), Action::Record]);
}

#[test]
fn a_store_that_fails_ends_the_call_cleanly() {
    let mut story = Story::new();
    let actions = story.give(Input::StoreFailed);
    assert_eq!(actions[0], Action::Reject(Cause::Internal));
    let mut story = Story::asked(plan());
    story.press("1234");
    assert_eq!(
        story.give(Input::StoreFailed),
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
    let attempt = || (0..4u32).prop_map(Attempt);
    prop_oneof![
        8 => prop::sample::select("0123456789*#A".chars().collect::<Vec<_>>())
            .prop_map(|key| Input::Key(Key::new(key).unwrap())),
        4 => (0..12u32).prop_map(Input::PlaybackFinished),
        3 => Just(Input::PinChecked(Verdict::Refused)),
        2 => prop::collection::vec(0..9u32, 0..4).prop_map(|numbers| accepted(&numbers)),
        2 => attempt().prop_map(Input::Ringing),
        2 => attempt().prop_map(Input::Answered),
        2 => (attempt(), any_cause()).prop_map(|(attempt, cause)| Input::Failed(attempt, cause)),
        1 => (prop_oneof![Just(Side::Caller), Just(Side::Callee)], any_cause())
            .prop_map(|(side, cause)| Input::HungUp(side, cause)),
        1 => Just(Input::StoreFailed),
        1 => Just(Input::EndRequested),
        4 => Just(Input::Elapsed),
        1 => Just(Input::Routed(Route::Collect(plan()))),
    ]
}

proptest! {
    /// Any sequence of inputs: no panic, an end, one record, and no bridge without a right PIN.
    #[test]
    fn any_sequence_ends_once_and_bridges_only_after_a_right_pin(
        parallel in any::<bool>(),
        inputs in prop::collection::vec((any_input(), 0..40u64), 0..60),
    ) {
        let mut story = Story::new();
        let mut actions = story.give(Input::Routed(Route::Collect(Collect { parallel, ..plan() })));
        let mut checking = false;
        let mut right = false;
        for (input, seconds) in inputs {
            story.now += Duration::from_secs(seconds);
            right |= checking && matches!(input, Input::PinChecked(Verdict::Accepted(_)));
            let new = story.give(input);
            for action in &new {
                prop_assert!(right || !matches!(action, Action::Bridge(_) | Action::Dial(..)));
                checking = checking || matches!(action, Action::CheckPin(_));
            }
            actions.extend(new);
        }
        // Whatever is left ends by itself: the store answers once, and time does the rest.
        actions.extend(story.give(Input::StoreFailed));
        for _ in 0..20 {
            if story.call.deadline().is_none() { break; }
            actions.extend(story.wait());
        }
        prop_assert!(story.call.is_over());
        let finishes = actions.iter().filter(|action| matches!(action, Action::Finish(_))).count();
        prop_assert_eq!(finishes, 1);
        prop_assert!(matches!(actions.last(), Some(Action::Finish(_))));
        prop_assert_eq!(story.give(Input::Elapsed), vec![]);
    }
}

/// A call that is put through once the dialled party has been screened.
fn screened(screening: Screening, parallel: bool, numbers: &[u32]) -> Story {
    Story::hunting(
        Collect {
            screening,
            parallel,
            ..plan()
        },
        numbers,
    )
}

fn one() -> Key {
    Key::new('1').unwrap()
}

#[test]
fn a_party_that_presses_one_is_connected_and_no_other_key_does_it() {
    let mut story = screened(Screening::Key, false, &[1]);
    let asked = story.give(Input::Answered(Attempt(0)));
    assert_eq!(asked, [Action::PlayTo(Attempt(0), Prompt::AcceptCall, 2)]);
    assert_eq!(
        story.give(Input::CalleeKey(Attempt(0), Key::new('2').unwrap())),
        []
    );
    assert_eq!(
        story.give(Input::CalleeKey(Attempt(7), one())),
        [],
        "nobody has that attempt"
    );
    let actions = story.give(Input::CalleeKey(Attempt(0), one()));
    assert_eq!(
        actions,
        [
            Action::Bridge(Attempt(0)),
            Action::ReportAnswered(number(1))
        ]
    );
}

#[test]
fn a_key_that_comes_before_the_answer_connects_nobody() {
    let mut story = screened(Screening::Key, false, &[1]);
    assert_eq!(story.give(Input::CalleeKey(Attempt(0), one())), []);
    assert_eq!(story.give(Input::PlaybackFinished(2)), []);
}

#[test]
fn a_mailbox_that_answers_is_left_and_the_next_number_is_dialled() {
    let mut story = screened(Screening::Key, false, &[1, 2]);
    story.give(Input::Answered(Attempt(0)));
    assert_eq!(story.give(Input::PlaybackFinished(2)), []);
    let asked = story.now;
    let actions = story.wait();
    assert_eq!(
        actions,
        [
            Action::Abandon(Attempt(0)),
            Action::Dial(Attempt(1), number(2))
        ]
    );
    assert_eq!(story.now - asked, Duration::from_secs(10));
    story.give(Input::Answered(Attempt(1)));
    story.give(Input::PlaybackFinished(3));
    story.wait();
    let outcome = outcome(&story.give(Input::PlaybackFinished(4)));
    assert_eq!(
        (outcome.call_type, outcome.dial_status),
        (CallType::Incomplete, Some(DialStatus::NoAnswer))
    );
}

#[test]
fn of_those_who_are_asked_at_once_the_first_to_press_gets_the_call() {
    let mut story = screened(Screening::Key, true, &[1, 2, 3]);
    story.give(Input::Answered(Attempt(0)));
    story.give(Input::Answered(Attempt(1)));
    let actions = story.give(Input::CalleeKey(Attempt(1), one()));
    assert_eq!(
        actions
            .iter()
            .filter(|action| matches!(action, Action::Abandon(_)))
            .count(),
        2
    );
    assert!(
        actions.contains(&Action::Bridge(Attempt(1)))
            && !actions.contains(&Action::Abandon(Attempt(1)))
    );
}

#[test]
fn a_party_that_hangs_up_while_it_is_asked_is_one_that_failed() {
    let mut story = screened(Screening::Key, false, &[1, 2]);
    story.give(Input::Answered(Attempt(0)));
    let actions = story.give(Input::Failed(Attempt(0), Cause::Declined));
    assert_eq!(actions, [Action::Dial(Attempt(1), number(2))]);
}

#[test]
fn a_party_that_is_whispered_to_is_connected_when_it_has_heard_it() {
    let mut story = screened(Screening::Whisper, false, &[1]);
    let told = story.give(Input::Answered(Attempt(0)));
    assert_eq!(told, [Action::PlayTo(Attempt(0), Prompt::Whisper, 2)]);
    assert_eq!(story.give(Input::CalleeKey(Attempt(0), one())), []);
    assert_eq!(
        story.give(Input::PlaybackFinished(2))[0],
        Action::Bridge(Attempt(0))
    );
}

#[test]
fn a_caller_who_leaves_while_the_other_side_is_asked_frees_it() {
    let mut story = screened(Screening::Key, false, &[1]);
    story.give(Input::Answered(Attempt(0)));
    let actions = story.give(Input::HungUp(Side::Caller, Cause::Normal));
    assert_eq!(actions[0], Action::Abandon(Attempt(0)));
    assert_eq!(outcome(&actions).call_type, CallType::ClientHangup);
}

#[test]
fn who_is_recorded_is_told_so_where_it_is_asked_for() {
    for (announce_recording, record, told) in [(true, true, 1), (true, false, 0), (false, true, 0)]
    {
        let mut story = Story::asked(Collect {
            announce_recording,
            ..plan()
        });
        story.press("1234");
        let dial = vec![number(1)];
        story.give(Input::PinChecked(Verdict::Accepted(Connection {
            dial,
            record,
        })));
        let actions = story.give(Input::Answered(Attempt(0)));
        let announcements = actions
            .iter()
            .filter(|action| **action == Action::PlayToBoth(Prompt::Recorded));
        assert_eq!(announcements.count(), told, "{actions:?}");
    }
}

#[test]
fn both_are_warned_once_before_the_longest_call_ends() {
    let warning = Some(Duration::from_secs(60));
    let mut story = Story::hunting(Collect { warning, ..plan() }, &[1]);
    story.give(Input::Answered(Attempt(0)));
    let bridged = story.now;
    assert_eq!(story.wait(), [Action::PlayToBoth(Prompt::Warning)]);
    assert_eq!(story.now - bridged, Duration::from_secs(3540));
    assert_eq!(outcome(&story.wait()).cause, Cause::TimeLimit);
    assert_eq!(story.now - bridged, Duration::from_secs(3600));
}
