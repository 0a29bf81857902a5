// SPDX-License-Identifier: Apache-2.0

// Package api offers the engine's service to callers: over HTTP, the same over a Unix socket, and as JSON-RPC 2.0 over
// standard input and output. It also starts and stops all of them.
package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"nexus.example/engine/internal/config"
	"nexus.example/engine/internal/core"
	"nexus.example/engine/internal/intelligence"
	"nexus.example/engine/internal/optimization"
	"nexus.example/engine/internal/trust"
)

// Build says which program this is.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

// Request is one call of evaluate. Input is a JSON object; Explain asks for a trace of every rule.
type Request struct {
	Policy  string          `json:"policy"`
	Input   json.RawMessage `json:"input"`
	Explain bool            `json:"explain"`
}

// Fault is an error that the caller can do something about. Code is one of "bad-request", "too-large",
// "unknown-policy" and "not-ready".
type Fault struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (f *Fault) Error() string { return f.Message }

// Summary describes one loaded policy.
type Summary struct {
	Name        string        `json:"name"`
	Description string        `json:"description,omitempty"`
	Strategy    core.Strategy `json:"strategy"`
	Rules       int           `json:"rules"`
	Digest      string        `json:"digest"`
}

// Readiness is the body of /readyz. Status is "starting", "ready" or "draining".
type Readiness struct {
	Status   string `json:"status"`
	Policies int    `json:"policies"`
	Digest   string `json:"policies_digest,omitempty"`
	Verified bool   `json:"policies_verified"`
}

// Service answers requests with the policies that it loaded last. It is safe for use by several goroutines.
type Service struct {
	Build  Build
	config *config.Config
	cache  *optimization.Cache
	set    atomic.Pointer[policySet]
	status atomic.Pointer[string]

	mu     sync.Mutex
	counts map[[2]string]uint64 // evaluations by policy and effect
}

type policySet struct {
	byName           map[string]*loadedPolicy
	digest           string
	verifiedManifest bool
}

type loadedPolicy struct {
	*core.Policy
	index  *optimization.Index
	digest string
}

// NewService returns a service with no policies, in the status "starting".
func NewService(c *config.Config, build Build) *Service {
	s := &Service{
		Build: build, config: c, cache: optimization.NewCache(c.Optimization.CacheEntries), counts: map[[2]string]uint64{},
	}
	s.set.Store(&policySet{})
	s.setStatus("starting")
	return s
}

func (s *Service) setStatus(status string) { s.status.Store(&status) }

// Load reads the policy folder and replaces the loaded policies by what is there. When anything in it is wrong, the
// error says all of it and the policies loaded before stay.
func (s *Service) Load() error {
	folder, err := trust.ReadFolder(s.config.Policies.Directory, trust.Mode(s.config.Trust.Mode))
	if err != nil {
		return err
	}
	set := &policySet{map[string]*loadedPolicy{}, folder.Digest, folder.Verified}
	only := s.config.Policies.Only
	var faults []error
	for _, file := range folder.Files {
		p, err := core.ParsePolicy(file.Text)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", file.Name, err))
		} else if _, twice := set.byName[p.Name]; twice {
			faults = append(faults, fmt.Errorf("%s: another file has a policy named %q too", file.Name, p.Name))
		} else if len(only) == 0 || slices.Contains(only, p.Name) {
			set.byName[p.Name] = &loadedPolicy{p, optimization.NewIndex(p.Rules, s.config.Optimization.Index), file.Digest}
		}
	}
	for _, name := range only {
		if set.byName[name] == nil && len(faults) == 0 {
			directory := s.config.Policies.Directory
			faults = append(faults, fmt.Errorf("policies.only names %q, which %s does not hold", name, directory))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	s.set.Store(set)
	return nil
}

// Evaluate decides one request. The error is a *Fault.
func (s *Service) Evaluate(request Request) (core.Decision, error) {
	p := s.set.Load().byName[request.Policy]
	switch {
	case p == nil && s.set.Load().byName == nil:
		return core.Decision{}, &Fault{"not-ready", "the policies are not loaded yet"}
	case p == nil:
		return core.Decision{}, noPolicy(request.Policy)
	case request.Input == nil:
		return core.Decision{}, &Fault{"bad-request", "input: missing; expected a JSON object"}
	case request.Explain && !s.config.Intelligence.Explain:
		return core.Decision{}, &Fault{"bad-request", "explanations are switched off by intelligence.explain"}
	}
	key := optimization.NewKey(p.digest, request.Input)
	decision, known := core.Decision{}, false
	if !request.Explain {
		decision, known = s.cache.Get(key)
	}
	if !known {
		input, err := core.DecodeInput(request.Input)
		if err != nil {
			return core.Decision{}, &Fault{"bad-request", err.Error()}
		}
		decision = p.decide(input)
		if request.Explain {
			decision.Explanation = intelligence.Explain(p.Policy, input)
		} else {
			s.cache.Put(key, decision)
		}
	}
	s.mu.Lock()
	s.counts[[2]string{decision.Policy, string(decision.Effect)}]++
	s.mu.Unlock()
	return decision, nil
}

func noPolicy(name string) *Fault {
	return &Fault{"unknown-policy", fmt.Sprintf("there is no policy named %q; the list of policies has the names", name)}
}

func (p *loadedPolicy) decide(input any) (d core.Decision) {
	matched, _ := p.index.Match(input)
	if p.Strategy == core.Score {
		d = intelligence.Score(p.Policy, matched)
	} else {
		d = core.Decide(p.Policy, matched)
	}
	d.PolicyDigest = p.digest
	return d
}

// Policies describes the loaded policies, in the order of their names.
func (s *Service) Policies() []Summary {
	set := s.set.Load()
	list := make([]Summary, 0, len(set.byName))
	for _, p := range set.byName {
		list = append(list, Summary{p.Name, p.Description, p.Strategy, len(p.Rules), p.digest})
	}
	slices.SortFunc(list, func(a, b Summary) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return list
}

// Readiness tells whether the service is ready, and with which policies.
func (s *Service) Readiness() Readiness {
	set := s.set.Load()
	return Readiness{*s.status.Load(), len(set.byName), set.digest, set.verifiedManifest}
}

// WriteMetrics writes the counters in the text format of Prometheus.
func (s *Service) WriteMetrics(w io.Writer) {
	ready, now := 0, s.Readiness()
	if now.Status == "ready" {
		ready = 1
	}
	hits, misses := s.cache.Counts()
	fmt.Fprint(w, "# TYPE nexus_engine_build_info gauge\n")
	fmt.Fprintf(w, "nexus_engine_build_info{version=%q,commit=%q} 1\n", s.Build.Version, s.Build.Commit)
	fmt.Fprintf(w, "# TYPE nexus_engine_ready gauge\nnexus_engine_ready %d\n", ready)
	fmt.Fprintf(w, "# TYPE nexus_engine_policies gauge\nnexus_engine_policies %d\n", now.Policies)
	fmt.Fprintf(w, "# TYPE nexus_engine_cache_hits_total counter\nnexus_engine_cache_hits_total %d\n", hits)
	fmt.Fprintf(w, "# TYPE nexus_engine_cache_misses_total counter\nnexus_engine_cache_misses_total %d\n", misses)
	fmt.Fprint(w, "# TYPE nexus_engine_evaluations_total counter\n")
	s.mu.Lock()
	counts := maps.Clone(s.counts)
	s.mu.Unlock()
	var lines []string
	for key, n := range counts {
		lines = append(lines, fmt.Sprintf("nexus_engine_evaluations_total{policy=%q,effect=%q} %d\n", key[0], key[1], n))
	}
	slices.Sort(lines)
	for _, line := range lines {
		fmt.Fprint(w, line)
	}
}

// decodeStrict reads one JSON value with no unknown members and nothing after it.
func decodeStrict(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("more text follows the JSON value")
	}
	return nil
}
