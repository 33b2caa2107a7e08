// What locks for many readers or one writer promise, for either library: see `promises.rs`.

promise!(readers_share_a_lock_and_writers_have_it_alone, SHARED, |server, manager| {
    let other = connect!(server.options_at(1)).unwrap();
    let here: RwLock = wait!(manager.rwlock(&name("rwlock"))).unwrap();
    let there: RwLock = wait!(other.rwlock(&name("rwlock"))).unwrap();
    let (one, two) = (wait!(here.read()).unwrap(), wait!(there.read_within(Duration::ZERO)).unwrap().unwrap());
    let state = wait!(here.state()).unwrap();
    assert_eq!((state.reading, state.reading_here, state.writing, state.waiting), (2, 1, None, 0));
    drop(one);
    assert!(wait!(here.write_within(MOMENT)).unwrap().is_none(), "the other reads");
    let read_as = two.fence();
    wait!(two.release()).unwrap();
    let writer = wait!(here.write_within(SOON)).unwrap().expect("both readers are gone");
    assert!(writer.fence() > read_as && writer.abandoned().is_none());
    let state = wait!(there.state()).unwrap();
    assert_eq!((state.writing, state.is_ours, state.is_kept, state.reading), (Some(writer.fence()), false, false, 0));
    assert!(wait!(there.read_within(Duration::ZERO)).unwrap().is_none());
    wait!(writer.release()).unwrap();
    drop(wait!(there.write()).unwrap());
    assert!(wait!(there.read_within(Duration::ZERO)).unwrap().is_some(), "a guard that is dropped gives it back");
});

promise!(a_writer_becomes_a_reader_with_those_who_waited, SHARED, |server, manager| {
    let lock: RwLock = wait!(manager.rwlock(&name("downgrade"))).unwrap();
    let writer = wait!(lock.write()).unwrap();
    let wrote_as = writer.fence();
    let other = meanwhile(&server.options(), |manager| drop(manager.rwlock(&name("downgrade")).unwrap().read().unwrap()));
    while wait!(lock.state()).unwrap().waiting == 0 {}
    let reader = wait!(writer.downgrade()).unwrap();
    assert!(reader.fence() > wrote_as && reader.abandoned().is_none());
    other.join().unwrap();
    let state = wait!(lock.state()).unwrap();
    assert_eq!((state.writing, state.reading_here), (None, 1));
    assert!(wait!(lock.release_write(wrote_as)).is_err_and(|error| error.reason().is_some()), "it writes no more");
    drop(reader);
    assert!(wait!(lock.write_within(SOON)).unwrap().is_some());
});

promise!(a_writer_may_keep_the_lock_and_bad_releases_are_refused, SHARED, |server, manager| {
    let lock: RwLock = wait!(manager.new_rwlock()).unwrap();
    let fence = wait!(lock.write()).unwrap().keep();
    assert!(wait!(lock.read_within(Duration::ZERO)).unwrap().is_none());
    assert_eq!(why(wait!(lock.reset())), Reason::NotHeld);
    wait!(lock.release_write(fence)).unwrap();
    let refused = wait!(lock.release_write(fence)).unwrap_err();
    assert!(refused.is_not_held() || refused.is_stale(), "{refused}");
    assert!(!wait!(lock.reset()).unwrap(), "there is nothing to do");
    let token = wait!(lock.token(1, SOON)).unwrap();
    let other = connect!(server.options()).unwrap();
    let same: RwLock = wait!(other.rwlock_from_token(&token)).unwrap();
    let guard = wait!(same.write()).unwrap();
    assert!(wait!(lock.read_within(Duration::ZERO)).unwrap().is_none());
    drop(guard);
    let by_name: Dict<String, RwLock> = wait!(manager.new_dict()).unwrap();
    wait!(by_name.set("lock", &lock)).unwrap();
    let read = wait!(by_name.get("lock")).unwrap().unwrap();
    assert!(read.reference().is_same(&lock.reference()));
    let _: RwLock = wait!(manager.rwlock(&name("spec"))).unwrap();
    assert_eq!(
        why(wait!(manager.rwlock_with(&name("spec"), Holding::new().on_loss(OnLoss::Break)))),
        Reason::OtherSpec
    );
});
