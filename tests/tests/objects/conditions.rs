// What locks and conditions promise, for either library: see `promises.rs`.

promise!(who_waits_on_a_condition_has_its_lock_again_after_a_notify, SHARED, |server, manager| {
    let condition: Condition = wait!(manager.condition(&name("condition"))).unwrap();
    let mut guard = wait!(condition.acquire()).unwrap();
    let before = guard.fence();
    let other = meanwhile(&server.options(), |manager| {
        let lock = manager.rlock(&name("condition")).unwrap();
        until("it waits", || (lock.state().unwrap().waiting_on_conditions == 1).then_some(()));
        let (condition, guard) = (lock.condition(""), lock.acquire().unwrap());
        assert_eq!(lock.condition("another").notify_all().unwrap(), 0);
        assert_eq!(condition.notify(3).unwrap(), 1);
        guard.release().unwrap();
    });
    wait!(condition.wait(&mut guard)).unwrap();
    assert!(guard.is_held() && guard.fence() > before && guard.abandoned().is_none(), "{guard:?}");
    other.join().unwrap();
    wait!(guard.release()).unwrap();
});

promise!(a_wait_on_a_condition_ends_with_its_patience_and_has_the_lock, SHARED, |server, manager| {
    let condition: Condition = wait!(manager.new_condition()).unwrap();
    let lock: RLock = condition.reference().get().unwrap();
    let mut guard = wait!(condition.acquire_within(Duration::ZERO)).unwrap().expect("it is free");
    for patience in [MOMENT, Duration::ZERO] {
        let before = guard.fence();
        assert!(!wait!(condition.wait_within(&mut guard, patience)).unwrap());
        assert!(guard.fence() > before);
        assert_eq!(wait!(lock.state()).unwrap().held, Some(guard.fence()));
    }
    assert_eq!(wait!(condition.notify_all()).unwrap(), 0);
    // The guard is dropped, with its new fence.
    let token = wait!(condition.token(1, SOON)).unwrap();
    let other = connect!(server.options()).unwrap();
    let same: Condition = wait!(other.condition_from_token(&token)).unwrap();
    assert!(wait!(same.acquire_within(Duration::ZERO)).unwrap().is_none());
    assert_eq!(wait!(same.describe()).unwrap().kind.to_string(), "lock");
    drop(guard);
    assert!(wait!(same.acquire_within(SOON)).unwrap().is_some());
});

promise!(a_condition_waits_for_what_a_predicate_says, SHARED, |server, manager| {
    let condition: Condition = wait!(manager.condition(&name("predicate"))).unwrap();
    let list: List<i64> = wait!(manager.list(&name("predicate list"))).unwrap();
    let mut guard = wait!(condition.acquire()).unwrap();
    let no = wait!(condition.wait_for_within(&mut guard, MOMENT, predicate!(Ok(wait!(list.len())? > 0))));
    assert!(!no.unwrap());
    let asked = std::cell::Cell::new(0);
    let at_once = wait!(condition.wait_for_within(&mut guard, Duration::ZERO, predicate!({
        asked.set(asked.get() + 1);
        Ok(wait!(list.len())? == 0)
    })));
    assert_eq!((at_once.unwrap(), asked.get()), (true, 1));
    let other = meanwhile(&server.options(), |manager| {
        let (condition, list) = (manager.condition(&name("predicate")).unwrap(), manager.list(&name("predicate list")));
        let (lock, list) = (manager.rlock(&name("predicate")).unwrap(), list.unwrap());
        for number in 0..3 {
            until("it waits", || (lock.state().unwrap().waiting_on_conditions == 1).then_some(()));
            let _guard = condition.acquire().unwrap();
            list.append(&number).unwrap();
            assert_eq!(condition.notify(1).unwrap(), 1);
        }
    });
    wait!(condition.wait_for(&mut guard, predicate!(Ok(wait!(list.len())? == 3)))).unwrap();
    other.join().unwrap();
    let wrong = wait!(condition.wait_for(&mut guard, predicate!(Ok(wait!(list.get(5))? == 0))));
    assert_eq!(why(wrong), Reason::IndexOutOfRange);
    assert!(wait!(condition.wait_for_within(&mut guard, SOON, predicate!(Ok(true)))).unwrap());
    assert!(guard.is_held(), "an error of the predicate gives nothing back");
});

promise!(all_guards_of_a_reentrant_lock_hold_it_after_a_wait, SHARED, |server, manager| {
    let lock: RLock = wait!(manager.rlock(&name("nested"))).unwrap();
    let condition = lock.condition("changed");
    let outer = wait!(lock.acquire()).unwrap();
    let mut inner = wait!(lock.acquire_within(SOON)).unwrap().unwrap();
    let before = outer.fence();
    assert!(!wait!(condition.wait_within(&mut inner, MOMENT)).unwrap());
    assert!(outer.fence() == inner.fence() && outer.fence() > before, "{outer:?} {inner:?}");
    let third = wait!(lock.acquire()).unwrap();
    let state = wait!(lock.state()).unwrap();
    assert!(state.depth == 3 && state.is_ours && state.is_reentrant, "{state:?}");
    let session = connect!(server.options()).unwrap();
    let other: RLock = wait!(session.rlock(&name("nested"))).unwrap();
    drop(inner);
    drop(outer);
    assert!(wait!(other.acquire_within(Duration::ZERO)).unwrap().is_none(), "the third holds it");
    wait!(third.release()).unwrap();
    let guard = wait!(other.acquire_within(SOON)).unwrap().expect("each was given back once");
    assert!(guard.fence() > before);
    assert!(wait!(other.is_locked()).unwrap());
});

promise!(waits_and_notifies_without_the_lock_are_refused, SHARED, |_server, manager| {
    let (one, other): (Lock, Lock) = (wait!(manager.new_lock()).unwrap(), wait!(manager.new_lock()).unwrap());
    let condition = one.condition("changed");
    let refused = wait!(condition.notify(1)).unwrap_err();
    assert!(refused.is_not_held() && !refused.is_broken() && !refused.is_stale(), "{refused}");
    let mut elsewhere = wait!(other.acquire()).unwrap();
    assert_eq!(why(wait!(condition.wait(&mut elsewhere))), Reason::NotHeld);
    assert!(elsewhere.is_held(), "it was not asked");
    let mut guard = wait!(one.acquire()).unwrap();
    let long = one.condition(&"n".repeat(257));
    assert_eq!(why(wait!(long.wait(&mut guard))), Reason::InvalidName);
    assert_eq!(why(wait!(long.notify_all())), Reason::InvalidName);
    assert!(guard.is_held(), "a wait that is refused gives nothing back");
    drop(guard);
    assert!(!wait!(one.is_locked()).unwrap());
    let patient = condition.with_timeout(None);
    let mut guard = wait!(patient.acquire()).unwrap();
    wait!(one.release(guard.fence())).unwrap();
    let refused = wait!(patient.wait(&mut guard)).unwrap_err();
    assert!(refused.is_stale() && !guard.is_held(), "{refused}");
    assert!(wait!(guard.release()).unwrap_err().is_not_held());
});

promise!(a_token_of_a_lock_says_whether_it_is_reentrant, SHARED, |server, manager| {
    let (plain, reentrant): (Lock, RLock) = (wait!(manager.new_lock()).unwrap(), wait!(manager.new_rlock()).unwrap());
    let other = connect!(server.options()).unwrap();
    let token = wait!(plain.token(2, SOON)).unwrap();
    assert_eq!(why(wait!(other.rlock_from_token(&token))), Reason::OtherSpec);
    let same: Lock = wait!(other.lock_from_token(&token)).unwrap();
    let guard = wait!(same.acquire()).unwrap();
    assert!(wait!(plain.acquire_within(Duration::ZERO)).unwrap().is_none());
    wait!(guard.release()).unwrap();
    let token = wait!(reentrant.token(2, SOON)).unwrap();
    assert_eq!(why(wait!(other.lock_from_token(&token))), Reason::OtherSpec);
    let same: RLock = wait!(other.rlock_from_token(&token)).unwrap();
    let guards = (wait!(same.acquire()).unwrap(), wait!(same.acquire()).unwrap());
    assert!(wait!(reentrant.acquire_within(Duration::ZERO)).unwrap().is_none());
    drop(guards);
    assert!(wait!(reentrant.acquire_within(SOON)).unwrap().is_some());
    // It is the reentrant lock of that name.
    let _: Condition = wait!(manager.condition(&name("own lock"))).unwrap();
    let _: RLock = wait!(manager.rlock(&name("own lock"))).unwrap();
    assert_eq!(why(wait!(manager.lock(&name("own lock")))), Reason::OtherSpec);
    let other_holding = Holding::new().on_loss(OnLoss::Break);
    assert_eq!(why(wait!(manager.condition_with(&name("own lock"), other_holding))), Reason::OtherSpec);
});
