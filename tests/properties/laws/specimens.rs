//! Inputs that are mostly good, a seeded source of chance, and damage: what the mutations start from.

/// What a client sends on one connection.
pub const REQUESTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\nGET /next?q=%20 HTTP/1.1\r\nhost: a:80\r\nAccept: */*\r\nConnection: close\r\n\r\n",
    b"\r\n\r\nPOST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX-A:1\r\n\r\nhelloGET /after HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: X-Sum\r\nTE: trailers\r\n\r\n\
      5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\nGET /after HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD /h HTTP/1.1\r\nHost: [::1]:8080\r\n\r\nPUT /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
      OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://b.example:81?q HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_Proto: https\r\nX-Obs: \xe9\t\xff \r\n\r\n\
      OPTIONS https://b.example HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /old HTTP/1.0\r\nConnection: Keep-Alive, X-Hop\r\nX-Hop: 1\r\nEmpty: \r\n\r\nGET /older HTTP/1.0\r\n\r\n",
    b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n\
      GET /x HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=\"d\"\r\nCookie: e=f\r\n\r\n",
    b"POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\ndataDELETE /d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"PATCH /p/../%61dmin//x;y=z/./w HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nTRACE /t HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// What a backend says on one connection.
pub const RESPONSES: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n3;x\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"HTTP/1.1 200 \r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\r\nuntil the close",
    b"HTTP/1.0 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nSet-Cookie: a=b; Path=/\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 777\r\n\r\n",
    b"HTTP/1.1 301 Moved\r\nLocation: http://10.0.0.1/x\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged",
    b"HTTP/1.1 201 Created\r\nLocation: http://b.example:80/x\r\nContent-Location: //10.0.0.1:80//c.example\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x81\x00",
    b"HTTP/1.1 500 Oops\r\nConnection: close\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 3\r\n\r\nbad",
];

/// Chunked bodies, with what follows them.
pub const CHUNKS: &[&[u8]] = &[
    b"5\r\nhello\r\n6;name=value\r\n world\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
    b"a\r\n0123456789\r\n00\r\nX-Sum: 10\r\nX-Other:\t\xe9 \r\n\r\n",
    b"0\r\n\r\n0\r\n\r\n",
    b"1;\"quoted;\\\"\"\r\nx\r\n001\r\ny\r\n0;last\r\n\r\n",
];

/// Paths, nearly all of which lead to the same place.
pub const PATHS: &[&[u8]] = &[
    b"admin/users",
    b"%61dm%69n",
    b"x/../admin/",
    b"/./%2e/ADMIN/../admin//y/.",
    b"a/b/%2E%2E/../../admin;x=y",
    b"x/..;/admin/..%2fadmin",
    b"..%5cadmin%00.gif/%25%32%46/%zz",
    b"adm/in/%2e%2e/../adm\\in/...",
];

/// Values of `Cookie` and `Set-Cookie`.
pub const COOKIES: &[&[u8]] = &[
    b"a=1; m=node~value; z=\"quoted; not\"; b",
    b"$Version=1; a=x; $Path=/; m=; =nameless;; m =  spaced ;last",
    b"sid=abc; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly",
    b"a=b; Max-Age=0; Expires=Sun, 06-Nov-2094 08:49:37 GMT; SameSite=Lax",
];

/// Headers of the PROXY protocol, some with what follows them.
pub const PROXY_HEADERS: &[&[u8]] = &[
    b"PROXY TCP4 192.0.2.7 198.51.100.9 4711 8443\r\nGET / HTTP/1.1\r\n",
    b"PROXY TCP6 2001:db8::7 ::ffff:192.0.2.1 0 65535\r\n",
    b"PROXY UNKNOWN\r\n\r\n",
    b"PROXY UNKNOWN 2001:db8::7 :: 1 2\r\n",
    b"\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c\xc0\0\x02\x07\xc63d\x09\x12g \xfbGET / HTTP/1.1\r\n",
    b"\r\n\r\n\0\r\nQUIT\n!!\0- \x01\r\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01\0P\x01\xbb\x04\0\x01\0\x05\0\x02id",
    b"\r\n\r\n\0\r\nQUIT\n!\x11\0\x1a\xc0\0\x02\x07\xc63d\x09\x12g \xfb\x02\0\x01a\x04\0\0\x03\0\x041\x05h~220",
    b"\r\n\r\n\0\r\nQUIT\n \0\0\0",
    b"\r\n\r\n\0\r\nQUIT\n!1\0\xd8////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////",
    b"\r\n\r\n\0\r\nQUIT\n!\0\0\x0c\x01\0\x02h2\x03\0\x04\xfbh\xbd\xae",
];

/// Configurations.
pub const CONFIGURATIONS: &[&[u8]] = &[
    include_bytes!("../../../plb.yaml.sample"),
    b"max_clients: 10\nlisteners:\n  - { name: a, listen: \"127.0.0.1:80\", pool: p }\npools:\n  p: { backends: [\"10.0.0.1:80\"] }\n",
    b"listeners: [{name: l, listen: [\"[::1]:80\"], protocol: tcp, pool: p}]\npools: {p: {server_retry: 3, backends: [{address: \"10.0.0.1:1\", weight: 2}]}}\n",
];

/// What attackers put where it does not belong.
pub const SPLINTERS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\0",
    b":",
    b",",
    b";",
    b"\x7f",
    b"\xff",
    b"0",
    b"-",
    b"+",
    b"\x0b",
    b"/",
    b"#",
    b"%00",
    b"%2e",
    b"%2F",
    b"/../",
    b"admin",
    b"=",
    b"; a=",
    b"\"",
    b"1",
    b"chunked",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: a\r\n",
    b"Connection: close\r\n",
    b"Connection: x-a\r\n",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"Expect: 100-continue\r\n",
    b"X-Forwarded-For: 1\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"a:b\r\n",
    b"c:\r\n",
];

/// SplitMix64.
pub struct Chance(pub u64);

impl Chance {
    /// A number below the limit.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
        from[self.below(from.len())]
    }
}

/// One of the specimens with up to three places damaged.
pub fn damaged(chance: &mut Chance, specimens: &[&[u8]]) -> Vec<u8> {
    let mut bytes = chance.pick(specimens).to_vec();
    for _ in 0..chance.below(4) {
        let start = place(chance, &bytes);
        let end = bytes.len().min(start + chance.below(8));
        match chance.below(6) {
            0 => drop(bytes.drain(start..end)),
            1 => drop(bytes.splice(start..end, chance.pick(SPLINTERS).iter().copied())),
            2 => drop(bytes.splice(start..start, chance.pick(SPLINTERS).iter().copied())),
            3 if start < bytes.len() => bytes[start] ^= 1 << chance.below(8),
            4 => {
                let other = chance.pick(specimens);
                let from = chance.below(other.len() + 1);
                bytes.truncate(start);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => copy_line(chance, &mut bytes),
        }
    }
    bytes
}

/// A place anywhere, or one where something begins or ends.
fn place(chance: &mut Chance, bytes: &[u8]) -> usize {
    let anywhere = chance.below(bytes.len() + 1);
    let begins = |&at: &usize| bytes[at - 1..].starts_with(b" ") || bytes[at - 1..].starts_with(b"\n");
    let ends = |at: &usize| bytes[*at..].starts_with(b"\r\n") || bytes[*at..].starts_with(b":");
    match chance.below(3) {
        0 => anywhere,
        1 => (anywhere.max(1)..bytes.len()).find(begins).unwrap_or(anywhere),
        _ => (anywhere..bytes.len()).find(ends).unwrap_or(anywhere),
    }
}

/// A line of it once more, in front of another one.
fn copy_line(chance: &mut Chance, bytes: &mut Vec<u8>) {
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    let (from, to) = (chance.below(lines.len().max(1)), chance.below(lines.len() + 1));
    let line = lines.get(from).unwrap_or(&&b""[..]).to_vec();
    let at = lines[..to].concat().len();
    bytes.splice(at..at, line);
}
