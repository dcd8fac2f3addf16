//! Comparison of resolve with a real call, after any sequence of changes.

use proptest::prelude::*;

use super::*;

/// Change on a number before the comparison.
#[derive(Debug, Clone)]
enum WorldChange {
    Create { on: usize, from: usize, to: usize },
    Delete(usize),
    Try { on: usize, caller: usize, of: usize },
    Wait(u64),
    Policy(bool),
}

const NUMBERS: [&str; 3] = [EXCLUSIVE, SHARED, OPEN];
const CALLERS: [Option<&str>; 4] = [Some(AGENT), Some(CUSTOMER), Some(STRANGER), None];

fn step() -> impl Strategy<Value = WorldChange> {
    prop_oneof![
        3 => (0..3_usize, 0..3_usize, 0..3_usize).prop_map(|(on, from, to)| WorldChange::Create { on, from, to }),
        1 => (0..8_usize).prop_map(WorldChange::Delete),
        6 => (0..3_usize, 0..4_usize, 0..8_usize).prop_map(|(on, caller, of)| WorldChange::Try { on, caller, of }),
        1 => (1..400_u64).prop_map(WorldChange::Wait),
        1 => any::<bool>().prop_map(WorldChange::Policy),
    ]
}

struct World {
    bench: Bench,
    made: Vec<Allocation>,
    seconds: u64,
}

impl World {
    async fn take(&mut self, step: WorldChange) {
        let now = self.bench.at(self.seconds);
        match step {
            WorldChange::Create { on, from, to } => {
                let to = if from == to {
                    Vec::new()
                } else {
                    vec![number(CALLERS[to].unwrap())]
                };
                let from = vec![number(CALLERS[from].unwrap())];
                let new = NewAllocation {
                    from,
                    to,
                    ..wanted(NUMBERS[on])
                };
                self.made
                    .extend(self.bench.tenant.create_allocation(new, now).await);
            }
            WorldChange::Delete(which) => {
                if let Some(made) = self.made.get(which) {
                    let _ = self
                        .bench
                        .tenant
                        .delete_allocation(&made.greenpin_id, now)
                        .await;
                }
            }
            WorldChange::Try { on, caller, of } => self.ask(on, caller, of).await,
            WorldChange::Wait(seconds) => self.seconds += seconds,
            WorldChange::Policy(listed) => {
                let policy = if listed {
                    CallerPolicy::Listed
                } else {
                    CallerPolicy::Any
                };
                let set = move |settings: &mut TenantSettings| settings.caller_policy = policy;
                self.bench
                    .tenant
                    .update_settings(set, None, now)
                    .await
                    .unwrap();
            }
        }
    }

    /// Resolves, then calls. The call gets the predicted result, and resolving has changed nothing.
    async fn ask(&self, on: usize, caller: usize, of: usize) {
        let (vn, caller, now) = (NUMBERS[on], CALLERS[caller], self.bench.at(self.seconds));
        let digits = self.made.get(of).map_or("0000", |made| made.pin.expose());
        let ask = |digits: Option<&str>| {
            let digits = digits.map(|digits| Pin::parse(digits).unwrap());
            self.bench
                .tenant
                .resolve(number(vn), caller.map(number), digits, now)
        };
        let (bare, told) = (ask(None).await.unwrap(), ask(Some(digits)).await.unwrap());
        assert_eq!(ask(Some(digits)).await.unwrap(), told);
        let (sid, route) = self.bench.call(vn, caller, self.seconds).await;
        match route {
            Route::Collect(collect) => {
                let asked = matches!(bare, Resolution::CollectPin { pin_length, .. } if pin_length == collect.pin_length);
                assert!(asked, "{bare:?}");
                let digits: String = digits.chars().take(collect.pin_length.into()).collect();
                let verdict = self.bench.attempt_pin(&sid, &digits, self.seconds).await;
                self.compare(&sid, told, verdict).await;
            }
            Route::NotInUse => {
                assert_eq!((bare, told), (Resolution::NotInUse, Resolution::NotInUse));
            }
            other => panic!("{other:?}"),
        }
    }

    async fn compare(&self, sid: &CallSid, told: Resolution, verdict: Verdict) {
        match (told, verdict) {
            (
                Resolution::Connected {
                    greenpin_id,
                    connection,
                },
                Verdict::Accepted(met),
            ) => {
                assert_eq!(connection, met);
                let call = self.bench.tenant.call(sid).await.unwrap().unwrap();
                assert_eq!(call.greenpin_id, Some(greenpin_id));
            }
            (Resolution::Refused(told, _), Verdict::Refused) => {
                let events = self.bench.events().await;
                let failed = events
                    .iter()
                    .rfind(|event| event["type"] == "call.pin_failed")
                    .unwrap();
                assert_eq!(failed["data"]["reason"], told.as_str());
            }
            (told, met) => panic!("told {told:?}, met {met:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_call_gets_the_result_that_resolve_predicts(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut world = World { bench: Bench::new().await, made: Vec::new(), seconds: 0 };
            for step in steps {
                world.take(step).await;
            }
        });
    }
}
