//! Bytes that were well-formed once: what decoders of strangers' bytes are tried with.

use std::thread;

use holdfast_objects::testing::Source;

use crate::siege::times;

/// No input grows beyond this.
const LARGEST: usize = 16 << 10;

/// How many inputs each decoder is tried with by default: what takes some seconds for all of them.
const ITERATIONS: usize = 20_000;

/// Tries a decoder with inputs that are mutated from seeds, and ends when enough were tried.
///
/// There is no coverage to steer by, which would need instrumented code: the seeds are well-formed messages of every sort
/// instead, made by the tests from the types themselves, so that none is forgotten when a message is added.
///
/// `HOLDFAST_FUZZ_ITERATIONS` says how many inputs. An input depends on its number alone: when one fails, its number is
/// printed, and `HOLDFAST_FUZZ_ONLY` with that number tries it again, and no other.
pub fn fuzz(target: &str, seeds: &[Vec<u8>], mut decode: impl FnMut(&[u8], &mut Source)) {
    assert!(!seeds.is_empty(), "{target}: there is nothing to mutate");
    let only = std::env::var("HOLDFAST_FUZZ_ONLY").ok().map(|number| number.parse().unwrap());
    let all = 0..times("HOLDFAST_FUZZ_ITERATIONS", ITERATIONS) as u64;
    let numbers = only.map_or(all, |only| only..only + 1);
    for number in numbers {
        // Far from the sources that the seeds were made from.
        let mut source = Source::new(number.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let mut input = seeds[source.below(seeds.len() as u64) as usize].clone();
        let other = &seeds[source.below(seeds.len() as u64) as usize];
        // Some stay as they are: what follows must bear these too.
        for _ in 0..source.below(6) {
            mutate(&mut input, other, &mut source);
        }
        let told = OnPanic { target, number, input: &input };
        decode(&input, &mut source);
        drop(told);
    }
}

/// Says how to see a failure again.
struct OnPanic<'a> {
    target: &'a str,
    number: u64,
    input: &'a [u8],
}

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self { target, number, input } = self;
            eprintln!("{target}: set HOLDFAST_FUZZ_ONLY={number} to see this again; the input: {input:02x?}");
        }
    }
}

/// One change: of bits, bytes, lengths, or order.
fn mutate(input: &mut Vec<u8>, other: &[u8], source: &mut Source) {
    /// Where varints, lengths and texts change their form.
    const EDGES: [u8; 12] = [0, 1, 5, 0x0a, 0x12, 0x7e, 0x7f, 0x80, 0xbf, 0xc3, 0xfe, 0xff];
    let place = |len: usize, source: &mut Source| source.below(len as u64 + 1) as usize;
    let at = place(input.len(), source);
    let end = (at + place(16, source)).min(input.len());
    match source.below(10) {
        0 => input.truncate(at),
        1 => drop(input.drain(at..end)),
        2 => {
            let copy = input[at..end].to_vec();
            input.splice(at..at, copy);
        }
        3 => {
            let from = place(other.len(), source);
            input.truncate(at);
            input.extend(&other[from..]);
        }
        4 => {
            let (from, many) = (place(other.len(), source), place(32, source));
            input.splice(at..at, other[from..].iter().copied().take(many));
        }
        5 => {
            // A number of up to ten bytes, as varints have.
            let bytes: Vec<u8> = (0..place(10, source)).map(|_| 0x80 | source.choice() as u8).collect();
            input.splice(at..end, bytes);
        }
        6 => {
            // The whole inside a field of itself.
            let len = input.len();
            let key = (1 + source.below(15)) as u8 * 8 + 2;
            let head = if len < 0x80 { vec![key, len as u8] } else { vec![key, len as u8 | 0x80, (len >> 7) as u8] };
            input.splice(0..0, head);
        }
        choice => {
            if let Some(byte) = input.get_mut(at) {
                *byte = match choice {
                    7 => *byte ^ 1 << source.below(8),
                    8 => EDGES[source.below(EDGES.len() as u64) as usize],
                    // A length that is off by one.
                    _ => byte.wrapping_add(if source.below(2) == 0 { 1 } else { 255 }),
                };
            }
        }
    }
    input.truncate(LARGEST);
}
