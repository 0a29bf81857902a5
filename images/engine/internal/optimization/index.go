// SPDX-License-Identifier: Apache-2.0

// Package optimization makes evaluation fast without changing its answers: an index leaves out the rules that an input
// cannot satisfy, and a cache keeps the decisions for inputs seen before.
package optimization

import (
	"strings"

	"nexus.example/engine/internal/core"
)

// Index finds the rules of a policy that match an input. It is built around the field that most rules require to equal
// one of some strings: a rule that requires another string than the input holds is never tested.
type Index struct {
	rules  []*core.Rule
	field  []string
	bucket map[string][]int // positions in rules, by the required string
	rest   []int            // positions of the rules that do not require the field
}

// NewIndex indexes the rules in their order. An index that is not enabled tests every rule.
func NewIndex(rules []*core.Rule, enabled bool) *Index {
	ix := &Index{rules: rules, bucket: map[string][]int{}}
	field := ""
	if enabled {
		field = busiestField(rules)
		ix.field = strings.Split(field, ".")
	}
	for i, r := range rules {
		values, required := requirements(r.When)[field]
		if !required {
			ix.rest = append(ix.rest, i)
		}
		for value := range values {
			ix.bucket[value] = append(ix.bucket[value], i)
		}
	}
	return ix
}

// Match returns the rules that match, in the order that NewIndex was given, and how many it tested for it.
func (ix *Index) Match(input any) (matched []*core.Rule, tested int) {
	var bucket []int
	if found, present := core.Lookup(input, ix.field); present {
		if text, ok := found.(string); ok {
			bucket = ix.bucket[text]
		}
	}
	rest := ix.rest
	for len(bucket)+len(rest) > 0 {
		from := &rest
		if len(rest) == 0 || len(bucket) > 0 && bucket[0] < rest[0] {
			from = &bucket
		}
		r := ix.rules[(*from)[0]]
		*from = (*from)[1:]
		tested++
		if r.When.Match(input) {
			matched = append(matched, r)
		}
	}
	return matched, tested
}

func busiestField(rules []*core.Rule) string {
	count := map[string]int{}
	best := ""
	for _, r := range rules {
		for field := range requirements(r.When) {
			count[field]++
		}
	}
	for field, n := range count {
		if n > count[best] || n == count[best] && field < best {
			best = field
		}
	}
	return best
}

// requirements returns, for each field that the condition requires to equal one of some strings, those strings. Only
// the condition itself and what stands in nested alls is required.
func requirements(c *core.Condition) map[string]map[string]bool {
	found := map[string]map[string]bool{}
	for _, child := range c.All {
		for field, values := range requirements(child) {
			found[field] = values // of several requirements of one field, any is enough to leave a rule out
		}
	}
	if !c.IsComparison() {
		return found
	}
	var list []any
	switch c.Op {
	case "eq":
		list = []any{c.Want()}
	case "in":
		list, _ = c.Want().([]any)
	default:
		return found
	}
	values := map[string]bool{}
	for _, item := range list {
		text, ok := item.(string)
		if !ok {
			return found
		}
		values[text] = true
	}
	found[c.Field] = values
	return found
}
