# Prints what rpm's own back end, Sequoia, finds in the packages in /job/in/packages with no other key than
# /job/in/certificate.asc: a line with the package's path, then what was found, indented.
set -eu
export LC_ALL=C.UTF-8 TZ=UTC
mkdir /tmp/database
rpmkeys --dbpath /tmp/database --import /job/in/certificate.asc
rpmkeys --dbpath /tmp/database --checksig --verbose /job/in/packages/*
