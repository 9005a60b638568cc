# Proves that a client's connection serves many requests, and so do the connections to nginx.
source "$(dirname "$0")/library.sh"
start_balanced

connects=$(fetch --output /dev/null --write-out '%{num_connects}\n' "http://$V4/name?[1-20]" | sort | uniq -c | tr -s ' ' | tr '\n' ',')
expect 'connections of curl' ' 19 0, 1 1,' "$connects"

# One client connection after the other, and yet one connection to each nginx: number and requests so far.
for _ in {1..10}; do fetch "http://$V4/connection"; done >"$ROOM/connections"
most=$(cut -d' ' -f2 "$ROOM/connections" | sort -n | tail -1)
((most >= 5)) || fail "no connection to nginx has served 5 requests: $(tr '\n' ',' <"$ROOM/connections")"
stop_plb
