// SPDX-License-Identifier: Apache-2.0

package core

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxDepth bounds how deep conditions may nest, so that no policy can exhaust the stack.
const maxDepth = 32

// Condition is either a group (exactly one of All, Any and Not) or a comparison (Field, Op and Value). A comparison
// with a field that the input lacks does not hold, whatever its operator, except `exists` with false.
type Condition struct {
	All   []*Condition    `json:"all,omitempty"`
	Any   []*Condition    `json:"any,omitempty"`
	Not   *Condition      `json:"not,omitempty"`
	Field string          `json:"field,omitempty"`
	Op    string          `json:"op,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`

	path []string
	want any
	test func(any) bool
}

// compile checks the condition and those inside it, and prepares them for Match.
func (c *Condition) compile(at string, depth int) []error {
	kinds := 0
	for _, present := range []bool{c.All != nil, c.Any != nil, c.Not != nil, c.Field != "" || c.Op != "" || c.Value != nil} {
		if present {
			kinds++
		}
	}
	if kinds != 1 {
		return []error{fmt.Errorf("%s: expected exactly one of all, any, not, or field with op", at)}
	}
	if depth > maxDepth {
		return []error{fmt.Errorf("%s: conditions nest deeper than %d", at, maxDepth)}
	}
	var faults []error
	for i, child := range c.Children() {
		inner := fmt.Sprintf("%s[%d]", at, i)
		if child == nil {
			faults = append(faults, fmt.Errorf("%s: null is not a condition", inner))
			continue
		}
		faults = append(faults, child.compile(inner, depth+1)...)
	}
	if !c.IsComparison() {
		return faults
	}
	var err error
	c.path = strings.Split(c.Field, ".")
	if c.Field == "" {
		err = errors.New("field: missing")
	} else if c.Value == nil && c.Op != "exists" {
		err = errors.New("value: missing")
	} else if c.Value != nil {
		var compact bytes.Buffer
		c.want, err = decode(c.Value)
		err = errors.Join(err, json.Compact(&compact, c.Value))
		c.Value = compact.Bytes()
	}
	if err == nil {
		c.test, err = newTest(c.Op, c.want)
	}
	if err != nil {
		return []error{fmt.Errorf("%s: %w", at, err)}
	}
	return nil
}

// Children returns the conditions inside a group, and none for a comparison.
func (c *Condition) Children() []*Condition {
	if c.Not != nil {
		return []*Condition{c.Not}
	}
	return append(c.All[:len(c.All):len(c.All)], c.Any...)
}

// IsComparison tells a comparison from a group.
func (c *Condition) IsComparison() bool { return c.All == nil && c.Any == nil && c.Not == nil }

// Want returns the decoded value that a comparison compares with.
func (c *Condition) Want() any { return c.want }

// Match tells whether the condition holds for an input decoded by DecodeInput. An empty all holds; an empty any
// does not.
func (c *Condition) Match(input any) bool {
	switch {
	case c.All != nil:
		for _, child := range c.All {
			if !child.Match(input) {
				return false
			}
		}
		return true
	case c.Any != nil:
		for _, child := range c.Any {
			if child.Match(input) {
				return true
			}
		}
		return false
	case c.Not != nil:
		return !c.Not.Match(input)
	}
	found, present := Lookup(input, c.path)
	if c.Op == "exists" {
		return present == (c.want != false)
	}
	return present && c.test(found)
}

// Found returns the value that a comparison meets in the input, and whether there is one.
func (c *Condition) Found(input any) (any, bool) { return Lookup(input, c.path) }

// String writes a comparison as it is read aloud: `user.role eq "admin"`.
func (c *Condition) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", c.Field, c.Op, c.Value))
}

// Lookup follows a path through objects by name and through arrays by number.
func Lookup(value any, path []string) (any, bool) {
	for _, step := range path {
		switch v := value.(type) {
		case map[string]any:
			inner, present := v[step]
			if !present {
				return nil, false
			}
			value = inner
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) {
				return nil, false
			}
			value = v[i]
		default:
			return nil, false
		}
	}
	return value, true
}

// DecodeInput reads the input of a request, which must be one JSON object. Numbers stay json.Number, so that whole
// numbers of more than 53 bits keep their value.
func DecodeInput(text []byte) (map[string]any, error) {
	value, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("input: expected a JSON object")
	}
	return object, nil
}

func decode(text []byte) (any, error) {
	var value any
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	return value, atEnd(decoder)
}

// atEnd refuses text after a JSON value. Decoder.More would let a closing bracket pass.
func atEnd(decoder *json.Decoder) error {
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("more text follows the JSON value")
	}
	return nil
}
