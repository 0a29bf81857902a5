# Sourced by what signs. Makes a home for gpg in the tmpfs /run/secret, of the key and the passphrase (or the token's PIN) that
# come over standard input, a line each, in base64. $1 is the fingerprint of the key that signs, $2 the time that signatures bear.
set -eu
umask 077
export GNUPGHOME=/run/secret/home LC_ALL=C.UTF-8 TZ=UTC
signer=$1 time=$2
shift 2
mkdir "$GNUPGHOME"
IFS= read -r secret
IFS= read -r passphrase
printf %s "$passphrase" | base64 -d >/run/secret/passphrase
if [ -n "$secret" ]; then
    printf %s "$secret" | base64 -d | gpg --quiet --batch --no-tty --import
    options="--pinentry-mode loopback --passphrase-file /run/secret/passphrase"
else
    # The key is on a token behind p11-kit's server: gpg's agent learns of it from the token itself.
    module=$(echo /usr/lib/*/pkcs11/p11-kit-client.so)
    printf 'providers token\nprovider-token-library %s\n' "$module" >"$GNUPGHOME/gnupg-pkcs11-scd.conf"
    cp /job/pinentry.sh /tmp/pinentry && chmod 755 /tmp/pinentry
    printf 'scdaemon-program /usr/bin/gnupg-pkcs11-scd\npinentry-program /tmp/pinentry\n' >"$GNUPGHOME/gpg-agent.conf"
    gpg --quiet --batch --no-tty --import /job/in/certificate.asc
    gpg-connect-agent 'SCD SERIALNO' 'LEARN --force' /bye >/dev/null
    # A wrong PIN would be tried three times, after which most tokens lock themselves: so a first signature has one try.
    gpg --batch --no-tty --local-user "$signer!" --output /dev/null --detach-sign </dev/null || exit 77
    : >/run/secret/accepted
    options=""
fi
unset secret passphrase
options="$options --batch --no-tty --faked-system-time $time! --digest-algo SHA256"
