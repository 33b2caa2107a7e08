// What semaphores promise, for either library: see `promises.rs`.

promise!(permits_are_taken_and_come_back_when_they_are_dropped, SHARED, |_server, manager| {
    let semaphore: Semaphore = wait!(manager.new_semaphore(3)).unwrap();
    let (one, two) = (wait!(semaphore.acquire()).unwrap(), wait!(semaphore.acquire_many(2)).unwrap());
    assert_eq!((one.count(), two.count()), (1, 2));
    assert!(two.fence() > one.fence() && two.abandoned().is_none());
    assert!(wait!(semaphore.acquire_within(MOMENT)).unwrap().is_none());
    let state = wait!(semaphore.state()).unwrap();
    assert_eq!((state.value, state.waiting, state.held_here, state.grants), (0, 0, 3, 2));
    assert_eq!(state.holders.iter().map(|holder| holder.permits).collect::<Vec<_>>(), [1, 2]);
    drop(two);
    assert_eq!(wait!(semaphore.value()).unwrap(), 2);
    assert!(wait!(semaphore.acquire_many_within(3, Duration::ZERO)).unwrap().is_none(), "all or none");
    assert!(wait!(semaphore.acquire_many_within(2, Duration::ZERO)).unwrap().is_some());
    wait!(one.release()).unwrap();
    assert_eq!(wait!(semaphore.value()).unwrap(), 3);
    assert_eq!(why(wait!(semaphore.acquire_many(4))), Reason::OutOfRange);
    assert!(!wait!(semaphore.reset()).unwrap());
});

promise!(permits_are_split_kept_and_released_apart, SHARED, |_server, manager| {
    let semaphore: Semaphore = wait!(manager.new_bounded_semaphore(5)).unwrap();
    let mut permits = wait!(semaphore.acquire_many(5)).unwrap();
    assert!(permits.split_off(0).is_none() && permits.split_off(5).is_none());
    let two = permits.split_off(2).unwrap();
    assert_eq!((two.count(), permits.count(), two.fence()), (2, 3, permits.fence()));
    drop(two);
    assert_eq!(wait!(semaphore.value()).unwrap(), 2);
    wait!(permits.split_off(1).unwrap().release()).unwrap();
    assert_eq!(wait!(semaphore.value()).unwrap(), 3);
    let fence = permits.keep();
    assert_eq!(wait!(semaphore.state()).unwrap().held_here, 2);
    wait!(semaphore.release(1)).unwrap();
    wait!(semaphore.release_grant(fence)).unwrap();
    assert_eq!(wait!(semaphore.value()).unwrap(), 5);
    assert!(wait!(semaphore.release_grant(fence)).unwrap_err().is_stale());
    assert!(wait!(semaphore.release(1)).unwrap_err().is_not_held());
});

promise!(who_waits_for_permits_gets_them, SHARED, |server, manager| {
    let semaphore: Semaphore = wait!(manager.semaphore(&name("waited for"), 2)).unwrap();
    let held = wait!(semaphore.acquire_many(2)).unwrap().keep();
    let other = meanwhile(&server.options(), |manager| {
        let semaphore = manager.semaphore(&name("waited for"), 2).unwrap();
        let permits = semaphore.acquire_many(2).unwrap();
        until("somebody waits", || (semaphore.state().unwrap().waiting == 1).then_some(()));
        drop(permits);
    });
    while wait!(semaphore.state()).unwrap().waiting == 0 {}
    wait!(semaphore.release_grant(held)).unwrap();
    // Behind the other, or it has got them already.
    let permits = wait!(semaphore.acquire_many(2)).unwrap();
    assert_eq!(permits.count(), 2);
    other.join().unwrap();
});

promise!(permits_of_nobody_are_released_by_anybody, SHARED, |server, manager| {
    let anyone = Holding::multiprocessing();
    let semaphore: Semaphore = wait!(manager.semaphore_with(&name("unowned"), 2, anyone)).unwrap();
    // The proxy that comes of a token knows of no spec; what it is granted says it.
    let token = wait!(semaphore.token(1, SOON)).unwrap();
    let other = connect!(server.options()).unwrap();
    let same: Semaphore = wait!(other.semaphore_from_token(&token)).unwrap();
    let mut permits = wait!(same.acquire_many(2)).unwrap();
    drop(permits.split_off(1).unwrap());
    assert_eq!(wait!(same.value()).unwrap(), 1);
    wait!(permits.release()).unwrap();
    assert_eq!(wait!(semaphore.value()).unwrap(), 2);
    let fence = wait!(same.acquire()).unwrap().keep();
    assert_eq!(why(wait!(same.release_grant(fence))), Reason::Malformed);
    wait!(semaphore.release(3)).unwrap();
    assert_eq!(wait!(semaphore.value()).unwrap(), 4, "more than at first");
    let bounded: Semaphore = wait!(manager.bounded_semaphore_with(&name("bounded"), 1, anyone)).unwrap();
    assert_eq!(why(wait!(bounded.release(1))), Reason::OverRelease);
    let no = wait!(manager.semaphore_with(&name("neither"), 1, anyone.on_loss(OnLoss::Keep)));
    assert_eq!(why(no), Reason::Malformed);
});

promise!(a_semaphore_is_opened_as_it_was_made_and_is_data, SHARED, |_server, manager| {
    let semaphore: Semaphore = wait!(manager.semaphore(&name("semaphore"), 2)).unwrap();
    assert_eq!(why(wait!(manager.semaphore(&name("semaphore"), 3))), Reason::OtherSpec);
    assert_eq!(why(wait!(manager.bounded_semaphore(&name("semaphore"), 2))), Reason::OtherSpec);
    assert_eq!(why(wait!(manager.event(&name("semaphore")))), Reason::WrongKind);
    let by_name: Dict<String, Semaphore> = wait!(manager.new_dict()).unwrap();
    wait!(by_name.set("s", &semaphore)).unwrap();
    let same = wait!(by_name.get("s")).unwrap().unwrap();
    let _permits = wait!(same.acquire()).unwrap();
    assert_eq!(wait!(semaphore.value()).unwrap(), 1);
    assert_eq!(wait!(semaphore.describe()).unwrap().name.as_deref(), Some(&*name("semaphore")));
});
