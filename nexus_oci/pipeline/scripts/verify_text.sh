# Checks both signatures of /job/in/text with Sequoia and with gpgv, and no other key than /job/in/certificate.asc.
set -eu
umask 077
export LC_ALL=C.UTF-8 TZ=UTC GNUPGHOME=/tmp/home
cd /job/in
mkdir "$GNUPGHOME"
gpg --quiet --batch --no-tty --output /tmp/certificate --dearmor certificate.asc
sqv --keyring certificate.asc --signature-file detached text
sqv --keyring certificate.asc --output /tmp/sqv --cleartext clear
gpgv --quiet --keyring /tmp/certificate detached text
gpgv --quiet --keyring /tmp/certificate --output /tmp/gpgv clear
# The signed copy must hold this text, and not only some text; the last line break is no part of what is signed.
[ "$(cat /tmp/sqv)" = "$(cat text)" ] && [ "$(cat /tmp/gpgv)" = "$(cat text)" ]
