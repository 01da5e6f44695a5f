//! Accepting without descriptors. This file has a single test, because it lowers the limit of its process.

use node::reactor::ports::{Done, PauseCause, Sockets, Wait};
use node::reactor::uring::Reactor;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// Polls without a wait while nothing can be accepted.
const POLLS: u64 = 10_000;
/// Completions that the timer may cause meanwhile, which passes four times a second.
const FAILURES_MAX: u64 = 100;

/// Takes every descriptor that the process may still open.
fn take_all_descriptors() -> Vec<File> {
    let lowest_free = File::open("/dev/null").expect("every system has it");
    let above = std::os::fd::AsRawFd::as_raw_fd(&lowest_free) as u64 + 64;
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(above), maximum }).expect("a limit may be lowered");
    let mut taken = vec![lowest_free];
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    taken
}

/// Polls without a wait; returns how many accepts failed, and how often the kernel was entered.
fn failures(reactor: &mut Reactor) -> (u64, u64) {
    let entered = reactor.enter_count();
    let mut failed = 0;
    for _ in 0..POLLS {
        reactor.poll(Wait::Spin).expect("the ring works");
        let done = (0..).map_while(|idx| reactor.done(idx));
        for done in done {
            let Done::AcceptPaused { cause: PauseCause::Failed { errno }, .. } = done else {
                panic!("nothing but a failed accept can complete: {done:?}");
            };
            assert_eq!(errno, libc::EMFILE);
            failed += 1;
        }
    }
    (failed, reactor.enter_count() - entered)
}

#[test]
fn without_descriptors_accepting_pauses_and_goes_on_later() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("the listener has an address");
    let mut reactor = Reactor::new(8).expect("this machine offers io_uring");
    reactor.listen(listener);
    let waiting = TcpStream::connect(address).expect("the kernel's queue has room");
    let mut taken = take_all_descriptors();

    let (failed, entered) = failures(&mut reactor);
    assert!((1..FAILURES_MAX).contains(&failed), "{failed} failed accepts in {POLLS} polls");
    assert!(entered <= 2 * failed + 2, "{entered} entries into the kernel for {failed} failed accepts");

    #[cfg(feature = "mutation")]
    the_counts_show_a_loop_that_spins(&mut reactor);

    // With a descriptor again, the one that waited is accepted by the timer alone: no connection ends here.
    taken.pop();
    wait_for(&mut reactor, |done| matches!(done, Done::Accepted { .. }));
    drop((waiting, taken));
}

fn wait_for(reactor: &mut Reactor, is_it: impl Fn(Done) -> bool) {
    let found = (0..1_000).any(|_| {
        reactor.poll(Wait::Upto(Duration::from_millis(20))).expect("the ring works");
        (0..).map_while(|idx| reactor.done(idx)).any(&is_it)
    });
    assert!(found, "the timer does not let the listener try again");
}

#[cfg(feature = "mutation")]
fn the_counts_show_a_loop_that_spins(reactor: &mut Reactor) {
    use node::faults::mutation::{Mutation, plant};
    plant(Some(Mutation::AcceptAgainAtOnce));
    wait_for(reactor, |done| matches!(done, Done::AcceptPaused { .. }));
    let (failed, _) = failures(reactor);
    plant(None);
    assert!(FAILURES_MAX <= failed, "the planted fault has no effect: {failed} failed accepts");
}
