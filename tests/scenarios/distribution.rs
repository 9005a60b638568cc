//! Proves that every backend gets its share and every listener its own pool.

use crate::harness::client::{Client, bodies, get};
use crate::harness::{Origin, Plb, configuration};

#[test]
fn weights_are_met_over_thirty_requests() {
    let (light, heavy) = (Origin::named("light"), Origin::named("heavy"));
    let yaml =
        configuration("http", "", &[light.address(), heavy.address()]).replace("name: b2", "name: b2, weight: 2");
    let plb = Plb::start(&yaml);
    let answers = bodies(plb.web(), 30);
    assert_eq!(answers.iter().filter(|name| *name == "light").count(), 10);
    assert_eq!((light.requests(), heavy.requests()), (10, 20));
}

#[test]
fn the_requests_of_one_client_are_spread_too() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let plb = Plb::http("", &[one.address(), two.address()]);
    let mut client = Client::connect(plb.web());
    for _ in 0..10 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!((one.requests(), two.requests()), (5, 5));
    assert_eq!((one.connections(), two.connections()), (1, 1));
}

#[test]
fn two_listeners_serve_two_pools() {
    let (shop, mail) = (Origin::named("shop"), Origin::echo());
    let yaml = format!(
        "listeners:\n  - {{ name: shop, listen: \"127.0.0.1:0\", protocol: http, pool: shop }}\n  \
         - {{ name: mail, listen: [\"127.0.0.1:0\"], protocol: tcp, pool: mail }}\n\
         pools:\n  shop: {{ backends: [\"{}\"] }}\n  mail: {{ backends: [\"{}\"] }}\n",
        shop.address(),
        mail.address()
    );
    let plb = Plb::start(&yaml);
    assert_eq!(get(plb.address("shop"), "/").text(), "shop");
    let mut client = Client::connect(plb.address("mail"));
    client.send("not HTTP at all");
    assert_eq!(client.exactly(15), b"not HTTP at all");
    assert_eq!((shop.connections(), mail.connections()), (1, 1));
}
