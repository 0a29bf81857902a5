// SPDX-License-Identifier: Apache-2.0

package intelligence

import (
	"encoding/json"
	"fmt"
	"testing"

	"nexus.example/engine/internal/core"
)

const risk = `{"name": "risk", "strategy": "score", "default": {"effect": "allow", "reason": "low risk"},
	"thresholds": [{"at_least": 30, "effect": "review", "reason": "some risk"}, {"at_least": 70, "effect": "deny", "reason": "high risk"}],
	"rules": [{"id": "new", "weight": 30, "reason": "new account", "when": {"field": "days", "op": "lt", "value": 7}},
		{"id": "large", "weight": 45, "reason": "large amount", "when": {"field": "amount", "op": "gt", "value": 1000}},
		{"id": "known", "weight": -20, "reason": "", "when": {"field": "known", "op": "eq", "value": true}}]}`

func TestTheHighestThresholdReachedDecides(t *testing.T) {
	p, err := core.ParsePolicy([]byte(risk))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"days": 1, "amount": 5000}`:                `deny 75 [high risk new account large amount]`,
		`{"days": 1, "amount": 5000, "known": true}`: `review 55 [some risk new account large amount]`,
		`{"days": 1}`:     `review 30 [some risk new account]`,
		`{"days": 9}`:     `allow 0 [low risk]`,
		`{"known": true}`: `allow -20 [low risk]`,
	} {
		input, _ := core.DecodeInput([]byte(text))
		var matched []*core.Rule
		for _, r := range p.Rules {
			if r.When.Match(input) {
				matched = append(matched, r)
			}
		}
		d := Score(p, matched)
		if got := fmt.Sprint(d.Effect, " ", d.Score.Total, " ", d.Reasons); got != want {
			t.Errorf("%s gives %s; want %s", text, got, want)
		}
		if len(d.Score.Contributions) != len(matched) || (d.Score.Threshold == nil) != (d.Effect == core.Allow) {
			t.Errorf("%s has the detail %+v", text, d.Score)
		}
	}
}

func TestExplanationShowsWhatEachComparisonMet(t *testing.T) {
	p, _ := core.ParsePolicy([]byte(`{"name": "p", "strategy": "all-match", "default": {"effect": "deny", "reason": "no"},
		"rules": [{"id": "r", "effect": "allow", "reason": "r", "when": {"all": [
			{"field": "a", "op": "eq", "value": 1}, {"not": {"field": "b", "op": "exists"}}]}}]}`))
	input, _ := core.DecodeInput([]byte(`{"a": 2}`))
	got, _ := json.Marshal(Explain(p, input))
	want := `[{"rule":"r","matched":false,"checks":[{"condition":"a eq 1","holds":false,"found":2},` +
		`{"condition":"b exists","holds":false}]}]`
	if string(got) != want {
		t.Fatalf("got %s", got)
	}
}
