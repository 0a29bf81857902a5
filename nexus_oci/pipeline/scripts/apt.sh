# SUITE EPOCH ORIGIN DESCRIPTION: makes the indexes of the packages in /job/in/pool, and leaves dists/ in /job/out.
set -eu
umask 022
export LC_ALL=C.UTF-8 TZ=UTC
suite=$1 epoch=$2 origin=$3 description=$4
cd /job/in
run() { apt-ftparchive --db /tmp/cache -o APT::FTPArchive::MD5=no -o APT::FTPArchive::SHA1=no "$@"; }
architectures=$(run packages pool | sed -n 's/^Architecture: //p' | sort -u | { grep -vx all || true; })
: "${architectures:=all}"
for architecture in $architectures; do
    folder=/job/out/dists/$suite/main/binary-$architecture
    mkdir -p "$folder"
    run --arch "$architecture" packages pool >"$folder/Packages"
    gzip -9 --no-name --keep "$folder/Packages"
    xz -6 --threads=1 --keep "$folder/Packages"
done
cd "/job/out/dists/$suite"
release=APT::FTPArchive::Release
run -o "$release::Origin=$origin" -o "$release::Label=$origin" -o "$release::Suite=$suite" -o "$release::Codename=$suite" \
    -o "$release::Architectures=$(echo $architectures)" -o "$release::Components=main" -o "$release::Acquire-By-Hash=yes" \
    -o "$release::Description=$description" release . >/tmp/Release
sed "s/^Date: .*/Date: $(date --utc --rfc-email --date="@$epoch")/" /tmp/Release >Release
for architecture in $architectures; do
    cd "/job/out/dists/$suite/main/binary-$architecture"
    mkdir -p by-hash/SHA256 by-hash/SHA512
    for file in Packages*; do
        cp "$file" "by-hash/SHA256/$(sha256sum "$file" | cut -d ' ' -f 1)"
        cp "$file" "by-hash/SHA512/$(sha512sum "$file" | cut -d ' ' -f 1)"
    done
done
