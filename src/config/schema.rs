//! The maps of the file: which keys there are, of which kind, and their defaults. `plb.yaml.sample` mirrors them.
//!
//! A map may be read by several structs; a key that none of them knows is unknown. Many of them are structs of the model
//! and declared there, from [`Config`](super::Config) to [`ServerTimeouts`](super::ServerTimeouts). Here are the others,
//! of which the model is made in `validate` and in the files about their subjects.

use std::time::Duration;

use super::affinity::{Failback, Kind, Site};
use super::leaf::{
    Bytes, CookiePath, Domain, Expression, FieldValue, FreeField, HostPort, Hosts, Name, Period, Realm, RedirectTo,
    Redirection, Switch, Text, Token, UrlPath, UrlPrefix, Whole,
};
use super::network::Networks;
use super::sanitizer::Method;
use super::word::{Maybe, Nested, OrNone, Several, settings};
pub use super::word::{Schema, Word};
use super::{Administration, ProtocolName};

settings! {
    /// A listener: what only it can say.
    Listener {
        /// Its name, in the log.
        name: Name,
        /// `ADDRESS:PORT`, or a list of them.
        listen: Nested,
        /// What its clients speak.
        protocol: ProtocolName = ProtocolName::Http,
        /// The name of the pool that serves it.
        pool: Name,
        /// A list of maps, each read as [`Route`].
        routes: Nested,
        /// The most of its clients that are served at once.
        clients_max as "max_clients": OrNone<Whole<1, 1_000_000>> = None,
        /// Who may come in: `none` for everybody, or a map that is read as [`access::Schema`](super::access::Schema).
        access: OrNone<Nested> = None,
        /// How often each client may ask: `none`, or a map that is read as [`RateLimit`](super::RateLimit).
        rate_limit: OrNone<Nested> = None,
    }
}

settings! {
    /// A pool: what only it can say.
    Pool {
        /// A list of `HOST:PORT` or of maps, each read as [`Backend`].
        backends: Nested,
        /// A map, read as [`Affinity`].
        affinity: Nested,
        /// A map, read as [`Health`](super::health::Health) and [`CheckSettings`](super::check::CheckSettings).
        health: Nested,
        /// The name of a pool, or a map that is read as [`Emergency`].
        emergency: Nested,
    }
}

settings! {
    /// What plb answers when nobody of a pool lives.
    Emergency {
        /// A map, read as [`Respond`].
        respond: Nested,
    }
}

/// How many clients a table remembers.
pub(super) type TableSize = Whole<1, 10_000_000, usize>;

settings! {
    /// How clients of a pool are led back to the backend that served them.
    Affinity {
        /// What leads them back; it decides which of the others mean something.
        kind as "type": Kind = Kind::Source,
        /// The name of the cookie, the parameter or the field.
        name: Maybe<Token>,
        /// A client that does not come for so long is forgotten.
        ttl: Period = Duration::from_secs(1_800),
        /// The most clients that are remembered.
        table_size: TableSize = 100_000,
        /// What becomes of a client that was moved, when its first backend serves again.
        failback: Failback = Failback::Stay,
        /// The bits of an IPv4 address that count.
        prefix_v4: Whole<1, 32> = 32,
        /// The bits of an IPv6 address that count.
        prefix_v6: Whole<1, 128> = 128,
        /// The cookie is for TLS only.
        secure: Switch = false,
        /// The cookie is not for scripts.
        http_only: Switch = true,
        /// Where a browser sends the cookie along.
        same_site: Site = Site::Lax,
        /// The path that the cookie is for.
        path: Maybe<CookiePath>,
        /// The domain that the cookie is for.
        domain: Maybe<Domain>,
        /// The backend does not get to see the cookie.
        indirect: Switch = true,
        /// A response that sets the cookie is for no cache that is shared.
        private: Switch = true,
        /// What the cookie is signed with.
        secret: Maybe<Text>,
        /// A file with what the cookie is signed with.
        secret_file: Maybe<Text>,
    }
}

settings! {
    /// One backend of a pool, in its long form.
    Backend {
        /// Host and port.
        address: Maybe<HostPort>,
        /// Its name, in the log; the address unless it is set.
        name: Name,
        /// Its share of the clients; with 0 it gets no new ones.
        weight: Whole<0, 256> = 1,
        /// The most connections to it, those included that are asked for; `None` is no limit.
        max_connections: OrNone<Whole<1, 1_000_000>> = None,
        /// It serves while none of a tier before its own can; 0 is the first.
        tier: Whole<0, 9, u8> = 0,
        /// What the administrator says of it.
        state: Administration = Administration::Ready,
    }
}

settings! {
    /// Basic authentication.
    BasicAuth {
        /// What the client is told that the password is for.
        realm: Maybe<Realm>,
        /// The file of users.
        file: Maybe<Text>,
        /// The backend gets the `Authorization` field.
        forward: Switch = false,
    }
}

settings! {
    /// A route of a listener.
    Route {
        /// A map, read as [`Conditions`] and [`Negation`].
        conditions as "match": Nested,
        /// The name of the pool that serves the request.
        pool: Name,
        /// A map, read as [`Redirect`].
        redirect: Nested,
        /// A map, read as [`Respond`].
        respond: Nested,
        /// Whether it is refused.
        deny: Maybe<Switch>,
        /// The segments that are taken off the path.
        strip_prefix: Maybe<UrlPrefix>,
        /// A map, read as [`Prefix`](super::route::Prefix).
        replace_prefix: Nested,
        /// A map, read as [`FieldEdits`].
        request_headers: Nested,
        /// A map, read as [`FieldEdits`].
        response_headers: Nested,
        /// A map, read as [`BasicAuth`].
        basic_auth: Nested,
        /// `none`, or a map that is read as [`RateLimit`](super::RateLimit).
        rate_limit: Nested,
        /// The longest request body, instead of the listener's.
        body_max: Maybe<OrNone<Bytes>>,
    }
}

settings! {
    /// The conditions of a route; one of the values of each has to fit.
    Conditions {
        /// The host without port.
        host: Several<Hosts>,
        /// The whole path.
        path: Several<UrlPath>,
        /// The segments that the path begins with.
        path_prefix: Several<UrlPrefix>,
        /// What is found in the path.
        path_regex: Several<Expression>,
        /// A parameter of the query: a map or a list of them, each read as [`Named`].
        query: Nested,
        /// A field, likewise.
        header: Nested,
        /// A cookie, likewise.
        cookie: Nested,
        /// The method.
        method: Several<Method>,
        /// The client's address.
        client: Networks,
    }
}

settings! {
    /// The other key of conditions.
    Negation {
        /// A map, read as [`Conditions`], none of which may hold.
        not: Nested,
    }
}

settings! {
    /// What has a name and a value; without the latter two keys, any.
    Named {
        /// Its name; that of a field is compared without regard to case.
        name: Text,
        /// Its whole value.
        equals: Maybe<Text>,
        /// What is found in its value.
        regex: Maybe<Expression>,
    }
}

settings! {
    /// A redirection.
    Redirect {
        /// Its status; 302 unless it is set.
        status: Maybe<Redirection>,
        /// Where to.
        to: RedirectTo,
    }
}

settings! {
    /// An answer of plb's own.
    Respond {
        /// Its status; 200 unless it is set.
        status: Maybe<Whole<200, 599, u16>>,
        /// Its body.
        text: Maybe<Text>,
        /// The file with its body.
        file: Maybe<Text>,
        /// The type of its body.
        content_type: Maybe<FieldValue>,
        /// A map from names of fields to their values.
        headers: Nested,
    }
}

settings! {
    /// Changes of fields.
    FieldEdits {
        /// A map from names of fields to their values: these replace all others.
        set: Nested,
        /// Such a map: these come on top.
        add: Nested,
        /// Fields that are taken out.
        remove: Several<FreeField>,
    }
}
