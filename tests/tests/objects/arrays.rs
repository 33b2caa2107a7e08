// What an array promises, for either library: see `promises.rs`.

promise!(an_array_is_read_and_written_by_index, SHARED, |_server, manager| {
    let array: Array<i32> = wait!(manager.new_array(3)).unwrap();
    assert_eq!(wait!(array.len()).unwrap(), 3);
    assert!(!wait!(array.is_empty()).unwrap());
    assert_eq!(wait!(array.typecode()).unwrap(), "i");
    assert_eq!(wait!(array.get(0)).unwrap(), 0);
    wait!(array.set(0, i32::MIN)).unwrap();
    wait!(array.set(-1, i32::MAX)).unwrap();
    assert_eq!(wait!(array.copy()).unwrap(), [i32::MIN, 0, i32::MAX]);
    for outside in [3, -4, i64::MAX, i64::MIN] {
        assert_eq!(why(wait!(array.get(outside))), Reason::IndexOutOfRange);
        assert_eq!(why(wait!(array.set(outside, 1))), Reason::IndexOutOfRange);
        assert_eq!(why(wait!(array.add(outside, 1))), Reason::IndexOutOfRange);
        assert_eq!(why(wait!(array.compare_and_set(outside, 0, 1))), Reason::IndexOutOfRange);
    }
    wait!(array.fill(7)).unwrap();
    assert_eq!(wait!(array.copy()).unwrap(), [7, 7, 7]);
    let empty: Array<f64> = wait!(manager.new_array(0)).unwrap();
    assert!(wait!(empty.is_empty()).unwrap());
    assert_eq!(wait!(empty.copy()).unwrap(), [0.0; 0]);
    wait!(empty.set_slice(.., &[])).unwrap();
    assert_eq!(why(wait!(empty.get(0))), Reason::IndexOutOfRange);
});

promise!(an_array_adds_and_swaps, SHARED, |_server, manager| {
    let array: Array<u8> = wait!(manager.new_array_of(&[1, 255])).unwrap();
    assert_eq!(wait!(array.add(0, 5)).unwrap(), 6);
    assert_eq!(wait!(array.add(0, -6)).unwrap(), 0);
    assert_eq!(why(wait!(array.add(0, -1))), Reason::Overflow);
    assert_eq!(why(wait!(array.add(1, 1))), Reason::Overflow);
    assert_eq!(wait!(array.copy()).unwrap(), [0, 255], "a refusal changes nothing");
    let swap = |swapped, value| ElementSwap { swapped, value };
    assert_eq!(wait!(array.compare_and_set(1, 255, 9)).unwrap(), swap(true, 9));
    assert_eq!(wait!(array.compare_and_set(1, 255, 8)).unwrap(), swap(false, 9));

    let floats: Array<f32> = wait!(manager.new_array_of(&[0.1, f32::MAX])).unwrap();
    assert_eq!(wait!(floats.get(0)).unwrap(), 0.1);
    assert!(wait!(floats.compare_and_set(0, 0.1, 0.5)).unwrap().swapped);
    assert_eq!(wait!(floats.add(0, 0.25)).unwrap(), 0.75);
    assert_eq!(why(wait!(floats.add(1, f64::from(f32::MAX)))), Reason::Overflow);
    let doubles: Array<f64> = wait!(manager.new_array_of(&[f64::MAX, f64::NAN])).unwrap();
    assert_eq!(why(wait!(doubles.add(0, f64::MAX))), Reason::Overflow);
    assert!(!wait!(doubles.compare_and_set(1, f64::NAN, 0.0)).unwrap().swapped);
    let large: Array<u64> = wait!(manager.new_array_of(&[u64::MAX])).unwrap();
    assert_eq!(wait!(large.get(0)).unwrap(), u64::MAX);
    assert_eq!(wait!(large.add(0, i64::MIN)).unwrap(), u64::MAX >> 1);
    let characters: Array<char> = wait!(manager.new_array_of(&['a', '€', '🦀'])).unwrap();
    wait!(characters.set(0, 'ß')).unwrap();
    assert_eq!(wait!(characters.copy()).unwrap(), ['ß', '€', '🦀']);
});

promise!(an_array_is_sliced_as_in_python, SHARED, |_server, manager| {
    let array: Array<i64> = wait!(manager.new_array_of(&[0, 1, 2, 3, 4, 5])).unwrap();
    assert_eq!(wait!(array.get_slice(1..4)).unwrap(), [1, 2, 3]);
    assert_eq!(wait!(array.get_slice(-2..)).unwrap(), [4, 5]);
    assert_eq!(wait!(array.get_slice(..=-1)).unwrap(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(wait!(array.get_slice(4..99)).unwrap(), [4, 5]);
    assert_eq!(wait!(array.get_slice(9..)).unwrap(), [0; 0]);
    assert_eq!(wait!(array.get_slice(Slice::from(1..).step_by(2))).unwrap(), [1, 3, 5]);
    assert_eq!(wait!(array.get_slice(Slice::from(..).step_by(-2))).unwrap(), [5, 3, 1]);
    assert_eq!(why(wait!(array.get_slice(Slice::from(..).step_by(0)))), Reason::Malformed);
    wait!(array.set_slice(Slice::from(..).step_by(-2), &[50, 30, 10])).unwrap();
    assert_eq!(wait!(array.copy()).unwrap(), [0, 10, 2, 30, 4, 50]);
    assert_eq!(why(wait!(array.set_slice(0..2, &[1]))), Reason::Malformed);
    assert_eq!(why(wait!(array.set_slice(0..2, &[1, 2, 3]))), Reason::Malformed);
    assert_eq!(wait!(array.copy()).unwrap(), [0, 10, 2, 30, 4, 50], "a refusal changes nothing");
});

promise!(a_million_elements_are_read_and_written_in_pages, SHARED, |_server, manager| {
    fn elements<T>(element: impl Fn(u64) -> T) -> Vec<T> {
        (0..1_000_000).map(element).collect()
    }
    let integers = elements(|number| (number as i64 - 500_000) * 1_000_000_007);
    let array: Array<i64> = wait!(manager.new_array(1_000_000)).unwrap();
    wait!(array.set_slice(.., &integers)).unwrap();
    assert!(wait!(array.copy()).unwrap() == integers);
    let backwards = wait!(array.get_slice(Slice::from(..).step_by(-1))).unwrap();
    assert!(backwards.iter().rev().eq(&integers));
    assert_eq!(why(wait!(array.set_slice(1.., &integers))), Reason::Malformed, "before the first chunk");
    let one_more = [&integers[..], &[1]].concat();
    assert_eq!(why(wait!(array.set_slice(.., &one_more))), Reason::Malformed, "before the first chunk");
    assert!(wait!(array.copy()).unwrap() == integers);

    let bytes = elements(|number| number as u8);
    let array: Array<u8> = wait!(manager.new_array(1_000_000)).unwrap();
    wait!(array.set_slice(.., &bytes)).unwrap();
    assert!(wait!(array.copy()).unwrap() == bytes);
    let floats = elements(|number| number as f32 / 3.0);
    let array: Array<f32> = wait!(manager.new_array(1_000_000)).unwrap();
    wait!(array.set_slice(.., &floats)).unwrap();
    assert!(wait!(array.copy()).unwrap() == floats);
    let characters = elements(|number| char::from_u32(number as u32 % 0xd800).unwrap());
    let array: Array<char> = wait!(manager.new_array(1_000_000)).unwrap();
    wait!(array.set_slice(.., &characters)).unwrap();
    assert!(wait!(array.copy()).unwrap() == characters);
    assert_eq!(why(wait!(manager.new_array_of(&integers))), Reason::ValueTooLarge, "more than one request");
});

promise!(an_array_of_another_type_is_noticed_when_it_is_opened, SHARED, |server, manager| {
    fn is_noticed<T: Element>(opened: Result<Array<T>, Error>, typecode: &str) {
        let refused = opened.unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::WrongType), "{refused}");
        assert!(refused.to_string().contains(typecode), "{refused}");
    }
    let doubles: Array<f64> = wait!(manager.array_of(&name("doubles"), &[1.0, 2.0])).unwrap();
    is_noticed::<i32>(wait!(manager.array(&name("doubles"), 2)), "typecode d");
    is_noticed::<f32>(wait!(manager.array_of(&name("doubles"), &[1.0])), "typecode d");
    let token = wait!(doubles.token(2, Duration::from_secs(60))).unwrap();
    let other = connect!(server.options()).unwrap();
    is_noticed::<u64>(wait!(other.array_from_token(&token)), "typecode d");
    // The spec of what exists is not looked at.
    let same: Array<f64> = wait!(manager.array(&name("doubles"), 99)).unwrap();
    assert_eq!(wait!(same.copy()).unwrap(), [1.0, 2.0]);
    let same: Array<f64> = wait!(other.array_from_token(&token)).unwrap();
    assert_eq!(wait!(same.add(0, 0.5)).unwrap(), 1.5);
    assert_eq!(wait!(doubles.get(0)).unwrap(), 1.5);
    assert_eq!(why(wait!(manager.dict::<i64, i64>(&name("doubles")))), Reason::WrongKind);
    wait!(manager.delete(&name("doubles"))).unwrap();
    assert_eq!(why(wait!(doubles.get(0))), Reason::UnknownObject);
});

promise!(an_array_that_has_no_room_is_refused_before_it_is_made, &[("object_bytes", 1000), ("handles", 2)], |_server, manager| {
    for length in [126, 1 << 40, u64::MAX] {
        is_quota(wait!(manager.new_array::<i64>(length)), "object_bytes");
        is_quota(wait!(manager.array::<f64>("a", length)), "object_bytes");
    }
    is_quota(wait!(manager.new_array_of(&[1i64; 126])), "object_bytes");
    assert_eq!(wait!(manager.status()).unwrap().objects, 0);
    let array: Array<i64> = wait!(manager.new_array(125)).unwrap();
    assert_eq!(wait!(manager.status()).unwrap().bytes, 1000);
    // One that turns out to be of another type leaves no handle behind.
    let _named: Array<u8> = wait!(manager.array("b", 1)).unwrap();
    drop(array);
    for _ in 0..3 {
        assert_eq!(why(wait!(manager.array::<i8>("b", 1))), Reason::WrongType);
    }
});
