// SPDX-License-Identifier: Apache-2.0

package optimization

import (
	"fmt"
	"math/rand"
	"reflect"
	"strings"
	"testing"

	"nexus.example/engine/internal/core"
)

func rules(t testing.TB, conditions ...string) []*core.Rule {
	t.Helper()
	var text strings.Builder
	for i, c := range conditions {
		fmt.Fprintf(&text, `,{"id": "r%d", "effect": "allow", "reason": "r", "when": %s}`, i, c)
	}
	p, err := core.ParsePolicy([]byte(`{"name": "p", "strategy": "all-match", "default": {"effect": "deny", "reason": "no"},
		"rules": [` + text.String()[1:] + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	return p.Rules
}

// condition makes a random condition over a few fields and values, so that many of them hold.
func condition(r *rand.Rand, depth int) string {
	pick := r.Intn(8)
	if depth == 0 {
		pick = r.Intn(4)
	}
	field, letter := string(rune('x'+r.Intn(3))), string(rune('a'+r.Intn(3)))
	switch pick {
	case 0, 1:
		return fmt.Sprintf(`{"field": %q, "op": "eq", "value": %q}`, field, letter)
	case 2:
		return fmt.Sprintf(`{"field": %q, "op": "in", "value": ["a", %q]}`, field, letter)
	case 3:
		return fmt.Sprintf(`{"field": %q, "op": "ne", "value": %d}`, field, r.Intn(2))
	case 4:
		return `{"not": ` + condition(r, depth-1) + `}`
	case 5:
		return `{"any": [` + condition(r, depth-1) + `,` + condition(r, depth-1) + `]}`
	default:
		return `{"all": [` + condition(r, depth-1) + `,` + condition(r, depth-1) + `]}`
	}
}

func TestTheIndexNeverChangesTheAnswer(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	saved := 0
	for range 200 {
		conditions := make([]string, 12)
		for i := range conditions {
			conditions[i] = condition(r, 3)
		}
		all := rules(t, conditions...)
		fast, slow := NewIndex(all, true), NewIndex(all, false)
		for range 20 {
			input := map[string]any{}
			for _, field := range []string{"x", "y", "z"} {
				input[field] = []any{"a", "b", "c", true, nil}[r.Intn(5)]
			}
			got, tested := fast.Match(input)
			want, every := slow.Match(input)
			if !reflect.DeepEqual(got, want) || every != len(all) {
				t.Fatalf("%v over %v gives %v; want %v", input, conditions, got, want)
			}
			saved += every - tested
		}
	}
	if saved == 0 {
		t.Fatal("the index never left a rule out")
	}
}

func TestOnlyTheRulesOfTheInputsOwnValueAreTested(t *testing.T) {
	var conditions []string
	for i := range 1000 {
		conditions = append(conditions, fmt.Sprintf(`{"all": [{"field": "user.id", "op": "eq", "value": "u%d"}]}`, i))
	}
	index := NewIndex(rules(t, append(conditions, `{"field": "user", "op": "exists"}`)...), true)
	matched, tested := index.Match(map[string]any{"user": map[string]any{"id": "u7"}})
	if tested != 2 || len(matched) != 2 || matched[0].ID != "r7" {
		t.Fatalf("tested %d, matched %v", tested, matched)
	}
}

func TestTheCacheDropsWhatWasNotUsedForTheLongestTime(t *testing.T) {
	c := NewCache(2)
	keys := []Key{NewKey("p", []byte("1")), NewKey("p", []byte("2")), NewKey("p1", []byte(""))}
	for i, key := range keys {
		c.Put(key, core.Decision{Policy: fmt.Sprint(i)})
		c.Get(keys[0])
	}
	if _, found := c.Get(keys[1]); found {
		t.Error("the second entry should have gone")
	}
	if d, found := c.Get(keys[2]); !found || d.Policy != "2" {
		t.Errorf("got %+v, %v", d, found)
	}
	if hits, misses := c.Counts(); hits != 4 || misses != 1 {
		t.Errorf("counted %d hits and %d misses", hits, misses)
	}
	none := NewCache(0)
	none.Put(keys[0], core.Decision{})
	if _, found := none.Get(keys[0]); found {
		t.Error("a cache of 0 entries kept one")
	}
}

func BenchmarkThousandRules(b *testing.B) {
	var conditions []string
	for i := range 1000 {
		conditions = append(conditions, fmt.Sprintf(`{"field": "id", "op": "eq", "value": "u%d"}`, i))
	}
	all := rules(b, conditions...)
	for _, enabled := range []bool{true, false} {
		index := NewIndex(all, enabled)
		b.Run(fmt.Sprintf("index=%v", enabled), func(b *testing.B) {
			for range b.N {
				index.Match(map[string]any{"id": "u999"})
			}
		})
	}
}
