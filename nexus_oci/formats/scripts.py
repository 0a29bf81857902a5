"""The scripts that a package manager runs: user and directories made, units turned on, started, restarted, stopped, forgotten.

Scripts of the definition are joined so: its before-* run ahead of the generated part, its after-* behind it. Thus whatever it
does before an installation finds the machine as it was, and before a removal the service still runs; after an installation its
user, directories and service are there, and after a removal they are stopped. They run on upgrades too, with the manager's
arguments, which tell the cases apart.

Nothing here fails on a machine without systemd: there a service is not started, and users and directories are made by hand.

Sources: Debian Policy 6 and dh_installsystemd(1); systemd's macros.systemd.in (for rpm); apk-tools' package scripts; pacman's
alpm-install-scriptlet(5); opkg's package scripts; nfpm's configuration reference for the keys.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from nexus_oci.formats.package import LinuxPackage, Phase
from nexus_oci.formats.units import directories, socket_group, sysusers, tmpfiles, unit_names, user_comment
from nexus_oci.formats.user_scripts import user_script

_BEFORE: Final[Mapping[str, Phase]] = {
    "preinstall": "before-install", "preupgrade": "before-install", "preremove": "before-remove",
}  # fmt: skip
_AFTER: Final[Mapping[str, Phase]] = {
    "postinstall": "after-install", "postupgrade": "after-install", "postremove": "after-remove",
}  # fmt: skip


def maintainer_scripts(package: LinuxPackage, package_format: str) -> Mapping[str, bytes]:
    """The scripts of one format by nfpm's key: `preinstall`, `postinstall`, `preremove` and `postremove` of `scripts`, and
    `preupgrade` and `postupgrade` of `apk.scripts` and `archlinux.scripts`. What has nothing to do is not there.

    Raises `DefinitionError` for a script of the definition that cannot be run.
    """
    generated: Callable[[LinuxPackage], Mapping[str, Sequence[str]]] = {
        "deb": _deb, "rpm": _rpm, "apk": _by_case, "archlinux": _archlinux, "ipk": _ipk,
    }[package_format]  # fmt: skip
    parts = generated(package)
    keys = ["preinstall", "postinstall", "preremove", "postremove"]
    if package_format in ("apk", "archlinux"):
        keys += ["preupgrade", "postupgrade"]
    found = {}
    for key in keys:
        texts = list(parts.get(key, ()))
        before, after = _BEFORE.get(key), _AFTER.get(key)
        if before and before in package.scripts:
            texts.insert(0, user_script(before, package.scripts[before]))
        if after and after in package.scripts:
            texts.append(user_script(after, package.scripts[after]))
        if texts:
            found[key] = _whole(texts, package, package_format)
    return found


def _whole(texts: Sequence[str], package: LinuxPackage, package_format: str) -> bytes:
    """nfpm makes the body of a function of an Arch script, which must not end the shell around it."""
    body = "\n".join(texts)
    if package_format == "archlinux":
        return f"(\nset -e\n\n{body}\n)\n".encode()
    guard = _NOT_OFFLINE if package_format == "ipk" else ""
    return f"#!/bin/sh\n# {package.name}: made by nexus-oci\nset -e\n\n{guard}{body}\nexit 0\n".encode()


def _filled(text: str, package: LinuxPackage) -> str:
    units = unit_names(package)
    values = {
        "NAME": package.name, "USER": package.user, "COMMENT": user_comment(package), "UNITS": " ".join(units),
        # A service goes first where both are restarted: systemctl then waits for it too.
        "AGAIN": " ".join(reversed(units)),
        "GROUPS": " ".join(filter(None, [package.user, socket_group(package)])), "SYSUSERS": sysusers(package).decode(),
        "MAKE": "\n".join(
            f'    [ -d "{path}" ] || install -d -m {mode:04o} -o {_owner(package)} -g {_owner(package)} "{path}"'
            for path, mode in directories(package).items()
        ),
        "OWNED": " ".join(f'"{path}"' for path in directories(package)),
    }  # fmt: skip
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def _owner(package: LinuxPackage) -> str:
    return package.service.user if package.service else "root"


def make_user(package: LinuxPackage) -> list[str]:
    """Shell lines that make the package's user and groups, by systemd-sysusers or by hand; none where it has none."""
    if not sysusers(package):
        return []
    by_hand = _USERADD if package.user else ""
    busybox = _ADDUSER if package.user else ""
    return [_filled(_PEOPLE.replace("@USERADD@", by_hand).replace("@ADDUSER@", busybox), package)]


def make_directories(package: LinuxPackage) -> list[str]:
    """Shell lines that make the directories that the service owns; none where it has none."""
    return [_filled(_FOLDERS, package)] if tmpfiles(package) else []


def remove_user(package: LinuxPackage) -> list[str]:
    """Shell lines that remove the package's user, where it is the one that the package made."""
    return [_filled(_REMOVE_USER, package)] if package.user else []


def _when(package: LinuxPackage, *texts: str) -> list[str]:
    """Texts that only a package with units needs."""
    return [_filled(text, package) for text in texts] if unit_names(package) else []


def _owns_files(package: LinuxPackage) -> bool:
    return any({file.owner, file.group} != {"root"} for file in package.files)


def _deb(package: LinuxPackage) -> Mapping[str, Sequence[str]]:
    """As debhelper writes them. dpkg looks owners up while it unpacks, so their user is made before where one is named."""
    user = [_filled(_DEB_PEOPLE.replace("@USERADD@", _USERADD if package.user else ""), package)] if sysusers(package) else []
    purge = [_filled(_PURGE_FOLDERS, package)] if tmpfiles(package) else []
    purge += [_case('"$1" = purge', _filled(_DEB_REMOVE_USER, package))] if package.user else []
    setup = [*user, *make_directories(package)]
    return {
        "preinstall": user if _owns_files(package) else [],
        "postinstall": [*(_case('"$1" = configure', part) for part in setup), *_when(package, _DEB_START)],
        "preremove": _when(package, _DEB_STOP),
        "postremove": [*_when(package, _DEB_FORGET), *purge],
    }


def _rpm(package: LinuxPackage) -> Mapping[str, Sequence[str]]:
    """As systemd's macros expand: %sysusers_create_package in %pre, %tmpfiles_create and %systemd_post in %post,
    %systemd_preun in %preun, %systemd_postun_with_restart in %postun. Those turn a service on and do not start it.
    """
    return {
        "preinstall": make_user(package),
        "postinstall": [*make_directories(package), *_when(package, _RPM_POST)],
        "preremove": _when(package, _RPM_PREUN),
        "postremove": _when(package, _RPM_POSTUN),
    }


def _by_case(package: LinuxPackage) -> Mapping[str, Sequence[str]]:
    """apk and pacman have a script for each case."""
    return {
        "preinstall": make_user(package),
        "preupgrade": make_user(package),
        "postinstall": [*make_directories(package), *_when(package, _TURN_ON)],
        "postupgrade": [*make_directories(package), *_when(package, _TRY_RESTART)],
        "preremove": _when(package, _TURN_OFF),
        "postremove": _when(package, _RELOAD),
    }


def _archlinux(package: LinuxPackage) -> Mapping[str, Sequence[str]]:
    """As for apk. nfpm writes root as the owner of every file of an Arch package, so owners are set once files are in place."""
    parts = _by_case(package)
    owners = [
        f"chown -hR {file.owner}:{file.group} {shlex.quote(file.path)}\n"
        for file in package.files
        if {file.owner, file.group} != {"root"} and file.kind not in ("directory", "ghost")
    ]
    return {**parts, **{key: [*owners, *parts[key]] for key in ("postinstall", "postupgrade")}}


def _ipk(package: LinuxPackage) -> Mapping[str, Sequence[str]]:
    """opkg tells preinst alone whether it upgrades, so a mark in /run tells postinst."""
    return {
        "preinstall": [*make_user(package), *_when(package, _IPK_MARK)],
        "postinstall": [*make_directories(package), *_when(package, _IPK_TURN_ON)],
        "preremove": [_case('"$1" != upgrade', part) for part in _when(package, _TURN_OFF)],
        "postremove": _when(package, _RELOAD),
    }


def _case(condition: str, text: str) -> str:
    return f"if [ {condition} ]; then\n{_indented(text)}fi\n"


def _indented(text: str) -> str:
    """Four blanks before each line but those of a here document, which are data."""
    lines, inside = [], False
    for line in text.splitlines():
        inside = inside and line != _END
        lines.append(line if inside or line == _END else f"    {line}")
        inside = inside or line.endswith(f"<<'{_END}'")
    return "\n".join(lines) + "\n"


_END = "END_OF_SYSUSERS"
_NOT_OFFLINE = """\
# An image that is put together on another machine is set up when it first starts.
[ -z "${IPKG_INSTROOT:-}" ] || exit 0

"""
_PEOPLE = f"""\
if command -v systemd-sysusers >/dev/null 2>&1; then
    systemd-sysusers --replace=/usr/lib/sysusers.d/@NAME@.conf - <<'{_END}'
@SYSUSERS@{_END}
elif command -v useradd >/dev/null 2>&1; then
    for group in @GROUPS@; do
        getent group "$group" >/dev/null 2>&1 || groupadd --system "$group"
    done
@USERADD@elif command -v addgroup >/dev/null 2>&1; then
    for group in @GROUPS@; do
        grep -q "^$group:" /etc/group || addgroup -S "$group"
    done
@ADDUSER@else
    echo "@NAME@: cannot make a system user: there is no systemd-sysusers, no useradd and no addgroup" >&2
    exit 1
fi
"""
_DEB_PEOPLE = f"""\
if command -v systemd-sysusers >/dev/null 2>&1; then
    systemd-sysusers --replace=/usr/lib/sysusers.d/@NAME@.conf - <<'{_END}'
@SYSUSERS@{_END}
else
    for group in @GROUPS@; do
        getent group "$group" >/dev/null 2>&1 || groupadd --system "$group"
    done
@USERADD@fi
"""
"""A deb depends on passwd, which has useradd."""
_USERADD = """\
    getent passwd @USER@ >/dev/null 2>&1 || useradd --system --gid @USER@ --comment "@COMMENT@" --home-dir /nonexistent \\
        --no-create-home --shell /usr/sbin/nologin @USER@
"""
_ADDUSER = """\
    grep -q "^@USER@:" /etc/passwd \\
        || adduser -S -D -H -h /nonexistent -s /sbin/nologin -G @USER@ -g "@COMMENT@" @USER@
"""
_FOLDERS = """\
if command -v systemd-tmpfiles >/dev/null 2>&1; then
    systemd-tmpfiles --create @NAME@.conf >/dev/null || true
else
@MAKE@
fi
"""
_DEB_START = """\
if [ "$1" = configure ] || [ "$1" = abort-upgrade ] || [ "$1" = abort-deconfigure ] || [ "$1" = abort-remove ]; then
    if command -v deb-systemd-helper >/dev/null 2>&1; then
        for unit in @UNITS@; do
            deb-systemd-helper unmask "$unit" >/dev/null || true
            if deb-systemd-helper --quiet was-enabled "$unit"; then
                deb-systemd-helper enable "$unit" >/dev/null || true
            else
                deb-systemd-helper update-state "$unit" >/dev/null || true
            fi
        done
    fi
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || true
        if [ -n "$2" ]; then action=restart; else action=start; fi
        deb-systemd-invoke "$action" @AGAIN@ >/dev/null || true
    fi
fi
"""
_DEB_STOP = """\
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop @UNITS@ >/dev/null || true
fi
"""
_DEB_FORGET = """\
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
fi
if command -v deb-systemd-helper >/dev/null 2>&1; then
    for unit in @UNITS@; do
        if [ "$1" = remove ]; then
            deb-systemd-helper mask "$unit" >/dev/null || true
        elif [ "$1" = purge ]; then
            deb-systemd-helper purge "$unit" >/dev/null || true
            deb-systemd-helper unmask "$unit" >/dev/null || true
        fi
    done
fi
"""
_PURGE_FOLDERS = """\
if [ "$1" = purge ]; then
    rm -rf @OWNED@
fi
"""
_REMOVE_USER = """\
# Only a user that this package made carries its comment; one that was there before it stays.
if [ "$(grep '^@USER@:' /etc/passwd | cut -d: -f5)" = "@COMMENT@" ]; then
    if command -v userdel >/dev/null 2>&1; then
        userdel @USER@ >/dev/null 2>&1 || true
    else
        deluser @USER@ >/dev/null 2>&1 || true
    fi
    if grep -q '^@USER@:' /etc/group; then
        if command -v groupdel >/dev/null 2>&1; then
            groupdel @USER@ >/dev/null 2>&1 || true
        else
            delgroup @USER@ >/dev/null 2>&1 || true
        fi
    fi
fi
"""
_DEB_REMOVE_USER = """\
# Only a user that this package made carries its comment; one that was there before it stays.
if [ "$(getent passwd @USER@ | cut -d: -f5)" = "@COMMENT@" ]; then
    userdel @USER@ >/dev/null 2>&1 || true
    if getent group @USER@ >/dev/null 2>&1; then groupdel @USER@ >/dev/null 2>&1 || true; fi
fi
"""
_RELOAD = """\
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
fi
"""
_HELPER = "/usr/lib/systemd/systemd-update-helper"
_RPM_POST = f"""\
if [ "$1" -eq 1 ]; then
    # Initial installation
    if [ -x {_HELPER} ]; then
        {_HELPER} install-system-units @UNITS@ || :
    elif command -v systemctl >/dev/null 2>&1; then
        systemctl --no-reload preset @UNITS@ >/dev/null 2>&1 || :
    fi
fi
if [ ! -x {_HELPER} ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
fi
"""
_RPM_PREUN = f"""\
if [ "$1" -eq 0 ]; then
    # Package removal, not upgrade
    if [ -x {_HELPER} ]; then
        {_HELPER} remove-system-units @UNITS@ || :
    elif [ -d /run/systemd/system ]; then
        systemctl --no-reload disable --now @UNITS@ >/dev/null 2>&1 || :
    elif command -v systemctl >/dev/null 2>&1; then
        systemctl --no-reload disable @UNITS@ >/dev/null 2>&1 || :
    fi
fi
"""
_RPM_POSTUN = f"""\
if [ "$1" -ge 1 ] && [ -x {_HELPER} ]; then
    # Package upgrade, not uninstall
    {_HELPER} mark-restart-system-units @UNITS@ || :
elif [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
    if [ "$1" -ge 1 ]; then
        systemctl try-restart @AGAIN@ >/dev/null 2>&1 || :
    fi
fi
"""
_TURN_ON = """\
if command -v systemctl >/dev/null 2>&1; then
    systemctl --no-reload preset @UNITS@ >/dev/null 2>&1 || :
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
fi
"""
_TRY_RESTART = """\
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
    systemctl try-restart @AGAIN@ >/dev/null 2>&1 || :
fi
"""
_TURN_OFF = """\
if [ -d /run/systemd/system ]; then
    systemctl --no-reload disable --now @UNITS@ >/dev/null 2>&1 || :
elif command -v systemctl >/dev/null 2>&1; then
    systemctl --no-reload disable @UNITS@ >/dev/null 2>&1 || :
fi
"""
_IPK_MARK = """\
if [ "$1" = upgrade ]; then
    : > /run/@NAME@.upgrade
fi
"""
_IPK_TURN_ON = f"""\
if [ -e /run/@NAME@.upgrade ]; then
    rm -f /run/@NAME@.upgrade
{_indented(_TRY_RESTART)}else
{_indented(_TURN_ON)}fi
"""
