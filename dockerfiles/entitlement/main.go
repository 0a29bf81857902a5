// The entitlement checker: stands before an engine, and lets it start where its licence allows that.
//
//	entitlement -- PROGRAM ARGUMENT...   check, then become that program (same process, so signals and systemd's sockets reach it)
//	entitlement check                    only check
//	NAME ARGUMENT...                     under a program's own name: check, then become that program
//
// Exit codes: 77 refused; 64 called wrongly; 126 and 127 the program cannot be run or is not there; 70 the checker itself is broken.
// What it was built for is in config.json. It needs no network, writes nothing but the time, and never shows a token.
package main

import (
	"crypto/ed25519"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	exitUsage   = 64
	exitBroken  = 70
	exitRefused = 77
	exitCannot  = 126
	exitMissing = 127
	ownName     = "entitlement"
)

//go:embed config.json
var baked []byte

// Config is what the checker was built for.
type Config struct {
	Site
	Required bool              `json:"required"` // whether the engine starts with an entitlement only
	Keys     [][]byte          `json:"keys"`     // public keys, 32 bytes each
	Limits   map[string]string `json:"limits"`   // a limit's name, and the variable that the engine reads it from
	Caps     map[string]int64  `json:"caps"`     // the limits where there is no entitlement
	Exempt   [][]string        `json:"exempt"`   // what arguments begin with that start no engine
	Command  []string          `json:"command"`  // the engine's command in an image
	Program  struct {
		Paths     []string `json:"paths"`     // what the checker stands for, from its own folder; the first one that is there
		Arguments []string `json:"arguments"` // what comes before the caller's
	} `json:"program"`
	State string `json:"state"` // the engine's own folder for state
}

func warn(format string, values ...any) {
	fmt.Fprintf(os.Stderr, "entitlement: "+format+"\n", values...)
}

func main() {
	os.Exit(run())
}

func run() int {
	var config Config
	if err := json.Unmarshal(baked, &config); err != nil {
		warn("it was built wrongly: %v", err)
		return exitBroken
	}
	name, arguments := filepath.Base(os.Args[0]), os.Args[1:]
	switch {
	case name != ownName:
		words := append([]string{os.Args[0]}, append(append([]string{}, config.Program.Arguments...), arguments...)...)
		return start(&config, standsFor(&config), words, arguments)
	case len(arguments) == 1 && arguments[0] == "check":
		_, refusal := admit(&config)
		return told(refusal)
	case len(arguments) > 1 && arguments[0] == "--":
		words := arguments[1:]
		return start(&config, lookUp(&config, words[0]), words, ownArguments(&config, words))
	}
	warn("call it as `entitlement -- PROGRAM ARGUMENT...` or `entitlement check`")
	return exitUsage
}

// ownArguments are the words behind the engine's own command; nothing where the words are another program's.
func ownArguments(config *Config, words []string) []string {
	if hasPrefix(words, config.Command) {
		return words[len(config.Command):]
	}
	return nil
}

func hasPrefix(words, prefix []string) bool {
	if len(prefix) == 0 || len(words) < len(prefix) {
		return false
	}
	for index, word := range prefix {
		if words[index] != word {
			return false
		}
	}
	return true
}

// start becomes the program, if the engine may start, and returns only where it may not or cannot.
func start(config *Config, program string, words, arguments []string) int {
	settings := map[string]string{}
	exempt := false
	for _, prefix := range config.Exempt {
		exempt = exempt || hasPrefix(arguments, prefix)
	}
	if !exempt {
		admitted, refusal := admit(config)
		if refusal != nil {
			return told(refusal)
		}
		settings = admitted
	}
	err := syscall.Exec(program, words, environment(os.Environ(), settings))
	warn("%s cannot be run: %v", program, err)
	if errors.Is(err, fs.ErrNotExist) {
		return exitMissing
	}
	return exitCannot
}

func told(refusal *Refusal) int {
	if refusal == nil {
		return 0
	}
	text := "entitlement: refused (" + refusal.Reason + "): " + refusal.What + "\n"
	if refusal.Why != "" {
		text += "  why: " + refusal.Why + "\n"
	}
	fmt.Fprint(os.Stderr, text+"  do:  "+refusal.Do+"\n")
	return exitRefused
}

// admit returns the variables that the engine is given, or why it does not start.
func admit(config *Config) (map[string]string, *Refusal) {
	now := time.Now().Unix()
	folder := stateFolder(config)
	config.Mark = readMark(folder)
	defer writeMark(folder, config.Mark, now)
	var token []byte
	if len(config.Keys) > 0 {
		found, refusal := findToken(config)
		if refusal != nil {
			return nil, refusal
		}
		token = found
	}
	if token == nil {
		if config.Required {
			return nil, missing(config)
		}
		return capped(config), nil
	}
	claims, refusal := readToken(token, publicKeys(config))
	if refusal != nil {
		return nil, refusal
	}
	grace, refusal := judge(claims, config.Site, now)
	if refusal != nil {
		if refusal.Reason == "clock" && now+tolerance < config.Mark {
			refusal.Do += "; if it ran ahead before and is right now, remove " + filepath.Join(folder, markFile)
		}
		return nil, refusal
	}
	if grace {
		warn("warning: the entitlement %s ended at %s; the engine starts until %s: ask the vendor for a new one", claims.ID,
			moment(claims.NotAfter), moment(claims.NotAfter+claims.Grace))
	}
	return licensed(config, claims), nil
}

func publicKeys(config *Config) map[string]ed25519.PublicKey {
	keys := map[string]ed25519.PublicKey{}
	for _, key := range config.Keys {
		if len(key) != ed25519.PublicKeySize {
			warn("it was built wrongly: %s is no key", base64.StdEncoding.EncodeToString(key))
			os.Exit(exitBroken)
		}
		keys[keyID(key)] = key
	}
	return keys
}

func capped(config *Config) map[string]string {
	settings := map[string]string{"TIER": config.Tier}
	limit(config, config.Caps, settings)
	return settings
}

func licensed(config *Config, claims *Claims) map[string]string {
	settings := map[string]string{
		"TIER": claims.Tier, "CUSTOMER": claims.Customer, "ID": claims.ID, "EXPIRES": moment(claims.NotAfter),
		"FEATURES": strings.Join(claims.Features, ","),
	}
	limit(config, claims.Limits, settings)
	return settings
}

// limit adds LIMITS, and the engine's own variables under their whole names, marked by "=".
func limit(config *Config, limits map[string]int64, settings map[string]string) {
	all := make([]string, 0, len(limits))
	for _, name := range sortedNames(limits) {
		most := strconv.FormatInt(limits[name], 10)
		all = append(all, name+"="+most)
		variable, known := config.Limits[name]
		if !known {
			continue
		}
		// Whoever runs the engine may ask for less, in a plain number; everything else is set to the limit.
		if own, err := strconv.ParseInt(os.Getenv(variable), 10, 64); err != nil || own < 1 || own > limits[name] {
			settings["="+variable] = most
		}
	}
	settings["LIMITS"] = strings.Join(all, ",")
}

// environment is the caller's without what is meant for the checker, with what the engine is told.
func environment(current []string, settings map[string]string) []string {
	changed := map[string]string{}
	for name, value := range settings {
		if own := strings.TrimPrefix(name, "="); own != name {
			changed[own] = value
		} else {
			changed[tokenVariable+"_"+name] = value
		}
	}
	var result []string
	for _, entry := range current {
		name, _, _ := strings.Cut(entry, "=")
		_, replaced := changed[name]
		if !replaced && name != tokenVariable && !strings.HasPrefix(name, tokenVariable+"_") {
			result = append(result, entry)
		}
	}
	for name, value := range changed {
		result = append(result, name+"="+value)
	}
	return result
}
