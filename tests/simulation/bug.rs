//! The deliberate bugs: each breaks one rule of the loop or of the streams, or what the configuration says, to show that
//! the simulation would see it.

use std::sync::Arc;

use plb::config::route::{Action, Respond};
use plb::config::{Affinity, Config};

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
    /// Routes lead to the first pool.
    RoutesAreMixedUp,
    /// The end of a long answer is missing.
    LongAnswersAreCut,
    /// Nobody counts the requests of a connection.
    RequestsAreNotCounted,
    /// Nobody measures the bodies of requests.
    BodiesAreNotMeasured,
    /// Clients get no cookie.
    CookiesAreNotSet,
    /// Nobody remembers where clients were served.
    TablesAreForgotten,
    /// Whoever waits for a backend is not told of it.
    NobodyIsCalled,
    /// A backend gets as many connections as there are clients.
    LimitsAreIgnored,
    /// Idle connections to a backend stay while others are made that it may not have besides.
    NoWayIsMade,
    /// Whoever is busy is believed.
    StatusesAreForwarded,
    /// The second pool serves the first one's clients although somebody lives.
    EmergencyWithoutNeed,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 32] = [
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
        Bug::RoutesAreMixedUp,
        Bug::LongAnswersAreCut,
        Bug::RequestsAreNotCounted,
        Bug::BodiesAreNotMeasured,
        Bug::CookiesAreNotSet,
        Bug::TablesAreForgotten,
        Bug::NobodyIsCalled,
        Bug::LimitsAreIgnored,
        Bug::NoWayIsMade,
        Bug::StatusesAreForwarded,
        Bug::EmergencyWithoutNeed,
    ];

    /// What is left of the configuration.
    pub fn spoil(bug: Option<Bug>, mut config: Config) -> Config {
        let listener = &mut config.listeners[0];
        match bug {
            Some(Bug::RequestsAreNotCounted) => listener.http.requests_max = None,
            Some(Bug::StatusesAreForwarded) => {
                config.pools.iter_mut().for_each(|pool| pool.retry_on.retain(|mishap| !mishap.is_in_response()));
            }
            Some(Bug::EmergencyWithoutNeed) if config.pools[0].emergency.is_some() => listener.pool = Some(1),
            Some(Bug::BodiesAreNotMeasured) => listener.http.body_bytes_max = None,
            Some(Bug::LimitsAreIgnored) => config.pools.iter_mut().for_each(|pool| pool.max_connections = None),
            Some(Bug::CookiesAreNotSet | Bug::TablesAreForgotten) => {
                for pool in &mut config.pools {
                    let is_table = matches!(pool.affinity, Some(Affinity::Table(_)));
                    pool.affinity.take_if(|_| is_table == (bug == Some(Bug::TablesAreForgotten)));
                }
            }
            _ => {}
        }
        for route in &mut listener.routes {
            match (&mut route.action, bug) {
                (Action::Pool(pool), Some(Bug::RoutesAreMixedUp)) => *pool = 0,
                (Action::Respond(Respond { document: Some(document), .. }), Some(Bug::LongAnswersAreCut)) => {
                    document.body = Arc::from(&document.body[..document.body.len() - 1]);
                }
                _ => {}
            }
        }
        config
    }
}
