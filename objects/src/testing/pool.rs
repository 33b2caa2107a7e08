//! Arbitrary pools.

use alloc::string::String;
use alloc::vec::Vec;

use holdfast_proto::pool::{Op, Spec};
use holdfast_proto::{
    Datum, PoolArguments, PoolCancelRequest, PoolCloseRequest, PoolCollectRequest, PoolDescribeRequest, PoolDone,
    PoolDrainRequest, PoolFinishRequest, PoolForgetRequest, PoolJoinRequest, PoolLeaveRequest, PoolOutcome,
    PoolProgressRequest, PoolRaised, PoolRunRequest, PoolSubmitRequest, PoolTakeRequest, PoolTerminateRequest,
    PoolWorkersRequest,
};

use super::{Promise, Source, Tested};
use crate::pool::Pool;

impl Tested for Pool {
    fn arbitrary_spec(source: &mut Source) -> Spec {
        Spec { tries: source.below(4) as u32, max_waiting: source.below(3) * 2 }
    }

    fn arbitrary_op(source: &mut Source) -> Op {
        match source.below(60) {
            0..12 => Op::Submit(PoolSubmitRequest {
                job: if source.below(2) == 0 { source.below(4) } else { 0 },
                function: function(source),
                shape: shape(source),
                tasks: (0..source.below(4)).map(|_| arguments(source)).collect(),
                tries: source.below(3) as u32,
                keep: source.below(3) == 0,
                patience_ms: source.patience_ms(),
            }),
            12..17 => Op::Run(PoolRunRequest {
                function: function(source),
                shape: shape(source),
                arguments: source.often().then(|| arguments(source).into()),
                tries: source.below(3) as u32,
                patience_ms: source.patience_ms(),
            }),
            17..24 => {
                let (job, max) = (source.below(4), source.below(4));
                Op::Collect(PoolCollectRequest { job, max, patience_ms: source.patience_ms() })
            }
            24 | 25 => Op::Cancel(PoolCancelRequest { job: source.below(4), indexes: numbers(source, 4) }),
            26 => Op::Forget(PoolForgetRequest { job: source.below(4) }),
            27 => Op::Progress(PoolProgressRequest { job: source.below(4) }),
            28..32 => Op::Join(PoolJoinRequest {
                functions: (0..1 + source.below(2)).map(|_| function(source)).collect(),
                name: String::from(["", "w"][source.below(2) as usize]),
                pid: source.below(3) as u32,
                host: "h".repeat(source.below(3) as usize),
            }),
            32..44 => Op::Take(PoolTakeRequest {
                worker: 1 + source.below(3),
                max: source.below(4),
                patience_ms: source.patience_ms(),
                done: done(source),
            }),
            44..51 => Op::Finish(PoolFinishRequest {
                worker: 1 + source.below(3),
                done: done(source),
                untouched: if source.below(3) == 0 { numbers(source, 12) } else { Vec::new() },
            }),
            51 => Op::Leave(PoolLeaveRequest { worker: source.below(4) }),
            52 if source.below(6) == 0 => Op::Close(PoolCloseRequest {}),
            53 if source.below(6) == 0 => {
                Op::Terminate(PoolTerminateRequest { reason: "r".repeat(source.below(2) as usize) })
            }
            54 | 55 => Op::Drain(PoolDrainRequest { patience_ms: source.patience_ms() }),
            56 | 57 => Op::Describe(PoolDescribeRequest {}),
            _ => Op::Workers(PoolWorkersRequest { cursor: source.below(4), bytes: source.below(60) as u32 }),
        }
    }

    fn promise(op: &Op) -> Promise {
        match op {
            Op::Progress(_) | Op::Describe(_) | Op::Workers(_) => Promise::Reads,
            Op::Cancel(_) | Op::Forget(_) | Op::Leave(_) | Op::Close(_) | Op::Terminate(_) => Promise::Frees,
            Op::Submit(_) | Op::Run(_) | Op::Collect(_) | Op::Join(_) | Op::Take(_) | Op::Finish(_) | Op::Drain(_) => {
                Promise::Writes
            }
        }
    }
}

/// One of few, seldom without a name.
fn function(source: &mut Source) -> String {
    if source.often() { String::from(["f", "f", "g", "longer"][source.below(4) as usize]) } else { String::new() }
}

/// Seldom none that there is.
fn shape(source: &mut Source) -> i32 {
    if source.often() { source.below(3) as i32 } else { 3 }
}

/// Data or the encoding of data, seldom both or neither.
fn arguments(source: &mut Source) -> PoolArguments {
    let encoded = |source: &mut Source| Some("e".repeat(source.below(9) as usize).into());
    match source.below(60) {
        0 => PoolArguments::default(),
        1 => PoolArguments { datum: Some(Datum::Null), encoded: encoded(source) },
        2..15 => PoolArguments { datum: None, encoded: encoded(source) },
        15..30 => PoolArguments { datum: Some(source.datum()), encoded: None },
        _ => PoolArguments { datum: Some(source.number()), encoded: None },
    }
}

/// What a worker says of few tasks, mostly of some that there are.
fn done(source: &mut Source) -> Vec<PoolDone> {
    let done = |source: &mut Source| {
        let too_large = source.below(12) == 0;
        let outcome = (!too_large).then(|| outcome(source, 2));
        PoolDone { task: 1 + source.below(12), outcome, more: !too_large && source.below(4) == 0, too_large }
    };
    (0..source.below(4)).map(|_| done(source)).collect()
}

/// Anything that a worker could say, seldom what it may not.
fn outcome(source: &mut Source, depth: u64) -> PoolOutcome {
    let mut outcome = PoolOutcome::default();
    match source.below(60) {
        0 => {}
        1 => outcome.cancelled = true,
        2..8 => outcome.encoded = Some("e".repeat(source.below(9) as usize).into()),
        8..16 => {
            let text = |source: &mut Source| "x".repeat(source.below(5) as usize);
            outcome.raised = Some(PoolRaised {
                r#type: text(source),
                message: text(source),
                trace: text(source),
                value: (source.below(2) == 0).then(|| source.datum()),
            });
        }
        16..22 if depth > 0 => {
            outcome.outcomes = (0..1 + source.below(2)).map(|_| self::outcome(source, depth - 1)).collect();
        }
        _ => outcome.returned = Some(if source.below(2) == 0 { source.number() } else { source.datum() }),
    }
    outcome
}

fn numbers(source: &mut Source, end: u64) -> Vec<u64> {
    (0..source.below(3)).map(|_| source.below(end)).collect()
}
