// SPDX-License-Identifier: Apache-2.0

// Package config holds the engine's settings. One list of settings says how each is read from the file, the
// environment and the command line, what it may be, and how the JSON schema describes it.
package config

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"nexus.example/engine/internal/toml"
)

// Config is a complete, checked configuration.
type Config struct {
	API struct {
		HTTPAddress  string
		SocketPath   string
		SocketMode   string
		Stdio        bool
		DrainSeconds int
		MaxBodyBytes int
	}
	Policies struct {
		Directory string
		Only      []string
	}
	Trust        struct{ Mode string }
	Optimization struct {
		Index        bool
		CacheEntries int
	}
	Intelligence struct{ Explain bool }
	Log          struct{ Level string }

	origins map[string]string
}

// setting describes one key. target points into a Config and holds the default until something overrides it; its
// type is the setting's type.
type setting struct {
	key, doc  string
	target    any
	choices   []string
	pattern   *regexp.Regexp
	low, high int
}

var (
	addressPattern = regexp.MustCompile(`^$|^(\[[0-9a-fA-F:.]+\]|[^:\[\]]*):[0-9]{1,5}$`)
	modePattern    = regexp.MustCompile(`^0?[0-7]{3}$`)
)

func (c *Config) settings() []setting {
	return []setting{
		{key: "api.http_address", target: &c.API.HTTPAddress, pattern: addressPattern,
			doc: "Address and port of the HTTP listener; empty for none."},
		{key: "api.socket_path", target: &c.API.SocketPath,
			doc: "Path of the Unix socket that serves the same HTTP interface; empty for none."},
		{key: "api.socket_mode", target: &c.API.SocketMode, pattern: modePattern,
			doc: "File mode of the Unix socket, in octal."},
		{key: "api.stdio", target: &c.API.Stdio,
			doc: "Also serve JSON-RPC 2.0 on standard input and output, one message a line."},
		{key: "api.drain_seconds", target: &c.API.DrainSeconds, high: 600,
			doc: "Seconds that requests under way may take to end after SIGTERM."},
		{key: "api.max_body_bytes", target: &c.API.MaxBodyBytes, low: 1024, high: 64 << 20,
			doc: "Largest request, in bytes."},
		{key: "policies.directory", target: &c.Policies.Directory,
			doc: "Folder of the JSON policies; empty for the platform's own."},
		{key: "policies.only", target: &c.Policies.Only,
			doc: "Names of the policies to load; empty for all of them."},
		{key: "trust.mode", target: &c.Trust.Mode, choices: []string{"off", "if-present", "require"},
			doc: "Whether the policies must agree with the SHA256SUMS file in their folder."},
		{key: "optimization.index", target: &c.Optimization.Index,
			doc: "Test only the rules that an input's own values can satisfy."},
		{key: "optimization.cache_entries", target: &c.Optimization.CacheEntries, high: 1 << 20,
			doc: "Number of decisions kept for inputs seen before; 0 for none."},
		{key: "intelligence.explain", target: &c.Intelligence.Explain,
			doc: "Answer requests that ask for an explanation with one; it repeats values of the input."},
		{key: "log.level", target: &c.Log.Level, choices: []string{"debug", "info", "warn", "error"},
			doc: "Least important log entry that is written."},
	}
}

// Default returns the configuration of an engine that is told nothing.
func Default() *Config {
	c := &Config{origins: map[string]string{}}
	c.API.HTTPAddress = "0.0.0.0:8080"
	c.API.SocketMode = "0660"
	c.API.DrainSeconds = 10
	c.API.MaxBodyBytes = 1 << 20
	c.Policies.Only = []string{}
	c.Trust.Mode = "if-present"
	c.Optimization.Index = true
	c.Optimization.CacheEntries = 4096
	c.Intelligence.Explain = true
	c.Log.Level = "info"
	return c
}

// Sources says where a configuration comes from; later ones win: File, Environ ("NAME=value"), Sets ("key=value").
// Handed is whether systemd brings sockets, so that the configuration need not name a listener.
type Sources struct {
	File    string
	Environ []string
	Sets    []string
	Handed  bool
}

// Load reads the sources over the defaults. The error joins every fault found in them.
func Load(from Sources) (*Config, error) {
	c := Default()
	var faults []error
	if from.File != "" {
		faults = append(faults, c.readFile(from.File)...)
	}
	faults = append(faults, c.readEnviron(from.Environ)...)
	for _, pair := range from.Sets {
		key, value, found := strings.Cut(pair, "=")
		if !found {
			faults = append(faults, fmt.Errorf("--set %s: expected key=value, such as log.level=debug", pair))
		} else if err := c.setText(key, value, "command line"); err != nil {
			faults = append(faults, fmt.Errorf("--set %s: %w", pair, err))
		}
	}
	if c.Policies.Directory == "" {
		c.Policies.Directory = PlatformPolicies()
	}
	nothing := c.API.HTTPAddress == "" && c.API.SocketPath == "" && !c.API.Stdio && !from.Handed
	if len(faults) == 0 && nothing {
		faults = append(faults, errors.New("nothing to serve: set api.http_address, api.socket_path or api.stdio"))
	}
	return c, errors.Join(faults...)
}

func (c *Config) readFile(path string) []error {
	text, err := os.ReadFile(path)
	if err != nil {
		return []error{fmt.Errorf("cannot read the configuration: %w", err)}
	}
	entries, err := toml.Parse(text)
	if err != nil {
		return []error{fmt.Errorf("%s: %w", path, err)}
	}
	var faults []error
	for _, entry := range entries {
		at := entry.ValueAt
		if _, err := c.find(entry.Key); err != nil {
			at = entry.KeyAt
		}
		if err := c.set(entry.Key, entry.Value, fmt.Sprintf("%s:%d", path, at.Line)); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", path, &toml.Error{Position: at, Message: err.Error()}))
		}
	}
	return faults
}

// readEnviron takes only the names that answer a setting. Kubernetes puts variables such as
// NEXUS_ENGINE_SERVICE_HOST into every pod beside a Service of that name, so an unknown name is no fault.
func (c *Config) readEnviron(environ []string) []error {
	var faults []error
	for _, s := range c.settings() {
		name := EnvironName(s.key)
		for _, pair := range environ {
			if value, found := strings.CutPrefix(pair, name+"="); found {
				if err := c.setText(s.key, value, name); err != nil {
					faults = append(faults, fmt.Errorf("environment variable %s: %w", name, err))
				}
			}
		}
	}
	return faults
}

// EnvironName returns the environment variable that overrides a key: NEXUS_API_HTTP_ADDRESS for api.http_address.
func EnvironName(key string) string {
	return "NEXUS_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func (c *Config) find(key string) (setting, error) {
	all := c.settings()
	if i := slices.IndexFunc(all, func(s setting) bool { return s.key == key }); i >= 0 {
		return all[i], nil
	}
	nearest := slices.MinFunc(all, func(a, b setting) int { return distance(key, a.key) - distance(key, b.key) })
	if distance(key, nearest.key) <= 4 {
		return setting{}, fmt.Errorf("unknown key %q; did you mean %q?", key, nearest.key)
	}
	return setting{}, fmt.Errorf("unknown key %q; `nexus-engine admin schema` lists them", key)
}

// setText converts the text of a variable or an option to the setting's type. A list is separated by commas.
func (c *Config) setText(key, text, origin string) error {
	s, err := c.find(key)
	if err != nil {
		return err
	}
	var value any = text
	switch s.target.(type) {
	case *bool:
		if text == "true" || text == "false" {
			value = text == "true"
		}
	case *int:
		if number, err := strconv.Atoi(text); err == nil {
			value = number
		}
	case *[]string:
		value = strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
	}
	return c.set(key, value, origin)
}

func (c *Config) set(key string, value any, origin string) error {
	s, err := c.find(key)
	if err != nil {
		return err
	}
	fits := false
	switch target := s.target.(type) {
	case *string:
		if v, ok := value.(string); ok && s.allows(v) {
			*target, fits = v, true
		}
	case *int:
		if v, ok := value.(int); ok && s.low <= v && v <= s.high {
			*target, fits = v, true
		}
	case *bool:
		*target, fits = value.(bool)
	case *[]string:
		*target, fits = value.([]string)
	}
	if !fits {
		return fmt.Errorf("%s is %s; expected %s", key, show(value), s.expected())
	}
	c.origins[key] = origin
	return nil
}

func (s setting) allows(text string) bool {
	return (s.choices == nil || slices.Contains(s.choices, text)) && (s.pattern == nil || s.pattern.MatchString(text))
}

func (s setting) expected() string {
	switch s.target.(type) {
	case *int:
		return fmt.Sprintf("a whole number from %d to %d", s.low, s.high)
	case *bool:
		return "true or false"
	case *[]string:
		return "an array of strings"
	}
	switch {
	case s.choices != nil:
		return `one of "` + strings.Join(s.choices, `", "`) + `"`
	case s.pattern == addressPattern:
		return `a string like "127.0.0.1:8080" or "[::1]:8080"`
	case s.pattern == modePattern:
		return `an octal mode in a string, like "0660"`
	}
	return "a string"
}

func show(value any) string {
	switch v := value.(type) {
	case string:
		return strconv.Quote(v)
	case []string:
		return fmt.Sprintf("%q", v)
	}
	return fmt.Sprint(value)
}

// Line is one setting in effect, with the place that decided it.
type Line struct {
	Key, Value, Origin string
}

// Lines lists every setting in effect.
func (c *Config) Lines() []Line {
	var lines []Line
	for _, s := range c.settings() {
		origin := c.origins[s.key]
		if origin == "" {
			origin = "default"
		}
		lines = append(lines, Line{s.key, show(dereference(s.target)), origin})
	}
	return lines
}

func dereference(target any) any {
	switch t := target.(type) {
	case *string:
		return *t
	case *int:
		return *t
	case *bool:
		return *t
	case *[]string:
		return *t
	}
	return nil
}

// distance counts the single-character edits between two keys (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal, row[j+1] = row[j+1], min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
