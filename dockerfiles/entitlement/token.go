// Entitlement tokens: JSON Web Signatures in compact form (RFC 7515) with Ed25519 (RFC 8032, RFC 8037), in the one spelling that
// docs/licensing.md of nexus-oci describes. What is read is written again and compared, so the laxness of encoding/json and
// encoding/base64 (unknown and repeated keys, upper case, line breaks, broken UTF-8) lets nothing through.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	largest         = 8192 // bytes of a token, and of a file that is read as one
	latest          = 253402300799
	longestGrace    = 366 * 86400
	largestLimit    = 1<<53 - 1
	most            = 64
	longestCustomer = 200 // bytes of UTF-8
)

var (
	tiers     = []string{"community", "developer", "professional", "enterprise", "regulated", "sovereign"}
	header    = regexp.MustCompile(`\A\{"alg":"EdDSA","kid":"([0-9a-f]{64})","typ":"nexus-entitlement\+jwt"\}\z`)
	nameShape = regexp.MustCompile(`\A[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?\z`)
	idShape   = regexp.MustCompile(`\A[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\z`)
	spki      = []byte{0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00}
)

// Claims are what an entitlement says; times are seconds since 1970.
type Claims struct {
	Engine        string           `json:"aud"`
	Distributions []string         `json:"distributions"`
	NotAfter      int64            `json:"exp"`
	Features      []string         `json:"features"`
	Grace         int64            `json:"grace"`
	Issued        int64            `json:"iat"`
	ID            string           `json:"jti"`
	Limits        map[string]int64 `json:"limits"`
	NotBefore     int64            `json:"nbf"`
	Customer      string           `json:"sub"`
	Tier          string           `json:"tier"`
}

// Refusal says why the engine does not start: a word for programs, three lines for people.
type Refusal struct {
	Reason, What, Why, Do string
}

func malformed(why string) *Refusal {
	return &Refusal{"malformed", "this is no entitlement", why, "use the file as the vendor sent it: one line, with nothing added or left out"}
}

// keyID is the SHA-256 of a key's SubjectPublicKeyInfo (RFC 8410), in hexadecimal.
func keyID(public []byte) string {
	sum := sha256.Sum256(append(append([]byte{}, spki...), public...))
	return hex.EncodeToString(sum[:])
}

// readToken returns the claims of a token that one of the keys signed. The claims are read only once the signature is verified.
func readToken(token []byte, keys map[string]ed25519.PublicKey) (*Claims, *Refusal) {
	if len(token) > largest {
		return nil, malformed("it has more than " + strconv.Itoa(largest) + " bytes")
	}
	parts := strings.Split(strings.Trim(string(token), " \t\r\n"), ".")
	if len(parts) != 3 {
		return nil, malformed("a token has three parts with dots between them")
	}
	var plain [3][]byte
	for index, part := range parts {
		data, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil || len(data) == 0 || base64.RawURLEncoding.EncodeToString(data) != part {
			return nil, malformed("a part of it is no base64url")
		}
		plain[index] = data
	}
	found := header.FindSubmatch(plain[0])
	if found == nil {
		return nil, malformed("its header is not that of an entitlement")
	}
	if len(plain[2]) != ed25519.SignatureSize {
		return nil, malformed("its signature has not 64 bytes")
	}
	id := string(found[1])
	key, known := keys[id]
	if !known {
		ids := make([]string, 0, len(keys))
		for one := range keys {
			ids = append(ids, one[:16]+"…")
		}
		sort.Strings(ids)
		return nil, &Refusal{"wrong-key", "the entitlement was signed with another key",
			"it names the key " + id[:16] + "…; this engine was built with " + strings.Join(ids, ", "),
			"use an entitlement that was issued for this engine by its vendor"}
	}
	if !ed25519.Verify(key, []byte(parts[0]+"."+parts[1]), plain[2]) {
		return nil, &Refusal{"edited", "the entitlement was changed after it was signed",
			"its signature is not that of key " + id[:16] + "…", "use the file as the vendor sent it, or ask for it again"}
	}
	return readClaims(plain[1])
}

func readClaims(data []byte) (*Claims, *Refusal) {
	var claims Claims
	if err := json.Unmarshal(data, &claims); err != nil {
		return nil, malformed("its claims are not those of an entitlement")
	}
	if fault := claims.fault(); fault != "" {
		return nil, malformed(fault)
	}
	if !bytes.Equal(claims.encoded(), data) {
		return nil, malformed("its JSON is not in the canonical form")
	}
	return &claims, nil
}

func (c *Claims) fault() string {
	switch {
	case len(c.ID) > most || !idShape.MatchString(c.ID):
		return "the id is 1 to 64 letters, digits and inner . _ -"
	case !visible(c.Customer):
		return "the customer is 1 to 200 bytes of visible text, with no blank around it"
	case !isName(c.Engine):
		return "the engine is its name: lower-case letters, digits and inner . _ -"
	case rank(c.Tier) < 0:
		return "the tier is one of " + strings.Join(tiers, ", ")
	case len(c.Distributions) == 0 || !areNames(c.Distributions):
		return "the distributions are 1 to 64 names, sorted, each once"
	case !areNames(c.Features):
		return "the features are at most 64 names, sorted, each once"
	case !areLimits(c.Limits):
		return "the limits are at most 64 names with whole numbers from 0 to 2^53-1"
	case !isTime(c.Issued) || !isTime(c.NotBefore) || !isTime(c.NotAfter):
		return "times are seconds from 1970 to the year 9999"
	case c.NotAfter <= c.NotBefore || c.NotAfter <= c.Issued:
		return "it ends after it begins and after it was issued"
	case c.Grace < 0 || c.Grace > longestGrace:
		return "the grace is at most 366 days"
	}
	return ""
}

// encoded is the canonical JSON (RFC 8785) of claims without faults: their text has no character that needs \u.
func (c *Claims) encoded() []byte {
	var out bytes.Buffer
	out.WriteString(`{"aud":` + quoted(c.Engine) + `,"distributions":` + quotedList(c.Distributions))
	out.WriteString(`,"exp":` + strconv.FormatInt(c.NotAfter, 10) + `,"features":` + quotedList(c.Features))
	out.WriteString(`,"grace":` + strconv.FormatInt(c.Grace, 10) + `,"iat":` + strconv.FormatInt(c.Issued, 10))
	out.WriteString(`,"jti":` + quoted(c.ID) + `,"limits":{`)
	for index, name := range sortedNames(c.Limits) {
		if index > 0 {
			out.WriteByte(',')
		}
		out.WriteString(quoted(name) + ":" + strconv.FormatInt(c.Limits[name], 10))
	}
	out.WriteString(`},"nbf":` + strconv.FormatInt(c.NotBefore, 10) + `,"sub":` + quoted(c.Customer) + `,"tier":` + quoted(c.Tier) + `}`)
	return out.Bytes()
}

func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

func quotedList(texts []string) string {
	all := make([]string, len(texts))
	for index, text := range texts {
		all[index] = quoted(text)
	}
	return "[" + strings.Join(all, ",") + "]"
}

func sortedNames(limits map[string]int64) []string {
	names := make([]string, 0, len(limits))
	for name := range limits {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func rank(tier string) int {
	for index, one := range tiers {
		if one == tier {
			return index
		}
	}
	return -1
}

func isTime(value int64) bool { return value >= 0 && value <= latest }

func isName(text string) bool { return len(text) <= most && nameShape.MatchString(text) }

func areNames(names []string) bool {
	for index, name := range names {
		if !isName(name) || (index > 0 && names[index-1] >= name) {
			return false
		}
	}
	return len(names) <= most
}

func areLimits(limits map[string]int64) bool {
	for _, value := range limits {
		if value < 0 || value > largestLimit {
			return false
		}
	}
	return areNames(sortedNames(limits))
}

// visible tells whether text shows as it is: nothing in it steers a terminal or the direction of text.
func visible(text string) bool {
	if len(text) == 0 || len(text) > longestCustomer || !utf8.ValidString(text) || strings.Trim(text, " ") != text {
		return false
	}
	for _, letter := range text {
		switch {
		case letter < 0x20, letter >= 0x7f && letter <= 0x9f, letter >= 0x200b && letter <= 0x200f,
			letter >= 0x2028 && letter <= 0x202e, letter >= 0x2060 && letter <= 0x206f, letter == 0xfeff:
			return false
		}
	}
	return true
}
