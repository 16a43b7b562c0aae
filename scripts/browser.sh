#!/bin/sh
# browser.sh FOLDER: fetch what the tests of the web pages need besides Python: Debian's chromium,
# with the libraries that are missing here, and axe-core, which finds what people with disabilities
# could not use. They are unpacked, not installed. Without them those tests skip, so nothing here is
# an error.
set -u
folder=$1
axe=axe-core@4.14.1

skip() {
    echo "$1, so the tests in a browser will skip" >&2
    exit 0
}
mkdir -p "$folder/packages" && cd "$folder" || exit 0

if [ ! -e axe.min.js ]; then
    command -v npm >/dev/null || skip "no npm here to fetch $axe"
    (cd packages && timeout 120 npm pack --silent "$axe" >npm.log 2>&1) ||
        skip "$axe cannot be fetched"
    tar xzf packages/axe-core-*.tgz -O package/axe.min.js >axe.part && mv axe.part axe.min.js
fi

command -v chromium >/dev/null && exit 0
[ -e .complete ] && exit 0
for tool in apt-get dpkg; do
    command -v "$tool" >/dev/null || skip "no $tool here to fetch chromium"
done
missing() {
    apt-get install --simulate --no-install-recommends chromium 2>/dev/null </dev/null |
        sed -n 's/^Inst \([^ ]*\) .*/\1/p'
}
packages=$(missing)
if [ -z "$packages" ] && [ "$(id -u)" -eq 0 ]; then
    timeout 300 apt-get update -qq </dev/null >packages/apt.log 2>&1
    packages=$(missing)
fi
[ -n "$packages" ] || skip "apt-get knows no chromium"
# shellcheck disable=SC2086
(cd packages && timeout 600 apt-get download -qq $packages </dev/null >apt.log 2>&1) ||
    skip "chromium cannot be fetched"
for package in packages/*.deb; do
    dpkg -x "$package" . || exit 0
done
rm -f packages/*.deb
touch .complete
