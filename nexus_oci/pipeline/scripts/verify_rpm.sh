# Prints what rpm's own back end, Sequoia, finds in /work/in/package.rpm with no other key than /work/in/certificate.asc.
set -eu
export LC_ALL=C.UTF-8 TZ=UTC
mkdir /tmp/database
rpmkeys --dbpath /tmp/database --import /work/in/certificate.asc
rpmkeys --dbpath /tmp/database --checksig --verbose /work/in/package.rpm
