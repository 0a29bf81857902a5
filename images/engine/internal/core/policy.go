// SPDX-License-Identifier: Apache-2.0

// Package core holds the decision model: policies, their rules and conditions, how they are read from JSON, when a
// rule matches an input, and how matching rules become a decision.
package core

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Effect is what a decision asks for. From the mildest to the strictest: allow, review, deny.
type Effect string

// The effects.
const (
	Allow  Effect = "allow"
	Review Effect = "review"
	Deny   Effect = "deny"
)

var effects = []Effect{Allow, Review, Deny}

// Strategy says how the rules that match become one effect.
type Strategy string

// The strategies. FirstMatch takes the matching rule of the highest priority; AllMatch takes the strictest effect of
// all that match; Score adds up their weights and compares the sum with the thresholds.
const (
	FirstMatch Strategy = "first-match"
	AllMatch   Strategy = "all-match"
	Score      Strategy = "score"
)

// Policy is one JSON file of the policy folder. After ParsePolicy its rules stand in the order of falling priority,
// and rules of one priority in the order of the file.
type Policy struct {
	Name        string      `json:"name"`
	Description string      `json:"description,omitempty"`
	Strategy    Strategy    `json:"strategy"`
	Default     Outcome     `json:"default"`
	Thresholds  []Threshold `json:"thresholds,omitempty"`
	Rules       []*Rule     `json:"rules"`
}

// Outcome is an effect and the reason given for it.
type Outcome struct {
	Effect Effect `json:"effect"`
	Reason string `json:"reason"`
}

// Threshold is the outcome of a Score policy from the sum AtLeast upwards.
type Threshold struct {
	AtLeast int `json:"at_least"`
	Outcome
}

// Rule contributes its outcome, or its weight in a Score policy, when its condition holds. Outputs are values handed
// to the caller with the decision, such as a limit.
type Rule struct {
	ID       string         `json:"id"`
	Priority int            `json:"priority,omitempty"`
	Weight   int            `json:"weight,omitempty"`
	Effect   Effect         `json:"effect,omitempty"`
	Reason   string         `json:"reason"`
	Outputs  map[string]any `json:"outputs,omitempty"`
	When     *Condition     `json:"when"`
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// ParsePolicy reads and checks one policy. The error joins every fault, each with its path in the document.
func ParsePolicy(text []byte) (*Policy, error) {
	var p Policy
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	decoder.UseNumber()
	if err := decoder.Decode(&p); err != nil {
		return nil, fmt.Errorf("not a policy: %w", err)
	}
	if err := atEnd(decoder); err != nil {
		return nil, fmt.Errorf("not a policy: %w", err)
	}
	if err := errors.Join(p.check()...); err != nil {
		return nil, err
	}
	slices.SortStableFunc(p.Rules, func(a, b *Rule) int { return cmp.Compare(b.Priority, a.Priority) })
	slices.SortStableFunc(p.Thresholds, func(a, b Threshold) int { return cmp.Compare(b.AtLeast, a.AtLeast) })
	return &p, nil
}

func (p *Policy) check() (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	outcome := func(path string, o Outcome) {
		if !slices.Contains(effects, o.Effect) {
			fault("%s.effect: found %q; expected allow, review or deny", path, o.Effect)
		}
		if o.Reason == "" {
			fault("%s.reason: missing", path)
		}
	}
	if !namePattern.MatchString(p.Name) {
		fault("name: found %q; expected up to 63 small letters, digits, dots, - and _", p.Name)
	}
	if !slices.Contains([]Strategy{FirstMatch, AllMatch, Score}, p.Strategy) {
		fault("strategy: found %q; expected first-match, all-match or score", p.Strategy)
	}
	if (p.Strategy == Score) != (len(p.Thresholds) > 0) {
		fault("thresholds: a score policy needs them, and no other has them")
	}
	outcome("default", p.Default)
	for i, t := range p.Thresholds {
		outcome(fmt.Sprintf("thresholds[%d]", i), t.Outcome)
	}
	ids := map[string]bool{}
	for i, r := range p.Rules {
		path := fmt.Sprintf("rules[%d]", i)
		if r == nil {
			fault("%s: null is not a rule", path)
			continue
		}
		if !namePattern.MatchString(r.ID) || ids[r.ID] {
			fault("%s.id: found %q; expected a name that no other rule here has", path, r.ID)
		}
		ids[r.ID] = true
		if p.Strategy != Score {
			outcome(path, Outcome{r.Effect, r.Reason})
		} else if r.Effect != "" {
			fault("%s.effect: the thresholds of a score policy give the effect; give the rule a weight", path)
		}
		if r.When == nil {
			fault("%s.when: missing; an empty all, {\"all\": []}, always holds", path)
		} else {
			faults = append(faults, r.When.compile(path+".when", 0)...)
		}
	}
	return faults
}

// Decision is the answer to one request. It depends on the policy and the input alone.
type Decision struct {
	Policy       string         `json:"policy"`
	PolicyDigest string         `json:"policy_digest"`
	Effect       Effect         `json:"effect"`
	Matched      []string       `json:"matched"`
	Reasons      []string       `json:"reasons"`
	Outputs      map[string]any `json:"outputs,omitempty"`
	Score        *ScoreDetail   `json:"score,omitempty"`
	Explanation  []RuleTrace    `json:"explanation,omitempty"`
}

// ScoreDetail tells how a Score policy came to its effect. Threshold is nil when the sum reached none of them.
type ScoreDetail struct {
	Total         int            `json:"total"`
	Threshold     *int           `json:"threshold"`
	Contributions []Contribution `json:"contributions"`
}

// Contribution is one rule's part of a score.
type Contribution struct {
	Rule   string `json:"rule"`
	Weight int    `json:"weight"`
}

// RuleTrace tells whether one rule matched, and how each comparison in it came out.
type RuleTrace struct {
	Rule    string  `json:"rule"`
	Matched bool    `json:"matched"`
	Checks  []Check `json:"checks"`
}

// Check is one comparison with the value that it met. Found is absent when the input has no such field.
type Check struct {
	Condition string `json:"condition"`
	Holds     bool   `json:"holds"`
	Found     any    `json:"found,omitempty"`
}

// Decide applies FirstMatch or AllMatch to the rules that matched, which stand in the policy's order. With no rule,
// the policy's default decides. Where two rules give an output of one name, the first keeps it.
func Decide(p *Policy, matched []*Rule) Decision {
	d := Decision{Policy: p.Name, Effect: p.Default.Effect, Matched: []string{}, Reasons: []string{p.Default.Reason}}
	if len(matched) == 0 {
		return d
	}
	if p.Strategy == FirstMatch {
		matched = matched[:1]
	}
	d.Effect, d.Reasons = Allow, nil
	for _, r := range matched {
		d.Effect = effects[max(slices.Index(effects, d.Effect), slices.Index(effects, r.Effect))]
		d.Add(r)
	}
	return d
}

// Add records a rule that matched: its id, its reason and its outputs.
func (d *Decision) Add(r *Rule) {
	d.Matched = append(d.Matched, r.ID)
	if strings.TrimSpace(r.Reason) != "" {
		d.Reasons = append(d.Reasons, r.Reason)
	}
	for name, value := range r.Outputs {
		if d.Outputs == nil {
			d.Outputs = map[string]any{}
		}
		if _, taken := d.Outputs[name]; !taken {
			d.Outputs[name] = value
		}
	}
}
