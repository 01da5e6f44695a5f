//! The reactor on real sockets and files: bytes are received and sent, and durable frames are on the disk.

use node::faults::fault::JournalFault;
use node::reactor::ports::{ConnId, Done, Journaling, ListenerIdx, PauseCause, Sockets, Wait};
use node::reactor::uring::{Reactor, SEND_BYTES};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use wal::directory::Directory;
use wal::frame::Frame;
use wal::head::{Head, HeadConfig, HeadPosition};
use wal::identity::{FORMAT_NEWEST, Identity};
use wal::medium::Access;
use wal::poison::WriteFault;
use wal::segment::Geometry;
use wal::units::{Lsn, NodeId, Timeline};

const WAIT: Wait = Wait::Upto(Duration::from_millis(20));

/// Bounds of a loop that may see a timer, hundreds of polls apart.
const POLLS_MAX: usize = 50;
const ENTRIES_MAX: u64 = 50;

fn reactor() -> Reactor {
    Reactor::new(8).expect("this machine offers io_uring")
}

/// Polls until `want` returns a value for a completion. The first `seen` completions of the latest poll were examined
/// by earlier calls; the others are examined first.
fn poll_until<T>(reactor: &mut Reactor, seen: &mut usize, mut want: impl FnMut(Done) -> Option<T>) -> T {
    for _ in 0..1_000 {
        while let Some(done) = reactor.done(*seen) {
            *seen += 1;
            if let Some(found) = want(done) {
                return found;
            }
        }
        reactor.poll(WAIT).expect("the ring works");
        *seen = 0;
    }
    panic!("the completion did not arrive in 1,000 polls");
}

#[test]
fn bytes_are_received_and_sent_back() {
    let (mut reactor, mut seen) = (reactor(), 0);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("the listener has an address");
    assert_eq!(reactor.listen(listener), ListenerIdx(0));
    let client = std::thread::spawn(move || {
        let mut socket = TcpStream::connect(address).expect("the reactor accepts");
        socket.write_all(b"hello").expect("connected");
        let mut back = [0; 5];
        socket.read_exact(&mut back).expect("the bytes came back");
        back
    });
    let conn = poll_until(&mut reactor, &mut seen, |done| match done {
        Done::Accepted { conn, listener: ListenerIdx(0) } => Some(conn),
        _ => None,
    });
    let mut received = Vec::new();
    while received.len() < 5 {
        poll_until(&mut reactor, &mut seen, |done| matches!(done, Done::Received { .. }).then_some(()));
        received.extend_from_slice(reactor.received(conn));
        reactor.receive(conn);
    }
    reactor.send_buffer(conn).expect("no operation is under way")[..5].copy_from_slice(&received);
    reactor.send(conn, 5);
    poll_until(&mut reactor, &mut seen, |done| matches!(done, Done::Sent { .. }).then_some(()));
    assert_eq!(&client.join().expect("the thread did not panic"), b"hello");
    poll_until(&mut reactor, &mut seen, |done| matches!(done, Done::Lost { .. }).then_some(()));
    reactor.close(conn);
    assert!(reactor.send_buffer(conn).is_none(), "a closed connection has no send buffer");
}

/// Each connection has its own bytes, however many send at once and whatever buffer has room for them.
#[test]
fn sends_of_every_size_are_under_way_at_once() {
    let (mut reactor, mut seen) = (reactor(), 0);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("the listener has an address");
    reactor.listen(listener);
    let sizes = [1, 5, 2_048, 2_049, 40_000, SEND_BYTES];
    const ROUNDS: u8 = 3;
    let mut conns = Vec::new();
    let mut clients = Vec::new();
    for (byte, size) in (1u8..).zip(sizes) {
        let mut client = TcpStream::connect(address).expect("the reactor accepts");
        conns.push((poll_until(&mut reactor, &mut seen, accepted), byte, size));
        clients.push(std::thread::spawn(move || {
            let mut bytes = vec![0; size];
            for round in 0..ROUNDS {
                client.read_exact(&mut bytes).expect("all bytes arrive");
                assert!(bytes.iter().all(|found| *found == byte + round), "{size} bytes of another connection");
            }
        }));
    }
    for round in 0..ROUNDS {
        for (conn, byte, size) in &conns {
            reactor.send_buffer(*conn).expect("the send before is complete")[..*size].fill(byte + round);
            reactor.send(*conn, *size);
            assert!(reactor.send_buffer(*conn).is_none(), "a connection has one send under way");
        }
        for _ in &conns {
            poll_until(&mut reactor, &mut seen, |done| matches!(done, Done::Sent { .. }).then_some(()));
        }
    }
    clients.into_iter().for_each(|client| client.join().expect("the thread did not panic"));
}

fn accepted(done: Done) -> Option<ConnId> {
    match done {
        Done::Accepted { conn, .. } => Some(conn),
        _ => None,
    }
}

#[test]
fn connections_beyond_the_slots_wait_until_one_ends() {
    let mut reactor = Reactor::new(2).expect("this machine offers io_uring");
    let mut seen = 0;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("the listener has an address");
    reactor.listen(listener);
    let clients: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(address).expect("the backlog accepts")).collect();
    let mut open = vec![poll_until(&mut reactor, &mut seen, accepted)];
    while open.len() < clients.len() {
        open.push(poll_until(&mut reactor, &mut seen, accepted));
        // Both slots are taken. Nothing more is accepted, and each poll finds nothing to do.
        let entered = reactor.enter_count();
        let mut paused = usize::from(matches!(reactor.done(seen), Some(Done::AcceptPaused { .. })));
        assert_eq!(paused, 1, "the listener that filled the reactor is reported");
        for _ in 0..1_000 {
            reactor.poll(Wait::Spin).expect("the ring works");
            while let Some(done) = reactor.done(0).filter(|_| paused < POLLS_MAX) {
                assert!(matches!(done, Done::AcceptPaused { cause: PauseCause::NoSlot, .. }), "{done:?}");
                paused += 1;
                reactor.poll(Wait::Spin).expect("the ring works");
            }
        }
        let entered = reactor.enter_count() - entered;
        assert!(entered < ENTRIES_MAX, "{entered} entries into the kernel while nothing can be accepted");
        // The end of a connection makes room for the next, and not only the timer.
        reactor.close(open[open.len() - 2]);
        seen = 0;
    }
    assert_eq!(open.iter().map(|conn| conn.slot()).collect::<std::collections::BTreeSet<_>>().len(), 2);
    drop(clients);
}

/// A reactor with the journal of a new data directory.
fn journal(dir: &std::path::Path) -> (Reactor, Directory) {
    let geometry = Geometry { segment_count: 2, segment_bytes: 1 << 20 };
    let identity =
        Identity { format: FORMAT_NEWEST, node_id: NodeId([7; 16]), timeline: Timeline(1), seq_base: Lsn(0), geometry };
    let path = dir.join("data");
    Directory::create(&path, &identity, 0).expect("the path is new");
    let directory = Directory::open(&path).expect("the directory was just created");
    let files = directory.segments(Access::ReadWrite).expect("the segments open").into_files();
    let config = HeadConfig { timeline: Timeline(1), geometry, frame_bytes_max: 64 << 10, frames_in_flight_max: 4 };
    let position = HeadPosition::fresh(NodeId([7; 16]), Timeline(1), Lsn(0));
    let head = Head::new(config, position).expect("a valid configuration");
    (reactor().with_journal(head, files, JournalFault::default()), directory)
}

#[test]
fn frames_become_durable_and_are_on_disk() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut reactor, directory) = journal(dir.path());
    for seq in 1..=20 {
        while !reactor.head().has_room(16) || reactor.head().frames_in_flight() == 4 {
            reactor.poll(WAIT).expect("the ring works");
            while reactor.head().durable_frame().is_some() {
                reactor.head_mut().release_durable_frame();
            }
        }
        reactor.head_mut().append(Lsn(seq), &seq.to_le_bytes());
        reactor.write_journal();
    }
    for _ in 0..1_000 {
        if reactor.head().seq_durable() == Lsn(20) {
            break;
        }
        reactor.poll(WAIT).expect("the ring works");
    }
    assert_eq!(reactor.head().seq_durable(), Lsn(20));
    assert!(reactor.poisoned().is_none());
    drop(reactor);
    let mut seen = Vec::new();
    wal::recover::inspect(&directory, Lsn(1), |seq, bytes| {
        assert_eq!(bytes, seq.0.to_le_bytes());
        seen.push(seq.0);
        Ok(())
    })
    .expect("the log is intact");
    assert_eq!(seen, (1..=20).collect::<Vec<_>>());
    assert!(Frame::decode(&[]).is_err());
}

/// The outcome of one frame whose segment takes every write, and fails every sync, as the null device does. The other
/// segment is a file that could be synced.
fn frame_that_cannot_be_synced() -> Result<Lsn, WriteFault> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let null = OpenOptions::new().write(true).open("/dev/null").expect("this machine has a null device");
    let other = File::create_new(dir.path().join("other")).expect("the path is new");
    let geometry = Geometry { segment_count: 2, segment_bytes: 1 << 20 };
    let config = HeadConfig { timeline: Timeline(1), geometry, frame_bytes_max: 64 << 10, frames_in_flight_max: 4 };
    let position = HeadPosition::fresh(NodeId([7; 16]), Timeline(1), Lsn(0));
    let head = Head::new(config, position).expect("a valid configuration");
    let mut reactor = reactor().with_journal(head, vec![null, other], JournalFault::default());
    reactor.head_mut().append(Lsn(1), b"record");
    assert_eq!(reactor.write_journal(), 1);
    for _ in 0..1_000 {
        reactor.poll(WAIT).expect("the ring works");
        if let Some(poisoned) = reactor.poisoned() {
            return Err(poisoned.fault);
        }
        if reactor.head().seq_durable() == Lsn(1) {
            return Ok(Lsn(1));
        }
    }
    panic!("neither durable nor failed in 1,000 polls");
}

#[test]
fn a_frame_is_durable_by_a_sync_of_its_own_segment_alone() {
    assert_eq!(frame_that_cannot_be_synced(), Err(WriteFault::Sync(libc::EINVAL)));
}

#[cfg(feature = "mutation")]
#[test]
fn syncs_that_are_missing_or_of_another_file_are_noticed() {
    use node::faults::mutation::{Mutation, plant};
    for fault in [Mutation::SyncMissing, Mutation::SyncOfOtherSegment] {
        plant(Some(fault));
        let outcome = frame_that_cannot_be_synced();
        plant(None);
        assert_eq!(outcome, Ok(Lsn(1)), "with {fault:?} a frame is durable without its sync");
    }
}
