# SPDX-License-Identifier: Apache-2.0
# Completion of nexus-engine for bash.

_nexus_engine() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    case $previous in
        --config|--input|--socket) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
        --policies) mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
        --expect) mapfile -t COMPREPLY < <(compgen -W "allow review deny" -- "$current"); return ;;
        --http|--set|--policy) return ;;
        admin)
            mapfile -t COMPREPLY < <(compgen -W "check-config policies evaluate health schema" -- "$current")
            return ;;
    esac
    local options="--config --policies --http --socket --set --version --help"
    case ${COMP_WORDS[2]-} in
        evaluate) options+=" --policy --input --explain --expect" ;;
        policies) options+=" --json" ;;
        health) options+=" --live" ;;
    esac
    if [[ $COMP_CWORD -eq 1 && $current != -* ]]; then
        options="serve stdio admin"
    fi
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
}
complete -F _nexus_engine nexus-engine
