# Proves that what curl gets from Apache and from nginx through plb is what it gets from them without plb: statuses,
# fields and bodies of plain and conditional requests, ranges, chunks, compressed pages, redirects, uploads and errors.
source "$(dirname "$0")/library.sh"

random_file page 100000
random_file chunked/page 300000
seq 20000 >"$FILES/text.txt"
mkdir -p "$FILES/folder"
echo 'the index' >"$FILES/folder/index.html"
for name in page text.txt chunked/page folder/index.html; do touch --date='2024-01-01T00:00:00Z' "$FILES/$name"; done

# outcome ADDRESS PATH ARGUMENT...: everything about the last answer but what belongs to one connection or moment, and
# the name that the server gives itself in an absolute reference.
outcome() {
    local address=$1 path=$2 status=0
    shift 2
    curl --silent --show-error --max-time 30 --header 'Host: site.example' --dump-header "$ROOM/heads" \
        --output "$ROOM/body" --write-out '%{http_code} %{size_download} %{num_redirects}\n' "$@" \
        "http://$address$path" 2>&1 || status=$?
    echo "curl says $status"
    tr -d '\r' <"$ROOM/heads" | grep --invert-match --ignore-case --extended-regexp \
        '^(date|connection|keep-alive|transfer-encoding):' | sort
    # What curl says of a head is that head.
    if [[ " $* " == *' --head '* ]]; then return; fi
    # Apache and nginx draw the boundary between parts anew each time.
    sed --regexp-extended 's/^--[0-9a-f]{10,}//' "$ROOM/body" | checksum
}

# same WHAT PATH ARGUMENT...: asks the server and plb.
same() {
    local what=$1 wanted found
    shift
    rm -f "$FILES"/upload/*
    wanted=$(outcome "$DIRECT" "$@" | sed --regexp-extended 's/boundary=.*/boundary/')
    rm -f "$FILES"/upload/*
    found=$(outcome "$THROUGH" "$@" | sed --regexp-extended 's/boundary=.*/boundary/')
    expect "$NAME: $what" "$wanted" "$found"
    LAST=$found
}

# got PATTERN: the last answer has such a line, so that what was compared means something.
got() { grep --quiet --ignore-case --extended-regexp "$1" <<<"$LAST" || fail "$NAME: no $1 in: $LAST"; }

try_everything() {
    local tag
    same 'a page' /page
    got '^200 100000 0$'
    tag=$(tr -d '\r' <"$ROOM/heads" | sed -n 's/^[Ee][Tt]ag: //p')
    same 'a page for HTTP/1.0' /page --http1.0
    same 'a head' /page --head
    got '^content-length: 100000$'
    same 'a page that is known by its tag' /page --header "If-None-Match: $tag"
    got '^304 0 0$'
    same 'a page that is known by its date' /page --header 'If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT'
    got '^304 0 0$'
    same 'a page that has changed' /page --header 'If-Match: "other"'
    got '^412 '
    same 'a range' /page --range 100-299
    got '^206 200 0$'
    same 'the end' /page --range -500
    got '^content-range: bytes 99500-99999/100000$'
    same 'two ranges' /page --range 0-9,90-99
    got '^content-type: multipart/byteranges'
    same 'a range that is not there' /page --range 200000-
    got '^416 '
    same 'a range if nothing has changed' /page --range 0-9 --header "If-Range: $tag"
    got '^206 10 0$'
    same 'a page in chunks' /chunked/page
    got '^200 300000 0$'
    same 'a page in chunks for HTTP/1.0' /chunked/page --http1.0
    got '^200 300000 0$'
    same 'the head of a page in chunks' /chunked/page --head
    same 'a compressed page' /text.txt --header 'Accept-Encoding: gzip'
    got '^content-encoding: gzip$'
    same 'a decompressed page' /text.txt --compressed
    same 'a folder without its slash' /folder
    got '^location: '
    same 'a folder' /folder/
    same 'what is not there' /absent
    got '^404 '
    same 'a method that is not served' /page --request DELETE
    got '^(403|405) '
    same 'a target with everything in it' '/absent/%7e/a;b=c/d?e=f%20g&h=%2F'
    same 'a small upload' /upload/small --upload-file "$FILES/folder/index.html"
    got '^201 '
    same 'an upload that waits for 100' /upload/waits --upload-file "$FILES/page" --header 'Expect: 100-continue'
    got '100 continue'
    got '^201 '
    same 'an upload in chunks' /upload/chunks --upload-file "$FILES/page" --header 'Transfer-Encoding: chunked'
    got '^201 '
    cmp "$FILES/page" "$FILES/upload/chunks"
    same 'an upload to where nothing may be put' /page --upload-file "$FILES/page" --header 'Expect: 100-continue'
    got '^(403|405) '
    expect "$NAME: connections of ten requests" 1 \
        "$(curl --silent --output /dev/null --write-out '%{num_connects}\n' "http://$THROUGH/page?[1-10]" | grep --count 1)"
}

start_nginx nginx 127.0.0.1
NGINX_AT=127.0.0.1:$PORT
start_apache apache 127.0.0.1
APACHE_AT=127.0.0.1:$PORT
cat >"$ROOM/plb.yaml" <<CONFIGURATION
server_retry: 1
listeners:
  - { name: nginx, listen: "127.0.0.1:0", pool: nginx }
  - { name: apache, listen: "127.0.0.1:0", pool: apache }
pools:
  nginx: { backends: ["$NGINX_AT"] }
  apache: { backends: ["$APACHE_AT"] }
CONFIGURATION
start_plb --config "$ROOM/plb.yaml"
for NAME in nginx apache; do
    THROUGH=$(sed -n "s/.*listener $NAME: listening on //p" "$PLB_LOG")
    DIRECT=$NGINX_AT
    if [[ $NAME == apache ]]; then DIRECT=$APACHE_AT; fi
    try_everything
done
! grep --quiet ' down after ' "$PLB_LOG" || fail 'a server was blamed'
stop_plb
