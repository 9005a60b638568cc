# Proves that the site with routes in README.md, as it stands there but for its addresses, does what the comments in it
# say: two nginx serve its API, an nginx and an Apache its application, and curl comes back with the cookies that it got.
source "$(dirname "$0")/library.sh"

echo 'We are closed.' >"$ROOM/closed.html"
echo 'a page' >"$FILES/page"
echo 'be polite' >"$FILES/robots.txt"
start_two_nginx
start_nginx three 127.0.0.1
THREE=127.0.0.1:$PORT NGINX_THREE=$NGINX
start_apache four 127.0.0.1
FOUR=127.0.0.1:$PORT

# The block of YAML in which the shop is closed.
awk '/^```yaml$/ { inside = 1; block = ""; next }
    /^```$/ { if (inside && block ~ /closed\.html/) printf "%s", block; inside = 0 }
    inside { block = block $0 "\n" }' "$HERE/../../README.md" |
    sed --expression 's/"0\.0\.0\.0:8080"/"127.0.0.1:0"/' \
        --expression "s/10\.0\.0\.1:8000/\"$ONE\"/; s/10\.0\.0\.2:8000/\"$TWO\"/" \
        --expression "s/10\.0\.0\.3:80/\"$THREE\"/; s/10\.0\.0\.4:80/\"$FOUR\"/" >"$ROOM/plb.yaml"
! grep --extended-regexp '\b10\.0\.0\.[0-9]+:|"0\.0\.0\.0' "$ROOM/plb.yaml" || fail 'an address of the README is left'
start_plb --config "$ROOM/plb.yaml"
SITE=$(listening_on '127.0.0.1:')

# ask PATH ARGUMENT...: the status; the head is in $ROOM/head, the body in $ROOM/body.
ask() {
    local path=$1
    shift
    curl --silent --show-error --max-time 30 --path-as-is --dump-header "$ROOM/raw" --output "$ROOM/body" \
        --write-out '%{http_code}' "$@" "http://$SITE$path"
    tr -d '\r' <"$ROOM/raw" >"$ROOM/head"
}
field() { sed --quiet "s/^$1: //Ip" "$ROOM/head"; }
# Which of the two that serve the application has answered: nginx or Apache.
server() { field Server | sed 's/[^A-Za-z].*//'; }

# The API.
api=(--header 'Host: www.Example.org:8080' --header 'X-Debug: 1' --header 'X-Real-IP: 192.0.2.9' --header 'Cookie: a=b')
expect 'the API' 200 "$(ask '/api/seen?x=%20' "${api[@]}")"
expect 'what a server of the API sees' '/seen?x=%20|127.0.0.1||a=b' "$(<"$ROOM/body")"
expect 'who may keep what the API says' no-store "$(field Cache-Control)"
names=$(for _ in 1 2 3 4; do ask /api/name --header 'Host: example.org' >>"$ROOM/statuses" && cat "$ROOM/body"; done | sort -u)
expect 'who serves the API' $'one\ntwo' "$names"
random_file large 1048577
expect 'too much for the API' 413 "$(ask /api/upload/x "${api[@]}" --upload-file "$FILES/large")"
expect 'enough for the API' 201 "$(head -c 1048576 "$FILES/large" | ask /api/upload/x "${api[@]}" --upload-file -)"
expect 'what is like the API' 404 "$(ask /apix --header 'Host: example.org')"
expect 'the API of somebody else' 404 "$(ask /api/seen --header 'Host: example.com')"

# What has moved.
expect 'what has moved' 308 "$(ask '/a%20b/?c=d&e=%0d' --header 'Host: shop.old.example')"
expect 'where it is' 'https://www.example.org/a%20b/?c=d&e=%0d' "$(field Location)"
expect 'what has not moved' 200 "$(ask /robots.txt --header 'Host: shop.old.example')"
cmp "$FILES/robots.txt" "$ROOM/body"

# What is not for everybody, however it is spelled.
for path in /status //status /%73tatus /x/../status /./status '/status?x'; do
    expect "$path" 403 "$(ask "$path")"
done

# The shop is closed.
expect 'the shop' 503 "$(ask /shop/cart --data 'buy=1')"
expect 'when to come back' 3600 "$(field Retry-After)"
expect 'what kind of page it is' text/html "$(field Content-Type)"
cmp "$ROOM/closed.html" "$ROOM/body"
expect 'the head of the shop' 503 "$(ask /shop --head)"
expect 'connections through the shop' '1 0' \
    "$(curl --silent --output /dev/null "http://$SITE/shop" --write-out '%{num_connects} ' \
        --next --silent --output /dev/null "http://$SITE/shop" --write-out '%{num_connects}')"

# Whoever has been served by one of them comes back to it.
jars=()
for jar in "$ROOM"/jar{1..6}; do
    expect 'a page of the application' 200 "$(ask /page --cookie "$jar" --cookie-jar "$jar")"
    first=$(server)
    jars+=("$first:$jar")
    grep --quiet '^#HttpOnly_.*PLB' "$jar" || fail "curl was given no cookie: $(<"$jar")"
    for _ in {1..5}; do
        expect 'a page once more' 200 "$(ask /page --cookie "$jar" --cookie-jar "$jar")"
        expect 'who serves a client that comes back' "$first" "$(server)"
        expect 'a cookie that the client has' '' "$(field Set-Cookie)"
    done
done
expect 'who serves the application' $'Apache\nnginx' "$(printf '%s\n' "${jars[@]%%:*}" | sort -u)"
for jar in "${jars[@]}"; do
    if [[ ${jar%%:*} == nginx ]]; then
        expect 'cookies that nginx sees' '/seen|||mine=1' "$(ask /seen --cookie mine=1 --cookie "${jar#*:}" >"$ROOM/status" && cat "$ROOM/body")"
        away=${jar#*:}
    fi
done

# Until it is gone.
kill -KILL -- "-$NGINX_THREE"
wait_for 5 is_gone "$NGINX_THREE"
for _ in {1..6}; do
    expect 'a page of what is left' 200 "$(ask /page --cookie "$away" --cookie-jar "$away")"
    expect 'who is left' Apache "$(server)"
done
start_nginx three 127.0.0.1 "${THREE##*:}"
expect 'a page afterwards' 200 "$(ask /page --cookie "$away" --cookie-jar "$away")"
expect 'who serves whoever was led away' Apache "$(server)"
stop_plb
