//! Planted faults (mutations): each breaks one promise of the node, and the simulator must catch it.
//!
//! A fault is planted by name for the calling thread, so that one build can try them all. Invariant: without the
//! feature `mutation`, [`is`] is the constant `false` and the compiled node contains no part of any fault.

book::planted_faults! {
    /// An act is recorded without its actor under rules 2 too.
    ActedForgotten,
    /// Answers leave when a command is applied, before it is durable.
    AnswerBeforeSync,
    /// The gateway sends answers that are applied and not yet released.
    WatermarkIgnored,
    /// Market data is published before its command is durable.
    FeedBeforeSync,
    /// The admin API answers before its command is durable.
    AdminAnswerBeforeRelease,
    /// A stream whose life is over is taken up again, at a number that now stands for another message.
    OldStreamTakenUp,
    /// A session that resumes misses one message.
    ResumeOffByOne,
    /// Messages for a session without a connection are lost.
    MessageLostWhileAway,
    /// Received bytes that had to wait for room in the ingress are dropped.
    StalledBytesForgotten,
    /// A mass cancel that one command cannot finish is never continued.
    MassCancelAbandoned,
    /// The high-water mark is never written.
    MarkNotNoted,
    /// `seq_stored` advances when a frame is appended to the store, before the flush.
    StoredBeforeFlush,
    /// A snapshot's header names the sequence before its own.
    SnapshotOffByOne,
    /// A listener whose accept failed accepts again at once.
    AcceptAgainAtOnce,
    /// A port whose connections are all in use closes none of those that have not logged in.
    NoRoomMade,
    /// The history's rows and its watermark are written in two batches.
    CursorApart,
    /// A store writer that begins again after a panic takes the frames of its batch for missing, stored or not.
    BatchStoredTwice,
    /// A feed that begins again publishes items a second time that the state it begins with contains.
    ItemsPublishedTwice,
    /// The gateway goes by a change of reference data before its command is released.
    ControlBeforeRelease,
    /// The hash of a state that a snapshot gave is not compared with the one in its header.
    StateHashUnchecked,
    /// The sequence of a state that a snapshot gave is not compared with the one in its header.
    StateSeqUnchecked,
    /// The write of a frame is not linked to its sync, which may then begin before the write has ended.
    SyncUnlinked,
    /// The write of a frame is followed by an operation that syncs nothing.
    SyncMissing,
    /// Another segment is synced than the one that the frame was written to.
    SyncOfOtherSegment,
    /// A send that has room in a small buffer sends what an earlier one has left in it.
    SmallSendNotCopied,
    /// A snapshot does not contain the mass cancels that are unfinished.
    UnfinishedForgottenInSnapshot,
    /// The end of a connection that a new login has displaced counts as the end of the session.
    DisplacedEndsSession,
    /// A thread that logs waits for room in the queue of log lines.
    LogWaits,
    /// A disk on which nothing becomes durable counts as one that works.
    FrozenDiskReady,
    /// A clock shows a time before one that it has shown.
    ClockRunsBack,
    /// The node's clock runs at the rate of the processor's counter, wherever the wall clock is.
    ClockNotSteered,
    /// A start believes every wall clock.
    WallUnchecked,
    /// The node lifts its stop of the intake as soon as the disk is used less than where it stopped.
    IntakeFlaps,
    /// The log does not have the time at which a request reached the node.
    GatewayInUnlogged,
    /// A password that was verified stays good after the stored one has changed.
    OldPasswordVerified,
    /// An address block that has had its turn to log in has the next one as well.
    LoginTurnKept,
    /// Wrong passwords for one user lock every user of the address block.
    LockOfBlock,
    /// A login for which there is no place is answered as if its password were wrong.
    BusyIsWrong,
    /// A grace window after a start ends although a login of its session has waited since before.
    GraceEndsBeforeTurn,
    /// Where memory for messages is used up, any session gives way, and not the one with the most.
    QuietSessionsGiveWay,
    /// A port accepts connections as fast as they come.
    AcceptsUnrationed,
    /// One cycle of the gateway looks at all connections.
    HeartbeatsInOneCycle,
    /// Each reader that asks for a snapshot has one encoded for it.
    SnapshotsUnpaced,
    /// Readers of the live stream that are far back are sent as much as they take.
    ReplaysUnpaced,
    /// A reader that is far back is sent one message more than it is granted.
    ReplayBeyondGrant,
    /// A send of a snapshot ends within a packet.
    SnapshotCutInPacket,
    /// A feed that waits for its state discards the items that come meanwhile.
    ItemsDiscarded,
    /// A reader of the best levels looks at every instrument.
    TopLooksAtAll,
    /// The parts of a command over many orders run before all other commands.
    PartsBeforeOthers,
    /// A connection's bytes are all decoded at once, however many others wait.
    TurnWithoutEnd,
    /// A client whose bytes wait for their turn counts as silent.
    WaitingIsSilent,
    /// The gateway does not report the end of a connection where it believes that nothing is cancelled.
    EndByGatewaysView,
    /// The end of a connection for which the ring has no room is lost.
    EndLostWhenFull,
    /// What a lost connection has sent and is not decoded is forgotten.
    LastBytesForgotten,
    /// What a client has sent in an ended life of its session counts for the next one.
    EndedLifeGoesOn,
    /// The connection of a session whose life has ended stays.
    ConnectionOutlivesLife,
    /// A number of the live stream that is no longer in memory is answered like one that was never said.
    GoneIsUnknown,
    /// A start leaves the live messages from before its snapshot where they are.
    LivePastForgotten,
    /// Live messages from before a snapshot go before those after it although some between them are missing.
    LiveGapUnseen,
    /// The last frame of a burst is attested by nothing until the mark is due by time.
    IdleUnattested,
    /// The history keeps every live message for ever.
    LivePastUnbounded,
    /// A snapshot is shipped to a backup before the log up to it.
    SnapshotAheadOfLog,
    /// A restore takes a state whose past the backup has lost as if it had none.
    PastDropped,
    /// The objects of a backup may be read by every user of its machine.
    ReadableByAll,
    /// A restore into a mount point begins like one into any other directory.
    MountPointRenamed,
    /// The rows that a restore computes are not in its figures.
    RowsUncounted,
    /// A command whose outcome clients know is quarantined like one that was never answered.
    AnsweredQuarantined,
    /// An object that prune has deleted meanwhile ends the reading of a backup.
    PruneUnexpected,
}

/// Plants a fault of any crate in the calling thread, by its name; false if there is none of that name.
#[cfg(feature = "mutation")]
pub fn plant_by_name(name: &str) -> bool {
    let book = book::mutation::Mutation::named(name);
    let wal = wal::mutation::Mutation::ALL.into_iter().find(|mutation| format!("{mutation:?}") == name);
    let api = api::mutation::Mutation::named(name);
    let own = Mutation::named(name);
    let found = book.is_some() || wal.is_some() || api.is_some() || own.is_some();
    book::mutation::plant(book);
    wal::mutation::plant(wal);
    api::mutation::plant(api);
    plant(own);
    found
}

/// Removes every planted fault from the calling thread.
#[cfg(feature = "mutation")]
pub fn plant_none() {
    book::mutation::plant(None);
    wal::mutation::plant(None);
    api::mutation::plant(None);
    plant(None);
}

/// Asserts that `test` fails with this fault planted, for tests of crates that have no planted faults of their own. A
/// build without planted faults asserts nothing.
pub fn assert_noticed_where_built(fault: Mutation, test: fn()) {
    #[cfg(feature = "mutation")]
    {
        plant(Some(fault));
        let outcome = std::panic::catch_unwind(test);
        plant(None);
        assert!(outcome.is_err(), "{} is not noticed", fault.name());
    }
    #[cfg(not(feature = "mutation"))]
    let _ = (fault, test);
}
