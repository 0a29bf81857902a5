// SPDX-License-Identifier: Apache-2.0

package toml

import (
	"reflect"
	"strings"
	"testing"
)

func TestReadsTheSubset(t *testing.T) {
	text := "top = true # a comment\r\n\n[ api . http ]\naddress = \"a\\tb\\u00e9\\U0001F600\"\nraw='C:\\x'\n" +
		"[log]\nmany = -1_000\nnames = [ 'a', # one\n \"b\",\n]\nnone = []\n"
	want := []Entry{
		{"top", Position{1, 1}, true, Position{1, 7}},
		{"api.http.address", Position{4, 1}, "a\tb\u00e9\U0001F600", Position{4, 11}},
		{"api.http.raw", Position{5, 1}, `C:\x`, Position{5, 5}},
		{"log.many", Position{7, 1}, -1000, Position{7, 8}},
		{"log.names", Position{8, 1}, []string{"a", "b"}, Position{8, 9}},
		{"log.none", Position{11, 1}, []string{}, Position{11, 8}},
	}
	got, err := Parse([]byte(text))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, %v; want %v", got, err, want)
	}
}

func TestRefusesWithLineAndColumn(t *testing.T) {
	for text, want := range map[string]string{
		"a = 1\na = 2":             `line 2, column 1: the key "a" was already written on line 1`,
		"[a]\n[b]\n[a]":            `line 3, column 1: the table "a" was already written on line 1`,
		"a = 1.5":                  "line 1, column 5: found 1.5; expected a string",
		"a = 2026-01-01":           "line 1, column 5: found 2026-01-01; expected",
		"a = 012":                  "line 1, column 5: found 012; expected",
		"a = --1":                  "line 1, column 5: found --1; expected",
		"a = 99999999999999999999": "line 1, column 5: found 99999999999999999999; expected",
		"é = 1":                    "line 1, column 1: found 'é'; expected a key",
		"a = \"é\" x":              "line 1, column 9: found 'x' after the value",
		"a = \"x":                  "line 1, column 5: this string is never closed",
		"a = \"\\q\"":              "line 1, column 6: found the escape \\q",
		"a = \"\\ud800\"":          "line 1, column 6: \\u needs 4 hexadecimal digits",
		"a = \"\"\"x\"\"\"":        "strings of several lines are not supported",
		"a = [1]":                  "line 1, column 6: found '1' in an array",
		"a = ['x' 'y']":            "line 1, column 10: found '\\'' in an array; expected a comma or ]",
		"a = [\n'x',":              "line 1, column 5: this array is never closed",
		"a = {b = 1}":              "inline tables are not supported",
		"[[a]]":                    "arrays of tables are not supported",
		"[a":                       "line 1, column 3: found the end of the file in a table's name",
		"a\n":                      "line 1, column 2: found the end of the line after the key",
		"a = ":                     "line 1, column 5: found the end of the file; expected a value",
		"a = 'x\x00'":              "line 1, column 7: a string holds the control character U+0000",
		"a = '\xff'":               "not valid UTF-8",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v; want %q", text, err, want)
		}
	}
}

func FuzzNeverPanics(f *testing.F) {
	f.Add([]byte("[a]\nb = [\"c\\u0041\", 'd'] # e\n"))
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = Parse(text) })
}
