#!/bin/sh
# postgres.sh FOLDER: fetch Debian's PostgreSQL, with the libraries that are missing here, for the
# tests of fleets, and unpack it. It is not installed: Debian's package starts a server. Without it
# those tests skip, so nothing here is an error.
set -u
folder=$1

skip() {
    echo "$1, so the tests of fleets will skip" >&2
    exit 0
}
for server in /usr/lib/postgresql/*/bin/postgres "$folder"/usr/lib/postgresql/*/bin/postgres; do
    [ -x "$server" ] && exit 0
done
for tool in apt-get apt-cache dpkg; do
    command -v "$tool" >/dev/null || skip "no $tool here to fetch PostgreSQL"
done
mkdir -p "$folder/packages" && cd "$folder" || exit 0
# The package `postgresql` depends on that of the newest version.
server() {
    apt-cache depends postgresql 2>/dev/null | sed -n 's/^ *Depends: \(postgresql-[0-9]*\)$/\1/p'
}
package=$(server)
if [ -z "$package" ] && [ "$(id -u)" -eq 0 ]; then
    timeout 300 apt-get update -qq </dev/null >packages/apt.log 2>&1
    package=$(server)
fi
[ -n "$package" ] || skip "apt-get knows no PostgreSQL"
packages=$(apt-get install --simulate --no-install-recommends "$package" 2>/dev/null </dev/null |
    sed -n 's/^Inst \([^ ]*\) .*/\1/p')
# shellcheck disable=SC2086
(cd packages && timeout 600 apt-get download -qq $packages </dev/null >apt.log 2>&1) ||
    skip "PostgreSQL cannot be fetched"
for file in packages/*.deb; do
    dpkg -x "$file" . || exit 0
done
rm -f packages/*.deb
