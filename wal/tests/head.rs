//! The head alone, no disk: room, order of completions, reuse of segments, poison.

mod common;

use common::{GEOMETRY, NODE, Rng, TIMELINE, config, record};
use wal::frame::Frame;
use wal::head::{FrameTicket, Head, HeadConfig, HeadPosition, WriteOp};
use wal::poison::WriteFault;
use wal::segment::Geometry;
use wal::units::{Lsn, SegmentIdx};

fn fresh() -> Head {
    Head::new(config(), HeadPosition::fresh(NODE, TIMELINE, Lsn::ZERO)).expect("the configuration is valid")
}

fn append_next(head: &mut Head) -> Lsn {
    let seq = head.seq_next();
    head.append(seq, &record(seq));
    seq
}

/// One frame of one record, on its way.
fn write_one(head: &mut Head) -> WriteOp {
    append_next(head);
    head.next_write().expect("a frame has a record and may be written")
}

fn complete(head: &mut Head, op: &WriteOp) {
    head.complete_write(op.ticket, Ok(op.bytes_len)).expect("the head is not poisoned");
    head.complete_sync(op.ticket, Ok(())).expect("the head is not poisoned");
}

#[test]
fn durable_only_over_the_contiguous_run_in_any_order() {
    let mut head = fresh();
    let ops: Vec<_> = (0..4).map(|_| write_one(&mut head)).collect();
    assert_eq!(head.frames_in_flight(), 4);
    append_next(&mut head);
    assert_eq!(head.next_write(), None, "four are in flight");

    head.complete_write(ops[2].ticket, Ok(ops[2].bytes_len)).expect("intact");
    complete(&mut head, &ops[1]);
    complete(&mut head, &ops[3]);
    assert_eq!(head.seq_durable(), Lsn(0));
    head.complete_write(ops[0].ticket, Ok(ops[0].bytes_len)).expect("intact");
    assert_eq!(head.seq_durable(), Lsn(0), "the first is written, not synced");
    head.complete_sync(ops[0].ticket, Ok(())).expect("intact");
    assert_eq!(head.seq_durable(), Lsn(2), "the third is written, not synced");
    head.complete_sync(ops[2].ticket, Ok(())).expect("intact");
    assert_eq!(head.seq_durable(), Lsn(4));
    let last = head.next_write().expect("room again");
    let frame = Frame::decode(head.bytes(last.ticket)).expect("what is written is a frame");
    assert_eq!((frame.seq_durable(), frame.seq_first()), (Lsn(4), Lsn(5)));
}

/// A sync that is reported before the write of its frame cannot have been linked to it.
fn a_sync_before_its_write_ends_the_head() {
    let mut head = fresh();
    let ops: Vec<_> = (0..2).map(|_| write_one(&mut head)).collect();
    let poisoned = head.complete_sync(ops[0].ticket, Ok(())).expect_err("its write has not ended");
    assert_eq!((poisoned.fault, poisoned.seq), (WriteFault::SyncedUnwritten, Lsn(1)));
    assert_eq!(head.complete_write(ops[0].ticket, Ok(ops[0].bytes_len)), Err(poisoned));
    assert_eq!(head.complete_sync(ops[1].ticket, Ok(())), Err(poisoned));
    assert_eq!((head.seq_durable(), head.next_write(), head.has_room(1)), (Lsn::ZERO, None, false));
}

#[test]
fn a_sync_that_ends_before_its_write_poisons() {
    a_sync_before_its_write_ends_the_head();
}

#[cfg(feature = "mutation")]
#[test]
fn an_order_that_is_not_checked_is_noticed() {
    wal::mutation::plant(Some(wal::mutation::Mutation::SyncOrderUnchecked));
    let outcome = std::panic::catch_unwind(a_sync_before_its_write_ends_the_head);
    wal::mutation::plant(None);
    assert!(outcome.is_err(), "a frame that may be lost counts as durable");
}

#[test]
fn frames_link_and_padding_is_zero_in_a_used_buffer() {
    let mut head = fresh();
    let mut tail = HeadPosition::fresh(NODE, TIMELINE, Lsn::ZERO).tail;
    let mut copied = vec![0; config().frame_bytes_max];
    for round in 0..40_u64 {
        // Long frames first, so that a short one finds their bytes in its buffer.
        for _ in 0..(40 - round) {
            append_next(&mut head);
        }
        let op = head.next_write().expect("may go");
        let bytes = head.bytes(op.ticket).to_vec();
        let frame = Frame::decode(&bytes).expect("a frame");
        assert!(frame.follows(tail));
        assert!(frame.records().all(|(seq, bytes)| bytes == record(seq)));
        assert!(bytes[frame.bytes().len()..].iter().all(|byte| *byte == 0) && bytes.len().is_multiple_of(4096));
        assert_eq!(bytes.as_ptr().addr() % 8, 0);
        tail = frame.tail();
        complete(&mut head, &op);
        let len = head.pop_durable_frame(&mut copied).expect("durable");
        assert_eq!(&copied[..len], frame.bytes());
        head.advance_stored(head.seq_durable());
    }
}

#[test]
fn links_are_the_same_whenever_they_are_hashed() {
    let mut tails = Vec::new();
    for link_at_once in [false, true] {
        let mut head = fresh();
        for _ in 0..12 {
            let op = write_one(&mut head);
            if link_at_once {
                head.hash_closed_frame();
                head.hash_closed_frame();
            }
            complete(&mut head, &op);
            tails.push(Frame::decode(head.bytes(op.ticket)).expect("a frame").tail());
            head.release_durable_frame();
            head.advance_stored(head.seq_durable());
        }
    }
    let (late, early) = tails.split_at(12);
    assert_eq!(late, early);
}

#[test]
fn a_segment_is_never_written_before_all_it_holds_is_stored() {
    for seed in 0..200 {
        wrap_run(seed);
    }
}

/// A store that lags at random; the twin remembers what each block of the head holds.
fn wrap_run(seed: u64) {
    let mut rng = Rng(seed);
    let mut head = fresh();
    let mut held = vec![Lsn::ZERO; (GEOMETRY.segment_count as u64 * GEOMETRY.segment_bytes / 4096) as usize];
    let mut copied = vec![0; config().frame_bytes_max];
    let (mut frames, mut refused) = (0, 0);
    for _ in 0..2000 {
        let bytes = 1 + rng.below(6000) as usize;
        if head.has_room(bytes) {
            head.append_with(head.seq_next(), bytes, |room| {
                room.fill(7);
                bytes
            });
        } else {
            refused += 1;
        }
        if let Some(op) = head.next_write() {
            let first = (u64::from(op.place.segment.0) * GEOMETRY.segment_bytes + op.place.offset) / 4096;
            for block in first..first + op.bytes_len as u64 / 4096 {
                assert!(held[block as usize] <= head.seq_stored(), "seed {seed}: an unstored frame is written over");
                held[block as usize] = op.seq_last;
            }
            assert!(op.place.offset + op.bytes_len as u64 <= GEOMETRY.segment_bytes, "seed {seed}: straddles");
            complete(&mut head, &op);
            frames += 1;
        }
        while head.pop_durable_frame(&mut copied).is_some() {}
        if rng.one_in(12) {
            let lag = rng.below(1 + head.seq_durable().0 - head.seq_stored().0);
            head.advance_stored(Lsn(head.seq_durable().0 - lag));
        }
    }
    assert!(frames > 100, "seed {seed}: the ring went round ({frames} frames)");
    assert!(refused > 0, "seed {seed}: the store's lag was felt");
}

#[test]
fn a_store_that_stops_ends_room_and_stored_gives_it_back() {
    let mut head = fresh();
    let mut copied = vec![0; config().frame_bytes_max];
    let mut frames = 0;
    while head.has_room(8) && frames < 100 {
        let op = write_one(&mut head);
        complete(&mut head, &op);
        head.pop_durable_frame(&mut copied).expect("durable");
        frames += 1;
    }
    assert_eq!(frames, 4 * 7, "four segments of seven blocks");
    assert_eq!(head.next_write(), None);
    head.advance_stored(Lsn(6));
    assert!(!head.has_room(8), "the first segment still holds sequence 7");
    head.advance_stored(Lsn(7));
    let op = write_one(&mut head);
    assert_eq!((op.place.segment, op.place.offset), (SegmentIdx(0), 4096));
}

#[test]
fn durable_frames_that_are_not_released_end_room() {
    let mut head = fresh();
    let mut frames = 0;
    while head.has_room(8) && frames < 100 {
        let op = write_one(&mut head);
        complete(&mut head, &op);
        frames += 1;
    }
    assert_eq!(frames, 2 * config().frames_in_flight_max + 1);
    head.release_durable_frame();
    assert!(head.has_room(8));
}

#[test]
fn buffers_never_move_or_multiply() {
    let mut head = fresh();
    let buffer_count = 2 * config().frames_in_flight_max + 1;
    let mut buffers = Vec::new();
    for round in 0..100 {
        let op = write_one(&mut head);
        let buffer = head.bytes(op.ticket).as_ptr();
        if round < buffer_count {
            assert!(buffer.addr().is_multiple_of(4096) && !buffers.contains(&buffer), "frame {round}");
            buffers.push(buffer);
        }
        assert_eq!(buffer, buffers[round % buffer_count], "frame {round}");
        complete(&mut head, &op);
        head.release_durable_frame();
        head.advance_stored(head.seq_durable());
    }
}

/// Two in flight, the second fails by `fail`; then nothing may move again, not even by the first one's success.
fn poisoned_by(fail: impl Fn(&mut Head, &WriteOp)) -> WriteFault {
    let mut head = fresh();
    let first = write_one(&mut head);
    let second = write_one(&mut head);
    append_next(&mut head);
    fail(&mut head, &second);
    let poisoned = *head.poisoned().expect("poisoned");
    assert_eq!((poisoned.seq, poisoned.place), (second.seq_first, second.place));
    assert_eq!(head.complete_write(first.ticket, Ok(first.bytes_len)), Err(poisoned));
    assert_eq!(head.complete_sync(first.ticket, Ok(())), Err(poisoned));
    assert_eq!(head.seq_durable(), Lsn::ZERO);
    assert_eq!(head.next_write(), None);
    assert!(!head.has_room(1));
    poisoned.fault
}

#[test]
fn the_first_failure_poisons_for_ever() {
    let write = poisoned_by(|head, op| assert!(head.complete_write(op.ticket, Err(5)).is_err()));
    assert_eq!(write, WriteFault::Write(5));
    let sync = poisoned_by(|head, op| assert!(head.complete_sync(op.ticket, Err(28)).is_err()));
    assert_eq!(sync, WriteFault::Sync(28));
    let short = poisoned_by(|head, op| assert!(head.complete_write(op.ticket, Ok(512)).is_err()));
    assert_eq!(short, WriteFault::Short { written: 512, expected: 4096 });
}

#[test]
#[should_panic(expected = "only frames in flight complete")]
fn a_frame_completes_once() {
    let mut head = fresh();
    let op = write_one(&mut head);
    complete(&mut head, &op);
    complete(&mut head, &op);
}

#[test]
#[should_panic(expected = "without gaps")]
fn a_sequence_is_not_skipped() {
    fresh().append(Lsn(2), b"x");
}

#[test]
#[should_panic]
fn a_ticket_that_was_never_given_completes_nothing() {
    let mut head = fresh();
    write_one(&mut head);
    let _unreachable = head.complete_write(FrameTicket(9), Ok(4096));
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    let refuse = |change: fn(&mut HeadConfig)| {
        let mut bad = config();
        change(&mut bad);
        assert!(Head::new(bad, HeadPosition::fresh(NODE, TIMELINE, Lsn::ZERO)).is_err());
    };
    refuse(|config| config.frames_in_flight_max = 0);
    refuse(|config| config.frames_in_flight_max = 17);
    refuse(|config| config.frame_bytes_max = 4095);
    refuse(|config| config.frame_bytes_max = 2 << 20);
    refuse(|config| config.frame_bytes_max = 8 * 4096);
    refuse(|config| config.geometry = Geometry { segment_count: 1, ..config.geometry });
    refuse(|config| config.geometry = Geometry { segment_bytes: 5000, ..config.geometry });
}
