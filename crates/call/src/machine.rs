//! State machine that turns inputs and the current time into actions.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::collect::{BlockProgress, Collector, MAX_PROMPT_DURATION};
use crate::hunt::Hunt;
use crate::{
    Action, CallCause, CallOutcome, CallType, Cause, Collect, Connection, DialAttempt, HangupBy,
    Input, Keypress, PhoneNumber, Prompt, Route, Screening, Side, Verdict, deadline,
};

/// Key that a screened party presses to accept the call.
const ACCEPT_KEY: char = '1';
/// Time for a screened party to press the key after the prompt.
pub const ACCEPT_KEY_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for the store to return a route or the result of a PIN. A caller does not wait longer in silence.
pub const STORE_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for the caller to acknowledge the answer. SIP gives up before, after 32 s (RFC 3261, section 13.3.1.4).
const MAX_CONFIRMATION_WAIT: Duration = Duration::from_secs(40);

/// Maximum number of keys that wait for the acknowledgement: more than any PIN has.
const MAX_WAITING_KEYS: usize = 16;

/// Masked call.
///
/// Pass inputs to [`Call::handle`] and perform the actions from [`Call::poll`] until it returns
/// `None`. At [`Call::deadline`], pass [`Input::Elapsed`]. After [`Action::Finish`] the call
/// ignores all inputs.
#[derive(Debug)]
pub struct Call {
    state: State,
    actions: VecDeque<Action>,
    history: CallHistory,
    playbacks: u32,
    /// [`Action::Finish`] was queued.
    finished: bool,
}

/// State of a call. A transition consumes the old state, so no stale data survives in the new
/// state.
#[derive(Debug)]
enum State {
    /// The store looks up the route.
    Routing { until: Instant },
    /// The call is answered, and the caller has not acknowledged it. Nothing is played. Keys wait, because they can
    /// overtake the acknowledgement.
    Unconfirmed {
        next: AfterConfirmation,
        keys: Vec<Keypress>,
        until: Instant,
    },
    /// A prompt asks for the PIN, or the caller enters digits.
    Collecting {
        plan: Collect,
        collector: Collector,
        prompt: Option<u32>,
    },
    /// The store checks a block of digits.
    Checking { plan: Collect, until: Instant },
    /// A prompt rejects the block. Keys are discarded meanwhile.
    PlayingWrongPin {
        plan: Collect,
        playback: u32,
        until: Instant,
    },
    /// The numbers of the other side are being dialled.
    Hunting {
        plan: Collect,
        hunt: Hunt,
        record: bool,
    },
    /// Both parties are connected.
    Bridged {
        until: Instant,
        warn_at: Option<Instant>,
    },
    /// The last prompt plays; the call ends after it.
    PlayingLastPrompt {
        playback: u32,
        until: Instant,
        cause: Cause,
    },
    /// The call has ended.
    Ended,
}

/// Continuation of a call after the caller has acknowledged the answer.
#[derive(Debug)]
enum AfterConfirmation {
    /// Prompt for the PIN.
    Collect(Collect),
    /// Play the prompt for a number that is not in use.
    NotInUse,
}

/// Facts for the call record.
#[derive(Debug, Default)]
struct CallHistory {
    wrong_attempts: u8,
    pin_attempts: u32,
    answered_at: Option<Instant>,
    dialled: Option<(PhoneNumber, Instant)>,
    last_failure: Option<Cause>,
    bridged_at: Option<Instant>,
    /// Reason for the result, once it is known.
    cause: Option<CallCause>,
}

impl State {
    /// Returns `true` if the prompt that the state waits for has ended or has passed its time
    /// limit.
    fn prompt_has_ended(&self, input: &Input, now: Instant) -> bool {
        let (Self::PlayingWrongPin {
            playback, until, ..
        }
        | Self::PlayingLastPrompt {
            playback, until, ..
        }) = self
        else {
            return false;
        };
        match input {
            Input::PlaybackFinished(finished) => finished == playback,
            Input::Elapsed => now >= *until,
            _ => false,
        }
    }
}

impl Call {
    /// Creates a call that waits for its route from `now` on.
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::Routing {
                until: deadline(now, STORE_TIMEOUT),
            },
            actions: VecDeque::new(),
            history: CallHistory::default(),
            playbacks: 0,
            finished: false,
        }
    }

    /// Returns the next action, oldest first.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns the time at which the call needs [`Input::Elapsed`] if no other input arrives first.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Ended => None,
            State::Collecting { collector, .. } => Some(collector.deadline()),
            State::Routing { until }
            | State::Checking { until, .. }
            | State::Unconfirmed { until, .. }
            | State::PlayingWrongPin { until, .. }
            | State::PlayingLastPrompt { until, .. } => Some(*until),
            State::Bridged { until, warn_at } => Some(warn_at.unwrap_or(*until)),
            State::Hunting { hunt, .. } => hunt.deadline(),
        }
    }

    /// Returns `true` if the call has ended: [`Action::Finish`] was returned or is still queued in
    /// [`Call::poll`].
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Handles an input that happened at `now`. An input that does not fit the state came late and
    /// is ignored.
    pub fn handle(&mut self, input: Input, now: Instant) {
        let state = std::mem::replace(&mut self.state, State::Ended);
        self.state = self.next(state, input, now);
    }

    /// Ends the call without any further action and returns its outcome, for a call whose actions cannot be performed
    /// any more. Returns `None` if [`Action::Finish`] was returned before.
    pub fn abort(&mut self, now: Instant) -> Option<CallOutcome> {
        let finished = self.actions.iter().find_map(|action| match action {
            Action::Finish(outcome) => Some(*outcome),
            _ => None,
        });
        self.actions.clear();
        self.state = State::Ended;
        if self.finished && finished.is_none() {
            return None;
        }
        self.finished = true;
        Some(finished.unwrap_or_else(|| self.outcome(HangupBy::System, Cause::Internal, now)))
    }

    fn next(&mut self, state: State, input: Input, now: Instant) -> State {
        match (state, input) {
            (State::Ended, _) => State::Ended,
            (state, Input::HungUp(side, cause)) => self.on_hung_up(state, side, cause, now),
            (state, Input::EndRequested) => self.end(state, HangupBy::System, Cause::Normal, now),
            (State::Routing { .. }, Input::Routed(route)) => self.on_routed(route, now),
            (State::Routing { .. }, Input::StoreFailed) => self.reject(Cause::Internal, now),
            (State::Routing { until }, Input::Elapsed) if now >= until => {
                self.reject(Cause::Overloaded, now)
            }
            (State::Unconfirmed { next, keys, .. }, Input::Confirmed) => {
                let state = self.on_confirmed(next, now);
                let keys = keys.into_iter().map(Input::Key);
                keys.fold(state, |state, key| self.next(state, key, now))
            }
            (
                State::Unconfirmed {
                    next,
                    mut keys,
                    until,
                },
                Input::Key(key),
            ) => {
                if keys.len() < MAX_WAITING_KEYS {
                    keys.push(key);
                }
                State::Unconfirmed { next, keys, until }
            }
            (state @ State::Unconfirmed { until, .. }, Input::Elapsed) if now >= until => {
                self.history.cause = Some(CallCause::NotAcknowledged);
                self.end(state, HangupBy::System, Cause::MediaLost, now)
            }
            (State::Checking { .. }, Input::StoreFailed) => {
                self.end_unavailable(Cause::Internal, now)
            }
            (State::Checking { until, .. }, Input::Elapsed) if now >= until => {
                self.end_unavailable(Cause::Overloaded, now)
            }
            (State::Checking { plan, .. }, Input::PinChecked(verdict)) => {
                self.on_pin_checked(plan, verdict, now)
            }
            (
                State::Collecting {
                    plan,
                    collector,
                    prompt,
                },
                input,
            ) => self.on_input_while_collecting(plan, collector, prompt, input, now),
            (State::Hunting { plan, hunt, record }, input) => {
                self.on_input_while_hunting(plan, hunt, record, input, now)
            }
            (State::Bridged { until, warn_at }, Input::Elapsed) => {
                self.on_bridged_timer(until, warn_at, now)
            }
            (state, input) if state.prompt_has_ended(&input, now) => {
                self.on_prompt_ended(state, now)
            }
            (state, _) => state,
        }
    }

    /// Continues after the prompt that the state waits for.
    fn on_prompt_ended(&mut self, state: State, now: Instant) -> State {
        match state {
            State::PlayingWrongPin { plan, .. } => self.prompt_for_pin(plan, Collector::new(now)),
            State::PlayingLastPrompt { cause, .. } => self.end(state, HangupBy::System, cause, now),
            state => state,
        }
    }

    fn on_routed(&mut self, route: Route, now: Instant) -> State {
        match route {
            Route::UnknownNumber => self.reject(Cause::NotFound, now),
            Route::Refuse(cause) => self.reject(cause, now),
            Route::NotInUse => self.answer(AfterConfirmation::NotInUse, now),
            Route::Collect(plan) => self.answer(AfterConfirmation::Collect(plan), now),
        }
    }

    fn answer(&mut self, next: AfterConfirmation, now: Instant) -> State {
        self.history.answered_at = Some(now);
        self.actions.push_back(Action::Answer);
        State::Unconfirmed {
            next,
            keys: Vec::new(),
            until: deadline(now, MAX_CONFIRMATION_WAIT),
        }
    }

    fn on_confirmed(&mut self, next: AfterConfirmation, now: Instant) -> State {
        match next {
            AfterConfirmation::NotInUse => {
                self.end_after_prompt(Prompt::NotInUse, (Cause::Normal, CallCause::NotInUse), now)
            }
            AfterConfirmation::Collect(plan) => self.prompt_for_pin(plan, Collector::new(now)),
        }
    }

    fn prompt_for_pin(&mut self, plan: Collect, collector: Collector) -> State {
        let prompt = Some(self.play(Prompt::EnterPin));
        State::Collecting {
            plan,
            collector,
            prompt,
        }
    }

    fn play(&mut self, prompt: Prompt) -> u32 {
        self.playbacks = self.playbacks.wrapping_add(1);
        self.actions.push_back(Action::Play(prompt, self.playbacks));
        self.playbacks
    }

    fn on_input_while_collecting(
        &mut self,
        plan: Collect,
        mut collector: Collector,
        mut prompt: Option<u32>,
        input: Input,
        now: Instant,
    ) -> State {
        match input {
            Input::Key(key) => {
                if prompt.take().is_some() {
                    self.actions.push_back(Action::StopPlaying);
                }
                match collector.on_key(key, plan.pin_length, now) {
                    BlockProgress::Complete(pin) => return self.request_pin_check(plan, pin, now),
                    BlockProgress::Incomplete => {}
                }
            }
            Input::PlaybackFinished(finished) if prompt == Some(finished) => {
                prompt = None;
                collector.on_prompt_finished(now);
            }
            Input::Elapsed if now >= collector.deadline() => {
                return match collector.after_silence(now) {
                    Some(collector) => self.prompt_for_pin(plan, collector),
                    None => self.end_after_prompt(
                        Prompt::Goodbye,
                        (Cause::NoAnswer, CallCause::NoPin),
                        now,
                    ),
                };
            }
            _ => {}
        }
        State::Collecting {
            plan,
            collector,
            prompt,
        }
    }

    fn request_pin_check(&mut self, plan: Collect, pin: crate::Pin, now: Instant) -> State {
        self.history.pin_attempts = self.history.pin_attempts.saturating_add(1);
        self.actions.push_back(Action::CheckPin(pin));
        State::Checking {
            plan,
            until: deadline(now, STORE_TIMEOUT),
        }
    }

    fn on_pin_checked(&mut self, plan: Collect, verdict: Verdict, now: Instant) -> State {
        match verdict {
            Verdict::Accepted(connection) => self.start_hunt(plan, connection, now),
            Verdict::Refused => {
                self.history.wrong_attempts = self.history.wrong_attempts.saturating_add(1);
                if self.history.wrong_attempts >= plan.max_attempts {
                    return self.end_after_prompt(
                        Prompt::Goodbye,
                        (Cause::Declined, CallCause::WrongPin),
                        now,
                    );
                }
                let playback = self.play(Prompt::WrongPin);
                State::PlayingWrongPin {
                    plan,
                    playback,
                    until: deadline(now, MAX_PROMPT_DURATION),
                }
            }
        }
    }

    fn start_hunt(&mut self, plan: Collect, connection: Connection, now: Instant) -> State {
        if connection.dial.is_empty() {
            return self.end_after_prompt(
                Prompt::NoOneToConnect,
                (Cause::NotFound, CallCause::NoOtherParty),
                now,
            );
        }
        self.actions.push_back(Action::PlayRingback);
        let hunt = Hunt::new(connection.dial, plan.ring_timeout);
        self.continue_hunt(plan, hunt, connection.record, now)
    }

    /// Dials the next numbers. Ends the call if no attempt and no number is left.
    fn continue_hunt(
        &mut self,
        plan: Collect,
        mut hunt: Hunt,
        record: bool,
        now: Instant,
    ) -> State {
        while (plan.parallel || hunt.is_idle())
            && let Some((attempt, number)) = hunt.dial_next(now)
        {
            self.history.dialled = Some((number, now));
            self.actions.push_back(Action::Dial(attempt, number));
        }
        if hunt.is_idle() {
            let cause = self.history.last_failure.unwrap_or(Cause::NoAnswer);
            return self.end_unavailable(cause, now);
        }
        if let Some(change) = hunt.sound_change() {
            let ringback = change.rings_back.then_some(Action::PlayRingback);
            let early_media = change.starts.map(Action::PlayEarlyMedia);
            self.actions.extend(ringback.into_iter().chain(early_media));
        }
        State::Hunting { plan, hunt, record }
    }

    fn on_input_while_hunting(
        &mut self,
        plan: Collect,
        mut hunt: Hunt,
        record: bool,
        input: Input,
        now: Instant,
    ) -> State {
        match input {
            Input::Rerouted(attempt) => hunt.restart(attempt, now),
            Input::EarlyMediaStarted(attempt) => hunt.set_early_media(attempt, true),
            Input::EarlyMediaStopped(attempt) => hunt.set_early_media(attempt, false),
            Input::Ringing(attempt) => {
                if let Some(number) = hunt.on_ringing(attempt) {
                    self.actions.push_back(Action::ReportRinging(number));
                }
            }
            Input::Answered(attempt) => match plan.screening {
                Screening::None => return self.connect_attempt(plan, hunt, attempt, record, now),
                Screening::Whisper => self.screen(&mut hunt, attempt, Prompt::Whisper, now),
                Screening::Key => self.screen(&mut hunt, attempt, Prompt::AcceptCall, now),
            },
            Input::CalleeKey(attempt, key)
                if plan.screening == Screening::Key
                    && key.char() == ACCEPT_KEY
                    && hunt.is_screening(attempt) =>
            {
                return self.connect_attempt(plan, hunt, attempt, record, now);
            }
            Input::PlaybackFinished(finished) => {
                if let Some(attempt) =
                    hunt.on_playback_finished(finished, deadline(now, ACCEPT_KEY_TIMEOUT))
                    && plan.screening == Screening::Whisper
                {
                    return self.connect_attempt(plan, hunt, attempt, record, now);
                }
            }
            Input::Failed(attempt, cause) if hunt.remove(attempt).is_some() => {
                self.history.last_failure = Some(cause);
            }
            Input::Elapsed => {
                while let Some(attempt) = hunt.remove_expired(now) {
                    self.history.last_failure = Some(Cause::NoAnswer);
                    self.actions.push_back(Action::Abandon(attempt));
                }
            }
            _ => {}
        }
        self.continue_hunt(plan, hunt, record, now)
    }

    /// Plays a screening prompt to a party that has answered.
    fn screen(&mut self, hunt: &mut Hunt, attempt: DialAttempt, prompt: Prompt, now: Instant) {
        let playback = self.playbacks.wrapping_add(1);
        if hunt
            .on_answered(attempt, playback, deadline(now, MAX_PROMPT_DURATION))
            .is_some()
        {
            self.playbacks = playback;
            self.actions
                .push_back(Action::PlayTo(attempt, prompt, playback));
        }
    }

    /// Bridges the party of an attempt. An attempt that is no longer in progress is ignored.
    fn connect_attempt(
        &mut self,
        plan: Collect,
        mut hunt: Hunt,
        attempt: DialAttempt,
        record: bool,
        now: Instant,
    ) -> State {
        let Some((number, dialled_at)) = hunt.remove(attempt) else {
            return self.continue_hunt(plan, hunt, record, now);
        };
        self.history.dialled = Some((number, dialled_at));
        self.bridge(plan, hunt, attempt, number, record, now)
    }

    /// Warns the parties or ends the call, according to the time.
    fn on_bridged_timer(
        &mut self,
        until: Instant,
        warn_at: Option<Instant>,
        now: Instant,
    ) -> State {
        if now >= until {
            return self.end(
                State::Bridged { until, warn_at },
                HangupBy::System,
                Cause::TimeLimit,
                now,
            );
        }
        if warn_at.is_some_and(|warn_at| now >= warn_at) {
            self.actions.push_back(Action::PlayToBoth(Prompt::Warning));
            return State::Bridged {
                until,
                warn_at: None,
            };
        }
        State::Bridged { until, warn_at }
    }

    fn bridge(
        &mut self,
        plan: Collect,
        hunt: Hunt,
        attempt: DialAttempt,
        number: PhoneNumber,
        record: bool,
        now: Instant,
    ) -> State {
        self.abandon_all(hunt);
        // The recording starts first, so that it has all that the parties say to each other.
        if record {
            self.actions.push_back(Action::Record);
        }
        self.actions.push_back(Action::Bridge(attempt));
        if record && plan.announce_recording {
            self.actions.push_back(Action::PlayToBoth(Prompt::Recorded));
        }
        self.actions.push_back(Action::ReportAnswered(number));
        self.history.bridged_at = Some(now);
        let until = deadline(now, plan.max_call_duration);
        let warn_at = plan
            .warning
            .filter(|warning| *warning < plan.max_call_duration);
        State::Bridged {
            until,
            warn_at: warn_at.and_then(|warning| until.checked_sub(warning)),
        }
    }

    fn abandon_all(&mut self, hunt: Hunt) {
        self.actions
            .extend(hunt.into_attempts().map(Action::Abandon));
    }

    /// Ends the call after the prompt that nobody can be connected.
    fn end_unavailable(&mut self, cause: Cause, now: Instant) -> State {
        self.end_after_prompt(Prompt::Unavailable, (cause, cause.into()), now)
    }

    /// Plays a prompt and ends the call after it. `result` is the reason for the result in the record.
    fn end_after_prompt(
        &mut self,
        prompt: Prompt,
        (cause, result): (Cause, CallCause),
        now: Instant,
    ) -> State {
        self.history.cause = Some(result);
        let playback = self.play(prompt);
        State::PlayingLastPrompt {
            playback,
            until: deadline(now, MAX_PROMPT_DURATION),
            cause,
        }
    }

    fn reject(&mut self, cause: Cause, now: Instant) -> State {
        self.actions.push_back(Action::Reject(cause));
        self.finish(HangupBy::System, cause, now)
    }

    fn on_hung_up(&mut self, state: State, side: Side, cause: Cause, now: Instant) -> State {
        let by = match (side, cause) {
            (_, Cause::MediaLost) => HangupBy::System,
            (Side::Caller, _) => HangupBy::Caller,
            (Side::Callee, _) => HangupBy::Callee,
        };
        match (state, side) {
            (State::Bridged { .. }, side) => {
                let other = if side == Side::Caller {
                    Side::Callee
                } else {
                    Side::Caller
                };
                self.actions.push_back(Action::HangUp(other, cause));
                self.finish(by, cause, now)
            }
            (State::Hunting { hunt, .. }, Side::Caller) => {
                self.abandon_all(hunt);
                self.history.last_failure = Some(Cause::Canceled);
                self.finish(by, cause, now)
            }
            (_, Side::Caller) => self.finish(by, cause, now),
            // The callee exists only in a bridged call, so this input came late.
            (state, Side::Callee) => state,
        }
    }

    /// Ends the call from the side of the server, in any state.
    fn end(&mut self, state: State, by: HangupBy, cause: Cause, now: Instant) -> State {
        match state {
            State::Routing { .. } => return self.reject(Cause::Overloaded, now),
            State::Hunting { hunt, .. } => {
                self.abandon_all(hunt);
                self.history.last_failure = Some(Cause::Canceled);
            }
            State::Bridged { .. } => self.actions.push_back(Action::HangUp(Side::Callee, cause)),
            _ => {}
        }
        self.actions.push_back(Action::HangUp(Side::Caller, cause));
        self.finish(by, cause, now)
    }

    fn finish(&mut self, hangup_by: HangupBy, cause: Cause, now: Instant) -> State {
        self.finished = true;
        let outcome = self.outcome(hangup_by, cause, now);
        self.actions.push_back(Action::Finish(outcome));
        State::Ended
    }

    fn outcome(&self, hangup_by: HangupBy, cause: Cause, now: Instant) -> CallOutcome {
        let history = &self.history;
        let (call_type, dial_status) =
            match (history.bridged_at, history.dialled, history.last_failure) {
                (Some(_), _, _) => (CallType::Completed, Some(crate::DialStatus::Completed)),
                (None, None, _) => (CallType::CallAttempt, None),
                (None, Some(_), Some(Cause::Canceled)) if hangup_by == HangupBy::Caller => {
                    (CallType::ClientHangup, Some(crate::DialStatus::Canceled))
                }
                (None, Some(_), failure) => (
                    CallType::Incomplete,
                    Some(failure.unwrap_or(Cause::NoAnswer).dial_status()),
                ),
            };
        CallOutcome {
            call_type,
            dial_status,
            hangup_by,
            cause: self.result_cause(hangup_by, cause),
            pin_attempts: history.pin_attempts,
            dialled: history.dialled.map(|(number, _)| number),
            answered_at: history.answered_at,
            dialled_at: history.dialled.map(|(_, at)| at),
            bridged_at: history.bridged_at,
            ended_at: now,
        }
    }

    /// Returns the reason for the result of a call that ends for this cause.
    fn result_cause(&self, hangup_by: HangupBy, cause: Cause) -> CallCause {
        let history = &self.history;
        match (cause, hangup_by) {
            (Cause::Internal, _) => CallCause::Internal,
            (Cause::Normal, HangupBy::Caller | HangupBy::Callee)
                if history.bridged_at.is_some() =>
            {
                CallCause::Completed
            }
            _ if history.bridged_at.is_some() => cause.into(),
            _ if history.cause.is_some() => history.cause.unwrap_or(CallCause::Ended),
            (_, HangupBy::Caller) if history.dialled.is_some() => CallCause::Canceled,
            (_, HangupBy::Caller) => CallCause::CallerHungUp,
            _ => cause.into(),
        }
    }
}
