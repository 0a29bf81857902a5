package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"os"
	"testing"
)

// TestVectors holds the checker to the cases that Python's reader is held to as well.
func TestVectors(t *testing.T) {
	data, err := os.ReadFile(os.Getenv("NEXUS_ENTITLEMENT_VECTORS"))
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Keys  map[string]string
		Cases []struct {
			Name, Expect, Token string
			Now                 int64
			Keys                []string
			Site                Site
		}
	}
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	if len(document.Cases) < 150 {
		t.Fatalf("%d cases are too few", len(document.Cases))
	}
	for _, one := range document.Cases {
		t.Run(one.Name, func(t *testing.T) {
			keys := map[string]ed25519.PublicKey{}
			for _, name := range one.Keys {
				key, err := base64.StdEncoding.DecodeString(document.Keys[name])
				if err != nil {
					t.Fatal(err)
				}
				keys[keyID(key)] = key
			}
			verdict := "valid"
			claims, refusal := readToken([]byte(one.Token), keys)
			if refusal == nil {
				var grace bool
				if grace, refusal = judge(claims, one.Site, one.Now); grace {
					verdict = "grace"
				}
			}
			if refusal != nil {
				verdict = refusal.Reason
			}
			if verdict != one.Expect {
				t.Errorf("%s instead of %s: %+v", verdict, one.Expect, refusal)
			}
		})
	}
}
