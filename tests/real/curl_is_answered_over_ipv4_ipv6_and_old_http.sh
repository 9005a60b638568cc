# Proves that plain requests of curl are served by both nginx, whatever the family, the version and the method.
source "$(dirname "$0")/library.sh"
start_balanced

for address in "$V4" "$V6"; do
    expect "the names at $address" 'one two ' "$(for _ in 1 2 3 4; do fetch "http://$address/name"; done | sort -u | tr '\n' ' ')"
done

expect 'what nginx is told by IPv4' 'HTTP/1.1 a.example 127.0.0.1 http a.example:81' \
    "$(fetch --header 'Host: a.example:81' --header 'X-Forwarded-For: 192.0.2.1' "http://$V4/truth")"
expect 'what nginx is told by IPv6' "HTTP/1.1 [::1] ::1 http $V6" "$(fetch "http://$V6/truth")"

expect 'HTTP/1.0' 200 "$(fetch --http1.0 --output /dev/null --write-out '%{http_code}' "http://$V4/name")"
expect 'not found' 404 "$(curl --silent --output /dev/null --write-out '%{http_code}' "http://$V4/absent")"

random_file page 100000
head=$(fetch --head "http://$V4/page" | tr -d '\r')
grep --quiet '^HTTP/1.1 200' <<<"$head"
grep --quiet '^Content-Length: 100000$' <<<"$head"
# A length without a body does not shift what follows on the connection.
expect 'connections of HEAD and GET' '1 0 0' \
    "$(fetch --head --output /dev/null "http://$V4/page" --write-out '%{num_connects} ' \
        --next --silent --head --output /dev/null "http://$V4/page" --write-out '%{num_connects} ' \
        --next --silent --output "$ROOM/page" "http://$V4/page" --write-out '%{num_connects}')"
cmp "$FILES/page" "$ROOM/page"
stop_plb
