// What events, barriers and latches promise, for either library: see `promises.rs`.

promise!(an_event_lets_those_go_on_who_wait, SHARED, |server, manager| {
    let event: Event = wait!(manager.event(&name("event"))).unwrap();
    assert!(!wait!(event.is_set()).unwrap());
    assert!(!wait!(event.wait_within(Duration::ZERO)).unwrap());
    assert!(!wait!(event.wait_within(MOMENT)).unwrap());
    let other = meanwhile(&server.options(), |manager| manager.event(&name("event")).unwrap().set().unwrap());
    wait!(event.wait()).unwrap();
    other.join().unwrap();
    assert!(wait!(event.is_set()).unwrap());
    assert!(wait!(event.wait_within(Duration::ZERO)).unwrap());
    wait!(event.clear()).unwrap();
    assert!(!wait!(event.is_set()).unwrap());
    let token = wait!(event.token(1, SOON)).unwrap();
    let session = connect!(server.options()).unwrap();
    let same: Event = wait!(session.event_from_token(&token)).unwrap();
    wait!(same.set()).unwrap();
    assert!(wait!(event.is_set()).unwrap());
    let list: List<Event> = wait!(manager.new_list()).unwrap();
    wait!(list.append(&wait!(manager.new_event()).unwrap())).unwrap();
    let read: Event = wait!(list.get(0)).unwrap();
    assert!(!wait!(read.is_set()).unwrap());
});

promise!(parties_go_on_together, SHARED, |server, manager| {
    let barrier: Barrier = wait!(manager.barrier(&name("barrier"), 2)).unwrap();
    assert_eq!(wait!(barrier.parties()).unwrap(), 2);
    let (send, heard) = std::sync::mpsc::channel();
    let other = meanwhile(&server.options(), move |manager| {
        let barrier = manager.barrier(&name("barrier"), 2).unwrap();
        for _ in 0..2 {
            send.send(barrier.wait_within(SOON).unwrap()).unwrap();
        }
    });
    let mut generations = BTreeSet::new();
    for _ in 0..2 {
        let (here, there) = (wait!(barrier.wait()).unwrap(), heard.recv().unwrap());
        assert_eq!(BTreeSet::from([here.index, there.index]), BTreeSet::from([0, 1]));
        assert!(here.generation == there.generation && here.is_leader() != there.is_leader(), "{here:?} {there:?}");
        generations.insert(here.generation);
    }
    other.join().unwrap();
    assert_eq!(generations.len(), 2);
    assert_eq!((wait!(barrier.n_waiting()).unwrap(), wait!(barrier.is_broken()).unwrap()), (0, false));
});

promise!(a_barrier_breaks_for_all_until_it_is_reset, SHARED, |server, manager| {
    let barrier: Barrier = wait!(manager.barrier(&name("breaks"), 2)).unwrap();
    assert!(wait!(barrier.wait_within(MOMENT)).unwrap_err().is_broken());
    let state = wait!(barrier.state()).unwrap();
    assert_eq!((state.parties, state.n_waiting, state.broken_by), (2, 0, Some(BreakCause::Patience)));
    assert!(wait!(barrier.is_broken()).unwrap());
    assert!(wait!(barrier.reset()).unwrap());
    assert!(!wait!(barrier.reset()).unwrap(), "there is nothing to do");
    assert!(wait!(barrier.state()).unwrap().generation > state.generation);
    let other = meanwhile(&server.options(), |manager| {
        let barrier = manager.barrier(&name("breaks"), 2).unwrap();
        until("it waits", || (barrier.n_waiting().unwrap() == 1).then_some(()));
        barrier.abort().unwrap();
    });
    assert!(wait!(barrier.wait()).unwrap_err().is_broken());
    other.join().unwrap();
    assert_eq!(wait!(barrier.state()).unwrap().broken_by, Some(BreakCause::Abort));

    let impatient: Barrier = wait!(manager.barrier_with(&name("impatient"), 2, MOMENT)).unwrap();
    assert!(wait!(impatient.wait()).unwrap_err().is_broken());
    assert_eq!(why(wait!(manager.barrier(&name("impatient"), 2))), Reason::OtherSpec);
    assert_eq!(why(wait!(manager.new_barrier(0))), Reason::OutOfRange);
    let alone: Barrier = wait!(manager.new_barrier(1)).unwrap();
    assert!(wait!(alone.wait()).unwrap().is_leader());
    let token = wait!(alone.token(1, SOON)).unwrap();
    let session = connect!(server.options()).unwrap();
    let same: Barrier = wait!(session.barrier_from_token(&token)).unwrap();
    assert_eq!(wait!(same.wait_within(Duration::ZERO)).unwrap().generation, 1);
});

promise!(a_latch_opens_at_zero_and_stays_open, SHARED, |server, manager| {
    let latch: Latch = wait!(manager.latch(&name("latch"), 5)).unwrap();
    assert_eq!(wait!(latch.count_down(1)).unwrap(), 4);
    assert_eq!(why(wait!(latch.count_down(0))), Reason::OutOfRange);
    assert!(!wait!(latch.wait_within(Duration::ZERO)).unwrap());
    assert!(!wait!(latch.wait_within(MOMENT)).unwrap());
    assert_eq!(wait!(latch.count()).unwrap(), 4);
    let other = meanwhile(&server.options(), |manager| {
        assert_eq!(manager.latch(&name("latch"), 5).unwrap().count_down(9).unwrap(), 0);
    });
    wait!(latch.wait()).unwrap();
    other.join().unwrap();
    assert!(wait!(latch.wait_within(Duration::ZERO)).unwrap());
    assert_eq!(why(wait!(manager.latch(&name("latch"), 4))), Reason::OtherSpec);
    let new: Latch = wait!(manager.new_latch(0)).unwrap();
    wait!(new.wait()).unwrap();
    let token = wait!(new.token(1, SOON)).unwrap();
    let session = connect!(server.options()).unwrap();
    let same: Latch = wait!(session.latch_from_token(&token)).unwrap();
    assert_eq!(wait!(same.count()).unwrap(), 0);
});
