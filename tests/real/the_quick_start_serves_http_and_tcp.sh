# Proves that plb serves two nginx from its arguments alone, request by request or connection by connection.
source "$(dirname "$0")/library.sh"
start_two_nginx
random_file large 20000000
wanted=$(checksum <"$FILES/large")

start_plb --no-tracking 127.0.0.1:0 "$ONE" "$TWO,weight=3"
address=$(listening_on '127.0.0.1:')
expect 'shares by weight' ' 2 one, 6 two,' \
    "$(fetch "http://$address/name?[1-8]" | sort | uniq -c | tr -s ' ' | tr '\n' ',')"
expect 'a download' "$wanted" "$(fetch "http://$address/large" | checksum)"
stop_plb

start_plb 127.0.0.1:0 "$ONE" "$TWO,weight=3"
address=$(listening_on '127.0.0.1:')
expect 'one backend for one client' ' 8 two,' \
    "$(fetch "http://$address/name?[1-8]" | sort | uniq -c | tr -s ' ' | tr '\n' ',')"
stop_plb

start_plb --tcp --no-tracking 127.0.0.1:0 "$ONE" "$TWO"
address=$(listening_on '127.0.0.1:')
expect 'all requests of a connection' ' 8 one,' \
    "$(fetch "http://$address/name?[1-8]" | sort | uniq -c | tr -s ' ' | tr '\n' ',')"
expect 'the next connection' two "$(fetch "http://$address/name")"
expect 'a download' "$wanted" "$(fetch "http://$address/large" | checksum)"
expect 'an upload' 201 "$(fetch --upload-file - --write-out '%{http_code}' "http://$address/upload/it" <"$FILES/large")"
cmp "$FILES/large" "$FILES/upload/it"
stop_plb
