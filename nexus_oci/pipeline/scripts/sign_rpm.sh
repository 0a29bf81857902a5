# FINGERPRINT TIME: signs the headers of the packages in /job/in/packages, and leaves them in /job/out.
. /job/key.sh
mv /job/in/packages/* /job/out
rpmsign --define "__gpg /usr/bin/gpg" --define "_gpg_name $signer!" --define "_gpg_digest_algo sha256" \
    --define "_gpg_sign_cmd_extra_args $options" --addsign /job/out/*
