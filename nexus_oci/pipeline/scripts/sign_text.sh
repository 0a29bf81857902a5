# FINGERPRINT TIME [DIGEST]: leaves a detached signature of /job/in/text in /job/out/detached, and a signed copy in /job/out/clear.
. /job/key.sh
options="$options ${1:+--digest-algo $1}"
gpg $options --local-user "$signer!" --armor --output /job/out/detached --detach-sign /job/in/text
gpg $options --local-user "$signer!" --output /job/out/clear --clear-sign /job/in/text
