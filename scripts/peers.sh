#!/bin/sh
# peers.sh FOLDER: fetch the programs that tests compare ELSA with (GNU acct, forkstat, GNU time) or
# that read its metrics or show its pages (Prometheus, Cockpit with the libraries that are missing
# here), and unpack them. They are not installed: Debian's acct package switches accounting on.
# Without them those tests skip, so nothing here is an error.
set -u
folder=$1
packages="acct forkstat time prometheus"
whole="cockpit-ws cockpit-bridge"

[ "$(cat "$folder/.complete" 2>/dev/null)" = "$packages $whole" ] && exit 0
for tool in apt-get dpkg; do
    command -v "$tool" >/dev/null && continue
    echo "no $tool here, so nothing to compare with; those tests will skip" >&2
    exit 0
done

mkdir -p "$folder/packages" && cd "$folder/packages" || exit 0
# shellcheck disable=SC2086
missing() {
    apt-get install --simulate --no-install-recommends $whole 2>/dev/null </dev/null |
        sed -n 's/^Inst \([^ ]*\) .*/\1/p'
}
# shellcheck disable=SC2046,SC2086
fetch() {
    timeout 120 apt-get download -qq $packages $(missing) </dev/null >apt.log 2>&1
}
update() { [ "$(id -u)" -eq 0 ] && timeout 300 apt-get update -qq </dev/null >apt.log 2>&1; }
if ! fetch && ! { update && fetch; }; then
    echo "the packages $packages $whole cannot be fetched, so those tests will skip:" >&2
    tail -n 3 apt.log >&2
    exit 0
fi
for package in *.deb; do
    dpkg -x "$package" "$folder" || exit 0
done
echo "$packages $whole" >"$folder/.complete"
