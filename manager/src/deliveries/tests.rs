use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use holdfast_objects::catalog::AnyOp;
use holdfast_objects::{Answer, Ended, SessionId};
use holdfast_proto::ops::Request;
use holdfast_proto::{EventSetRequest, EventWaitRequest, Reason, event};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

use super::{ANSWERS, AT_ONCE, CONNECTIONS};
use crate::engine::{Asked, Engine};
use crate::limits::Limits;
use crate::slot::Slot;
use crate::waits::Waiting;

/// Counts how often connections were woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// An event at which calls of many sessions wait, each session by turns.
struct Crowd {
    engine: Engine,
    event: Arc<Slot>,
    sessions: Vec<Arc<Waiting>>,
    bell: Arc<Bell>,
}

fn op<R: Request>(request: &R) -> AnyOp {
    AnyOp::decode(R::KIND, R::OP, &request.encode_to_vec()).unwrap()
}

fn id(session: usize) -> SessionId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&session.to_be_bytes());
    SessionId(id)
}

impl Crowd {
    fn new(sessions: usize, calls_of_each: u64) -> Self {
        let engine = Engine::new(Arc::new(Limits::default()), 1);
        let event = engine.create(event::KIND, b"", &mut |_| Ok(())).unwrap();
        let bell = Arc::<Bell>::default();
        let join = |at| {
            let session = engine.waits().join(id(at));
            session.set_waker(Some(Waker::from(bell.clone())));
            session
        };
        let sessions = (1..=sessions).map(join).collect();
        let crowd = Self { engine, event, sessions, bell };
        for number in 1..=calls_of_each {
            for session in &crowd.sessions {
                let op = op(&EventWaitRequest { patience_ms: None });
                let asked = Asked { number, fence: 0, op };
                assert!(matches!(crowd.engine.apply(&crowd.event, session, asked), (_, Answer::Wait(_))));
            }
        }
        crowd
    }

    fn set(&self) {
        let (_, answer) = self.engine.ask(&self.event, id(0), op(&EventSetRequest {}));
        assert!(matches!(answer, Answer::Done(_)));
        // What the event says is said at once.
        self.event.enter(|event| event.visit_waiting(&mut |call| panic!("{call:?} still waits"))).unwrap();
    }

    fn woken(&self) -> usize {
        self.bell.0.load(Ordering::Relaxed)
    }

    /// The calls of each session that were told, in the order in which they were.
    fn told(&self) -> Vec<Vec<u64>> {
        let told = |session: &Arc<Waiting>| {
            let answers = std::iter::from_fn(|| session.next_answer());
            answers.inspect(|answered| assert!(matches!(answered.answer, Answer::Done(_)))).map(|a| a.number).collect()
        };
        self.sessions.iter().map(told).collect()
    }
}

fn runtime() -> Runtime {
    // As in the manager, tasks that are ready go first.
    Builder::new_current_thread().build().unwrap()
}

#[test]
fn few_are_told_at_once() {
    runtime().block_on(async {
        let crowd = Crowd::new(AT_ONCE, 1);
        crowd.set();
        assert_eq!((crowd.woken(), crowd.engine.waits().len()), (AT_ONCE, 0));
        assert_eq!(crowd.told(), vec![vec![1]; AT_ONCE]);
    });
}

#[test]
fn of_many_connections_some_are_woken_and_then_others_have_their_turn() {
    runtime().block_on(async {
        let many = 10 * CONNECTIONS + 3;
        let crowd = Crowd::new(many, 1);
        crowd.set();
        let mut turns = Vec::new();
        while crowd.engine.waits().len() > 0 {
            turns.push(crowd.woken());
            yield_now().await;
        }
        assert_eq!(turns, (1..=10).map(|turn| turn * CONNECTIONS).collect::<Vec<_>>());
        assert_eq!((crowd.woken(), crowd.told()), (many, vec![vec![1]; many]));
    });
}

#[test]
fn of_many_answers_to_one_session_some_are_given_and_then_others_have_their_turn() {
    runtime().block_on(async {
        let calls = 4 * ANSWERS as u64 + 9;
        let crowd = Crowd::new(1, calls);
        let all = crowd.engine.waits().len();
        crowd.set();
        let mut turns = Vec::new();
        while crowd.engine.waits().len() > 0 {
            turns.push(all - crowd.engine.waits().len());
            yield_now().await;
        }
        assert_eq!(turns, (1..=4).map(|turn| turn * ANSWERS).collect::<Vec<_>>());
        assert_eq!(crowd.told(), [(1..=calls).collect::<Vec<_>>()], "they are told in the order in which they came");
    });
}

#[test]
fn two_turns_are_told_one_after_the_other_and_together_wake_no_more() {
    runtime().block_on(async {
        let crowd = Crowd::new(2 * CONNECTIONS, 1);
        crowd.set();
        // A second turn that gives many, before the first is told.
        let other = crowd.engine.create(event::KIND, b"", &mut |_| Ok(())).unwrap();
        for session in &crowd.sessions {
            let op = op(&EventWaitRequest { patience_ms: None });
            assert!(matches!(
                crowd.engine.apply(&other, session, Asked { number: 2, fence: 0, op }),
                (_, Answer::Wait(_))
            ));
        }
        other.delete();
        assert_eq!(crowd.engine.waits().len(), 3 * CONNECTIONS, "of the first turn some, of the second none");
        while crowd.engine.waits().len() > 0 {
            let before = crowd.woken();
            yield_now().await;
            assert!(crowd.woken() - before <= ANSWERS);
        }
        for session in &crowd.sessions {
            let answers: Vec<_> = std::iter::from_fn(|| session.next_answer()).collect();
            assert!(matches!(&answers[0].answer, Answer::Done(_)) && answers[0].number == 1);
            let Answer::Refused(refusal) = &answers[1].answer else { panic!("{answers:?}") };
            assert_eq!((answers[1].number, refusal.why()), (2, Reason::UnknownObject));
        }
    });
}

#[test]
fn who_ends_meanwhile_is_left_out_and_all_others_are_told() {
    runtime().block_on(async {
        let many = 5 * CONNECTIONS;
        let crowd = Crowd::new(many, 1);
        crowd.set();
        // The one who has set it, and one who was not told yet.
        let (setter, last) = (crowd.engine.waits().join(id(0)), crowd.sessions.last().unwrap());
        assert!(crowd.engine.waits().leave(&setter).is_empty());
        assert_eq!(crowd.engine.waits().leave(last).len(), 1, "the event is told of its end");
        crowd.engine.leave(&crowd.event, id(many), Ended::Lost, &Arc::default());
        while crowd.engine.waits().len() > 0 {
            yield_now().await;
        }
        let mut told = vec![vec![1]; many];
        told[many - 1].clear();
        assert_eq!(crowd.told(), told);
    });
}

#[test]
fn all_are_told_when_the_thread_ends_and_where_there_is_no_runtime() {
    let crowd = Crowd::new(5 * CONNECTIONS, 1);
    let runtime = runtime();
    runtime.block_on(async { crowd.set() });
    assert_eq!(crowd.woken(), CONNECTIONS);
    drop(runtime);
    assert_eq!((crowd.engine.waits().len(), crowd.told()), (0, vec![vec![1]; 5 * CONNECTIONS]));

    let crowd = Crowd::new(5 * CONNECTIONS, 1);
    crowd.set();
    assert_eq!((crowd.engine.waits().len(), crowd.told()), (0, vec![vec![1]; 5 * CONNECTIONS]));
}

#[test]
fn an_object_at_which_many_calls_of_a_session_wait_is_told_of_its_end_once() {
    let crowd = Crowd::new(2, 5);
    assert_eq!(crowd.engine.waits().leave(&crowd.sessions[0]).len(), 1);
    assert_eq!(crowd.engine.waits().len(), 5);
}
