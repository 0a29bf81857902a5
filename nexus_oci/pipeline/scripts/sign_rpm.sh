# FINGERPRINT TIME: signs the headers of the packages in /work/in/packages, and leaves them in /work/out.
. /work/key.sh
mv /work/in/packages/* /work/out
rpmsign --define "__gpg /usr/bin/gpg" --define "_gpg_name $signer!" --define "_gpg_digest_algo sha256" \
    --define "_gpg_sign_cmd_extra_args $options" --addsign /work/out/*
