# Proves that large downloads and uploads arrive as they were sent, with a length and in chunks.
source "$(dirname "$0")/library.sh"
start_balanced

random_file large 100000000
ln "$FILES/large" "$FILES/chunked/large"
wanted=$(checksum <"$FILES/large")

for address in "$V4" "$V6"; do
    expect "a download from $address" "$wanted" "$(fetch "http://$address/large" | checksum)"
done
expect 'a download of HTTP/1.0' "$wanted" "$(fetch --http1.0 "http://$V4/large" | checksum)"
expect 'a download in chunks' "$wanted" "$(fetch --dump-header "$ROOM/head" "http://$V4/chunked/large" | checksum)"
grep --quiet --ignore-case '^transfer-encoding: chunked' "$ROOM/head"
expect 'a download in chunks, of HTTP/1.0' "$wanted" "$(fetch --http1.0 "http://$V4/chunked/large" | checksum)"
expect 'a slow reader' "$(head -c 3000000 "$FILES/large" | checksum)" \
    "$(fetch --range 0-2999999 --limit-rate 3M "http://$V4/large" | checksum)"

# curl asks for "100 Continue" first.
expect 'an upload' 201 "$(fetch --upload-file "$FILES/large" --write-out '%{http_code}' "http://$V4/upload/sized")"
cmp "$FILES/large" "$FILES/upload/sized"
expect 'an upload in chunks' 201 "$(fetch --upload-file - --write-out '%{http_code}' "http://$V6/upload/chunked" <"$FILES/large")"
cmp "$FILES/large" "$FILES/upload/chunked"
expect 'an upload of HTTP/1.0' 201 \
    "$(fetch --http1.0 --header 'Expect:' --upload-file "$FILES/large" --write-out '%{http_code}' "http://$V4/upload/old")"
cmp "$FILES/large" "$FILES/upload/old"
stop_plb
