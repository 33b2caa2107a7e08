//! What the allocator does with memory that was freed.

use std::hint::black_box;

/// The largest piece that is freed and taken again without a word to the system, and half of what is kept: setting and reading
/// a value of 1 MiB takes four of that size.
const PIECE_BYTES: usize = 3 << 20;

/// Lets the allocator keep some freed memory for what comes next.
///
/// glibc gives memory back as soon as what is free at the end of its heap is more than twice the largest piece that it ever
/// freed. With large values it would be given back and asked for again at every call, and the system clears each page of it:
/// more than half the time of setting and reading 1 MiB. From a piece that is freed glibc learns that pieces of this size
/// come and go, so it is shown one; nobody touches it, so it takes no memory. Other allocators learn nothing from it.
pub(crate) fn keep_freed() {
    drop(black_box(Vec::<u8>::with_capacity(black_box(PIECE_BYTES))));
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use std::fs;

    use super::*;

    /// How many pages the system has given to this thread.
    fn pages() -> u64 {
        let stat = fs::read_to_string("/proc/thread-self/stat").expect("the system tells");
        // The name, in parentheses, may hold anything; the eighth field after it counts.
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        fields.split_whitespace().nth(7).and_then(|pages| pages.parse().ok()).expect("a number")
    }

    /// What a large value needs when it is set and read.
    fn large_values() {
        let pieces: Vec<Vec<u8>> = (0..4).map(|_| black_box(vec![1; 1 << 20])).collect();
        drop(black_box(pieces));
    }

    #[test]
    fn memory_of_large_values_is_taken_again() {
        keep_freed();
        for _ in 0..3 {
            large_values();
        }
        let before = pages();
        for _ in 0..10 {
            large_values();
        }
        let given = pages() - before;
        assert!(given < 1024, "{given} pages were given for what had been freed, where one round takes 1024");
    }
}
