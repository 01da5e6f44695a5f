//! Planted faults: defects built in on purpose, to prove that a test would notice the real ones.
//!
//! A fault is planted by name, for the calling thread only, so that one build tries them all. Code reaches a fault
//! through a hook at the end of a statement, `right.planted(Mutation::Name, |right| wrong)`. The statement can be read
//! without it, and it never stands inside a condition. Invariant: without the feature `mutation` a hook gives back what
//! it was given, and nothing of a fault is left in the compiled program.

/// Declares all planted faults of a crate: once per crate, in a module of its own, in a crate with a feature
/// `mutation`.
///
/// The module gets the enum `Mutation` with `ALL`, `name` and `named`; the functions `is`, `plant`, `reached`,
/// `assert_noticed` and `when`; and the trait `Planted`. The last two are the hooks.
#[macro_export]
macro_rules! planted_faults {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// One planted fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutation { $($(#[$doc])* $name,)+ }

        impl Mutation {
            pub const ALL: [Self; [$(stringify!($name)),+].len()] = [$(Self::$name),+];

            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|fault| fault.name() == name)
            }
        }

        #[cfg(feature = "mutation")]
        ::std::thread_local! {
            static PLANTED: ::std::cell::Cell<Option<Mutation>> = const { ::std::cell::Cell::new(None) };
            static REACHED: ::std::cell::Cell<u64> = const { ::std::cell::Cell::new(0) };
        }

        /// Plants a fault for this thread, or takes the planted one away.
        #[cfg(feature = "mutation")]
        pub fn plant(fault: Option<Mutation>) {
            PLANTED.set(fault);
            REACHED.set(0);
        }

        /// Asserts that `test` fails with this fault planted, and passes without.
        #[cfg(feature = "mutation")]
        pub fn assert_noticed(fault: Mutation, test: fn()) {
            test();
            plant(Some(fault));
            let outcome = ::std::panic::catch_unwind(test);
            plant(None);
            assert!(outcome.is_err(), "{} is not noticed", fault.name());
        }

        /// Whether this fault is planted here. Without the feature `mutation` it never is.
        #[inline(always)]
        pub fn is(fault: Mutation) -> bool {
            #[cfg(feature = "mutation")]
            if PLANTED.get() == Some(fault) {
                REACHED.set(REACHED.get() + 1);
                return true;
            }
            let _ = fault;
            false
        }

        /// How often the planted fault was reached since it was planted.
        pub fn reached() -> u64 {
            #[cfg(feature = "mutation")]
            return REACHED.get();
            #[cfg(not(feature = "mutation"))]
            0
        }

        /// The hook that is a statement of its own: does `wrong` when the fault is planted.
        #[inline(always)]
        pub fn when(fault: Mutation, wrong: impl FnOnce()) {
            if is(fault) {
                wrong();
            }
        }

        /// The hook at the end of a statement: gives the value that is right, or the one that the fault makes of it.
        pub trait Planted: Sized {
            #[inline(always)]
            fn planted(self, fault: Mutation, wrong: impl FnOnce(Self) -> Self) -> Self {
                if is(fault) { wrong(self) } else { self }
            }
        }

        impl<T> Planted for T {}
    };
}

planted_faults! {
    /// The youngest order of a price trades first.
    YoungestFirst,
    /// A fee is reported and not charged.
    FeeForgotten,
    /// An order that ends releases one unit more than it held.
    ReleaseTooMuch,
    /// A buyer does not get back what it did not have to pay.
    ImprovementKept,
    /// A message under an id that was used is accepted again.
    ResendTakenTwice,
    /// An outcome depends on a clock, not on the log alone.
    ClockInApply,
    /// A snapshot does not say which client order ids were used.
    IdsForgottenInSnapshot,
    /// A deposit is booked to the account and not to custody.
    CustodyForgotten,
    /// Orders and withdrawals are admitted without a look at what is available.
    FundsNotChecked,
    /// An order holds one unit less than it needs.
    HoldTooSmall,
    /// An order that is cancelled releases twice what it holds.
    ReleasedTwice,
    /// A fee is larger than what was received.
    FeeTooHigh,
    /// An order stops taking one price before its limit.
    ReachTooShort,
    /// A fill does not count as filled quantity of the maker.
    FillNotCounted,
    /// An order that joins a queue does not link back to the order before it.
    BackLinkForgotten,
    /// A slot stays on the free list when an order gets it.
    SlotGivenTwice,
    /// The list of an account keeps an order that ended.
    OpenListKept,
    /// An act takes effect although its actor has no right to it.
    RightsNotChecked,
    /// What a self-trade prevention takes off an order by quantity spends a quote budget.
    BudgetSpentByOwn,
    /// A snapshot does not say that a key was revoked.
    RevocationForgottenInSnapshot,
    /// A snapshot does not say what a key may do.
    PermissionsForgottenInSnapshot,
    /// A snapshot does not say how full the bucket of a throttle is.
    ThrottleForgottenInSnapshot,
    /// A snapshot does not say how many orders an account may have open.
    OpenLimitForgottenInSnapshot,
    /// A snapshot does not say of which kind an account is.
    KindForgottenInSnapshot,
    /// A snapshot in which an order has a higher number than the newest is refused, also after numbers have started
    /// again.
    OldNumbersRefused,
    /// Order numbers do not start again after the last one.
    NumberNotWrapped,
    /// What a market order holds covers one order more than one command may reach.
    HoldOneOrderTooWide,
    /// Makers that self-trade prevention cancels do not count towards the orders that one command may reach.
    CanceledMakersNotReached,
    /// A market still counts a maker that self-trade prevention has cancelled.
    CanceledMakerCounted,
    /// An account gets one drop copy more than it may have.
    OneCopyTooMany,
    /// A check does not see what accounts hold.
    HeldNotSampled,
    /// A check does not see the orders.
    OrdersNotSampled,
    /// Each check looks at the same orders and accounts.
    SampleStandsStill,
    /// The second part of a cancel on disconnect cancels nothing.
    RestOfDisconnectKept,
    /// The second part of a kill switch is a plain mass cancel.
    RestOfKillPlain,
    /// Each part of a kill switch sets the block again.
    BlockSetByEveryPart,
    /// Under rules 2 a session amends another session's order.
    ForeignAmended,
    /// Under rules 2 an amendment to less is not measured against the market's minima.
    AmendedUnmeasured,
    /// Under rules 2 clients cannot cancel in a halt.
    HaltKeepsOrders,
    /// Under rules 2 the largest number is a client order id, after which a session has none left.
    LastIdTaken,
    /// Under rules 2 a market order is reported with the worst price that it may take.
    LimitOfMarketOrderShown,
    /// Under rules 2 an order that cannot rest is refused because too many orders rest.
    FleetingTakesPlace,
    /// Under rules 2 a throttle that is raised lets nothing through until the old one would.
    ThrottleStaysFull,
    /// Under rules 2 a client lifts the block that an operator has set.
    OperatorsBlockLifted,
    /// The hash of client order ids has no key, so that a client can choose ids that all have one place.
    HashUnkeyed,
    /// All entries of the index of client order ids move to a longer table within one command.
    IndexMovedAtOnce,
    /// Under rules 2 an agent is the parent of an account.
    AgentIsParent,
    /// Under rules 2 a request for all open orders is answered by one part, and the rest is never reported.
    StatusEndsAfterOnePart,
    /// Under rules 2 a command visits every order that does not fit.
    VisitedWithoutBound,
    /// Under rules 2 each part of a mass cancel begins with the oldest order again.
    PartsFromTheHead,
    /// Under rules 2 a market is made whose fees can round to all of a lot.
    FeeTakesLot,
    /// A buyer holds nothing for the fee that it pays in quote.
    FeeNotHeld,
    /// A price band that rounds to nothing allows no price but the last.
    BandOfNothing,
    /// Under rules 2 names are remembered without a bound for all accounts together.
    NamesWithoutBound,
    /// Under rules 2 anybody learns whether an account has used a name.
    NameShownToAll,
    /// A new life of the streams gives numbers of orders again that clients have seen.
    NumbersSaidTwice,
    /// Under rules 2 the name of an order is free again when the order ends.
    NameFreeAtEnd,
    /// New orders are taken although the intake is stopped.
    IntakeIgnored,
    /// The node lifts a stop of the intake that an operator has set.
    NodeLiftsForOperator,
    /// A snapshot does not say that the intake is stopped.
    IntakeForgottenInSnapshot,
    /// A command over many orders ends when the order at which it is to go on ends.
    WalkEndsWithItsOrder,
    /// A mass cancel goes on to orders that were placed after it.
    WalkTakesLaterOrders,
    /// A snapshot does not say where unfinished commands go on.
    WalksForgottenInSnapshot,
    /// Each end of a session's connection has a walk of its own, however many are unfinished.
    EndsPileUp,
    /// A session may send as many requests over all its orders as it likes.
    RequestsWithoutBound,
    /// A snapshot does not say how many requests a session has sent.
    RequestsForgottenInSnapshot,
    /// The grace window of a session that has lost its connection is over at once.
    WindowIgnored,
    /// Under rules 2 a drop copy switches cancel-on-disconnect on.
    CopyCancels,
    /// The new life of a session begins with the client order ids of the one before.
    IdsOutliveLife,
    /// The new life of a session begins while orders of the one before are open.
    OrdersOutliveLife,
    /// A part of the end of a life goes on in the middle of the orders, although the part before it was quarantined.
    OrphanGoesOn,
    /// A removed session can place orders.
    RemovedTrades,
    /// A session can place orders while those of its life are being cancelled.
    EndingTrades,
    /// The user name of a removed session is given to another one.
    RemovedNameGiven,
    /// A snapshot does not say that a session was removed.
    RemovalForgottenInSnapshot,
    /// A snapshot does not say which life of its own a session has.
    LifeForgottenInSnapshot,
    /// A hash table splits all of its places within one command.
    TableSplitAtOnce,
    /// Under rules 2 the references of payments are remembered for ever.
    ReferencesKept,
    /// Under rules 2 the reference of a payment is forgotten before its time.
    ReferenceForgottenEarly,
    /// A snapshot does not say when payments were booked.
    ReferenceTimesForgottenInSnapshot,
    /// Under rules 2 a revoked key is remembered for ever.
    RevokedKeyKept,
    /// A market in which orders rest is removed.
    RemovedWithOrders,
    /// A snapshot does not say which market ids were removed, so that others get them.
    MarketRemovalForgottenInSnapshot,
}
