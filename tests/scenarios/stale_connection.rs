//! Proves what happens when an origin closes an idle connection at the moment the next request is sent on it.

use crate::harness::client::{Client, get};
use crate::harness::{Connection, Origin, Plb, ok};

/// Its first connection answers once and ends as `end` says when the second request is there; later ones serve on.
fn racing(end: fn(&mut Connection)) -> Origin {
    Origin::raw(move |connection| {
        let mut served = 0;
        while connection.request().is_some() {
            if connection.number == 0 && served == 1 {
                end(connection);
                return;
            }
            if connection.send(ok("served")).is_err() {
                return;
            }
            served += 1;
        }
    })
}

fn a_get_is_sent_again(end: fn(&mut Connection)) {
    let origin = racing(end);
    let plb = Plb::http("server_retry: 1", &[origin.address()]);
    assert_eq!(get(plb.web(), "/first").text(), "served");
    assert_eq!(get(plb.web(), "/second").text(), "served");
    let targets = origin.seen(|seen| seen.requests.iter().map(|r| r.target().to_string()).collect::<Vec<_>>());
    assert_eq!(targets, ["/first", "/second", "/second"]);
    assert_eq!(origin.connections(), 2);
    plb.stop_unmarked();
}

#[test]
fn a_get_on_a_connection_that_is_just_closed_is_sent_again() {
    a_get_is_sent_again(|_| {});
}

#[test]
fn a_get_on_a_connection_that_is_just_reset_is_sent_again() {
    a_get_is_sent_again(|connection| connection.reset());
}

#[test]
fn a_post_that_comes_first_uses_a_connection_of_its_own() {
    let origin = racing(|_| {});
    let plb = Plb::http("server_retry: 1", &[origin.address()]);
    assert_eq!(get(plb.web(), "/").text(), "served");
    let mut client = Client::connect(plb.web());
    client.send("POST / HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.response().text(), "served");
    assert_eq!((origin.requests(), origin.connections()), (2, 2));
    plb.stop_unmarked();
}

#[test]
fn a_later_post_on_a_connection_that_is_just_closed_is_never_sent_twice() {
    let origin = racing(|_| {});
    let plb = Plb::http("server_retry: 1", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    assert_eq!(client.get("/").text(), "served");
    client.send("POST / HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 2\r\n\r\nhi");
    if let Ok(response) = client.response_to("POST") {
        assert_eq!(response.status(), 200, "on a fresh connection it succeeds; on a dying one no answer is made up");
    }
    let posts = origin.seen(|seen| seen.requests.iter().filter(|request| request.method() == "POST").count());
    assert_eq!(posts, 1);
    assert_eq!(get(plb.web(), "/").text(), "served");
    plb.stop_unmarked();
}
