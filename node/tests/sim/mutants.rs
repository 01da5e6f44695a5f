//! The simulator's own test: it must detect each planted fault within a given number of seeds.

use crate::options::{FloodEnd, Options};
use crate::runs::{Failure, run};
use crate::violation::Invariant::{self, *};
use std::collections::BTreeSet;

/// A planted fault, the seeds within which it must be detected, and the promises that it may violate first.
#[derive(Clone, Copy)]
struct Mutant {
    name: &'static str,
    seeds_max: u64,
    breaks: &'static [Invariant],
    /// What every seed has, where few seeds would have it.
    flood: Option<FloodEnd>,
}

const fn mutant(name: &'static str, seeds_max: u64, breaks: &'static [Invariant]) -> Mutant {
    Mutant { name, seeds_max, breaks, flood: None }
}

/// One that shows only in a big book that ends in this way.
const fn flooded(name: &'static str, end: FloodEnd, seeds_max: u64, breaks: &'static [Invariant]) -> Mutant {
    Mutant { name, seeds_max, breaks, flood: Some(end) }
}

const MUTANTS: &[Mutant] = &[
    mutant("YoungestFirst", 20, &[TwinDiffers]),
    mutant("FeeForgotten", 20, &[TwinDiffers, Assertion]),
    mutant("ReleaseTooMuch", 20, &[TwinDiffers, Assertion]),
    mutant("ImprovementKept", 20, &[TwinDiffers]),
    mutant("ResendTakenTwice", 20, &[TwinDiffers]),
    mutant("ClockInApply", 20, &[HashDiffers, TwinDiffers, StreamDiffers]),
    mutant("IdsForgottenInSnapshot", 20, &[StartRefused]),
    mutant("CustodyForgotten", 20, &[Assertion]),
    mutant("FundsNotChecked", 100, &[Assertion]),
    mutant("HoldTooSmall", 20, &[TwinDiffers, Assertion]),
    mutant("ReleasedTwice", 20, &[Assertion]),
    mutant("FeeTooHigh", 20, &[Assertion]),
    mutant("ReachTooShort", 20, &[Assertion]),
    mutant("FillNotCounted", 20, &[Assertion]),
    mutant("BackLinkForgotten", 20, &[Assertion, StateInconsistent]),
    mutant("SlotGivenTwice", 20, &[Assertion, StateInconsistent]),
    mutant("OpenListKept", 20, &[Assertion]),
    mutant("RightsNotChecked", 20, &[TwinDiffers]),
    mutant("RevocationForgottenInSnapshot", 20, &[StartRefused]),
    mutant("PermissionsForgottenInSnapshot", 20, &[StartRefused]),
    mutant("ThrottleForgottenInSnapshot", 600, &[StartRefused]),
    mutant("OpenLimitForgottenInSnapshot", 60, &[StartRefused]),
    mutant("KindForgottenInSnapshot", 20, &[StartRefused]),
    mutant("CanceledMakerCounted", 20, &[StateInconsistent, Assertion]),
    mutant("OneCopyTooMany", 40, &[TwinDiffers, Assertion]),
    flooded("RestOfDisconnectKept", FloodEnd::Disconnect, 40, &[TwinDiffers]),
    flooded("RestOfKillPlain", FloodEnd::KillSwitch, 40, &[TwinDiffers]),
    mutant("DisplacedEndsSession", 60, &[Liveness]),
    mutant("SyncSkipped", 20, &[Watermark]),
    mutant("SyncErrorIgnored", 60, &[Watermark]),
    mutant("TornTailKept", 200, &[StartRefused]),
    mutant("HoleAccepted", 200, &[DamageAccepted]),
    mutant("SegmentReusedEarly", 600, &[StartRefused]),
    mutant("FlushSkipped", 20, &[Watermark]),
    mutant("SnapshotUnsynced", 20, &[FailedWithoutFault, StartRefused]),
    mutant("DirectorySyncSkipped", 600, &[StartRefused]),
    mutant("AnswerBeforeSync", 20, &[SentBeforeDurable]),
    mutant("WatermarkIgnored", 20, &[SentBeforeDurable]),
    mutant("FeedBeforeSync", 20, &[SentBeforeDurable]),
    mutant("AdminAnswerBeforeRelease", 20, &[SentBeforeDurable]),
    mutant("ResumeOffByOne", 20, &[Assertion]),
    mutant("MessageLostWhileAway", 20, &[StreamDiffers, Liveness]),
    mutant("StalledBytesForgotten", 200, &[Liveness]),
    flooded("MassCancelAbandoned", FloodEnd::MassCancel, 60, &[Liveness]),
    mutant("MarkNotNoted", 150, &[DamageAccepted]),
    mutant("StoredBeforeFlush", 20, &[Watermark]),
    mutant("SnapshotOffByOne", 20, &[StartRefused]),
    mutant("CursorApart", 100, &[Liveness, LiveForgotten]),
    mutant("IntakeIgnored", 60, &[TwinDiffers]),
    mutant("IntakeForgottenInSnapshot", 200, &[StartRefused]),
    mutant("ActedForgotten", 20, &[ActorMissing]),
    mutant("GatewayInUnlogged", 20, &[StreamDiffers]),
    mutant("LivePastForgotten", 20, &[LiveForgotten]),
];

const FEES: &str = "book: fees, a_fee_that_takes_a_lot_or_is_not_held_is_noticed";
const NAMES_OF_ORDERS: &str = "book: names, a_name_that_is_shown_freed_or_kept_wrongly_is_noticed";
const PARTS: &str = "book: parts, faults_between_two_parts_are_noticed";
const RULES_TWO: &str = "book: rules_two, an_old_outcome_under_new_rules_is_noticed";
const SESSION_LIVES: &str = "book: session_lives, an_end_that_takes_or_leaves_the_wrong_things_is_noticed";
const WHOLE_STATE: &str = "book: whole_state, a_field_that_a_snapshot_forgets_is_noticed";
const ENDS: &str = "node: orders_port, ends::ends_that_are_lost_and_lives_that_go_on_are_noticed";
const LEAVING: &str = "book: leaving, what_stays_or_leaves_against_the_rules_is_noticed";
const LINKS: &str = "wal: links, links_that_are_not_checked_are_noticed";
const NAMES: &str = "wal: durable_names, syncs_that_are_skipped_are_noticed";
const CHECKSUMS: &str = "wal: snapshot, checksums_that_are_not_compared_are_noticed";
const STATES: &str = "node: replica::tests::states_that_are_not_compared_are_noticed";
const MARKET_PORT: &str = "node: market_flood, floods_that_are_not_bounded_are_noticed";
const ORDERS_PORT: &str = "node: orders_port, logins_and_heartbeats_that_are_not_right_are_noticed";
const BACKUPS: &str = "tools: backup, planted_faults_of_backups_are_noticed";
const SYNCS: &str = "node: reactor::uring::tests::frames_that_are_not_synced_right_are_noticed";
const SENDS: &str = "node: reactor::uring::send_buffers::tests::small_sends_that_are_not_copied_are_noticed";

/// Planted faults of what the simulator does not have, real sockets and real files among it, and the test that plants
/// each and notices it.
const ELSEWHERE: &[(&str, &str)] = &[
    ("BudgetSpentByOwn", "book: regressions, a_budget_that_own_asks_spend_is_noticed"),
    ("HoldOneOrderTooWide", "book: bounds, a_bound_that_is_missed_is_noticed"),
    ("CanceledMakersNotReached", "book: bounds, a_bound_that_is_missed_is_noticed"),
    ("BlockSetByEveryPart", "book: bounds, a_bound_that_is_missed_is_noticed"),
    ("NumberNotWrapped", "book: slab::tests::numbers_that_do_not_start_again_are_noticed"),
    ("OldNumbersRefused", "book: snapshot, old_numbers_that_are_refused_are_noticed"),
    ("HeldNotSampled", "book: check::tests::a_check_that_is_blind_is_noticed"),
    ("OrdersNotSampled", "book: check::tests::a_check_that_is_blind_is_noticed"),
    ("SampleStandsStill", "book: check::tests::a_check_that_is_blind_is_noticed"),
    (
        "UnfinishedForgottenInSnapshot",
        "node: mass_cancels::tests::an_unfinished_mass_cancel_that_a_snapshot_forgets_is_noticed",
    ),
    ("ForeignAmended", RULES_TWO),
    ("AmendedUnmeasured", RULES_TWO),
    ("HaltKeepsOrders", RULES_TWO),
    ("LastIdTaken", RULES_TWO),
    ("LimitOfMarketOrderShown", RULES_TWO),
    ("FleetingTakesPlace", RULES_TWO),
    ("ThrottleStaysFull", RULES_TWO),
    ("OperatorsBlockLifted", RULES_TWO),
    ("HashUnkeyed", "book: cl_ord_index::tests::a_hash_without_a_key_is_noticed"),
    ("AgentIsParent", RULES_TWO),
    ("BandOfNothing", RULES_TWO),
    ("FeeTakesLot", FEES),
    ("FeeNotHeld", FEES),
    ("NameShownToAll", NAMES_OF_ORDERS),
    ("NameFreeAtEnd", NAMES_OF_ORDERS),
    ("NamesWithoutBound", NAMES_OF_ORDERS),
    ("NumbersSaidTwice", "book: lives, numbers_that_are_said_twice_are_noticed"),
    ("IndexMovedAtOnce", "book: cl_ord_index::tests::a_table_that_moves_at_once_is_noticed"),
    ("TableSplitAtOnce", "book: growth, a_table_that_moves_at_once_is_noticed"),
    ("ReferencesKept", LEAVING),
    ("ReferenceForgottenEarly", LEAVING),
    ("ReferenceTimesForgottenInSnapshot", LEAVING),
    ("RevokedKeyKept", LEAVING),
    ("RemovedWithOrders", LEAVING),
    ("MarketRemovalForgottenInSnapshot", LEAVING),
    ("OldStreamTakenUp", "node: gateway::order_entry::login::tests::an_old_stream_that_is_taken_up_is_noticed"),
    ("StatusEndsAfterOnePart", RULES_TWO),
    ("VisitedWithoutBound", RULES_TWO),
    ("PartsFromTheHead", RULES_TWO),
    ("RequestsWithoutBound", PARTS),
    ("RequestsForgottenInSnapshot", PARTS),
    ("EndsPileUp", PARTS),
    ("WalkEndsWithItsOrder", PARTS),
    ("WalkTakesLaterOrders", PARTS),
    ("WalksForgottenInSnapshot", PARTS),
    ("PartsBeforeOthers", "node: engine::unfinished::tests::parts_that_come_before_all_others_are_noticed"),
    ("TurnWithoutEnd", ORDERS_PORT),
    ("WaitingIsSilent", ORDERS_PORT),
    ("NodeLiftsForOperator", RULES_TWO),
    ("WindowIgnored", SESSION_LIVES),
    ("CopyCancels", SESSION_LIVES),
    ("IdsOutliveLife", SESSION_LIVES),
    ("OrdersOutliveLife", SESSION_LIVES),
    ("OrphanGoesOn", SESSION_LIVES),
    ("RemovedTrades", SESSION_LIVES),
    ("EndingTrades", SESSION_LIVES),
    ("RemovedNameGiven", SESSION_LIVES),
    ("RemovalForgottenInSnapshot", WHOLE_STATE),
    ("LifeForgottenInSnapshot", WHOLE_STATE),
    ("EndByGatewaysView", ENDS),
    ("EndLostWhenFull", ENDS),
    ("LastBytesForgotten", ENDS),
    ("ConnectionOutlivesLife", ENDS),
    ("EndedLifeGoesOn", "node: engine::ended_lives::tests::an_ended_life_that_goes_on_is_noticed"),
    ("ControlBeforeRelease", "node: rings::control::tests::a_change_that_is_in_force_too_early_is_noticed"),
    ("AcceptAgainAtOnce", "node: accept_limits"),
    ("NoRoomMade", "node: market_port"),
    ("FrozenDiskReady", "node: ops::write_wait::tests::a_frozen_disk_that_is_not_late_is_noticed"),
    ("ClockRunsBack", "node: host::clock::tests::a_clock_that_runs_back_is_noticed"),
    ("ClockNotSteered", "node: host::clock_watch::tests::a_clock_that_is_not_steered_is_noticed"),
    ("WallUnchecked", "node: host::clock_start::tests::a_clock_that_is_not_checked_is_noticed"),
    ("IntakeFlaps", "node: ops::disk_watch::tests::an_intake_that_flaps_is_noticed"),
    ("OldPasswordVerified", "node: gateway::verified::tests::a_digest_that_outlives_its_password_is_noticed"),
    ("LoginTurnKept", "node: gateway::login_queue::tests::a_block_that_keeps_its_turn_is_noticed"),
    ("LockOfBlock", "node: gateway::login_locks::tests::a_lock_of_all_users_of_a_block_is_noticed"),
    ("BusyIsWrong", ORDERS_PORT),
    ("GraceEndsBeforeTurn", ORDERS_PORT),
    ("QuietSessionsGiveWay", "node: replica::session_streams::tests::quiet_sessions_that_give_way_are_noticed"),
    ("AcceptsUnrationed", ORDERS_PORT),
    ("HeartbeatsInOneCycle", ORDERS_PORT),
    ("SnapshotsUnpaced", MARKET_PORT),
    ("SnapshotCutInPacket", MARKET_PORT),
    ("ReplaysUnpaced", MARKET_PORT),
    ("ReplayBeyondGrant", MARKET_PORT),
    ("ItemsDiscarded", "node: market_port, a_feed_that_discards_what_follows_is_noticed"),
    ("TopLooksAtAll", MARKET_PORT),
    ("GoneIsUnknown", MARKET_PORT),
    ("IdleUnattested", "node: store_writer::tests::a_last_frame_that_is_not_attested_is_noticed"),
    ("SyncOrderUnchecked", "wal: head, an_order_that_is_not_checked_is_noticed"),
    ("MarkAttestsNothing", "wal: crash_cuts, a_mark_that_attests_nothing_is_noticed"),
    ("TornEndUnnoted", "wal: crash_cuts, a_torn_end_that_is_not_noted_is_noticed"),
    ("OutsideIgnored", "wal: directory, a_place_outside_that_is_ignored_is_noticed"),
    ("LiveGapUnseen", "node: replica::public_feed::tests::a_gap_that_is_not_seen_is_noticed"),
    ("LivePastUnbounded", "node: history::live_rows::tests::a_past_that_only_grows_is_noticed"),
    ("LogWaits", "node: status::logging::queue::tests::a_thread_that_waits_for_room_is_noticed"),
    ("BatchStoredTwice", "node: store_writer::tests::a_batch_that_would_be_stored_twice_is_noticed"),
    ("ItemsPublishedTwice", "node: market_port, a_feed_that_publishes_items_twice_is_noticed"),
    ("SmallFilesKept", "wal: rocks::tests::a_store_whose_small_files_stay_grows_without_bound"),
    ("MergedUnread", "wal: rocks::tests::merging_without_reading_first_ends_every_write"),
    ("LastLinkUnchecked", LINKS),
    ("StoredCopyUnchecked", LINKS),
    ("StartLinkUnchecked", LINKS),
    ("ReplacedUnsynced", NAMES),
    ("ReplacedNameUnsynced", NAMES),
    ("CreatedUnsynced", NAMES),
    ("CreatedNameUnsynced", NAMES),
    ("SegmentUnsynced", NAMES),
    ("SegmentNamesUnsynced", NAMES),
    ("MarkUnsynced", NAMES),
    ("EntriesUnsynced", NAMES),
    ("DirectoryNameUnsynced", NAMES),
    ("BallastNameUnsynced", NAMES),
    ("RemovalUnsynced", NAMES),
    ("SnapshotHeaderUnchecked", CHECKSUMS),
    ("SnapshotPieceUnchecked", CHECKSUMS),
    ("SnapshotHashUnchecked", CHECKSUMS),
    ("SnapshotsFolderNeeded", "wal: snapshot, a_folder_that_is_needed_is_noticed"),
    ("StateHashUnchecked", STATES),
    ("StateSeqUnchecked", STATES),
    ("SyncUnlinked", SYNCS),
    ("SyncMissing", SYNCS),
    ("SyncOfOtherSegment", SYNCS),
    ("SmallSendNotCopied", SENDS),
    ("SnapshotAheadOfLog", BACKUPS),
    ("PastDropped", BACKUPS),
    ("ReadableByAll", BACKUPS),
    ("RowsUncounted", BACKUPS),
    ("PruneUnexpected", BACKUPS),
    ("MountPointRenamed", "tools: offline::new_place::tests::a_mount_point_that_is_not_seen_is_noticed"),
    ("AnsweredQuarantined", "tools: verbs::log::consequences::tests::a_quarantine_of_what_was_answered_is_noticed"),
];

#[test]
fn every_planted_fault_has_its_row() {
    let book = book::mutation::Mutation::ALL.map(|mutation| format!("{mutation:?}"));
    let wal = wal::mutation::Mutation::ALL.map(|mutation| format!("{mutation:?}"));
    let node = node::faults::mutation::Mutation::ALL.map(|mutation| format!("{mutation:?}"));
    let all: BTreeSet<String> = book.into_iter().chain(wal).chain(node).collect();
    let names = MUTANTS.iter().map(|mutant| mutant.name).chain(ELSEWHERE.iter().map(|(name, _)| *name));
    let rows: BTreeSet<String> = names.map(str::to_owned).collect();
    assert_eq!(rows, all);
    assert_eq!(rows.len(), MUTANTS.len() + ELSEWHERE.len(), "each fault has one row");
}

#[test]
fn every_planted_fault_is_detected() {
    let mut missed = Vec::new();
    println!("{:<26} {:>5} of {:>3}  violated promise", "planted fault", "seeds", "max");
    for Mutant { name, seeds_max, breaks, flood } in MUTANTS.iter().copied() {
        assert!(node::faults::mutation::plant_by_name(name), "there is no planted fault {name}");
        let options = |seed| match flood {
            Some(end) => Options::of(seed).flooded(end),
            None => Options::of(seed),
        };
        let detected = (0..seeds_max).find_map(|seed| run(&options(seed)).err().map(|failure| (seed, failure)));
        node::faults::mutation::plant_none();
        let Some((seed, Failure { violation, .. })) = detected else {
            println!("{name:<26}     - of {seeds_max:>3}  none");
            missed.push(name.to_owned());
            continue;
        };
        println!("{name:<26} {:>5} of {seeds_max:>3}  {:?}", seed + 1, violation.invariant);
        if !breaks.contains(&violation.invariant) {
            missed.push(format!("{name}, by an unrelated promise, seed {seed}: {}", violation.detail));
        }
    }
    assert!(missed.is_empty(), "not detected: {missed:#?}");
}
