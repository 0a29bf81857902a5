// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"strings"
)

// Schema returns the JSON schema (draft 2020-12) of the configuration file, indented, ending in a newline.
func Schema() ([]byte, error) {
	tables := map[string]map[string]any{}
	for _, s := range Default().settings() {
		table, key, _ := strings.Cut(s.key, ".")
		if tables[table] == nil {
			tables[table] = map[string]any{}
		}
		tables[table][key] = s.schema()
	}
	properties := map[string]any{}
	for name, keys := range tables {
		properties[name] = map[string]any{"type": "object", "additionalProperties": false, "properties": keys}
	}
	text, err := json.MarshalIndent(map[string]any{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                "NEXUS-ENGINE runtime configuration",
		"type":                 "object",
		"additionalProperties": false,
		"properties":           properties,
	}, "", "  ")
	return append(text, '\n'), err
}

func (s setting) schema() map[string]any {
	out := map[string]any{"description": s.doc, "default": dereference(s.target)}
	switch s.target.(type) {
	case *string:
		out["type"] = "string"
	case *bool:
		out["type"] = "boolean"
	case *int:
		out["type"], out["minimum"], out["maximum"] = "integer", s.low, s.high
	case *[]string:
		out["type"], out["items"] = "array", map[string]any{"type": "string"}
	}
	if s.choices != nil {
		out["enum"] = s.choices
	}
	if s.pattern != nil {
		out["pattern"] = s.pattern.String()
	}
	return out
}
