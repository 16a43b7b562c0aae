#!/bin/sh
# spark.sh FOLDER PYTHON: fetch Spark, in which the views of sql/lake/ are tested: pyspark (490 MB,
# a minute), and Java 17 of Debian where there is none. They are unpacked, not installed. Without
# them those tests skip, so nothing here is an error.
set -u
folder=$1 python=$2
pyspark='pyspark>=4,<5'

skip() {
    echo "$1, so the tests in Spark will skip" >&2
    exit 0
}
mkdir -p "$folder/packages" || exit 0

if ! command -v java >/dev/null && [ ! -e "$folder/.java" ]; then
    java=openjdk-17-jre-headless
    for tool in apt-get dpkg; do
        command -v "$tool" >/dev/null || skip "no $tool here to fetch Java"
    done
    fetch() (cd "$folder/packages" && timeout 300 apt-get download -qq $java </dev/null 2>&1)
    fetch >"$folder/apt.log" ||
        { [ "$(id -u)" -eq 0 ] && timeout 300 apt-get update -qq </dev/null >"$folder/apt.log" &&
            fetch >"$folder/apt.log"; } || skip "$java cannot be fetched"
    for package in "$folder"/packages/*.deb; do
        dpkg -x "$package" "$folder" || exit 0
    done
    rm -f "$folder"/packages/*.deb
    touch "$folder/.java"
fi

[ "$(cat "$folder/.complete" 2>/dev/null)" = "$pyspark" ] && exit 0
echo "fetching $pyspark for the tests in Spark" >&2
timeout 900 "$python" -m pip install --quiet --disable-pip-version-check --no-input --upgrade \
    --target "$folder/python" "$pyspark" >"$folder/pip.log" 2>&1 ||
    skip "$pyspark cannot be fetched ($folder/pip.log)"
echo "$pyspark" >"$folder/.complete"
