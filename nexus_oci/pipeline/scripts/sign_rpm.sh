# FINGERPRINT TIME: signs the header of /work/in/package.rpm, and leaves it in /work/out.
. /work/key.sh
mv /work/in/package.rpm /work/out/package.rpm
rpmsign --define "__gpg /usr/bin/gpg" --define "_gpg_name $signer!" --define "_gpg_digest_algo sha256" \
    --define "_gpg_sign_cmd_extra_args $options" --addsign /work/out/package.rpm
