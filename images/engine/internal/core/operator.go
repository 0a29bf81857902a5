// SPDX-License-Identifier: Apache-2.0

package core

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// newTest returns the test of one comparison for the value that the input holds. A value of another kind than the
// operator compares makes the test false, never an error: inputs come from outside.
func newTest(op string, want any) (func(any) bool, error) {
	switch op {
	case "eq":
		return func(found any) bool { return equal(found, want) }, nil
	case "ne":
		return func(found any) bool { return !equal(found, want) }, nil
	case "lt", "le", "gt", "ge":
		return newOrderTest(op, want)
	case "in":
		list, ok := want.([]any)
		if !ok {
			return nil, errors.New("value: in needs an array")
		}
		return func(found any) bool { return contains(list, found) }, nil
	case "contains":
		return func(found any) bool {
			if text, ok := found.(string); ok {
				part, ok := want.(string)
				return ok && strings.Contains(text, part)
			}
			list, ok := found.([]any)
			return ok && contains(list, want)
		}, nil
	case "matches":
		text, ok := want.(string)
		if !ok {
			return nil, errors.New("value: matches needs a regular expression in a string")
		}
		pattern, err := regexp.Compile(text)
		if err != nil {
			return nil, fmt.Errorf("value: %w", err)
		}
		return func(found any) bool {
			text, ok := found.(string)
			return ok && pattern.MatchString(text)
		}, nil
	case "cidr":
		return newNetworkTest(want)
	case "exists":
		if _, ok := want.(bool); want != nil && !ok {
			return nil, errors.New("value: exists needs true, false or no value")
		}
		return nil, nil
	}
	return nil, fmt.Errorf("op: found %q; expected eq, ne, lt, le, gt, ge, in, contains, matches, cidr or exists", op)
}

func newOrderTest(op string, want any) (func(any) bool, error) {
	switch want.(type) {
	case string, json.Number:
	default:
		return nil, fmt.Errorf("value: %s needs a number or a string", op)
	}
	return func(found any) bool {
		order, ordered := compare(found, want)
		return ordered && map[string]bool{"lt": order < 0, "le": order <= 0, "gt": order > 0, "ge": order >= 0}[op]
	}, nil
}

func newNetworkTest(want any) (func(any) bool, error) {
	list, ok := want.([]any)
	if !ok {
		list = []any{want}
	}
	var networks []netip.Prefix
	for _, item := range list {
		text, ok := item.(string)
		network, err := netip.ParsePrefix(text)
		if !ok || err != nil {
			return nil, fmt.Errorf("value: cidr needs networks such as \"10.0.0.0/8\", not %v", item)
		}
		networks = append(networks, network)
	}
	return func(found any) bool {
		text, _ := found.(string)
		address, err := netip.ParseAddr(text)
		// An IPv4 address written as IPv6 (::ffff:10.0.0.1) is the same host.
		return err == nil && slices.ContainsFunc(networks, func(n netip.Prefix) bool {
			return n.Contains(address.Unmap().WithZone(""))
		})
	}, nil
}

func contains(list []any, value any) bool {
	return slices.ContainsFunc(list, func(item any) bool { return equal(item, value) })
}

func equal(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		other, ok := b.(map[string]any)
		if !ok || len(a) != len(other) {
			return false
		}
		for name, value := range a {
			if inner, present := other[name]; !present || !equal(value, inner) {
				return false
			}
		}
		return true
	case []any:
		other, ok := b.([]any)
		return ok && slices.EqualFunc(a, other, equal)
	case json.Number:
		order, ordered := compare(a, b)
		return ordered && order == 0
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}

// compare orders two numbers or two strings. Whole numbers are compared exactly, others as float64.
func compare(a, b any) (order int, ordered bool) {
	if text, ok := a.(string); ok {
		other, ok := b.(string)
		return cmp.Compare(text, other), ok
	}
	left, ok := a.(json.Number)
	right, alsoOK := b.(json.Number)
	if !ok || !alsoOK {
		return 0, false
	}
	i, err := strconv.ParseInt(string(left), 10, 64)
	j, alsoErr := strconv.ParseInt(string(right), 10, 64)
	if err == nil && alsoErr == nil {
		return cmp.Compare(i, j), true
	}
	x, err := left.Float64()
	y, alsoErr := right.Float64()
	return cmp.Compare(x, y), err == nil && alsoErr == nil
}
