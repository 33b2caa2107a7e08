//! `ProcessPoolExecutor`: submit, result, map, as_completed, shutdown.
//!
//! Which of a few numbers are prime, in the manner of `concurrent.futures`. This program is async; its tasks are not.

use holdfast::{Executor, as_completed};

#[holdfast::function]
fn is_prime(n: u64) -> bool {
    n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();
    let executor = Executor::new(2).await?;

    let future = executor.submit(is_prime, (97,)).await?;
    println!("submit: 97 is prime: {}", future.get().await?);

    let numbers = [112_272_535_095_293, 112_582_705_942_171, 115_280_095_190_773, 1_000_000];
    let mut answers = executor.map(is_prime, numbers);
    for n in numbers {
        println!("map: {n} is prime: {}", answers.next().await.expect("an answer for each")?);
    }

    let mut futures = Vec::new();
    for n in [2, 3, 4] {
        futures.push(executor.submit(is_prime, (n,)).await?);
    }
    let mut primes = 0;
    let mut completed = as_completed(futures, None);
    while let Some(future) = completed.next().await {
        primes += u32::from(future.get().await?);
    }
    println!("as_completed: {primes} of 2, 3 and 4 are prime");

    executor.shutdown(true, false).await?;
    println!("after shutdown: submit is refused: {}", executor.submit(is_prime, (5,)).await.is_err());
    Ok(())
}
