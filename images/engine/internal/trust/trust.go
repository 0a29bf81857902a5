// SPDX-License-Identifier: Apache-2.0

// Package trust reads the policy folder and checks it against the SHA256SUMS file beside the policies, the format that
// `sha256sum` writes and checks. The bytes that were hashed are the bytes handed on.
package trust

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// ManifestName is the name of the manifest in the policy folder.
const ManifestName = "SHA256SUMS"

// maxFileBytes is the size of the largest policy that is read.
const maxFileBytes = 8 << 20

// Mode says when the manifest must be there.
type Mode string

// The modes. Off never looks at a manifest, IfPresent checks one that is there, Require refuses a folder without one.
const (
	Off       Mode = "off"
	IfPresent Mode = "if-present"
	Require   Mode = "require"
)

// File is one policy file. Digest is "sha256:" and 64 hexadecimal digits.
type File struct {
	Name   string
	Text   []byte
	Digest string
}

// Folder is the content of a policy folder, in the order of the names. Digest is that of the SHA256SUMS file which
// lists exactly these files; Verified tells that such a file was there and agreed.
type Folder struct {
	Files    []File
	Digest   string
	Verified bool
}

// ReadFolder reads the *.json files of one folder, without those whose names begin with a dot: a mounted ConfigMap
// keeps its own bookkeeping there. The error joins every fault.
func ReadFolder(directory string, mode Mode) (*Folder, error) {
	entries, err := os.ReadDir(directory) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("cannot read the policy folder: %w", err)
	}
	folder := &Folder{}
	var faults []error
	var sums strings.Builder
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, ".") || filepath.Ext(name) != ".json" {
			continue
		}
		text, err := readFile(filepath.Join(directory, name))
		if err != nil {
			faults = append(faults, err)
			continue
		}
		sum := sha256.Sum256(text)
		fmt.Fprintf(&sums, "%x  %s\n", sum, name)
		folder.Files = append(folder.Files, File{Name: name, Text: text, Digest: "sha256:" + hex.EncodeToString(sum[:])})
	}
	if len(folder.Files) == 0 && len(faults) == 0 {
		faults = append(faults, fmt.Errorf("the policy folder %s holds no *.json file", directory))
	}
	folder.Digest = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(sums.String())))
	if mode != Off && len(faults) == 0 {
		folder.Verified, faults = check(directory, folder.Files, mode)
	}
	return folder, errors.Join(faults...)
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path) // follows links: the files of a mounted ConfigMap are links
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFileBytes {
		return nil, fmt.Errorf("%s: not a regular file of at most %d bytes", path, maxFileBytes)
	}
	return os.ReadFile(path)
}

func check(directory string, files []File, mode Mode) (verified bool, faults []error) {
	path := filepath.Join(directory, ManifestName)
	text, err := readFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && mode == IfPresent:
		return false, nil
	case errors.Is(err, fs.ErrNotExist):
		remedy := "`sha256sum *.json > " + ManifestName + "` writes it"
		return false, []error{fmt.Errorf("%s: missing, and trust.mode is %q; %s", path, mode, remedy)}
	case err != nil:
		return false, []error{err}
	}
	want, err := parseManifest(string(text))
	if err != nil {
		return false, []error{fmt.Errorf("%s: %w", path, err)}
	}
	for _, file := range files {
		digest, listed := want[file.Name]
		if !listed {
			faults = append(faults, fmt.Errorf("%s: %s is not listed", path, file.Name))
		} else if digest != file.Digest {
			faults = append(faults, fmt.Errorf("%s: %s is %s; the manifest says %s", path, file.Name, file.Digest, digest))
		}
		delete(want, file.Name)
	}
	for name := range want {
		faults = append(faults, fmt.Errorf("%s: %s is listed but not there", path, name))
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return len(faults) == 0, faults
}

var manifestLine = regexp.MustCompile(`^([0-9a-f]{64}) [ *]([^/\\]+)$`)

func parseManifest(text string) (map[string]string, error) {
	want := map[string]string{}
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		parts := manifestLine.FindStringSubmatch(strings.TrimSuffix(line, "\r"))
		if parts == nil {
			return nil, fmt.Errorf("line %d: expected a SHA-256 in hexadecimal, two spaces and the name of a file here", i+1)
		}
		if _, twice := want[parts[2]]; twice {
			return nil, fmt.Errorf("line %d: %s is listed twice", i+1, parts[2])
		}
		want[parts[2]] = "sha256:" + parts[1]
	}
	return want, nil
}
