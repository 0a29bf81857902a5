// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func policy(t *testing.T, text string) *Policy {
	t.Helper()
	p, err := ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestConditionsHoldAsTheyAreWritten(t *testing.T) {
	input, err := DecodeInput([]byte(`{"user": {"role": "admin", "age": 41, "tags": ["a", "b"], "ok": true, "none": null},
		"ip": "10.1.2.3", "mapped": "::ffff:10.1.2.3", "big": 9007199254740993, "half": 0.5, "when": "2026-11-20"}`))
	if err != nil {
		t.Fatal(err)
	}
	for condition, want := range map[string]bool{
		`{"field": "user.role", "op": "eq", "value": "admin"}`:                  true,
		`{"field": "user.role", "op": "ne", "value": "guest"}`:                  true,
		`{"field": "user.missing", "op": "ne", "value": "guest"}`:               false,
		`{"field": "user.age", "op": "eq", "value": 41.0}`:                      true,
		`{"field": "user.age", "op": "eq", "value": "41"}`:                      false,
		`{"field": "user.age", "op": "lt", "value": "5"}`:                       false,
		`{"field": "user.age", "op": "ge", "value": 41}`:                        true,
		`{"field": "user.age", "op": "gt", "value": 41}`:                        false,
		`{"field": "half", "op": "le", "value": 0.5}`:                           true,
		`{"field": "big", "op": "eq", "value": 9007199254740992}`:               false,
		`{"field": "when", "op": "lt", "value": "2026-12-01"}`:                  true,
		`{"field": "user.role", "op": "in", "value": ["guest", "admin"]}`:       true,
		`{"field": "user.role", "op": "contains", "value": "dmi"}`:              true,
		`{"field": "user.tags", "op": "contains", "value": "b"}`:                true,
		`{"field": "user.tags.1", "op": "eq", "value": "b"}`:                    true,
		`{"field": "user.tags.2", "op": "exists"}`:                              false,
		`{"field": "user.tags", "op": "eq", "value": ["a", "b"]}`:               true,
		`{"field": "user", "op": "eq", "value": {"role": "admin"}}`:             false,
		`{"field": "user.ok", "op": "eq", "value": true}`:                       true,
		`{"field": "user.none", "op": "eq", "value": null}`:                     true,
		`{"field": "user.none", "op": "exists"}`:                                true,
		`{"field": "user.missing", "op": "exists", "value": false}`:             true,
		`{"field": "user.role", "op": "matches", "value": "^ad.+n$"}`:           true,
		`{"field": "ip", "op": "cidr", "value": "10.0.0.0/8"}`:                  true,
		`{"field": "mapped", "op": "cidr", "value": ["::1/128", "10.0.0.0/8"]}`: true,
		`{"field": "user.role", "op": "cidr", "value": "10.0.0.0/8"}`:           false,
		`{"all": []}`: true,
		`{"any": []}`: false,
		`{"not": {"any": [{"field": "half", "op": "gt", "value": 1}, {"all": [{"field": "ip", "op": "exists"}]}]}}`: false,
	} {
		p := policy(t, fmt.Sprintf(`{"name": "t", "strategy": "first-match", "default": {"effect": "deny", "reason": "no"},
			"rules": [{"id": "r", "effect": "allow", "reason": "yes", "when": %s}]}`, condition))
		if got := p.Rules[0].When.Match(input); got != want {
			t.Errorf("%s gives %v", condition, got)
		}
	}
}

const three = `{"name": "t", "strategy": "%s", "default": {"effect": "deny", "reason": "nothing matched"}, "rules": [
	{"id": "low", "effect": "allow", "reason": "low", "outputs": {"limit": 1, "extra": "x"}, "when": {"all": []}},
	{"id": "high", "priority": 9, "effect": "review", "reason": "high", "outputs": {"limit": 2}, "when": {"all": []}},
	{"id": "never", "priority": 99, "effect": "deny", "reason": "never", "when": {"any": []}}]}`

func TestStrategiesDecide(t *testing.T) {
	first := policy(t, fmt.Sprintf(three, FirstMatch))
	all := policy(t, fmt.Sprintf(three, AllMatch))
	if first.Rules[0].ID != "never" || first.Rules[1].ID != "high" {
		t.Fatal("the rules are not in the order of falling priority")
	}
	d := Decide(first, first.Rules[1:])
	if d.Effect != Review || !reflect.DeepEqual(d.Matched, []string{"high"}) || fmt.Sprint(d.Outputs) != "map[limit:2]" {
		t.Errorf("first-match gives %+v", d)
	}
	d = Decide(all, all.Rules[1:])
	if d.Effect != Review || !reflect.DeepEqual(d.Reasons, []string{"high", "low"}) || fmt.Sprint(d.Outputs) != "map[extra:x limit:2]" {
		t.Errorf("all-match gives %+v", d)
	}
	if d = Decide(all, all.Rules[2:]); d.Effect != Allow {
		t.Errorf("all-match of one allowing rule gives %+v", d)
	}
	if d = Decide(all, nil); d.Effect != Deny || d.Reasons[0] != "nothing matched" || len(d.Matched) != 0 {
		t.Errorf("the default gives %+v", d)
	}
}

func TestEveryFaultOfAPolicyIsNamedByItsPath(t *testing.T) {
	_, err := ParsePolicy([]byte(`{"name": "T", "strategy": "best", "default": {"effect": "maybe", "reason": ""}, "rules": [
		{"id": "a", "effect": "allow", "reason": "r", "when": {"all": [{"field": "x", "op": "like", "value": 1}, {"op": "eq"}]}},
		{"id": "a", "effect": "allow", "reason": "r", "when": {"field": "x", "op": "matches", "value": "("}},
		{"id": "b", "effect": "allow", "reason": "r", "when": {"all": [], "any": []}},
		{"id": "c", "effect": "allow", "reason": "r"},
		{"id": "d", "effect": "allow", "reason": "r", "when": {"field": "x", "op": "cidr", "value": "10.0.0.1"}},
		{"id": "e", "effect": "allow", "reason": "r", "when": {"field": "x", "op": "eq"}}]}`))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`name: found "T"`, `strategy: found "best"`, `default.effect: found "maybe"`, "default.reason: missing",
		`rules[0].when[0]: op: found "like"`, "rules[0].when[1]: field: missing", `rules[1].id: found "a"`,
		"rules[1].when: value: error parsing regexp", "rules[2].when: expected exactly one of", "rules[3].when: missing",
		"rules[4].when: value: cidr needs networks", "rules[5].when: value: missing",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the message lacks %q:\n%v", want, err)
		}
	}
}

func TestMalformedTextIsRefused(t *testing.T) {
	deep := strings.Repeat(`{"not": `, 40) + `{"all": []}` + strings.Repeat("}", 40)
	for text, want := range map[string]string{
		`{"name": "t", "colour": 1}`: `unknown field "colour"`,
		`{} }`:                       "more text follows",
		`{`:                          "not a policy: unexpected EOF",
		`{"rules": [{"id": "a", "when": ` + deep + `}]}`: "nest deeper than 32",
		`{"rules": [null]}`: "rules[0]: null is not a rule",
	} {
		if _, err := ParsePolicy([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v; want %q", text, err, want)
		}
	}
	for _, text := range []string{`[]`, `{} {}`, ``, `null`} {
		if _, err := DecodeInput([]byte(text)); err == nil {
			t.Errorf("the input %q was accepted", text)
		}
	}
}
