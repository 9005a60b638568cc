//! plb, a load balancer for TCP services: the map.
//!
//! # The idea
//! 1. **Events only mark.** What the poll returns sets booleans on a stream and queues its session; no byte moves and
//!    nothing is freed in that phase.
//! 2. **The session names the next system call, the driver makes it, the session takes the outcome.** So a session is
//!    pure: no sockets, no clock, testable without either.
//! 3. **A direction is one pipe:** one lent buffer with one mark. The protocol moves the mark; a byte that has not been
//!    judged cannot leave.
//! 4. **The phase gives the deadline,** by one exhaustive function. A session without a deadline cannot be expressed.
//!
//! # The rooms
//! | room | what it is for | it knows |
//! |---|---|---|
//! | [`base`] | small tools: arena, buffers, pipe, timer wheel, time, random numbers, tables, password hashes | nothing |
//! | [`config`] | text becomes a model that cannot be wrong | `base` |
//! | [`balance`] | who should serve this? pools, policies, health, leases | `base`, `config` |
//! | [`protocol`] | what do these bytes mean? TCP, HTTP | `base`, `config`, plain types of `balance` |
//! | [`session`] | the pair: phases, deadlines, attempts at backends | all above |
//! | [`net`] | system calls: streams, listeners, the idle set, probes, the driver | all above |
//! | [`log`] | lines leave the process and wait for nobody: the daemon's log, the access log | all above but `net` |
//! | [`server`] | owns everything; the turn | all above |
//! | [`daemon`] | the process: background, limits, privileges, sandbox, signals, supervision | `config` |
//! | [`start`] | a configuration becomes what is bound, and then confined | `config`, `daemon`, `net` |
//! | [`cli`], [`demo`] | the command line; origins and a client to look at | `config` |
//!
//! Dependencies point upwards in this table only. `base`, `config`, `balance`, `protocol` and `session` are pure: no
//! socket, no clock, no log. `tests/tidy.rs` holds the code to this.
//!
//! # The turn
//! ```text
//! poll ▶ mark ▶ expire ▶ accept ▶ run ▶ reap ▶ report ▶ call up ▶ obey ▶ write ▶ poll …
//! ```
//! `mark` sets booleans, `expire` fires timers, `accept` takes clients while there is room, `run` runs the sessions that
//! are queued at that moment, each within a budget of calls and bytes, `reap` frees (and only `reap` does), `report` logs
//! what changed in health, `call up` hands what was freed to those who wait for a backend, `obey` acts on signals, `write`
//! writes the log lines of the turn. The clock is read once a turn.
//!
//! # The life of a byte
//! An event for a client's socket marks its [`net::stream::Stream`] readable and queues its [`net::driver::Pair`]. In
//! `run`, [`session::Session::next_io`] says `Borrow` (both pipes get a buffer, or it waits in line for them), then
//! `Read`: the byte lies *pending* in the request pipe. [`protocol::Protocol::advance`] judges the head that it ends,
//! asks the listener's [`protocol::http::site::Site`] who answers such a request (rules are data, and what they need to
//! remember is the site's), writes the head anew in place, passes the mark over it, and says `Connect`. The session picks a backend, which is a
//! [`balance::Lease`], and names `Acquire`: the driver takes an idle connection or asks for a new one. `Write`: the byte
//! is *spent*, but kept, in case the request has to be sent again. The wait for the answer begins; the session's deadline
//! is the response's. The answer comes the other way through the response pipe; its head resets the backend's failures
//! and the kept bytes are let go; its body needs no judging, for the protocol granted *credit* for exactly its length.
//! A long one goes past the buffers, from socket to socket ([`net::kernel_pipe`]).
//! With its last byte the exchange is over: the lease goes back, the connection is parked, the buffers are returned once
//! nothing is in them, and the client's next request is waited for. Had the answer been the 101 that the request asked
//! for, both pipes would have credit without end, and the session would be a tunnel for the rest of its life.
//!
//! # Invariants
//! - A token names a socket; ids carry a generation, so that what is stale is known to be.
//! - A stream is registered once, for both directions, edge-triggered. It is *ready* until a call on it blocks; a short
//!   read counts as blocking unless the stream was seen closing. Nobody arms anything, so nobody can forget to.
//! - A stream is parked only when it has nothing to read; whatever comes while it is parked makes it useless, and is no
//!   failure of the backend.
//! - A lease is given back exactly once; a pending connect is load. A connect alone is no success.
//! - A request is sent a second time only when no byte of it left, or when it is idempotent, wholly kept, and its client
//!   was told nothing. One that nobody answered goes out once more, on a fresh connection: it may be what backends die of.
//!   One whose answer had a status that the pool would rather not forward goes on for as long as the pool says.
//! - What ends a session early ends it with a reset, so that no cut answer looks whole; what plb answers itself is followed
//!   by a lingering close, so that no reset destroys it.
//! - Whatever can grow has a limit beside its type: clients, buffers, descriptors, idle connections, probes, heads.
//!
//! # Decisions that building made
//! - Readiness is the stream's alone, so an outcome does not repeat whether the stream is still ready.
//! - HTTP is not boxed in [`protocol::AnyProtocol`]: the allocation cost more than the room.
//! - A probe that merely connects proves little: the backend is up again on trial. Until its first success it gets one
//!   client at a time, where there is another backend for the others, and its first failure takes it out. What failed
//!   that had begun before the outage says nothing about it, and neither does a probe that did.
//! - What probes find and what clients meet are counted apart, for they may well concern different ports: a client that was
//!   served clears no count of probes, and no probe clears a count of clients' failures. Either takes a backend out.
//! - A backend is ejected for what clients met only. An ejection doubles where the backend was up for less time than it had
//!   been out, so that its share of the time, and not a fixed window, says whether it is well again.
//! - A probe has its beat, which a late one does not shift: a stall bunches probes once, and not for ever after.
//! - What a probe says and hears is a script that knows no socket ([`protocol::probe`]): so every way to split an answer can
//!   be tried. Its connection ends with a reset, which leaves no TIME_WAIT here; that to a mail server in order, for one
//!   that was told `QUIT` logs anything else.
//! - A backend that drops an idle connection may be about to stop: the request goes to another one first, unless the
//!   client is led back to it. That happens to healthy backends all the time, and a client that moves loses its session.
//! - An answer whose status is not wanted is let go only when another backend is there to be asked: it stays in its pipe
//!   until then, and is forwarded as it is when there is none. What is kept of the request is kept until the head of the
//!   response is judged, where the pool judges by it, and else until its first byte.
//! - Whoever helps out in an emergency is chosen without a key and sets none, so that the next request finds its own pool.
//! - A backend has a seat in its tier that follows from all that is known of it, and leaves its policy when it is full or
//!   tries its luck after an outage: so a policy never meets one that may not be chosen, and a pick costs the same however
//!   many are full.
//! - Room that becomes free is handed to whoever has waited longest, and not left to whoever asks next: nobody is woken in
//!   vain, and nobody overtakes. Who waits for what may not come any more asks again, and keeps its place.
//! - A tier that is full is waited for, and no reason to turn to the next one, which serves only where nobody of it lives.
//! - Of a client of HTTP that ends while it waits for a backend it is taken that it has given up: under load most have.
//! - Idle connections count where a backend has a limit, for it holds a place for each of them.
//! - A hash weighs the distances between a key's probes and the points of backends, instead of giving a heavy backend more
//!   points: so memory does not grow with weights, a weight changes in no time, and a key's next choice is what it would
//!   be without whoever is refused, full or gone.
//! - A binding says after which outage of its backend it was made, and is void after the next one: nothing is swept when a
//!   backend goes down. The values of all cookies, signatures included, are made at the start; what a client sends is
//!   looked up among them.
//! - A daemon that stops waits up to [`session::phase::DRAIN_GRACE`] for the request of a client that has just come or was
//!   promised to be kept, so that under load nobody is cut off between two requests.
//! - A listener that is closed resets who is in its backlog, and one that stays open under load is never empty. So a
//!   daemon that stops turns newcomers away first ([`net::listener::Listener::turn_away`]), and closes the listener when
//!   whoever had begun to connect is in and served.
//! - A client whose last answer was whole is lingered for briefly ([`session::phase::LINGER_BRIEFLY`]): its place is wanted.
//! - What a sink owes is the pipe's knowledge, so that nothing ends or is parked before it is flushed.
//! - Free buffers are trimmed once a second to what was needed in that second, and all that grows is allocated at the
//!   start, so that they go back to the system.
//! - When descriptors run out, accepting pauses and idle connections stay: those who are being served need them. A
//!   connection to a backend that finds no descriptor evicts the oldest idle one; where there is none, the session waits
//!   in line for what is freed or parked, and nobody is accepted before it.
//! - `TCP_NODELAY` is set on a backend's connection before the second segment: the first one never waits, and many
//!   connections send one only.
//! - The parent of a daemon waits for one byte on the daemon's standard output, which is a socket only because the
//!   standard library makes pairs of those without further ado. Ports are bound before the pid file is locked, so that a
//!   second instance fails at its port and stays away from the file.
//! - A daemon whose parent was killed before it served stops: nobody was told of it.
//! - An upgrade needs one `Upgrade` with one protocol, and a 101 that names the same one: who chooses among several opens
//!   a tunnel for what was not judged. Protocols that carry further requests (`h2c`, TLS) are never tunnelled.
//! - Rules see the path that a request means, the backend gets the one that was sent. An escaped slash is data to both: it
//!   separates nothing in the one and is forwarded as an escape in the other. Where servers are known to disagree about the
//!   meaning, the request is refused.
//! - Trailers are dropped unless they are asked for: whoever merges them into the head would let a client say there what
//!   the rules about fields have just taken out.
//! - A client that is tracked is its full address: a /64 may be a whole site, which would end up at one backend. A
//!   temporary address (RFC 8981) lasts longer than a binding.
//! - A client that is to return finds its first backend beside the one that it was moved to. It does not wait for the
//!   former while it has the latter, and finds out nothing for the others about it.
//! - Where the configuration says where connections come from, bind(2) stays allowed, with port 0; listen(2) never is.
//!   The port is chosen by connect(2), so that it is taken towards one backend only.
//! - A client, for limits, is an IPv4 address or a /64 of IPv6. What is remembered of clients sits in tables with a limit
//!   ([`base::recent`]), and who falls out of one begins anew: a table that is full must not lock anybody out.
//! - A password is verified within the turn, by the one thread there is. So no hash may cost more than a quarter of a
//!   second, each password is verified once, and all verifications share a fifth of the time, which is measured at the
//!   start as this host's. To hand them to a thread would move the queue, and not make it shorter.
//! - The pace of a body ([`session::pace`]) is a moment that every byte puts off. What the backend is waited for is read off
//!   the pipe and does not count, so that a slow backend never has a client cut off.
//! - Who has too many connections is reset and not answered: an answer would have to be lingered for.
//! - Who may come in is asked when it is known who comes ([`session::door`]): at accept, or behind the header of a proxy.
//!   What a client was counted under lies in its session and is given back with it. Who is denied takes no token of its
//!   listener's rate: nobody who is not welcome keeps the others waiting.
//! - A door that is full, or waits for a token, has no timer: before the poll sleeps, it asks the doors at which somebody
//!   waits when they open.
//! - While it stops, a daemon forwards a request for an upgrade without it: the tunnel could only be cut off.
//! - No log ever holds up the service: lines are gathered in a buffer with a limit and written once a turn, past
//!   descriptors that do not block; what does not fit is lost, and counted. A standard stream's own flags stay as they
//!   are, for others share them.
//! - An exchange has one [`session::record::Record`], filled only where there is an access log. It is handed in when the
//!   last byte has left for the client, or when nothing more can.
//! - Bytes go past the buffers, by splice(2), wherever 16 KiB or more of a body or a chunk are to come, and in a stream
//!   without end while its reads fill their room. The sink is asked first, by poll(2), which calls a socket writable when
//!   a third of its buffer is free: as much is then taken from the source, so that it lands at once. So a kernel pipe is
//!   in use within a turn only, and a reader that stalls holds no pipe and no buffer; it is waited for all the same. Where
//!   the system is short of memory for sockets, less lands than was asked about: the more is left in flight, the less takes
//!   off. A reader that stalls while its bytes are copied costs one buffer: the request's goes back.
//! - The protocol's credit alone bounds what takes off, and what is in flight is the pipe's knowledge: it counts for ends,
//!   deadlines and the log. A kernel pipe with bytes in it can be emptied or closed, but not be lent.
//! - splice(2) stops for good before an urgent byte: whoever has seen one is read from.
//! - Of two chains that trusted proxies hand on, one counts for who the client is, and the settings say which: a proxy
//!   that adds to one of them may well pass the other one on as the client wrote it. A chain is read from its end, where
//!   the proxies added to it, and ends where it cannot be read.
//! - Whom a trusted proxy forwards for, by the PROXY protocol, is known before anything is judged: a session begins with a
//!   greeting, and who may come in is asked when that is over. What its header says replaces the peer for good, so nothing
//!   behind it knows of proxies.
//! - The header for a backend is the stream's preface, which the pipe is told of as owed. So it is no part of the request,
//!   and whether that may be sent again does not depend on it. Such a connection is never parked: it is one client's.
//! - Request ids come from the seeded generator: they are unique, and no secret.
//! - A URL that names the backend becomes a path and no URL: nothing of the request need be kept for the response.
//! - The log's default level is `info`; PLB 0.3's was 2, which is `warn`.
//! - Logs are opened before the ports, so that a start that fails says so there, too.
//! - Who serves is nobody, wherever root started it: there is no setting that lets root serve. Users and root directory are
//!   judged before anything is given up, and what was given up is tried afterwards.
//! - A system call that the filter does not know fails with EPERM and kills nobody: it is refused either way, and a call
//!   that a newer C library makes is an error in the log and not an outage.
//! - Landlock and seccomp are the thread's, privileges the process's: the demo's origins run beside the sandbox.
//! - Rules are asked between the judging of a head and its writing, when nothing of it has left: so one and the same pass
//!   over the fields serves the rules, the edits and the copy. A request that plb answers itself never gets a backend.
//! - An answer of plb's own may be longer than a buffer: it goes into the pipe as that gets room, and a backend that took
//!   part in what went wrong is let go before.
//! - A backend that names itself in `Location` is taken out of it, and nothing is put in its place: a path alone keeps the
//!   client's own scheme, host and port, whatever lies in between.
//! - The files that the configuration names are read with it, so that an error in them has a line, `--check` sees it, and
//!   nothing is opened later.
//! - The size of the whole is counted in lines of code: what explains the code does not make it larger. HTTP in full took
//!   it past the 12,000 lines that were planned for everything, and what chooses backends, watches and shields them took
//!   some 3,200 more; the limit follows.
//!
//! Absent on purpose: an async runtime, `unsafe`, threads (but for the demo's origins), a resolver at run time.

pub mod balance;
pub mod base;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod log;
pub mod net;
pub mod protocol;
pub mod server;
pub mod session;
pub mod start;
