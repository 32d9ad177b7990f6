//! Tests of the pool; what real makes do with it is tested with the sandbox.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;

#[test]
fn hands_out_all_tokens_and_no_more() {
    let jobs = Jobs::new(3).unwrap();
    let cancel = Cancel::new();
    let some = jobs.acquire_many(8, &cancel).unwrap();
    assert_eq!(some.count(), 3);
    assert!(jobs.try_take().is_none());
    drop(some);
    assert_eq!(jobs.acquire_many(2, &cancel).unwrap().count(), 2);
}

#[test]
fn a_release_wakes_the_one_who_waits() {
    let jobs = Jobs::new(1).unwrap();
    let cancel = Cancel::new();
    let token = jobs.acquire(&cancel).unwrap();
    let waiter = {
        let jobs = jobs.clone();
        std::thread::spawn(move || {
            let got = jobs.acquire(&Cancel::new()).is_some();
            (got, Instant::now())
        })
    };
    std::thread::sleep(Duration::from_millis(120));
    let released = Instant::now();
    drop(token);
    let (got, when) = waiter.join().unwrap();
    assert!(got);
    assert!(when.duration_since(released) < Duration::from_millis(500));
}

#[test]
fn first_come_first_served_and_giving_up_keeps_the_order() {
    let jobs = Jobs::new(1).unwrap();
    let token = jobs.acquire(&Cancel::new()).unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let gives_up = Cancel::new();
    let mut waiters = Vec::new();
    for number in 0..5 {
        let (shared, order) = (jobs.clone(), Arc::clone(&order));
        let cancel = if number == 2 { gives_up.clone() } else { Cancel::new() };
        waiters.push(std::thread::spawn(move || {
            if let Some(_token) = shared.acquire(&cancel) {
                order.lock().unwrap().push(number);
            }
        }));
        while jobs.lock().drawn < number + 2 {
            std::thread::yield_now();
        }
    }
    gives_up.cancel();
    waiters.remove(2).join().unwrap();
    drop(token);
    for waiter in waiters {
        waiter.join().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 3, 4]);
}

#[test]
fn cancelling_ends_a_wait_at_once() {
    let jobs = Jobs::new(1).unwrap();
    let token = jobs.acquire(&Cancel::new()).unwrap();
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| jobs.acquire(&cancel).is_none());
        std::thread::sleep(Duration::from_millis(20));
        cancel.cancel();
        assert!(waiter.join().unwrap());
    });
    drop(token);
    assert!(jobs.acquire(&Cancel::new()).is_some());
}

#[test]
fn tokens_that_a_killed_step_took_come_back() {
    let jobs = Jobs::new(4).unwrap();
    let cancel = Cancel::new();
    {
        let _step = jobs.acquire(&cancel).unwrap();
        let mut stolen = [0; 3];
        assert_eq!(rustix::io::read(&jobs.0.read, &mut stolen).unwrap(), 3);
        // While the step runs nothing is made up.
        jobs.reset_if_idle();
        assert!(jobs.try_take().is_none());
    }
    jobs.reset_if_idle();
    assert_eq!(jobs.acquire_many(9, &cancel).unwrap().count(), 4);
    // Nor are tokens that a step invented kept.
    fill(&jobs.0.write, 5).unwrap();
    assert_eq!(jobs.acquire_many(9, &cancel).unwrap().count(), 4);
}

#[test]
fn declared_flags_are_kept() {
    let jobs = Jobs::new(2).unwrap();
    let ours = " -j --jobserver-fds=198,199 --jobserver-auth=198,199";
    assert_eq!(jobs.makeflags(""), ours);
    assert_eq!(jobs.makeflags("ks"), format!("{ours} -ks"));
    assert_eq!(jobs.makeflags("-k V=1"), format!("{ours} -k V=1"));
    assert_eq!(jobs.makeflags("V=1"), format!("{ours} V=1"));
}
