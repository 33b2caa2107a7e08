//! A manager that was stopped: nobody is taken for lost because of it.

use std::time::Duration;

use holdfast_proto::{LockAcquireRequest, LockDescribeRequest, LockSpec, StatusRequest, lock};
use holdfast_tests::{Cut, Cutter, Party, Setup, Stopped, program, until_async};

/// The grace of the manager here.
const GRACE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn row_06_the_manager_was_the_one_that_slept() {
    // One thread handles what comes in its order.
    let setup = Setup::new(program!()).tcp().limit("threads", 1);
    let manager = setup.setting("session_grace", &format!("{}ms", GRACE.as_millis())).start();
    let cutter = Cutter::start(&manager.addresses[1], |_| Cut::NEVER);
    let mut client = Party::join_as(&cutter.address(), manager.authkey(), "a client").await;
    let lock = client.open("lock", lock::KIND, &LockSpec::default()).await;
    assert!(client.ask(lock, LockAcquireRequest::default()).await.unwrap().acquired);
    let mut observer = Party::join(&manager, 0).await;
    for round in 0..2 {
        cutter.cut_all();
        // The manager has noticed it when it has answered what was asked later.
        observer.settle().await;
        let stopped = Stopped::new(&manager);
        // That so much time passes, and nothing else happens, is what is tested.
        tokio::time::sleep(GRACE * 3 / 2).await;
        drop(stopped);
        client.resume().await;
        assert!(client.ask(lock, LockDescribeRequest {}).await.unwrap().yours, "round {round}");
    }
    cutter.cut_all();
    until_async("it does not live for ever", async || {
        (observer.ask(0, StatusRequest {}).await.unwrap().sessions == 1).then_some(())
    })
    .await;
}
