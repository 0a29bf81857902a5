// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	directory := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

func sums(files ...string) (text string) {
	for i := 0; i < len(files); i += 2 {
		text += fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(files[i+1])), files[i])
	}
	return text
}

func TestAFolderThatAgreesIsVerifiedAndItsDigestIsTheManifests(t *testing.T) {
	manifest := sums("a.json", "A", "b.json", "B")
	directory := folder(t, map[string]string{
		"a.json": "A", "b.json": "B", "README.md": "x", ".hidden.json": "x", ManifestName: manifest,
	})
	got, err := ReadFolder(directory, Require)
	if err != nil || !got.Verified || len(got.Files) != 2 || string(got.Files[1].Text) != "B" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if want := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(manifest))); got.Digest != want {
		t.Errorf("the digest is %s; want %s", got.Digest, want)
	}
}

func TestFilesBehindLinksAreReadAsInAMountedConfigMap(t *testing.T) {
	directory := folder(t, map[string]string{"..data.json": "A"})
	if err := os.Symlink("..data.json", filepath.Join(directory, "a.json")); err != nil {
		t.Skip("this platform does not let the test make a symbolic link:", err)
	}
	if got, err := ReadFolder(directory, IfPresent); err != nil || got.Verified || len(got.Files) != 1 {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestDisagreementIsRefused(t *testing.T) {
	for want, manifest := range map[string]string{
		"a.json is sha256:559aead08264d5795d3909718cdd05abd49572e84fe55590eef31a88a08fdffd; the manifest says": sums("a.json", "B"),
		"a.json is not listed":              sums("b.json", "A"),
		"b.json is listed but not there":    sums("a.json", "A", "b.json", "B"),
		"line 2: a.json is listed twice":    sums("a.json", "A", "a.json", "A"),
		"line 1: expected a SHA-256":        "A  a.json\n",
		"line 1: expected a SHA-256 in hex": sums("../a.json", "A"),
	} {
		directory := folder(t, map[string]string{"a.json": "A", ManifestName: manifest})
		if _, err := ReadFolder(directory, IfPresent); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v; want %q", err, want)
		}
		if _, err := ReadFolder(directory, Off); err != nil {
			t.Errorf("with trust off: %v", err)
		}
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	directory := folder(t, map[string]string{"a.json": "A"})
	if _, err := ReadFolder(directory, Require); err == nil || !strings.Contains(err.Error(), "SHA256SUMS: missing") {
		t.Errorf("got %v", err)
	}
	if _, err := ReadFolder(t.TempDir(), Off); err == nil || !strings.Contains(err.Error(), "holds no *.json file") {
		t.Errorf("got %v", err)
	}
	if _, err := ReadFolder(filepath.Join(directory, "none"), Off); err == nil || !strings.Contains(err.Error(), "cannot read the policy folder") {
		t.Errorf("got %v", err)
	}
}
