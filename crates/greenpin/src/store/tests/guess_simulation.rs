//! Simulation of strangers who guess PINs of a shared number for a year, and of honest callers meanwhile. It runs the
//! limits of the program without a database, and a part of it runs against the store.

use std::collections::HashMap;

use super::*;
use crate::store::numbers::UNLISTED_BURST;
use crate::store::numbers::guess_odds::{expected_guesses, yearly_odds};
use crate::store::pins::throttle::{
    BLOCK_BUDGET, Budget, CallerHistory, SourceBudgets, TRUNK_BUDGET, Throttle,
};

const SEEDS: u64 = 100;
/// Seconds between two attempts of the attackers: far more attempts than any limit admits.
const ATTACK_INTERVAL: u64 = 300;
/// Mean seconds between two honest callers.
const HONEST_INTERVAL: u64 = 4 * 3600;
/// Callers who have had a right PIN before, of which one returns in every second honest call.
const CUSTOMERS: u64 = 20;

/// Numbers that the attackers present, and trunks that they reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    /// Numbers of one block of 10,000, through one of two trunks.
    OneBlock,
    /// Any number, through one of two trunks.
    OneTrunk,
    /// Any number, through every trunk.
    Everything,
}

/// Caller of an attempt: its number and its trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Source {
    number: u64,
    trunk: &'static str,
}

const TRUNKS: [&str; 2] = ["carrier-a", "carrier-b"];

/// Pseudo-random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % end
    }

    fn attacker(&mut self, attack: Attack) -> Source {
        let block = match attack {
            Attack::OneBlock => 0,
            Attack::OneTrunk | Attack::Everything => self.below(50_000),
        };
        let trunk = match attack {
            Attack::OneBlock | Attack::OneTrunk => 0,
            Attack::Everything => self.below(2),
        };
        Source {
            number: 917_700_000_000 + block * 10_000 + self.below(10_000),
            trunk: TRUNKS[usize::try_from(trunk).unwrap()],
        }
    }

    /// Returns a customer, or a caller who calls for the first time.
    fn honest(&mut self) -> Source {
        let index = match self.below(2) {
            0 => self.below(CUSTOMERS),
            _ => CUSTOMERS + self.below(1_000_000),
        };
        Source {
            number: 918_800_000_000 + index * 997,
            trunk: TRUNKS[usize::try_from(self.below(2)).unwrap()],
        }
    }
}

/// Limits of one number, in memory.
struct Model {
    has_limit: bool,
    number: Budget,
    callers: HashMap<u64, CallerHistory>,
    trunks: HashMap<&'static str, Budget>,
    blocks: HashMap<u64, Budget>,
}

impl Model {
    fn new(has_limit: bool, now: Timestamp) -> Self {
        Self {
            has_limit,
            number: Budget {
                left: UNLISTED_BURST,
                at: now,
            },
            callers: HashMap::new(),
            trunks: HashMap::new(),
            blocks: HashMap::new(),
        }
    }

    /// Makes an attempt; returns whether it was admitted.
    fn attempt(&mut self, source: Source, is_right: bool, now: Timestamp) -> bool {
        let block = source.number / 10_000;
        let full = |limit: crate::store::pins::throttle::BudgetLimit| limit.full(now);
        let history = self.callers.get(&source.number).copied();
        let mut throttle = Throttle {
            history: history.unwrap_or_else(CallerHistory::empty),
            is_known: true,
            number: self.number,
            sources: self.has_limit.then(|| SourceBudgets {
                trunk: *self.trunks.get(source.trunk).unwrap_or(&full(TRUNK_BUDGET)),
                block: *self.blocks.get(&block).unwrap_or(&full(BLOCK_BUDGET)),
            }),
        };
        let Some(charged) = throttle.charge(now) else {
            return false;
        };
        if is_right {
            throttle.refund(charged, now);
        } else {
            throttle.confirm(charged, now);
        }
        self.number = throttle.number;
        self.callers.insert(source.number, throttle.history);
        if let Some(sources) = throttle.sources {
            self.trunks.insert(source.trunk, sources.trunk);
            self.blocks.insert(block, sources.block);
        }
        true
    }
}

/// Counts of a year.
#[derive(Debug, Default, Clone, Copy)]
struct Year {
    wrong_attempts: u64,
    break_ins: u64,
    honest: [u64; 2],
    /// Refused honest attempts: of callers who call for the first time, and of customers.
    refused: [u64; 2],
}

/// Runs a number with `active` PINs of `pin_length` digits under attack for a year.
fn simulate(attack: Attack, has_limit: bool, (active, pin_length): (u64, u32), seed: u64) -> Year {
    let mut random = Random(seed);
    let start = Timestamp::from_micros(1_781_499_600_000_000);
    let mut model = Model::new(has_limit, start);
    for index in 0..CUSTOMERS {
        let source = Source {
            number: 918_800_000_000 + index * 997,
            trunk: TRUNKS[0],
        };
        model.attempt(source, true, start);
    }
    let mut year = Year::default();
    for step in 1..365 * DAY / ATTACK_INTERVAL {
        let now = start + Duration::from_secs(step * ATTACK_INTERVAL);
        let attacker = random.attacker(attack);
        let is_right = random.below(10_u64.pow(pin_length)) < active;
        if model.attempt(attacker, is_right, now) {
            year.wrong_attempts += 1;
            year.break_ins += u64::from(is_right);
        }
        if random.below(HONEST_INTERVAL / ATTACK_INTERVAL) == 0 {
            let caller = random.honest();
            let kind = usize::from((caller.number - 918_800_000_000) / 997 < CUSTOMERS);
            year.honest[kind] += 1;
            year.refused[kind] += u64::from(!model.attempt(caller, true, now));
        }
    }
    year
}

/// Sums the years of all seeds, and prints both figures.
fn sum(attack: Attack, has_limit: bool, pins: (u64, u32)) -> Year {
    let mut sum = Year::default();
    for seed in 0..SEEDS {
        let year = simulate(attack, has_limit, pins, seed);
        sum.wrong_attempts += year.wrong_attempts;
        sum.break_ins += year.break_ins;
        for kind in 0..2 {
            sum.honest[kind] += year.honest[kind];
            sum.refused[kind] += year.refused[kind];
        }
    }
    let share = |kind: usize| 100.0 * sum.refused[kind] as f64 / sum.honest[kind] as f64;
    println!(
        "{attack:?}, limit {has_limit}, {pins:?}: break-ins a year {:.3}, new callers refused {:.2} %, customers {:.2} %",
        sum.break_ins as f64 / SEEDS as f64,
        share(0),
        share(1)
    );
    sum
}

fn refused_share(year: Year, kind: usize) -> f64 {
    year.refused[kind] as f64 / year.honest[kind] as f64
}

const NEW: usize = 0;
const CUSTOMER_KIND: usize = 1;

#[test]
fn break_ins_follow_the_odds_and_honest_callers_get_through() {
    // Without a limit: the 200 open PINs of the report, and honest callers who wait for the attackers.
    let open = sum(Attack::OneBlock, false, (200, 6));
    let expected = expected_guesses(200, 6) * SEEDS as f64;
    assert!((open.break_ins as f64 - expected).abs() < 4.0 * expected.sqrt());
    assert!(refused_share(open, NEW) > 0.7);
    // With max_guess_odds = 0.01 and the 57 PINs of eight digits that it admits.
    assert!(yearly_odds(57, 8) <= 0.01);
    for (attack, new_callers) in [
        (Attack::OneBlock, 0.0),
        (Attack::OneTrunk, 0.51),
        (Attack::Everything, 1.0),
    ] {
        let year = sum(attack, true, (57, 8));
        // Of 100 years one break-in is expected; five or more have a probability of 0.4 %.
        assert!(year.break_ins < 5);
        assert!(refused_share(year, NEW) <= new_callers);
        assert_eq!(year.refused[CUSTOMER_KIND], 0);
    }
}

/// Makes an attempt against the store. Returns whether the limits admitted it, and whether the call was accepted.
async fn stored_attempt(bench: &Bench, source: Source, digits: &str, seconds: u64) -> (bool, bool) {
    let started_at = bench.at(seconds);
    let call_sid = CallSid::new(started_at);
    let call = NewCall {
        call_sid: call_sid.clone(),
        virtual_number: number(WIDE),
        caller: Some(number(&format!("+{}", source.number))).into(),
        trunk: source.trunk.into(),
        node: "node-1".into(),
        started_at,
    };
    bench.store.begin_call(call).await.unwrap();
    let verdict = bench.attempt_pin(&call_sid, digits, seconds).await;
    let events = bench.tenant.events_after(None, 1000).await.unwrap();
    let is_throttled = events.iter().any(|event| {
        event.body.contains(call_sid.as_str()) && event.body.contains("\"throttled\"")
    });
    (!is_throttled, matches!(verdict, Verdict::Accepted(_)))
}

#[tokio::test]
async fn the_store_decides_as_the_simulation_does() {
    for (attack, limit) in [
        (Attack::OneTrunk, None),
        (Attack::OneTrunk, GuessOdds::new(0.01)),
        (Attack::OneBlock, GuessOdds::new(0.01)),
    ] {
        let bench = Bench::new().await;
        bench.share_wide(8, 57).await;
        let set = move |settings: &mut TenantSettings| settings.max_guess_odds = limit;
        let changed = bench.tenant.update_settings(set, None, bench.start).await;
        changed.unwrap();
        let new = NewAllocation {
            duration: Duration::from_secs(10 * DAY),
            ..wanted(WIDE)
        };
        let created = bench.tenant.create_allocation(new, bench.start).await;
        let pin = created.unwrap().pin;
        let mut model = Model::new(limit.is_some(), bench.start);
        let mut random = Random(7);
        for seconds in (1..2 * DAY / 600).map(|step| step * 600) {
            let mut attempts = vec![(random.attacker(attack), wrong(&pin))];
            if random.below(6) == 0 {
                attempts.push((random.honest(), pin.expose().to_owned()));
            }
            for (source, digits) in attempts {
                let is_right = digits == pin.expose();
                let admitted = model.attempt(source, is_right, bench.at(seconds));
                assert_eq!(
                    stored_attempt(&bench, source, &digits, seconds).await,
                    (admitted, admitted && is_right),
                    "{attack:?}, {limit:?}, {seconds} s"
                );
            }
        }
    }
}
