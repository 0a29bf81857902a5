// SPDX-License-Identifier: Apache-2.0

// Command nexus-engine evaluates JSON decision rules and serves the decisions. See nexus-engine(8).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"nexus.example/engine/internal/api"
	"nexus.example/engine/internal/config"
)

// Set by the linker: -ldflags "-X main.version=1.0.0 -X main.commit=0123abc".
var (
	version = "0.0.0-dev"
	commit  = "unknown"
)

// The exit codes.
const (
	exitDone       = 0
	exitFailed     = 1
	exitUsage      = 2 // wrong usage or configuration
	exitUnexpected = 3 // admin evaluate --expect met another effect
)

const usage = `Usage: nexus-engine [COMMAND] [OPTION...]

Commands
  serve                serve the listeners of the configuration (the default)
  stdio                serve JSON-RPC 2.0 on standard input and output, and nothing else
  admin check-config   check the configuration and the policies; print the settings in effect
  admin policies       list the policies of the policy folder; --json for the data
  admin evaluate       decide one input offline: --policy NAME --input FILE [--explain] [--expect EFFECT]
  admin health         ask the running engine whether it is ready; --live: whether it is alive
  admin schema         print the JSON schema of the configuration file

Options of every command
  --config FILE        configuration file; else $NEXUS_CONFIG, else the platform's own where it is there
  --policies DIR       policy folder (policies.directory)
  --http ADDRESS       address of the HTTP listener (api.http_address); empty for none
  --socket PATH        path of the Unix socket (api.socket_path)
  --set KEY=VALUE      any setting; may be given more than once
  --version, --help
`

// environment is what a run of the program touches outside itself.
type environment struct {
	environ []string
	in      io.Reader
	out     io.Writer
	err     io.Writer
}

func main() {
	os.Exit(run(os.Args[1:], environment{os.Environ(), os.Stdin, os.Stdout, os.Stderr}))
}

func run(args []string, env environment) int {
	words := 0
	for words < len(args) && words < 2 && !strings.HasPrefix(args[words], "-") {
		words++
	}
	command := strings.Join(args[:words], " ")
	o := newInvocation(command, args[words:], env)
	switch {
	case o.help || command == "help":
		fmt.Fprint(env.out, usage)
		return exitDone
	case o.version || command == "version":
		fmt.Fprintf(env.out, "nexus-engine %s (%s) %s/%s\n", version, commit, runtime.GOOS, runtime.GOARCH)
		return exitDone
	case o.fault != nil:
		return report(env, exitUsage, o.fault)
	}
	commands := map[string]func(*invocation, environment) int{
		"": serve, "serve": serve, "stdio": serve, "admin check-config": checkConfig, "admin policies": listPolicies,
		"admin evaluate": evaluate, "admin health": health, "admin schema": printSchema,
	}
	if do, known := commands[command]; known {
		return do(o, env)
	}
	return report(env, exitUsage, fmt.Errorf("there is no command %q; nexus-engine --help lists them", command))
}

// report prints an error, a line for each that it joins.
func report(env environment, code int, err error) int {
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Fprintln(env.err, "nexus-engine: "+line)
	}
	return code
}

// invocation holds the parsed options and the configuration that they lead to.
type invocation struct {
	config                             *config.Config
	help, version, json, live, explain bool
	policy, input, expect              string
	fault                              error
	handed                             []net.Listener
}

type repeated []string

func (r *repeated) String() string         { return strings.Join(*r, " ") }
func (r *repeated) Set(value string) error { *r = append(*r, value); return nil }

func newInvocation(command string, args []string, env environment) *invocation {
	o := &invocation{}
	flags := flag.NewFlagSet("nexus-engine", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	from := config.Sources{Environ: env.environ}
	flags.BoolVar(&o.help, "help", false, "")
	flags.BoolVar(&o.help, "h", false, "")
	flags.BoolVar(&o.version, "version", false, "")
	flags.BoolVar(&o.json, "json", false, "")
	flags.BoolVar(&o.live, "live", false, "")
	flags.BoolVar(&o.explain, "explain", false, "")
	flags.StringVar(&o.policy, "policy", "", "")
	flags.StringVar(&o.input, "input", "-", "")
	flags.StringVar(&o.expect, "expect", "", "")
	flags.StringVar(&from.File, "config", "", "")
	flags.Var((*repeated)(&from.Sets), "set", "")
	short := map[string]string{"policies": "policies.directory", "http": "api.http_address", "socket": "api.socket_path"}
	for name, key := range short {
		flags.Func(name, "", func(value string) error {
			from.Sets = append(from.Sets, key+"="+value)
			return nil
		})
	}
	if err := flags.Parse(args); err != nil {
		o.fault = fmt.Errorf("%w; nexus-engine --help lists the options", err)
	} else if flags.NArg() > 0 {
		o.fault = fmt.Errorf("unexpected argument %q; nexus-engine --help shows the usage", flags.Arg(0))
	}
	if o.fault != nil || o.help || o.version {
		return o
	}
	for _, pair := range env.environ {
		if value, found := strings.CutPrefix(pair, "NEXUS_CONFIG="); found && from.File == "" {
			from.File = value
		}
	}
	if _, err := os.Stat(config.PlatformFile()); err == nil && from.File == "" {
		from.File = config.PlatformFile()
	}
	switch command {
	case "stdio":
		from.Sets = append(from.Sets, "api.stdio=true", "api.http_address=", "api.socket_path=")
	case "", "serve":
		if o.handed, o.fault = api.Handed(env.environ); o.fault != nil {
			return o
		}
		from.Handed = len(o.handed) > 0
	}
	o.config, o.fault = config.Load(from)
	return o
}

func serve(o *invocation, env environment) int {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.config.Log.Level)); err != nil {
		return report(env, exitUsage, err)
	}
	log := slog.New(slog.NewJSONHandler(env.err, &slog.HandlerOptions{Level: level}))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	server := &api.Server{
		Service: newService(o.config), Log: log, Handed: o.handed, In: env.in, Out: env.out, Reload: reload,
		Notify: notifySystemd,
	}
	log.Info("starting", "version", version, "commit", commit)
	if err := server.Run(ctx); err != nil {
		log.Error("failed", "error", err.Error())
		return exitFailed
	}
	log.Info("stopped")
	return exitDone
}

func newService(c *config.Config) *api.Service {
	return api.NewService(c, api.Build{Version: version, Commit: commit, OS: runtime.GOOS, Arch: runtime.GOARCH})
}

// notifySystemd follows sd_notify(3). Nothing happens where systemd does not ask for it.
func notifySystemd(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	connection, err := net.Dial("unixgram", path)
	if err == nil {
		_, err = connection.Write([]byte(state))
		err = errors.Join(err, connection.Close())
	}
	if err != nil {
		slog.Warn("systemd was not told", "state", state, "error", err.Error())
	}
}
