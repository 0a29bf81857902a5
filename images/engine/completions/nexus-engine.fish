# SPDX-License-Identifier: Apache-2.0
# Completion of nexus-engine for fish.

set -l admin check-config policies evaluate health schema

complete -c nexus-engine -f
complete -c nexus-engine -n __fish_use_subcommand -a serve -d 'Serve the listeners of the configuration'
complete -c nexus-engine -n __fish_use_subcommand -a stdio -d 'Serve JSON-RPC on standard input and output'
complete -c nexus-engine -n __fish_use_subcommand -a admin -d 'Administer the engine'
complete -c nexus-engine -n "__fish_seen_subcommand_from admin; and not __fish_seen_subcommand_from $admin" -a "$admin"

complete -c nexus-engine -l config -r -F -d 'Configuration file'
complete -c nexus-engine -l policies -x -a '(__fish_complete_directories)' -d 'Policy folder'
complete -c nexus-engine -l http -x -d 'Address of the HTTP listener'
complete -c nexus-engine -l socket -r -F -d 'Path of the Unix socket'
complete -c nexus-engine -l set -x -d 'Any setting, as key=value'
complete -c nexus-engine -l version -d 'Print the version'
complete -c nexus-engine -l help -d 'Print the usage'
complete -c nexus-engine -n '__fish_seen_subcommand_from policies' -l json -d 'Print the data'
complete -c nexus-engine -n '__fish_seen_subcommand_from health' -l live -d 'Ask whether it is alive'
complete -c nexus-engine -n '__fish_seen_subcommand_from evaluate' -l policy -x -d 'Name of the policy'
complete -c nexus-engine -n '__fish_seen_subcommand_from evaluate' -l input -r -F -d 'File of the input'
complete -c nexus-engine -n '__fish_seen_subcommand_from evaluate' -l explain -d 'Trace every rule'
complete -c nexus-engine -n '__fish_seen_subcommand_from evaluate' -l expect -x -a 'allow review deny' -d 'Effect to expect'
