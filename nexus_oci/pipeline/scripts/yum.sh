# EPOCH: makes the indexes of the packages in /job/in, and leaves repodata/ in /job/out.
set -eu
umask 022
export LC_ALL=C.UTF-8 TZ=UTC
createrepo_c --quiet --general-compress-type=gz --no-database --simple-md-filenames --workers=1 \
    --revision="$1" --set-timestamp-to-revision --outputdir=/job/out /job/in
