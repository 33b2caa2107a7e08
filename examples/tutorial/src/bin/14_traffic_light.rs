//! An event as a traffic light: cars wait until it is green. Police cars wait for a second at most.
//!
//! The light stays red until all cars are there and both police cars have lost their patience, and turns red again when all
//! have gone.

use std::time::Duration;

use holdfast::blocking::{Event, Latch, Manager, Process};

#[holdfast::function]
fn car(number: u32, green: Event, here: Latch, gone: Latch) -> holdfast::Result<()> {
    println!("car {number} waits");
    here.count_down(1)?;
    green.wait()?;
    println!("car {number} drives, since the light is green");
    gone.count_down(1)?;
    Ok(())
}

#[holdfast::function]
fn police_car(number: u32, green: Event, gone: Latch) -> holdfast::Result<()> {
    let is_green = green.wait_within(Duration::from_secs(1))?;
    println!("police car {number} drives, and the light is {}", if is_green { "green" } else { "red" });
    gone.count_down(1)?;
    Ok(())
}

#[holdfast::function]
fn light(green: Event, cars_here: Latch, police_gone: Latch, cars_gone: Latch) -> holdfast::Result<()> {
    println!("the light is red");
    cars_here.wait()?;
    police_gone.wait()?;
    println!("the light turns green");
    green.set()?;
    cars_gone.wait()?;
    println!("the light turns red");
    green.clear()
}

fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();
    let manager = Manager::start()?;
    let green = manager.new_event()?;
    let (cars_here, cars_gone) = (manager.new_latch(6)?, manager.new_latch(6)?);
    let police_gone = manager.new_latch(2)?;

    let of_the_light = (green.clone(), cars_here.clone(), police_gone.clone(), cars_gone.clone());
    let mut processes = vec![Process::new(light, of_the_light)];
    for number in 1..=6 {
        processes.push(Process::new(car, (number, green.clone(), cars_here.clone(), cars_gone.clone())));
    }
    for number in 1..=2 {
        processes.push(Process::new(police_car, (number, green.clone(), police_gone.clone())));
    }
    for process in &mut processes {
        process.start()?;
    }
    for process in &processes {
        process.join()?;
    }
    println!("the light is {}", if green.is_set()? { "green" } else { "red" });
    Ok(())
}
