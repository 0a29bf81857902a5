// SPDX-License-Identifier: Apache-2.0

// Package intelligence weighs and explains: it adds up the scores of Score policies, and tells for any policy why each
// rule did or did not match.
package intelligence

import "nexus.example/engine/internal/core"

// Score adds up the weights of the rules that matched and returns the outcome of the highest threshold that the sum
// reaches, or the policy's default where it reaches none. The first reason is the outcome's own.
func Score(p *core.Policy, matched []*core.Rule) core.Decision {
	detail := &core.ScoreDetail{Contributions: []core.Contribution{}}
	for _, r := range matched {
		detail.Total += r.Weight
		detail.Contributions = append(detail.Contributions, core.Contribution{Rule: r.ID, Weight: r.Weight})
	}
	outcome := p.Default
	for _, t := range p.Thresholds { // the highest first
		if detail.Total >= t.AtLeast {
			reached := t.AtLeast
			outcome, detail.Threshold = t.Outcome, &reached
			break
		}
	}
	d := core.Decision{
		Policy: p.Name, Effect: outcome.Effect, Matched: []string{}, Reasons: []string{outcome.Reason}, Score: detail,
	}
	for _, r := range matched {
		d.Add(r)
	}
	return d
}

// Explain traces every rule of the policy over an input. Every comparison is listed, including those that the
// decision itself could leave out.
func Explain(p *core.Policy, input any) []core.RuleTrace {
	traces := make([]core.RuleTrace, 0, len(p.Rules))
	for _, r := range p.Rules {
		trace := core.RuleTrace{Rule: r.ID, Matched: r.When.Match(input), Checks: []core.Check{}}
		collect(r.When, input, &trace.Checks)
		traces = append(traces, trace)
	}
	return traces
}

func collect(c *core.Condition, input any, checks *[]core.Check) {
	if c.IsComparison() {
		found, _ := c.Found(input)
		*checks = append(*checks, core.Check{Condition: c.String(), Holds: c.Match(input), Found: found})
	}
	for _, child := range c.Children() {
		collect(child, input, checks)
	}
}
