// SPDX-License-Identifier: Apache-2.0

// Package toml reads a strict subset of TOML 1.0: tables, bare keys, strings, integers, booleans, arrays of strings
// and comments. Everything else is refused with its line and column, so that a misread setting cannot pass unseen.
package toml

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Position is a place in the text. Both numbers start at 1; a column counts characters, not bytes.
type Position struct {
	Line, Column int
}

// Error is one fault in the text.
type Error struct {
	Position
	Message string
}

func (e *Error) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// Entry is one `key = value` line. Key carries its table as a prefix, as in "api.http_address". Value is a string,
// an int, a bool or a []string.
type Entry struct {
	Key     string
	KeyAt   Position
	Value   any
	ValueAt Position
}

// Parse returns the entries of text in the order they are written. The first fault ends the reading, as an *Error.
func Parse(text []byte) (entries []Entry, err error) {
	p := &parser{text: strings.TrimPrefix(string(text), "\ufeff"), at: Position{1, 1}, seen: map[string]Position{}}
	defer func() {
		if fault := recover(); fault != nil {
			e, ours := fault.(*Error)
			if !ours {
				panic(fault)
			}
			entries, err = nil, e
		}
	}()
	if !utf8.ValidString(p.text) {
		return nil, &Error{Position{1, 1}, "the text is not valid UTF-8"}
	}
	for p.skipLines(); p.peek() != end; p.skipLines() {
		if p.peek() == '[' {
			p.table()
		} else {
			p.entry()
		}
		p.endOfLine()
	}
	return p.entries, nil
}

const end = rune(-1)

type parser struct {
	text    string
	at      Position
	prefix  string
	seen    map[string]Position // keys and tables, with where each was first written
	entries []Entry
}

// fail leaves the parser; Parse turns the value back into an error.
func (p *parser) fail(at Position, format string, args ...any) {
	panic(&Error{at, fmt.Sprintf(format, args...)})
}

func (p *parser) peek() rune {
	if p.text == "" {
		return end
	}
	if strings.HasPrefix(p.text, "\r\n") {
		return '\n'
	}
	r, _ := utf8.DecodeRuneInString(p.text)
	return r
}

func (p *parser) next() rune {
	r := p.peek()
	switch {
	case r == end:
		return end
	case strings.HasPrefix(p.text, "\r\n"):
		p.text = p.text[2:]
	default:
		p.text = p.text[utf8.RuneLen(r):]
	}
	if r == '\n' {
		p.at = Position{p.at.Line + 1, 1}
	} else {
		p.at.Column++
	}
	return r
}

func (p *parser) skipBlanks() {
	for p.peek() == ' ' || p.peek() == '\t' {
		p.next()
	}
	if p.peek() != '#' {
		return
	}
	for p.peek() != '\n' && p.peek() != end {
		if r := p.peek(); isControl(r) {
			p.fail(p.at, "a comment holds the control character %U", r)
		}
		p.next()
	}
}

func (p *parser) skipLines() {
	for p.skipBlanks(); p.peek() == '\n'; p.skipBlanks() {
		p.next()
	}
}

func (p *parser) endOfLine() {
	p.skipBlanks()
	if r := p.peek(); r != '\n' && r != end {
		p.fail(p.at, "found %q after the value; expected the end of the line", r)
	}
}

func (p *parser) key() string {
	start := p.at
	var key strings.Builder
	for r := p.peek(); isBare(r); r = p.peek() {
		key.WriteRune(p.next())
	}
	if key.Len() == 0 {
		p.fail(start, "found %s; expected a key of letters, digits, _ and -", describe(p.peek()))
	}
	return key.String()
}

func (p *parser) once(kind, name string, at Position) {
	if first, twice := p.seen[name]; twice {
		p.fail(at, "the %s %q was already written on line %d", kind, name, first.Line)
	}
	p.seen[name] = at
}

func (p *parser) table() {
	start := p.at
	p.next()
	if p.peek() == '[' {
		p.fail(start, "arrays of tables are not supported")
	}
	p.skipSpaces()
	name := p.key()
	for p.skipSpaces(); p.peek() == '.'; p.skipSpaces() {
		p.next()
		p.skipSpaces()
		name += "." + p.key()
	}
	if p.peek() != ']' {
		p.fail(p.at, "found %s in a table's name; expected ]", describe(p.peek()))
	}
	p.next()
	p.once("table", name, start)
	p.prefix = name + "."
}

func (p *parser) entry() {
	start := p.at
	key := p.prefix + p.key()
	p.skipSpaces()
	if p.peek() != '=' {
		p.fail(p.at, "found %s after the key %q; expected =", describe(p.peek()), key)
	}
	p.next()
	p.skipSpaces()
	p.once("key", key, start)
	at := p.at
	p.entries = append(p.entries, Entry{Key: key, KeyAt: start, Value: p.value(), ValueAt: at})
}

func (p *parser) skipSpaces() {
	for p.peek() == ' ' || p.peek() == '\t' {
		p.next()
	}
}

func (p *parser) value() any {
	switch r := p.peek(); {
	case r == '"' || r == '\'':
		return p.str()
	case r == '[':
		return p.array()
	case r == '{':
		p.fail(p.at, "inline tables are not supported; write a [table]")
	}
	start := p.at
	var word strings.Builder
	for r := p.peek(); isBare(r) || r == '+' || r == '.' || r == ':'; r = p.peek() {
		word.WriteRune(p.next())
	}
	switch text := word.String(); text {
	case "true":
		return true
	case "false":
		return false
	case "":
		p.fail(start, "found %s; expected a value", describe(p.peek()))
		return nil
	default:
		return p.integer(start, text)
	}
}

func (p *parser) integer(start Position, text string) int {
	digits := strings.TrimLeft(text, "+-")
	wellFormed := len(text)-len(digits) <= 1 && !strings.HasPrefix(digits, "_") && !strings.HasSuffix(digits, "_") &&
		!strings.Contains(digits, "__") && (digits == "0" || !strings.HasPrefix(digits, "0"))
	number, err := strconv.Atoi(strings.ReplaceAll(text, "_", ""))
	if err != nil || !wellFormed {
		p.fail(start, "found %s; expected a string in quotes, a whole number, true, false or an array of strings", text)
	}
	return number
}

func (p *parser) array() []string {
	start := p.at
	p.next()
	items := []string{}
	for {
		p.skipLines()
		switch r := p.peek(); r {
		case ']':
			p.next()
			return items
		case '"', '\'':
			items = append(items, p.str())
		case end:
			p.fail(start, "this array is never closed")
		default:
			p.fail(p.at, "found %s in an array; expected a string or ]", describe(r))
		}
		p.skipLines()
		if p.peek() == ',' {
			p.next()
		} else if p.peek() != ']' {
			p.fail(p.at, "found %s in an array; expected a comma or ]", describe(p.peek()))
		}
	}
}

func (p *parser) str() string {
	start := p.at
	quote := p.next()
	if strings.HasPrefix(p.text, strings.Repeat(string(quote), 2)) {
		p.fail(start, "strings of several lines are not supported")
	}
	var out strings.Builder
	for {
		at := p.at
		r := p.next()
		switch {
		case r == quote:
			return out.String()
		case r == '\n' || r == end:
			p.fail(start, "this string is never closed")
		case isControl(r):
			p.fail(at, "a string holds the control character %U; write it as an escape", r)
		case r == '\\' && quote == '"':
			out.WriteRune(p.escape(at))
		default:
			out.WriteRune(r)
		}
	}
}

var escapes = map[rune]rune{'"': '"', '\\': '\\', 'b': '\b', 't': '\t', 'n': '\n', 'f': '\f', 'r': '\r'}

func (p *parser) escape(at Position) rune {
	r := p.next()
	if plain, known := escapes[r]; known {
		return plain
	}
	length := map[rune]int{'u': 4, 'U': 8}[r]
	if length == 0 {
		p.fail(at, "found the escape \\%s; expected one of \\\" \\\\ \\b \\t \\n \\f \\r \\u \\U", string(r))
	}
	if len(p.text) >= length {
		if code, err := strconv.ParseUint(p.text[:length], 16, 32); err == nil && utf8.ValidRune(rune(code)) {
			p.text = p.text[length:]
			p.at.Column += length
			return rune(code)
		}
	}
	p.fail(at, "\\%c needs %d hexadecimal digits that name a Unicode character", r, length)
	return 0
}

func isBare(r rune) bool {
	return r == '_' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

func isControl(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }

func describe(r rune) string {
	switch r {
	case end:
		return "the end of the file"
	case '\n':
		return "the end of the line"
	}
	return fmt.Sprintf("%q", r)
}
