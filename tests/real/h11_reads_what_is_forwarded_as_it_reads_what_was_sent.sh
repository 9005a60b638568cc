# Proves with a reader of HTTP that knows nothing of plb, h11, on both ends: of thousands of damaged inputs, it sees the
# same requests in what plb forwards as in what was sent, or plb refuses.
source "$(dirname "$0")/library.sh"

cat >"$ROOM/origin.py" <<'PYTHON'
"""Answers each request with what h11 reads of it; says on standard error what it cannot read."""
import json, socketserver, sys
import h11

class Origin(socketserver.BaseRequestHandler):
    def handle(self):
        connection, received = h11.Connection(h11.SERVER), b""
        while True:
            request, body = None, b""
            while True:
                try:
                    event = connection.next_event()
                except h11.RemoteProtocolError as error:
                    # An end in the middle of a request is plb's way to give it up.
                    if "received body" not in str(error) and "without sending complete message" not in str(error):
                        print("unreadable:", error, received, file=sys.stderr, flush=True)
                    return
                if event is h11.NEED_DATA:
                    data = self.request.recv(65536)
                    received += data
                    connection.receive_data(data)
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    break
                else:
                    return
            seen = {
                "method": request.method.decode(), "target": request.target.decode(), "body": body.hex(),
                "fields": [[name.decode(), value.decode("latin-1")] for name, value in request.headers],
            }
            text = json.dumps(seen).encode()
            head = b"HTTP/1.1 200 OK\r\nX-Seen: yes\r\nContent-Length: %d\r\n\r\n" % len(text)
            self.request.sendall(head + (b"" if request.method == b"HEAD" else text))
            try:
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
            except h11.LocalProtocolError:
                return

class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 100

with Server(("127.0.0.1", 0), Origin) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
PYTHON

cat >"$ROOM/client.py" <<'PYTHON'
"""Sends damaged requests to plb, and compares what the origin saw with what h11 sees in them."""
import json, random, re, socket, sys
import h11

HOST, PORT = sys.argv[1].split(":")
SEEDS = int(sys.argv[2])
SPECIMENS = [
    b"GET /a?b=%20 HTTP/1.1\r\nHost: a.example:80\r\nAccept: */*\r\nX-Empty:\r\n\r\n",
    b"POST /sized HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
    b"PUT /p HTTP/1.1\r\nHost: a\r\nConnection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 0\r\n\r\n",
    b"HEAD /h HTTP/1.1\r\nHost: [::1]\r\nUser-Agent: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://b.example/abs HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
    b"DELETE /d HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\nConnection: keep-alive\r\n\r\n",
]
SPLINTERS = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":", b",", b";", b"+", b"-", b"0", b"1", b"\x0b", b"\x7f", b"\xff", b"chunked",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"Connection: close\r\n",
    b"\r\n\r\n", b"0\r\n\r\n", b"HTTP/1.0", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", b"a:b\r\n", b" folded\r\n",
]
# What plb writes itself, or what concerns one connection only.
OWN = re.compile(
    "^(connection|content-length|date|expect|forwarded|host|http2-settings|keep-alive|proxy-connection|te|trailer|"
    "transfer-encoding|upgrade|via|x[-_]forwarded[-_].*|x-request-id)$"
)

def damaged(chance):
    data = bytearray(b"".join(chance.choices(SPECIMENS, k=chance.randint(1, 4))))
    for _ in range(chance.choice([0, 1, 1, 2, 3])):
        places = [at for at in range(len(data)) if data[at - 1 : at] in (b"\n", b" ", b":") or data[at : at + 1] in (b"\r", b":")]
        at = chance.choice(places or [0]) if chance.random() < 0.6 else chance.randint(0, len(data))
        end = at if chance.random() < 0.5 else at + chance.randint(0, 8)
        data[at:end] = chance.choice(SPLINTERS) if chance.random() < 0.8 else b""
    return bytes(data)

def readable(data):
    """The requests that h11 sees in it, until it sees a fault or the last one."""
    requests = []
    while True:
        connection = h11.Connection(h11.SERVER)
        # Empty lines before a request are to be ignored; h11 leaves that to others.
        while data.startswith(b"\r\n"):
            data = data[2:]
        connection.receive_data(data)
        try:
            request, body = connection.next_event(), b""
            while isinstance(event := connection.next_event(), h11.Data):
                body += bytes(event.data)
        except h11.RemoteProtocolError:
            return requests
        if not isinstance(request, h11.Request) or not isinstance(event, h11.EndOfMessage):
            return requests
        requests.append((request, body))
        if connection.their_state is h11.MUST_CLOSE:
            return requests
        data = connection.trailing_data[0]

def answers(data, requests):
    """The answers in it: what the origin saw, or a status of plb's own."""
    found = []
    while data:
        connection = h11.Connection(h11.CLIENT)
        method = requests[len(found)][0].method if len(found) < len(requests) else b"GET"
        connection.send(h11.Request(method=method, target=b"/", headers=[("host", "a")]))
        connection.send(h11.EndOfMessage())
        connection.receive_data(data)
        connection.receive_data(b"")
        head = connection.next_event()
        body = b""
        try:
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                body += bytes(event.data)
        except h11.RemoteProtocolError:
            # The refusal of what plb takes for HEAD, and h11 for nothing.
            assert len(found) >= len(requests) and not body, data
            return found + [(None, head.status_code)]
        seen = any(name == b"x-seen" for name, _ in head.headers)
        found.append(((json.loads(body) if body else {}) if seen else None, head.status_code))
        data = connection.trailing_data[0]
    return found

def crosses(fields, dropped=()):
    return [[name, value] for name, value in fields if not OWN.match(name) and name not in dropped]

def check(seed):
    chance = random.Random(seed)
    data = damaged(chance)
    requests = readable(data)
    with socket.create_connection((HOST, int(PORT)), 30) as stream:
        split = chance.randint(0, len(data))
        try:
            stream.sendall(data[:split])
            stream.sendall(data[split:])
            stream.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        received = b""
        while piece := stream.recv(65536):
            received += piece
    forwarded = 0
    for number, (seen, status) in enumerate(answers(received, requests)):
        if seen is None:
            assert status >= 400, status
            continue
        assert number < len(requests), "forwarded, and h11 sees no such request"
        request, body = requests[number]
        forwarded += 1
        if not seen:
            continue # an answer to HEAD
        target = re.sub("^https?://[^/?]*", "", request.target.decode(), flags=re.IGNORECASE) or "/"
        assert (seen["method"], seen["body"]) == (request.method.decode(), body.hex()), seen
        assert seen["target"] in (target, "/" + target, "*"), seen
        sent = [[name.decode(), value.decode("latin-1")] for name, value in request.headers]
        options = ",".join(value for name, value in sent if name == "connection").lower()
        dropped = [option.strip() for option in options.split(",")]
        assert crosses(seen["fields"]) == crosses(sent, dropped), (seen["fields"], sent)
    return forwarded

total = 0
for seed in range(SEEDS):
    try:
        total += check(seed)
    except Exception as error:
        print("seed", seed, damaged(random.Random(seed)), repr(error), file=sys.stderr)
        raise
print(total, "requests were forwarded and compared")
assert total > SEEDS / 2, "the damage is too heavy to mean much"
PYTHON

/usr/bin/python3 "$ROOM/origin.py" >"$ROOM/port" 2>"$ROOM/unreadable.log" &
STARTED+=("$!")
wait_for 10 test -s "$ROOM/port" || fail 'the origin does not start'
cat >"$ROOM/plb.yaml" <<CONFIGURATION
server_retry: 1000
listeners:
  - { name: web, listen: "127.0.0.1:0", pool: web }
pools:
  web: { backends: ["127.0.0.1:$(<"$ROOM/port")"] }
CONFIGURATION
start_plb --config "$ROOM/plb.yaml"
timeout 300 /usr/bin/python3 "$ROOM/client.py" "$(listening_on '127.0.0.1:')" 2000
expect 'what h11 cannot read of what was forwarded' '' "$(<"$ROOM/unreadable.log")"
stop_plb
