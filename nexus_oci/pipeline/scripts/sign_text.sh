# FINGERPRINT TIME: leaves a detached signature of /work/in/text in /work/out/detached, and a signed copy in /work/out/clear.
. /work/key.sh
gpg $options --local-user "$signer!" --armor --output /work/out/detached --detach-sign /work/in/text
gpg $options --local-user "$signer!" --output /work/out/clear --clear-sign /work/in/text
