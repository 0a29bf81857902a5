"""install.sh and uninstall.sh of an archive: for any POSIX shell (dash, busybox), and for a tree in any folder.

What was installed is written down in PREFIX/share/NAME/installed, a line each: `f PATH` a file or link, `d PATH` a folder that
was made, `c CRC SIZE PATH` a configuration file with the checksum (POSIX cksum) of what was shipped. So an upgrade knows which
configuration was edited and which files went away, and uninstall.sh removes what was installed and nothing else.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from nexus_oci.formats.package import LinuxPackage
from nexus_oci.formats.scripts import make_directories, make_user, remove_user
from nexus_oci.formats.units import directories, unit_names

_FROM_USR = ("/bin/", "/sbin/", "/lib/", "/lib64/", "/libexec/", "/share/", "/include/")


def archive_files(package: LinuxPackage) -> Mapping[str, tuple[bytes, int]]:
    """The programs at the top of an archive by their name, with their mode."""
    values = {
        "NAME": shlex.quote(package.name),
        "VERSION": shlex.quote(package.version),
        "UNITS": shlex.quote(" ".join(unit_names(package))),
        "AGAIN": shlex.quote(" ".join(reversed(unit_names(package)))),
        "PROGRAM": shlex.quote(package.launcher.name if package.launcher else package.program or package.name),
        "STATE": " ".join(map(shlex.quote, directories(package))),
        "SETUP": _body([*make_user(package), *make_directories(package)]),
        "FORGET": _body(remove_user(package)),
        "OWN": _body(_owned(package)),
    }
    texts = {"install.sh": _INSTALL, "uninstall.sh": _UNINSTALL}
    return {name: (re.sub(r"@([A-Z]+)@", lambda found: values[found[1]], text).encode(), 0o755) for name, text in texts.items()}


def _body(texts: list[str]) -> str:
    return "".join(texts) or "    :\n"


def _owned(package: LinuxPackage) -> list[str]:
    """A call for each path whose mode or owner is said; `own` finds where it was put."""
    calls = []
    for file in package.files:
        if file.kind in ("link", "ghost") or (
            file.kind != "directory" and file.mode is None and file.owner == file.group == "root"
        ):
            continue
        path = file.path.removeprefix("/usr") if file.path.removeprefix("/usr").startswith(_FROM_USR) else file.path
        mode = file.mode if file.mode is not None else 0o755 if file.kind == "directory" else None
        kind = "folder" if file.kind == "directory" else "file"
        owner = f"{file.owner}:{file.group}"
        calls.append(f"    own {kind} {shlex.quote(path[1:])} {'-' if mode is None else f'{mode:04o}'} {shlex.quote(owner)}\n")
    return calls


_COMMON = """\
name=@NAME@
units=@UNITS@

say() { printf '%s\\n' "$name: $*"; }
fail() {
    printf '%s\\n' "$name: $*" >&2
    exit 1
}
wrong() {
    printf '%s\\n' "$name: $*" "$name: --help lists the options" >&2
    exit 2
}
path_option() {
    case $2 in
        /*) ;;
        *) wrong "$1 takes an absolute path, not '$2'" ;;
    esac
}
clean() {
    # Without a slash at the end, so that paths can be joined.
    text=$1
    while [ "${text%/}" != "$text" ]; do text=${text%/}; done
    printf '%s' "$text"
}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
"""
_INSTALL = f"""\
#!/bin/sh
# Installs what lies beside this file; --help says how.
set -eu
umask 022
{_COMMON}
version=@VERSION@
program=@PROGRAM@
again=@AGAIN@  # the service first, so that systemctl waits for it

usage() {{
    cat <<'END'
Usage: install.sh [OPTION...]

  --prefix DIR    where programs go (/usr/local)
  --destdir DIR   a root that everything is put below, for those who make packages or images;
                  then no user is made and no service is started
  --no-service    install no units, make no user, start nothing
  --dry-run       say what would be done, and do nothing
  --help          print this

Configuration goes to /etc. A file that was edited there stays; the new one is put beside it as FILE.new.
PREFIX/share/NAME/uninstall.sh takes everything away again.
END
}}

prefix=/usr/local destdir='' service=yes dry=''
while [ $# -gt 0 ]; do
    case $1 in
        --prefix=* | --destdir=*)
            option=${{1%%=*}} value=${{1#*=}}
            shift
            set -- "$option" "$value" "$@"
            continue
            ;;
        --prefix | --destdir)
            [ $# -ge 2 ] || wrong "$1 needs a path"
            path_option "$1" "$2"
            if [ "$1" = --prefix ]; then prefix=$(clean "$2"); else destdir=$(clean "$2"); fi
            shift
            ;;
        --no-service) service='' ;;
        --dry-run) dry=yes ;;
        --help | -h)
            usage
            exit 0
            ;;
        *) wrong "there is no option '$1'" ;;
    esac
    shift
done
[ -n "$units" ] || service=''
if [ -n "$service" ]; then
    case $prefix in
        *[!A-Za-z0-9/._+@:,=-]*) fail "a unit of systemd cannot say the path '$prefix'; take another prefix, or --no-service" ;;
    esac
fi
if [ -z "$destdir$dry" ] && [ "$(id -u)" -ne 0 ]; then
    fail "only root may install; use sudo, or --destdir to put the files below another folder"
fi
record=$prefix/share/$name/installed

work=$(mktemp -d)
trap 'finish' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
: >"$work/new"
: >"$work/old"
complete=''

# What was done until a failure is written down too, so that uninstall.sh can take it away.
finish() {{
    [ -n "$complete$dry" ] || [ ! -s "$work/new" ] || write_record "$work/old" "$work/new"
    rm -rf -- "$work"
}}
write_record() {{
    make_folder "$(dirname -- "$record")"
    cat -- "$@" | LC_ALL=C sort -u >"$destdir$record"
    chmod 644 "$destdir$record"
}}

upgrade=''
if [ -f "$destdir$record" ]; then
    upgrade=yes
    cat <"$destdir$record" >"$work/old"
fi

note() {{ printf '%s\\n' "$*" >>"$work/new"; }}

# Where a path of this tree goes: into $target; $kind is program, unit or config, and nothing for what stays here.
place() {{
    kind=program
    case $1 in
        lib/systemd/system/* | lib/sysusers.d/* | lib/tmpfiles.d/*)
            kind=unit
            if [ "$prefix" = /usr ]; then target=/usr/$1; else target=/etc/${{1#lib/}}; fi
            [ -n "$service" ] || kind=''
            ;;
        lib/systemd/*) kind='' ;;
        bin/* | sbin/* | lib/* | lib64/* | libexec/* | share/* | include/*) target=$prefix/$1 ;;
        etc/*) kind=config target=/$1 ;;
        */*) target=/$1 ;;
        *) kind='' ;;
    esac
}}

make_folder() {{
    [ -z "$dry" ] || return 0
    [ ! -d "$destdir$1" ] || return 0
    case $1 in
        /) mkdir -p "$destdir/" ;;
        *)
            make_folder "$(dirname -- "$1")"
            mkdir "$destdir$1"
            note d "$1"
            ;;
    esac
}}

# put FILE TARGET: through a name of its own, as a program that runs cannot be written to.
put() {{
    if [ -n "$dry" ]; then
        say "would install $destdir$2"
        return 0
    fi
    make_folder "${{2%/*}}"
    if [ -L "$1" ]; then
        rm -f -- "$destdir$2"
        ln -s -- "$(readlink -- "$1")" "$destdir$2"
        return 0
    fi
    [ ! -e "$destdir$2.installing" ] || rm -f -- "$destdir$2.installing"
    cat <"$1" >"$destdir$2.installing"
    [ ! -x "$1" ] || chmod 755 "$destdir$2.installing"
    mv -f -- "$destdir$2.installing" "$destdir$2"
}}

# The checksum of what was shipped as a configuration file the last time.
shipped() {{
    while IFS= read -r line; do
        rest=${{line#c * * }}
        if [ "$rest" != "$line" ] && [ "$rest" = "$1" ]; then
            line=${{line#c }}
            printf '%s' "${{line%" $1"}}"
        fi
    done <"$work/old"
}}

put_config() {{
    sum=$(cksum <"$1")
    if [ ! -e "$destdir$2" ]; then
        put "$1" "$2"
    else
        now=$(cksum <"$destdir$2")
        if [ "$now" != "$sum" ]; then
            if [ "$now" = "$(shipped "$2")" ]; then
                put "$1" "$2"
            else
                say "$destdir$2 was edited and stays; the new one is $2.new"
                put "$1" "$2.new"
                note f "$2.new"
            fi
        fi
    fi
    note c "$sum" "$2"
}}

# A unit with the engine's paths below the prefix. Other programs of the machine, as /usr/bin/env, stay where they are.
put_unit() {{
    : >"$work/edit"
    for file in "$here"/bin/* "$here"/sbin/*; do
        [ -e "$file" ] || continue
        part=${{file#"$here/"}}
        plain=$(printf '%s' "$part" | sed 's/[.[*^$]/\\\\&/g')
        printf 's,/usr/%s$,%s/%s,\\n' "$plain" "$prefix" "$part" >>"$work/edit"
        printf 's,/usr/%s\\([ \\t":;]\\),%s/%s\\\\1,g\\n' "$plain" "$prefix" "$part" >>"$work/edit"
    done
    for file in "$here"/lib/* "$here/share/$name"; do
        part=${{file#"$here/"}}
        case $part in
            lib/systemd | lib/sysusers.d | lib/tmpfiles.d | 'lib/*') continue ;;
        esac
        plain=$(printf '%s' "$part" | sed 's/[.[*^$]/\\\\&/g')
        printf 's,/usr/%s$,%s/%s,\\n' "$plain" "$prefix" "$part" >>"$work/edit"
        printf 's,/usr/%s\\([/ \\t":;]\\),%s/%s\\\\1,g\\n' "$plain" "$prefix" "$part" >>"$work/edit"
    done
    sed -f "$work/edit" <"$1" >"$work/unit"
    put "$work/unit" "$2"
}}

# own KIND PATH MODE OWNER: what the definition says of a path of this tree.
own() {{
    place "$2"
    [ -n "$kind" ] && [ -z "$dry" ] || return 0
    if [ "$1" = folder ]; then make_folder "$target"; fi
    if [ "$3" != - ]; then chmod "$3" "$destdir$target"; fi
    if [ -z "$destdir" ] && [ -n "$service" ]; then chown "$4" "$target"; fi
}}

make_user() {{
@SETUP@}}

own_files() {{
@OWN@}}

put_all() {{
    (cd "$here" && find . \\( -type f -o -type l \\) | LC_ALL=C sort) >"$work/files"
    while IFS= read -r path <&3; do
        path=${{path#./}}
        place "$path"
        case $kind in
            program)
                put "$here/$path" "$target"
                note f "$target"
                ;;
            unit)
                put_unit "$here/$path" "$target"
                note f "$target"
                ;;
            config) put_config "$here/$path" "$target" ;;
        esac
    done 3<"$work/files"
    put "$here/uninstall.sh" "$prefix/share/$name/uninstall.sh"
    note f "$prefix/share/$name/uninstall.sh"
}}

# What the version before had and this one has not.
remove_old() {{
    while IFS= read -r line <&3; do
        case $line in
            'd '*) grep -Fxq -- "$line" "$work/new" || note "$line" ;;
            'f '*) grep -Fxq -- "$line" "$work/new" || rm -f -- "$destdir${{line#f }}" ;;
        esac
    done 3<"$work/old"
}}

start() {{
    if [ ! -d /run/systemd/system ]; then
        say "systemd does not run here: start $prefix/bin/$program as you start services"
        return 0
    fi
    systemctl daemon-reload
    # shellcheck disable=SC2086
    if [ -n "$upgrade" ]; then
        systemctl try-restart $again
    else
        systemctl enable $units
        systemctl start $units
    fi
}}

put_all
if [ -n "$dry" ]; then
    [ -z "$service" ] || [ -n "$destdir" ] || say "would make the service's user, and turn on and start: $units"
    exit 0
fi
remove_old
if [ -n "$service" ] && [ -z "$destdir" ]; then make_user; fi
own_files
write_record "$work/new"
complete=yes
if [ -n "$service" ] && [ -z "$destdir" ]; then start; fi
say "version $version is installed below $destdir$prefix"
"""
_UNINSTALL = f"""\
#!/bin/sh
# Takes away what install.sh put there; --help says how.
set -eu
{_COMMON}
usage() {{
    cat <<'END'
Usage: uninstall.sh [OPTION...]

  --prefix DIR    where programs went (by default where this file lies, or /usr/local)
  --destdir DIR   the root that everything was put below
  --purge         remove the configuration, the service's state and its user too
  --dry-run       say what would be done, and do nothing
  --help          print this
END
}}

prefix='' destdir='' purge='' dry=''
while [ $# -gt 0 ]; do
    case $1 in
        --prefix=* | --destdir=*)
            option=${{1%%=*}} value=${{1#*=}}
            shift
            set -- "$option" "$value" "$@"
            continue
            ;;
        --prefix | --destdir)
            [ $# -ge 2 ] || wrong "$1 needs a path"
            path_option "$1" "$2"
            if [ "$1" = --prefix ]; then prefix=$(clean "$2"); else destdir=$(clean "$2"); fi
            shift
            ;;
        --purge) purge=yes ;;
        --dry-run) dry=yes ;;
        --help | -h)
            usage
            exit 0
            ;;
        *) wrong "there is no option '$1'" ;;
    esac
    shift
done
if [ -z "$prefix" ]; then
    prefix=/usr/local
    if [ -f "$here/installed" ] && [ "${{here%/share/"$name"}}" != "$here" ]; then
        prefix=${{here%/share/"$name"}}
        prefix=${{prefix#"$destdir"}}
    fi
fi
record=$prefix/share/$name/installed
[ -f "$destdir$record" ] || fail "nothing of it is installed below $destdir$prefix (there is no $destdir$record)"
if [ -z "$destdir$dry" ] && [ "$(id -u)" -ne 0 ]; then
    fail "only root may uninstall; use sudo"
fi

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cat <"$destdir$record" >"$work/old"
printf '%s\\n' "f $record" >>"$work/old"

remove() {{
    if [ -n "$dry" ]; then say "would remove $destdir$1"; else rm -f -- "$destdir$1"; fi
}}

# A configuration file, and its folders as far as they are then empty.
remove_config() {{
    remove "$1"
    [ -z "$dry" ] || return 0
    folder=$(dirname -- "$1")
    while [ "$folder" != / ] && [ "$folder" != /etc ] && rmdir -- "$destdir$folder" 2>/dev/null; do
        folder=$(dirname -- "$folder")
    done
}}

forget_user() {{
@FORGET@}}

stop() {{
    [ -n "$units" ] && [ -z "$destdir$dry" ] && [ -d /run/systemd/system ] || return 0
    for unit in $units; do
        if [ -n "$(systemctl list-unit-files --no-legend "$unit" 2>/dev/null)" ]; then systemctl disable --now "$unit" || :; fi
    done
}}

stop
while IFS= read -r line <&3; do
    case $line in
        'f '*) remove "${{line#f }}" ;;
    esac
done 3<"$work/old"
if [ -n "$purge" ]; then
    while IFS= read -r line <&3; do
        case $line in
            'c '*) remove_config "${{line#c * * }}" ;;
        esac
    done 3<"$work/old"
    for folder in @STATE@; do
        if [ -n "$dry" ]; then say "would remove $destdir$folder"; else rm -rf -- "$destdir$folder"; fi
    done
    [ -n "$destdir$dry" ] || forget_user
fi
[ -z "$dry" ] || exit 0
sed -n 's/^d //p' "$work/old" | LC_ALL=C sort -r | while IFS= read -r folder; do
    rmdir -- "$destdir$folder" 2>/dev/null || :
done
if [ -n "$units" ] && [ -z "$destdir" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
say "it is removed from $destdir$prefix"
"""
