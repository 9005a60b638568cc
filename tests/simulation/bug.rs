//! The deliberate bugs: each breaks one rule of the loop or of the streams, to show that the simulation would see it.

/// One broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Some events are not taken note of.
    AnEdgeIsForgotten,
    /// A short read clears readiness although the stream was seen closing.
    ShortReadHidesTheEnd,
    /// A connection is parked without a look whether it is quiet.
    ParkedWhileReadable,
    /// What comes on an idle connection does not end it.
    IdleEndIsIgnored,
    /// A deadline became earlier, and the timer stays where it is.
    TimerIsNotRefiled,
    /// The generation of an id is not looked at.
    StaleEventIsApplied,
    /// What a stream owes is forgotten instead of sent.
    OwedBytesAreNotFlushed,
    /// Streams are freed while events of the turn may still name them.
    ReapsWithinTheTurn,
    /// Returned buffers wake nobody.
    StarvingIsNeverWoken,
    /// A session that waits gives its buffers back, whatever is in them.
    BuffersReturnedWithBytes,
    /// A session goes on as long as it can.
    NoBudget,
    /// An idle connection that is taken stays in the idle set.
    IdleConnectionIsUsedTwice,
    /// A session is dropped without being closed.
    LeaseIsNotGivenBack,
    /// Connections that are to be reset are closed.
    AbruptEndLooksClean,
    /// A lack of descriptors is reported as the backend's failure.
    OwnLackIsBlamed,
    /// More bytes take off than the protocol granted.
    FillsPastTheCredit,
    /// What a sink did not take at once of what is in flight is lost.
    FlightIsCutShort,
    /// A kernel pipe goes to another session with bytes of the last one in it.
    DirtyPipeIsReused,
    /// A sink that has no room is waited for, and no event comes when it has.
    FullWithoutAnEdge,
    /// What a session gave up in flight stays in its kernel pipe, and that in use.
    FlightIsNotDiscarded,
    /// Bytes take off although an urgent one stops them for good.
    SplicesUrgentData,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 21] = [
        Bug::AnEdgeIsForgotten,
        Bug::ShortReadHidesTheEnd,
        Bug::ParkedWhileReadable,
        Bug::IdleEndIsIgnored,
        Bug::TimerIsNotRefiled,
        Bug::StaleEventIsApplied,
        Bug::OwedBytesAreNotFlushed,
        Bug::ReapsWithinTheTurn,
        Bug::StarvingIsNeverWoken,
        Bug::BuffersReturnedWithBytes,
        Bug::NoBudget,
        Bug::IdleConnectionIsUsedTwice,
        Bug::LeaseIsNotGivenBack,
        Bug::AbruptEndLooksClean,
        Bug::OwnLackIsBlamed,
        Bug::FillsPastTheCredit,
        Bug::FlightIsCutShort,
        Bug::DirtyPipeIsReused,
        Bug::FullWithoutAnEdge,
        Bug::FlightIsNotDiscarded,
        Bug::SplicesUrgentData,
    ];
}
