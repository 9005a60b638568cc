# Proves that a WebSocket client and server that know nothing of plb talk through it, until either closes.
source "$(dirname "$0")/library.sh"

cat >"$ROOM/server.py" <<'PYTHON'
import asyncio, websockets

async def echo(socket, path=None):
    async for message in socket:
        await socket.send(message)

async def main():
    # Both compress, which makes noise longer than the 2**20 bytes that they take unless they are told.
    async with websockets.serve(echo, "127.0.0.1", 0, max_size=2**21, ping_interval=0.2) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()

asyncio.run(main())
PYTHON
cat >"$ROOM/client.py" <<'PYTHON'
import asyncio, os, sys, websockets

async def talk(number):
    async with websockets.connect(sys.argv[1], max_size=2**21) as socket:
        for length in [0, 1, 125, 126, 65536, 2**20]:
            message = os.urandom(length)
            await socket.send(message)
            assert await socket.recv() == message, length
        await socket.send("a text of client %d" % number)
        assert await socket.recv() == "a text of client %d" % number
        await (await socket.ping())

async def main():
    await asyncio.gather(*[talk(number) for number in range(8)])

asyncio.run(main())
PYTHON

/usr/bin/python3 "$ROOM/server.py" >"$ROOM/port" 2>"$ROOM/server.log" &
STARTED+=("$!")
wait_for 10 test -s "$ROOM/port" || fail 'the server does not start'
start_plb 127.0.0.1:0 "127.0.0.1:$(<"$ROOM/port")"
address=$(listening_on '127.0.0.1:')
timeout 60 /usr/bin/python3 "$ROOM/client.py" "ws://$address/chat"
expect 'what the server says to a plain request' 426 \
    "$(curl --silent --output /dev/null --write-out '%{http_code}' --max-time 10 "http://$address/")"
stop_plb
